"""Baselines every system must beat: the first mask kept for ever, or carried along by optical flow.

The third, mask-blind, is OSVOS's parent network without fine-tuning (online_learning/osvos.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vos_teach.data.augment import to_image
from vos_teach.data.flow import dis
from vos_teach.ops.warp import warp
from vos_teach.segmenter import given


class CopyFirst:
    """The given masks, for ever. scale is taken and ignored, as there is nothing to configure."""

    task, causal, seed = "one-shot", True, 0

    def __init__(self, device: str = "cpu", scale: str = "small"):
        self.device = device

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        self.prob = given(masks)
        return self.prob

    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        if new is not None:
            self.prob = add_slots(self.prob, new)
        return self.prob


class CopyFlow(CopyFirst):
    """The given masks warped along, frame by frame, by DIS optical flow (Kroeger et al., ECCV 2016; from OpenCV)."""

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        self.last, self.prob = to_image(frame), given(masks)
        return self.prob

    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        now = to_image(frame)
        flow = torch.from_numpy(dis(now, self.last)).permute(2, 0, 1)  # 2,H,W: from now to last
        flow = flow.to(self.prob.device)
        objects = warp(self.prob[1:], flow) if len(self.prob) > 1 else self.prob[1:]  # K,H,W
        background = (1 - objects.sum(0, keepdim=True)).clamp(min=0)  # what flows in from outside is background
        self.prob, self.last = torch.cat([background, objects]), now
        if new is not None:
            self.prob = add_slots(self.prob, new)
        return self.prob


def add_slots(prob: Tensor, new: Tensor) -> Tensor:
    """Append newly given masks K',H,W to probabilities K+1,H,W; a given mask owns its pixels."""
    masks = given(new)
    return torch.cat([prob * masks[:1], masks[1:]])
