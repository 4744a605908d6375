"""Lab 3: how the fusion of streams is judged, and many objects in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, Said, brief, equals, plain

# ---- average_streams ------------------------------------------------------------------------------------------


def softmax_by_hand(column: Sequence[float]) -> list[float]:
    """Of a handful of numbers; minus infinity gives 0."""
    top = max(column)
    powers = [math.exp(v - top) for v in column]
    return [p / sum(powers) for p in powers]


def average_oracle(*streams: Tensor) -> np.ndarray:
    """Pixel by pixel: each stream says how sure it is of each channel, and all voices count alike."""
    logits = [s.double().numpy() for s in streams]
    out = np.zeros(logits[0].shape)
    for n in np.ndindex(out.shape[:-3]):
        for y, x in np.ndindex(out.shape[-2:]):
            at = (*n, slice(None), y, x)
            voices = [softmax_by_hand(v[at].tolist()) for v in logits]
            out[at] = [sum(voice[c] for voice in voices) / len(voices) for c in range(out.shape[-3])]
    return out


def streams(rng: np.random.Generator, shape: tuple[int, ...] = (2, 5, 7), scales: Sequence[float] = (2.0, 2.0)) -> Call:
    """One stream of logits for each scale."""
    return tuple(torch.tensor(rng.normal(size=shape) * s, dtype=torch.float32) for s in scales)


def average_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `average_streams`."""
    return Case(name, calls, equals(average_oracle, hint))


def _average(dim: int = -3, how: str = "mean", squash: str = "softmax", most: int = 99) -> Callable[..., Tensor]:
    """A fusion with one thing wrong."""

    def wrong(*given: Tensor) -> Tensor:
        if squash == "late":
            return torch.stack(given).mean(0).softmax(-3)
        heard = given[:most]
        if squash == "none":
            return torch.stack(heard).mean(0)
        voices = torch.stack([v.sigmoid() if squash == "sigmoid" else v.softmax(dim) for v in heard])
        return {"mean": voices.mean(0), "sum": voices.sum(0), "max": voices.max(0).values,
                "half": voices.sum(0) / 2}[how]

    return wrong


AVERAGE_STREAMS = Exercise(
    "lab3.average_streams",
    cases=(
        average_case("two streams", "the mean over the streams of each stream's softmax over the channels",
                     lambda rng: [streams(rng)]),
        average_case("one stream shouts", "a stream with ten times larger logits still has one voice: probabilities "
                     "first, then the mean", lambda rng: [streams(rng, scales=(0.8, 12.0))]),
        average_case("three streams of four channels", "all streams that are given, over all channels",
                     lambda rng: [streams(rng, (4, 4, 6), (1.0, 2.0, 3.0))]),
        average_case("a batch", "channels are dimension -3, whatever stands before them",
                     lambda rng: [streams(rng, (3, 2, 4, 5))]),
        average_case("sure beyond exp", "not right for large logits: torch.softmax does not overflow, exp does",
                     lambda rng: [streams(rng, scales=(150.0, 1.0))]),
    ),
    hints=(
        "Two networks need not speak equally loud: what is comparable between them is not logits.",
        "*logits is a tuple of however many streams. torch.softmax(stream, dim=-3) makes probabilities of one.",
        "sum(torch.softmax(stream, dim=-3) for stream in logits) / len(logits)",
    ),
    library="vos_teach.ops.streams:average_streams",
    suspects=(
        (_average(squash="late"), "logits are averaged: the louder stream wins. Softmax each stream first, then mean"),
        (_average(how="sum"), "the probabilities are added up: they must sum to 1, so divide by the number of streams"),
        (_average(how="half"), "it always divides by 2: divide by the number of streams that are given"),
        (_average(how="max"), "the largest voice is taken: they must sum to 1, take the mean"),
        (_average(most=2), "only two streams are heard: there may be any number"),
        (_average(squash="sigmoid"), "a sigmoid for each channel: the channels exclude one another, so a softmax over "
                                     "them"),
        (_average(squash="none"), "these are logits: probabilities are asked for"),
        (_average(dim=-1), "the softmax runs along the columns: channels are dimension -3"),
        (_average(dim=0), "the softmax runs along dimension 0: channels are dimension -3, in a batch too"),
        (_average(dim=1), "the softmax runs along dimension 1: channels are dimension -3, without a batch too"),
    ),
)

# ---- mask_channels --------------------------------------------------------------------------------------------


def channels_oracle(masks: Tensor, slots: int) -> np.ndarray:
    """Channel by channel, pixel by pixel."""
    out = np.zeros((slots, *masks.shape[1:]))
    for k in range(len(masks)):
        for y, x in np.ndindex(out.shape[1:]):
            out[k, y, x] = float(masks[k, y, x])
    return out


def objects(rng: np.random.Generator, k: int = 2, slots: int = 4, h: int = 6, w: int = 9, soft: bool = False) -> Call:
    """Masks of k things, which may overlap; soft: probabilities."""
    masks = rng.uniform(0, 1, (k, h, w))
    return torch.tensor(masks, dtype=torch.float32) if soft else torch.from_numpy(masks > 0.6), slots


def as_floats(hint: str) -> Callable[[Sequence[Call], Sequence[Any]], str | None]:
    """A judge that wants a float tensor, as a network does."""
    same = equals(channels_oracle, hint)

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        if said := same(calls, results):
            return said
        if any(plain(r).dtype.kind != "f" for r in results):
            return Said("a network wants floats, not booleans or whole numbers", brief(results[0]))
        return None

    return judge


def channels_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `mask_channels`."""
    return Case(name, calls, as_floats(hint))


def _channels(what: str) -> Callable[..., Tensor]:
    """Channels with one thing wrong."""

    def wrong(masks: Tensor, slots: int) -> Tensor:
        m = masks.float()
        free = m.new_zeros(slots, *m.shape[1:])
        if what == "ids":
            m = m * (torch.arange(len(m)) + 1)[:, None, None]
        if what == "first":
            m = m * (m.cumsum(0) <= 1)
        if what == "bottom":
            return torch.cat([free, m])[len(m) :]
        if what == "background":
            ground = 1 - m.amax(0, keepdim=True) if len(m) else torch.ones_like(free[:1])
            return torch.cat([ground, m, free])[:slots]
        if what == "repeated":
            return torch.cat([m, m[-1:].expand(slots, *m.shape[1:])])[:slots]
        if what == "cut":
            return m
        return torch.cat([m, free])[:slots]

    return wrong


MASK_CHANNELS = Exercise(
    "lab3.mask_channels",
    cases=(
        channels_case("two objects, four slots", "object k's mask in channel k, zeros in the free ones",
                      lambda rng: [objects(rng)]),
        channels_case("probabilities", "values between 0 and 1 stay as they are", lambda rng: [objects(rng, 3, 5,
                                                                                                       soft=True)]),
        channels_case("every slot taken", "as many objects as slots: nothing is free, nothing is added",
                      lambda rng: [objects(rng, 3, 3)]),
    ),
    hints=(
        "The network is built once, with a fixed number of channels; a clip has as many objects as it has.",
        "Begin with zeros of the final size, float. Which part of it do the masks fill?",
        "out = torch.zeros(slots, *masks.shape[1:]); then out[: len(masks)] takes the masks.",
    ),
    library="vos_teach.ops.streams:mask_channels",
    suspects=(
        (_channels("background"), "there is a channel for the background: masks go IN, the background only comes out"),
        (_channels("ids"), "the values are ids: each channel is 0 and 1, its place tells which object it is"),
        (_channels("first"), "where two overlap, one is cut: channels are separate, nothing needs to be decided"),
        (_channels("bottom"), "the free channels come first: object k is in channel k"),
        (_channels("repeated"), "the free channels repeat the last object: they are 0"),
        (_channels("cut"), "there are as many channels as objects: the network wants `slots` of them, always"),
    ),
)

# ---- softmax_over_objects -------------------------------------------------------------------------------------


def objects_oracle(logits: Tensor, present: Tensor) -> np.ndarray:
    """Pixel by pixel: those who are there share it with the background."""
    values = logits.double().numpy()
    there = np.broadcast_to(present.numpy(), (*values.shape[:-3], present.shape[-1]))
    out = np.zeros(values.shape)
    for n in np.ndindex(values.shape[:-3]):
        who = [0, *(1 + k for k in range(there.shape[-1]) if there[(*n, k)])]
        for y, x in np.ndindex(values.shape[-2:]):
            for c, p in zip(who, softmax_by_hand([values[(*n, c, y, x)] for c in who]), strict=True):
                out[(*n, c, y, x)] = p
    return out


def claims(rng: np.random.Generator, present: Sequence[bool] | Sequence[Sequence[bool]], h: int = 5, w: int = 6,
           batch: int | None = None, base: float = 0.0) -> Call:
    """Logits of the background and each slot, and which slots are taken; base: added to all."""
    n = np.shape(present)[-1]
    shape = (n + 1, h, w) if batch is None else (batch, n + 1, h, w)
    return torch.tensor(rng.normal(size=shape) * 2 + base, dtype=torch.float32), torch.tensor(present)


def objects_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `softmax_over_objects`."""
    return Case(name, calls, equals(objects_oracle, hint))


def _over(how: str, dim: int = -3) -> Callable[..., Tensor]:
    """A softmax with one thing wrong."""

    def wrong(logits: Tensor, present: Tensor) -> Tensor:
        there = torch.cat([torch.ones_like(present[..., :1]), present], -1)
        if how == "shifted":
            there = torch.cat([present, torch.ones_like(present[..., :1])], -1)
        there = there[..., None, None].expand(logits.shape)
        if how == "all":
            return logits.softmax(dim)
        if how == "each":
            return logits.sigmoid() * there
        if how == "pairs":  # each object by itself against the background
            own = torch.stack([logits[..., :1, :, :].expand_as(logits), logits]).softmax(0)[1] * there
            own[..., 0, :, :] = 1 - own[..., 1:, :, :].sum(-3)
            return own
        if how == "after":
            return logits.softmax(-3) * there
        if how == "zero":
            return (logits * there).softmax(-3)
        if how == "logits":
            return logits.masked_fill(~there, -math.inf)
        if how == "bare":
            return logits[..., 1:, :, :].masked_fill(~there[..., 1:, :, :], -math.inf).softmax(-3)
        return logits.masked_fill(~there, -10.0 if how == "ten" else -math.inf).softmax(dim)

    return wrong


SOFTMAX_OVER_OBJECTS = Exercise(
    "lab3.softmax_over_objects",
    cases=(
        objects_case("three objects, all there", "one softmax over background and objects, dimension -3",
                     lambda rng: [claims(rng, [True] * 3)]),
        objects_case("one slot is free", "an absent object gets exactly 0, and the others share the whole pixel",
                     lambda rng: [claims(rng, [True, False, True])]),
        objects_case("a batch", "channels are dimension -3, whatever stands before them",
                     lambda rng: [claims(rng, [True, True, False], batch=2)]),
        objects_case("all logits are low", "an absent object gets exactly 0, even where all others are unsure too",
                     lambda rng: [claims(rng, [False, True], base=-20.0)]),
    ),
    hints=(
        "Whoever is absent must not take part, as if there were no such channel. What logit does that in a softmax?",
        "Channel 0 is the background, which is always there: present has one entry less than there are channels. "
        "masked_fill(~there, -torch.inf) works on a copy.",
        "there = cat of a True and present along the last dimension, [..., None, None]; then "
        "logits.masked_fill(~there, -torch.inf).softmax(dim=-3).",
    ),
    library="vos_teach.ops.streams:softmax_over_objects",
    suspects=(
        (_over("all"), "absent objects take part: their probability is exactly 0"),
        (_over("each"), "a sigmoid for each object: two may claim one pixel. One softmax over all of them"),
        (_over("pairs"), "one softmax per object against the background: two may claim one pixel. ONE over all"),
        (_over("after"), "what the absent ones had is lost: the others no longer sum to 1. Mask before the softmax"),
        (_over("zero"), "an absent object's logit is set to 0, which is a fair chance: it must be minus infinity"),
        (_over("ten"), "-10 is not low enough where all logits are low: minus infinity is"),
        (_over("shifted"), "present is shifted by one: channel 0 is the background, object k is channel k + 1"),
        (_over("bare"), "the background is missing: it comes first, and is always there"),
        (_over("logits"), "these are logits: probabilities are asked for"),
        (_over("", -1), "the softmax runs along the columns: channels are dimension -3"),
        (_over("", 0), "the softmax runs along dimension 0: channels are dimension -3, in a batch too"),
    ),
)
