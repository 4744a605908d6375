"""Lab 4: how the two cells are judged: the ConvLSTM, and one level's recurrence over space and time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, Said, differs
from vos_teach.lab.exercises.lab4_beside import (
    level_collect,
    level_prepare,
    mixing,
    pair_collect,
    slopes_collect,
    slopes_prepare,
)

Judge = Callable[[Sequence[Call], Sequence[Any]], str | None]


def pairs(oracle: Callable[..., Sequence[np.ndarray]], hint: str, atol: float = 1e-4) -> Judge:
    """A judge of (h, c), and of slopes where the oracle gives them."""

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, result in zip(calls, results, strict=True):
            if isinstance(result, str) and result == "cut":
                return Said("no gradient flows back: stay with torch operations, without .detach(), .data or no_grad")
            if not isinstance(result, (list, tuple)):
                return Said("return a pair of tensors, (h, c)", f"not {result}")
            want = oracle(*call)
            if said := differs(list(result)[:2], list(want[:2]), atol, what="(h, c)"):
                return Said(hint, said)
            if said := differs(list(result)[2:], list(want[2:]), 20 * atol, 1e-2, what="the slopes"):
                return Said("the values are right, but no gradient flows back to some of what they depend on: no "
                            ".detach(), no .data", said)
        return None

    return judge


# ---- convlstm -------------------------------------------------------------------------------------------------


def sigmoid(v: float) -> float:
    """Of one number."""
    return 1 / (1 + math.exp(-v)) if v > -700 else 0.0


def lstm_oracle(x: Any, h: Any, c: Any, weight: Any, bias: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel, number by number: what the kernel sees of x and of h, four sums, then the cell."""
    x, h, c, weight, bias = (np.asarray(v, np.float64) for v in (x, h, c, weight, bias))
    d, k = c.shape[1], weight.shape[-1]
    r, (height, width) = k // 2, c.shape[-2:]
    seen = np.pad(np.concatenate([x, h], 1), ((0, 0), (0, 0), (r, r), (r, r)))
    new_h, new_c = np.zeros_like(c), np.zeros_like(c)
    for b in range(len(c)):
        for row in range(height):
            for column in range(width):
                patch = seen[b, :, row : row + k, column : column + k]
                sums = [float((weight[n] * patch).sum() + bias[n]) for n in range(4 * d)]
                for n in range(d):
                    i, f, o = (sigmoid(sums[gate * d + n]) for gate in range(3))
                    new_c[b, n, row, column] = f * c[b, n, row, column] + i * math.tanh(sums[3 * d + n])
                    new_h[b, n, row, column] = o * math.tanh(new_c[b, n, row, column])
    return new_h, new_c


def lstm_slopes_oracle(*call: Tensor) -> list[np.ndarray]:
    """h, c, and how sum(h) + sum(c^2) answers when each number of each argument is wiggled a little."""
    arrays = [v.double().numpy() for v in call]

    def value() -> float:
        h, c = lstm_oracle(*arrays)
        return h.sum() + (c**2).sum()

    slopes = []
    for array in arrays:
        slope = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            kept, ends = array[at], []
            for way in (1e-4, -1e-4):
                array[at] = kept + way
                ends.append(value())
            array[at] = kept
            slope[at] = (ends[0] - ends[1]) / 2e-4
        slopes.append(slope)
    return [*lstm_oracle(*arrays), *slopes]


def memory(rng: np.random.Generator, b: int = 2, c: int = 3, d: int = 2, h: int = 4, w: int = 5, k: int = 3,
           loud: float = 1.0) -> Call:
    """A step: x, a state whose c reaches beyond 1, weights whose gates neither sleep nor stick."""
    fan = math.sqrt((c + d) * k * k)
    parts = (rng.normal(size=(b, c, h, w)) * loud, np.tanh(rng.normal(size=(b, d, h, w))),
             rng.normal(size=(b, d, h, w)) * 2, rng.normal(size=(4 * d, c + d, k, k)) * 1.5 / fan,
             rng.normal(size=4 * d))
    return tuple(torch.tensor(p, dtype=torch.float32) for p in parts)


def lstm_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], slopes: bool = False
              ) -> Case:
    """A case of `convlstm`; slopes: its gradients, too."""
    if slopes:
        return Case(name, calls, pairs(lstm_slopes_oracle, hint), prepare=slopes_prepare, collect=slopes_collect)
    return Case(name, calls, pairs(lstm_oracle, hint), collect=pair_collect)


def _lstm(order: str = "ifog", first: str = "x", squash: str = "tanh", shown: str = "tanh", forget: str = "f",
          bias: bool = True, extra: float = 0.0, out: str = "hc", gates: bool = True, old: bool = False
          ) -> Callable[..., tuple]:
    """A cell with one thing wrong."""

    def wrong(x: Tensor, h: Tensor, c: Tensor, weight: Tensor, b: Tensor) -> tuple:
        seen = torch.cat([x, h] if first == "x" else [h, x], 1)
        sums = F.conv2d(seen, weight, b if bias else None, padding=weight.shape[-1] // 2)
        part = dict(zip(order, sums.chunk(4, 1), strict=True))
        s = torch.sigmoid if gates else torch.tanh
        i, f, o = s(part["i"]), s(part["f"] + extra), s(part["o"])
        g = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "none": lambda v: v, "relu": F.relu}[squash](part["g"])
        kept = {"f": f, "1-i": 1 - i, "none": 0 * f, "all": torch.ones_like(f)}[forget]
        new = kept * c + i * g
        said = c if old else new
        hidden = o * (torch.tanh(said) if shown == "tanh" else said)
        return {"hc": (hidden, new), "ch": (new, hidden)}[out]

    return wrong


CONVLSTM = Exercise(
    "lab4.convlstm",
    cases=(
        lstm_case("one step", "the new state is wrong: i, f, o = sigmoid, g = tanh of the four parts of one "
                  "convolution of [x, h]", lambda rng: [memory(rng)]),
        lstm_case("a larger kernel", "the new state is wrong for a kernel of 5: it comes from the weights' shape, and "
                  "so does the padding", lambda rng: [memory(rng, 1, 2, 3, 6, 5, 5)]),
        lstm_case("as many inputs as states", "the new state is wrong: x comes before h",
                  lambda rng: [memory(rng, 1, 2, 2, 3, 4)]),
        lstm_case("the gradient, back in time", "the new state is wrong",
                  lambda rng: [memory(rng, 1, 1, 1, 2, 3)], slopes=True),
    ),
    hints=(
        "One convolution makes four maps for each channel of the state. Three of them are gates between 0 and 1; the "
        "fourth is what could be written, between -1 and 1.",
        "F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2).chunk(4, dim=1) gives i, f, o and "
        "g, in this order, before their sigmoids and the tanh.",
        "c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g); return torch.sigmoid(o) * torch.tanh(c), c",
    ),
    relatives=("vos_teach.ops.convrnn:ConvLSTMCell.forward", "vos_teach.ops.convrnn:ConvGRUCell.forward"),
    suspects=(
        (_lstm(order="ifgo"), "the parts are taken as i, f, g, o (as in torch.nn.LSTM): here they are i, f, o, g"),
        (_lstm(order="fiog"), "i and f are swapped: i lets in what is new, f keeps what was"),
        (_lstm(order="igof"), "the parts are taken in another order: it is i, f, o, g"),
        (_lstm(order="iofg"), "f and o are swapped: the order is i, f, o, g"),
        (_lstm(first="h"), "h comes before x: the weights want [x, h]"),
        (_lstm(squash="sigmoid"), "g goes through a sigmoid: it is a tanh, so that memory can also be taken down"),
        (_lstm(squash="none"), "g is used as it is: it goes through a tanh, or the state grows without bound"),
        (_lstm(squash="relu"), "g goes through a ReLU: it is a tanh, so that memory can also be taken down"),
        (_lstm(shown="none"), "h = o c: it is o tanh(c), c may be large"),
        (_lstm(old=True), "h is made of the OLD c: first the new c, then h of it"),
        (_lstm(forget="1-i"), "c is kept by 1 - i, as in a GRU: an LSTM has a gate of its own for that, f"),
        (_lstm(forget="none"), "the old c is dropped: it is kept by f, that is the memory"),
        (_lstm(forget="all"), "the old c is kept whole: it is multiplied by f"),
        (_lstm(bias=False), "the bias is missing: F.conv2d takes it as its third argument"),
        (_lstm(extra=1.0), "1 is added to f: that is how a NEW cell's bias starts; here the bias is given"),
        (_lstm(out="ch"), "the pair is (c, h): return (h, c)"),
        (_lstm(gates=False), "the gates go through a tanh: they are sigmoids, between shut (0) and open (1)"),
    ),
)

# ---- space_time -----------------------------------------------------------------------------------------------


def level_oracle(options: dict, x: Tensor, space: Sequence[Tensor], time: Tensor) -> list[np.ndarray]:
    """Pixel by pixel: the cell's inputs are those of the frame and of the past, its state the neighbour's. And the
    slopes of sum(h) + sum(c^2) along each of them."""
    weight = mixing(**options)
    d = options["hidden"]
    parts = [v.detach().double().numpy() for v in (x, time, *space)]
    sizes = [p.shape[1] for p in parts]
    h, c = np.zeros(parts[1].shape), np.zeros(parts[1].shape)
    slopes = [np.zeros_like(p) for p in parts]
    for b, row, column in np.ndindex(len(parts[0]), *parts[0].shape[-2:]):
        given = np.concatenate([p[b, :, row, column] for p in parts])  # x, the past's h, the neighbour's h and c
        out = np.tanh(weight @ given)
        h[b, :, row, column], c[b, :, row, column] = out[:d], out[d:]
        back = weight.T @ ((1 - out**2) * np.concatenate([np.ones(d), 2 * out[d:]]))
        for slope, part in zip(slopes, np.split(back, np.cumsum(sizes)[:-1]), strict=True):
            slope[b, :, row, column] = part
    along_x, along_time, along_h, along_c = slopes
    return [h, c, along_x, along_h, along_c, along_time]


def level(rng: np.random.Generator, b: int = 2, c: int = 3, d: int = 2, h: int = 4, w: int = 5) -> Call:
    """A cell, what is seen, the state of the object before, and h of the last frame."""
    def noise(channels: int) -> Tensor:
        return torch.tensor(rng.normal(size=(b, channels, h, w)), dtype=torch.float32)

    options = {"seed": int(rng.integers(2**31)), "inputs": c + d, "hidden": d}
    return options, noise(c), (noise(d), noise(d)), noise(d)


def level_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `space_time`: values and gradients."""
    return Case(name, calls, pairs(level_oracle, hint), prepare=level_prepare, collect=level_collect)


def _level(beside: str = "xt", state: str = "hc", out: str = "hc") -> Callable[..., tuple]:
    """A recurrence with one thing wrong. beside, state: what goes into the cell, by letters; 0: zeros."""

    def wrong(cell: Any, x: Tensor, space: Sequence[Tensor], time: Tensor) -> tuple:
        parts = {"x": x, "t": time, "h": space[0], "c": space[1], "0": torch.zeros_like(time),
                 "m": (space[0] + time) / 2, "+": space[0] + time}
        h, c = cell(torch.cat([parts[p] for p in beside], 1), tuple(parts[p] for p in state))
        return {"hc": (h, c), "ch": (c, h)}[out]

    return wrong


SPACE_TIME = Exercise(
    "lab4.space_time",
    cases=(
        level_case("one level, one object, one frame", "wrong: beside x goes the past's h, and the cell's state is "
                   "that of the object before", lambda rng: [level(rng)]),
        level_case("the first object of a later frame", "wrong where there is no object before: its state is zeros, "
                   "and the past still counts", lambda rng: [without(level(rng), "space")]),
        level_case("the first frame", "wrong where there is no past: its h is zeros, and the object before still "
                   "counts", lambda rng: [without(level(rng), "time")]),
    ),
    hints=(
        "A ConvLSTM takes inputs and a state. There are two pasts here: one comes in as the state, the other beside "
        "the inputs. Which one has a cell state c to give?",
        "The state is the neighbour's pair (h, c). Of time there is h alone: it is stacked behind x, along the "
        "channels.",
        "return cell(torch.cat([x, time], dim=1), space)",
    ),
    library="vos_teach.rnn.rvos:space_time",
    suspects=(
        (_level(beside="tx"), "time comes before x: the cell's weights want [x, time]"),
        (_level("xt", "tc"), "the past is the cell's h, too: its state is the neighbour's, h and c"),
        (_level("xh", "tc"), "space and time have changed places: the state is the neighbour's, time is stacked on x"),
        (_level("xh", "hc"), "the neighbour's h is stacked on x, and the past is not heard: stack time"),
        (_level("x0", "hc"), "the past is not heard: stack time on x"),
        (_level("xt", "00"), "the object before is not heard: its (h, c) is the cell's state"),
        (_level("xt", "h0"), "the neighbour's c is dropped: its whole pair (h, c) is the state"),
        (_level("xt", "0c"), "the neighbour's h is dropped: its whole pair (h, c) is the state"),
        (_level("xt", "mc"), "neighbour and past are averaged into one h: keep them apart, time goes beside x"),
        (_level("xt", "+c"), "neighbour and past are added into one h: keep them apart, time goes beside x"),
        (_level("xt", "ch"), "the pair (h, c) went in the wrong way round"),
        (_level(out="ch"), "the pair is (c, h): return (h, c), as the cell does"),
    ),
)


def without(call: Call, what: str) -> Call:
    """The same without a neighbour or without a past: zeros."""
    options, x, space, time = call
    if what == "space":
        return options, x, tuple(torch.zeros_like(v) for v in space), time
    return options, x, space, torch.zeros_like(time)
