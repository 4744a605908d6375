"""What the systems' heads have in common: upsampling, learning rates, a start that is the same in every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def up(logit: Tensor, like: Tensor) -> Tensor:
    """B,1,h,w -> B,H,W by fixed bilinear interpolation; H, W are those of `like`."""
    return F.interpolate(logit, like.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


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
