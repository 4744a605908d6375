"""Lab 4: what runs beside an answer, because it cannot be sent as plain data, and how what comes back is made plain.

The grader's sandbox sees this module and none of its neighbours, so it may hold nothing that answers an exercise. What
`collect` tells comes from the student's process: arrays, which the judges look at elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vos_teach.lab.cases import Call, brief

MOST = 40  # times that a Picker answers in one picture

# ---- gradients of several results along several arguments -----------------------------------------------------


def slopes_prepare(call: Call) -> Call:
    """All tensors of the call ask for a gradient."""
    return tuple(a.requires_grad_() for a in call)


def slopes_collect(call: Call, result: Any) -> Any:
    """(h, c) -> their values, and the slopes of sum(h) + sum(c^2) along each argument; in words, if it is no pair."""
    return _pair_and_slopes(result, list(call))


def pair_collect(call: Call, result: Any) -> Any:
    """(h, c) as two arrays; in words, if it is no pair."""
    return [v.detach().numpy() for v in result] if _is_pair(result) else brief(result)


def _is_pair(result: Any) -> bool:
    return isinstance(result, (tuple, list)) and len(result) == 2 and all(isinstance(v, Tensor) for v in result)


def _pair_and_slopes(result: Any, along: list[Tensor]) -> Any:
    if not _is_pair(result):
        return brief(result)
    h, c = result
    if not h.requires_grad or not c.requires_grad:
        return "cut"
    slopes = torch.autograd.grad(h.sum() + c.square().sum(), along, allow_unused=True)
    return [h.detach().numpy(), c.detach().numpy(),
            *(np.zeros(tuple(a.shape), np.float32) if s is None else s.numpy() for s, a in zip(slopes, along,
                                                                                              strict=True))]


# ---- a level's cell -------------------------------------------------------------------------------------------


def mixing(seed: int, inputs: int, hidden: int) -> np.ndarray:
    """The weights of a Mixer: 2*hidden rows; columns for its inputs, for h and for c."""
    return np.random.default_rng(seed).normal(0, 1, (2 * hidden, inputs + 2 * hidden)) / np.sqrt(inputs + hidden)


class Mixer(nn.Module):
    """Stands in for a level's cell: (x B,inputs,H,W, (h, c)) -> (h, c). Each number of a pixel's new state is the tanh
    of a weighted sum of all that the cell is given there, each with a weight of its own."""

    def __init__(self, seed: int, inputs: int, hidden: int):
        super().__init__()
        self.inputs, self.hidden = inputs, hidden
        self.weight = torch.tensor(mixing(seed, inputs, hidden), dtype=torch.float32)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        """See the class."""
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise ValueError("the cell takes x and a pair (h, c)")
        want = [self.inputs, self.hidden, self.hidden]
        if [v.shape[1] if v.dim() == 4 else -1 for v in (x, *state)] != want:
            raise ValueError(f"the cell takes x of {want[0]} channels, h and c of {want[1]} each, not "
                             f"{[tuple(v.shape) for v in (x, *state)]}")
        h, c = torch.tanh(torch.einsum("ki,bihw->bkhw", self.weight, torch.cat([x, *state], 1))).chunk(2, 1)
        return h, c


def level_prepare(call: Call) -> Call:
    """(options, x, (h, c), time) -> (cell, x, (h, c), time); all of them ask for a gradient."""
    options, x, space, time = call
    for v in (x, *space, time):
        v.requires_grad_()
    return Mixer(**options), x, tuple(space), time


def level_collect(call: Call, result: Any) -> Any:
    """(h, c), and the slopes along x, h and c of the neighbour, and the past."""
    _, x, space, time = call
    return _pair_and_slopes(result, [x, *space, time])


# ---- a network with a memory ----------------------------------------------------------------------------------


class Keeper(nn.Module):
    """Stands in for a network with a memory; what it makes of a clip is known. `step` adds a frame to the state.

    start (frame B,3,H,W, mask B,H,W) -> state; step (frame B,3,H,W, state) -> (logits B,H,W, next state).
    """

    def __init__(self, seed: int):
        super().__init__()
        self.keep, self.see, self.drift = np.random.default_rng(seed).uniform([0.5, 0.6, 0.2], [0.8, 1.2, 0.5]).tolist()

    def start(self, frame: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What is to be remembered of a frame and its mask."""
        _sizes(frame, mask)
        mask = mask.to(frame)
        return 2 * mask - 1, mask * frame[:, 1]

    def step(self, frame: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One frame on."""
        h, c = state
        _sizes(frame, h)
        c = 0.8 * c + self.drift * frame[:, 2] * torch.tanh(h)
        h = self.keep * h.roll(1, -1) + self.see * (frame[:, 0] - 0.5) + c.roll(1, -2)
        return 2 * h - 0.2, (h, c)


def _sizes(frame: Tensor, mask: Tensor) -> None:
    if frame.dim() != 4 or frame.shape[1] != 3 or mask.dim() != 3 or frame.shape[-2:] != mask.shape[-2:]:
        raise ValueError("the network takes frames B,3,H,W and masks B,H,W, not "
                         f"{tuple(frame.shape)} and {tuple(mask.shape)}")


def unroll_prepare(call: Call) -> Call:
    """(seed, frames, given) -> (network, frames, given)."""
    seed, frames, given = call
    return Keeper(seed), frames, given


# ---- one thing after another in a still picture ---------------------------------------------------------------


class Picker:
    """Stands in for what finds one object in a picture: it takes the brightest thing that is left.

    (picture H,W, before) -> (logits H,W, score, state). before: the state after the last object, None for the first.
    Things are equally bright all over, the ground is below 1/2. scores: of the objects one after the other, logits; the
    last one stays.
    """

    def __init__(self, scores: list[float]):
        self.scores, self.asked = list(scores), 0

    def __call__(self, picture: Tensor, before: Any = None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """See the class."""
        self.asked += 1
        if self.asked > MOST:
            raise ValueError(f"asked {MOST} times, and there is no end: stop after `most`")
        if before is not None and not (isinstance(before, dict) and set(before) == {"taken", "count"}):
            raise ValueError("`before` is the state that came with the last object, or None")
        taken = torch.zeros_like(picture) if before is None else before["taken"]
        count = 0 if before is None else int(before["count"])
        left = picture * (1 - taken)
        here = ((left - left.max()).abs() < 0.05).to(picture)
        state = {"taken": (taken + here).clamp(max=1), "count": torch.tensor(count + 1)}
        return (2 + count) * (2 * here - 1) - 0.3, torch.tensor(self.scores[min(count, len(self.scores) - 1)]), state


def find_prepare(call: Call) -> Call:
    """(scores, picture, most, until) -> (look, picture, most, until)."""
    scores, picture, *rest = call
    return Picker(scores), picture, *rest


def find_collect(call: Call, result: Any) -> Any:
    """A list of masks as arrays; in words, if it is something else."""
    if isinstance(result, Tensor) and result.dim() == 3:
        result = list(result)
    if not isinstance(result, (list, tuple)) or not all(isinstance(m, (Tensor, np.ndarray)) for m in result):
        return brief(result)
    return [m.detach().numpy() if isinstance(m, Tensor) else m for m in result]


# ---- matching -------------------------------------------------------------------------------------------------


def match_prepare(call: Call) -> Call:
    """The predictions come from a network: a gradient is asked of them."""
    pred, target = call
    return pred.requires_grad_(), target
