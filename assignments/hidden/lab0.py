"""Lab 0's hidden cases: other sizes and shapes, and the corners that the public cases leave out.

Everything they ask for is said in the lab's text; only the inputs are new.
"""

from __future__ import annotations

import math

import numpy as np

from vos_teach.lab.cases import Case, equals
from vos_teach.lab.exercises.lab0_calls import (
    blob,
    clip_pair,
    moved,
    pairing,
)
from vos_teach.lab.exercises.lab0_oracles import (
    boundary_f,
    boundary_map,
    decay,
    jaccard,
    recall,
)

# ---------------------------------------------------------------------------------------------------------- jaccard


def j_one_frame(rng):
    return [clip_pair(rng, (17, 6), [(2, 1)])]


def j_many_frames(rng):
    pred, target = clip_pair(rng, (8, 21), [(int(rng.integers(-2, 3)), int(rng.integers(-4, 5))) for _ in range(7)])
    target[::2, 4:, 10:] = False  # frames of very different area
    return [(pred, target), (target, pred)]


def j_numbers(rng):
    pred, target = clip_pair(rng, (11, 9), [(1, 0), (0, 2), (9, 9), (1, 1)])
    void = rng.random(pred.shape) < 0.2
    return [(pred.astype(np.uint8), target.astype(np.uint8)),
            (pred.astype(np.int64), target.astype(np.int64), void.astype(np.int64)),
            (pred.astype(np.uint8), target.astype(np.uint8), void.astype(np.uint8))]


def j_all_void(rng):
    pred, target = clip_pair(rng, (12, 10), [(1, 2)] * 4)
    void = np.zeros(pred.shape, bool)
    void[0] = True  # the whole frame
    void[1] = pred[1] | target[1]  # just both objects
    void[2] = pred[2] & target[2]  # all they share
    return [(pred, target, void)]


def j_full(rng):
    full = np.ones((2, 30, 40), bool)
    part = full.copy()
    part[:, int(rng.integers(1, 29)) :] = False
    return [(full, part), (part, full), (full, full)]


# ----------------------------------------------------------------------------------------------------- boundary_map


def map_other_sizes(rng):
    return [(blob(rng, (14, 14)),), (blob(rng, (31, 12)),), (rng.random((6, 23)) < 0.5,)]


def map_nothing_to_see(rng):
    return [(np.zeros((7, 11), bool),), (np.ones((11, 7), bool),)]


def map_last_lines(rng):
    """Objects that lie only in the last row, the last column, the last corner."""
    masks = np.zeros((3, 10, 8), bool)
    masks[0, -1, 2 : int(rng.integers(4, 8))] = True
    masks[1, int(rng.integers(2, 5)) : 7, -1] = True
    masks[2, -1, -1] = True
    return [(m.copy(),) for m in masks]


def map_first_lines(rng):
    """Full but for the first row, the first column, the first corner."""
    masks = np.ones((3, 8, 10), bool)
    masks[0, 0, 3 : int(rng.integers(5, 10))] = False
    masks[1, 2 : int(rng.integers(4, 8)), 0] = False
    masks[2, 0, 0] = False
    return [(m.copy(),) for m in masks]


def map_numbers(rng):
    mask = blob(rng, (12, 17)) | (rng.random((12, 17)) < 0.05)
    return [(mask.astype(np.uint8),), (mask.astype(np.int64),)]


def map_lines(rng):
    line = rng.random(9) < 0.5
    line[:2] = [True, False]
    return [(line[None],), (line[:, None],)]


# ------------------------------------------------------------------------------------------------------- boundary_f


def f_other_sizes(rng):
    return [clip_pair(rng, (150, 40), [(2, 1), (4, 0), (0, 3), (3, 3)]), clip_pair(rng, (30, 34), [(0, 1), (1, 2)])]


def f_one_frame(rng):
    return [clip_pair(rng, (24, 150), [(1, 4)])]


def f_full(rng):
    """A mask that fills the frame has no boundary, just as an empty one."""
    full, none = np.ones((1, 30, 50), bool), np.zeros((1, 30, 50), bool)
    part = none.copy()
    part[0, 10:20, int(rng.integers(5, 20)) : 30] = True
    return [(full, full), (full, none), (none, full), (full, part), (part, full)]


def f_small(rng):
    """Objects of a few pixels, moved diagonally: here a disk and a square differ most."""
    target = np.zeros((4, 50, 110), bool)
    for frame in target:
        y, x = int(rng.integers(10, 35)), int(rng.integers(10, 90))
        frame[y : y + 2, x : x + 2] = True
    pred = np.stack([moved(m, *by) for m, by in zip(target, [(2, 2), (1, 2), (-2, 2), (0, 3)], strict=True)])
    return [(pred, target), (pred, target, None, 0.03)]


def f_lopsided(rng):
    """Much more boundary on one side: precision and recall far apart, in both orders."""
    target = np.stack([blob(rng, (60, 90)) for _ in range(2)])
    pred = target.copy()
    pred[:, 3::7, 2:80] ^= True  # stripes
    return [(pred, target), (target, pred)]


def f_numbers(rng):
    pred, target = clip_pair(rng, (36, 50), [(1, 2), (0, 3)])
    void = np.zeros(pred.shape, bool)
    void[:, 15:22] = True
    return [(pred.astype(np.uint8), target.astype(np.uint8)),
            (pred.astype(np.uint8), target.astype(np.uint8), void.astype(np.uint8)),
            (pred.astype(np.int64), target.astype(np.int64), void.astype(np.int64), 0.02)]


def f_void_all(rng):
    pred, target = clip_pair(rng, (33, 70), [(2, 2), (1, 0), (0, 4)])
    void = np.zeros(pred.shape, bool)
    void[0] = pred[0] | target[0]
    void[1] = target[1]
    void[2, :, 35:] = True
    return [(pred, target, void)]


def f_corners(rng):
    """Objects in the frame's corners, along its borders."""
    target = np.zeros((4, 44, 52), bool)
    h, w = int(rng.integers(9, 20)), int(rng.integers(9, 20))
    target[0, :h, :w] = target[1, -h:, -w:] = target[2, :h, -w:] = target[3, -h:] = True
    return [(moved(target, 2, 1), target), (moved(target, -1, -3), target)]


# --------------------------------------------------------------------------------------------------- recall and decay


def r_other_lengths(rng):
    return [(rng.uniform(0, 1, n),) for n in (1, 3, 47)]


def r_not_a_number(rng):
    values = rng.uniform(0.3, 1, 12)
    values[[2, 7, 8]] = math.nan
    return [(values,), (values, 0.8), (np.full(4, math.nan),)]


def r_no_frames(rng):
    return [(np.zeros(0),), ([],)]


def r_lists(rng):
    return [([0.5, 0.6, 0.4, 0.7, 0.9, 0.50001],), ([1.0, 1.0],), ([0.0, 0.25], 0.0)]


def d_other_lengths(rng):
    return [(rng.uniform(0, 1, n),) for n in (4, 5, 8, 18, 31, 40)]


def d_short(rng):
    return [(rng.uniform(0, 1, n),) for n in (1, 2, 3)]


def d_long(rng):
    return [(np.linspace(0.9, 0.1, n) + rng.uniform(-0.05, 0.05, n),) for n in (300, 1111)]


def d_other_bins(rng):
    return [(rng.uniform(0, 1, 26), bins) for bins in (1, 3, 5)]


def d_not_a_number(rng):
    values = rng.uniform(0, 1, 24)
    values[[1, 4, 20]] = math.nan
    lost = rng.uniform(0, 1, 24)
    lost[17:] = math.nan  # nothing left of the last span
    return [(values,), (lost,)]


def d_lists(rng):
    return [(list(rng.uniform(0, 1, 19)),), ([],)]


# -------------------------------------------------------------------------------------------------- match_proposals


def m_more_objects(rng):
    return [(rng.uniform(0, 1, (5, 2)),), (rng.uniform(0, 1, (4, 3)),)]


def m_ties(rng):
    return [(np.full((3, 4), 0.5),), (np.round(rng.uniform(0, 1, (4, 4)) * 2) / 2,), (np.zeros((2, 3)),)]


def m_not_a_number(rng):
    scores = rng.uniform(0, 1, (3, 4))
    scores[0, 1] = scores[2, :2] = math.nan
    return [(scores,)]


def m_one(rng):
    return [(np.array([[0.3]]),), (rng.uniform(0, 1, (1, 6)),), (rng.uniform(0, 1, (6, 1)),)]


def m_none(rng):
    return [(np.zeros((0, 3)),), (np.zeros((3, 0)),)]


def m_chains(rng):
    """Larger tables in which every best choice in turn is a trap: g's best is p, worth hardly more than p + 1."""
    n, calls = 6, []
    for _ in range(2):
        scores = rng.uniform(0, 0.1, (n, n))
        for g in range(n):
            scores[g, g] = 0.6
            scores[g, (g + 1) % n] = 0.65 if g < n - 1 else 0.1
        calls.append((scores[rng.permutation(n)][:, rng.permutation(n)],))
    return calls


_J, _F = "J of a frame is |A and B| / |A or B| outside void", "F of a frame is 2PR/(P+R), within the tolerance"
_MAP = "a pixel is boundary if it differs from its E, S or SE neighbour inside the frame"
_R, _D = "the share of frames strictly above the threshold", "mean of the first span minus mean of the last"

CASES = {
    "lab0.jaccard": (
        Case("a single frame", j_one_frame, equals(jaccard, _J)),
        Case("frames of very different area", j_many_frames, equals(jaccard, _J)),
        Case("0 and 1 instead of false and true", j_numbers, equals(jaccard, _J)),
        Case("nothing left outside void", j_all_void, equals(jaccard, f"{_J}, and 1 where that leaves nothing")),
        Case("objects that fill the frame", j_full, equals(jaccard, _J)),
    ),
    "lab0.boundary_map": (
        Case("frames of other sizes", map_other_sizes, equals(boundary_map, _MAP)),
        Case("empty, and full", map_nothing_to_see, equals(boundary_map, "where nothing changes is no boundary")),
        Case("objects in the last row and column", map_last_lines, equals(boundary_map, _MAP)),
        Case("holes in the first row and column", map_first_lines, equals(boundary_map, _MAP)),
        Case("0 and 1 instead of false and true", map_numbers, equals(boundary_map, _MAP)),
        Case("a single row, a single column", map_lines, equals(boundary_map, _MAP)),
    ),
    "lab0.boundary_f": (
        Case("frames of other sizes", f_other_sizes, equals(boundary_f, "the tolerance is ceil(bound * diagonal)")),
        Case("a single frame", f_one_frame, equals(boundary_f, _F)),
        Case("a mask that fills the frame", f_full,
             equals(boundary_f, "what counts is whether the boundaries are empty, not the masks")),
        Case("objects of a few pixels", f_small, equals(boundary_f, _F)),
        Case("stripes", f_lopsided, equals(boundary_f, _F)),
        Case("0 and 1 instead of false and true", f_numbers, equals(boundary_f, _F)),
        Case("objects under void", f_void_all, equals(boundary_f, "clear void in both masks, before the boundaries")),
        Case("objects in the corners", f_corners, equals(boundary_f, _F)),
    ),
    "lab0.recall": (
        Case("other lengths", r_other_lengths, equals(recall, _R)),
        Case("frames that are NaN", r_not_a_number, equals(recall, "a frame that is NaN counts as not above")),
        Case("no frames", r_no_frames, equals(recall, "no frames: NaN"), seeds=1),
        Case("lists", r_lists, equals(recall, _R), seeds=1),
    ),
    "lab0.decay": (
        Case("other lengths", d_other_lengths, equals(decay, f"{_D}; spans share their border frame")),
        Case("one, two and three frames", d_short, equals(decay, _D)),
        Case("long clips", d_long, equals(decay, f"{_D}; indices above 255 need more than 8 bits")),
        Case("other numbers of spans", d_other_bins, equals(decay, _D)),
        Case("frames that are NaN", d_not_a_number, equals(decay, "leave NaN out of the means: np.nanmean")),
        Case("lists, and no frames", d_lists, equals(decay, f"{_D}; NaN without frames")),
    ),
    "lab0.match_proposals": (
        Case("more objects than proposals", m_more_objects, pairing),
        Case("ties", m_ties, pairing),
        Case("scores that are NaN", m_not_a_number, pairing),
        Case("one object, one proposal", m_one, pairing),
        Case("no objects, no proposals", m_none, pairing, seeds=1),
        Case("chains of rivals", m_chains, pairing),
    ),
}
