"""Boxes: known answers, against loops, and there and back."""

import numpy as np
import pytest
import torch

from vos_teach.ops.boxes import boxes_of, deltas_between, inside, refine


def some(n, rng):
    corner = rng.uniform(-20, 60, (n, 2))
    return torch.from_numpy(np.hstack([corner, corner + rng.uniform(1, 80, (n, 2))]))


def test_a_masks_box_has_its_outermost_pixels():
    rng, masks = np.random.default_rng(0), []
    for _ in range(20):
        masks.append((rng.random((24, 40)) < rng.choice([0.002, 0.01, 0.3])).astype(np.float32) * rng.choice([0.6, 1]))
    masks[3] = np.full((24, 40), 0.5, np.float32)
    boxes, there = boxes_of(torch.from_numpy(np.stack(masks)))
    for mask, box, shown in zip(masks, boxes, there, strict=True):
        at = [(y, x) for y, x in np.ndindex(24, 40) if mask[y, x] > 0.5]
        assert bool(shown) == bool(at)
        want = [0, 0, 40, 24]
        if at:
            y, x = zip(*at, strict=True)
            want = [min(x), min(y), max(x) + 1, max(y) + 1]
        assert box.tolist() == want


def test_deltas_there_and_back():
    rng = np.random.default_rng(1)
    box, goal = some(50, rng), some(50, rng)
    assert torch.allclose(refine(box, deltas_between(box, goal)), goal)
    deltas = torch.from_numpy(rng.normal(0, 0.5, (50, 4)))
    assert torch.allclose(deltas_between(box, refine(box, deltas)), deltas)


def test_no_deltas_change_nothing_and_known_ones_what_they_say():
    box = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    assert torch.equal(refine(box, torch.zeros(1, 4)), box)
    assert not deltas_between(box, box).any()
    moved = refine(box, torch.tensor([[0.5, -0.25, 0.0, float(np.log(2))]]))
    assert torch.allclose(moved, torch.tensor([[20.0, -10.0, 40.0, 70.0]]))
    assert torch.allclose(refine(box, torch.zeros(1, 4), larger=1.5), torch.tensor([[5.0, 10.0, 35.0, 70.0]]))


@pytest.mark.parametrize("box", [(3, 5, 9, 8), (0, 0, 16, 12), (-5, -5, 4.4, 2.6), (7.5, 2.5, 8.5, 3.5),
                                 (20, 20, 30, 30)])
def test_what_is_inside_a_box(box):
    want = np.zeros((12, 16))
    for y, x in np.ndindex(12, 16):
        want[y, x] = box[0] <= x + 0.5 < box[2] and box[1] <= y + 0.5 < box[3]
    assert np.array_equal(inside(torch.tensor([box], dtype=torch.float32), (12, 16))[0].numpy(), want)


def test_boxes_and_insides_belong_together():
    mask = torch.zeros(1, 30, 50)
    mask[:, 4:9, 10:31] = 1
    assert torch.equal(inside(boxes_of(mask)[0], (30, 50)), mask)
