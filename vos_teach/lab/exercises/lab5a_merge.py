"""Lab 5a: how the merging of objects is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, equals
from vos_teach.lab.exercises.lab5a_affinity import sloped
from vos_teach.lab.exercises.lab5a_beside import slopes_collect, slopes_prepare

EPS = 1e-7


def merge_oracle(prob: Any) -> np.ndarray:
    """Pixel by pixel: the odds of the background and of each object, and the share of each in their sum."""
    prob = np.asarray(prob, np.float64)
    *lead, k, h, w = prob.shape
    out = np.zeros((*lead, k + 1, h, w))
    for at in np.ndindex(*lead, h, w):
        *before, y, x = at
        p = [float(prob[(*before, n, y, x)]) for n in range(k)]
        nobody = 1.0
        for q in p:
            nobody *= 1 - q
        odds = [q / (1 - q) for q in (min(max(q, EPS), 1 - EPS) for q in [nobody, *p])]
        for n, odd in enumerate(odds):
            out[(*before, n, y, x)] = odd / sum(odds)
    return out


def objects(rng: np.random.Generator, k: int = 2, h: int = 3, w: int = 4, lead: Sequence[int] = (), low: float = 0.02,
            high: float = 0.98) -> Call:
    """Probabilities of k objects, each by itself."""
    return (torch.tensor(rng.uniform(low, high, (*lead, k, h, w)), dtype=torch.float32),)


def certain(rng: np.random.Generator, k: int = 2, h: int = 3, w: int = 4) -> Call:
    """Nothing but 0 and 1; somewhere nobody wants a pixel, and somewhere all do."""
    prob = rng.integers(0, 2, (k, h, w)).astype(np.float32)
    prob[:, 0, 0], prob[:, 0, 1] = 0, 1
    return (torch.tensor(prob),)


def nearly(rng: np.random.Generator, k: int = 3, h: int = 4, w: int = 3) -> Call:
    """One object is sure of everything, the others almost."""
    prob = rng.uniform(0.97, 0.995, (k, h, w))
    prob[int(rng.integers(k))] = 1
    return (torch.tensor(prob, dtype=torch.float32),)


def merge_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], slopes: bool = False,
               atol: float = 2e-5) -> Case:
    """A case of `soft_aggregate`; slopes: its gradient, too."""
    if slopes:
        return Case(name, calls, sloped(merge_oracle, hint), prepare=slopes_prepare, collect=slopes_collect)
    return Case(name, calls, equals(merge_oracle, hint, atol, 1e-4))


def _merge(back: str = "prod", how: str = "odds", clamp: bool = True, order: str = "first", soft: int = -3,
           eps: float = EPS) -> Callable[..., Tensor]:
    """A merging with one thing wrong."""

    def wrong(prob: Tensor) -> Tensor:
        background = {
            "prod": lambda: (1 - prob).prod(-3, keepdim=True), "sum": lambda: 1 - prob.sum(-3, keepdim=True),
            "max": lambda: 1 - prob.amax(-3, keepdim=True), "mean": lambda: 1 - prob.mean(-3, keepdim=True),
            "not all": lambda: 1 - prob.prod(-3, keepdim=True), "half": lambda: 0.5 + 0 * prob[..., :1, :, :],
        }[back]() if back != "none" else prob[..., :0, :, :]
        p = torch.cat([background, prob] if order == "first" else [prob, background], -3)
        if clamp:
            p = p.clamp(eps, 1 - eps)
        if how == "odds":
            return torch.softmax(torch.log(p) - torch.log(1 - p), soft)
        if how == "share":
            return p / p.sum(-3, keepdim=True)
        if how == "probabilities":
            return torch.softmax(p, -3)
        if how == "logits":
            return torch.log(p) - torch.log(1 - p)
        return p

    return wrong


SOFT_AGGREGATE = Exercise(
    "lab5a.soft_aggregate",
    cases=(
        merge_case("two objects", "wrong: the softmax over background and objects of log(p / (1 - p)), the background "
                   "being prod(1 - p)", lambda rng: [objects(rng)]),
        merge_case("one object", "wrong with one object: two planes, the softmax of the logits of 1 - p and p",
                   lambda rng: [objects(rng, 1, 4, 5)]),
        merge_case("nothing but 0 and 1", "wrong where an object is quite sure: clamp the background, too, to "
                   "[1e-7, 1 - 1e-7] before the logarithm", lambda rng: [certain(rng)], atol=1e-3),
        merge_case("three clips at once", "what stands before K,H,W stays as it is: K is the third axis from the end",
                   lambda rng: [objects(rng, 2, 3, 4, (3,))]),
        merge_case("the gradient", "wrong: the softmax of log(p / (1 - p))", lambda rng: [objects(rng, 2, 1, 2)],
                   slopes=True),
    ),
    hints=(
        "Who wants a pixel when no object does? And how are numbers that were made by K separate sigmoids turned into "
        "ONE choice among K + 1?",
        "background = (1 - prob).prod(dim=-3, keepdim=True), in front of the objects. Then clamp all K + 1, take "
        "logits, and one softmax over the same axis.",
        "p = torch.cat([background, prob], dim=-3).clamp(1e-7, 1 - 1e-7); return torch.softmax(torch.logit(p), dim=-3)",
    ),
    library="vos_teach.ops.aggregate:soft_aggregate",
    suspects=(
        (_merge(back="none"), "the background is missing: K + 1 planes, it comes first"),
        (_merge(order="last"), "the background comes last: it is the FIRST plane"),
        (_merge(back="sum"), "the background is 1 - the sum: where objects overlap that is negative. It is the product "
                             "of all 1 - p"),
        (_merge(back="max"), "the background is 1 - the largest: it is what NO object wants, the product of all 1 - p"),
        (_merge(back="mean"), "the background is 1 - the mean: it is what no object wants, the product of all 1 - p"),
        (_merge(back="not all"), "the background is what not ALL want: it is what NONE wants, the product of 1 - p"),
        (_merge(back="half"), "the background is a constant: it is what no object wants, the product of 1 - p"),
        (_merge(how="share"), "the p are divided by their sum: the odds p / (1 - p) are, by a softmax of their "
                              "logarithms"),
        (_merge(how="probabilities"), "a softmax of probabilities: it is one of log(p / (1 - p))"),
        (_merge(how="logits"), "these are logits: one softmax over background and objects is missing"),
        (_merge(how="none"), "background and objects stand side by side and do not sum to 1: a softmax of their logits "
                             "is missing"),
        (_merge(clamp=False), "where p is 0 or 1 the logarithm is infinite: clamp first"),
        (_merge(eps=1e-3), "clamped to 1e-3: it is 1e-7, or sure objects and nearly sure ones become alike"),
        (_merge(eps=1e-2), "clamped to 1e-2: it is 1e-7, or sure objects and nearly sure ones become alike"),
        (_merge(soft=-1), "the softmax runs over a row of pixels: it runs over background and objects, axis -3"),
    ),
)
