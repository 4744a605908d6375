"""CFBI's matching (Yang, Wei, Yang, ECCV 2020, sec. 3.1): how far each pixel is from the nearest one of an object.

A distance is (sigmoid(d + b) - 1/2) * 2 of the squared L2 distance d: from 0 on (for b = 0) to 1, far away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEAREST = 8  # candidates whose distance is worked out exactly


def global_distance(query: Tensor, memory: Tensor, mask: Tensor, bias: float | Tensor = 0.0) -> Tensor:
    """From each query pixel to the nearest memory pixel under the mask.

    query C,H,W, memory C,h,w, mask ...,h,w bool -> ...,H,W in [0,1]; all masks share one matrix of distances. bias: a
    number, or a tensor that broadcasts with "...". 1 where nothing is under the mask.
    """
    c, height, width = query.shape
    q, m = query.reshape(c, -1), memory.reshape(c, -1)  # C,M and C,N
    lead, under = mask.shape[:-2], mask.reshape(-1, m.shape[1]).bool()  # K,N
    with torch.no_grad():  # products lose digits where features are large, so they only choose the candidates
        middle = m.mean(1, keepdim=True)
        d = (m - middle).square().sum(0)[None] - 2 * (q - middle).T @ (m - middle)  # M,N, but for |q|^2
    out = []
    for row in under:
        if not row.any():
            out.append(query.new_ones(height, width))
            continue
        its = torch.where(row)[0]
        near = its[d[:, its].topk(min(NEAREST, len(its)), largest=False).indices]  # M,n
        exact = (m[:, near] - q[:, :, None]).square().sum(0)  # M,n
        out.append(exact.min(1).values.reshape(height, width))
    stacked = torch.stack(out).reshape(*lead, height, width) if out else query.new_ones(*lead, height, width)
    empty = ~under.any(1).reshape(*lead, 1, 1)
    return torch.where(empty, 1.0, mapped(stacked, bias))


def local_distance(query: Tensor, memory: Tensor, mask: Tensor, windows: Sequence[int], bias: float | Tensor = 0.0
                   ) -> Tensor:
    """The same within +-w pixels of each pixel, for each w of windows in their order.

    query, memory C,H,W, mask ...,H,W bool -> ...,len(windows),H,W. 1 where nothing under the mask is within reach.
    """
    h, w = query.shape[-2:]
    lead, under = mask.shape[:-2], mask.reshape(-1, h, w).bool()
    best = [query.new_full((len(under), h, w), torch.inf) for _ in windows]
    reach = max(windows, default=0)
    for dy in range(-min(reach, h - 1), min(reach, h - 1) + 1):
        for dx in range(-min(reach, w - 1), min(reach, w - 1) + 1):
            here = slice(max(0, -dy), h - max(0, dy)), slice(max(0, -dx), w - max(0, dx))
            there = slice(max(0, dy), h + min(0, dy)), slice(max(0, dx), w + min(0, dx))
            d = (query[(slice(None), *here)] - memory[(slice(None), *there)]).square().sum(0)  # H',W'
            d = torch.where(under[(slice(None), *there)], d, torch.inf)  # K,H',W'
            pad = (here[1].start, w - here[1].stop, here[0].start, h - here[0].stop)
            d = torch.nn.functional.pad(d, pad, value=torch.inf)
            for i, size in enumerate(windows):
                if max(abs(dy), abs(dx)) <= size:
                    best[i] = torch.minimum(best[i], d)
    stacked = torch.stack(best, 1).reshape(*lead, len(windows), h, w)
    if isinstance(bias, Tensor) and bias.ndim:
        bias = bias[..., None]  # for the windows
    nothing = stacked == torch.inf
    return torch.where(nothing, 1.0, mapped(stacked.masked_fill(nothing, 0.0), bias))


def mapped(d: Tensor, bias: float | Tensor = 0.0) -> Tensor:
    """(sigmoid(d + b) - 1/2) * 2; d ...,H,W, bias a number or ... ."""
    if isinstance(bias, Tensor) and bias.ndim:
        bias = bias[..., None, None]
    return (torch.sigmoid(d + bias) - 0.5) * 2
