"""Lab 4: how soft IoU and the assignment of slots to objects are judged."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, Said, brief, equals, plain
from vos_teach.lab.exercises.lab4_beside import match_prepare

# ---- soft_iou -------------------------------------------------------------------------------------------------


def overlap(p: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """Of two masks H,W: what they share and what they cover together, pixel by pixel."""
    both = either = 0.0
    for y, x in np.ndindex(p.shape):
        both += p[y, x] * t[y, x]
        either += p[y, x] + t[y, x] - p[y, x] * t[y, x]
    return both, either


def iou_oracle(pred: Tensor, target: Tensor) -> np.ndarray:
    """Mask by mask; two empty ones agree."""
    return along_pred_oracle(pred, target)[0]


def along_pred_oracle(pred: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The values, and the slope of their sum along pred: by the rule for quotients; 0 where both are empty."""
    p, t = np.broadcast_arrays(pred.detach().double().numpy(), target.double().numpy())
    value, slope = np.zeros(p.shape[:-2]), np.zeros(p.shape)
    for n in np.ndindex(value.shape):
        both, either = overlap(p[n], t[n])
        value[n] = both / either if either > 0 else 1.0
        if either > 0:
            slope[n] = (t[n] * either - both * (1 - t[n])) / either**2
    return value, slope


def masks(rng: np.random.Generator, lead: Sequence[int] = (3,), h: int = 6, w: int = 8, soft: bool = False,
          empty: str = "", kind: type = float) -> Call:
    """Predictions and targets ...,H,W. soft: targets that are not 0 and 1 either; empty: of the first mask, "p", "t" or
    both are 0; kind bool: the targets' type."""
    pred = rng.uniform(0, 1, (*lead, h, w)) ** 2
    target = rng.uniform(0, 1, (*lead, h, w))
    target = target if soft else (target > rng.uniform(0.4, 0.8, (*lead, 1, 1))).astype(float)
    at = (0,) * len(lead)
    if "p" in empty:
        pred[at] = 0
    if "t" in empty:
        target[at] = 0
    t = torch.tensor(target, dtype=torch.float32)
    return torch.tensor(pred, dtype=torch.float32), t.bool() if kind is bool else t


def iou_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], grad: bool = False) -> Case:
    """A case of `soft_iou`; grad: the slope along pred, too."""
    if grad:
        return Case(name, calls, equals(along_pred_oracle, hint, 1e-4, 1e-3), grad=0)
    return Case(name, calls, equals(iou_oracle, hint, 1e-5))


def _iou(how: str = "") -> Callable[..., Tensor]:
    """A measure with one thing wrong."""

    def wrong(pred: Tensor, target: Tensor) -> Tensor:
        t = target.to(pred)
        p = (pred > 0.5).to(pred) if how == "hard" else pred
        axes = (-2, -1)
        both, total = (p * t).sum(axes), (p + t).sum(axes)
        either = total - both
        if how == "sum":
            return both / total
        if how == "dice":
            return 2 * both / total
        if how == "all":
            return both.sum() / either.sum()
        if how == "mean":
            return (both / either).mean()
        if how == "pixels":
            return (p * t / (p + t - p * t).clamp(min=1e-12)).mean(axes)
        if how == "minmax":
            most = torch.maximum(p, t).sum(axes)
            return torch.where(most == 0, 1.0, torch.minimum(p, t).sum(axes) / torch.where(most == 0, 1.0, most))
        if how == "loss":
            return 1 - torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
        if how == "zero":
            return both / either.clamp(min=1e-6)
        if how == "eps":
            return both / (either + 1e-6)
        if how == "one":
            return (both + 1) / (either + 1)
        if how == "both eps":
            return (both + 1e-7) / (either + 1e-7)
        if how == "where":
            return torch.where(either == 0, 1.0, both / either)
        return both / either

    return wrong


SOFT_IOU = Exercise(
    "lab4.soft_iou",
    cases=(
        iou_case("three masks", "sum(p t) / sum(p + t - p t), for each mask by itself", lambda rng: [masks(rng)]),
        iou_case("one mask, true or false", "H,W alone gives one number, and the target may be boolean",
                 lambda rng: [masks(rng, (), 5, 7, kind=bool)]),
        iou_case("targets that are soft, too", "sum(p t) / sum(p + t - p t), also where t is between 0 and 1",
                 lambda rng: [masks(rng, soft=True)]),
        iou_case("an empty pair among others", "two empty masks agree: exactly 1",
                 lambda rng: [masks(rng, empty="pt")]),
        iou_case("the gradient", "the slope along pred is wrong: no thresholds, all in torch", lambda rng: [masks(rng)],
                 grad=True),
        iou_case("the gradient where both are empty", "where both are empty the slope is 0, neither NaN nor huge",
                 lambda rng: [masks(rng, empty="pt")], grad=True),
    ),
    hints=(
        "Intersection and union of sets, with a product in place of AND. What is in place of OR, so that nothing is "
        "counted twice?",
        "Both sums run over the last two axes alone: .sum((-2, -1)). Then look for unions of 0, and replace them "
        "BEFORE you divide: a NaN in the branch that is not taken still spoils the gradient.",
        "empty = either == 0; return torch.where(empty, 1.0, both / torch.where(empty, 1.0, either))",
    ),
    library="vos_teach.ops.losses:soft_iou",
    relatives=("vos_teach.ops.losses:mask_loss",),
    suspects=(
        (_iou(), "two empty masks are 0 / 0: they agree, so 1"),
        (_iou("sum"), "the union counts what both share twice: subtract p t once"),
        (_iou("dice"), "that is the Dice coefficient, 2 sum(p t) / sum(p + t): IoU is asked for"),
        (_iou("all"), "all masks are put in one sum: each has a value of its own, sums run over the last two axes"),
        (_iou("mean"), "the mean of all masks: each has a value of its own"),
        (_iou("pixels"), "a ratio for each pixel, then their mean: first the sums, then one ratio"),
        (_iou("minmax"), "minimum and maximum: here AND is p t, and OR is p + t - p t"),
        (_iou("loss"), "that is 1 - IoU, the loss: return the IoU itself"),
        (_iou("hard"), "the prediction is thresholded: it is soft, and must stay so"),
        (_iou("zero"), "two empty masks give 0: they agree, so 1"),
        (_iou("eps"), "two empty masks give 0: they agree, so 1"),
        (_iou("one"), "the 1 added above and below changes every value: treat two empty masks by themselves"),
        (_iou("both eps"), "with an epsilon above and below the slope of two empty masks is 1 / epsilon: choose with "
                           "torch.where instead"),
        (_iou("where"), "the branch that is not taken divides 0 by 0, and its gradient is NaN: replace the union "
                        "BEFORE dividing"),
    ),
)

# ---- match_instances ------------------------------------------------------------------------------------------


def match_oracle(pred: Tensor, target: Tensor) -> np.ndarray:
    """Try every way to give each target a slot of its own; keep the one with the greatest sum of soft IoU."""
    p, t = pred.detach().double().numpy(), target.double().numpy()

    def iou(slot: int, k: int) -> float:
        both, either = overlap(p[slot], t[k])
        return both / either if either > 0 else 1.0

    table = [[iou(slot, k) for slot in range(len(p))] for k in range(len(t))]
    ways = itertools.permutations(range(len(p)), len(t))
    return np.array(max(ways, key=lambda way: sum(table[k][slot] for k, slot in enumerate(way))), np.int64)


def crowd(rng: np.random.Generator, slots: int = 4, objects: int = 3, h: int = 6, w: int = 12) -> Call:
    """Objects side by side; each has one slot that mostly covers it, the other slots are noise. All in some order."""
    target = np.zeros((objects, h, w))
    for k in range(objects):
        target[k, :, k * w // objects : (k + 1) * w // objects] = 1
    pred = rng.uniform(0, 0.3, (slots, h, w))
    for k, slot in enumerate(_mixed(rng, slots)[:objects]):
        pred[slot] = np.clip(target[k] * rng.uniform(0.5, 0.9) + rng.uniform(0, 0.25, (h, w)), 0, 1)
    return _soft(pred, target)


def _mixed(rng: np.random.Generator, n: int) -> list[int]:
    """Numbers 0..n-1 in an order that is neither as it was, nor its own inverse, where n allows it."""
    while True:
        order = rng.permutation(n)
        if n < 3 or ((order != np.arange(n)).all() and (order[order] != np.arange(n)).any()):
            return order.tolist()


def rivals(rng: np.random.Generator, w: int = 40, turn: bool = False) -> Call:
    """Slot 0 is what both objects like best; who takes it greedily leaves nothing for the other. turn: of the two that
    ask, the other one comes first."""
    n = w // 2
    target, pred = np.zeros((2, 2, w)), np.zeros((2, 2, w))
    target[0, :, :n], target[1, :, n:] = 1, 1
    pred[0, :, :n], pred[0, :, n : n + (9 * n) // 10] = 1, 1  # 0.53 of object 0, 0.45 of object 1
    pred[1, :, : (2 * n) // 5] = 1  # 0.4 of object 0, nothing of object 1
    pred = pred * rng.uniform(0.97, 1.0, pred.shape)
    order = [1, 0] if turn else [0, 1]
    return _soft(pred, target[order])


def _soft(pred: np.ndarray, target: np.ndarray) -> Call:
    return torch.tensor(pred, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)


def gone(rng: np.random.Generator, h: int = 5, w: int = 12, slots: int = 4) -> list[Call]:
    """One of three objects cannot be seen, one slot is empty: these two agree, and belong together. Twice, the slots
    once in reverse: whoever takes any slot for what is not seen cannot be lucky both times."""
    pred, target = crowd(rng, slots, 3, h, w)
    taken = set(match_oracle(pred, target).tolist())
    (free, *_) = [s for s in range(slots) if s not in taken]
    lost = int(rng.integers(3))
    pred[free], target[lost] = 0, 0
    return [(pred, target), (pred.flip(0), target)]


def greedy_slot(rng: np.random.Generator, h: int = 5, w: int = 12, objects: int = 3) -> Call:
    """One slot says yes everywhere: it overlaps with all, and is right about none."""
    target = np.zeros((objects, h, w))
    for k in range(objects):
        target[k, :, k * w // objects : (k + 1) * w // objects] = 1
    pred = np.concatenate([target * rng.uniform(0.65, 0.85, (objects, 1, 1)), np.ones((1, h, w))])
    return _soft(pred[_mixed(rng, objects + 1)], target)


def faint(rng: np.random.Generator, h: int = 6, w: int = 10) -> Call:
    """No slot is sure of anything: all are below 1/2, and yet each prefers one object."""
    pred, target = crowd(rng, 4, 3, h, w)
    return pred * 0.4, target


def numbers(hint: str) -> Callable[[Sequence[Call], Sequence[Any]], str | None]:
    """A judge that wants a tensor of whole numbers, of the right length."""
    same = equals(match_oracle, hint)

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for (_, target), result in zip(calls, results, strict=True):
            if not isinstance(result, (Tensor, np.ndarray)):
                return Said("return a tensor of whole numbers, a slot for each object", brief(result))
            if plain(result).shape != (len(target),):
                return Said("return a slot for each OBJECT: n numbers", brief(result))
            if plain(result).dtype.kind not in "iu":
                return Said("slots are whole numbers: int64, so that they can be used as an index", brief(result))
        return same(calls, results)

    return judge


def match_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], network: bool = False
               ) -> Case:
    """A case of `match_instances`; network: the predictions ask for a gradient."""
    return Case(name, calls, numbers(hint), prepare=match_prepare if network else None)


def _table(p: Tensor, t: Tensor) -> Tensor:
    """Soft IoU of every target (rows) with every slot: n,P."""
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    return torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))


def _match(how: str) -> Callable[..., Tensor]:
    """An assignment with one thing wrong; where that makes no difference it raises, and so accuses nobody."""

    def wrong(pred: Tensor, target: Tensor) -> Tensor:
        out, table = assigned(pred, target), _table(pred.detach(), target.to(pred))
        right = linear_sum_assignment(table.numpy(), maximize=True)[1]
        if out.tolist() == right.tolist() and not (how == "zero" and (target.sum((1, 2)) == 0).any()):
            raise ValueError("right, by chance")
        return out

    def assigned(pred: Tensor, target: Tensor) -> Tensor:
        p, t = pred.detach(), target.to(pred)
        iou = _table((p > 0.5).to(p), t) if how == "hard" else _table(p, t)
        if how == "overlap":
            iou = torch.einsum("nhw,phw->np", t, p)
        if how == "zero":
            iou = torch.where((t.sum((1, 2)) == 0)[:, None], 0.0, iou)
        if how == "best":
            return iou.argmax(1)
        if how in ("greedy", "in turn"):
            left, out = iou.clone(), [0] * len(t)
            for k in range(len(t)):
                row, slot = (k, int(left[k].argmax())) if how == "in turn" else divmod(int(left.argmax()), len(p))
                out[row] = slot
                left[:, slot] = -1
                if how == "greedy":
                    left[row] = -2
            return torch.tensor(out)
        if how == "first":
            rows, slots = linear_sum_assignment(iou[:, : len(t)].numpy(), maximize=True)
            return torch.as_tensor(slots)
        rows, slots = linear_sum_assignment(iou.numpy(), maximize=how != "least")
        if how == "rows":
            return torch.as_tensor(rows)
        if how == "inverse":
            out = [-1] * len(p)
            for row, slot in zip(rows, slots, strict=True):
                out[slot] = int(row)
            return torch.tensor(out)
        if how == "inverse, square":
            return torch.as_tensor(np.argsort(slots))
        return torch.as_tensor(slots)

    return wrong


MATCH_INSTANCES = Exercise(
    "lab4.match_instances",
    cases=(
        match_case("three objects, four slots", "slots[i] is the slot of object i: the greatest sum of soft IoU",
                   lambda rng: [crowd(rng)]),
        match_case("both want the same slot", "the SUM is to be greatest: not each object's own best, nor the best "
                   "pair first", lambda rng: [rivals(rng)]),
        match_case("a slot that says yes everywhere", "overlap alone is not enough: IoU divides by the union",
                   lambda rng: [greedy_slot(rng)]),
        match_case("nobody is sure", "the IoU is soft: nothing is thresholded", lambda rng: [faint(rng)]),
        match_case("an object that cannot be seen", "an empty object and an empty slot agree: their IoU is 1",
                   lambda rng: gone(rng)),
        match_case("straight from the network", "predictions that ask for a gradient: .detach() before .numpy()",
                   lambda rng: [crowd(rng, 3, 3)], network=True),
    ),
    hints=(
        "A table first: n objects down, P slots across, the soft IoU of every pair. Then the best way to give each row "
        "a column of its own.",
        "All pairs at once: both = torch.einsum('nhw,phw->np', target, pred), either = areas of both minus that. "
        "scipy's linear_sum_assignment finds the LEAST sum, unless maximize=True; it returns rows and columns.",
        "_, slots = linear_sum_assignment(iou.numpy(), maximize=True); return torch.as_tensor(slots)",
    ),
    library="vos_teach.ops.assign:match_instances",
    relatives=("vos_teach.ops.losses:soft_iou", "vos_teach.ops.losses:mask_loss"),
    suspects=(
        (_match("best"), "each object takes its own best slot, and two may take the same: the sum of all is to be "
                         "greatest, each slot at most once"),
        (_match("greedy"), "greedy: the best pair first, and the other one is left with nothing. The SUM is to be "
                           "greatest"),
        (_match("in turn"), "greedy: object after object takes the best slot that is left. The SUM is to be greatest"),
        (_match("hard"), "predictions are thresholded: the IoU is soft"),
        (_match("overlap"), "the overlap alone: a slot that covers everything would win. Divide by the union"),
        (_match("zero"), "an empty object and an empty slot agree: 1, not 0"),
        (_match("least"), "the sum is the LEAST: linear_sum_assignment minimises, unless maximize=True"),
        (_match("inverse"), "that is the object of each slot: asked for is the slot of each object"),
        (_match("inverse, square"), "that is the other way round: result[i] is the slot of object i"),
        (_match("rows"), "these are the rows, 0, 1, 2, ...: the slots are the columns, the second of the two"),
        (_match("first"), "only the first n slots are looked at: the best may be any of them"),
    ),
)
