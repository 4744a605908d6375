"""Flow fields as a network sees them: the camera's share taken off, coloured; and moved at random for training."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from vos_teach.data.flow import colours

FLOOR = 0.5 / 240  # of the height: below this speed (half a pixel at 240p) motion is not told from noise


def steady(flow: np.ndarray, rounds: int = 10) -> np.ndarray:
    """The flow less what the camera does: H,W,2 float32 -> the same.

    The camera's part is the affine flow that fits most pixels, found by re-weighted least squares (Cauchy weights, on
    every eighth pixel). It starts from the frame's rim, where things are seldom.
    """
    h, w = flow.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    sparse = slice(min(4, h // 2), None, 8), slice(min(4, w // 2), None, 8)
    u, v = (x / w - 0.5), (y / h - 0.5)
    points = np.stack([np.ones_like(u[sparse]), u[sparse], v[sparse]], -1).reshape(-1, 3).astype(np.float64)
    found = flow[sparse].reshape(-1, 2).astype(np.float64)
    weight = np.where(np.abs(points[:, 1:]).max(1) > 0.38, 1.0, 0.02)
    for _ in range(rounds):
        root = np.sqrt(weight)[:, None]
        fit = np.linalg.lstsq(points * root, found * root, rcond=None)[0]  # 3,2
        off = np.linalg.norm(found - points @ fit, axis=1)
        weight = 1 / (1 + (off / max(1.5 * np.median(off), 0.02)) ** 2)
    fit = fit.astype(np.float32)
    return flow - (fit[0] + u[..., None] * fit[1] + v[..., None] * fit[2])


def picture(flow: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """A steady flow's picture, H,W,3 uint8, coloured as by `flow.colours`: full colour from the 99th percentile of the
    speeds on (times gain), not from the largest, which may be one pixel's error. What hardly moves stays pale.
    """
    speed = np.sqrt(np.square(flow).sum(-1))
    full = max(float(np.percentile(speed[::2, ::2], 99)), FLOOR * flow.shape[0]) * gain
    unit = flow / np.maximum(full, speed)[..., None]  # length at most 1
    where = np.rint((unit + 1) * 256).astype(np.int32)  # H,W,2
    return _wheel()[where[..., 1], where[..., 0]]


@lru_cache(maxsize=1)
def _wheel() -> np.ndarray:
    """The colours of all flows of length up to 1, a table 513,513,3: much faster than colouring pixel by pixel."""
    dy, dx = np.mgrid[-256:257, -256:257].astype(np.float32) / 256
    far = np.maximum(1, np.hypot(dx, dy))
    return colours(np.stack([dx / far, dy / far], -1))


def placed(size: tuple[int, int], rng: np.random.Generator, out: tuple[int, int], zoom: tuple[float, float],
           degrees: float = 15, shift: float = 0.1) -> np.ndarray:
    """A random 2,3 matrix for cv2.warpAffine from `size` to `out` (H, W each): turn, zoom, shift, flip half of times.

    zoom 1 lets the height fill `out`.
    """
    (h, w), (height, width) = size, out
    angle, scale = np.deg2rad(rng.uniform(-degrees, degrees)), rng.uniform(*zoom) * height / h
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    turn[:, 0] *= rng.choice([-1, 1])
    goal = np.array([(width - 1) / 2, (height - 1) / 2]) + rng.uniform(-shift, shift, 2) * (width, height)
    return np.hstack([turn, (goal - turn @ [(w - 1) / 2, (h - 1) / 2])[:, None]])


def moved(flow: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The flow of frames that are both moved by a matrix: its vectors turn with them. H,W,2 -> `size`,2."""
    there = cv2.warpAffine(flow, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return there @ matrix[:, :2].T.astype(np.float32)


def restless(flow: np.ndarray, rng: np.random.Generator, amount: float = 0.15) -> np.ndarray:
    """The same motion in any direction, with a little of the camera's left in it: H,W,2 -> the same.

    All vectors are turned by one angle: which way a thing goes says nothing of what it is. An affine flow is added of
    up to `amount` of the fastest speeds: `steady` never takes off all, and nothing at all of parallax.
    """
    h, w = flow.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    fast = max(float(np.percentile(np.linalg.norm(flow[::4, ::4], axis=2), 99)), FLOOR * h)
    y, x = np.mgrid[-0.5:0.5:h * 1j, -0.5:0.5:w * 1j].astype(np.float32)
    camera = (rng.uniform(-1, 1, (3, 2)) * amount * fast * rng.random()).astype(np.float32)
    return flow @ turn.T + camera[0] + 2 * (x[..., None] * camera[1] + y[..., None] * camera[2])
