"""Temporal stability T: how much a mask's outline changes from one frame to the next beyond moving along.

Perazzi et al., CVPR 2016, section 4.1, with the constants of DAVIS-2016. Each outline becomes a closed chain of
points; a point is described by where the others lie around it (shape context: Belongie, Malik and Puzicha,
PAMI 2002); dynamic programming matches two outlines in order; T is 5 times the mean cost of the matches. Lower
is better, and a mask that never changes is perfect: read T beside J, never alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from vos_teach.errors import VosError as bad

TOLERANCE = 3.0  # pixels: of the polygon, and the longest segment between two points of the chain
ANGLES, RADII = 12, np.logspace(np.log10(1 / 8), np.log10(2), 5)
SCALE = 5.0
BLOCK = 64  # rows at a time, so that memory stays small and caches warm


def temporal_stability(masks: Any) -> np.ndarray:
    """T between each frame and the next (lower is better).

    masks       T,H,W bool. Returns (T-1,) float64; NaN where either of the two masks has no outline.
    DAVIS-2016 reports the mean over all pairs but the last.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise bad(f"temporal_stability wants masks of shape T,H,W, not {masks.shape}")
    shapes = [describe(mask) for mask in masks]
    return np.array([instability(a, b) for a, b in pairwise(shapes)], np.float64)


def describe(mask: np.ndarray) -> np.ndarray | None:
    """H,W mask -> N,60: the shape context of each point of its longest outline, each row summing to 1."""
    chain = outline(mask)
    return None if chain is None else shape_contexts(chain)


def outline(mask: np.ndarray) -> np.ndarray | None:
    """The longest closed contour of an H,W mask: N,2 points (x, y) at most 3 px apart; None without a contour."""
    from skimage.measure import find_contours

    # between the pixels, where pixels that only touch at a corner are apart: what comes closest to the published T
    found = find_contours(np.pad(mask.astype(np.float64), 1), 0.5)
    if not found:
        return None
    ring = max(found, key=len)[:-1, ::-1].astype(np.float32) - 1
    corners = cv2.approxPolyDP(ring[:, None], TOLERANCE, True)[:, 0].astype(np.float64)
    steps = np.roll(corners, -1, axis=0) - corners
    counts = np.maximum(np.ceil(np.hypot(*steps.T) / TOLERANCE).astype(int), 1)
    sides = zip(corners, steps, counts, strict=True)
    return np.concatenate([corner + step * np.arange(n)[:, None] / n for corner, step, n in sides])


def shape_contexts(points: np.ndarray) -> np.ndarray:
    """N,2 -> N,60: histograms over 12 angles and 5 log-spaced distances of where the other points lie."""
    x, y = points.T
    mean = np.mean([np.hypot(x - px, y - py).mean() for px, py in points]) or 1.0
    bins = ANGLES * len(RADII)
    counts = np.empty((len(points), bins))
    for i in range(0, len(points), BLOCK):
        dx, dy = x - x[i : i + BLOCK, None], y - y[i : i + BLOCK, None]  # (BLOCK, N)
        ring = np.searchsorted(RADII * mean, np.hypot(dx, dy), side="right")  # 5: beyond the last
        sector = np.floor(np.arctan2(dy, dx) * (ANGLES / (2 * np.pi))).astype(int) % ANGLES
        cell = (np.arange(len(dx))[:, None] * ANGLES + sector) * len(RADII) + ring
        counts[i : i + BLOCK] = np.bincount(cell[ring < len(RADII)], minlength=len(dx) * bins).reshape(-1, bins)
    return counts / counts.sum(axis=1, keepdims=True)  # a point counts itself, so no row is empty


def chi2(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """N,D and M,D histograms, rows summing to 1 -> N,M: 1/2 sum (a-b)^2/(a+b), which is 1 - 2 sum ab/(a+b)."""
    cost = np.ones((len(a), len(b)))
    for i in range(0, len(a), BLOCK):
        for x, y in zip(a[i : i + BLOCK].T, np.ascontiguousarray(b.T), strict=True):
            rows = np.flatnonzero(x)
            if len(rows):
                x = x[rows, None]
                shared = x * y
                shared /= x + y
                cost[i + rows] -= 2 * shared
    return cost


def cheapest_path(cost: np.ndarray) -> np.ndarray:
    """The monotone path with the least sum from the first to the last corner of an N,M cost matrix: L,2 cells.

    Steps go one row, one column, or both. Filled in one antidiagonal at a time: a cell's three predecessors lie
    on the two antidiagonals before its own.
    """
    n, m = cost.shape
    total = np.full((n + m + 1, n + 1), np.inf)  # total[i + j + 2, i + 1]; one border of infinity
    total[0, 0] = 0
    for d in range(n + m - 1):
        i = np.arange(max(0, d - m + 1), min(n, d + 1))
        before = np.minimum(np.minimum(total[d + 1, i], total[d + 1, i + 1]), total[d, i])
        total[d + 2, i + 1] = cost[i, d - i] + before
    i, j, path = n - 1, m - 1, []
    while i >= 0 and j >= 0:
        path.append((i, j))
        d = i + j
        step = int(np.argmin((total[d, i], total[d + 1, i], total[d + 1, i + 1])))
        i, j = i - (step != 2), j - (step != 1)
    return np.array(path[::-1])


def instability(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """T of two described outlines; NaN where one is missing."""
    if a is None or b is None:
        return float("nan")
    cost = chi2(a, b)
    path = cheapest_path(cost)
    # outlines are closed and start anywhere: cut both again where they agree best, and match once more
    shift = path[int(np.argmin(cost[path[:, 0], path[:, 1]]))]
    path = cheapest_path(np.roll(cost, -shift, axis=(0, 1)))
    path = (path + shift) % cost.shape
    for side in (0, 1):  # of the matches of one point keep the cheapest, seen from either outline
        order = np.lexsort((cost[path[:, 0], path[:, 1]], path[:, side]))
        path = path[order]
        path = path[np.r_[True, np.diff(path[:, side]) > 0]]
    return SCALE * float(cost[path[:, 0], path[:, 1]].mean())
