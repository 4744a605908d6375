"""Slow, obvious versions of the measures: loops over pixels, all permutations, all paths."""

import itertools
import math

import numpy as np


def jaccard(a, b, void=None):
    inter = union = 0
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            if void is not None and void[y, x]:
                continue
            inter += bool(a[y, x] and b[y, x])
            union += bool(a[y, x] or b[y, x])
    return inter / union if union else 1.0


def boundary(mask):
    h, w = mask.shape
    out = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            for dy, dx in ((0, 1), (1, 0), (1, 1)):
                if (y == h - 1 and dy) or (x == w - 1 and dx):
                    continue  # last row: east only; last column: south only; corner: none
                out[y, x] |= bool(mask[y, x]) != bool(mask[y + dy, x + dx])
    return out


def dilate(mask, r):
    """Paint a disk round every pixel that is on."""
    out = np.zeros_like(mask)
    for y, x in zip(*np.nonzero(mask), strict=True):
        for dy in range(-r, r + 1):
            for dx in range(-r, r + 1):
                inside = 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1]
                if dy * dy + dx * dx <= r * r and inside:
                    out[y + dy, x + dx] = True
    return out


def boundary_f(a, b, void=None, bound=0.008):
    if void is not None:
        a, b = a & ~void, b & ~void
    r = math.ceil(bound * math.sqrt(a.shape[0] ** 2 + a.shape[1] ** 2))
    a, b = boundary(a), boundary(b)
    if not a.any() and not b.any():
        return 1.0
    if not a.any() or not b.any():
        return 0.0
    precision = (a & dilate(b, r)).sum() / a.sum()
    recall = (b & dilate(a, r)).sum() / b.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def match_total(scores):
    """The best total over all one-to-one assignments."""
    scores = np.asarray(scores)
    if scores.shape[0] > scores.shape[1]:
        scores = scores.T
    columns = itertools.permutations(range(scores.shape[1]), scores.shape[0])
    return max(sum(scores[g, p] for g, p in enumerate(order)) for order in columns)


def path_cost(cost, i=0, j=0):
    """The least sum over all monotone paths from (i, j) to the last corner, by trying every one."""
    n, m = cost.shape
    if (i, j) == (n - 1, m - 1):
        return cost[i, j]
    steps = [(i + 1, j), (i, j + 1), (i + 1, j + 1)]
    return cost[i, j] + min(path_cost(cost, y, x) for y, x in steps if y < n and x < m)


def chi2(a, b):
    total = 0.0
    for x, y in zip(a, b, strict=True):
        if x + y > 0:
            total += (x - y) ** 2 / (x + y)
    return total / 2


def decay(values):
    """First quarter minus last, spans sharing their border frame."""
    n = len(values)
    edges = [round(1 + (n - 1) * k / 4 + 1e-10) - 1 for k in range(5)]
    return np.mean(values[: edges[1] + 1]) - np.mean(values[edges[3] :])
