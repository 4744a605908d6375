"""Moments: a frame, and what the frame before says of it. Training examples of systems that warp masks by flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vos_teach.clip import VOID, VosError, to_tensor
from vos_teach.data.augment import affine, corrupt, light, to_tensors
from vos_teach.data.flow import Estimator, tensors
from vos_teach.data.lucid import Dreamer
from vos_teach.data.sample import Source, drawn_clips
from vos_teach.ops.warp import warp as bilinear

Maps = Callable[[Tensor, Tensor], Tensor]  # frame 3,H,W in [0,1], flow 2,H,W back to the last one -> M,H,W in [0,1]
Deform = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # a mask H,W uint8 -> as it may be wrong
MOST = 15  # slots


@dataclass(frozen=True)
class Moment:
    """H,W,3 uint8 frame; labels H,W uint8; last H,W uint8: the labels before, warped here; maps H,W,M uint8."""

    frame: np.ndarray
    labels: np.ndarray
    last: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Example:
    """frame 3,H,W; maps M,H,W; masks N,H,W, spoilt; target H,W int64 of slots, 0 for none; present N bool."""

    frame: Tensor
    maps: Tensor
    masks: Tensor
    target: Tensor
    present: Tensor


def between(before: np.ndarray, its_labels: np.ndarray, frame: np.ndarray, labels: np.ndarray, maps: Maps,
            flow: str | Estimator = "dis", warp: Callable[[Tensor, Tensor], Tensor] = bilinear) -> Moment:
    """Two frames in a row and their label maps -> the second one's moment."""
    now, then = to_tensor(frame), to_tensor(before)
    back = tensors(now, then, flow)
    last = np.zeros_like(labels)
    for k in np.unique(its_labels[(its_labels > 0) & (its_labels != VOID)]):
        last[warp(torch.from_numpy(its_labels == k).float()[None], back)[0].numpy() > 0.5] = k
    with torch.no_grad():
        known = (maps(now, back) * 255).round().to(torch.uint8).permute(1, 2, 0)  # H,W,M
    return Moment(frame, np.where(labels == VOID, 0, labels), last, known.contiguous().numpy())


def example(moment: Moment, rng: np.random.Generator, slots: int, ids: Sequence[int] | None = None,
            size: tuple[int, int] | None = None, deform: Deform | None = None) -> Example:
    """A moment with some of its objects in slots, the others background, and last masks that are wrong somewhere.

    ids: the objects, in their slots' order; None: a random choice in random slots, of one object in two cases of
    five. size: a random crop of this height and width, lit anew; None: the frame as it is. deform: `spoil` if None.
    """
    if not 1 <= slots <= MOST:
        raise VosError(f"{slots} slots are not possible: give 1 to {MOST}")
    table = np.zeros(256, np.uint8)
    if ids is None:
        have = rng.permutation([k for k in np.unique(moment.last) if k])
        n = 1 if rng.random() < 0.4 else min(len(have), slots)
        table[have[:n].astype(int)] = 1 + rng.permutation(slots)[: len(have[:n])]
    else:
        table[list(ids)[:slots]] = 1 + np.arange(len(list(ids)[:slots]))
    picture, both = np.concatenate([moment.frame, moment.maps], 2), table[moment.labels] + 16 * table[moment.last]
    if size is not None:
        fit = size[0] / both.shape[0]
        picture, both = affine(picture, both, rng, size, degrees=15, scale=(0.8 * fit, 1.5 * fit), shift=0.1)
    frame, labels = np.ascontiguousarray(picture[..., :3]), both & 15
    masks = np.zeros((slots, *labels.shape), np.uint8)
    for slot in np.unique(both >> 4):
        if slot:
            masks[slot - 1] = (deform or spoil)((both >> 4 == slot).astype(np.uint8), rng)
    present = masks.any((1, 2))
    labels = labels * np.append(True, present)[labels]  # nothing points at it: it is not asked for
    image, target = to_tensors(frame if size is None else light(frame, rng), labels)
    maps = to_tensor(picture[..., 3:])
    return Example(image, maps, torch.from_numpy(masks).float(), target, torch.from_numpy(present))


def spoil(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A last mask as it may be after a while, H,W uint8 of 0 and 1 -> the same; of an object, never empty.

    A third is MaskTrack's corruption, a third the same twice as strong, a third is that with a rectangle of the
    object's box missing or filled.
    """
    kind, at = rng.random(), np.argwhere(mask)
    much = 1.0 if kind < 0.35 else 2.0
    out = corrupt(mask, rng, bend=0.1 * much, scale=0.08 * much, shift=0.1 * much)
    if kind > 0.7 and len(at):
        (top, left), span = at.min(0), np.ptp(at, 0) + 1
        y, x = (top, left) + rng.uniform(-0.2, 0.8, 2) * span
        h, w = np.maximum(2, rng.uniform(0.2, 0.6, 2) * span)
        part = slice(max(0, int(y)), max(0, int(y + h)) + 1), slice(max(0, int(x)), max(0, int(x + w)) + 1)
        changed = out.copy()
        changed[part] = kind > 0.85
        out = changed if changed.any() else out
    return out if out.any() else mask.copy()


class Pool:
    """So many moments of training clips, made when asked for and then kept: moment i depends on seed and i alone.

    dreams: the share that is dreamt of single frames; the others are frames of a clip, 1 to 3 apart. still: the share
    in which time stands still, so that nothing moves: an object that rests is an object all the same.
    """

    def __init__(self, sources: Sequence[Source], count: int, maps: Maps, flow: str | Estimator = "dis",
                 warp: Callable[[Tensor, Tensor], Tensor] = bilinear, dreams: float = 0.4, seed: int = 0,
                 still: float = 0.2):
        self.sources, self.count, self.maps, self.flow, self.warp = sources, count, maps, flow, warp
        self.dreams, self.seed, self.still = dreams, seed, still
        self.kept: dict[int, Moment] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Moment:
        if i not in self.kept:
            self.kept[i] = self._make(np.random.default_rng([17, self.seed, i]))
        return self.kept[i]

    def draw(self, rng: np.random.Generator, batch: int, slots: int, size: tuple[int, int]) -> list[Example]:
        """A batch of examples with at least one object each."""
        out: list[Example] = []
        while len(out) < batch:
            drawn = example(self[int(rng.integers(self.count))], rng, slots, size=size)
            if drawn.present.any() and drawn.target.any():
                out.append(drawn)
        return out

    def _make(self, rng: np.random.Generator) -> Moment:
        for _ in range(1000):
            clips = drawn_clips(self.sources, rng)
            clip = clips[rng.integers(len(clips))]
            t, gap, asleep = int(rng.integers(len(clip))), int(rng.choice([1, 1, 2, 3])), rng.random() < self.dreams
            labels = clip.masks[t]
            before = None if asleep or t < gap else clip.masks[t - gap]
            if labels is None or not ((labels > 0) & (labels != VOID)).any():
                continue
            if asleep:
                dream = Dreamer(clip.frames[t], labels).pair(rng)
                pair = dream.first, dream.first_mask, dream.second, dream.second_mask
            elif before is not None:
                pair = clip.frames[t - gap], before, clip.frames[t], labels
            else:
                continue
            if rng.random() < self.still:
                pair = *pair[2:], *pair[2:]
            made = between(*pair, self.maps, self.flow, self.warp)
            if made.last.any() and made.labels.any():
                return made
        raise VosError("no clip of the training data has two frames in a row with an object: give others")
