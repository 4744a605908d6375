"""Lucid dreams: masks and flow that are exact, several objects, the same seed the same dream."""

import cv2
import numpy as np
import pytest
import torch

from vos_teach.clip import VosError
from vos_teach.data.lucid import Dreamer, Motion
from vos_teach.ops.warp import warp


def smooth(h=96, w=160, seed=0):
    """A picture without fine detail, so that resampling it twice costs little; two objects of other colours on it."""
    rng = np.random.default_rng(seed)
    frame = cv2.GaussianBlur(rng.uniform(0, 255, (h, w, 3)).astype(np.float32), (0, 0), 8)
    frame = (frame - frame.min()) / (frame.max() - frame.min()) * 140 + 60
    labels = np.zeros((h, w), np.uint8)
    cv2.ellipse(labels, (50, 45), (24, 15), 0, 0, 360, 1, -1)
    cv2.rectangle(labels, (95, 40), (130, 80), 2, -1)
    frame[labels == 1] = frame[labels == 1] * 0.5 + (100, 0, 0)
    frame[labels == 2] = frame[labels == 2] * 0.5 + (0, 0, 110)
    return frame.astype(np.uint8), labels


@pytest.mark.parametrize("seed", range(6))
def test_the_second_frame_warped_by_the_flow_is_the_first(seed):
    """Away from seams. x taken for y, or a sign, or the wrong thing's motion would cost tens of grey levels."""
    dream = Dreamer(*smooth()).pair(np.random.default_rng(seed))
    flow = torch.from_numpy(dream.flow.transpose(2, 0, 1))
    back = warp(torch.from_numpy(dream.second.transpose(2, 0, 1)).float(), flow).numpy().transpose(1, 2, 0)
    edges = cv2.morphologyEx(dream.first_mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    away = dream.visible & (cv2.dilate(edges.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0)
    away &= cv2.erode(dream.visible.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    error = np.abs(back - dream.first).mean(-1)
    assert away.mean() > 0.5 and error[away].mean() < 1.5
    still = np.abs(dream.second.astype(float) - dream.first).mean(-1)[away].mean()
    assert still > 3 * error[away].mean(), "and the frames do differ"


@pytest.mark.parametrize("seed", range(4))
def test_masks_follow_the_flow_too(seed):
    dream = Dreamer(*smooth()).pair(np.random.default_rng(seed))
    y, x = np.nonzero(dream.visible)
    at = np.rint(np.stack([x, y], 1) + dream.flow[y, x]).astype(int)
    assert np.array_equal(dream.second_mask[at[:, 1], at[:, 0]], dream.first_mask[y, x])
    assert set(np.unique(dream.first_mask)) == set(np.unique(dream.second_mask)) == {0, 1, 2}


def test_objects_move_otherwise_than_the_background_and_than_each_other():
    dream = Dreamer(*smooth()).pair(np.random.default_rng(0))
    moves = [dream.flow[dream.first_mask == k].mean(0) for k in (0, 1, 2)]
    assert min(np.linalg.norm(a - b) for i, a in enumerate(moves) for b in moves[:i]) > 0.3


def test_between_the_two_frames_each_thing_moves_within_the_papers_amounts():
    """5 % of its size, 3 degrees, 5 % of zoom and of bending: a sixth of the size at the very most."""
    dreamer = Dreamer(*smooth())
    for seed in range(10):
        dream = dreamer.pair(np.random.default_rng(seed))
        for k, (w, h) in {1: (49, 31), 2: (36, 41)}.items():
            away = np.abs(dream.flow[dream.first_mask == k]).max(0)
            assert away[0] < 0.2 * max(w, h) * 1.5 and away[1] < 0.2 * max(w, h) * 1.5


def test_the_object_is_gone_from_the_background_and_all_else_is_left():
    frame, labels = smooth()
    hole = Dreamer(frame, labels).background.astype(int)
    inside, outside = cv2.erode(labels, np.ones((5, 5))) == 1, cv2.dilate(labels, np.ones((21, 21))) == 0
    ring = (cv2.dilate((labels == 1).astype(np.uint8), np.ones((13, 13))) > 0) & (labels == 0)
    around = frame[ring].mean(0)
    assert np.abs(hole[inside].mean(0) - around).max() < 0.3 * np.abs(frame[inside].mean(0) - around).max()
    assert np.abs(frame[outside].astype(int) - hole[outside]).max() <= 1


def test_the_same_seed_dreams_alike():
    frame, labels = smooth()
    kept = frame.copy(), labels.copy()
    one, same, other = (Dreamer(frame, labels).pair(np.random.default_rng(s)) for s in (3, 3, 4))
    assert all(np.array_equal(getattr(one, n), getattr(same, n)) for n in one.__dict__)
    assert not np.array_equal(one.second_mask, other.second_mask)
    assert np.array_equal(frame, kept[0]) and np.array_equal(labels, kept[1])


@pytest.mark.parametrize("bend", [0.0, 0.05])
def test_a_motions_inverse_takes_it_back(bend):
    rng = np.random.default_rng(0)
    motion = Motion.random(rng, np.array([[20.0, 10.0], [80.0, 50.0]]), bend, 9, 0.15, 0.15)
    points = rng.uniform((10, 0), (90, 60), (500, 2))
    assert np.abs(motion.inverse(motion(points)) - points).max() < 0.05
    assert np.abs(motion(points) - points).max() > 1


@pytest.mark.parametrize("labels", [np.zeros((20, 30), np.uint8), np.full((20, 30), 255, np.uint8)])
def test_nothing_to_dream_of(labels):
    with pytest.raises(VosError, match="no object"):
        Dreamer(np.zeros((20, 30, 3), np.uint8), labels)


def test_an_object_of_one_pixel_and_one_that_is_the_whole_frame():
    frame = smooth()[0]
    one = np.zeros(frame.shape[:2], np.uint8)
    one[30, 40] = 1
    for labels in (one, np.ones_like(one)):
        dream = Dreamer(frame, labels).pair(np.random.default_rng(0))
        assert np.isfinite(dream.flow).all() and dream.second.shape == frame.shape
