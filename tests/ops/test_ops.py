"""ops against slow loops, written from the formulas."""

import math

import numpy as np
import oracles.adapt as oracle
import pytest
import torch

from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.losses import balanced_bce, bootstrapped_ce, mask_loss
from vos_teach.ops.warp import warp


def bce_by_hand(logits, target):
    """Every image by itself, every pixel in turn."""
    total, n = 0.0, 0
    for z, y in zip(logits.reshape(-1, *logits.shape[-2:]), target.reshape(-1, *target.shape[-2:]), strict=True):
        pixels = y.numel()
        positives = int(y.sum())
        for zi, yi in zip(z.flatten().tolist(), y.flatten().tolist(), strict=True):
            p = 1 / (1 + math.exp(-zi))
            total += -(pixels - positives) / pixels * math.log(p) if yi else -positives / pixels * math.log(1 - p)
            n += 1
    return total / n


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 4, 5), (2, 3, 4, 6)])
def test_balanced_bce_equals_the_loop(shape):
    logits, target = torch.randn(shape).double(), torch.rand(shape) < 0.3
    assert balanced_bce(logits, target).item() == pytest.approx(bce_by_hand(logits, target), abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 7)])
def test_mask_loss_equals_the_loop(shape):
    """Cross-entropy over all pixels, Jaccard image by image."""
    logit, target = torch.randn(shape).double(), torch.rand(shape) < 0.4
    entropy, jaccard = [], []
    for z, y in zip(logit, target, strict=True):
        p = [1 / (1 + math.exp(-v)) for v in z.flatten().tolist()]
        t = y.flatten().tolist()
        entropy += [-math.log(a if b else 1 - a) for a, b in zip(p, t, strict=True)]
        both = sum(a for a, b in zip(p, t, strict=True) if b)
        jaccard.append(both / (sum(p) + sum(t) - both))
    assert mask_loss(logit, target).item() == pytest.approx(np.mean(entropy) + 1 - np.mean(jaccard), abs=1e-9)


def test_balanced_bce_weighs_images_by_themselves():
    logits, target = torch.randn(2, 6, 6).double(), torch.rand(2, 6, 6) < torch.tensor([0.1, 0.8])[:, None, None]
    alone = (balanced_bce(logits[0], target[0]) + balanced_bce(logits[1], target[1])) / 2
    assert torch.isclose(balanced_bce(logits, target), alone)


def test_balanced_bce_is_zero_where_one_class_is_absent():
    logits = torch.randn(4, 4)
    assert balanced_bce(logits, torch.zeros(4, 4)) == 0 and balanced_bce(logits, torch.ones(4, 4)) == 0


def test_balanced_bce_does_not_care_which_class_is_called_foreground():
    logits, target = torch.randn(2, 5, 5).double(), torch.rand(2, 5, 5) < 0.2
    assert torch.isclose(balanced_bce(logits, target), balanced_bce(-logits, ~target))


def test_balanced_bce_gradient():
    logits, target = torch.randn(2, 4, 3, dtype=torch.double, requires_grad=True), torch.rand(2, 4, 3) < 0.4
    assert torch.autograd.gradcheck(lambda z: balanced_bce(z, target), logits)


def ignoring(shape, classes, share=0.2):
    target = torch.randint(0, classes, shape)
    target[torch.rand(shape) < share] = 255
    return target


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (1, 2, 5, 7), (3, 4, 4, 3)])
def test_bootstrapped_ce_equals_the_loop(shape, fraction):
    logits, target = torch.randn(shape).double() * 3, ignoring((shape[0], *shape[2:]), shape[1])
    slow = oracle.bootstrapped_ce(logits.tolist(), target.tolist(), fraction)
    assert bootstrapped_ce(logits, target, fraction).item() == pytest.approx(slow, abs=1e-9)


def test_bootstrapped_ce_of_all_pixels_is_the_plain_one():
    logits, target = torch.randn(1, 3, 6, 5).double(), ignoring((1, 6, 5), 3)
    plain = torch.nn.functional.cross_entropy(logits, target, ignore_index=255)
    assert torch.isclose(bootstrapped_ce(logits, target, 1.0), plain)


def test_bootstrapped_ce_counts_valid_pixels_only_and_rounds_up():
    """Losses 3, 2, 1 (and a worse one that is void): a quarter of 3 is one pixel, 0.4 of 3 are two."""
    p = torch.exp(-torch.tensor([3.0, 2.0, 1.0, 9.0], dtype=torch.double))
    logits = torch.stack([torch.log1p(-p), torch.log(p)])[None, :, None]  # 1,2,1,4
    target = torch.tensor([[[1, 1, 1, 255]]])
    for fraction, mean in ((0.0, 3.0), (0.25, 3.0), (0.4, 2.5), (1.0, 2.0)):
        assert bootstrapped_ce(logits, target, fraction).item() == pytest.approx(mean)


def test_bootstrapped_ce_chooses_in_each_sample_by_itself():
    logits, target = torch.randn(2, 2, 6, 6).double(), ignoring((2, 6, 6), 2)
    logits[1] *= 20  # all the hardest pixels are here
    alone = sum(bootstrapped_ce(logits[i : i + 1], target[i : i + 1], 0.25) for i in range(2)) / 2
    assert torch.isclose(bootstrapped_ce(logits, target, 0.25), alone)


def test_bootstrapped_ce_of_a_sample_without_valid_pixels_is_zero_and_counts():
    logits = torch.randn(2, 2, 3, 3, dtype=torch.double, requires_grad=True)
    target = ignoring((2, 3, 3), 2)
    target[0] = 255
    loss = bootstrapped_ce(logits, target, 0.25)
    assert torch.isclose(loss, bootstrapped_ce(logits[1:], target[1:], 0.25) / 2)
    loss.backward()
    assert not logits.grad[0].any() and logits.grad[1].any()
    alone = bootstrapped_ce(logits[:1], target[:1], 0.25)
    assert alone == 0 and alone.requires_grad


def test_bootstrapped_ce_gradient_reaches_the_hardest_pixels_alone():
    logits, target = torch.randn(1, 2, 4, 5, dtype=torch.double, requires_grad=True), ignoring((1, 4, 5), 2, 0.0)
    assert torch.autograd.gradcheck(lambda z: bootstrapped_ce(z, target, 0.3), logits)
    bootstrapped_ce(logits, target, 0.3).backward()
    assert logits.grad.any(1).sum() == 6


def test_soft_aggregate_equals_the_formula_at_one_pixel():
    p = [0.9, 0.2, 0.5]
    odds = [q / (1 - q) for q in (0.1 * 0.8 * 0.5, *p)]
    got = soft_aggregate(torch.tensor(p, dtype=torch.double)[:, None, None])[:, 0, 0]
    assert np.allclose(got, np.array(odds) / sum(odds), atol=1e-12)


def test_soft_aggregate_is_a_distribution_even_of_certainties():
    prob = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])[:, None]  # 2,1,3
    out = soft_aggregate(prob)
    assert torch.allclose(out.sum(0), torch.ones(1, 3)) and torch.isfinite(out).all()
    assert out.argmax(0)[0, :2].tolist() == [0, 1]


def test_soft_aggregate_permutes_with_its_objects_and_broadcasts():
    prob = torch.rand(2, 3, 4, 5)
    assert torch.allclose(soft_aggregate(prob)[:, [0, 3, 1, 2]], soft_aggregate(prob[:, [2, 0, 1]]), atol=1e-6)
    assert torch.allclose(soft_aggregate(prob)[1], soft_aggregate(prob[1]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_soft_aggregate_of_certainties_in_half_precision(dtype):
    out = soft_aggregate(torch.tensor([0.0, 1.0], dtype=dtype)[:, None, None])
    assert out.dtype == dtype and torch.isfinite(out).all() and out[:, 0, 0].argmax() == 2


def warp_by_hand(image, flow):
    h, w = image.shape[-2:]
    out = torch.zeros_like(image)
    for y in range(h):
        for x in range(w):
            sx, sy = x + flow[0, y, x].item(), y + flow[1, y, x].item()
            x0, y0 = math.floor(sx), math.floor(sy)
            for yy, wy in ((y0, y0 + 1 - sy), (y0 + 1, sy - y0)):
                for xx, wx in ((x0, x0 + 1 - sx), (x0 + 1, sx - x0)):
                    if 0 <= yy < h and 0 <= xx < w:
                        out[:, y, x] += wx * wy * image[:, yy, xx]
    return out


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 9)])
def test_warp_equals_the_loop(size):
    image, flow = torch.rand(2, *size).double(), torch.randn(2, *size).double() * 2
    assert torch.allclose(warp(image, flow), warp_by_hand(image, flow), atol=1e-9)


def test_warp_by_whole_pixels_shifts_exactly_and_leaves_zeros():
    image, flow = torch.rand(3, 6, 8).double(), torch.zeros(2, 6, 8).double()
    flow[0], flow[1] = 2, -1  # from the right by two, from above by one
    out = warp(image, flow)
    assert torch.allclose(out[:, 1:, :-2], image[:, :-1, 2:]) and not out[:, 0].any() and not out[:, :, -2:].any()


def test_warp_broadcasts_and_has_gradients():
    image = torch.rand(4, 2, 3, 5, dtype=torch.double, requires_grad=True)
    flow = torch.rand(2, 3, 5).double() * 0.8 + 0.1
    assert torch.allclose(warp(image, flow)[2], warp(image[2], flow))
    flow.requires_grad_()
    assert torch.autograd.gradcheck(warp, (image[0], flow))
