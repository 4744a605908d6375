"""The thin-plate spline: it interpolates, it leaves affine changes alone, and nothing bends less."""

import numpy as np
import pytest
import scipy.interpolate
import torch

from vos_teach.ops.deform import thin_plate_spline
from vos_teach.ops.losses import soft_iou

SRC = torch.tensor([[3.0, 5.0], [60.0, 4.0], [58.0, 33.0], [6.0, 40.0], [30.0, 20.0]])


def test_it_takes_each_point_to_its_own():
    dst = SRC + torch.randn(5, 2, generator=torch.Generator().manual_seed(0)) * 4
    assert torch.allclose(thin_plate_spline(SRC, dst, SRC), dst, atol=1e-4)


def test_an_affine_change_stays_one_far_outside_too():
    turn, move = torch.tensor([[0.9, -0.3], [0.2, 1.1]]), torch.tensor([7.0, -2.0])
    points = torch.tensor([[500.0, -300.0], [0.0, 0.0], [31.5, 17.25]])
    assert torch.allclose(thin_plate_spline(SRC, SRC @ turn.T + move, points), points @ turn.T + move, atol=1e-3)


@pytest.mark.parametrize("swap", [False, True])
def test_it_equals_scipys_spline_in_either_order_of_the_axes(swap):
    """x and y must not be mixed up: a frame that is wider than high shows it."""
    rng = np.random.default_rng(1)
    src, points = rng.uniform(0, (200, 40), (7, 2)), rng.uniform(0, (200, 40), (50, 2))
    dst = src + rng.normal(0, (9, 2), (7, 2))
    if swap:
        src, dst, points = src[:, ::-1], dst[:, ::-1], points[:, ::-1]
    theirs = scipy.interpolate.RBFInterpolator(src, dst, kernel="thin_plate_spline", degree=1)(points)
    ours = thin_plate_spline(*(torch.tensor(v.copy()) for v in (src, dst, points)))
    assert np.allclose(ours.numpy(), theirs, atol=1e-6)


@pytest.mark.parametrize("bad", [SRC[:2], torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [5.0, 5.0]])])
def test_points_that_fix_no_map_are_refused(bad):
    with pytest.raises(ValueError, match="at least three points that are not on one line"):
        thin_plate_spline(bad, bad, SRC)


def test_soft_iou_of_hard_masks_is_jaccard_and_of_soft_ones_the_loop():
    rng = torch.Generator().manual_seed(0)
    p, t = torch.rand(2, 3, 5, 7, generator=rng).double(), (torch.rand(2, 3, 5, 7, generator=rng) < 0.4)
    got = soft_iou(p, t)
    assert got.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            both = either = 0.0
            for a, b in zip(p[i, j].flatten().tolist(), t[i, j].flatten().tolist(), strict=True):
                both, either = both + a * b, either + a + b - a * b
            assert got[i, j].item() == pytest.approx(both / either, abs=1e-12)
    hard = p > 0.5
    assert torch.allclose(soft_iou(hard.double(), t), (hard & t).sum((-2, -1)) / (hard | t).sum((-2, -1)).double())


def test_soft_iou_of_two_empty_masks_is_one_with_a_finite_gradient():
    p = torch.zeros(4, 4, requires_grad=True)
    value = soft_iou(p, torch.zeros(4, 4))
    value.backward()
    assert value == 1 and torch.isfinite(p.grad).all()
