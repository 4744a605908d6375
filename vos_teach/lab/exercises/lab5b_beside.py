"""Lab 5b: what runs beside an answer, because it cannot be sent as plain data, and how what comes back is made plain.

The grader's sandbox sees this module and none of its neighbours, so it may hold nothing that answers an exercise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, brief

# ---- how much is held at once -----------------------------------------------------------------------------------


class Watched(Tensor):
    """A tensor that notes the size of the largest tensor that is made of it, or goes into anything beside it."""

    most = 0  # numbers in that tensor, since it was last set to 0

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See torch's own."""
        result = super().__torch_function__(func, types, args, kwargs or {})
        Watched.most = max(Watched.most, *(_size(x) for x in (result, *args, *(kwargs or {}).values())))
        return result


def _size(value: Any) -> int:
    if isinstance(value, (list, tuple)):
        return max((_size(v) for v in value), default=0)
    if not isinstance(value, Tensor):
        return 0
    with torch._C.DisableTorchFunctionSubclass():
        return value.numel()


def watched_prepare(call: Call) -> Call:
    """All tensors of the call are watched."""
    Watched.most = 0
    return tuple(a.as_subclass(Watched) for a in call)


def watched_collect(call: Call, result: Any) -> Any:
    """[values, how many numbers the largest tensor held]; in words, if it is no tensor."""
    most = Watched.most
    if not isinstance(result, Tensor):
        return brief(result)
    with torch._C.DisableTorchFunctionSubclass():
        return [np.array(result.detach().as_subclass(Tensor).numpy()), most]


# ---- matching ---------------------------------------------------------------------------------------------------


def match_prepare(call: Call) -> Call:
    """The cost comes from a network: a gradient is asked of it."""
    cost, present = call
    return cost.requires_grad_(), present


# ---- identities -------------------------------------------------------------------------------------------------


def rows_prepare(call: Call) -> Call:
    """(count, rows, seed) -> (count, rows, rng)."""
    count, rows, seed = call
    return count, rows, np.random.default_rng(seed)
