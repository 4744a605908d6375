"""Region similarity J, boundary accuracy F and their statistics.

Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation", CVPR 2016,
section 4; the conventions (which neighbours, which disk, which bins) are those of DAVIS-2017's evaluation.

Everything about one object in one frame happens inside the box around it (`Cut`): most of a frame is background,
and a dilation inside the box grown by its radius gives the same bits at a fraction of the cost.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np

from vos_teach.errors import VosError as bad


def jaccard(pred: Any, target: Any, void: Any = None) -> np.ndarray:
    """J: intersection over union per frame, 1 where both are empty.

    pred, target    T,H,W (or H,W) bool; void: the same shape, pixels that do not count. Returns (T,) float64.
    """
    pred, target = _masks(pred, target, void)
    inter = np.count_nonzero(pred & target, axis=(1, 2))
    union = np.count_nonzero(pred | target, axis=(1, 2))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))


def boundary_f(pred: Any, target: Any, void: Any = None, bound: float = 0.008) -> np.ndarray:
    """F: harmonic mean of the boundary's precision and recall per frame, within a tolerance.

    pred, target    T,H,W (or H,W) bool; void: the same shape, cleared in both masks before their boundaries.
    bound           tolerance: a fraction of the diagonal (rounded up to whole pixels) or, from 1 on, pixels.
    Returns (T,) float64: 1 where both boundaries are empty, 0 where only one is.
    """
    pred, target = _masks(pred, target, void)
    r = radius(pred.shape[1:], bound)
    return np.array([edge_f(cut(p, r), cut(t, r)) for p, t in zip(pred, target, strict=True)], np.float64)


def recall(values: Any, threshold: float = 0.5) -> float:
    """The fraction of frames with a value above the threshold (strictly; NaN is not). No frames: NaN."""
    values = np.asarray(values, np.float64).ravel()
    return float(np.mean(values > threshold)) if len(values) else float("nan")


def decay(values: Any, bins: int = 4) -> float:
    """Mean of the first of `bins` spans of time minus mean of the last: what is lost along the sequence.

    Neighbouring spans share their border frame, as DAVIS has it. NaN frames are left out of the means; a span
    without any value makes the decay NaN.
    """
    values = np.asarray(values, np.float64).ravel()
    if len(values) == 0:
        return float("nan")
    # int64: DAVIS's own tool keeps these in uint8, which overflows from 256 frames on
    edges = (np.round(np.linspace(1, len(values), bins + 1) + 1e-10) - 1).astype(np.int64)
    spans = values[: edges[1] + 1], values[edges[-2] :]
    first, last = (float(np.nanmean(v)) if not np.isnan(v).all() else float("nan") for v in spans)
    return first - last


def match_proposals(scores: Any) -> list[tuple[int, int]]:
    """Hungarian: the one-to-one assignment with the largest total score.

    scores      G,P: how well proposal p fits ground truth g (mean J&F over time). NaN counts as 0.
    Returns min(G, P) pairs (gt, proposal), ordered by gt.
    """
    from scipy.optimize import linear_sum_assignment

    scores = np.nan_to_num(np.asarray(scores, np.float64))
    if scores.ndim != 2:
        raise bad(f"match_proposals wants scores of shape (G, P), not {scores.shape}")
    rows, cols = linear_sum_assignment(scores, maximize=True)
    return [(int(g), int(p)) for g, p in zip(rows, cols, strict=True)]


def radius(size: tuple[int, ...], bound: float = 0.008) -> int:
    """F's tolerance in whole pixels for frames of `size` (H, W)."""
    return int(np.ceil(bound if bound >= 1 else bound * np.hypot(size[0], size[1])))


@lru_cache(maxsize=32)
def disk(r: int) -> np.ndarray:
    """(2r+1),(2r+1) uint8: every pixel at most r from the centre."""
    d: np.ndarray = np.arange(-r, r + 1) ** 2
    return (d[:, None] + d <= r * r).astype(np.uint8)


def boundary(mask: np.ndarray) -> np.ndarray:
    """H,W uint8 of 0/1 -> H,W: on where a pixel differs from its east, south or south-east neighbour.

    Outside the frame a pixel meets its own row or column again, so the frame's border is never boundary.
    """
    edge = np.zeros(mask.shape, np.uint8)
    np.bitwise_xor(mask[:, :-1], mask[:, 1:], out=edge[:, :-1])
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


class Cut:
    """One object of one frame: its mask and boundary inside its box, and where that box lies."""

    def __init__(self, mask: np.ndarray, y: int, x: int, r: int):
        self.mask, self.y, self.x, self.r = mask, y, x, r  # mask: h,w uint8 of 0/1, its corner at (y, x)
        self.area = cv2.countNonZero(mask)
        self.edge = boundary(mask)
        self.length = cv2.countNonZero(self.edge)

    @cached_property
    def reach(self) -> np.ndarray:
        """h+2r,w+2r: within r of the boundary, i.e. the boundary dilated by a disk."""
        r = self.r
        return cv2.dilate(cv2.copyMakeBorder(self.edge, r, r, r, r, cv2.BORDER_CONSTANT, value=0), disk(r))

    def overlap(self, other: Cut) -> int:
        """Pixels that are in both masks."""
        return _common(self.mask, self.y, self.x, other.mask, other.y, other.x)

    def near(self, other: Cut) -> int:
        """Boundary pixels of self within r of other's boundary."""
        return _common(self.edge, self.y, self.x, other.reach, other.y - other.r, other.x - other.r)


def cut(mask: np.ndarray, r: int) -> Cut | None:
    """The object in an H,W mask (bool, or uint8 of 0/1), cropped with a pixel of margin; None if it is empty."""
    mask = mask.view(np.uint8)
    x, y, w, h = cv2.boundingRect(mask)
    if w == 0:
        return None
    y0, x0 = max(y - 1, 0), max(x - 1, 0)
    return Cut(np.ascontiguousarray(mask[y0 : y + h + 1, x0 : x + w + 1]), y0, x0, r)


def overlap_j(a: Cut | None, b: Cut | None) -> float:
    """J of two cuts."""
    if a is None or b is None:
        return float(a is b)
    inter = a.overlap(b)
    return inter / (a.area + b.area - inter)


def edge_f(a: Cut | None, b: Cut | None) -> float:
    """F of two cuts, a the prediction."""
    na, nb = a.length if a else 0, b.length if b else 0
    if a is None or b is None or na == 0 or nb == 0:
        return float(na == nb)
    hits = a.near(b)
    if hits == 0:  # nothing of a near b: then nothing of b is near a, and b's neighbour need not be dilated
        return 0.0
    precision, rec = hits / na, b.near(a) / nb
    return 2 * precision * rec / (precision + rec)


def _common(a: np.ndarray, ay: int, ax: int, b: np.ndarray, by: int, bx: int) -> int:
    """Pixels on in both arrays, whose corners lie at (ay, ax) and (by, bx)."""
    y0, y1 = max(ay, by), min(ay + a.shape[0], by + b.shape[0])
    x0, x1 = max(ax, bx), min(ax + a.shape[1], bx + b.shape[1])
    if y0 >= y1 or x0 >= x1:
        return 0
    return cv2.countNonZero(a[y0 - ay : y1 - ay, x0 - ax : x1 - ax] & b[y0 - by : y1 - by, x0 - bx : x1 - bx])


def _masks(pred: Any, target: Any, void: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as T,H,W bool with void cleared; VosError if the shapes do not agree."""
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if pred.shape != target.shape or pred.ndim not in (2, 3):
        raise bad(f"masks must be two arrays of one shape T,H,W, not {pred.shape} and {target.shape}")
    if void is not None:
        void = np.asarray(void).astype(bool)
        if void.shape != pred.shape:
            raise bad(f"void has shape {void.shape}, but the masks have {pred.shape}")
        pred, target = pred & ~void, target & ~void
    return (pred[None], target[None]) if pred.ndim == 2 else (pred, target)
