"""Several streams, one answer; several objects, one pass (LucidTracker: Khoreva et al., IJCV 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from vos_teach.errors import VosError


def average_streams(*logits: Tensor) -> Tensor:
    """The mean of the streams' softmaxes: each ...,K+1,H,W of logits -> probabilities ...,K+1,H,W.

    Each stream is turned into a distribution first, so that a stream with large logits has no louder voice. VosError
    without any stream, or where their shapes differ.
    """
    if not logits:
        raise VosError("there is no stream to average: give at least one tensor of logits")
    if len({x.shape for x in logits}) > 1:
        raise VosError(f"streams must agree in shape, but these are {', '.join(str(tuple(x.shape)) for x in logits)}")
    return torch.stack([torch.softmax(x, -3) for x in logits]).mean(0)


def softmax_over_objects(logits: Tensor, present: Tensor) -> Tensor:
    """Softmax over the background (channel 0) and the objects that are there; absent ones are exactly 0.

    logits ...,N+1,H,W; present N or ...,N bool -> like logits. Without any object all is background. VosError where
    the numbers of slots differ.
    """
    if present.shape[-1] != logits.shape[-3] - 1:
        raise VosError(f"{present.shape[-1]} slots do not go with {logits.shape[-3]} channels: there must be one "
                       "channel for each slot, and the background's")
    known = torch.cat([torch.ones_like(present[..., :1], dtype=torch.bool), present.bool()], -1)  # ...,N+1
    return torch.softmax(logits.masked_fill(~known[..., None, None], -torch.inf), -3)


def mask_channels(masks: Tensor, slots: int) -> Tensor:
    """Objects' masks in their slots: K,H,W masks or probabilities -> slots,H,W float, zeros in the free ones.

    VosError where there are more objects than slots.
    """
    if len(masks) > slots:
        raise VosError(f"{len(masks)} objects do not fit into {slots} slots: take more slots, or several passes")
    free = masks.new_zeros((slots - len(masks), *masks.shape[1:]))
    return torch.cat([masks, free]).float()
