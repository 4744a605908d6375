"""Merging per-object probabilities into one distribution per pixel (STM, Oh et al., ICCV 2019, section 3.4)."""

import torch
from torch import Tensor


def soft_aggregate(prob: Tensor) -> Tensor:
    """Foreground probabilities of K objects ...,K,H,W -> ...,K+1,H,W, background first, summing to 1.

    The background is what no object wants, prod(1 - p). All K+1 are clamped to [1e-7, 1 - 1e-7], turned to
    logits log(p / (1 - p)), and put through one softmax. Half precision is computed in single: 1 - 1e-7 needs it.
    """
    if prob.dtype in (torch.float16, torch.bfloat16):
        return soft_aggregate(prob.float()).to(prob.dtype)
    background = (1 - prob).prod(dim=-3, keepdim=True)  # ...,1,H,W
    p = torch.cat([background, prob], dim=-3).clamp(1e-7, 1 - 1e-7)  # ...,K+1,H,W
    return torch.softmax(torch.logit(p), dim=-3)
