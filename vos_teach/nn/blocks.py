"""What transformers are put together from: attention with heads, feed-forward parts, positions as sines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.errors import VosError


def sine_positions(shape: Sequence[int], channels: int) -> Tensor:
    """Where each cell of a grid is, in sines and cosines: -> channels,*shape.

    Each axis has its own, equal share of the channels (an even number; what is left over is 0). Along an axis the waves
    go from half a wave over its whole length to one wave over four cells, so that near and far can both be told.
    VosError where an axis would have less than two channels.
    """
    each = channels // len(shape) // 2  # waves of an axis
    if each < 1:
        raise VosError(f"{channels} channels are too few for {len(shape)} axes: give at least {2 * len(shape)}")
    out = torch.zeros(channels, *shape)
    for axis, n in enumerate(shape):
        slowest, fastest = math.pi / n, math.pi / 2  # radians from one cell to the next
        waves = torch.logspace(math.log10(slowest), math.log10(max(slowest, fastest)), each)
        angle = waves[:, None] * (torch.arange(n) + 0.5)  # each,n
        part = torch.cat([angle.sin(), angle.cos()])  # 2 each,n
        view = [1] * len(shape)
        view[axis] = n
        first = 2 * each * axis
        out[first : first + 2 * each] = part.view(2 * each, *view)
    return out


def tokens(x: Tensor) -> Tensor:
    """A map as a list of places: B,C,H,W -> B,HW,C."""
    return x.flatten(2).transpose(1, 2)


def maps(x: Tensor, height: int) -> Tensor:
    """And back: B,HW,C -> B,C,H,W."""
    return x.transpose(1, 2).unflatten(2, (height, -1))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """B,N,C -> B,heads,N,C/heads."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q.k / sqrt(C/heads)) v, head by head: q B,M,C, k B,N,C, v B,N,C -> B,M,C."""
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)


class Attention(nn.Module):
    """Attention with heads, between projections: q B,M,C looks at k, v B,N,C -> B,M,C."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See the class."""
        return self.out(attend(self.query(q), self.key(k), self.value(v), self.heads))


class FeedForward(nn.Module):
    """Two layers at each place by itself, B,N,C -> B,N,C."""

    def __init__(self, channels: int, times: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, times * channels), nn.GELU(),
                                    nn.Linear(times * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.layers(x)


class ConvFeedForward(nn.Module):
    """Two layers with a depthwise convolution between: each place hears its neighbours. B,C,H,W -> B,C,H,W."""

    def __init__(self, channels: int, times: int = 4, kernel: int = 5):
        super().__init__()
        wide = times * channels
        self.layers = nn.Sequential(
            nn.Conv2d(channels, wide, 1), nn.GroupNorm(8, wide), nn.GELU(),
            nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide), nn.Conv2d(wide, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.layers(x)
