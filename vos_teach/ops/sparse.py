"""Attention over space and time that does not look everywhere: patterns beside `attention.grid_attention` (SSTVOS,
Duke, Ahmed, Wolf, Aarabi, Taylor, CVPR 2021, sec. 3.2), their masks, and how many layers it takes to see everything.

All score by q.k, unscaled, as the authors do. A mask N,N (N = T*H*W, places in row-major order) tells which places m a
place n attends to: the same pattern written down, to compare with and to count hops, never to compute with.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_teach.errors import VosError

Triple = tuple[int, int, int]  # for T, H and W
REACH, STRIDE = (1, 3, 3), (3, 7, 7)  # a window of 2 * reach + 1 fills a stride's gaps


def dense_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Every place attends to every place: q, k C,T,H,W, v Cv,T,H,W -> like v; N*N scores are held at once.

    mask N,N bool: only to these. A mask saves neither time nor memory: what it hides has been computed.
    """
    score = q.flatten(1).T @ k.flatten(1)  # N,N
    if mask is not None:
        score = score.masked_fill(~mask, -torch.inf)
    return (v.flatten(1) @ torch.softmax(score, 1).T).view(v.shape)


def strided_attention(q: Tensor, k: Tensor, v: Tensor, stride: Triple = STRIDE) -> Tensor:
    """To all places whose distance in T, H and W is a multiple of the stride: shapes as `dense_attention`.

    The places of one residue attend to each other and to nobody else: N*N / (product of the strides) scores.
    """
    _positive("stride", stride, 1)
    pad = [x for n, s in zip(q.shape[:0:-1], stride[::-1], strict=True) for x in (0, -n % s)]
    there = F.pad(q.new_ones(q.shape[1:]), pad) > 0
    q, k, filled = (F.pad(x, pad) for x in (q, k, v))
    (rt, rh, rw), (nt, nh, nw) = stride, (n // s for n, s in zip(q.shape[1:], stride, strict=True))

    def groups(x: Tensor) -> Tensor:  # C,T,H,W -> residues,places,C
        x = x.view(-1, nt, rt, nh, rh, nw, rw).permute(2, 4, 6, 1, 3, 5, 0)
        return x.reshape(rt * rh * rw, nt * nh * nw, -1)

    score = groups(q) @ groups(k).transpose(1, 2)  # residues,places,places
    outside = ~groups(there[None]).transpose(1, 2)  # what was only added to fill up
    if outside.any():
        score = score.masked_fill(outside, torch.finfo(score.dtype).min)  # a residue may have no place at all: no NaN
    out = torch.softmax(score, -1) @ groups(filled)
    out = out.view(rt, rh, rw, nt, nh, nw, -1).permute(6, 3, 0, 4, 1, 5, 2).reshape(-1, nt * rt, nh * rh, nw * rw)
    return out[:, : v.shape[1], : v.shape[2], : v.shape[3]]


def local_attention(q: Tensor, k: Tensor, v: Tensor, reach: Triple = REACH) -> Tensor:
    """To the places at most `reach` away in T, H and W each: shapes as `dense_attention`.

    N * (2t + 1)(2h + 1)(2w + 1) scores; places outside do not count.
    """
    _positive("reach", reach, 0)
    size = q.shape[1:]
    reach = tuple(min(r, n - 1) for r, n in zip(reach, size, strict=True))  # type: ignore[assignment]
    pad = [r for r in reach[::-1] for _ in range(2)]
    k, filled, there = F.pad(k, pad), F.pad(v, pad), F.pad(q.new_ones(size), pad) > 0
    near = [(slice(None), *(slice(d, d + n) for d, n in zip(at, size, strict=True)))
            for at in itertools.product(*(range(2 * r + 1) for r in reach))]
    score = torch.stack([(q * k[at]).sum(0).masked_fill(~there[at[1:]], -torch.inf) for at in near])  # n,T,H,W
    out = torch.zeros_like(v)
    for p, at in zip(torch.softmax(score, 0), near, strict=True):
        out = out + p * filled[at]
    return out


def grid_mask(size: Triple) -> Tensor:
    """N,N bool: own row, own column, own time line, for T,H,W = size."""
    return (_apart(size) > 0).sum(-1) <= 1


def strided_mask(size: Triple, stride: Triple = STRIDE) -> Tensor:
    """N,N bool: a multiple of the stride apart."""
    return (_apart(size) % torch.tensor(stride) == 0).all(-1)


def local_mask(size: Triple, reach: Triple = REACH) -> Tensor:
    """N,N bool: within reach."""
    return (_apart(size) <= torch.tensor(reach)).all(-1)


def reach_of(masks: Sequence[Tensor], layers: int) -> list[Tensor]:
    """What each place has heard of after 1, 2, ... layers: N,N bool each. Layers take the masks in turn.

    A place hears what those it attends to had heard one layer before: a product of boolean matrices.
    """
    if not masks:
        raise VosError("no mask is given: give the pattern of one layer at least")
    heard, out = torch.eye(len(masks[0]), dtype=torch.bool), []
    for i in range(layers):
        heard = _heard(masks[i % len(masks)], heard)
        out.append(heard)
    return out


def hops(masks: Sequence[Tensor]) -> int | None:
    """Layers until every place has heard of every place; None if that never happens. masks: as in `reach_of`."""
    if not masks:
        raise VosError("no mask is given: give the pattern of one layer at least")
    heard, before = torch.eye(len(masks[0]), dtype=torch.bool), None
    for layer in itertools.count():
        if heard.all():
            return layer
        if layer % len(masks) == 0:
            if before is not None and torch.equal(heard, before):
                break  # a whole round of patterns has added nothing
            before = heard
        heard = _heard(masks[layer % len(masks)], heard)
    return None


def _heard(mask: Tensor, heard: Tensor) -> Tensor:
    """One layer more: what a place had heard (layers add up) and what those that it attends to had; N,N bool each."""
    return heard | (mask.float() @ heard.float() > 0)


def _apart(size: Triple) -> Tensor:
    """N,N,3: distances in T, H and W between any two places."""
    at = torch.cartesian_prod(*(torch.arange(n) for n in size)).view(-1, 3)  # N,3
    return (at[:, None] - at[None]).abs()


def _positive(name: str, values: Triple, least: int) -> None:
    if len(values) != 3 or min(values) < least:
        raise VosError(f"{name} is {tuple(values)}: give three numbers, for T, H and W, of at least {least}")
