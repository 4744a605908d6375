"""A network that looks at a frame and at maps beside it: last masks, flow, whatever else is known per pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos_teach.nn.backbone import backbone, widen
from vos_teach.nn.head import TopDown, resize


class Guided(nn.Module):
    """A backbone with `extra` more input channels, a top-down decoder, and `outputs` logits per pixel.

    What the backbone knows of frames is kept; the further channels change nothing until they are trained.
    """

    def __init__(self, name: str = "lite0", pretrained: bool = True, extra: int = 1, outputs: int = 1):
        super().__init__()
        self.trunk = widen(backbone(name, pretrained), extra)
        self.decoder = TopDown(self.trunk.channels)
        self.score = nn.Conv2d(16, outputs, 1)
        self.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs

    def forward(self, frame: Tensor, maps: Tensor) -> Tensor:
        """Frames B,3,H,W and maps B,extra,H,W, all in [0,1] -> logits B,outputs,H,W."""
        x = torch.cat([frame, maps.to(frame)], 1)  # B,3+extra,H,W
        logits = self.score(self.decoder(self.trunk(x)))  # B,outputs,H/2,W/2
        return resize(logits, frame)
