"""Lab 1: what runs beside an answer, because it cannot be sent as plain data, and what is noted of it.

The grader's sandbox sees this module and none of its neighbours, so it may hold nothing that answers an exercise. What
`collect` tells comes from the student's process: arrays, which the judges look at elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.lab.cases import Call, brief

RATE = 0.02
_kept: dict[int, Tiny] = {}  # parents that a later call meets again: by number


class Log:
    """What happened during a fine-tuning. A copy of the network writes into the same log."""

    def __init__(self) -> None:
        self.images, self.targets, self.norms, self.stale, self.begins = [], [], [], [], []  # type: ignore[var-annotated]
        self.seen: tuple[Tensor, bool, nn.Module] | None = None

    def __deepcopy__(self, memo: dict) -> Log:
        return self


class Tiny(nn.Module):
    """B,3,H,W in [0,1] -> logits B,H,W: two convolutions with a BatchNorm between; `frozen` fixes the first."""

    def __init__(self, seed: int, width: int = 6, frozen: bool = False):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, 1, 1)
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.tensor(rng.normal(0, 0.3, tuple(p.shape))))
            self.norm.weight.fill_(1)
            self.norm.running_mean.copy_(torch.tensor(rng.normal(0, 0.1, width)))
        self.first.requires_grad_(not frozen)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """See the class; what comes in is noted in the log, if there is one."""
        if "log" in self.__dict__:
            self.log.seen = (x.detach().clone(), self.norm.training, self)
        return self.last(torch.relu(self.norm(self.first(x))))[:, 0]


def pixel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The loss that is handed to the student's loop: plain, so that it gives no other exercise away."""
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))


def flat(net: nn.Module) -> np.ndarray:
    """All of a network's weights and statistics in one row, float64."""
    return np.concatenate([v.detach().double().flatten().numpy() for v in net.state_dict().values()])


def finetune_prepare(call: Call) -> Call:
    """(notes, image, mask, steps, seed) -> (parent, image, mask, loss, steps, rng, rate).

    notes: weights, the parent's seed; frozen; keep: a number under which the parent is kept for a later call, which
    has again and the same number. It gets that parent, whatever became of it; nobody else does.
    """
    notes, image, mask, steps, seed = call
    keep = notes.get("keep")
    parent = _kept.pop(keep, None) if notes.get("again") else None
    parent = parent or Tiny(notes["weights"], frozen=notes.get("frozen", False))
    if keep is not None and not notes.get("again"):
        _kept[keep] = parent
    parent.log = log = Log()
    notes.update(parent=parent, log=log)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        value = pixel_loss(logits, target)
        if value.requires_grad:
            x, norm, net = log.seen
            log.images.append(x.numpy())
            log.targets.append(np.broadcast_to(target.detach().double().numpy(), logits.shape).copy())
            log.norms.append(norm)
            log.begins.append(flat(net))
            value.register_hook(lambda slope: log.stale.append(
                any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())))
        return value

    return parent, image, mask, loss, steps, np.random.default_rng(seed), RATE


def finetune_collect(call: Call, result: Any) -> dict[str, Any]:
    """What came of a fine-tuning, as arrays."""
    parent, log = (call[0].pop(k) for k in ("parent", "log"))
    if not isinstance(result, nn.Module):
        return {"kind": brief(result)}
    return {
        "kind": "", "itself": result is parent, "training": any(m.training for m in result.modules()),
        "parent": flat(parent), "weights": flat(result), "begins": log.begins, "images": log.images,
        "targets": log.targets, "norms": sum(log.norms), "stale": sum(log.stale),
    }
