"""Losses of the lecture's systems."""

import torch.nn.functional as F
from torch import Tensor


def balanced_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Class-balanced binary cross-entropy (OSVOS, Caelles et al., CVPR 2017, eq. 1).

    logits, target: ...,H,W; target bool or 0/1. In each image every positive pixel weighs N-/N and every
    negative one N+/N, so that a small object counts as much as the wide background. Mean over pixels; scalar.
    It is exactly 0 on an image without any positive (or without any negative) pixel.
    """
    target = target.to(logits.dtype)
    positive = target.mean(dim=(-2, -1), keepdim=True)  # ...,1,1  N+/N
    weight = target * (1 - positive) + (1 - target) * positive
    return (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()
