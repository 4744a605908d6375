"""Modulation and its Gaussian against NumPy, and against masks whose median and spread are known by thought."""

import numpy as np
import pytest
import torch

from vos_teach.ops.modulate import mask_gaussian, modulate


def gaussian_by_hand(mask):
    """From the formula, with NumPy's medians: one coordinate per object pixel."""
    h, w = mask.shape
    ys, xs = np.nonzero(mask)
    if len(ys) == 0:
        return np.zeros((h, w))
    out = np.zeros((h, w))
    my, mx = np.median(ys), np.median(xs)
    sy = max(1.4826 * np.median(np.abs(ys - my)), 5 / 480 * h)
    sx = max(1.4826 * np.median(np.abs(xs - mx)), 5 / 480 * h)
    for y in range(h):
        for x in range(w):
            out[y, x] = np.exp(-((y - my) ** 2) / (2 * sy**2)) * np.exp(-((x - mx) ** 2) / (2 * sx**2))
    return out


@pytest.mark.parametrize("shape", [(1, 1), (7, 12), (24, 17)])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 1.0])
def test_the_gaussian_equals_the_loop(shape, share):
    rng = np.random.default_rng(int(100 * share))
    for _ in range(5):
        mask = rng.random(shape) < share  # even and odd numbers of pixels, none at times
        assert np.allclose(mask_gaussian(torch.from_numpy(mask)), gaussian_by_hand(mask), atol=1e-5)


def test_a_rectangle_has_its_middle_and_spread():
    mask = torch.zeros(60, 90)
    mask[10:31, 40:81] = 1  # rows 10..30, columns 40..80: medians 20 and 60, MAD 5 and 10
    g = mask_gaussian(mask)
    assert g.shape == (60, 90) and g.dtype == torch.float32 and g[20, 60] == 1 == g.max()
    assert torch.isclose(g[20 + 7, 60], torch.exp(torch.tensor(-0.5 * (7 / (1.4826 * 5)) ** 2)), atol=1e-5)
    assert torch.isclose(g[20, 60 - 14], torch.exp(torch.tensor(-0.5 * (14 / (1.4826 * 10)) ** 2)), atol=1e-5)


def test_a_few_wrong_pixels_far_away_move_nothing():
    mask = torch.zeros(60, 90)
    mask[10:31, 40:81] = 1
    wrong = mask.clone()
    wrong[-1, :5] = 1  # a mean would move by a third of a pixel, and the standard deviation with it
    assert torch.equal(mask_gaussian(mask), mask_gaussian(wrong))


def test_both_spreads_have_a_floor_that_is_a_share_of_the_height():
    mask = torch.zeros(96, 400)
    mask[50, 200] = 1
    g = mask_gaussian(mask)
    assert g[50, 200] == 1 and torch.allclose(g[51, 200], torch.exp(torch.tensor(-0.5)), atol=1e-5), "5/480 * 96 is 1"
    assert torch.allclose(g[50, 202], torch.exp(torch.tensor(-2.0)), atol=1e-5), "of the height, in x too"


def test_it_is_the_same_place_at_another_size():
    mask = torch.zeros(48, 64)
    mask[8:28, 20:50] = 1
    large = mask_gaussian(mask.repeat_interleave(5, 0).repeat_interleave(5, 1))
    small = torch.nn.functional.avg_pool2d(large[None], 5)[0]
    assert torch.allclose(small, mask_gaussian(mask), atol=0.05)


def test_leading_dimensions_and_empty_masks():
    masks = torch.rand(2, 3, 20, 30) < 0.2
    masks[1, 2] = False
    g = mask_gaussian(masks)
    assert g.shape == masks.shape and not g[1, 2].any() and torch.isfinite(g).all()
    assert torch.equal(g[0, 1], mask_gaussian(masks[0, 1])) and torch.equal(g[1, 0], mask_gaussian(masks[1, 0].float()))
    assert torch.equal(mask_gaussian(masks.transpose(-1, -2)[0, 0]) > 0, mask_gaussian(masks[0, 0]).T > 0)


def test_the_mask_is_left_alone():
    mask = torch.rand(9, 9) < 0.5
    before = mask.clone()
    mask_gaussian(mask)
    assert torch.equal(mask, before)


def test_modulate_equals_the_loop():
    features, gamma, beta = torch.randn(2, 3, 4, 5), torch.randn(2, 3), torch.randn(2, 3, 4, 5)
    out = modulate(features, gamma, beta)
    for b in range(2):
        for c in range(3):
            assert torch.allclose(out[b, c], gamma[b, c] * features[b, c] + beta[b, c])
    assert torch.equal(modulate(features[0], gamma[0], beta[0]), out[0])


def test_gamma_one_and_beta_zero_change_nothing():
    features = torch.rand(4, 6, 6)
    assert torch.equal(modulate(features, torch.ones(4), torch.zeros(4, 6, 6)), features)


def test_modulation_has_gradients():
    parts = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in ((2, 3, 3), (2,), (2, 3, 3))]
    assert torch.autograd.gradcheck(modulate, parts)
