"""Lab 0: what is sent to the answers, and the judge of an assignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vos_teach.lab.cases import Call, Said, brief
from vos_teach.lab.exercises.lab0_oracles import (
    best_total,
)

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
            return Said("a list of pairs (object, proposal) is asked for", f"not {brief(result)}")
        if not whole:
            return "pairs are of numbers of objects and proposals: whole numbers"
        if any(not (0 <= a < g and 0 <= b < p) for a, b in pairs):
            return Said("a pair is (object, proposal)", f"with {g} objects and {p} proposals {pairs} cannot be right")
        if len({b for _, b in pairs}) < len(pairs) or len({a for a, _ in pairs}) < len(pairs):
            return Said("one-to-one: no object and no proposal may be used twice", f"as in {pairs}")
        if len(pairs) != min(g, p):
            return Said("as many pairs as there are objects or proposals, whichever are fewer: leave none out",
                        f"{g} objects and {p} proposals make {min(g, p)} pairs, not {len(pairs)}")
        if pairs != sorted(pairs):
            return Said("order the pairs by object", f"{sorted(pairs)}, not {pairs}")
        got = sum(float(np.nan_to_num(scores[a, b])) for a, b in pairs)
        if pairs and got < (best := best_total(scores)) - 1e-9:
            return Said("the pairs could score more in total: look at all pairs together",
                        f"yours score {got:.3f}, {best:.3f} can be had")
    return None
