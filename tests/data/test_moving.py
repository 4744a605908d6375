"""Flow fields with what moves in them: arrows turn with the picture; nothing moves where nothing is said to."""

import numpy as np
import pytest
import torch

from vos_teach.clip import Clip, Lazy, VosError
from vos_teach.data import moving as M
from vos_teach.data import toy
from vos_teach.data.flow import between, known

SIZE = (60, 90)


def slider(step=(3.0, 1.0)):
    """A square that goes 3 pixels right and 1 down a frame, on still ground; its flow is exact."""

    def mask(t):
        out = np.zeros(SIZE, np.uint8)
        out[20 + t : 40 + t, 30 + 3 * t : 55 + 3 * t] = 1
        return out

    def flow(t, sign):
        return np.where(mask(t)[..., None] > 0, np.float32(step) * sign, np.float32(0)).astype(np.float32)

    return Clip("slider", Lazy(4, lambda t: mask(t)[..., None].repeat(3, 2) * np.uint8(200)), Lazy(4, mask), (1,), SIZE,
                forward_flow=Lazy(3, lambda t: flow(t, 1)), backward_flow=Lazy(3, lambda t: flow(t + 1, -1)))


def draws(n=40, pan=0.0, clip=None):
    out = [M.moving(clip or slider(), np.random.default_rng(seed), SIZE, pan=pan) for seed in range(n)]
    return [one for one in out if one is not None]


def inner(mask, keep):
    return torch.nn.functional.max_pool2d((mask != keep).float()[None], 5, 1, 2)[0] == 0


def test_arrows_are_turned_and_zoomed_with_the_mask(monkeypatch):
    """Each camera maps the true arrow by its own matrix, and still ground to no motion."""
    cameras, real, found = [], M.in_pixels, 0
    monkeypatch.setattr(M, "in_pixels", lambda *args: cameras.append(real(*args)) or cameras[-1])
    for seed in range(40):
        one = M.moving(slider(), np.random.default_rng(seed), SIZE, pan=0.0)
        if one is None or not (inside := inner(one[1], 1)).any():
            continue
        found += 1
        arrows, true = one[0][:, inside], np.array([3.0, 1.0]) @ cameras[-1][:, :2].T
        off = [np.abs(arrows.numpy() - (sign * true)[:, None]).max() for sign in (1, -1)]  # to the next frame, or back
        assert min(off) < 1e-3 and not one[0][:, inner(one[1], 0)].any()
    assert found > 25


def test_a_cameras_motion_is_added_to_half_of_them_and_only_if_asked():
    """Ground that stands still gets a motion that is linear in place, the object the same on top."""
    moved = 0
    for (flow, _), (plain, _) in zip(draws(pan=1.0), draws(), strict=True):
        extra = flow - plain
        if not extra.any():
            continue
        moved += 1
        assert extra[:, 1:].sub(extra[:, :-1]).std((1, 2)).max() < 1e-4  # the same step everywhere: linear
        assert extra.abs().mean() < 0.1 * SIZE[0]
    assert 8 < moved < 32


def test_where_nothing_moves_nothing_is_said_to():
    still = [one for one in draws(200) if not one[0].any()]
    assert 2 <= len(still) <= 25 and not any(mask.any() for _, mask in still)


def test_exact_flow_for_who_asks_with_frames():
    clip = toy.clip(3, length=4)
    look = known(clip)
    for t, to in ((0, 1), (2, 1), (3, 2)):
        assert np.array_equal(look(clip.frames[t], clip.frames[to]), between(clip, t, to, "exact"))
    with pytest.raises(VosError, match="does not have this frame"):
        look(clip.frames[0], 255 - clip.frames[1])
