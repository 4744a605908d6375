"""Attention that does not look everywhere: SSTVOS's over space and time, AOT's near the same place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def grid_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """SSTVOS's grid (Duke et al., CVPR 2021, sec. 3.2): each position attends to its own row, column and time line.

    q, k C,T,H,W, v Cv,T,H,W -> like v. Softmax of q.k, unscaled, over W + H + T - 2 positions; self counts once. The
    cost is THW (T + H + W), not (THW)^2; within three such layers everything reaches everything.
    """
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    t, h, w = q.shape[1:]
    own = torch.eye(h, dtype=torch.bool, device=q.device)  # self is in the row already
    columns = columns.masked_fill(own[None, :, None], -torch.inf)
    own = torch.eye(t, dtype=torch.bool, device=q.device)
    times = times.masked_fill(own[:, None, None], -torch.inf)
    p = torch.softmax(torch.cat([rows, columns, times], -1), -1)  # T,H,W,W+H+T
    row, column, time = p.split([w, h, t], -1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))


def window_attention(q: Tensor, k: Tensor, v: Tensor, size: int, bias: Tensor | None = None) -> Tensor:
    """AOT's short-term attention (Yang, Wei, Yang, NeurIPS 2021, eq. 8): to a window around the same place.

    q, k C,H,W, v Cv,H,W -> like v. Softmax of q.k / sqrt(C) (+ bias, size*size, by the place in the window, row by row)
    over the size x size window, size odd; places outside the frame do not count.
    """
    c, h, w = q.shape
    reach = size // 2
    near_k = F.unfold(k[None], size, padding=reach).reshape(c, size * size, h, w)
    near_v = F.unfold(v[None], size, padding=reach).reshape(v.shape[0], size * size, h, w)
    inside = F.unfold(q.new_ones(1, 1, h, w), size, padding=reach).reshape(size * size, h, w) > 0
    score = torch.einsum("chw,cnhw->nhw", q, near_k) / math.sqrt(c)
    if bias is not None:
        score = score + bias[:, None, None]
    p = torch.softmax(score.masked_fill(~inside, -torch.inf), 0)  # size*size,H,W
    return torch.einsum("nhw,cnhw->chw", p, near_v)
