"""Lab 5a: what runs beside an answer, because it cannot be sent as plain data, and how what comes back is made plain.

The grader's sandbox sees this module and none of its neighbours, so it may hold nothing that answers an exercise. What
`collect` tells comes from the student's process: arrays, which the judges look at elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, brief

# ---- gradients along all tensors ------------------------------------------------------------------------------


def uneven(shape: tuple[int, ...]) -> np.ndarray:
    """A weight of its own for each number of a result: columns that sum to 1 would have a plain sum without slope."""
    return np.cos(1.3 * np.arange(int(np.prod(shape)))).reshape(shape)


def slopes_prepare(call: Call) -> Call:
    """All tensors of the call ask for a gradient."""
    return tuple(a.requires_grad_() if isinstance(a, Tensor) else a for a in call)


def slopes_collect(call: Call, result: Any) -> Any:
    """The result, and the slope of its sum, unevenly weighted, along each tensor of the call; "cut" without a slope."""
    if not isinstance(result, Tensor):
        return brief(result)
    along = [a for a in call if isinstance(a, Tensor)]
    if not result.requires_grad:
        return "cut"
    total = (result * torch.tensor(uneven(tuple(result.shape)), dtype=result.dtype)).sum()
    slopes = torch.autograd.grad(total, along, allow_unused=True)
    return [result.detach().numpy(), *(np.zeros(tuple(a.shape), np.float32) if s is None else s.numpy()
                                       for s, a in zip(slopes, along, strict=True))]


# ---- an affinity that counts how often it is asked ------------------------------------------------------------


class Nearness:
    """Stands in for an affinity: mk C,N, qk C,M -> N,M. Every place of memory counts, the nearer the more; what one
    counts depends on all others, and the columns sum to 1. It answers once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, mk: Tensor, qk: Tensor) -> Tensor:
        """See the class."""
        if self.asked:
            raise ValueError("asked twice: ONE affinity serves all objects, with the keys of all frames in it")
        self.asked = True
        if mk.dim() != 2 or qk.dim() != 2 or mk.shape[0] != qk.shape[0]:
            raise ValueError("the affinity takes keys C,N of memory and C,M of the query, not "
                             f"{tuple(mk.shape)} and {tuple(qk.shape)}")
        near = 1 / (0.2 + (mk[:, :, None] - qk[:, None]).abs().sum(0)) ** 2  # N,M
        return near / near.sum(0)


def look_prepare(call: Call) -> Call:
    """(memory, qk) -> (affinity, memory, qk)."""
    return Nearness(), *call
