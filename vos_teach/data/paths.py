"""How toy clips' layers move: smooth paths, walks, sizes and waves; one value, or one (x, y), a frame."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

Rng = np.random.Generator
TURN = 2 * np.pi


def knots(length: int, every: float = 7) -> np.ndarray:
    """The times, about `every` frames apart, through which a spline goes."""
    return np.linspace(0, max(length - 1, 1), max(3, round(length / every) + 1))


def walk(rng: Rng, length: int, step: float, near_zero: bool = False) -> np.ndarray:
    """T: a smooth random walk, `step` radians (or whatever) a knot; or one that stays near zero."""
    t = knots(length)
    if near_zero:
        x = 1.5 * rng.uniform(-step, step, len(t))
    else:
        x = rng.uniform(0, TURN) + np.cumsum(rng.normal(0, step, len(t)))
    return CubicSpline(t, x)(np.arange(length))


def wander(rng: Rng, length: int, size: tuple[int, int], start: np.ndarray, speed: float, reach: float
           ) -> np.ndarray:
    """T,2: from `start`, about `speed` pixels a frame, the centre mostly `reach` away from the frame's edge."""
    low = np.full(2, 0.8 * reach)
    high = np.maximum(np.array(size[::-1]) - low, low + 1)
    t = knots(length)
    points = [np.asarray(start, float)]
    for gap in np.diff(t):
        way = rng.uniform(0, TURN, 24)
        aims = points[-1] + gap * speed * rng.uniform(0.8, 1.2) * np.stack([np.cos(way), np.sin(way)], -1)
        outside = np.maximum(low - aims, 0).sum(-1) + np.maximum(aims - high, 0).sum(-1)
        points.append(np.clip(aims[int(np.argmin(outside))], low, high))
    return CubicSpline(t, np.array(points))(np.arange(length))


def place(rng: Rng, size: tuple[int, int], reach: float, taken: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """(x, y) for a thing of radius `reach`, clear of what is `taken` (centre, radius) if 30 tries find room."""
    tries = rng.uniform([reach, reach], np.maximum(np.array(size[::-1]) - reach, reach + 1), (30, 2))
    room = [min([float(np.hypot(*(p - q))) - reach - r for q, r in taken], default=0.0) for p in tries]
    good = [i for i, x in enumerate(room) if x >= 0]
    return tries[good[0] if good else int(np.argmax(room))]


def cross(rng: Rng, length: int, size: tuple[int, int]) -> np.ndarray:
    """T,2: from one side to the other through the middle (and back, in a long clip)."""
    h, w = size
    t, period = np.arange(length), min(length - 1, 30)
    x = np.interp(t % (2 * period), [0, period, 2 * period], [-0.33, 0.33, -0.33]) * rng.choice([-1, 1])
    y = 0.5 + 0.12 * np.sin(0.2 * t + rng.uniform(0, TURN))
    return np.stack([w * (0.5 + x), h * y], -1)


def leave(rng: Rng, length: int, size: tuple[int, int], reach: float) -> np.ndarray:
    """T,2: out at one side, away for about a fifth of the clip, in again on the same side at another height."""
    h, w = size
    if length <= 40:
        phase = np.arange(length) / (length - 1)
    else:
        phase = np.arange(length) % 30 / 30
    y1, y2 = rng.permutation([0.3, 0.7]) * h
    out = w + reach
    at = [0, 0.15, 0.37, 0.47, 0.6, 0.82, 1]
    x = PchipInterpolator(at, [0.62 * w, 0.7 * w, out, out + 0.1 * reach, out, 0.7 * w, 0.62 * w])(phase)
    y = PchipInterpolator(at, [y1, y1, y1, (y1 + y2) / 2, y2, y2, y1])(phase)
    return np.stack([x if rng.random() < 0.5 else w - 1 - x, y], -1)


def enter(rng: Rng, length: int, size: tuple[int, int], t0: int, reach: float, speed: float) -> np.ndarray:
    """T,2: in frame t0 mostly inside the left or right edge, then on inwards; meaningless before t0."""
    h, w = size
    left = rng.random() < 0.5
    start = np.array([0.5 * reach if left else w - 0.5 * reach, rng.uniform(reach, max(h - reach, reach + 1))])
    inwards = start + np.array([1.2 * reach if left else -1.2 * reach, 0])
    after = wander(rng, max(length - t0, 2), size, inwards, speed, reach)
    after = after + (start - after[0]) * np.exp(-np.arange(len(after)) / 2.5)[:, None]
    return np.concatenate([np.tile(start, (t0, 1)), after])[:length]


def sizes(rng: Rng, length: int, base: float, varies: bool, grows: bool, pulses: bool) -> np.ndarray:
    """T,2 scales around `base`: the instance's own aspect, a little breathing, maybe 2.3 times up (down) and back."""
    t = np.arange(length)
    log = walk(rng, length, 0.03, near_zero=True)
    if varies:
        there_and_back = (1 - np.cos(TURN * t / (1.4 * min(length, 40)))) / 2
        log = log + (1 if grows else -1) * np.log(2.3) * there_and_back
    aspect = rng.uniform(-0.12, 0.12) + (0.2 * np.sin(0.4 * t + rng.uniform(0, TURN)) if pulses else 0)
    return base * np.exp(np.stack([log + aspect, log - aspect], -1))


def waves(rng: Rng, n: int, slope: float, wavelength: tuple[float, float], speed: float) -> np.ndarray:
    """n,6 waves for scene.Layer, each of slope |a||w|, wavelengths in canonical pixels, speed in radians a frame."""
    out = np.zeros((n, 6))
    for k in range(n):
        wave, way, side = rng.uniform(*wavelength), rng.uniform(0, TURN), rng.uniform(0, TURN)
        a, w = slope * wave / TURN, TURN / wave
        out[k, :4] = a * np.cos(side), a * np.sin(side), w * np.cos(way), w * np.sin(way)
        out[k, 4:] = rng.uniform(0, TURN), speed * rng.choice([-1, 1])
    return out
