"""Lab 0, the task, the data, the measures: what each answer is judged by.

Students' answers work on NumPy arrays. The oracles are in lab0_oracles.py.
"""

from __future__ import annotations

import math

import numpy as np

from vos_teach.lab.cases import Case, Exercise, equals
from vos_teach.lab.exercises.lab0_calls import (
    _d_bins,
    _d_falls,
    _d_halves,
    _f_border,
    _f_empty,
    _f_moved,
    _f_void,
    _j_empty,
    _j_overlap,
    _j_void,
    _m_more,
    _m_rivals,
    _map_border,
    _map_inside,
    _map_points,
    _r_threshold,
    _r_ties,
    _r_values,
    pairing,
)
from vos_teach.lab.exercises.lab0_oracles import (
    _AROUND,
    _CROSS,
    _HERE,
    _borders,
    _both,
    _edges,
    _either,
    _f,
    _greedy,
    _greedy_pairs,
    _inside,
    _interior,
    _j_mean,
    _j_void_in_prediction,
    _j_whole_clip,
    _ratio,
    _spans,
    _split,
    _without_first,
    _wrapped,
    boundary_f,
    boundary_map,
    decay,
    jaccard,
    recall,
)

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
        relatives=("vos_teach.metrics.measures:overlap_j",),
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
        relatives=("vos_teach.metrics.measures:edge_f",),
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
