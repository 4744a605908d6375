"""Lucas-Kanade against the least squares written down pixel by pixel, and against motions that are known."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vos_teach.data import toy
from vos_teach.ops.optical import lucas_kanade, lucas_kanade_step
from vos_teach.ops.warp import warp


def waves(h, w, dx=0.0, dy=0.0, seed=0):
    """A smooth pattern in [0, 1], moved by (dx, dy)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w].astype(float)
    out = np.zeros((h, w))
    for _ in range(6):
        angle, length, phase = rng.uniform(0, np.pi), rng.uniform(11, 22), rng.uniform(0, 6.28)
        out += np.sin(2 * np.pi * (np.cos(angle) * (x - dx) + np.sin(angle) * (y - dy)) / length + phase)
    return out / 12 + 0.5


def by_hand(first, second, window):
    """One least-squares problem for each pixel, by numpy's solver; flat and striped windows give 0."""
    h, w = first.shape
    r, flow = window // 2, np.zeros((h, w, 2))
    iy, ix = np.gradient(first)
    for y in range(h):
        for x in range(w):
            at = slice(max(0, y - r), y + r + 1), slice(max(0, x - r), x + r + 1)
            a = np.stack([ix[at].ravel(), iy[at].ravel()], 1)
            if np.linalg.det(a.T @ a) > 1e-3:
                flow[y, x] = np.linalg.lstsq(a, (first - second)[at].ravel(), rcond=None)[0]
    return flow


@pytest.mark.parametrize("window", [3, 7])
def test_a_step_solves_each_pixels_least_squares(window):
    first, second = np.random.default_rng(0).random((2, 12, 17))
    assert np.allclose(lucas_kanade_step(first, second, window), by_hand(first, second, window), atol=1e-5)


@pytest.mark.parametrize(("dx", "dy"), [(0.4, 0.0), (0.0, -0.3), (-0.3, 0.35)])
def test_a_step_finds_small_motions(dx, dy):
    flow = lucas_kanade_step(waves(48, 64), waves(48, 64, dx, dy))
    assert flow.dtype == np.float32 and np.abs(flow[9:-9, 9:-9] - (dx, dy)).max() < 0.06


def test_what_shows_nothing_does_not_move():
    flat, stripes = np.full((20, 30), 0.4), np.tile(np.sin(np.arange(30) / 2), (20, 1))
    assert not lucas_kanade_step(flat, flat + 0.1).any()
    assert not lucas_kanade_step(stripes, np.roll(stripes, 1, 1)).any()  # the aperture problem
    assert not lucas_kanade(flat, flat).any()


@pytest.mark.parametrize(("dx", "dy"), [(7, -4), (-6, 5), (0, 0)])
def test_coarse_to_fine_finds_motions_of_many_pixels(dx, dy):
    noise = np.random.default_rng(0).normal(size=(136, 168))
    picture = sum(gaussian_filter(noise, s) * s for s in (1.5, 4, 10))  # something to see at every level
    picture = (picture - picture.min()) / np.ptp(picture)
    first, second = picture[20:-20, 20:-20], picture[20 - dy : 116 - dy, 20 - dx : 148 - dx]
    inside = slice(24, -24), slice(24, -24)
    assert np.abs(lucas_kanade(first, second, window=9)[inside] - (dx, dy)).max() < 0.1
    if dx:  # a single step cannot
        assert np.abs(lucas_kanade_step(first, second)[inside] - (dx, dy)).mean() > 2


def test_a_toy_clips_objects_are_followed():
    """Nearer to the truth than standing still, and the next frame fetched back looks like this one."""
    clip = toy.clip(7, split="val", similar=2, distractors=0)
    grey = [f.mean(-1) / 255 for f in (clip.frames[4], clip.frames[5])]
    flow, on = lucas_kanade(*grey, window=9), clip.masks[4] == 1
    off = np.linalg.norm(flow - clip.forward_flow[4], axis=-1)[on].mean()
    assert off < 0.5 * np.linalg.norm(clip.forward_flow[4], axis=-1)[on].mean()
    second = torch.from_numpy(grey[1])[None]
    back = warp(second, torch.from_numpy(flow.transpose(2, 0, 1).copy()))[0].numpy()
    assert np.abs(back - grey[0])[on].mean() < 0.5 * np.abs(grey[1] - grey[0])[on].mean()


def test_the_step_is_the_callers():
    asked = []

    def still(first, second, window):
        asked.append((first.shape, window))
        return np.full((*first.shape, 2), np.nan)  # an unsolvable window does not spread

    assert not lucas_kanade(waves(64, 80), waves(64, 80, 1), 5, 3, 2, step=still).any()
    assert asked == [((16, 20), 5)] * 2 + [((32, 40), 5)] * 2 + [((64, 80), 5)] * 2


def test_small_frames_have_fewer_levels():
    assert lucas_kanade(waves(20, 24), waves(20, 24, 1)).shape == (20, 24, 2)
