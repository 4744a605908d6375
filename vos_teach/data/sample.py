"""Drawing training examples from clips."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vos_teach.clip import VOID, Clip, VosError
from vos_teach.data import composite
from vos_teach.data.augment import affine, light, to_tensors


@dataclass(frozen=True)
class Source:
    """Clips of one kind, and how large a share of the batches comes from them."""

    name: str
    clips: Sequence[Clip]
    share: float


@dataclass(frozen=True)
class Pairs:
    """A batch of two moments of one clip each, and ONE object of it.

    reference   B,3,h,w float   a frame in which the object is shown
    given       B,h,w int64     its mask there, 0 and 1, never empty
    image       B,3,H,W float   another frame
    target      B,H,W int64     its mask there, never empty
    previous    B,H,W int64     its mask in a frame next to that one, seen by the same camera: target's predecessor
    """

    reference: Tensor
    given: Tensor
    image: Tensor
    target: Tensor
    previous: Tensor


def stills(sources: Sequence[Source], rng: np.random.Generator, batch: int, size: tuple[int, int]
           ) -> tuple[Tensor, Tensor]:
    """A batch of single frames, each with every object as foreground: B,3,H,W float and B,H,W int64 of 0 and 1.

    A batch comes from one source. Clips smaller than `size` are not blown up: they give batches of their own size
    and as many more frames as that saves pixels. Each clip is as likely as any other, however long.
    """
    clips, batch, size = draw(sources, rng, batch, size)
    pairs = []
    while len(pairs) < batch:
        clip = clips[rng.integers(len(clips))]
        t = int(rng.integers(len(clip)))
        labels = clip.masks[t]
        if labels is None:
            continue
        frame, mask = clip.frames[t], ((labels > 0) & (labels != VOID)).astype(np.uint8)
        fit = size[0] / mask.shape[0]  # the clip's own height fills the crop's
        frame, mask = affine(frame, mask, rng, size, degrees=15, scale=(0.6 * fit, 1.4 * fit), shift=0.1)
        if mask.any():  # the balanced loss of an empty target is 0: nothing to learn from
            pairs.append(to_tensors(light(frame, rng), mask))
    images, targets = zip(*pairs, strict=True)
    return torch.stack(images), torch.stack(targets)


def singles(sources: Sequence[Source], rng: np.random.Generator, batch: int, size: tuple[int, int]
            ) -> list[tuple[np.ndarray, np.ndarray]]:
    """A batch of single frames, each with ONE object, never empty: H,W,3 and H,W uint8 of 0 and 1.

    Any object of a clip is as likely as any other. size, and batches of smaller clips: as in `stills`.
    """
    clips, batch, size = draw(sources, rng, batch, size)
    drawn: list[tuple[np.ndarray, np.ndarray]] = []
    while len(drawn) < batch:
        clip = clips[rng.integers(len(clips))]
        t, k = int(rng.integers(len(clip))), clip.ids[rng.integers(len(clip.ids))]
        labels = clip.masks[t]
        if labels is None:
            continue
        fit = size[0] / clip.size[0]
        frame, mask = affine(clip.frames[t], (labels == k).astype(np.uint8), rng, size, degrees=15,
                             scale=(0.7 * fit, 1.4 * fit), shift=0.1)
        if mask.any():
            drawn.append((light(frame, rng), mask))
    return drawn


def crowded(sources: Sequence[Source], times: int = 20, fours: float = 0.0) -> list[Source]:
    """Where clips mostly show one object, half of the batches come from composites: there the mask must tell which.

    A fifth of these are doubles: a clip pasted over itself. Its two objects look alike, so only the place can tell.
    fours: the share of the composites' batches that two composites in one give, with four objects.
    """
    out = []
    for source in sources:
        alone = [clip for clip in source.clips if len(clip.ids) == 1]
        if len(alone) * 2 > len(source.clips) and len(alone) > 1:
            both = composite.suite(alone, times * len(alone))
            for i in range(len(both) // 4):
                with suppress(VosError):  # too large to stand there twice
                    both.append(composite.pair(alone[i % len(alone)], alone[i % len(alone)], seed=i))
            out += [Source(source.name, source.clips, source.share / 2),
                    Source(source.name + "+", both, (1 - fours) * source.share / 2)]
            if fours:
                out.append(Source(source.name + "++", composite.suite(both, len(both) // 2, seed=1),
                                  fours * source.share / 2))
        else:
            out.append(source)
    return out


def pairs(sources: Sequence[Source], rng: np.random.Generator, batch: int, size: tuple[int, int], near: int = 3
          ) -> Pairs:
    """A batch of frame pairs, each with one object, any of its clip's objects equally often.

    size, and batches of smaller clips: as in `stills`. Both frames are drawn from the whole clip and moved and lit
    independently; `previous` is up to `near` frames before or after the second one, and moved exactly like it.
    """
    clips, batch, size = draw(sources, rng, batch, size)
    drawn: list[tuple[Tensor, ...]] = []
    while len(drawn) < batch:
        clip = clips[rng.integers(len(clips))]
        i, j = rng.integers(len(clip), size=2)
        before = np.clip(j + rng.choice([-1, 1]) * rng.integers(1, near + 1), 0, len(clip) - 1)
        k = clip.ids[rng.integers(len(clip.ids))]
        labels = [clip.masks[t] for t in (i, j, before)]
        if any(m is None for m in labels):
            continue
        given, target, previous = ((m == k).astype(np.uint8) for m in labels)
        if not given.any() or not target.any():
            continue
        fit = size[0] / clip.size[0]
        shown = affine(light(clip.frames[i], rng), given, rng, size, degrees=10, scale=(0.7 * fit, 1.2 * fit))
        both = target + 2 * previous  # two masks in one map of ids: moved alike without a second warp
        frame, both = affine(light(clip.frames[j], rng), both, rng, size, degrees=10, scale=(0.7 * fit, 1.4 * fit),
                             shift=0.1)
        if shown[1].any() and (both & 1).any():
            image, target_previous = to_tensors(frame, both)
            drawn.append((*to_tensors(*shown), image, target_previous & 1, target_previous >> 1))
    return Pairs(*(torch.stack(part) for part in zip(*drawn, strict=True)))


def drawn_clips(sources: Sequence[Source], rng: np.random.Generator) -> Sequence[Clip]:
    """The clips of one source, drawn by its share."""
    shares = np.array([source.share for source in sources], float)
    return sources[rng.choice(len(sources), p=shares / shares.sum())].clips


def draw(sources: Sequence[Source], rng: np.random.Generator, batch: int, size: tuple[int, int]
         ) -> tuple[Sequence[Clip], int, tuple[int, int]]:
    """One source by its share -> its clips, and a batch and a size that cost as much on clips smaller than `size`."""
    clips = drawn_clips(sources, rng)
    first = clips[0].size
    if first[0] < size[0]:
        batch, size = batch * size[0] * size[1] // (first[0] * first[1]), first
    return clips, batch, size
