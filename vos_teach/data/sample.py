"""Drawing training examples from clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vos_teach.clip import VOID, Clip
from vos_teach.data.augment import affine, light, to_tensors


@dataclass(frozen=True)
class Source:
    """Clips of one kind, and how large a share of the batches comes from them."""

    name: str
    clips: Sequence[Clip]
    share: float


def stills(sources: Sequence[Source], rng: np.random.Generator, batch: int, size: tuple[int, int]
           ) -> tuple[Tensor, Tensor]:
    """A batch of single frames, each with every object as foreground: B,3,H,W float and B,H,W int64 of 0 and 1.

    A batch comes from one source. Clips smaller than `size` are not blown up: they give batches of their own size
    and as many more frames as that saves pixels. Each clip is as likely as any other, however long.
    """
    shares = np.array([source.share for source in sources], float)
    clips = sources[rng.choice(len(sources), p=shares / shares.sum())].clips
    first = clips[0].size
    if first[0] < size[0]:
        batch, size = batch * size[0] * size[1] // (first[0] * first[1]), first
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
