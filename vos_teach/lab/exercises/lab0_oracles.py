"""Lab 0: the slow oracles, and what usual mistakes give. They share nothing with vos_teach.metrics: they visit pixels,
pairs of pixels and permutations one by one, so that each can be read as the definition.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# ---------------------------------------------------------------------------------------------------------- oracles


def jaccard(pred: np.ndarray, target: np.ndarray, void: np.ndarray | None = None) -> np.ndarray:
    """J of each frame, pixel by pixel."""
    values = []
    for t in range(len(pred)):
        both = either = 0
        for y, x in np.ndindex(*pred.shape[1:]):
            if void is not None and void[t, y, x]:
                continue
            both += bool(pred[t, y, x]) and bool(target[t, y, x])
            either += bool(pred[t, y, x]) or bool(target[t, y, x])
        values.append(both / either if either else 1.0)
    return np.array(values, np.float64)


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """H,W: on where a pixel differs from the one to its east, south or south-east that is inside the frame."""
    h, w = mask.shape
    inside = mask.astype(bool).tolist()
    on = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            # the last row has nothing to its south, so it looks east only; the last column south only
            east = x + 1 < w and inside[y][x] != inside[y][x + 1]
            south = y + 1 < h and inside[y][x] != inside[y + 1][x]
            diagonal = y + 1 < h and x + 1 < w and inside[y][x] != inside[y + 1][x + 1]
            on[y, x] = east or south or diagonal
    return on


def disk_radius(size: tuple[int, int], bound: float) -> int:
    """F's tolerance in pixels: a fraction of the diagonal, rounded up."""
    return math.ceil(bound * math.hypot(*size))


def boundary_f(pred: np.ndarray, target: np.ndarray, void: np.ndarray | None = None, bound: float = 0.008
               ) -> np.ndarray:
    """F of each frame: for every boundary pixel, look for one of the other boundary within reach."""
    return _boundary_f(pred, target, void, bound)


def recall(values: Sequence[float], threshold: float = 0.5) -> float:
    """The share of frames above the threshold, counted one by one."""
    above = sum(1 for v in values if v > threshold)  # NaN is above nothing
    return above / len(values) if len(values) else math.nan


def decay(values: Sequence[float], bins: int = 4) -> float:
    """Mean of the first span of time minus mean of the last. Borders in whole numbers: no rounding of fractions."""
    n = len(values)
    if n == 0:
        return math.nan
    borders = [(2 * (n - 1) * k + bins) // (2 * bins) for k in range(bins + 1)]  # halves go up
    means = []
    for first, last in (borders[:2], borders[-2:]):
        span = [v for v in values[first : last + 1] if not math.isnan(v)]
        means.append(sum(span) / len(span) if span else math.nan)
    return means[0] - means[1]


def best_total(scores: np.ndarray) -> float:
    """The largest total score of any one-to-one assignment: all of them are tried."""
    table = [[0.0 if math.isnan(s) else float(s) for s in row] for row in scores]
    g, p = scores.shape
    if g <= p:
        return max(sum(table[i][j] for i, j in enumerate(order)) for order in itertools.permutations(range(p), g))
    return max(sum(table[i][j] for j, i in enumerate(order)) for order in itertools.permutations(range(g), p))


# --------------------------------------------------------------------------------------------------- usual mistakes


def _boundary_f(pred: Any, target: Any, void: Any = None, bound: float = 0.008,
                edges: Callable[[np.ndarray], np.ndarray] = boundary_map,
                reach: Callable[[tuple[int, int], float], float] = disk_radius,
                distance: Callable[[int, int], float] = math.hypot, both_empty: float = 1.0, clear: str = "before",
                mean: Callable[..., float] = lambda p, r, n, m: 2 * p * r / (p + r) if p + r else 0.0) -> np.ndarray:
    """F, with each of its rules exchangeable."""
    values = []
    for t in range(len(pred)):
        points = []
        for mask in (pred[t].astype(bool), target[t].astype(bool)):
            if void is not None and clear == "before":
                mask = mask & ~void[t].astype(bool)
            on = edges(mask)
            if void is not None and clear == "after":
                on = on & ~void[t].astype(bool)
            points.append({(int(y), int(x)) for y, x in np.argwhere(on)})
        a, b = points
        if not a or not b:
            values.append(both_empty if len(a) == len(b) else 0.0)
            continue
        r = math.floor(reach(pred.shape[1:], bound))
        steps = [(dy, dx) for dy in range(-r, r + 1) for dx in range(-r, r + 1) if distance(dy, dx) <= r]

        def near(some: set, others: set, steps: list = steps) -> float:
            return sum(any((y + dy, x + dx) in others for dy, dx in steps) for y, x in some) / len(some)

        values.append(mean(near(a, b), near(b, a), len(a), len(b)))
    return np.array(values, np.float64)


def _f(**rules: Any) -> Callable[..., np.ndarray]:
    def wrong(pred: Any, target: Any, void: Any = None, bound: float = 0.008) -> np.ndarray:
        return _boundary_f(pred, target, void, bound, **rules)

    return wrong


def _shifted(mask: np.ndarray, dy: int, dx: int, mode: str = "edge") -> np.ndarray:
    """The neighbour at (+dy, +dx) of every pixel; outside the frame the edge again, or 0."""
    pad = np.pad(mask.astype(bool), 1, mode=mode)  # type: ignore[call-overload]
    return pad[1 + dy : 1 + dy + mask.shape[0], 1 + dx : 1 + dx + mask.shape[1]]


def _edges(*looks: tuple[int, int], mode: str = "edge") -> Callable[[np.ndarray], np.ndarray]:
    def edges(mask: np.ndarray) -> np.ndarray:
        return np.any([mask.astype(bool) != _shifted(mask, dy, dx, mode) for dy, dx in looks], 0)

    return edges


_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
_CROSS = [(-1, 0), (1, 0), (0, -1), (0, 1)]
_HERE = [(0, 1), (1, 0), (1, 1)]


def _inside(looks: list[tuple[int, int]], mode: str) -> Callable[[np.ndarray], np.ndarray]:
    """The object's own outermost pixels."""
    return lambda mask: mask.astype(bool) & _edges(*looks, mode=mode)(mask)


def _wrapped(mask: np.ndarray) -> np.ndarray:
    return np.any([mask.astype(bool) != np.roll(mask.astype(bool), (-dy, -dx), (0, 1)) for dy, dx in _HERE], 0)


def _interior(mask: np.ndarray) -> np.ndarray:
    on = boundary_map(mask)
    on[-1], on[:, -1] = False, False
    return on


def _ratio(top: Callable, bottom: Callable, empty: float, use_void: bool = True) -> Callable[..., np.ndarray]:
    """A J with other counts: top and bottom take (prediction, truth) of one frame."""

    def wrong(pred: Any, target: Any, void: Any = None) -> np.ndarray:
        values = []
        for t in range(len(pred)):
            p, q = pred[t].astype(bool), target[t].astype(bool)
            if void is not None and use_void:
                p, q = p[~void[t].astype(bool)], q[~void[t].astype(bool)]
            n = bottom(p, q)
            values.append(top(p, q) / n if n else empty)
        return np.array(values)

    return wrong


def _both(p: np.ndarray, q: np.ndarray) -> int:
    return int((p & q).sum())


def _either(p: np.ndarray, q: np.ndarray) -> int:
    return int((p | q).sum())


def _j_whole_clip(pred: Any, target: Any, void: Any = None) -> Any:
    keep = np.ones(pred.shape, bool) if void is None else ~void.astype(bool)
    p, q = pred.astype(bool) & keep, target.astype(bool) & keep
    return (p & q).sum() / max((p | q).sum(), 1)


def _j_mean(pred: Any, target: Any, void: Any = None) -> Any:
    return jaccard(pred, target, void).mean()


def _j_void_in_prediction(pred: Any, target: Any, void: Any = None) -> np.ndarray:
    return jaccard(pred if void is None else pred.astype(bool) & ~void.astype(bool), target)


def _spans(first: Callable[[int, int], slice], last: Callable[[int, int], slice]) -> Callable[..., float]:
    def wrong(values: Any, bins: int = 4) -> float:
        v, n = np.asarray(values, float), len(values)
        return float(np.nanmean(v[first(n, bins)]) - np.nanmean(v[last(n, bins)]))

    return wrong


def _borders(n: int, bins: int) -> np.ndarray:
    return (np.round(np.linspace(1, n, bins + 1)) - 1).astype(int)  # np.round sends halves to the even number


def _split(values: Any, bins: int = 4) -> float:
    parts = np.array_split(values, bins)
    return float(np.nanmean(parts[0]) - np.nanmean(parts[-1]))


def _greedy(scores: np.ndarray) -> list[tuple[int, int]]:
    """Objects in turn, each the best proposal that is left."""
    left, pairs = list(range(scores.shape[1])), []
    for g in range(min(scores.shape)):
        best = max(left, key=lambda p: scores[g, p])
        left.remove(best)
        pairs.append((g, best))
    return pairs


def _without_first(scores: np.ndarray) -> list[tuple[int, int]]:
    """Proposal 0 taken for the background."""
    rest = scores[:, 1:]
    orders = itertools.permutations(range(rest.shape[1]), rest.shape[0])
    return [(g, p + 1) for g, p in enumerate(max(orders, key=lambda o: sum(rest[g, p] for g, p in enumerate(o))))]


def _greedy_pairs(scores: np.ndarray) -> list[tuple[int, int]]:
    """The best pair of all first, and so on."""
    table, pairs = np.nan_to_num(scores).astype(float), []
    for _ in range(min(scores.shape)):
        g, p = np.unravel_index(table.argmax(), table.shape)
        pairs.append((int(g), int(p)))
        table[g], table[:, p] = -1, -1
    return sorted(pairs)
