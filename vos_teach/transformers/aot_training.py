"""How AOT learns: short clips, identities drawn anew for each, and its own predicted masks in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vos_teach.clip import VOID
from vos_teach.data.sample import Source
from vos_teach.data.windows import asked, recoloured, windows
from vos_teach.ops.identify import draw_rows
from vos_teach.ops.losses import bootstrapped_ce, soft_iou
from vos_teach.ops.streams import softmax_over_objects

TRUE = 0.15  # of the steps remember true masks
HARDEST = 0.15  # of the pixels count in the end
GAP = 6  # frames between two of a training clip, at most


def lesson(step: int, steps: int) -> tuple[int, float]:
    """Frames of a clip, from 3 to 5, and the share of pixels that count, from all to 0.15 in the first half."""
    done = step / steps
    return 3 + (done > 0.3) + (done > 0.6), max(HARDEST, 1 - (1 - HARDEST) * done / 0.5)


def shuffled(objects: int, count: int, clips: int, rng: np.random.Generator) -> Tensor:
    """Which rows of the bank the background (always 0) and the slots of each clip take: clips,count+1, none twice."""
    return torch.stack([draw_rows(count, objects + 1, rng) for _ in range(clips)])


def objective(logits: Tensor, target: Tensor, there: Tensor, fraction: float) -> Tensor:
    """Half cross-entropy of the hardest pixels, half one minus soft Jaccard (section 5 of the paper).

    logits B,K+1,H,W; target B,H,W int64 of slots, 255 ignored; there B,K bool: slots in use. In a frame that does not
    show an object the Jaccard index has no gradient and is left out.
    """
    logits = logits.masked_fill(~F.pad(there, (1, 0), value=True)[..., None, None], -torch.inf)
    truth = hot(target, there.shape[1])[:, 1:]
    shown, valid = there & truth.flatten(2).any(2), (target != VOID)[:, None]
    entropy = bootstrapped_ce(logits, target, fraction)
    iou = soft_iou(torch.softmax(logits, 1)[:, 1:] * valid, truth)[shown]
    return 0.5 * entropy + 0.5 * (1 - iou).mean() if shown.any() else 0.5 * entropy


def hot(labels: Tensor, count: int) -> Tensor:
    """Labels B,H,W -> masks B,count+1,H,W of 0 and 1, background first; void is none of them."""
    return torch.stack([labels == k for k in range(count + 1)], 1).float()


def unroll(net: Any, frames: Tensor, labels: Tensor, counts: Tensor, rows: Tensor,
           fraction: float = 1.0, own: bool = True) -> Tensor:
    """The loss of a batch of clips: frames B,T,3,H,W, labels B,T,H,W of slots, counts B; rows: see `shuffled`.

    own: memory holds the labels that the network itself gave, without gradient; False: the true ones. Long-term memory
    is frame 0 and every second one, so that it is both: what was given, and what was not. Frame 0 has no loss.
    """
    there = torch.arange(rows.shape[1] - 1, device=frames.device) < counts.to(frames.device)[:, None]  # B,K
    bank = net.bank[rows]  # B,K+1,D
    features = [f.unflatten(0, frames.shape[:2]) for f in net.encode(frames.flatten(0, 1))]
    shown: list = []
    seen: list = []
    losses, last = [], None
    for t in range(frames.shape[1]):
        now, masks = [f[:, t] for f in features], hot(labels[:, t], there.shape[1])
        if t == 0:
            idents = net.identities(masks, bank)
            *_, pairs = net.propagate(now, [], [], None, idents)
        else:
            fine, deep, pairs = net.propagate(now, shown, seen, last)
            logits = net.decide(now, fine, deep, bank)
            losses.append(objective(logits, labels[:, t], there, fraction))
            if own:
                masks = hot(softmax_over_objects(logits.detach(), there).argmax(1), there.shape[1])
            idents = net.identities(masks, bank)
        last = net.remember(pairs, idents)
        if t == 0:
            shown = [last]
        elif t % 2 == 0:
            seen.append(last)
    return torch.stack(losses).mean()


def lessons(net: Any, sources: Sequence[Source], steps: int, batch: int, size: tuple[int, int], device: str
            ) -> Callable[[int, np.random.Generator], Tensor]:
    """A recipe's loss."""

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        length, fraction = lesson(step, steps)
        drawn = windows(sources, rng, batch, size, length, gap=GAP)
        labels, counts = asked(drawn.labels, drawn.counts, rng)
        most = min(int(counts.max()), len(net.bank) - 1)
        rows = shuffled(len(net.bank) - 1, most, len(counts), rng)
        return unroll(net, recoloured(drawn.frames, rng).to(device), labels.to(device), counts, rows.to(device),
                      fraction, own=step >= TRUE * steps)

    return loss
