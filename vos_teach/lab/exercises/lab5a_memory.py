"""Lab 5a: how reading is judged, one look-up for all objects, and the rule by which frames are remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, Said, brief, equals
from vos_teach.lab.exercises.lab5a_affinity import Judge, sloped
from vos_teach.lab.exercises.lab5a_beside import Nearness, look_prepare, slopes_collect, slopes_prepare

# ---- readout --------------------------------------------------------------------------------------------------


def readout_oracle(affinity: Any, mv: Any) -> np.ndarray:
    """Question by question, channel by channel: the values of all places, each by its weight."""
    affinity, mv = (np.asarray(v, np.float64) for v in (affinity, mv))
    lead = np.broadcast_shapes(affinity.shape[:-2], mv.shape[:-2])
    affinity, mv = (np.broadcast_to(v, (*lead, *v.shape[-2:])) for v in (affinity, mv))
    out = np.zeros((*lead, mv.shape[-2], affinity.shape[-1]))
    for at in np.ndindex(out.shape):
        *before, channel, j = at
        out[at] = sum(mv[(*before, channel, i)] * affinity[(*before, i, j)] for i in range(mv.shape[-1]))
    return out


def reading(rng: np.random.Generator, n: int = 6, m: int = 4, cv: int = 3, lead: Sequence[Sequence[int]] = ((), ())
            ) -> tuple[Tensor, Tensor]:
    """Weights whose columns sum to 1, and values. lead: the dimensions that stand before each of them."""
    weights = rng.uniform(0, 1, (*lead[0], n, m)) ** 3
    values = rng.normal(size=(*lead[1], cv, n))
    return tuple(torch.tensor(v, dtype=torch.float32)  # type: ignore[return-value]
                 for v in (weights / weights.sum(-2, keepdims=True), values))


def readout_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], slopes: bool = False
                 ) -> Case:
    """A case of `readout`; slopes: its gradients, too."""
    if slopes:
        return Case(name, calls, sloped(readout_oracle, hint), prepare=slopes_prepare, collect=slopes_collect)
    return Case(name, calls, equals(readout_oracle, hint))


def _read(how: str) -> Callable[..., Tensor]:
    """A reading with one thing wrong."""

    def wrong(affinity: Tensor, mv: Tensor) -> Tensor:
        if how == "turned":
            return mv @ affinity.transpose(-1, -2)
        if how == "rows":
            return mv @ (affinity / affinity.sum(-1, keepdim=True))
        if how == "again":
            return mv @ torch.softmax(affinity, -2)
        if how == "out":
            return (mv @ affinity).transpose(-1, -2)
        if how == "mean":
            return mv @ affinity / mv.shape[-1]
        if how == "hard":
            return mv @ torch.nn.functional.one_hot(affinity.argmax(-2), mv.shape[-1]).transpose(-1, -2).to(mv)
        if how == "all":
            return mv.mean(-1, keepdim=True).expand(*mv.shape[:-1], affinity.shape[-1])
        if how == "sum":
            return (mv @ affinity).sum(0)
        return mv[:1] @ affinity

    return wrong


READ = "wrong: for each question the values of all places, each by its weight, mv @ affinity"
READOUT = Exercise(
    "lab5a.readout",
    cases=(
        readout_case("six places, four questions", READ, lambda rng: [reading(rng)]),
        readout_case("as many questions as places", "wrong where no shape can tell: a COLUMN of the affinity holds one "
                     "question's weights", lambda rng: [reading(rng, 5, 5)]),
        readout_case("three objects, one affinity", "one affinity N,M serves the values K,Cv,N of K objects",
                     lambda rng: [reading(rng, cv=2, lead=((), (3,)))]),
        readout_case("the gradient", READ, lambda rng: [reading(rng, 3, 2, 2)], slopes=True),
    ),
    hints=(
        "What a question reads is a mean: the values of the places of memory, weighted by its column of the affinity.",
        "It is one product of matrices: Cv,N times N,M. The operator @ does the dimensions before them by itself.",
        "return mv @ affinity",
    ),
    library="vos_teach.ops.affinity:readout",
    suspects=(
        (_read("turned"), "the affinity is transposed: its rows are memory, as the values' columns are"),
        (_read("rows"), "rows are made to sum to 1: the columns do so already"),
        (_read("again"), "a second softmax: the affinity is a weight already"),
        (_read("out"), "Cv and M are exchanged: channels come first"),
        (_read("mean"), "divided by N: the weights sum to 1 already"),
        (_read("hard"), "only the best place is read: all are, by their weights"),
        (_read("all"), "the weights are not used: this is the plain mean of memory"),
        (_read("sum"), "the objects are summed: each has values of its own, and reads its own"),
        (_read("first"), "only the first object's values are read"),
    ),
)

# ---- look_up --------------------------------------------------------------------------------------------------


def look_oracle(memory: Sequence[Sequence[Tensor]], qk: Tensor) -> np.ndarray:
    """Place by place: all pixels of all frames side by side, one affinity, and what each object has there."""
    places = [(t, y, x) for t, (key, _) in enumerate(memory) for y, x in np.ndindex(*key.shape[-2:])]
    asked = list(np.ndindex(*qk.shape[-2:]))
    mk = torch.stack([memory[t][0][:, y, x] for t, y, x in places], -1)  # C,N
    weights = Nearness()(mk, torch.stack([qk[:, y, x] for y, x in asked], -1)).double().numpy()
    first = memory[0][1]
    out = np.zeros((*first.shape[:2], *qk.shape[-2:]))
    for j, (y, x) in enumerate(asked):
        for i, (t, v, u) in enumerate(places):
            out[:, :, y, x] += weights[i, j] * memory[t][1][:, :, v, u].double().numpy()
    return out


def remembered(rng: np.random.Generator, frames: int = 2, objects: int = 2, c: int = 3, cv: int = 2,
               size: tuple[int, int] = (3, 4), asked: tuple[int, int] | None = None) -> Call:
    """Frames in memory, (key C,h,w, values K,Cv,h,w) each, and a question's key; asked: its size, if another."""
    def noise(*shape: int) -> Tensor:
        return torch.tensor(rng.normal(size=shape), dtype=torch.float32)

    return [(noise(c, *size), noise(objects, cv, *size)) for _ in range(frames)], noise(c, *(asked or size))


def look_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `look_up`."""
    return Case(name, calls, equals(look_oracle, hint, 1e-4, 1e-4), prepare=look_prepare)


def _look(frames: str = "all", keys: str = "right", values: str = "right", out: str = "right") -> Callable[..., Tensor]:
    """A look-up with one thing wrong."""

    def flat(maps: Sequence[Tensor], how: str) -> Tensor:
        if how == "mixed":  # frames stacked in front, then read as if they stood last
            stacked = torch.stack(list(maps))
            return stacked.reshape(*maps[0].shape[:-2], -1)
        if how == "reversed":
            maps = maps[::-1]
        if how == "turned":
            maps = [m.transpose(-1, -2) for m in maps]
        if how == "interleaved":
            return torch.stack([m.flatten(-2) for m in maps], -1).flatten(-2)
        return torch.cat([m.flatten(-2) for m in maps], -1)

    def wrong(affinity: Any, memory: Any, qk: Tensor) -> Tensor:
        kept = {"all": memory, "last": memory[-1:], "first": memory[:1]}.get(frames, memory)
        if frames == "each":
            parts = [v.flatten(-2) @ Nearness()(k.flatten(1), qk.flatten(1)) for k, v in kept]
            read = sum(parts[1:], parts[0]) / len(parts)
        else:
            mk, mv = flat([k for k, _ in kept], keys), flat([v for _, v in kept], values)
            read = mv @ Nearness()(mk, qk.flatten(1))
        if out == "turned":
            return read.reshape(*read.shape[:-1], qk.shape[-1], qk.shape[-2]).transpose(-1, -2)
        if out == "first":
            return read[:1].expand_as(read).unflatten(-1, qk.shape[-2:])
        if out == "flat":
            return read
        return read.unflatten(-1, tuple(qk.shape[-2:]))

    return wrong


LOOK = "wrong: all places of all frames are ONE memory, and keys and values stand in it in the same order"
LOOK_UP = Exercise(
    "lab5a.look_up",
    cases=(
        look_case("two frames, two objects", LOOK, lambda rng: [remembered(rng)]),
        look_case("one frame, one object", "wrong with a single frame and a single object: K,Cv,H,W, K being 1",
                  lambda rng: [remembered(rng, 1, 1, 4, 3)]),
        look_case("square maps", "wrong where no shape can tell: rows and columns are exchanged somewhere",
                  lambda rng: [remembered(rng, 3, 2, 3, 2, (4, 4))]),
        look_case("as many frames as channels and objects", "wrong where no shape can tell: frames go along the LAST "
                  "axis, beside the places", lambda rng: [remembered(rng, 3, 3, 3, 3, (2, 3))]),
    ),
    hints=(
        "Lay all places of all frames side by side: one long memory. What must be true of the order in which keys and "
        "values are laid out?",
        "torch.cat([key.flatten(1) for key, _ in memory], dim=-1) is C,N, and the values the same way K,Cv,N. Then ask "
        "the affinity ONCE, and read: values @ weights.",
        "mv = torch.cat([v.flatten(-2) for _, v in memory], -1); return (mv @ affinity(mk, qk.flatten(1))).unflatten("
        "-1, qk.shape[-2:])",
    ),
    relatives=("vos_teach.ops.affinity:readout", "vos_teach.transformers.memory:Bank.read",
               "vos_teach.transformers.stm:Network.segment"),
    suspects=(
        (_look(frames="last"), "only the last frame is looked up: memory is all of them"),
        (_look(frames="first"), "only the first frame is looked up: memory is all of them"),
        (_look(frames="each"), "an affinity for each frame, and then their mean: a frame in which nothing is alike "
                               "counts as much as the others. One affinity over all places of all frames"),
        (_look(keys="reversed"), "keys and values are in different orders: what is found is not what is read"),
        (_look(values="reversed"), "keys and values are in different orders: what is found is not what is read"),
        (_look(keys="turned"), "the keys' rows and columns are exchanged: flatten keys and values alike"),
        (_look(values="turned"), "the values' rows and columns are exchanged: flatten keys and values alike"),
        (_look(keys="mixed"), "frames were stacked in front and then reshaped: that mixes frames and channels of the "
                              "keys. Concatenate along the last axis"),
        (_look(values="mixed"), "frames were stacked in front and then reshaped: that mixes frames and channels of the "
                                "values. Concatenate along the last axis"),
        (_look(keys="mixed", values="mixed"), "frames were stacked in front and then reshaped: that mixes frames and "
                                              "channels. Concatenate along the last axis"),
        (_look(keys="interleaved"), "keys and values are in different orders: what is found is not what is read"),
        (_look(values="interleaved"), "keys and values are in different orders: what is found is not what is read"),
        (_look(out="turned"), "the result's rows and columns are exchanged: unflatten to H,W"),
        (_look(out="first"), "every object reads the first one's values"),
        (_look(out="flat"), "K,Cv,H,W is asked for: unflatten the last axis"),
    ),
)

# ---- remember -------------------------------------------------------------------------------------------------


def remember_oracle(t: int, last: bool, every: int | None, limit: int | None) -> list[int]:
    """Frame by frame of the past: is it wanted? Then let the oldest go, but never frame 0."""
    held = [s for s in range(t) if s == 0 or (last and s == t - 1) or (every is not None and s % every == 0)]
    while limit is not None and len(held) > limit:
        held.pop(1)
    return held


def times(hint: str) -> Judge:
    """A judge of lists of frames."""
    same = equals(remember_oracle, hint)

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for (t, *_), result in zip(calls, results, strict=True):
            if not isinstance(result, (list, tuple)):
                return Said("return a list of frame numbers", brief(result))
            if any(isinstance(s, bool) or not isinstance(s, (int, np.integer)) for s in result):
                return Said("frame numbers are whole numbers", brief(result))
            if t in result:
                return Said("frame t itself is in memory: it is being segmented, nobody knows its mask yet")
            if any(s < 0 or s > t for s in result):
                return Said("memory holds frames of the past: 0 to t - 1")
            if len(set(result)) < len(result):
                return Said("a frame is named twice: each once")
            if list(result) != sorted(result):
                return Said("frames are in order of time, the oldest first")
        return same(calls, results)

    return judge


def remember_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `remember`."""
    return Case(name, calls, times(hint))


def _remember(first: bool = True, from_: str = "zero", drop: str = "oldest", back: int = 1, more: int = 0
              ) -> Callable[..., list[int]]:
    """A rule with one thing wrong."""

    def wrong(t: int, last: bool = True, every: int | None = 5, limit: int | None = None) -> list[int]:
        held = {0} if first else set()
        if last:
            held.add(max(0, t - back))
        if every is not None:
            held |= set({"zero": range(0, t, every), "now": range(t, -1, -every), "last": range(t - 1, -1, -every),
                         "one": range(1, t, every), "recent": range(max(0, t - every), t)}[from_]) - {t}
        kept = sorted(held)
        if limit is None or len(kept) <= limit:
            return kept
        limit += more
        if drop == "first, too":
            return kept[-limit:]
        if drop == "newest":
            return kept[:limit]
        if drop == "never":
            return kept
        return kept[:1] + kept[len(kept) - limit + 1 :]

    return wrong


REMEMBER = Exercise(
    "lab5a.remember",
    cases=(
        remember_case("first, last, every fifth", "frame 0, frame t - 1, and 0, 5, 10, ... of those before t",
                      lambda rng: [(t, True, 5, None) for t in (1, 2, 6, 7, 11, int(rng.integers(12, 40)))]),
        remember_case("every fourth, and not the last", "without `last` frame t - 1 is held only if its turn has come",
                      lambda rng: [(t, False, 4, None) for t in (1, 4, 5, 6, int(rng.integers(9, 40)))]),
        remember_case("no every", "every=None: only the first and, where `last` says so, the last",
                      lambda rng: [(t, last, None, None) for t in (1, 2, 9) for last in (True, False)]),
        remember_case("a bound", "at most `limit` frames: the oldest go, but never frame 0",
                      lambda rng: [(t, True, 3, 4) for t in (4, 10, 13, int(rng.integers(20, 40)))]),
    ),
    hints=(
        "Three wishes make a set, so that no frame is in it twice; then it becomes a sorted list. Which frames may a "
        "bound never touch?",
        "{0}, {t - 1} and range(0, t, every). If there are too many, keep the first of the list and the newest limit "
        "- 1 of the others; mind limit = 1: a slice [-0:] is everything.",
        "held = sorted({0, *([t - 1] if last else []), *(range(0, t, every) if every else [])}); if limit is not None "
        "and len(held) > limit: held = held[:1] + held[len(held) - limit + 1:]",
    ),
    relatives=("vos_teach.transformers.memory:frames",),
    suspects=(
        (_remember(first=False), "frame 0 is missing where `every` does not bring it: its mask is the only one that "
                                 "was given"),
        (_remember(from_="now"), "every n-th is counted back from t: it is 0, n, 2n, ..., or what memory holds changes "
                                 "with every frame"),
        (_remember(from_="last"), "every n-th is counted back from t - 1: it is 0, n, 2n, ..., or what memory holds "
                                  "changes with every frame"),
        (_remember(from_="one"), "every n-th is counted from 1: it is 0, n, 2n, ..."),
        (_remember(from_="recent"), "these are the n frames before t: every n-th of all the past is meant"),
        (_remember(drop="first, too"), "frame 0 is let go: its mask was given, it is the only one that is known"),
        (_remember(drop="newest"), "the newest are let go: the OLDEST go, but frame 0"),
        (_remember(drop="never"), "`limit` is not used"),
        (_remember(more=1), "one more than `limit` is held"),
        (_remember(more=-1), "one less than `limit` is held"),
        (_remember(back=2), "the last frame is t - 1"),
    ),
)
