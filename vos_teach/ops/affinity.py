"""Looking things up in memory: how much each memory position counts for each query position, and what is read there."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dot_affinity(mk: Tensor, qk: Tensor) -> Tensor:
    """STM (Oh et al., ICCV 2019, eq. 2, scaled as in the authors' code): softmax over memory of k.q / sqrt(C).

    mk ...,C,N keys of memory, qk ...,C,M keys of the query -> ...,N,M; each column sums to 1. A key of large norm is
    near to every query that does not point away from it, however different it is.
    """
    return torch.softmax(mk.transpose(-1, -2) @ qk / math.sqrt(mk.shape[-2]), dim=-2)


def l2_affinity(mk: Tensor, qk: Tensor, top_k: int | None = None) -> Tensor:
    """STCN (Cheng et al., NeurIPS 2021, sec. 4): softmax over memory of -|m - q|^2 / sqrt(C).

    mk ...,C,N, qk ...,C,M -> ...,N,M; each column sums to 1. top_k: only so many memory positions count for each query,
    the nearest; all of them if memory holds no more.
    """
    middle = mk.detach().mean(-1, keepdim=True)  # distances do not change, and float32 loses less of them
    mk, qk = mk - middle, qk - middle
    # |m - q|^2 = |m|^2 - 2 m.q + |q|^2, whose last term is the same for all of memory: softmax does not see it
    score = (2 * mk.transpose(-1, -2) @ qk - mk.square().sum(-2)[..., None]) / math.sqrt(mk.shape[-2])  # ...,N,M
    if top_k is None or top_k >= score.shape[-2]:
        return torch.softmax(score, dim=-2)
    best, where = score.topk(top_k, dim=-2)  # ...,k,M
    return torch.zeros_like(score).scatter(-2, where, torch.softmax(best, dim=-2))


def readout(affinity: Tensor, mv: Tensor) -> Tensor:
    """The mean of memory's values, weighted for each query: affinity ...,N,M, mv ...,Cv,N -> ...,Cv,M.

    One affinity N,M serves the values K,Cv,N of K objects.
    """
    return mv @ affinity
