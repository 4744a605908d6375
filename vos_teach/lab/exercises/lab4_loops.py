"""Lab 4: how the two loops are judged: over the frames of a clip, and over the objects of one picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, Said, equals
from vos_teach.lab.exercises.lab4_beside import Keeper, Picker, find_collect, find_prepare, unroll_prepare

# ---- unroll ---------------------------------------------------------------------------------------------------


def unroll_oracle(seed: int, frames: Tensor, given: Sequence[Tensor | None]) -> np.ndarray:
    """Frame by frame: a mask that is given is the answer and writes the state; else one step, and its state is kept."""
    return _follow(seed, frames, given).detach().numpy()


def along_frames_oracle(seed: int, frames: Tensor, given: Sequence[Tensor | None]) -> tuple[np.ndarray, np.ndarray]:
    """The result, and the slope of its sum along all frames: through the states back to where they were written."""
    frames = frames.detach().clone().requires_grad_()
    out = _follow(seed, frames, given)
    (slope,) = torch.autograd.grad(out.sum(), frames)
    return out.detach().numpy(), slope.numpy()


def _follow(seed: int, frames: Tensor, given: Sequence[Tensor | None]) -> Tensor:
    network, out, state = Keeper(seed), [], None
    for t, mask in enumerate(given):
        one = frames[t : t + 1]
        if mask is not None:
            state = network.start(one, mask[None])
            out.append(mask.to(frames))
        else:
            logits, state = network.step(one, state)
            out.append(1 / (1 + torch.exp(-logits[0])))
    return torch.stack(out)


def film(rng: np.random.Generator, length: int = 6, h: int = 7, w: int = 9, at: Sequence[int] = ()) -> Call:
    """Frames of noise; a mask in frame 0 and in those of `at`."""
    def mask() -> Tensor:
        top, left = rng.integers(1, 3, 2)
        out = torch.zeros(h, w, dtype=torch.bool)
        out[top : top + h // 2, left : left + w // 2] = True
        return out

    frames = torch.tensor(rng.uniform(0, 1, (length, 3, h, w)), dtype=torch.float32)
    return int(rng.integers(2**31)), frames, [mask() if t == 0 or t in at else None for t in range(length)]


def unroll_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], grad: int | None = None
                ) -> Case:
    """A case of `unroll`; grad=1: the gradient along the frames, too."""
    oracle = unroll_oracle if grad is None else along_frames_oracle
    return Case(name, calls, equals(oracle, hint, 1e-4), grad=grad, prepare=unroll_prepare)


def _unroll(carry: str = "state", reset: bool = True, first: bool = False, soft: str = "prob", intact: bool = True,
            look: int = 0, cut: str = "") -> Callable[..., Tensor]:
    """A loop with one thing wrong."""

    def wrong(network: Any, frames: Tensor, given: Sequence[Tensor | None]) -> Tensor:
        out: list[Tensor] = []
        state = begin = network.start(frames[:1], given[0][None])  # type: ignore[index]
        for t, mask in enumerate(given):
            fresh = mask is not None and (reset or t == 0)
            if fresh:
                begin = state = network.start(frames[t : t + 1], mask[None])
            if fresh and not first:
                out.append(mask.to(frames) if intact else network.step(frames[t : t + 1], state)[0][0].sigmoid())
                continue
            if carry == "masks" and t:
                state = network.start(frames[t - 1 : t], (out[-1] > 0.5)[None])
            one = frames[t + look : t + look + 1]
            if cut == "before":
                state = tuple(s.detach() for s in state)
            logits, after = network.step(one, begin if carry == "first" else state)
            state = tuple(s.detach() for s in after) if cut == "after" else after
            p = {"prob": logits[0].sigmoid(), "logit": logits[0], "hard": (logits[0] > 0).to(frames)}[soft]
            out.append(mask.to(frames) if mask is not None and intact else p)
        return torch.stack(out)

    return wrong


UNROLL = Exercise(
    "lab4.unroll",
    cases=(
        unroll_case("a clip of six frames", "wrong: each frame's step begins with the state that the frame before left",
                    lambda rng: [film(rng)]),
        unroll_case("a mask is given once more", "a mask that is given is the answer for its frame, and the state is "
                    "written anew from it", lambda rng: [film(rng, 7, at=(3,))]),
        unroll_case("two clips, one after the other", "wrong in the second clip: nothing may be left of the first",
                    lambda rng: [film(rng, 4), film(rng, 5)]),
        unroll_case("the gradient, back through time", "the gradient along the frames is wrong: a late mask depends on "
                    "all frames before it, through the states", lambda rng: [film(rng, 5, 5, 6)], grad=1),
    ),
    hints=(
        "Two things are carried along: the list of answers, and the state. What happens to each of them where a mask "
        "is given, and what where there is none?",
        "The network wants batches: frames[t][None] and mask[None]; of its logits take [0]. network.step returns the "
        "logits AND the next state: keep both.",
        "for frame, mask in zip(frames, given): if mask is not None: state = network.start(frame[None], mask[None]), "
        "the answer is mask.float(); else: logits, state = network.step(frame[None], state), the answer torch.sigmoid("
        "logits[0]). At the end torch.stack.",
    ),
    suspects=(
        (_unroll(carry="first"), "each step begins with the state of the first frame: carry on step's"),
        (_unroll(carry="masks"), "the state is written anew from each mask that was found: that is mask propagation; "
                                 "here only the state goes on"),
        (_unroll(reset=False), "a mask given later changes its own frame only: the state is written anew from it"),
        (_unroll(first=True), "where a mask is given there is no step: the mask is the answer, the state is start's"),
        (_unroll(intact=False), "where a mask is given it IS the answer: no step there"),
        (_unroll(soft="logit"), "these are logits: return probabilities, by a sigmoid"),
        (_unroll(soft="hard"), "these are hard masks: return probabilities, or no gradient can flow"),
        (_unroll(look=-1), "the step looks at the frame before: it is frame t's own turn"),
        (_unroll(cut="before"), "the states are detached: no gradient comes back through time"),
        (_unroll(cut="after"), "the states are detached: no gradient comes back through time"),
    ),
)

# ---- find_objects ---------------------------------------------------------------------------------------------


def find_oracle(scores: Sequence[float], picture: Tensor, most: int, until: float) -> list[np.ndarray]:
    """One object after the other, each told what was taken before, until the network says that nothing is left."""
    look, before, found = Picker(list(scores)), None, []
    for _ in range(most):
        logits, score, before = look(picture, before)
        if 1 / (1 + math.exp(-float(score))) < until:
            return found
        found.append(1 / (1 + np.exp(-logits.double().numpy())))
    return found


def still(rng: np.random.Generator, things: int = 3, scores: Sequence[float] | None = None, h: int = 8, w: int = 15,
          most: int = 10, until: float = 0.5) -> Call:
    """A picture of things side by side, the brightest anywhere; and how sure the network will be of each."""
    picture = torch.tensor(rng.uniform(0, 0.4, (h, w)), dtype=torch.float32)
    for place, bright in enumerate(rng.permutation(things)):
        left = 1 + place * (w - 1) // max(1, things)
        picture[1 : h - 1, left : left + max(1, (w - 1) // things - 1)] = 1.0 + float(bright)
    return list(scores or [2.0, 1.5, 1.2, -1.0]), picture, most, until


def _masks(oracle: Callable[..., list], hint: str) -> Callable[[Sequence[Call], Sequence[Any]], str | None]:
    """A judge that tells a wrong number of objects from wrong ones."""
    same = equals(oracle, hint, 1e-4)

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, result in zip(calls, results, strict=True):
            if not isinstance(result, (list, tuple)):
                return Said("return a list of masks, a tensor H,W for each object", f"not {result}")
            if len(result) != (n := len(oracle(*call))):
                return Said("a wrong number of objects: stop BEFORE the first whose probability is below `until`, and "
                            "after `most` in any case", f"{len(result)} instead of {n}")
        return same(calls, results)

    return judge


def find_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `find_objects`."""
    return Case(name, calls, _masks(find_oracle, hint), prepare=find_prepare, collect=find_collect)


def _find(hand: str = "state", stop: str = "before", soft: str = "prob", most: int = 0, on: str = "prob",
          apart: bool = False) -> Callable[..., list]:
    """A loop over objects with one thing wrong."""

    def wrong(look: Any, picture: Tensor, limit: int = 10, until: float = 0.5) -> list:
        found: list[Tensor] = []
        before = first = None
        for _ in range(limit + most):
            logits, score, state = look(picture, before)
            first = state if first is None else first
            before = {"state": state, "none": None, "first": first}[hand]
            sure = score if on == "logit" else torch.sigmoid(score)
            low = sure < (0.5 if on == "half" else until)
            p = {"prob": torch.sigmoid(logits), "logit": logits, "hard": logits > 0}[soft]
            if low and stop == "before":
                break
            if not (low and stop == "skip"):
                found.append(p)
            if low and stop == "after":
                break
        return found

    return wrong


FIND_OBJECTS = Exercise(
    "lab4.find_objects",
    cases=(
        find_case("three things", "the masks are wrong: each object is told the state that the one before it left",
                  lambda rng: [still(rng)]),
        find_case("hardly sure", "0.4 is a logit: the probability is 0.6, so this one is an object",
                  lambda rng: [still(rng, 3, [1.0, 0.4, 0.3, -0.2])]),
        find_case("more than may be had", "at most `most` objects", lambda rng: [still(rng, 4, [3.0], w=21, most=2)]),
        find_case("nothing there", "the first score is low already: an empty list",
                  lambda rng: [still(rng, 1, [-2.0])]),
    ),
    hints=(
        "The network finds one object at a time. How does it know what has been taken already? And who says that "
        "nothing is left?",
        "before = None for the first object; then always the state that came with the last one. The score is a logit: "
        "torch.sigmoid(score) < until ends the loop, and the object that came with it is not counted.",
        "for _ in range(most): logits, score, before = look(features, before); if torch.sigmoid(score) < until: break; "
        "masks.append(torch.sigmoid(logits))",
    ),
    relatives=("vos_teach.rnn.rvos:Network.look",),
    suspects=(
        (_find(hand="none"), "every object begins from nothing, so the same one is found again: hand on the state"),
        (_find(hand="first"), "the FIRST object's state is handed on for ever: hand on that of the object just found"),
        (_find(stop="after"), "the object that came with the low score is counted: stop BEFORE it"),
        (_find(stop="skip"), "it goes on after a low score: that is the stop, nothing after it counts"),
        (_find(stop="never"), "it never stops before `most`: a score below `until` says that nothing is left"),
        (_find(on="logit"), "a logit is compared with a probability: torch.sigmoid(score) < until"),
        (_find(on="half"), "it stops at 0.5, always: `until` is given"),
        (_find(soft="logit"), "these are logits: return probabilities"),
        (_find(soft="hard"), "these are hard masks: return probabilities"),
        (_find(most=1), "one more than `most` is found: `most` counts all of them"),
    ),
)
