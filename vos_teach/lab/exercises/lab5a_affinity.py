"""Lab 5a: how the two affinities are judged: the dot product and the negative squared distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, Said, differs, equals
from vos_teach.lab.exercises.lab5a_beside import slopes_collect, slopes_prepare, uneven

Judge = Callable[[Sequence[Call], Sequence[Any]], str | None]

# ---- gradients ------------------------------------------------------------------------------------------------


def wiggled(oracle: Callable[..., np.ndarray]) -> Callable[..., list[np.ndarray]]:
    """The oracle's result, and how its unevenly weighted sum answers when each number of each tensor is wiggled."""

    def slopes(*call: Any) -> list[np.ndarray]:
        call = tuple(a.detach().double().numpy() if isinstance(a, Tensor) else a for a in call)
        value = oracle(*call)
        out = [value]
        for array in (a for a in call if isinstance(a, np.ndarray)):
            slope = np.zeros_like(array)
            for at in np.ndindex(array.shape):
                kept, ends = array[at], []
                for way in (1e-5, -1e-5):
                    array[at] = kept + way
                    ends.append((oracle(*call) * uneven(value.shape)).sum())
                array[at] = kept
                slope[at] = (ends[0] - ends[1]) / 2e-5
            out.append(slope)
        return out

    return slopes


def sloped(oracle: Callable[..., np.ndarray], hint: str) -> Judge:
    """A judge of values and slopes, as `slopes_collect` sends them."""
    both = wiggled(oracle)

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, result in zip(calls, results, strict=True):
            if isinstance(result, str):
                return (Said("no gradient flows back: stay with torch operations, without .detach(), .numpy() or "
                             "no_grad") if result == "cut" else Said("return a tensor", f"not {result}"))
            want = both(*call)
            if said := differs(result[0], want[0], 1e-4, 1e-4):
                return Said(hint, said)
            if said := differs(list(result)[1:], want[1:], 1e-3, 1e-2, what="the slopes"):
                return Said("the values are right, but the gradient is not: is anything detached on the way?", said)
        return None

    return judge


def affinity_case(kind: str, name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]],
                  slopes: bool = False, atol: float = 1e-4) -> Case:
    """A case of one of the affinities; slopes: its gradients, too."""
    oracle = dot_oracle if kind == "dot" else l2_oracle
    if slopes:
        return Case(name, calls, sloped(oracle, hint), prepare=slopes_prepare, collect=slopes_collect)
    return Case(name, calls, equals(oracle, hint, atol, 1e-4))


def keys(rng: np.random.Generator, n: int = 6, m: int = 4, c: int = 4, lead: Sequence[Sequence[int]] = ((), ()),
         loud: float = 1.2) -> tuple[Tensor, Tensor]:
    """Keys of memory and of questions: noise. lead: the dimensions that stand before each of them."""
    return tuple(torch.tensor(rng.normal(size=(*before, c, size)) * loud, dtype=torch.float32)
                 for before, size in zip(lead, (n, m), strict=True))  # type: ignore[return-value]


def looked(mk: Any, qk: Any, score: Callable[[np.ndarray, np.ndarray], float], top_k: int | None = None) -> np.ndarray:
    """Question by question: a score for each place of memory, then the share of each among those that count."""
    mk, qk = (np.asarray(v, np.float64) for v in (mk, qk))
    lead = np.broadcast_shapes(mk.shape[:-2], qk.shape[:-2])
    mk, qk = (np.broadcast_to(v, (*lead, *v.shape[-2:])) for v in (mk, qk))
    n, m = mk.shape[-1], qk.shape[-1]
    out = np.zeros((*lead, n, m))
    for at in np.ndindex(*lead, m):
        *before, j = at
        scores = [score(mk[(*before, slice(None), i)], qk[(*before, slice(None), j)]) for i in range(n)]
        best = sorted(range(n), key=lambda i: -scores[i])[: n if top_k is None else top_k]
        parts = {i: math.exp(scores[i] - max(scores)) for i in best}
        for i, part in parts.items():
            out[(*before, i, j)] = part / sum(parts.values())
    return out


def dot_oracle(mk: Any, qk: Any) -> np.ndarray:
    """Scores are k.q / sqrt(C)."""
    return looked(mk, qk, lambda k, q: sum(a * b for a, b in zip(k, q, strict=True)) / math.sqrt(len(k)))


def l2_oracle(mk: Any, qk: Any, top_k: int | None = None) -> np.ndarray:
    """Scores are -|m - q|^2 / sqrt(C), of the top_k nearest alone."""
    return looked(mk, qk, lambda k, q: -sum((a - b) ** 2 for a, b in zip(k, q, strict=True)) / math.sqrt(len(k)),
                  top_k)


# ---- dot_affinity ---------------------------------------------------------------------------------------------


def _dot(over: int = -2, scale: str = "sqrt C", sign: float = 1.0, score: str = "dot", squash: str = "softmax",
         turn: bool = False) -> Callable[..., Tensor]:
    """An affinity with one thing wrong."""

    def wrong(mk: Tensor, qk: Tensor) -> Tensor:
        c, n = mk.shape[-2:]
        if score == "cosine":
            mk, qk = (v / v.norm(dim=-2, keepdim=True) for v in (mk, qk))
        s = mk.transpose(-1, -2) @ qk
        if score == "l2":
            s = 2 * s - mk.square().sum(-2)[..., None]
        s = sign * s / {"sqrt C": math.sqrt(c), "C": c, "none": 1, "sqrt N": math.sqrt(n), "times": 1 / math.sqrt(c)
                        }[scale]
        if squash == "all":
            out = torch.softmax(s.flatten(-2), -1).unflatten(-1, s.shape[-2:])
        elif squash == "hard":
            out = torch.nn.functional.one_hot(s.argmax(-2), n).transpose(-1, -2).to(s)
        elif squash == "exp":
            out = s.exp() / s.exp().sum(-2, keepdim=True)
        elif squash == "top":
            e = (s - s.max()).exp()
            out = e / e.sum(-2, keepdim=True)
        else:
            out = {"softmax": lambda v: torch.softmax(v, over), "none": lambda v: v, "sigmoid": torch.sigmoid,
                   "log": lambda v: torch.log_softmax(v, over)}[squash](s)
        return out.transpose(-1, -2) if turn else out

    return wrong


DOT = "wrong: the softmax over MEMORY of k.q / sqrt(C), for each question by itself"
DOT_AFFINITY = Exercise(
    "lab5a.dot_affinity",
    cases=(
        affinity_case("dot", "six keys, four questions", DOT, lambda rng: [keys(rng)]),
        affinity_case("dot", "as many questions as keys", "wrong where no shape can tell: each COLUMN, one question, "
                      "sums to 1", lambda rng: [keys(rng, 5, 5)]),
        affinity_case("dot", "loud keys", "wrong for large scores: take the largest away before exp, or let "
                      "torch.softmax do it", lambda rng: [keys(rng, loud=20)], atol=2e-3),
        affinity_case("dot", "three memories, one question", "what stands before C broadcasts: K,C,N with C,M gives "
                      "K,N,M", lambda rng: [keys(rng, 5, 3, lead=((3,), ()))]),
        affinity_case("dot", "the gradient", DOT, lambda rng: [keys(rng, 3, 2)], slopes=True),
    ),
    hints=(
        "N places of memory, M questions: every place has a score for every question. In which direction do the "
        "weights sum to 1, if each question is to read ONE mean of memory?",
        "All scores at once are a product of matrices: mk.transpose(-1, -2) @ qk is ...,N,M. Its softmax runs over "
        "memory, the axis before the last.",
        "return torch.softmax(mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5, dim=-2)",
    ),
    library="vos_teach.ops.affinity:dot_affinity",
    suspects=(
        (_dot(over=-1), "the softmax runs over the questions: each question's weights, a column, are to sum to 1"),
        (_dot(squash="all"), "one softmax over everything: each question has one of its own, over memory"),
        (_dot(over=-1, turn=True), "N and M are exchanged: rows are memory, columns are questions"),
        (_dot(turn=True), "N and M are exchanged: rows are memory, columns are questions"),
        (_dot(scale="none"), "the scale is missing: k.q / sqrt(C)"),
        (_dot(scale="C"), "divided by C: it is its square root"),
        (_dot(scale="sqrt N"), "divided by the square root of N: C, the channels, is meant"),
        (_dot(scale="times"), "multiplied by sqrt(C): divide by it"),
        (_dot(sign=-1), "the least alike get most: the sign is wrong"),
        (_dot(score="cosine"), "keys are normalised: here their length counts (that is the weakness to come)"),
        (_dot(score="l2"), "that is the distance of L2: here it is the plain dot product"),
        (_dot(squash="none"), "these are scores: a softmax over memory makes weights of them"),
        (_dot(squash="log"), "these are logarithms of weights: softmax, not log_softmax"),
        (_dot(squash="sigmoid"), "a sigmoid for each pair: the places of memory compete, softmax over them"),
        (_dot(squash="hard"), "only the best place counts: a softmax lets all of them count"),
        (_dot(squash="exp"), "exp of a large score is infinite: take each column's largest away first, as softmax "
                             "does"),
        (_dot(squash="top"), "one maximum for all questions: beside a loud question a quiet one is lost in rounding"),
    ),
)

# ---- l2_affinity ----------------------------------------------------------------------------------------------


def _l2(over: int = -2, scale: str = "sqrt C", sign: float = -1.0, score: str = "l2", top: str = "right",
        squash: str = "softmax", turn: bool = False, more: int = 0) -> Callable[..., Tensor]:
    """An affinity by distance with one thing wrong."""

    def wrong(mk: Tensor, qk: Tensor, top_k: int | None = None) -> Tensor:
        c, n = mk.shape[-2:]
        if score == "cosine":
            mk, qk = (v / v.norm(dim=-2, keepdim=True) for v in (mk, qk))
        gap = mk[..., :, None] - qk[..., None, :]  # ...,C,N,M
        d = gap.abs().sum(-3) if score == "l1" else gap.square().sum(-3)
        dot = mk.transpose(-1, -2) @ qk
        d = {"root": d.sqrt(), "dot": -2 * dot, "half": mk.square().sum(-2)[..., None] - dot,
             "plus": -2 * dot - mk.square().sum(-2)[..., None], "mean": d / c}.get(score, d)
        s = sign * d / {"sqrt C": math.sqrt(c), "C": c, "none": 1, "sqrt N": math.sqrt(n)}[scale]
        k = n if top_k is None else min(top_k + more, n)
        if top in ("right", "far"):
            where = s.topk(k, -2, largest=top == "right").indices
            s = s.masked_fill(~torch.zeros_like(s).bool().scatter(-2, where, True), -math.inf)
        if top == "zero":
            s = torch.where(s >= s.topk(k, -2).values[..., -1:, :], s, 0)
        if top == "questions" and top_k is not None:
            where = s.topk(min(top_k, s.shape[-1]), -1).indices
            s = s.masked_fill(~torch.zeros_like(s).bool().scatter(-1, where, True), -math.inf)
        if squash == "exp":
            out = s.exp() / s.exp().sum(-2, keepdim=True)
        else:
            out = torch.softmax(s, over) if squash == "softmax" else s
        if top == "after":
            out = torch.where(out >= out.topk(k, -2).values[..., -1:, :], out, 0)
        if top == "mean":
            out = torch.where(out >= out.topk(k, -2).values[..., -1:, :], 1 / k, 0) if top_k is not None else out
        return out.transpose(-1, -2) if turn else out

    return wrong


def moved(rng: np.random.Generator, by: float, **sizes: Any) -> Call:
    """Keys far from the origin, all in the same direction: distances are what they were."""
    mk, qk = keys(rng, loud=0.8, **sizes)
    return mk + by, qk + by


def long_key(rng: np.random.Generator, times: float = 6.0, n: int = 6, m: int = 4, c: int = 4) -> Call:
    """One key is several times as long as the others."""
    mk, qk = keys(rng, n, m, c, loud=0.8)
    mk[:, int(rng.integers(n))] *= times
    return mk, qk


def far(rng: np.random.Generator, by: float, n: int = 6, m: int = 4, c: int = 4) -> Call:
    """Questions far from all of memory, and not equally far from its places."""
    mk, qk = keys(rng, n, m, c, loud=0.05)
    return mk, qk + by


L2 = "wrong: the softmax over MEMORY of -|m - q|^2 / sqrt(C), for each question by itself"
FEW = "wrong with top_k: only the top_k nearest count, and what they count sums to 1"
L2_AFFINITY = Exercise(
    "lab5a.l2_affinity",
    cases=(
        affinity_case("l2", "six keys, four questions", L2, lambda rng: [keys(rng, loud=0.8)]),
        affinity_case("l2", "as many questions as keys", "wrong where no shape can tell: each COLUMN, one question, "
                      "sums to 1", lambda rng: [keys(rng, 5, 5, loud=0.8)]),
        affinity_case("l2", "a key of large norm", "a long key is far from most questions, and counts for little: "
                      "|m|^2 belongs to the distance", lambda rng: [long_key(rng)]),
        affinity_case("l2", "all keys moved alike", "distances do not change when all keys are moved by the same: "
                      "neither may the weights", lambda rng: [moved(rng, 8.0)], atol=1e-3),
        affinity_case("l2", "the two nearest", FEW, lambda rng: [(*keys(rng, loud=0.8), 2)]),
        affinity_case("l2", "more than memory holds", "top_k beyond N means all N",
                      lambda rng: [(*keys(rng, 5, 3, loud=0.8), 50)]),
        affinity_case("l2", "far from everything", "where all distances are large every exp is 0: take the largest "
                      "score away first, or let torch.softmax do it", lambda rng: [far(rng, 12.0)], atol=2e-3),
        affinity_case("l2", "the gradient, of the two nearest", FEW, lambda rng: [(*keys(rng, 4, 2, loud=0.7), 2)],
                      slopes=True),
    ),
    hints=(
        "First the squared distance of every key to every question, N,M. It is negated, so that near is high. What "
        "top_k leaves out must weigh nothing, and the rest must still sum to 1.",
        "|m - q|^2 = |m|^2 - 2 m.q + |q|^2, and the last term is the same for all of memory: the softmax does not see "
        "it. For top_k: best, where = score.topk(min(top_k, N), dim=-2), a softmax of best, and scatter it into zeros.",
        "score = (2 * mk.transpose(-1, -2) @ qk - mk.square().sum(-2)[..., None]) / mk.shape[-2] ** 0.5; with top_k: "
        "torch.zeros_like(score).scatter(-2, where, torch.softmax(best, dim=-2))",
    ),
    library="vos_teach.ops.affinity:l2_affinity",
    relatives=("vos_teach.transformers.memory:strongest",),
    suspects=(
        (_l2(over=-1), "the softmax runs over the questions: each question's weights, a column, are to sum to 1"),
        (_l2(turn=True), "N and M are exchanged: rows are memory, columns are questions"),
        (_l2(sign=1), "the farthest get most: the distance is NEGATED"),
        (_l2(score="root"), "the distance is not squared"),
        (_l2(score="l1"), "that is the sum of |m - q|: L2 is asked for, the sum of squares"),
        (_l2(score="dot"), "|m|^2 is missing: without it this is the dot product, and long keys steal everything"),
        (_l2(score="half"), "2 m.q: the 2 is missing"),
        (_l2(score="plus"), "|m|^2 is added to the score: it is taken away, a long key is FAR"),
        (_l2(score="cosine"), "keys are normalised: the distance is that of the keys as they are"),
        (_l2(score="mean"), "a mean over channels: the squares are summed, then divided by sqrt(C)"),
        (_l2(scale="none"), "the scale is missing: / sqrt(C)"),
        (_l2(scale="C"), "divided by C: it is its square root"),
        (_l2(scale="sqrt N"), "divided by the square root of N: C, the channels, is meant"),
        (_l2(squash="none"), "these are scores: a softmax over memory makes weights of them"),
        (_l2(top="none"), "top_k is not used: only the top_k nearest may count"),
        (_l2(top="after"), "what is left after top_k does not sum to 1: the softmax is of the top_k scores alone"),
        (_l2(top="mean"), "the top_k count alike: nearer ones count for more"),
        (_l2(top="far"), "the top_k FARTHEST are kept"),
        (_l2(top="zero"), "what is left out has a score of 0, and that is a high one here: it must weigh nothing"),
        (_l2(top="questions"), "top_k runs over the questions: each question keeps its own top_k places of memory"),
        (_l2(more=1), "one too many is kept: top_k of them"),
        (_l2(squash="exp"), "exp of a large negative score is 0, and 0 / 0 follows: take each column's largest away "
                            "first, as softmax does"),
    ),
)
