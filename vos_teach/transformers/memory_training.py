"""How STM and STCN learn: from stills, then from videos, always with what they predicted themselves in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vos_teach.data.sample import Source
from vos_teach.data.stills_clips import stills_clips
from vos_teach.data.windows import recoloured, windows
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.losses import soft_iou

STILLS = 0.3  # of the steps are on clips made of stills
FAR, NEAR = 15, 8  # the widest gap in frames, and that of the last steps


def lesson(step: int, steps: int) -> tuple[int, int]:
    """Frames of a training clip, and the widest gap between them; a gap of 0 stands for clips made of stills.

    The gap grows from 2 to 15 and ends at 8; clips have 3 frames, and 4 in the last third.
    """
    done = step / steps
    if done < STILLS:
        return 3, 0
    gap = NEAR if done > 0.85 else min(FAR, 2 + int((FAR - 1) * (done - STILLS) / (0.8 - STILLS)))
    return (3 if done < 0.67 else 4), gap


def asked(counts: Sequence[int], rng: np.random.Generator, most: int = 2) -> list[tuple[int, int]]:
    """(clip, slot) of the objects that are asked for: one of several in 40 of 100 clips, else up to `most`, drawn anew.

    What nobody asks for is background, however much it stands out.
    """
    rows = []
    for b, n in enumerate(counts):
        few = 1 if rng.random() < 0.4 else min(n, most)
        rows += [(b, int(k) + 1) for k in sorted(rng.permutation(n)[:few])]
    return rows


def held(length: int, rng: np.random.Generator, keep: float = 0.75) -> list[list[int]]:
    """For each frame from 1 on which of those before are in memory: frame 0, and each other with probability `keep`.

    So none of the rules by which memory can be kept is a surprise.
    """
    return [[0, *(s for s in range(1, t) if rng.random() < keep)] for t in range(1, length)]


def objective(logits: Tensor, merged: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of each object by itself plus one minus soft IoU of the merged masks; R,H,W each -> scalar.

    Where an object is not shown soft IoU has no gradient and is left out.
    """
    loss, shown = F.binary_cross_entropy_with_logits(logits, truth), truth.flatten(1).any(1)
    return loss + (1 - soft_iou(merged, truth)[shown]).mean() if shown.any() else loss


def unroll(net: Any, frames: Tensor, truth: Tensor, rows: Tensor, memory: Sequence[Sequence[int]]) -> Tensor:
    """The loss of a batch of clips: frames B,T,3,H,W, masks R,T,H,W of 0 and 1, rows R (each object's clip, ascending).

    memory: see `held`. Frame 0's masks are given; of later frames memory holds what was predicted, without gradient.
    """
    count, length = frames.shape[:2]
    seen = net.query(frames.flatten(0, 1))  # all frames at once
    masks, written, losses = truth[:, 0], [], []
    for t in range(1, length):
        total = torch.zeros_like(frames[:, 0, 0]).index_add(0, rows, masks)  # B,H,W
        written.append(net.write(frames[:, t - 1], masks, (total[rows] - masks).clamp(0, 1), rows,
                                 seen.part(slice(t - 1, None, length))))
        banks = []
        for b in range(count):
            own = rows == b
            banks.append((torch.cat([written[s][0][own if net.own_keys else b].flatten(-2) for s in memory[t - 1]], -1),
                          torch.cat([written[s][1][own].flatten(-2) for s in memory[t - 1]], -1)))
        logits = net.segment(banks, seen.part(slice(t, None, length)), rows)
        p = torch.sigmoid(logits)
        merged = torch.cat([soft_aggregate(p[rows == b])[1:] for b in range(count)])
        losses.append(objective(logits, merged, truth[:, t]))
        masks = merged.detach()
    return torch.stack(losses).mean()


def lessons(net: Any, sources: Sequence[Source], steps: int, batch: int, size: tuple[int, int], device: str
            ) -> Callable[[int, np.random.Generator], Tensor]:
    """A recipe's loss."""

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        length, gap = lesson(step, steps)
        drawn = (windows(sources, rng, batch, size, length, gap) if gap else
                 stills_clips(sources, rng, batch, size, length))
        pairs = asked(drawn.counts.tolist(), rng)
        truth = torch.stack([drawn.labels[b] == k for b, k in pairs]).float()  # R,T,H,W
        return unroll(net, recoloured(drawn.frames.to(device), rng), truth.to(device),
                      torch.tensor([b for b, _ in pairs], device=device), held(length, rng))

    return loss
