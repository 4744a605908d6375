"""How a mask is spoiled to pass for the last frame's, and single objects as training examples."""

import cv2
import numpy as np
import pytest

from vos_teach.data import toy
from vos_teach.data.augment import corrupt
from vos_teach.data.sample import Source, singles


def blob(h=120, w=200):
    mask = np.zeros((h, w), np.uint8)
    cv2.ellipse(mask, (70, 55), (40, 22), 20, 0, 360, 1, -1)
    return mask


def test_the_same_seed_spoils_alike_and_the_mask_itself_is_left_alone():
    mask = blob()
    kept = mask.copy()
    one, same, other = (corrupt(mask, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other) and np.array_equal(mask, kept)
    assert set(np.unique(one)) <= {0, 1} and one.dtype == np.uint8


def test_it_stays_near_and_lies_over_the_object():
    """10 % of the size either way and a dilation: an overlap far from 1 and far from 0."""
    mask, ious = blob(), []
    for seed in range(60):
        said = corrupt(mask, np.random.default_rng(seed))
        ious.append((said & mask).sum() / (said | mask).sum())
    assert 0.6 < np.mean(ious) < 0.92 and min(ious) > 0.4 and max(ious) < 1


def test_without_changes_only_the_dilation_is_left():
    mask = blob()
    said = corrupt(mask, np.random.default_rng(0), bend=0, scale=0, shift=0, thick=4 / 120)
    distance = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    assert said[distance <= 3].all() and not said[distance > 4.5].any()


def test_both_ways_are_used_and_x_is_not_taken_for_y():
    """Bent along x only, a flat wide object keeps its rows (but for the dilation, and a little swing)."""
    mask = np.zeros((100, 200), np.uint8)
    mask[48:53, 40:160] = 1
    for seed in range(20):
        rows = np.nonzero(corrupt(mask, np.random.default_rng(seed)).any(1))[0]
        assert rows.min() >= 42 and rows.max() <= 59


@pytest.mark.parametrize("points", [[], [(10, 10)], [(10, 10), (10, 11), (10, 12), (10, 13), (10, 14), (10, 15)]])
def test_hardly_any_object(points):
    mask = np.zeros((40, 60), np.uint8)
    for y, x in points:
        mask[y, x] = 1
    for seed in range(10):
        assert corrupt(mask, np.random.default_rng(seed)).any() == bool(points)


def test_singles_asks_for_every_object_and_never_for_nothing():
    clip = toy.clip(3, length=4, objects=2)
    drawn = singles([Source("toy", [clip], 1.0)], np.random.default_rng(0), 12, (96, 160))
    assert len(drawn) == 12 and all(m.any() and set(np.unique(m)) <= {0, 1} and f.shape == (*m.shape, 3)
                                    for f, m in drawn)
    again = singles([Source("toy", [clip], 1.0)], np.random.default_rng(0), 12, (96, 160))
    assert all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(drawn, again, strict=True))
    sizes = {int(m.sum()) for _, m in drawn}
    assert len(sizes) > 6
