"""Modulation: one video's look and place put into a network by scaling and shifting its features (OSMN, CVPR 2018)."""

import torch
from torch import Tensor

FLOOR = 5 / 480  # the smallest spread, as a share of the height: 5 pixels at 480p
NORMAL = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation


def modulate(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """gamma * features + beta. features ...,C,H,W: a convolution after its ReLU; gamma ...,C; beta ...,C,H,W.

    gamma says WHICH channels matter for this object, beta WHERE in the frame to look; 1 and 0 change nothing.
    """
    return gamma[..., None, None] * features + beta


def mask_gaussian(mask: Tensor) -> Tensor:
    """Where an object roughly is: mask ...,H,W (bool or 0/1) -> ...,H,W float32, a Gaussian of height 1.

    Its axes are the frame's. Per axis the centre is the median of the object's pixel coordinates and the standard
    deviation 1.4826 times their median absolute deviation from it, but at least 5/480 of H: unlike mean and
    variance, neither is moved by a few wrong pixels far away. An empty mask gives zeros.
    """
    mask = mask.bool()
    h, w = mask.shape[-2:]
    y, sy = _robust(mask.sum(-1), FLOOR * h)  # ...
    x, sx = _robust(mask.sum(-2), FLOOR * h)
    row = (torch.arange(h, device=mask.device) - y[..., None]) / sy[..., None]  # ...,H
    column = (torch.arange(w, device=mask.device) - x[..., None]) / sx[..., None]  # ...,W
    bump = torch.exp(-0.5 * (row[..., :, None] ** 2 + column[..., None, :] ** 2))  # ...,H,W
    return bump * mask.any(-1).any(-1)[..., None, None]


def _robust(count: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Numbers of pixels at the coordinates 0..n-1 (...,n) -> their median and spread (... each)."""
    place = torch.arange(count.shape[-1], device=count.device, dtype=torch.float32).expand(count.shape)
    centre = _median(place, count)
    away, order = (place - centre[..., None]).abs().sort(-1)
    return centre, (NORMAL * _median(away, count.gather(-1, order))).clamp(min=floor)


def _median(value: Tensor, count: Tensor) -> Tensor:
    """Median of ascending values (...,n) that occur count (...,n) times each; if even, the middle two's mean."""
    upto, n = count.cumsum(-1), count.sum(-1, keepdim=True)
    last = value.shape[-1] - 1
    low, high = ((upto < rank).sum(-1, keepdim=True).clamp(max=last) for rank in ((n + 1) // 2, n // 2 + 1))
    return ((value.gather(-1, low) + value.gather(-1, high)) / 2)[..., 0]
