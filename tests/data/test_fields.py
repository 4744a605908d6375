"""Flow fields: without the camera, in colour, and moved at random."""

import cv2
import numpy as np
import pytest
import torch

from vos_teach.data.fields import moved, picture, placed, restless, steady
from vos_teach.data.flow import colours
from vos_teach.ops.warp import warp

H, W = 96, 160


def affine_flow(h=H, w=W, pan=(3.0, -2.0), zoom=0.02, turn=0.01):
    """What a camera that pans, zooms and turns leaves: H,W,2."""
    y, x = np.mgrid[:h, :w].astype(np.float32) - np.array([h / 2, w / 2], np.float32)[:, None, None]
    return np.stack([pan[0] + zoom * x - turn * y, pan[1] + turn * x + zoom * y], -1).astype(np.float32)


def test_a_camera_alone_leaves_nothing():
    assert np.abs(steady(affine_flow())).max() < 1e-3
    assert not steady(np.zeros((H, W, 2), np.float32)).any()


@pytest.mark.parametrize("box", [(20, 60, 30, 90), (25, 85, 40, 120), (0, 40, 0, 60)])
def test_what_moves_keeps_its_own_motion(box):
    own = np.zeros((H, W, 2), np.float32)
    own[box[0] : box[1], box[2] : box[3]] = (4, 1)
    grain = np.random.default_rng(0).normal(0, 0.05, own.shape).astype(np.float32)
    found = steady(affine_flow() + own + grain)
    assert np.abs(found - own).mean() < 0.15, "inside, large, or at the rim"


def test_the_picture_has_the_colours_of_the_flow():
    rng = np.random.default_rng(0)
    flow = cv2.GaussianBlur(rng.normal(0, 1, (H, W, 2)).astype(np.float32), (0, 0), 9) * 40
    flow[:4, :4] = 0
    speed = np.linalg.norm(flow, axis=2)
    flow[speed == speed.max()] *= 30  # one wild pixel, by which `colours` would make all others pale
    full = np.percentile(np.linalg.norm(flow[::2, ::2], axis=2), 99)
    norm = np.linalg.norm(flow, axis=2, keepdims=True)
    want = colours(flow / np.maximum(1, norm / full))  # slow: no table, the longest is `full`
    off = np.abs(picture(flow).astype(int) - want)
    assert off.mean() < 1 and np.percentile(off, 99) <= 4
    assert (picture(flow)[:4, :4] == 255).all(), "what stands still is white"


def test_hardly_any_motion_stays_pale_and_gain_pales():
    tiny = np.full((H, W, 2), 0.02, np.float32)
    assert picture(tiny).min() > 200
    flow = np.full((H, W, 2), 3, np.float32)
    assert picture(flow, 2.0).min() > picture(flow).min() + 50


def test_moving_both_frames_moves_the_flow_with_them():
    rng = np.random.default_rng(3)
    first = cv2.GaussianBlur(rng.uniform(0, 255, (H, W)).astype(np.float32), (0, 0), 4)
    shift = np.array([[1, 0, 4], [0, 1, -3]], np.float32)
    second = cv2.warpAffine(first, shift, (W, H), borderMode=cv2.BORDER_REFLECT_101)
    flow = np.broadcast_to(np.float32([4, -3]), (H, W, 2)).copy()  # first(p) = second(p + flow)
    for seed in range(6):  # flipped and not
        matrix = placed((H, W), np.random.default_rng(seed), (80, 120), (0.9, 1.4))
        a, b = (torch.from_numpy(cv2.warpAffine(x, matrix, (120, 80), borderMode=cv2.BORDER_REFLECT_101))[None]
                for x in (first, second))
        there = torch.from_numpy(moved(flow, matrix, (80, 120)).transpose(2, 0, 1).copy())
        inside = np.s_[:, 24:-24, 30:-30]
        right = (warp(b, there) - a)[inside].abs().mean()
        wrong = (warp(b, torch.from_numpy(flow[:80, :120].transpose(2, 0, 1).copy())) - a)[inside].abs().mean()
        assert right < 0.5 and right < wrong / 4


def test_a_flip_turns_dx_round():
    flow = np.zeros((H, W, 2), np.float32)
    flow[..., 0], flow[:, :20, 1] = 2, 1
    mirror = np.array([[-1.0, 0, W - 1], [0, 1, 0]])
    there = moved(flow, mirror, (H, W))
    assert np.allclose(there[..., 0], -2) and np.allclose(there[:, -20:, 1], 1) and np.allclose(there[:, :-20, 1], 0)


def test_a_restless_flow_keeps_what_moves_against_what():
    own = np.zeros((H, W, 2), np.float32)
    own[30:60, 40:90] = (4, 1)
    for seed in range(5):
        out = restless(own, np.random.default_rng(seed))
        speed = np.linalg.norm(steady(out), axis=2)
        assert np.allclose(speed[30:60, 40:90], np.hypot(4, 1), atol=0.1) and speed[:25].max() < 0.1
    one, other = (restless(own, np.random.default_rng(s), amount=0)[40, 50] for s in (0, 1))
    assert not np.allclose(one, other, atol=0.5), "in another direction each time"
