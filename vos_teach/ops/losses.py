"""Losses of the lecture's systems."""

import math

import torch
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


def bootstrapped_ce(logits: Tensor, target: Tensor, fraction: float) -> Tensor:
    """Cross-entropy of the hardest pixels only (Wu, Shen, van den Hengel, arXiv:1605.06885; used by OnAVOS, AOT).

    logits B,C,H,W; target B,H,W int64 of 0..C-1, 255 is ignored. In each sample the mean is taken over the
    max(1, ceil(fraction * valid)) valid pixels with the largest loss, so that easy background cannot drown the
    object. Mean over samples; scalar. A sample without any valid pixel has loss 0 and gradient 0, and counts in
    the mean as any other.
    """
    each = F.cross_entropy(logits, target, ignore_index=255, reduction="none")  # B,H,W
    means = []
    for loss, valid in zip(each, target != 255, strict=True):
        hard = loss[valid]
        count = min(len(hard), max(1, math.ceil(fraction * len(hard))))
        means.append(hard.topk(count).values.mean() if count else loss.sum())  # all ignored: a sum of zeros
    return torch.stack(means).mean()


def soft_iou(pred: Tensor, target: Tensor) -> Tensor:
    """Jaccard index of masks that need not be 0 or 1: ...,H,W each, in [0,1] -> ... (RVOS, Ventura et al., CVPR 2019).

    sum(p t) / sum(p + t - p t) over the last two axes. Two empty masks agree: 1, with finite gradients.
    """
    target = target.to(pred.dtype)
    both = (pred * target).sum((-2, -1))
    either = (pred + target - pred * target).sum((-2, -1))
    empty = either == 0
    return torch.where(empty, 1.0, both / torch.where(empty, 1.0, either))


def mask_loss(logit: Tensor, target: Tensor) -> Tensor:
    """Plain cross-entropy plus one minus the soft Jaccard index; ...,H,W each, target 0 and 1 -> scalar.

    Cross-entropy alone hedges where it is not sure; the Jaccard index is what is scored, and small objects count in it
    as large ones do.
    """
    target = target.to(logit.dtype)
    return F.binary_cross_entropy_with_logits(logit, target) + (1 - soft_iou(torch.sigmoid(logit), target)).mean()
