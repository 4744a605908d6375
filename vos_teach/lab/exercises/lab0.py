"""Lab 0, the task, the data, the measures: what each answer is judged by.

The oracles below are slow on purpose and share nothing with vos_teach.metrics: they visit pixels, pairs of pixels and
permutations one by one, so that each can be read as the definition. Students' answers work on NumPy arrays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vos_teach.lab.cases import Call, Case, Exercise, brief, equals

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


# ------------------------------------------------------------------------------------------------------ what is sent


def blob(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """An ellipse well inside a frame of H,W: bool."""
    (h, w), (y, x) = size, rng.uniform(0.4, 0.6, 2)
    a, b = rng.uniform(0.18, 0.3, 2)
    v, u = np.ogrid[:h, :w]
    return ((v + 0.5 - y * h) / (a * h)) ** 2 + ((u + 0.5 - x * w) / (b * w)) ** 2 <= 1


def moved(mask: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """The mask moved by whole pixels (..., H,W); what comes in from outside is empty."""
    h, w = mask.shape[-2:]
    out = np.zeros_like(mask)
    out[..., max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = mask[
        ..., max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)]
    return out


def clip_pair(rng: np.random.Generator, size: tuple[int, int], moves: Sequence[tuple[int, int]]
              ) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, truth), T,H,W bool: a blob per frame, and the same blob moved by `moves[t]`."""
    target = np.stack([blob(rng, size) for _ in moves])
    return np.stack([moved(m, *by) for m, by in zip(target, moves, strict=True)]), target


def _j_overlap(rng: np.random.Generator) -> list[Call]:
    return [clip_pair(rng, (10, 14), [(0, 1), (1, 3), (2, 5)])]


def _j_empty(rng: np.random.Generator) -> list[Call]:
    pred, target = clip_pair(rng, (10, 14), [(0, 1)] * 3)
    pred[1] = target[1] = False  # both empty
    pred[2] = False  # only the prediction
    return [(pred, target)]


def _j_void(rng: np.random.Generator) -> list[Call]:
    pred, target = clip_pair(rng, (10, 14), [(0, 2), (1, 1), (1, 3)])
    return [(pred, target, rng.random(pred.shape) < 0.3)]


SIZE = (9, 13)  # of the public cases for the boundary map


def _map_inside(rng: np.random.Generator) -> list[Call]:
    return [(blob(rng, SIZE),)]


def _map_border(rng: np.random.Generator) -> list[Call]:
    mask = np.zeros(SIZE, bool)
    mask[int(rng.integers(3, 6)) :, : int(rng.integers(4, 9))] = True
    return [(mask,), (mask[::-1, ::-1].copy(),)]


def _map_points(rng: np.random.Generator) -> list[Call]:
    return [(rng.random(SIZE) < 0.12,)]


FRAME = (24, 124)  # of the public cases for F: 0.008 of the diagonal is 1.01 pixels, so the tolerance is 2


def _f_moved(rng: np.random.Generator) -> list[Call]:
    """Moved masks with a spot too many; the default tolerance and two more, which tell all usual radii apart."""
    calls: list[Call] = []
    for more in ((), (None, 0.025), (None, 0.02)):
        pred, target = clip_pair(rng, FRAME, [(0, 2), (2, 3), (1, 6)])
        pred[:, 2:5, int(rng.integers(3, 15)) :][:, :, :4] = True
        calls.append((pred, target, *more))
    return calls


def _f_empty(rng: np.random.Generator) -> list[Call]:
    pred, target = clip_pair(rng, FRAME, [(1, 2)] * 3)
    pred[0] = target[0] = False
    pred[1] = False
    return [(pred, target)]


def _f_void(rng: np.random.Generator) -> list[Call]:
    pred, target = clip_pair(rng, FRAME, [(2, 3), (0, 5), (3, 4)])
    void = np.zeros(pred.shape, bool)
    void[:, :, 60:80] = True
    return [(pred, target, void)]


def _f_border(rng: np.random.Generator) -> list[Call]:
    target = np.zeros((3, *FRAME), bool)
    for frame in target:
        frame[: int(rng.integers(9, 15)), int(rng.integers(50, 80)) :] = True
    return [(moved(target, 0, -4) | target, target)]


def _r_values(rng: np.random.Generator) -> list[Call]:
    return [(rng.uniform(0.2, 0.9, 20),)]


def _r_ties(rng: np.random.Generator) -> list[Call]:
    return [(rng.permutation(np.r_[rng.uniform(0.1, 0.4, 8), [0.5] * 5, rng.uniform(0.6, 0.9, 7)]),)]


def _r_threshold(rng: np.random.Generator) -> list[Call]:
    return [(rng.uniform(0.2, 0.9, 20), 0.75)]


def _d_falls(rng: np.random.Generator) -> list[Call]:
    return [(np.linspace(0.95, 0.2, 21) ** 2 + rng.uniform(-0.05, 0.05, 21),)]


def _d_halves(rng: np.random.Generator) -> list[Call]:
    return [(rng.uniform(0, 1, n),) for n in (23, 15)]


def _d_bins(rng: np.random.Generator) -> list[Call]:
    return [(rng.uniform(0, 1, 21), 2)]


def _m_rivals(rng: np.random.Generator) -> list[Call]:
    """Two objects whose best proposal is the same one; the second has nothing else."""
    a, b = rng.uniform(0.8, 0.9), rng.uniform(0.7, 0.78)
    table = np.array([[a, a - 0.05, 0.1], [b, 0.1, 0.05], [0.2, 0.05, 0.6]])
    return [(table,), (table[[1, 0, 2]],)]


def _m_more(rng: np.random.Generator) -> list[Call]:
    return [(rng.uniform(0, 1, (3, 5)),)]


def pairing(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
    """Judge of match_proposals. Several assignments may be the best, so what counts is the total, and the form."""
    for (scores,), result in zip(calls, results, strict=True):
        g, p = scores.shape
        try:
            pairs = [(int(a), int(b)) for a, b in result]
            whole = all(float(a).is_integer() and float(b).is_integer() for a, b in result)
        except (TypeError, ValueError):
            return f"a list of pairs (object, proposal) is asked for, not {brief(result)}"
        if not whole:
            return "pairs are of numbers of objects and proposals: whole numbers"
        if any(not (0 <= a < g and 0 <= b < p) for a, b in pairs):
            return f"a pair is (object, proposal), so with {g} objects and {p} proposals {pairs} cannot be right"
        if len({b for _, b in pairs}) < len(pairs) or len({a for a, _ in pairs}) < len(pairs):
            return f"one-to-one: no object and no proposal may be used twice, as in {pairs}"
        if len(pairs) != min(g, p):
            return f"{g} objects and {p} proposals make {min(g, p)} pairs, not {len(pairs)}: leave none out"
        if pairs != sorted(pairs):
            return f"order the pairs by object: {sorted(pairs)}, not {pairs}"
        got = sum(float(np.nan_to_num(scores[a, b])) for a, b in pairs)
        if pairs and got < (best := best_total(scores)) - 1e-9:
            return f"your pairs score {got:.3f} in total, but {best:.3f} can be had: look at all pairs together"
    return None


_J = "J of a frame is |A and B| / |A or B|"
_F = "F of a frame is 2PR/(P+R), P and R counted within the tolerance"
_MAP = "compare with the E, S and SE neighbours"
_D = "mean of the first span minus mean of the last"

EXERCISES = (
    Exercise(
        "lab0.jaccard",
        (
            Case("masks that overlap in part", _j_overlap, equals(jaccard, _J)),
            Case("a frame where both masks are empty", _j_empty, equals(jaccard, _J)),
            Case("void pixels", _j_void, equals(jaccard, f"{_J}, outside void")),
        ),
        (
            "Two counts per frame: pixels that are in both masks, pixels that are in at least one. & and | do it on "
            "bool arrays.",
            "Count over the last two axes only: np.count_nonzero(a & b, axis=(1, 2)) has one number per frame. Take "
            "void out of BOTH masks first, into new arrays.",
            "np.where(union == 0, 1.0, inter / np.maximum(union, 1)): two empty masks agree, so J is 1 there.",
        ),
        library="vos_teach.metrics:jaccard",
        suspects=(
            (_ratio(_both, lambda p, q: p.sum() + q.sum(), 1.0),
             "the union is not |A| + |B|: pixels of both masks are counted twice there"),
            (_ratio(_both, lambda p, q: p.sum() + q.sum(), 0.0),
             "the union is not |A| + |B|: pixels of both masks are counted twice there"),
            (_ratio(lambda p, q: 2 * _both(p, q), lambda p, q: p.sum() + q.sum(), 1.0),
             "2|A and B| / (|A| + |B|) is Dice; J divides by the union"),
            (_ratio(lambda p, q: (p == q).sum(), lambda p, q: p.size, 1.0),
             "you count background that agrees: J is about the object's pixels only"),
            (_j_whole_clip,
             "one value per frame: you pool the pixels of the whole clip, so large frames drown small ones"),
            (_j_mean, "one value per frame is asked for, not their mean"),
            (_ratio(_both, _either, 0.0), "two empty masks agree perfectly: J is 1 there, not 0"),
            (_ratio(_both, _either, math.nan), "0/0: two empty masks agree perfectly, so J is 1 there"),
            (_ratio(lambda p, q: _both(p, q) + 1, lambda p, q: _either(p, q) + 1, 1.0),
             "adding 1 above and below changes every value: treat only the empty union apart"),
            (_ratio(_both, _either, 1.0, use_void=False),
             "void pixels must not count at all: take them out of both masks"),
            (_j_void_in_prediction, "void must be taken out of both masks, not only out of the prediction"),
        ),
    ),
    Exercise(
        "lab0.boundary_map",
        (
            Case("an object inside the frame", _map_inside, equals(boundary_map, _MAP)),
            Case("an object that touches the border", _map_border,
                 equals(boundary_map, "the frame's border is not boundary")),
            Case("scattered pixels", _map_points, equals(boundary_map, _MAP)),
        ),
        (
            "A pixel is boundary if its value differs from its neighbour to the east, south or south-east. Slices of "
            "the same array, moved by one, compare all pixels at once: mask[:, :-1] != mask[:, 1:].",
            "Start from np.zeros(mask.shape, bool) and OR three comparisons into three slices of it. East has no "
            "value in the last column, south none in the last row.",
            "on[:, :-1] |= m[:, :-1] != m[:, 1:]; on[:-1] |= m[:-1] != m[1:]; "
            "on[:-1, :-1] |= m[:-1, :-1] != m[1:, 1:], with m = np.asarray(mask).astype(bool).",
        ),
        library="vos_teach.metrics.measures:boundary",
        suspects=(
            (_wrapped, "np.roll brings the other side of the frame in: the last row has nothing to its south"),
            (_inside(_CROSS, "constant"), "the frame's border became boundary, and the background's side "
             "is missing: compare with E, S, SE inside the frame"),
            (_inside(_AROUND, "constant"), "the frame's border became boundary, and the background's side is missing: "
             "compare with E, S, SE inside the frame"),
            (_inside(_CROSS, "edge"),
             "those are the object's outermost pixels: also background differs from its neighbours"),
            (_inside(_AROUND, "edge"),
             "those are the object's outermost pixels: also background differs from its neighbours"),
            (_inside(_HERE, "edge"), "a background pixel whose E, S or SE neighbour is object is boundary too"),
            (_edges(*_HERE, mode="constant"),
             "the frame's border is not boundary: compare only with pixels inside the frame"),
            (_edges(*_AROUND), "that is twice as thick: look at E, S and SE only, not all around"),
            (_edges(*_CROSS), "look at E, S and SE only: with W and N too the line is twice as thick"),
            (_edges((0, -1), (-1, 0), (-1, -1)), "those are W, N and NW: look to E, S and SE"),
            (_edges((0, 1), (1, 0)), "the diagonal neighbour (SE) counts too"),
            (_edges((0, 1)), "you look east only: south and south-east count too"),
            (_edges((1, 0)), "you look south only: east and south-east count too"),
            (_interior, "the last row still looks east, the last column south: only the corner has no neighbour"),
        ),
    ),
    Exercise(
        "lab0.boundary_f",
        (
            Case("a mask moved by a few pixels, three tolerances", _f_moved, equals(boundary_f, _F)),
            Case("empty boundaries", _f_empty, equals(boundary_f, "both boundaries empty: 1; one empty: 0")),
            Case("void pixels", _f_void, equals(boundary_f, "clear void in both masks, then find their boundaries")),
            Case("an object that touches the border", _f_border, equals(boundary_f, _F)),
        ),
        (
            "Precision: of the prediction's boundary pixels, the share that lie within r of the truth's boundary. "
            "Recall: the same with the roles exchanged. r = ceil(bound * diagonal of the frame).",
            "'Within r of an edge' is a distance: scipy.ndimage.distance_transform_edt(~edge) <= r. It has no meaning "
            "for an empty edge, so treat that first: both empty 1, one empty 0.",
            "Per frame: p, t = edges(pred), edges(target); P = near(t)[p].mean(); R = near(p)[t].mean(); "
            "F = 2PR / (P + R), and 0 where P + R is 0. Void is cleared in both masks before edges().",
        ),
        library="vos_teach.metrics:boundary_f",
        suspects=(
            (_f(reach=lambda size, bound: 0),
             "you demand exact overlap: a boundary pixel counts if the other is within r"),
            (_f(distance=lambda y, x: max(abs(y), abs(x))),
             "the tolerance is a disk, not a square: distance, not rows and columns"),
            (_f(reach=lambda size, bound: int(bound * math.hypot(*size))), "the radius is rounded up, not down"),
            (_f(reach=lambda size, bound: round(bound * math.hypot(*size))),
             "the radius is rounded up, not to the nearest"),
            (_f(reach=lambda size, bound: math.ceil(bound * size[0])),
             "bound is a fraction of the diagonal, not of the height"),
            (_f(reach=lambda size, bound: math.ceil(bound * size[1])),
             "bound is a fraction of the diagonal, not of the width"),
            (_f(reach=lambda size, bound: math.ceil(bound * max(size))),
             "bound is a fraction of the diagonal, not of a side"),
            (_f(mean=lambda p, r, n, m: (p + r) / 2), "F is the harmonic mean 2PR/(P+R), not (P+R)/2"),
            (_f(mean=lambda p, r, n, m: p), "that is precision alone: a prediction that finds little would look good"),
            (_f(mean=lambda p, r, n, m: r), "that is recall alone: a prediction full of edges would look good"),
            (_f(mean=lambda p, r, n, m: 2 * p * r / (p + r) if p + r else math.nan),
             "P + R is 0 where nothing is near: F is 0 there"),
            (_f(mean=lambda p, r, n, m: 2 * p * n / (n + m)),
             "recall has its own count: the TRUTH's boundary pixels near the prediction"),
            (_f(mean=lambda p, r, n, m: 2 * r * m / (n + m)),
             "precision has its own count: the PREDICTION's boundary pixels near the truth"),
            (_f(both_empty=0.0), "two empty boundaries agree: F is 1 there, not 0"),
            (_f(both_empty=math.nan), "0/0: two empty boundaries agree, so F is 1 there"),
            (_f(clear="never"), "void must not count: clear it in both masks"),
            (_f(clear="after"), "clear void in the masks BEFORE their boundaries are found, not in the boundaries"),
            (_f(edges=_edges(*_HERE, mode="constant")), "the frame's border counts as boundary in yours: it never is"),
            (_f(edges=_inside(_CROSS, "constant")), "the frame's border counts as boundary in yours: it never is"),
            *((_f(reach=lambda size, bound, r=r: r),
               f"your radius is always {r} pixels: it must follow bound and the diagonal") for r in (1, 2, 3, 5, 8)),
        ),
    ),
    Exercise(
        "lab0.recall",
        (
            Case("values between 0 and 1", _r_values, equals(recall, "the share of frames above the threshold")),
            Case("values exactly at the threshold", _r_ties, equals(recall, "above means strictly above")),
            Case("another threshold", _r_threshold, equals(recall, "the share of frames above the threshold")),
        ),
        (
            "values > threshold is an array of true and false. What is the mean of that?",
            "NaN > 0.5 is False, so such a frame counts as lost, and that is right. Only a clip without frames needs "
            "care: NaN.",
            "values = np.asarray(values, float); float((values > threshold).mean()) if len(values) else float('nan')",
        ),
        library="vos_teach.metrics:recall",
        suspects=(
            (lambda values, threshold=0.5: np.mean(np.asarray(values) >= threshold),
             "strictly above: a frame at the threshold does not count"),
            (lambda values, threshold=0.5: np.mean(np.asarray(values) < threshold),
             "those are the frames below: recall counts those above"),
            (lambda values, threshold=0.5: np.mean(np.asarray(values) <= threshold),
             "those are the frames below: recall counts those above"),
            (lambda values, threshold=0.5: np.sum(np.asarray(values) > threshold),
             "a share of all frames (0 to 1), not their number"),
            (lambda values, threshold=0.5: 100 * np.mean(np.asarray(values) > threshold),
             "a share of all frames (0 to 1), not per cent"),
            (lambda values, threshold=0.5: np.mean(np.asarray(values)[np.asarray(values) > threshold]),
             "that is the mean of the good frames: recall is how many they are"),
            (lambda values, threshold=0.5: np.mean(np.asarray(values) > 0.5),
             "threshold is an argument: yours is always 0.5"),
            (lambda values, threshold=0.5: float(np.mean([v > threshold for v in values if not np.isnan(v)])),
             "a frame that is NaN still is a frame: it counts as not above"),
        ),
    ),
    Exercise(
        "lab0.decay",
        (
            Case("a curve that falls", _d_falls, equals(decay, _D)),
            Case("lengths that do not divide by four", _d_halves, equals(decay, f"{_D}; halves round up")),
            Case("two spans instead of four", _d_bins, equals(decay, _D)),
        ),
        (
            "Where the spans end: edges = np.round(np.linspace(1, n, bins + 1) + 1e-10).astype(int) - 1. The 1e-10 "
            "sends halves up; without it np.round sends them to the even number.",
            "Spans include both of their edges, so neighbours share a frame: the first is values[: edges[1] + 1], the "
            "last values[edges[-2] :].",
            "np.nanmean of the first span minus np.nanmean of the last. NaN where there are no values at all.",
        ),
        library="vos_teach.metrics:decay",
        suspects=(
            (lambda values, bins=4: -decay(values, bins),
             "the sign: the first span minus the last, so that a loss is positive"),
            (lambda values, bins=4: float(values[0] - values[-1]),
             "means of two spans, not the first frame minus the last"),
            (_spans(lambda n, b: slice(0, n // b), lambda n, b: slice(n - n // b, n)),
             "spans include both of their borders, so neighbours share a frame: yours are a frame short"),
            (_split,
             "np.array_split shares no frame: DAVIS's spans include both of their borders"),
            (_spans(lambda n, b: slice(0, _borders(n, b)[1] + 1), lambda n, b: slice(_borders(n, b)[-2], n)),
             "np.round sends halves to the even number: add 1e-10 first, so that they go up"),
            (_spans(lambda n, b: slice(0, _borders(n, b)[1]), lambda n, b: slice(_borders(n, b)[-2], n)),
             "spans include both of their borders: values[: edges[1] + 1]"),
            (_spans(lambda n, b: slice(0, n), lambda n, b: slice(_borders(n, b)[-2], n)),
             "the first span, not all frames, minus the last"),
            (lambda values, bins=4: decay(values, 4), "bins is an argument: yours is always 4"),
            (lambda values, bins=4: decay(values, 2), "the first and the last of `bins` spans, not of two halves"),
        ),
    ),
    Exercise(
        "lab0.match_proposals",
        (
            Case("two objects want the same proposal", _m_rivals, pairing),
            Case("more proposals than objects", _m_more, pairing),
        ),
        (
            "Taking the best proposal for each object in turn can take away another's only one. What counts is the "
            "total over all pairs.",
            "scipy.optimize.linear_sum_assignment finds the best total, but it minimises unless told otherwise, and "
            "it refuses NaN: put 0 there, in a copy.",
            "rows, cols = linear_sum_assignment(np.nan_to_num(scores), maximize=True), then pairs of int, in the order "
            "of rows.",
        ),
        library="vos_teach.metrics:match_proposals",
        suspects=(
            (_greedy,
             "each object in turn takes its best, and another is left without: look at the total over all pairs"),
            (_greedy_pairs, "taking the best pair first is greedy too: look at the total over all pairs"),
            (_without_first, "proposal 0 is a proposal like any other: the background is not among them"),
            (lambda scores: [(g, int(p)) for g, p in enumerate(np.nan_to_num(scores).argmax(1))],
             "each object takes its favourite, so one proposal is used twice: one-to-one is asked for"),
        ),
    ),
)
