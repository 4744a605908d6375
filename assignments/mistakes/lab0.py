"""Lab 0: answers that must lose marks, each with words that its message must contain, and right ones that must not.

Each function stands alone: tests paste its source into a notebook under the answer's name, where np, torch, F (of
torch.nn.functional), scipy, cv2 and math are known, and nothing of this file.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import scipy
import scipy.ndimage
import scipy.optimize

# ---------------------------------------------------------------------------------------------------------- jaccard


def union_as_sum(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        keep = ~np.asarray(void).astype(bool)
        pred, target = pred & keep, target & keep
    inter, union = (pred & target).sum((1, 2)), pred.sum((1, 2)) + target.sum((1, 2))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))


def zero_by_zero(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        keep = ~np.asarray(void).astype(bool)
        pred, target = pred & keep, target & keep
    return (pred & target).sum((1, 2)) / (pred | target).sum((1, 2))


def empty_is_zero(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        keep = ~np.asarray(void).astype(bool)
        pred, target = pred & keep, target & keep
    return (pred & target).sum((1, 2)) / np.maximum((pred | target).sum((1, 2)), 1)


def over_the_clip(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        keep = ~np.asarray(void).astype(bool)
        pred, target = pred & keep, target & keep
    return (pred & target).sum() / max((pred | target).sum(), 1)


def mean_over_frames(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        keep = ~np.asarray(void).astype(bool)
        pred, target = pred & keep, target & keep
    inter, union = (pred & target).sum((1, 2)), (pred | target).sum((1, 2))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1)).mean()


def void_forgotten(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    inter, union = (pred & target).sum((1, 2)), (pred | target).sum((1, 2))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))


def void_only_in_prediction(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred = pred & ~np.asarray(void).astype(bool)
    inter, union = (pred & target).sum((1, 2)), (pred | target).sum((1, 2))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))


def dice(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        keep = ~np.asarray(void).astype(bool)
        pred, target = pred & keep, target & keep
    both, total = 2 * (pred & target).sum((1, 2)), pred.sum((1, 2)) + target.sum((1, 2))
    return np.where(total == 0, 1.0, both / np.maximum(total, 1))


def background_counts(pred, target, void=None):
    same = np.asarray(pred).astype(bool) == np.asarray(target).astype(bool)
    if void is None:
        return same.mean((1, 2))
    keep = ~np.asarray(void).astype(bool)
    return (same & keep).sum((1, 2)) / np.maximum(keep.sum((1, 2)), 1)


def smoothed(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        keep = ~np.asarray(void).astype(bool)
        pred, target = pred & keep, target & keep
    return ((pred & target).sum((1, 2)) + 1) / ((pred | target).sum((1, 2)) + 1)


def void_written_into_masks(pred, target, void=None):
    if void is not None:
        pred[void > 0] = 0
        target[void > 0] = 0
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    inter, union = (pred & target).sum((1, 2)), (pred | target).sum((1, 2))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))


def three_frames_only(pred, target, void=None):  # hard-coded for the public cases
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        keep = ~np.asarray(void).astype(bool)
        pred, target = pred & keep, target & keep
    values = []
    for t in range(3):
        union = (pred[t] | target[t]).sum()
        values.append((pred[t] & target[t]).sum() / union if union else 1.0)
    return np.array(values)


def squeezed(pred, target, void=None):
    pred, target = np.asarray(pred).astype(bool).squeeze(), np.asarray(target).astype(bool).squeeze()
    if void is not None:
        keep = ~np.asarray(void).astype(bool).squeeze()
        pred, target = pred & keep, target & keep
    inter, union = (pred & target).sum((-2, -1)), (pred | target).sum((-2, -1))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))


def bool_void_only(pred, target, void=None):
    if void is not None:
        pred, target = pred & ~void, target & ~void
        if void.dtype != bool:
            pred, target = (1 - void) * 0 + pred | void, target | void
    inter, union = np.count_nonzero(pred & target, (1, 2)), np.count_nonzero(pred | target, (1, 2))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))


def j_in_loops(pred, target, void=None):
    values = []
    for t in range(len(pred)):
        p, q = np.asarray(pred[t]) > 0, np.asarray(target[t]) > 0
        if void is not None:
            keep = np.asarray(void[t]) == 0
            p, q = p[keep], q[keep]
        union = np.logical_or(p, q).sum()
        values.append(float(np.logical_and(p, q).sum()) / float(union) if union > 0 else 1.0)
    return values


def j_by_areas(pred, target, void=None):
    shape = (np.shape(pred)[0], -1)
    p, q = (np.asarray(m, np.float64).reshape(shape) for m in (pred, target))
    w = np.ones_like(p) if void is None else 1.0 - np.asarray(void, np.float64).reshape(shape)
    inter = np.einsum("tn,tn,tn->t", p, q, w)
    union = (p * w).sum(1) + (q * w).sum(1) - inter
    out = np.ones(len(p))
    np.divide(inter, union, out=out, where=union > 0)
    return out


# ----------------------------------------------------------------------------------------------------- boundary_map


def border_is_boundary(mask):
    m = np.asarray(mask).astype(bool)
    pad = np.pad(m, 1)
    return (m != pad[1:-1, 2:]) | (m != pad[2:, 1:-1]) | (m != pad[2:, 2:])


def minus_eroded(mask):
    m = np.asarray(mask).astype(bool)
    return m & ~scipy.ndimage.binary_erosion(m)


def inner_contour(mask):
    m = np.asarray(mask).astype(np.uint8)
    return (m > 0) & (cv2.erode(m, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE) == 0)


def rolled_around(mask):
    m = np.asarray(mask).astype(bool)
    return (m != np.roll(m, -1, 1)) | (m != np.roll(m, -1, 0)) | (m != np.roll(m, (-1, -1), (0, 1)))


def looks_back(mask):
    m = np.pad(np.asarray(mask).astype(bool), 1, mode="edge")
    here = m[1:-1, 1:-1]
    return (here != m[1:-1, :-2]) | (here != m[:-2, 1:-1]) | (here != m[:-2, :-2])


def no_diagonal(mask):
    m = np.asarray(mask).astype(bool)
    on = np.zeros(m.shape, bool)
    on[:, :-1] |= m[:, :-1] != m[:, 1:]
    on[:-1] |= m[:-1] != m[1:]
    return on


def east_only(mask):
    m = np.asarray(mask).astype(bool)
    on = np.zeros(m.shape, bool)
    on[:, :-1] = m[:, :-1] != m[:, 1:]
    return on


def all_around(mask):
    m = np.asarray(mask).astype(np.uint8)
    return cv2.morphologyEx(m, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE) > 0


def object_side_only(mask):
    m = np.asarray(mask).astype(bool)
    pad = np.pad(m, ((0, 1), (0, 1)), mode="edge")
    return m & (~pad[:-1, 1:] | ~pad[1:, :-1] | ~pad[1:, 1:])


def last_lines_left_out(mask):
    m = np.asarray(mask).astype(bool)
    on = np.zeros(m.shape, bool)
    here = m[:-1, :-1]
    on[:-1, :-1] = (here != m[:-1, 1:]) | (here != m[1:, :-1]) | (here != m[1:, 1:])
    return on


def subtracted(mask):
    on = np.zeros(mask.shape, bool)
    on[:, :-1] |= (mask[:, :-1] - mask[:, 1:]) != 0
    on[:-1] |= (mask[:-1] - mask[1:]) != 0
    on[:-1, :-1] |= (mask[:-1, :-1] - mask[1:, 1:]) != 0
    return on


def in_place(mask):
    m = mask
    old = mask.copy().astype(bool)
    m[:] = 0
    m[:, :-1] |= old[:, :-1] != old[:, 1:]
    m[:-1] |= old[:-1] != old[1:]
    m[:-1, :-1] |= old[:-1, :-1] != old[1:, 1:]
    return m > 0


def nine_by_thirteen(mask):  # hard-coded for the public cases
    m = np.asarray(mask).astype(bool)
    on = np.zeros((9, 13), bool)
    for y in range(9):
        for x in range(13):
            east = m[y, min(x + 1, 12)]
            south, diagonal = m[min(y + 1, 8), x], m[min(y + 1, 8), min(x + 1, 12)]
            on[y, x] = m[y, x] != east or m[y, x] != south or m[y, x] != diagonal
    return on


def counted_down_for_bool(mask):  # ~ of a 0/1 number is not "not"
    pad = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    near = [pad[:-1, 1:], pad[1:, :-1], pad[1:, 1:]]
    return np.any([((mask & ~n) | (~mask & n)).astype(bool) if mask.dtype == bool else (mask & ~n).astype(bool)
                   for n in near], 0)


def map_by_edge_padding(mask):
    m = np.pad(np.asarray(mask) > 0, ((0, 1), (0, 1)), mode="edge")
    here = m[:-1, :-1]
    return (here ^ m[:-1, 1:]) | (here ^ m[1:, :-1]) | (here ^ m[1:, 1:])


def map_by_filters(mask):
    """A 2x2 window that is neither empty nor full."""
    m = (np.asarray(mask) > 0).astype(int)
    h, w = m.shape
    total = sum(np.pad(m, ((0, 1), (0, 1)), mode="edge")[dy : dy + h, dx : dx + w] for dy in (0, 1) for dx in (0, 1))
    return ((total > 0) & (total < 4)).astype(np.uint8)


# ------------------------------------------------------------------------------------------------------- boundary_f


def no_tolerance(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        total = p.sum() + t.sum()
        out.append(2 * (p & t).sum() / total if total else 1.0)
    return np.array(out)


def square_reach(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        box = np.ones((2 * r + 1, 2 * r + 1), np.uint8)
        precision = (cv2.dilate(t.astype(np.uint8), box) > 0)[p].mean()
        recall = (cv2.dilate(p.astype(np.uint8), box) > 0)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def radius_rounded_down(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = int(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def radius_in_pixels(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = 8  # as at 480p
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def diagonal_of_the_public_frames(pred, target, void=None, bound=0.008):  # hard-coded for the public cases
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * 126.3)
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def share_of_the_height(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * pred.shape[1])
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def f_with_frame_border(pred, target, void=None, bound=0.008):
    def edges(m):
        pad = np.pad(m, 1)
        return (m != pad[1:-1, 2:]) | (m != pad[2:, 1:-1]) | (m != pad[2:, 2:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def arithmetic_mean(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append((precision + recall) / 2)
    return np.array(out)


def precision_alone(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        out.append((scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean())
    return np.array(out)


def two_empty_make_zero(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(0.0)
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def empty_masks_instead_of_boundaries(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for mask_p, mask_t in zip(pred, target, strict=True):
        if not mask_p.any() or not mask_t.any():
            out.append(float(mask_p.any() == mask_t.any()))
            continue
        p, t = edges(mask_p), edges(mask_t)
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean() if p.any() else 0.0
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean() if t.any() else 0.0
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def void_after_the_boundaries(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    void = np.zeros(pred.shape, bool) if void is None else np.asarray(void).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t, v in zip(map(edges, pred), map(edges, target), void, strict=True):
        p, t = p & ~v, t & ~v
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def f_without_void(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def one_dilation_for_both(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        hits = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].sum()
        precision, recall = hits / p.sum(), hits / t.sum()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def f_damages_its_input(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    if void is not None:
        pred[np.asarray(void) > 0] = 0
        target[np.asarray(void) > 0] = 0
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(out)


def f_divides_by_zero(pred, target, void=None, bound=0.008):
    def edges(m):
        m = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])

    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        pred, target = pred & ~np.asarray(void).astype(bool), target & ~np.asarray(void).astype(bool)
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    out = []
    for p, t in zip(map(edges, pred), map(edges, target), strict=True):
        if not p.any() or not t.any():
            out.append(float(p.any() == t.any()))
            continue
        precision = (scipy.ndimage.distance_transform_edt(~t) <= r)[p].mean()
        recall = (scipy.ndimage.distance_transform_edt(~p) <= r)[t].mean()
        out.append(2 * precision * recall / (precision + recall))
    return np.array(out)


def f_by_dilation(pred, target, void=None, bound=0.008):
    h, w = np.shape(pred)[1:]
    r = int(np.ceil(bound * np.sqrt(h**2 + w**2)))
    span = np.arange(-r, r + 1)
    disk = (span[:, None] ** 2 + span**2 <= r * r).astype(np.uint8)
    values = []
    for i in range(len(pred)):
        lines = []
        for mask in (pred[i], target[i]):
            m = (np.asarray(mask) > 0) if void is None else (np.asarray(mask) > 0) & (np.asarray(void[i]) == 0)
            line = np.zeros((h, w), np.uint8)
            line[:, :-1] |= m[:, :-1] ^ m[:, 1:]
            line[:-1] |= m[:-1] ^ m[1:]
            line[:-1, :-1] |= m[:-1, :-1] ^ m[1:, 1:]
            lines.append(line)
        a, b = lines
        if a.sum() == 0 or b.sum() == 0:
            values.append(1.0 if a.sum() == b.sum() else 0.0)
            continue
        precision = float((a * cv2.dilate(b, disk)).sum()) / float(a.sum())
        recall = float((b * cv2.dilate(a, disk)).sum()) / float(b.sum())
        values.append(0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall))
    return values


def f_by_nearest_points(pred, target, void=None, bound=0.008):
    keep = np.ones(np.shape(pred), bool) if void is None else np.asarray(void) == 0
    p, t = (np.pad((np.asarray(m) > 0) & keep, ((0, 0), (0, 1), (0, 1)), mode="edge") for m in (pred, target))
    r2 = math.ceil(bound * math.hypot(*np.shape(pred)[1:])) ** 2
    scores = np.zeros(len(p))
    for i in range(len(p)):
        sets = []
        for m in (p[i], t[i]):
            here = m[:-1, :-1]
            sets.append(np.argwhere((here ^ m[:-1, 1:]) | (here ^ m[1:, :-1]) | (here ^ m[1:, 1:])))
        if min(map(len, sets)) == 0:
            scores[i] = len(sets[0]) == len(sets[1])
            continue
        d2 = ((sets[0][:, None] - sets[1][None]) ** 2).sum(-1)
        precision, recall = (d2.min(1) <= r2).mean(), (d2.min(0) <= r2).mean()
        scores[i] = 2 * precision * recall / max(precision + recall, 1e-12)
    return scores


# --------------------------------------------------------------------------------------------------- recall and decay


def at_least(values, threshold=0.5):
    values = np.asarray(values, float)
    return float(np.mean(values >= threshold)) if len(values) else float("nan")


def below(values, threshold=0.5):
    values = np.asarray(values, float)
    return float(np.mean(values < threshold)) if len(values) else float("nan")


def number_of_frames(values, threshold=0.5):
    return int(np.sum(np.asarray(values, float) > threshold)) if len(values) else float("nan")


def per_cent(values, threshold=0.5):
    return 100 * float(np.mean(np.asarray(values, float) > threshold)) if len(values) else float("nan")


def mean_of_the_good(values, threshold=0.5):
    values = np.asarray(values, float)
    return float(values[values > threshold].mean()) if (values > threshold).any() else float("nan")


def always_a_half(values, threshold=0.5):
    values = np.asarray(values, float)
    return float(np.mean(values > 0.5)) if len(values) else float("nan")


def nan_left_out(values, threshold=0.5):
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(np.mean(values > threshold)) if len(values) else float("nan")


def twenty_frames(values, threshold=0.5):  # hard-coded for the public cases
    return sum(bool(v > threshold) for v in values) / 20


def no_frames_is_zero(values, threshold=0.5):
    return float(np.mean(np.asarray(values, float) > threshold)) if len(values) else 0.0


def arrays_only(values, threshold=0.5):
    return float((values > threshold).mean()) if len(values) else float("nan")


def thresholded_in_place(values, threshold=0.5):
    values[:] = values > threshold
    return float(np.mean(values)) if len(values) else float("nan")


def recall_counted(values, threshold=0.5):
    n = 0
    for v in values:
        if v > threshold:
            n += 1
    return n / len(values) if len(values) > 0 else float("nan")


def recall_by_sorting(values, threshold=0.5):
    v = np.sort(np.nan_to_num(np.asarray(values, np.float64).ravel(), nan=-np.inf))
    if v.size == 0:
        return np.float64("nan")
    return np.float64(1.0) - np.searchsorted(v, threshold, side="right") / v.size


def last_minus_first(values, bins=4):
    v = np.asarray(values, float)
    if not len(v):
        return float("nan")
    e = np.round(np.linspace(1, len(v), bins + 1) + 1e-10).astype(int) - 1
    return float(np.nanmean(v[e[-2] :]) - np.nanmean(v[: e[1] + 1]))


def first_frame_minus_last(values, bins=4):
    return float(values[0] - values[-1]) if len(values) else float("nan")


def without_border_frames(values, bins=4):
    v, k = np.asarray(values, float), max(len(values) // bins, 1)
    return float(np.nanmean(v[:k]) - np.nanmean(v[-k:])) if len(v) else float("nan")


def array_split(values, bins=4):
    if not len(values):
        return float("nan")
    parts = np.array_split(np.asarray(values, float), bins)
    return float(np.nanmean(parts[0]) - np.nanmean(parts[-1]))


def halves_to_even(values, bins=4):
    v = np.asarray(values, float)
    if not len(v):
        return float("nan")
    e = np.round(np.linspace(1, len(v), bins + 1)).astype(int) - 1
    return float(np.nanmean(v[: e[1] + 1]) - np.nanmean(v[e[-2] :]))


def off_by_one(values, bins=4):
    v = np.asarray(values, float)
    if not len(v):
        return float("nan")
    e = np.round(np.linspace(1, len(v), bins + 1) + 1e-10).astype(int) - 1
    return float(np.nanmean(v[: e[1]]) - np.nanmean(v[e[-2] :]))


def all_frames_minus_last(values, bins=4):
    v = np.asarray(values, float)
    if not len(v):
        return float("nan")
    e = np.round(np.linspace(1, len(v), bins + 1) + 1e-10).astype(int) - 1
    return float(np.nanmean(v) - np.nanmean(v[e[-2] :]))


def always_four(values, bins=4):
    v = np.asarray(values, float)
    if not len(v):
        return float("nan")
    e = np.round(np.linspace(1, len(v), 5) + 1e-10).astype(int) - 1
    return float(np.nanmean(v[: e[1] + 1]) - np.nanmean(v[e[-2] :]))


def nan_spreads(values, bins=4):
    v = np.asarray(values, float)
    if not len(v):
        return float("nan")
    e = np.round(np.linspace(1, len(v), bins + 1) + 1e-10).astype(int) - 1
    return float(np.mean(v[: e[1] + 1]) - np.mean(v[e[-2] :]))


def eight_bits(values, bins=4):  # the official tool's own fault
    v = np.asarray(values, float)
    if not len(v):
        return float("nan")
    e = (np.round(np.linspace(1, len(v), bins + 1) + 1e-10) - 1).astype(np.int64).astype(np.uint8)
    return float(np.nanmean(v[: int(e[1]) + 1]) - np.nanmean(v[int(e[-2]) :]))


def public_lengths(values, bins=4):  # hard-coded for the public cases
    v = np.asarray(values, float)
    first, last = {(21, 4): (6, 15), (23, 4): (7, 17), (15, 4): (5, 11), (21, 2): (11, 10)}[len(v), bins]
    return float(np.nanmean(v[:first]) - np.nanmean(v[last:]))


def decay_no_frames(values, bins=4):
    v = np.asarray(values, float)
    e = np.round(np.linspace(1, len(v), bins + 1) + 1e-10).astype(int) - 1
    return float(np.nanmean(v[: e[1] + 1]) - np.nanmean(v[e[-2] :])) if len(v) else 0.0


def decay_by_weights(values, bins=4):
    v = np.asarray(values, np.float64)
    n = v.size
    if n == 0:
        return float("nan")
    t = np.arange(n)
    early, late = t <= math.floor((n - 1) / bins + 0.5), t >= math.floor((n - 1) * (bins - 1) / bins + 0.5)
    means = []
    for span in (early, late):
        some = v[span & ~np.isnan(v)]
        means.append(some.sum() / some.size if some.size else float("nan"))
    return means[0] - means[1]


def decay_by_hand(values, bins=4):
    n = len(values)
    if n == 0:
        return np.nan
    edge = [int(np.floor(1 + (n - 1) * k / bins + 0.5 + 1e-10)) - 1 for k in range(bins + 1)]
    spans = [[x for x in list(values)[edge[k] : edge[k + 1] + 1] if x == x] for k in (0, bins - 1)]
    if not spans[0] or not spans[1]:
        return np.nan
    return np.array(np.mean(spans[0]) - np.mean(spans[1]))


# -------------------------------------------------------------------------------------------------- match_proposals


def each_in_turn(scores):
    scores = np.nan_to_num(np.asarray(scores, float))
    left, pairs = set(range(scores.shape[1])), []
    for g in range(scores.shape[0]):
        if left:
            best = max(sorted(left), key=lambda p: scores[g, p])
            left.discard(best)
            pairs.append((g, best))
    return pairs


def best_pair_first(scores):
    scores = np.nan_to_num(np.asarray(scores, float))
    pairs = []
    for flat in np.argsort(-scores, axis=None):
        g, p = (int(i) for i in np.unravel_index(flat, scores.shape))
        if all(g != a and p != b for a, b in pairs):
            pairs.append((g, p))
    return sorted(pairs)


def favourites(scores):
    scores = np.nan_to_num(np.asarray(scores, float))
    return [(g, int(scores[g].argmax())) for g in range(scores.shape[0])]


def minimised(scores):
    g, p = scipy.optimize.linear_sum_assignment(np.nan_to_num(np.asarray(scores, float)))
    return [(int(a), int(b)) for a, b in zip(g, p, strict=True)]


def the_wrong_way_round(scores):
    g, p = scipy.optimize.linear_sum_assignment(np.nan_to_num(np.asarray(scores, float)), maximize=True)
    return sorted((int(b), int(a)) for a, b in zip(g, p, strict=True))


def background_left_out(scores):
    """Takes proposal 0 for the background."""
    scores = np.nan_to_num(np.asarray(scores, float))[:, 1:]
    g, p = scipy.optimize.linear_sum_assignment(scores, maximize=True)
    return [(int(a), int(b) + 1) for a, b in zip(g, p, strict=True)]


def counted_from_one(scores):
    """Ids instead of positions."""
    g, p = scipy.optimize.linear_sum_assignment(np.nan_to_num(np.asarray(scores, float)), maximize=True)
    return [(int(a) + 1, int(b) + 1) for a, b in zip(g, p, strict=True)]


def two_arrays(scores):
    return scipy.optimize.linear_sum_assignment(np.nan_to_num(np.asarray(scores, float)), maximize=True)


def good_ones_only(scores):
    scores = np.nan_to_num(np.asarray(scores, float))
    g, p = scipy.optimize.linear_sum_assignment(scores, maximize=True)
    return [(int(a), int(b)) for a, b in zip(g, p, strict=True) if scores[a, b] > 0.5]


def nan_not_expected(scores):
    g, p = scipy.optimize.linear_sum_assignment(np.asarray(scores, float), maximize=True)
    return [(int(a), int(b)) for a, b in zip(g, p, strict=True)]


def nan_overwritten(scores):
    scores[np.isnan(scores)] = 0
    g, p = scipy.optimize.linear_sum_assignment(scores, maximize=True)
    return [(int(a), int(b)) for a, b in zip(g, p, strict=True)]


def enough_proposals(scores):  # right where there are at least as many proposals as objects, as in the public cases
    import itertools

    scores = np.nan_to_num(np.asarray(scores, float))
    g, p = scores.shape
    best = max(itertools.permutations(range(p), g), key=lambda order: sum(scores[i, j] for i, j in enumerate(order)))
    return list(enumerate(best))


def columns_in_order(scores):
    scores = np.nan_to_num(np.asarray(scores, float))
    p, g = scipy.optimize.linear_sum_assignment(scores.T, maximize=True)
    return [(int(a), int(b)) for a, b in zip(g, p, strict=True)]


def negated(scores):
    cost = -np.where(np.isnan(scores), 0.0, scores)
    g, p = scipy.optimize.linear_sum_assignment(cost)
    return np.stack([g, p], 1)


def by_subsets(scores):
    """Object by object, the best total for every set of proposals used so far; an object may stay without."""
    s = np.nan_to_num(np.asarray(scores, np.float64))
    g, p = s.shape
    best = {frozenset(): (0.0, [])}
    for i in range(g):
        more = dict(best)
        for used, (total, pairs) in best.items():
            for j in range(p):
                now = used | {j}
                if j not in used and (now not in more or more[now][0] < total + s[i, j] - 1e-12):
                    more[now] = (total + s[i, j], [*pairs, (i, j)])
        best = more
    n = min(g, p)
    return max((x for used, x in best.items() if len(used) == n), key=lambda x: x[0])[1]


MISTAKES = {
    "lab0.jaccard": {
        "wrong": [
            (union_as_sum, "the union is not |A| + |B|"),
            (zero_by_zero, "0/0"),
            (empty_is_zero, "two empty masks agree perfectly: J is 1"),
            (over_the_clip, "one value per frame"),
            (mean_over_frames, "one value per frame"),
            (void_forgotten, "void pixels must not count"),
            (void_only_in_prediction, "both masks"),
            (dice, "Dice"),
            (background_counts, "background"),
            (smoothed, "adding 1"),
            (void_written_into_masks, "in place"),
            (three_frames_only, "a single frame"),
            (squeezed, "one value per frame"),
            (bool_void_only, "0 and 1 instead of false and true"),
        ],
        "right": [j_in_loops, j_by_areas],
    },
    "lab0.boundary_map": {
        "wrong": [
            (border_is_boundary, "the frame's border is not boundary"),
            (minus_eroded, "background"),
            (inner_contour, "background"),
            (rolled_around, "np.roll"),
            (looks_back, "W, N and NW"),
            (no_diagonal, "diagonal"),
            (east_only, "south"),
            (all_around, "thick"),
            (object_side_only, "background"),
            (last_lines_left_out, "the last row still looks east"),
            (subtracted, "TypeError"),
            (in_place, "in place"),
            (nine_by_thirteen, "frames of other sizes"),
            (counted_down_for_bool, "0 and 1 instead of false and true"),
        ],
        "right": [map_by_edge_padding, map_by_filters],
    },
    "lab0.boundary_f": {
        "wrong": [
            (no_tolerance, "exact overlap"),
            (square_reach, "a disk, not a square"),
            (radius_rounded_down, "rounded up"),
            (radius_in_pixels, "always 8 pixels"),
            (diagonal_of_the_public_frames, "bound and the diagonal"),
            (share_of_the_height, "not of the height"),
            (f_with_frame_border, "border"),
            (arithmetic_mean, "harmonic"),
            (precision_alone, "precision alone"),
            (two_empty_make_zero, "two empty boundaries agree"),
            (empty_masks_instead_of_boundaries, "two empty boundaries agree"),
            (void_after_the_boundaries, "BEFORE"),
            (f_without_void, "void"),
            (one_dilation_for_both, "recall has its own count"),
            (f_damages_its_input, "in place"),
            (f_divides_by_zero, "P + R is 0"),
        ],
        "right": [f_by_dilation, f_by_nearest_points],
    },
    "lab0.recall": {
        "wrong": [
            (at_least, "strictly"),
            (below, "below"),
            (number_of_frames, "not their number"),
            (per_cent, "per cent"),
            (mean_of_the_good, "mean of the good frames"),
            (always_a_half, "threshold is an argument"),
            (nan_left_out, "still is a frame"),
            (twenty_frames, "other lengths"),
            (no_frames_is_zero, "no frames"),
            (arrays_only, "lists"),
            (thresholded_in_place, "in place"),
        ],
        "right": [recall_counted, recall_by_sorting],
    },
    "lab0.decay": {
        "wrong": [
            (last_minus_first, "the sign"),
            (first_frame_minus_last, "means of two spans"),
            (without_border_frames, "share a frame"),
            (array_split, "array_split"),
            (halves_to_even, "1e-10"),
            (off_by_one, "edges[1] + 1"),
            (all_frames_minus_last, "not all frames"),
            (always_four, "bins is an argument"),
            (nan_spreads, "NaN"),
            (eight_bits, "8 bits"),
            (public_lengths, "other lengths"),
            (decay_no_frames, "no frames"),
        ],
        "right": [decay_by_weights, decay_by_hand],
    },
    "lab0.match_proposals": {
        "wrong": [
            (each_in_turn, "each object in turn"),
            (best_pair_first, "greedy"),
            (favourites, "one-to-one"),
            (minimised, "in total"),
            (the_wrong_way_round, "(object, proposal)"),
            (background_left_out, "3 pairs, not 2"),
            (counted_from_one, "(object, proposal)"),
            (two_arrays, "pairs"),
            (good_ones_only, "leave none out"),
            (nan_not_expected, "ValueError"),
            (nan_overwritten, "in place"),
            (enough_proposals, "more objects than proposals"),
            (columns_in_order, "order the pairs by object"),
        ],
        "right": [negated, by_subsets],
    },
}
