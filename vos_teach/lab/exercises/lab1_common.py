"""Lab 1: what several of its exercises are judged with."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor


def _plain_bce(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")


def _share(target: Tensor, logits: Tensor) -> Tensor:
    return target.to(logits.dtype).mean(dim=(-2, -1), keepdim=True)


def _weighted(logits: Tensor, target: Tensor, positive: Tensor | float, negative: Tensor | float) -> Tensor:
    y = target.to(logits.dtype)
    return (y * positive + (1 - y) * negative) * _plain_bce(logits, target)


def blob(rng: np.random.Generator, h: int, w: int, radius: float, margin: float = 3) -> np.ndarray:
    """A mask: a lopsided ellipse of about that radius, `margin` pixels away from the border."""
    y, x = np.mgrid[:h, :w]
    ry, rx = radius * rng.uniform(0.8, 1.0), radius * rng.uniform(1.0, 1.3)
    cy, cx = rng.uniform(ry + margin, h - 1 - ry - margin), rng.uniform(rx + margin, w - 1 - rx - margin)
    d = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
    return (d <= 1) & ~((y > cy) & (x > cx) & (d > 0.5))  # a corner bitten off: no two axes are alike
