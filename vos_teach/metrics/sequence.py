"""All figures of one sequence, frame by frame: what a worker process does."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from vos_teach.data.png import read_mask
from vos_teach.errors import VosError as bad
from vos_teach.metrics.measures import Cut, cut, edge_f, match_proposals, overlap_j, radius
from vos_teach.metrics.stability import describe, instability
from vos_teach.metrics.truth import Video

MAX_PROPOSALS = 20
VOID = 255


def score_video(video: Video) -> dict[str, Any]:
    """J and F (and T) of every object of one video, per frame.

    Returns {"frames": how many, "objects": id -> {"J": {"values"}, "F": {"values"}, "start", "proposal"},
    "unscored": ids}; values are of the frames that count, and objects that are in none of those are unscored.
    """
    frames = []
    starts: dict[int, int] = {}  # object -> its first frame
    given: dict[int, int] = {}  # predicted id -> the first frame with it
    for t in range(len(video.truth)):
        truth, pred = _read(video, t)
        r = radius(truth.shape)
        objects, proposals = cuts(truth, r), cuts(pred, r)
        for k in objects:
            starts.setdefault(k, t)
        for p in proposals:
            given.setdefault(p, t)
        pairs = [(g, p) for g in objects for p in proposals if g == p or not video.one_shot]
        frames.append((
            {g: c.length > 0 for g, c in objects.items()}, {p: c.length > 0 for p, c in proposals.items()},
            {(g, p): (overlap_j(proposals[p], objects[g]), edge_f(proposals[p], objects[g]))
             for g, p in pairs},
        ))
    ids = sorted(starts)
    matched: dict[int, int | None]
    if video.one_shot:
        for p, t in given.items():
            if p not in starts:
                raise bad(f"'{video.pred[t]}' has id {p}, but the objects of '{video.name}' are "
                          f"{', '.join(map(str, ids)) or 'none'}")
        matched = {k: k for k in ids}
        values = {k: _series(frames, k, k) for k in ids}
    else:
        if len(given) > MAX_PROPOSALS:
            raise bad(f"'{video.pred[0].parent}' has {len(given)} proposals; at most {MAX_PROPOSALS} count")
        # an object without a proposal is compared with an empty one
        slots: list[int | None] = [*sorted(given)]
        slots += [None] * (len(ids) - len(slots))
        table = {(g, p): _series(frames, g, p) for g in ids for p in dict.fromkeys(slots)}
        scores = np.array([[table[g, p].mean() for p in slots] for g in ids]).reshape(len(ids), len(slots))
        matched = {ids[g]: slots[p] for g, p in match_proposals(scores)}
        values = {g: table[g, p] for g, p in matched.items()}
    result: dict[str, Any] = {"frames": len(frames), "objects": {}, "unscored": []}
    for k in ids:
        span = slice(starts[k] + 1, len(frames) - video.skip_last) if video.one_shot else slice(None)
        j, f = values[k][:, span]
        if len(j) == 0:
            result["unscored"].append(k)
            continue
        item: dict[str, Any] = {"J": {"values": j.tolist()}, "F": {"values": f.tolist()}, "start": starts[k]}
        if not video.one_shot:
            item["proposal"] = matched[k]
        result["objects"][str(k)] = item
    if video.temporal:
        _add_stability(video, result["objects"], matched)
    return result


def cuts(mask: np.ndarray, r: int) -> dict[int, Cut]:
    """Every object of an H,W id map, cropped to its box."""
    x, y, w, h = cv2.boundingRect(mask)
    if w == 0:
        return {}
    y, x, bottom, right = max(y - 1, 0), max(x - 1, 0), y + h + 1, x + w + 1
    mask = mask[y:bottom, x:right]
    top = int(mask.max())
    ids = [1] if top == 1 else [int(k) for k in np.flatnonzero(np.bincount(mask.ravel())) if k]
    found = {}
    for k in ids:
        part = cut(mask == k, r)
        if part is not None:
            part.y, part.x = part.y + y, part.x + x
            found[k] = part
    return found


def _read(video: Video, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame t's truth and prediction as ids, void cleared in both where the protocol has void."""
    truth, pred = read_mask(video.truth[t]), read_mask(video.pred[t])
    if truth.shape != pred.shape:
        raise bad(f"'{video.pred[t]}' is {pred.shape[1]}x{pred.shape[0]}, but its ground truth "
                  f"'{video.truth[t]}' is {truth.shape[1]}x{truth.shape[0]}")
    if video.binary:
        truth = np.minimum(truth, 1)
        if pred.max() == VOID and not ((pred > 1) & (pred < VOID)).any():
            pred = np.minimum(pred, 1)  # a binary mask written as 0/255, as DAVIS-2016 itself does
    elif truth.max() == VOID:
        void = truth == VOID
        truth = np.where(void, 0, truth).astype(np.uint8)
        if not video.one_shot:
            pred = np.where(void, 0, pred).astype(np.uint8)
    return truth, pred


def _series(frames: list, g: int, p: int | None) -> np.ndarray:
    """2,T: J and F of object g against proposal p (None: an empty one) in every frame."""
    out = np.empty((2, len(frames)))
    for t, (objects, proposals, pairs) in enumerate(frames):
        if (g, p) in pairs:
            out[:, t] = pairs[g, p]
        else:  # at most one of the two is there
            out[:, t] = g not in objects and p not in proposals, not (objects.get(g) or proposals.get(p))
    return out


def _add_stability(video: Video, objects: dict[str, Any], matched: dict[int, int | None]) -> None:
    """T of each object's prediction, over all pairs of frames but the last, from its first frame on."""
    last: dict[str, np.ndarray | None] = {}
    for k in objects:
        objects[k]["T"] = {"values": []}
    for t in range(len(video.pred) - 1):
        _, pred = _read(video, t)
        for k, item in objects.items():
            if video.one_shot and t < item["start"]:
                continue
            p = matched[int(k)]
            shape = describe(pred == p) if p is not None else None
            if k in last:
                item["T"]["values"].append(instability(last[k], shape))
            last[k] = shape
