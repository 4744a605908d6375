"""Lab 5b: how identities for many objects are judged, and the match of queries with the instances of a whole clip."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, Said, brief, differs, equals, plain
from vos_teach.lab.exercises.lab5b_beside import match_prepare

# ---- assign_identities ------------------------------------------------------------------------------------------


def identities_oracle(masks: Tensor, bank: Tensor) -> np.ndarray:
    """Pixel by pixel: the vectors of all that lies there, each as much as it lies there."""
    m, b = masks.detach().double().numpy(), bank.detach().double().numpy()
    out = np.zeros((b.shape[1], *m.shape[1:]))
    for y, x in np.ndindex(*m.shape[1:]):
        for k in range(len(m)):
            out[:, y, x] += m[k, y, x] * b[k]
    return out


def along_bank_oracle(masks: Tensor, bank: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The result, and the slope of its sum along the bank: each row counts as often as its object is there."""
    m, slope = masks.double().numpy(), np.zeros(bank.shape)
    for k in range(len(m)):
        slope[k] = m[k].sum()
    return identities_oracle(masks, bank), slope


def along_masks_oracle(masks: Tensor, bank: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The result, and the slope of its sum along the masks: the sum of the row's numbers, everywhere."""
    b, slope = bank.double().numpy(), np.zeros(masks.shape)
    for k in range(len(slope)):
        slope[k] = b[k].sum()
    return identities_oracle(masks, bank), slope


def objects(rng: np.random.Generator, count: int = 3, rows: int = 6, h: int = 5, w: int = 7, c: int = 4,
            soft: bool = False, kind: type = float, absent: int | None = None) -> Call:
    """Masks of so many objects and the background, and a bank. soft: masks that share pixels; absent: a label without
    a pixel; kind bool: the masks' type."""
    if soft:
        masks = rng.dirichlet(np.ones(count + 1), (h, w)).transpose(2, 0, 1)
    else:
        labels = rng.permutation(np.arange(h * w) % (count + 1)).reshape(h, w)
        masks = (labels == np.arange(count + 1)[:, None, None]).astype(float)
    if absent is not None:
        masks[0] += masks[absent]
        masks[absent] = 0
    bank = torch.tensor(rng.normal(size=(rows, c)), dtype=torch.float32)
    m = torch.tensor(masks, dtype=torch.float32)
    return m.bool() if kind is bool else m, bank


def identities_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]],
                    grad: int | None = None) -> Case:
    """A case of `assign_identities`; grad: the slope along this argument, too."""
    oracle = {None: identities_oracle, 0: along_masks_oracle, 1: along_bank_oracle}[grad]
    return Case(name, calls, equals(oracle, hint, 1e-4), grad=grad)


def _identify(how: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A map of identities with one thing wrong."""

    def wrong(masks: Tensor, bank: Tensor) -> Tensor:
        m, k = masks.to(bank), len(masks)
        rows = bank[:k]
        if how == "no background":
            m, rows = m[1:], bank[1:k]
        elif how == "objects from row 0":
            m, rows = m[1:], bank[: k - 1]
        elif how == "late rows":
            rows = bank[-k:]
        elif how == "shifted":
            rows = bank.roll(-1, 0)[:k]
        elif how == "reversed":
            rows = rows.flip(0)
        elif how == "background last":
            rows = rows.roll(-1, 0)
        elif how == "hard":
            return rows[m.argmax(0)].movedim(-1, 0)
        elif how == "thresholded":
            m = (m > 0.5).to(bank)
        elif how == "unit":
            rows = rows / rows.norm(dim=1, keepdim=True)
        out = torch.einsum("khw,kc->chw", m, rows)
        if how == "summed":
            return out.sum((1, 2))
        if how == "per object":
            return torch.einsum("khw,kc->kc", m, rows)
        if how == "spread":
            return torch.einsum("khw,kc->c", m, rows)[:, None, None].expand_as(out)
        if how == "mean":
            return out / k
        if how == "area":
            return torch.einsum("khw,kc->chw", m / m.sum((1, 2), keepdim=True).clamp(min=1), rows)
        if how == "last":
            return out.movedim(0, -1)
        return out

    return wrong


ASSIGN_IDENTITIES = Exercise(
    "lab5b.assign_identities",
    cases=(
        identities_case("three objects, six rows", "each pixel gets the row of the object that it belongs to, the "
                        "background has row 0", lambda rng: [objects(rng)]),
        identities_case("true or false", "masks may be boolean", lambda rng: [objects(rng, 2, 4, kind=bool)]),
        identities_case("soft masks", "where masks share a pixel, so do their vectors: sum of mask times row",
                        lambda rng: [objects(rng, soft=True)]),
        identities_case("as many objects as the bank holds", "every row may be in use", lambda rng: [objects(rng, 4, 5)]
                        ),
        identities_case("the gradient along the bank", "the gradient is wrong: the bank is learnt",
                        lambda rng: [objects(rng, 2, 4)], grad=1),
    ),
    hints=(
        "One pixel first: it holds K+1 numbers, one of which is 1. Which vector belongs there? And where two of them "
        "are 1/2?",
        "A sum over the K+1 labels of mask times row: torch.einsum over k, with pixels h, w and channels c left over. "
        "Only the first K+1 rows of the bank take part.",
        "return torch.einsum('khw,kc->chw', masks.to(bank.dtype), bank[:len(masks)])",
    ),
    library="vos_teach.ops.identify:assign_identities",
    suspects=(
        (_identify("no background"), "the background gets nothing: it has a vector of its own, row 0"),
        (_identify("objects from row 0"), "object 1 has got row 0: that one is the background's"),
        (_identify("late rows"), "the LAST rows are taken: background row 0, object k row k"),
        (_identify("shifted"), "rows are off by one: background row 0, object k row k"),
        (_identify("reversed"), "the rows come in reverse: background row 0, object k row k"),
        (_identify("background last"), "the background has got an object's row: its mask comes first, and so does its "
                                       "row"),
        (_identify("hard"), "each pixel has the row of its strongest mask: soft masks mix vectors"),
        (_identify("thresholded"), "masks are thresholded: soft masks mix vectors"),
        (_identify("unit"), "rows are scaled to length 1: take them as they are"),
        (_identify("summed"), "the vectors are summed over the pixels: it is a MAP, C,H,W"),
        (_identify("per object"), "one vector for each object: it is a MAP, C,H,W"),
        (_identify("spread"), "the sum over all pixels, everywhere: each pixel has a vector of its own"),
        (_identify("mean"), "divided by the number of labels: it is the sum over them"),
        (_identify("area"), "divided by the object's area: a small object counts no less than a large one, nor more"),
        (_identify("last"), "channels come last: C,H,W"),
    ),
)

# ---- match_sequences --------------------------------------------------------------------------------------------


def sequences_oracle(cost: Tensor, present: Tensor) -> list[tuple[int, int]]:
    """Try every way to give each instance that is ever there a query of its own; keep the cheapest."""
    price, there = cost.detach().double().numpy(), present.numpy()
    seen = [g for g in range(there.shape[1]) if there[:, g].any()]
    mean = {(q, g): np.mean([price[t, q, g] for t in range(len(price)) if there[t, g]])
            for q in range(price.shape[1]) for g in seen}
    ways = itertools.permutations(range(price.shape[1]), len(seen))
    best = min(ways, key=lambda way: sum(mean[q, g] for q, g in zip(way, seen, strict=True)))
    return [(q, g) for q, g in zip(best, seen, strict=True)]


def film(rng: np.random.Generator, t: int = 5, queries: int = 4, instances: int = 3, late: bool = False,
         never: bool = False, wild: bool = False) -> Call:
    """Costs of queries against instances. late: the first instance is seen in the last two frames alone; never: one
    instance is in no frame; wild: where an instance is not there, its cost is nothing to be relied on."""
    cost = rng.normal(1.0, 1.0, (t, queries, instances)) + rng.normal(0, 1.0, (queries, instances))
    present = np.ones((t, instances), bool)
    if late:
        present[:-2, 0] = False
    if never:
        present[:, int(rng.integers(instances - 1))] = False  # not the last one: what comes after it moves up
    if wild:
        cost = np.where(present[:, None], cost, np.inf)
    elif late:
        cost = np.where(present[:, None], cost, rng.normal(0, 6.0, cost.shape))
    return torch.tensor(cost, dtype=torch.float32), torch.tensor(present)


def told_apart(make: Callable[[np.random.Generator], Call], *others: str) -> Callable[[np.random.Generator], list]:
    """Three calls to which each of some mistakes gives another answer than the right one."""
    def calls(rng: np.random.Generator) -> list[Call]:
        found: list[Call] = []
        while len(found) < 3:
            call = make(rng)
            right = sequences_oracle(*call)
            if all(_answers(how, call) != right for how in others):
                found.append(call)
        return found

    return calls


def _answers(how: str, call: Call) -> Any:
    try:
        return _matched(how)(*call)
    except ValueError:
        return None


def _judge_pairs(hint: str) -> Callable[[Sequence[Call], Sequence[Any]], str | None]:
    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, result in zip(calls, results, strict=True):
            want = sequences_oracle(*call)
            if not isinstance(result, (list, tuple)):
                return Said("return a list of pairs (query, instance)", brief(result))
            if len(result) != len(want):
                return Said("a pair for each instance that is there in ANY frame, and for no other",
                            f"{len(result)} pairs instead of {len(want)}")
            if not all(plain(pair).shape == (2,) for pair in result):
                return Said("return a list of PAIRS (query, instance)", brief(result[0]))
            if [int(plain(p)[1]) for p in result] != [g for _, g in want]:
                return Said("pairs are (query, instance), ordered by the instance")
            if said := differs(list(result), want):
                return Said(hint, said)
        return None

    return judge


def sequences_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], network: bool = False
                   ) -> Case:
    """A case of `match_sequences`; network: the cost asks for a gradient."""
    return Case(name, calls, _judge_pairs(hint), prepare=match_prepare if network else None)


def _matched(how: str) -> Callable[..., Any]:
    """A match with one thing wrong."""

    def wrong(cost: Tensor, present: Tensor) -> Any:
        c, there = cost.detach().double(), present[:, None].double()  # T,Q,G and T,1,G
        seen = present.any(0).nonzero()[:, 0].tolist()
        total = torch.where(present[:, None], c, 0.0).sum(0)
        mean = total / there.sum(0).clamp(min=1)
        if how == "sum":
            mean = total
        elif how == "all frames":
            mean = c.mean(0)
        elif how == "least":
            mean = torch.where(present[:, None], c, torch.inf).amin(0)
        elif how == "first frame":
            mean = c[0]
        elif how == "first seen":
            mean = torch.stack([c[int(present[:, g].float().argmax()), :, g] for g in range(c.shape[2])], 1)
        elif how == "last frame":
            mean = c[-1]
        table = mean[:, seen].numpy() if how != "absent, too" else mean.numpy()
        if how == "own best":
            return [(int(table[:, i].argmin()), g) for i, g in enumerate(seen)]
        if how == "greedy":
            left, out = table.copy(), {}
            for _ in seen:
                q, column = divmod(int(left.argmin()), left.shape[1])
                out[seen[column]] = q
                left[q], left[:, column] = np.inf, np.inf
            return [(out[g], g) for g in seen]
        if how == "in turn":
            left, pairs = table.copy(), []
            for i, g in enumerate(seen):
                pairs.append((int(left[:, i].argmin()), g))
                left[pairs[-1][0]] = np.inf
            return pairs
        if how == "votes":
            ways = [linear_sum_assignment(c[t][:, seen].numpy())[0:2] for t in range(len(c))]
            count = np.zeros(table.shape)
            for queries, columns in ways:
                count[queries, columns] += 1
            table = -count
        queries, columns = linear_sum_assignment(table, maximize=how == "most")
        names = range(table.shape[1]) if how in ("absent, too", "numbered anew") else seen
        pairs = [(int(q), names[i]) for q, i in zip(queries, columns, strict=True)]
        if how == "by query":
            return pairs
        pairs.sort(key=lambda pair: pair[1])
        return [(g, q) for q, g in pairs] if how == "turned" else pairs

    return wrong


MATCH_SEQUENCES = Exercise(
    "lab5b.match_sequences",
    cases=(
        sequences_case("three instances, four queries", "one query for each instance, for the whole clip: the least "
                       "sum of the mean costs", told_apart(film, "own best", "first frame", "votes", "by query")),
        sequences_case("one comes late", "an instance's cost is the MEAN over the frames in which it is there",
                       told_apart(lambda rng: film(rng, 6, late=True), "sum", "all frames")),
        sequences_case("one never comes", "an instance that is in no frame gets no query; the others keep their "
                       "numbers", lambda rng: [film(rng, never=True)]),
        sequences_case("two want the same", "the SUM of all is to be least: not each one's own best, nor the cheapest "
                       "pair first", told_apart(lambda rng: film(rng, 4, 3, 2), "own best", "greedy", "in turn")),
        sequences_case("straight from the network", "a cost that asks for a gradient: .detach() before .numpy()",
                       lambda rng: [film(rng, 3, 3, 3)], network=True),
    ),
    hints=(
        "A clip has ONE table, queries by instances. How do T tables become one, if an instance is in a few frames?",
        "For instance g: cost[present[:, g], :, g].mean(0), Q numbers. Instances that are never present have no column "
        "at all. Then linear_sum_assignment finds the least sum.",
        "seen = [g for g in range(G) if present[:, g].any()]; table = torch.stack([cost[present[:, g], :, g].mean(0) "
        "for g in seen], 1); queries, columns = linear_sum_assignment(table); pairs (queries[i], seen[columns[i]]), "
        "sorted by the second.",
    ),
    library="vos_teach.ops.assign:match_sequences",
    relatives=("vos_teach.ops.assign:match_instances",),
    suspects=(
        (_matched("own best"), "each instance takes its own cheapest query, and two may take the same: the sum of all "
                               "is to be least"),
        (_matched("greedy"), "greedy: the cheapest pair first. The SUM of all is to be least"),
        (_matched("in turn"), "greedy: one instance after the other. The SUM of all is to be least"),
        (_matched("sum"), "a SUM over the frames, or divided by ALL of them: whoever is seen rarely would cost little. "
                          "It is the mean over those in which the instance is there"),
        (_matched("all frames"), "frames without the instance count: the mean is over those in which it is there"),
        (_matched("least"), "its best frame alone: it is the mean over its frames"),
        (_matched("first frame"), "the first frame alone, as in RVOS: here all frames of the clip have their say"),
        (_matched("first seen"), "its first frame alone: all of its frames have their say"),
        (_matched("last frame"), "the last frame alone: all frames of the clip have their say"),
        (_matched("votes"), "a match for each frame, and then a vote: one table for the clip, of mean costs"),
        (_matched("most"), "the sum is the GREATEST: these are costs"),
        (_matched("turned"), "the pairs are (instance, query): return (query, instance)"),
        (_matched("by query"), "the pairs are ordered by the query: order them by the instance"),
        (_matched("absent, too"), "an instance that is in no frame has got a query: it gets none"),
        (_matched("numbered anew"), "instances are counted anew after one was left out: each keeps its number"),
    ),
)
