"""What the systems' heads have in common: upsampling, learning rates, a start that is the same in every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def resize(x: Tensor, like: Tensor) -> Tensor:
    """B,C,h,w -> B,C,H,W by fixed bilinear interpolation; H, W are those of `like`."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


def up(logit: Tensor, like: Tensor) -> Tensor:
    """The same of a single channel: B,1,h,w -> B,H,W."""
    return resize(logit, like)[:, 0]


def groups(net: nn.Module, rate: float, head_rate: float, trunks: Sequence[str] = ("trunk",)) -> list[dict]:
    """Optimiser groups: a trunk keeps what it learnt from ImageNet, so it moves more slowly than the new layers."""
    inside = tuple(f"{name}." for name in trunks)
    trunk = [p for name, p in net.named_parameters() if name.startswith(inside) and p.requires_grad]
    head = [p for name, p in net.named_parameters() if not name.startswith(inside)]
    return [{"params": trunk, "lr": rate}, {"params": head, "lr": head_rate}]


def seeded(make: Callable[[], Net]) -> Net:
    """make(), whose new layers start alike in every run; the caller's random numbers are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


class TopDown(nn.Module):
    """A decoder: side maps of all stages, merged from the coarsest to the finest. channels: the backbone's, fine first.

    widths: of the side maps.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int] = (16, 24, 48, 96)):
        super().__init__()
        self.side = nn.ModuleList(nn.Conv2d(c, w, 3, padding=1) for c, w in zip(channels, widths, strict=True))
        self.norm = nn.ModuleList(nn.GroupNorm(8, w) for w in widths)
        self.merge = nn.ModuleList(nn.Conv2d(w, v, 3, padding=1) for w, v in zip(widths[1:], widths, strict=False))
        self.deep = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.last = nn.Conv2d(widths[0], widths[0], 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """One B,C,H/s,W/s per stage -> B,widths[0],H/2,W/2."""
        maps = [F.relu(norm(conv(f))) for norm, conv, f in zip(self.norm, self.side, features, strict=True)]
        y = F.relu(self.deep(maps[-1])) + maps[-1]
        for conv, side in zip(reversed(self.merge), reversed(maps[:-1]), strict=True):
            y = side + resize(F.relu(conv(y)), side)
        return F.relu(self.last(y))
