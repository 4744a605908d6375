"""Composites: exact truth for several objects, from clips of one.

DAVIS-2016 shows one salient object a clip, so a system that never looks at the given mask can score well. In a
composite there are two, and either can be asked for. The object of `b` is cut out by its mask and pasted over `a`;
the masks are exact because the paste is.

A pasted object has a seam, and a network could learn to segment seams. So a composite's two objects are both
objects to segment: whoever trains on it asks for the pasted one and for the other one equally often, and the pasted
one is then not the target half of the time. `suite` also makes every clip the base and the pasted one equally often,
and the object's edge is softened on its inner side. Composites for training come from training clips only.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vos_teach.clip import VOID, Clip, Lazy, VosError

VISIBLE = 0.6     # the share of each object's area that frame 0 must show
TRIES = 80


def pair(a: Clip, b: Clip, seed: int = 0) -> Clip:
    """Clip `a` with `b`'s objects in it: ids 1..Ka are a's objects, the next ones b's (two clips of one: 1 and 2).

    b is brought to a's height, then scaled, flipped, shifted and matched in brightness, all alike for every frame;
    its objects pass in front of a's or behind them. In frame 0 at least 60 % of each object's area is visible.
    As long as the shorter clip; frames and masks are made when asked for. Raises VosError where nothing fits.
    """
    b = b.resize(a.size[0])
    for clip in (a, b):
        if not clip.ids or clip.masks[0] is None:
            raise VosError(f"clip '{clip.name}' has no annotated object in frame 0: choose another for a composite")
    if len(a.ids) + len(b.ids) >= VOID:
        raise VosError(f"'{a.name}' and '{b.name}' have more than 254 objects together: choose others")
    rng = np.random.default_rng([11, seed])
    flip, behind = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    ids = _table(a, 0), _table(b, len(a.ids))
    first_a, first_b = ids[0][a.masks[0]], ids[1][b.masks[0]]
    matrix = _fit(rng, first_a, first_b[:, ::-1] if flip else first_b, behind, f"'{a.name}' and '{b.name}'")
    gain = float(np.clip(a.frames[0].mean() / max(1.0, float(b.frames[0].mean())), 0.6, 1.6))
    size = a.size

    def masks(t: int) -> tuple[np.ndarray, np.ndarray] | None:
        """a's ids, and b's where they are pasted, 0 elsewhere."""
        if a.masks[t] is None or b.masks[t] is None:
            return None
        mine, theirs = ids[0][a.masks[t]], ids[1][b.masks[t]]
        return mine, _visible(mine, _warp_mask(theirs[:, ::-1] if flip else theirs, matrix, size), behind)

    def mask(t: int) -> np.ndarray | None:
        both = masks(t)
        return None if both is None else np.where(both[1] > 0, both[1], both[0])

    def frame(t: int) -> np.ndarray:
        both = masks(t)
        if both is None or not both[1].any():
            return a.frames[t]
        picture = b.frames[t][:, ::-1] if flip else b.frames[t]
        return _paste(a.frames[t], _warp_frame(picture, matrix, size), both[1] > 0, gain)

    length = min(len(a), len(b))
    kept = [(c, k, int(ids[i][k])) for i, c in enumerate((a, b)) for k in c.ids if c.starts[k] < length]
    return Clip(
        name=f"{a.name}+{b.name}", size=size, frames=Lazy(length, frame), masks=Lazy(length, mask),
        ids=tuple(new for _, _, new in kept), starts={new: c.starts[k] for c, k, new in kept},
        frame_names=a.frame_names[:length], attributes=a.attributes | b.attributes,
        categories={new: c.categories[k] for c, k, new in kept if k in c.categories},
    )


def suite(clips: Sequence[Clip], n: int, seed: int = 0) -> list[Clip]:
    """n pairs, always the same for the same seed; over every len(clips) of them each clip is base and pasted once.

    Pairs that do not fit are replaced by the next partner. Clips may differ in width and height.
    """
    if len(clips) < 2:
        raise VosError(f"composites need at least 2 clips, not {len(clips)}: give more sequences")
    order = np.random.default_rng([12, seed]).permutation(len(clips)).tolist()
    out: list[Clip] = []
    for i in range(n):
        turn, step = i % len(clips), 1 + (i // len(clips)) % (len(clips) - 1)
        for more in range(len(clips) - 1):
            partner = 1 + (step - 1 + more) % (len(clips) - 1)
            try:
                out.append(pair(clips[order[turn]], clips[order[(turn + partner) % len(clips)]], seed * 100_003 + i))
                break
            except VosError:
                if more == len(clips) - 2:
                    raise
    return out


def _table(clip: Clip, after: int) -> np.ndarray:
    """256 new ids for old ones: the clip's objects become after+1, after+2, ...; what is void stays so in the base."""
    table = np.zeros(256, np.uint8)
    table[list(clip.ids)] = after + 1 + np.arange(len(clip.ids))
    if after == 0:
        table[VOID] = VOID
    return table


def _visible(mine: np.ndarray, theirs: np.ndarray, behind: bool) -> np.ndarray:
    """What is seen of the pasted objects, in front of the base's objects or behind them."""
    return np.where(mine > 0, 0, theirs).astype(np.uint8) if behind else theirs


def _fit(rng: np.random.Generator, mine: np.ndarray, theirs: np.ndarray, behind: bool, names: str) -> np.ndarray:
    """The 2,3 matrix (scale and shift) that leaves most of every object of frame 0 visible; random among good ones."""
    ys, xs = np.nonzero(theirs)
    if len(ys) == 0:
        raise VosError(f"{names}: nothing to paste is visible in frame 0; choose another clip")
    h, w = mine.shape
    middle = np.array([(xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2])
    half = np.array([xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]) / 2
    largest = min(1.0, np.sqrt(0.2 * h * w / len(ys)))                     # at most a fifth of the frame
    best, most = None, 0.0
    for n in range(TRIES):
        scale = largest * rng.uniform(0.75, 1.0) * 0.4 ** (n / TRIES)      # what does not fit is made smaller
        reach = np.minimum(0.8 * half * scale, np.array([w, h]) / 2 - 1)   # a little may stick out
        at = rng.uniform(reach, np.array([w, h]) - reach)
        matrix = np.column_stack([scale * np.eye(2), at - scale * middle])
        seen = _visible(mine, _warp_mask(theirs, matrix, (h, w)), behind)
        shares = [((mine == k) & (seen == 0)).sum() / (mine == k).sum() for k in np.unique(mine) if 0 < k < VOID]
        shares += [(seen == k).sum() / ((theirs == k).sum() * scale**2) for k in np.unique(theirs) if k]
        if min(shares) > most and (seen > 0).sum() >= 0.005 * h * w:
            best, most = matrix, min(shares)
        if most > 0.85:
            break
    if best is None or most < VISIBLE:
        raise VosError(f"{names} leave no room for each other in frame 0: choose other clips")
    return best


def _warp_mask(mask: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.warpAffine(np.ascontiguousarray(mask), matrix, size[::-1], flags=cv2.INTER_NEAREST)


def _warp_frame(frame: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear; what gets smaller is blurred first, so that it does not alias."""
    frame, scale = np.ascontiguousarray(frame), float(matrix[0, 0])
    if scale < 0.95:
        frame = cv2.GaussianBlur(frame, (0, 0), 0.5 * float(np.sqrt(1 / scale**2 - 1)) + 1e-3)
    return cv2.warpAffine(frame, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _paste(under: np.ndarray, over: np.ndarray, where: np.ndarray, gain: float) -> np.ndarray:
    """`over` (its brightness times gain) on `under`; the edge is soft on its inner side, so outside nothing changes."""
    deep = cv2.distanceTransform(where.astype(np.uint8), cv2.DIST_L2, 3)
    share = np.clip(deep / 1.6, 0, 1)[..., None]                           # the outermost pixel of the object: 0.6
    mixed = under * (1 - share) + np.minimum(over * np.float32(gain), 255) * share
    return np.where(where[..., None], np.clip(mixed + 0.5, 0, 255).astype(np.uint8), under)
