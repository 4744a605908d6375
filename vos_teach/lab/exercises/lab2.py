"""Lab 2, mask propagation: how its answers are judged. Oracles are loops to be read, not to be fast."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, equals
from vos_teach.lab.exercises.lab2_dream import DREAM
from vos_teach.lab.exercises.lab2_pair import TRAINING_PAIR
from vos_teach.lab.exercises.lab2_spoil import SPOIL
from vos_teach.lab.exercises.lab2_track import TRACK

# ---- thin_plate_spline ----------------------------------------------------------------------------------------


def bend(r: float) -> float:
    """U(r) = r^2 log r, with its limit 0 at r = 0."""
    return r * r * math.log(r) if r > 0 else 0.0


def spline_oracle(src: Tensor, dst: Tensor, points: Tensor) -> np.ndarray:
    """The linear system written down row by row, once for x and once for y, then the sum point by point."""
    s = [(float(x), float(y)) for x, y in src]
    n = len(s)
    left = np.zeros((n + 3, n + 3))
    for i, (x, y) in enumerate(s):
        for j, other in enumerate(s):
            left[i, j] = bend(math.dist((x, y), other))
        left[i, n:] = left[n:, i] = 1, x, y  # the affine part; and: the bends balance each other
    weights = [np.linalg.solve(left, [*(float(v) for v in dst[:, axis]), 0, 0, 0]) for axis in (0, 1)]
    out = np.zeros((len(points), 2))
    for row, (x, y) in enumerate(points):
        for axis, w in enumerate(weights):
            out[row, axis] = w[n] + w[n + 1] * float(x) + w[n + 2] * float(y)
            for i, at in enumerate(s):
                out[row, axis] += w[i] * bend(math.dist((float(x), float(y)), at))
    return out


def spline_call(rng: np.random.Generator, n: int = 5, points: int = 12, much: float = 0.15,
                size: tuple[float, float] = (120.0, 60.0), only_x: bool = False) -> Call:
    """n control points spread over a box of that width and height, where they go, and points in and around it."""
    angle = 2 * np.pi * (np.arange(n) + rng.uniform(-0.3, 0.3, n)) / n
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.6, 1, (n, 1))
    src = (ring + 1.2) / 2 * size
    move = rng.uniform(-much, much, (n, 2)) * size
    if only_x:
        move[:, 1] = 0
    return _tensors(src, src + move, rng.uniform(-0.1, 1.3, (points, 2)) * size)


def _tensors(*arrays: np.ndarray) -> Call:
    return tuple(torch.tensor(a, dtype=torch.float64) for a in arrays)


def at_controls(rng: np.random.Generator, n: int = 5) -> Call:
    """A spline evaluated at its own control points."""
    src, dst, _ = spline_call(rng, n)
    return src, dst, src.clone()


def turned(rng: np.random.Generator, n: int = 5, points: int = 8) -> Call:
    """The control points turn, grow and shift as one: the map is just that, without a bend."""
    src, _, where = spline_call(rng, n, points)
    a, zoom = rng.uniform(-0.5, 0.5), rng.uniform(0.8, 1.3)
    turn = zoom * torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64)
    return src, src @ turn.T + torch.tensor(rng.uniform(-9, 9, 2)), where


def _spline(kernel: Callable[[Tensor], Tensor] | None = None, affine: bool = True, flip: str = "", back: bool = False,
            offset: bool = False, soft: float = 0.0, once: bool = True) -> Callable[..., Tensor]:
    """A spline with one thing wrong."""
    kernel = kernel or (lambda r: torch.where(r > 0, r * r * r.clamp_min(1e-300).log(), 0.0))

    def wrong(src, dst, points):
        s, d = (dst, src) if back else (src, dst)
        s = s.flip(-1) if "s" in flip else s
        p = points.flip(-1) if "p" in flip else points
        n = len(s)
        plane = torch.cat([torch.ones(n, 1), s], 1).double()
        k = kernel(torch.cdist(s, s)) + soft * torch.eye(n).double()
        if not affine:
            out = kernel(torch.cdist(p, s)) @ torch.linalg.solve(k, d)
        elif not once:  # the affine part alone
            out = torch.cat([torch.ones(len(p), 1), p], 1).double() @ torch.linalg.lstsq(plane, d).solution
        else:
            left = torch.cat([torch.cat([k, plane], 1), torch.cat([plane.T, torch.zeros(3, 3).double()], 1)])
            w = torch.linalg.solve(left, torch.cat([d, torch.zeros(3, 2).double()]))
            out = kernel(torch.cdist(p, s)) @ w[:n] + w[n] + p @ w[n + 1 :]
        out = out.flip(-1) if "o" in flip else out
        return out - points if offset else out

    return wrong


_SPLINE = equals(spline_oracle, "the points do not land where the spline takes them", atol=1e-3)

THIN_PLATE_SPLINE = Exercise(
    "lab2.thin_plate_spline",
    cases=(
        Case("the control points themselves", lambda rng: [at_controls(rng)],
             equals(spline_oracle, "each control point must land exactly on its goal", atol=1e-3)),
        Case("points in between", lambda rng: [spline_call(rng)], _SPLINE),
        Case("moved along x alone", lambda rng: [spline_call(rng, only_x=True)],
             equals(spline_oracle, "where nothing moves in y, no y may change: points are (x, y)", atol=1e-3)),
        Case("turned and shifted as one", lambda rng: [turned(rng)],
             equals(spline_oracle, "an affine change of the control points is an affine change of all points: "
                    "it needs no bend", atol=1e-3)),
    ),
    hints=(
        "Two parts: an affine map, and one bend per control point. How many unknowns is that for x, and how many "
        "equations do the control points and the side conditions give?",
        "Left side, (P+3) x (P+3): [[U(|s_i - s_j|), plane], [plane.T, 0]] with plane = [1, x, y] of each s. Right: "
        "dst, then three rows of zeros. torch.linalg.solve solves x and y at once; torch.cdist gives distances.",
        "w = torch.linalg.solve(left, right); then U(torch.cdist(points, src)) @ w[:P] + w[P] + points @ w[P+1:]. U is "
        "r*r*log(r), and 0 where r is 0: torch.where, with clamp_min inside the logarithm.",
    ),
    library="vos_teach.ops.deform:thin_plate_spline",
    suspects=(
        (_spline(back=True), "it maps dst to src: a spline takes src to dst"),
        (_spline(flip="p"), "x and y are swapped in points, not in the control points: all of them are (x, y)"),
        (_spline(flip="s"), "x and y are swapped in src, not in points: all of them are (x, y)"),
        (_spline(flip="o"), "x and y of the result are swapped: points are (x, y)"),
        (_spline(flip="spo"), "x and y of the result are swapped: points are (x, y)"),
        (_spline(kernel=lambda r: r * r * r.log()), "0 * log(0) is not a number: U is 0 where r is 0"),
        (_spline(kernel=lambda r: torch.where(r > 0, r * r.clamp_min(1e-300).log(), 0.0)),
         "the kernel is r log r: U(r) = r^2 log r"),
        (_spline(kernel=lambda r: r), "the kernel is r: U(r) = r^2 log r"),
        (_spline(affine=False), "the affine part is missing: three more unknowns each for x and y, three conditions"),
        (_spline(once=False), "the bends are missing: this is the affine part alone"),
        (_spline(offset=True), "that is how far the points move: return where they are"),
    ),
)

EXERCISES = (TRACK, THIN_PLATE_SPLINE, SPOIL, TRAINING_PAIR, DREAM)
