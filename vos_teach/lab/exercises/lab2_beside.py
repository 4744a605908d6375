"""Lab 2: what runs beside an answer, because it cannot be sent as plain data, and how what comes back is made plain.

The grader's sandbox sees this module and none of its neighbours, so it may hold nothing that answers an exercise. What
`collect` tells comes from the student's process: arrays, which the judges look at elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from vos_teach.lab.cases import Call, brief


class Seer(nn.Module):
    """Frames B,3,H,W and last masks B,H,W -> logits B,H,W. It says yes to what is red and near the last mask.

    It is easily misled: whatever in the mask channel is not exactly 0 counts, be it small or negative.
    """

    def __init__(self, reach: int = 3, gain: float = 10.0, doubt: float = 0.4):
        super().__init__()
        self.reach, self.gain, self.doubt = reach, gain, doubt

    def forward(self, frame: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        if frame.dim() != 4 or mask.dim() != 3 or frame.shape[1] != 3:
            raise ValueError("the network takes frames B,3,H,W and masks B,H,W, not "
                             f"{tuple(frame.shape)} and {tuple(mask.shape)}")
        size = 2 * self.reach + 1
        near = F.max_pool2d(mask.to(frame)[:, None].square(), size, 1, self.reach)[:, 0]
        return self.gain * frame[:, 0] * near - self.doubt


def track_prepare(call: Call) -> Call:
    """(options, frames, mask) -> (network, frames, mask)."""
    options, frames, mask = call
    return Seer(**options), frames, mask


def track_collect(call: Call, result: Any) -> Any:
    """A list of masks as arrays; in words, if it is no list."""
    if isinstance(result, (Tensor, np.ndarray)) and result.ndim == 3:
        result = list(result)
    if not isinstance(result, (list, tuple)) or not all(isinstance(m, (Tensor, np.ndarray)) for m in result):
        return brief(result)
    return [_array(m) for m in result]


def spoil_prepare(call: Call) -> Call:
    """(mask, seed, amounts) -> (mask, rng, amounts)."""
    mask, seed, *amounts = call
    return mask, np.random.default_rng(seed), *amounts


def core(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What stands in for `spoil` while training pairs are judged: a mask's inside, some pixels from its outline.

    It shrinks where `spoil` grows, so that nobody learns one from the other.
    """
    if not isinstance(mask, np.ndarray) or mask.ndim != 2:
        raise TypeError(f"spoil takes a mask H,W as an array, not {brief(mask)}")
    return (distance_transform_edt(mask) > rng.uniform(3, 5.5)).astype(np.uint8)


def pair_prepare(call: Call) -> Call:
    """(frame, mask, seed) -> (frame, mask, rng, spoil)."""
    frame, mask, seed = call
    return frame, mask, np.random.default_rng(seed), core


def pair_collect(call: Call, result: Any) -> Any:
    """Image, last mask and target as arrays; in words, if it is something else."""
    if not isinstance(result, (list, tuple)) or len(result) != 3:
        return brief(result)
    if not all(isinstance(v, (Tensor, np.ndarray)) for v in result):
        return "a tuple of other things than tensors"
    return [_array(v) for v in result]


def _array(value: Tensor | np.ndarray) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
