"""Lab 5b: how attention along rows, columns and time lines is judged, and the count of layers to full reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, Said, brief, differs, equals
from vos_teach.lab.exercises.lab5b_beside import watched_collect, watched_prepare

# ---- grid_attention ---------------------------------------------------------------------------------------------


def grid_oracle(q: Tensor, k: Tensor, v: Tensor) -> np.ndarray:
    """Place by place: the set of places that it sees, a weight for each, the mean of their values."""
    return _grid_by_hand(q.detach(), k.detach(), v.detach()).numpy()


def along(number: int) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The result, and the slope of its sum along argument `number`."""
    def oracle(*call: Tensor) -> tuple[np.ndarray, np.ndarray]:
        given = [a.detach().double().requires_grad_(i == number) for i, a in enumerate(call)]
        out = _grid_by_hand(*given)
        (slope,) = torch.autograd.grad(out.sum(), given[number])
        return out.detach().numpy(), slope.numpy()

    return oracle


def _grid_by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.double() for x in (q, k, v))
    size = q.shape[1:]
    rows = []
    for t, y, x in np.ndindex(*size):
        seen = {(t, y, i) for i in range(size[2])} | {(t, i, x) for i in range(size[1])}
        seen |= {(i, y, x) for i in range(size[0])}
        at = list(zip(*sorted(seen), strict=True))
        score = (q[:, t, y, x, None] * k[:, at[0], at[1], at[2]]).sum(0)  # one for each place seen
        weight = torch.exp(score - score.max())
        rows.append((v[:, at[0], at[1], at[2]] * (weight / weight.sum())).sum(1))
    return torch.stack(rows, 1).view(len(v), *size)


def block(rng: np.random.Generator, t: int = 3, h: int = 4, w: int = 5, c: int = 4, cv: int = 3, loud: float = 1.0
          ) -> Call:
    """Queries and keys c,t,h,w, values cv,t,h,w. loud: how far scores are from each other."""
    return tuple(torch.tensor(rng.normal(size=(n, t, h, w)) * s, dtype=torch.float32)
                 for n, s in ((c, loud), (c, 1.0), (cv, 1.0)))


def grid_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], grad: int | None = None
              ) -> Case:
    """A case of `grid_attention`; grad: the slope along this argument, too."""
    oracle = grid_oracle if grad is None else along(grad)
    return Case(name, calls, equals(oracle, hint, 1e-4, 1e-4), grad=grad)


def cost_case(name: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case that looks at what is held: nowhere a number for each PAIR of places."""
    same = equals(grid_oracle, "the values are wrong in a block with more places", 1e-4, 1e-4)

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, result in zip(calls, results, strict=True):
            if not isinstance(result, (list, tuple)):
                return Said("return a tensor like v", f"not {result}")
            n = call[0][0].numel()
            if result[1] >= n * n // 2:
                return Said("too dear: a tensor holds a number for each PAIR of places. A mask saves nothing, what it "
                            "hides has been computed: make the scores of the lines alone", f"{result[1]} numbers")
        return same(calls, [r[0] for r in results])

    return Case(name, calls, judge, prepare=watched_prepare, collect=watched_collect)


def _grid(parts: str = "whtu", self_in: str = "row", scale: bool = False, each: bool = False, same: bool = False,
          back: bool = False) -> Callable[..., Tensor]:
    """Attention under a mask with one thing wrong. parts: the lines, w row, h column, t time line; self_in: where self
    counts: row (once), all (three times), none; each: a softmax for each line; back: queries and keys exchanged."""

    def wrong(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        size = q.shape[1:]
        q, k = (k, q) if back else (q, k)
        at = torch.cartesian_prod(*(torch.arange(n) for n in size)).view(-1, 3)
        equal = at[:, None] == at[None]  # N,N,3
        lines = {"t": equal[..., 1] & equal[..., 2], "h": equal[..., 0] & equal[..., 2],
                 "w": equal[..., 0] & equal[..., 1], "f": equal[..., 0],
                 "d": torch.ones_like(equal[..., 0])}
        score = q.flatten(1).T @ k.flatten(1) / (len(q) ** 0.5 if scale else 1)
        used = [lines[p] for p in parts if p in lines]
        if each:
            p = torch.stack([score.masked_fill(~m, -torch.inf).softmax(1) for m in used]).mean(0)
        else:
            count = torch.stack(used).sum(0).float()  # how often each place counts
            if self_in == "row":
                count = count.clamp(max=1)
            elif self_in == "none":
                count = count.clamp(max=1) * ~torch.eye(len(count), dtype=torch.bool)
            p = torch.exp(score - score.amax(1, keepdim=True)) * count
            p = p / p.sum(0 if same else 1, keepdim=True)
        return (v.flatten(1) @ p.T).view(v.shape)

    return wrong


GRID_ATTENTION = Exercise(
    "lab5b.grid_attention",
    cases=(
        grid_case("three frames", "each place sees its row, its column and its time line, one softmax over all of "
                  "them, self once", lambda rng: [block(rng)]),
        grid_case("one frame", "wrong for a single frame: its time line is itself, which counts once, in the row",
                  lambda rng: [block(rng, 1, 3, 4)]),
        grid_case("loud queries", "wrong where scores lie far apart: one softmax over row, column and time line "
                  "together, unscaled", lambda rng: [block(rng, 2, 3, 3, loud=8.0)]),
        cost_case("what it costs", lambda rng: [block(rng, 3, 8, 9, 2, 2)]),
        grid_case("the gradient along q", "the gradient is wrong", lambda rng: [block(rng, 2, 2, 3)], grad=0),
    ),
    hints=(
        "Three tables of scores: T,H,W,W along rows, T,H,W,H along columns, T,H,W,T along time. Each is one einsum: "
        "which letter stays, which one is doubled?",
        "rows = torch.einsum('cthw,cthx->thwx', q, k), and so on. Put them side by side, [rows, columns, times], for "
        "ONE softmax. Where is self in each of them? Set it to -inf in two of the three.",
        "columns.masked_fill(torch.eye(h, dtype=bool)[None, :, None], -torch.inf), times.masked_fill(torch.eye(t, "
        "dtype=bool)[:, None, None], -torch.inf); softmax(-1) of the cat, split([w, h, t], -1), and three einsums with "
        "v, added.",
    ),
    library="vos_teach.ops.attention:grid_attention",
    relatives=("vos_teach.ops.sparse:dense_attention", "vos_teach.ops.sparse:grid_mask",
               "vos_teach.ops.sparse:local_attention", "vos_teach.ops.sparse:strided_attention"),
    suspects=(
        (_grid(self_in="all"), "self counts three times: it lies in the row, in the column and in the time line; keep "
                               "one of them"),
        (_grid(self_in="none"), "self is left out: it counts once"),
        (_grid(scale=True), "scores are divided by sqrt(C): here they are q.k as it is"),
        (_grid(each=True), "a softmax for each line, and their mean: it is ONE softmax over all three"),
        (_grid("wh"), "the time line is missing: nothing comes from other frames"),
        (_grid("t"), "the time line alone: row and column belong to it"),
        (_grid("wt"), "the column is missing"),
        (_grid("ht"), "the row is missing"),
        (_grid("ft"), "the whole frame is seen: only its own row and column are"),
        (_grid("d"), "that is dense attention: every place sees all of them"),
        (_grid(same=True), "the softmax runs over the queries: each QUERY's weights sum to 1"),
        (_grid(back=True), "q and k have changed places: the place that looks has the query"),
    ),
)

# ---- hops -------------------------------------------------------------------------------------------------------


def hops_oracle(masks: Sequence[Tensor]) -> int | None:
    """Sets of what each place has heard of, layer by layer."""
    n = len(masks[0])
    heard = [{place} for place in range(n)]
    for layer in range(len(masks) * n + 1):
        if all(len(one) == n for one in heard):
            return layer
        sees = masks[layer % len(masks)].numpy()
        heard = [set().union(*(heard[m] for m in np.flatnonzero(sees[place]))) for place in range(n)]
    return None


def _judge_hops(hint: str) -> Callable[[Sequence[Call], Sequence[Any]], str | None]:
    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, result in zip(calls, results, strict=True):
            want = hops_oracle(*call)
            if want is None and result is not None:
                return Said("some places never hear of each other: then return None", f"not {brief(result)}")
            if want is not None and result is None:
                return Said(hint, f"None instead of {want}")
            if want is not None and (said := differs(result, want, what="the number of layers")):
                return Said(hint, said)
        return None

    return judge


def lines(n: int, reach: int = 1) -> Tensor:
    """n places in a row; each sees those at most `reach` away: n,n."""
    at = torch.arange(n)
    return (at[:, None] - at).abs() <= reach


def grid(t: int, h: int, w: int, parts: str = "thw") -> Tensor:
    """Own row (w), column (h) and time line (t) of a block: N,N."""
    at = torch.cartesian_prod(torch.arange(t), torch.arange(h), torch.arange(w)).view(-1, 3)
    other = (at[:, None] != at).sum(-1)
    axis = torch.stack([(at[:, None, i] != at[None, :, i]) for i in range(3)], -1)
    allowed = torch.tensor([p in parts for p in "thw"])
    return (other == 0) | ((other == 1) & (axis & allowed).any(-1))


def one_way(rng: np.random.Generator, n: int = 6) -> list[Tensor]:
    """Two patterns that are not symmetric, for layers in turns: what they come to depends on who hears whom first."""
    while True:
        masks = [torch.tensor(rng.random((n, n)) < 0.22) | torch.eye(n, dtype=torch.bool) for _ in range(2)]
        right, turned = hops_oracle(masks), hops_oracle([m.T for m in masks])
        if right is not None and turned is not None and right != turned and right > 2:
            return masks


def star(n: int) -> Tensor:
    """All see place 0 and themselves; place 0 sees all: n,n."""
    mask = torch.eye(n, dtype=torch.bool)
    mask[0], mask[:, 0] = True, True
    return mask


def hops_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `hops`."""
    return Case(name, calls, _judge_hops(hint), seeds=2)


def _hops(how: str) -> Callable[..., int | None]:
    """A count with one thing wrong."""

    def wrong(masks: Sequence[Tensor]) -> int | None:
        n = len(masks[0])
        heard = torch.eye(n, dtype=torch.bool)
        if how == "first":
            masks = masks[:1]
        if how == "together":
            masks = [torch.stack(list(masks)).any(0)]
        layer = 0
        for layer in range(len(masks) * n + 1):
            done = {"one": heard[0].all(), "any": heard.any(0).all() and layer > 0, "row": heard.all(1).any()}
            if done.get(how, heard.all()):
                return {"late": layer + 1, "early": layer - 1, "rounds": -(-layer // len(masks))}.get(how, layer)
            now = masks[layer % len(masks)].float()
            heard = (heard.float() @ now if how == "turned" else now @ heard.float()) > 0
        return {"never": layer, "zero": 0, "minus": -1}.get(how)

    return wrong


HOPS = Exercise(
    "lab5b.hops",
    cases=(
        hops_case("rows, columns and time lines", "the number of layers is wrong: a place hears what those that it "
                  "sees had heard one layer before", lambda rng: [([grid(2, 3, 4)],), ([lines(5)],)]),
        hops_case("one line is missing", "frames that do not see each other never hear of each other: return None",
                  lambda rng: [([grid(2, 3, 4, "hw")],)]),
        hops_case("a row of places", "the number of layers is wrong: one layer, one step further",
                  lambda rng: [([lines(7)],), ([lines(7, 2)],)]),
        hops_case("one sees all, all see one", "the number of layers is wrong",
                  lambda rng: [([star(6)],), ([lines(4)],)]),
        hops_case("two patterns in turns", "wrong for layers that take several patterns in turns: layer i has pattern "
                  "i modulo their number", lambda rng: [
                      ([lines(9), lines(9, 3)],), ([lines(7), star(7)],), ([star(7), lines(7)],)]),
        hops_case("who hears whom", "wrong where seeing is not mutual: place n hears what ITS places m (mask[n, m]) "
                  "had heard", lambda rng: [*((one_way(rng),) for _ in range(3)), ([lines(4)],)]),
    ),
    hints=(
        "Write down who has heard of whom as a matrix, N,N. Before any layer, each has heard of itself alone. What "
        "does one layer do to that matrix?",
        "heard = mask @ heard, as numbers, and then > 0: place n gets all that its places m had. Count layers until "
        "heard.all(); the layers take the masks in turns.",
        "heard = torch.eye(n) > 0; for layer in range(len(masks) * n + 1): if heard.all(): return layer; heard = "
        "(masks[layer % len(masks)].float() @ heard.float()) > 0; and after the loop: return None",
    ),
    library="vos_teach.ops.sparse:hops",
    relatives=("vos_teach.ops.sparse:reach_of", "vos_teach.ops.sparse:_heard"),
    suspects=(
        (_hops("late"), "one too many: before any layer each place has heard of itself, that is layer 0"),
        (_hops("early"), "one too few: count the layers that were applied"),
        (_hops("one"), "only the first place is asked: ALL of them must have heard of all"),
        (_hops("row"), "it stops as soon as ONE place has heard of all: all of them must"),
        (_hops("first"), "only the first pattern is used: layers take them in turns"),
        (_hops("together"), "all patterns act in every layer: they take turns, one a layer"),
        (_hops("rounds"), "whole rounds are counted: count single layers"),
        (_hops("turned"), "the product is the wrong way round: heard = mask @ heard, place n hears from ITS places m"),
    ),
)
