"""OnAVOS's training target against a slow loop, and cases whose answer is known by thought."""

import oracles.adapt as oracle
import pytest
import torch

from vos_teach.ops.adapt import online_targets


def square(size, top, left, side):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize("size", [(16, 24), (24, 16), (31, 20)])
@pytest.mark.parametrize("options", [{}, {"positive": 0.5}, {"distance": 0.3, "erosion": 0.1}, {"erosion": 0.0}])
def test_the_target_equals_the_loop(size, options):
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        prob = torch.rand(size, generator=draw) ** 0.05  # many above 0.97
        mask = square(size, 1 + seed, 2, 8) & (torch.rand(size, generator=draw) < 0.98)
        mask |= square(size, size[0] - 5, size[1] - 6, 6)  # touches the corner
        assert online_targets(prob, mask, **options).tolist() == oracle.online_targets(
            prob.tolist(), mask.tolist(), **options)


def test_all_three_kinds_at_known_places():
    """96 high: eroded by 3, so the square 40..55 keeps 43..52; negative from beyond 44 pixels."""
    prob, mask = torch.zeros(96, 160), square((96, 160), 40, 40, 16)
    prob[48, 60], prob[48, 61], prob[48, 150], prob[48, 48] = 0.98, 0.97, 0.99, 1.0
    target = online_targets(prob, mask)
    assert target.dtype == torch.int64 and target.shape == (96, 160)
    assert target[48, 60] == 1 and target[48, 48] == 1
    assert target[48, 61] == 255, "exactly 0.97 is not more than 0.97"
    assert target[48, 150] == 0, "negatives win over positives"
    assert target[48, 52 + 44] == 255 and target[48, 52 + 45] == 0, "the distance counts from the eroded mask"
    assert target[48, 45] == 255, "inside the last mask, but not sure of it now"


def test_erosion_is_by_a_disk_not_by_a_square():
    mask = torch.ones(32, 32, dtype=torch.bool)
    mask[16, 16] = False
    options = {"erosion": 3 / 32, "distance": 0.0}  # 0 wherever the eroded mask is not
    target = online_targets(torch.ones(32, 32), mask, **options)
    assert target[16, 19] == 0 and target[16, 20] == 1, "straight: 3 away from background goes, 4 away stays"
    assert target[18, 18] == 0 and target[19, 19] == 1, "aslant: 2.8 away goes, 4.2 stays; a square takes it"


def test_the_border_of_the_frame_does_not_erode():
    mask = square((32, 48), 0, 0, 10)
    target = online_targets(torch.ones(32, 48), mask, distance=0.0, erosion=4 / 32)
    assert (target == 1).nonzero().max() == 5 and target[0, 0] == 1 and (target == 1).sum() == 36


def test_a_mask_that_erodes_away_teaches_nothing():
    prob = torch.ones(96, 160)
    for mask in (torch.zeros(96, 160, dtype=torch.bool), square((96, 160), 20, 20, 6)):
        assert (online_targets(prob, mask) == 255).all()
    assert (online_targets(prob, square((96, 160), 20, 20, 7)) != 255).any()


def test_a_mask_that_fills_the_frame_is_not_eroded():
    prob = torch.full((20, 30), 0.99)
    prob[0] = 0.5
    target = online_targets(prob, torch.ones(20, 30, dtype=torch.bool), distance=0.0, erosion=0.3)
    assert (target[0] == 255).all() and (target[1:] == 1).all()


def test_twice_the_size_is_the_same_target_twice_as_large():
    """Every pixel constant is relative to the height."""
    mask, prob = square((48, 64), 8, 8, 16), torch.zeros(48, 64)
    prob[:, ::5] = 1
    small = online_targets(prob, mask)
    big = online_targets(*(x.repeat_interleave(2, 0).repeat_interleave(2, 1) for x in (prob, mask)))
    same = (big[::2, ::2] == small).float().mean()
    assert same > 0.98, same  # but for the pixels at the borders of the regions


def test_the_inputs_are_left_alone_and_any_mask_type_will_do():
    prob, mask = torch.rand(24, 32, requires_grad=True), square((24, 32), 4, 4, 12)
    before = prob.detach().clone(), mask.clone()
    one = online_targets(prob, mask, positive=0.3)
    assert torch.equal(prob.detach(), before[0]) and torch.equal(mask, before[1])
    for other in (mask.to(torch.uint8), mask.long(), mask.float()):
        assert torch.equal(one, online_targets(prob, other, positive=0.3))
