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
    """AOT's short-term attention (Yang, Wei, Yang, NeurIPS 2021, section 4.2): to a window around the same place.

    q, k ...,C,H,W, v ...,Cv,H,W -> like v. Softmax of q.k / sqrt(C) (+ bias ...,size*size, by the place in the window,
    row by row) over the size x size window, size odd; places outside the frame do not count. One shift of the maps
    after the other, so that nothing of size*size maps but the scores is ever held.
    """
    c, h, w = q.shape[-3:]
    reach = size // 2
    q = q / math.sqrt(c)
    k, v = (F.pad(x, (reach,) * 4) for x in (k, v))
    shifts = [(i, j) for i in range(size) for j in range(size)]
    score = torch.stack([(q * k[..., i : i + h, j : j + w]).sum(-3) for i, j in shifts], -3)  # ...,size*size,H,W
    if bias is not None:
        score = score + bias[..., None, None]
    y, x = torch.arange(h, device=q.device)[:, None], torch.arange(w, device=q.device)
    inside = torch.stack([(y + i >= reach) & (y + i - reach < h) & (x + j >= reach) & (x + j - reach < w)
                          for i, j in shifts])  # size*size,H,W
    p = torch.softmax(score.masked_fill(~inside, -torch.inf), -3)
    out = torch.zeros_like(v[..., :h, :w])
    for n, (i, j) in enumerate(shifts):
        out = out + p[..., n : n + 1, :, :] * v[..., i : i + h, j : j + w]
    return out
