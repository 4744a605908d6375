"""What CFBI and SSTVOS have in common beside their matching: what is made of a frame, once for all objects, and what
turns that which was found about an object into its logits (CFBI's collaborative ensembler, ECCV 2020, sec. 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.nn.head import resize


class Pyramid(nn.Module):
    """A frame, once for all objects: edges at strides 2 and 4, features and embeddings at stride 8."""

    def __init__(self, channels: Sequence[int], embedding: int):
        super().__init__()
        c2, c4, c8, c16 = channels
        self.edge = nn.ModuleList(nn.Sequential(nn.Conv2d(c, d, 3, padding=1), nn.GroupNorm(8, d))
                                  for c, d in ((c2, 16), (c4, 24)))
        self.fine, self.deep, self.norm = nn.Conv2d(c8, 64, 3, padding=1), nn.Conv2d(c16, 64, 1), nn.GroupNorm(8, 64)
        self.embed = nn.Conv2d(64, embedding, 1)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """A trunk's maps -> B,16,H/2,W/2, B,24,H/4,W/4, B,64,H/8,W/8 and the embeddings B,C,H/8,W/8."""
        f2, f4, f8, f16 = features
        x = F.relu(self.norm(self.fine(f8) + resize(self.deep(f16), f8)))
        return [self.edge[0](f2), self.edge[1](f4), x, 2 * F.normalize(self.embed(x))]


class Ensembler(nn.Module):
    """From what has been found about an object to its logits: residual blocks whose channels a gate weights, then edges
    from finer strides. gate: a vector per object of length `who`.
    """

    def __init__(self, who: int, width: int = 64, dilations: Sequence[int] = (1, 2, 4)):
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(who, width) for _ in dilations)
        for p in self.gates.parameters():
            nn.init.zeros_(p)  # every gate starts open: 1 + tanh(0)
        self.blocks = nn.ModuleList(nn.Sequential(
            nn.Conv2d(width, width, 3, padding=d, dilation=d), nn.GroupNorm(8, width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width)) for d in dilations)
        self.up4, self.merge4 = nn.Conv2d(width + 1, 24, 1), nn.Conv2d(24, 24, 3, padding=1)
        self.up2, self.merge2 = nn.Conv2d(24, 16, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.score = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor, who: Tensor, edges: Sequence[Tensor], mask: Tensor) -> Tensor:
        """x N,64,h,w; who N,W; edges N,16,H/2,W/2 and N,24,H/4,W/4; last masks N,1,H,W, +1 and -1 -> N,1,H/2,W/2."""
        for gate, block in zip(self.gates, self.blocks, strict=True):
            x = F.relu(x + block(x * (1 + torch.tanh(gate(who)))[..., None, None]))
        fine, mid = edges
        last = covered(mask, mid)
        y = F.relu(mid + self.up4(torch.cat([resize(x, mid), last], 1)))  # N,24,H/4,W/4
        y = F.relu(self.merge4(y)) + y
        y = F.relu(fine + resize(self.up2(y), fine))  # N,16,H/2,W/2
        return self.score(F.relu(self.merge2(y)) + y)


def covered(mask: Tensor, like: Tensor) -> Tensor:
    """The share of each of `like`'s cells that a mask covers."""
    return F.adaptive_avg_pool2d(mask, (like.shape[-2], like.shape[-1]))
