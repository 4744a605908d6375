"""What an exercise is judged by. Public cases (in this package) and hidden ones (assignments/hidden/) are alike.

A case sends plain inputs into an answer and looks at what comes back; it never looks at the answer itself. So the
same case serves in the student's notebook, in nbgrader, and in a grader that keeps the answer in another process.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Call = tuple[Any, ...]  # the arguments of one call: arrays, tensors, numbers, strings, or containers of them


class Said(str):
    """What a judge finds wrong. `hint` is the part that names no value of the case: all that a student is told of a
    hidden one."""

    hint: str

    def __new__(cls, hint: str, detail: str = "") -> Said:
        """hint, then the detail in brackets."""
        said = super().__new__(cls, f"{hint} ({detail})" if hint and detail else hint or detail)
        said.hint = hint
        return said


@dataclass(frozen=True)
class Case:
    """One thing that a right answer does.

    name    what is put to the test, in a few words: "two images of different balance"
    calls   rng -> the calls to make, in order; each is a tuple of arguments
    judge   (calls, results) -> None if all is well, else one sentence: what is wrong, aimed at the likely mistake.
            It gets fresh copies of the calls, so that an answer that damages its input cannot mislead it. A sentence
            that is no `Said` stays with the instructor when the case is hidden.
    grad    number of the argument whose gradient is asked for: each result becomes (value, gradient of its sum)
    prepare call -> call, run beside the answer just before it: builds what cannot be sent as plain data (a network)
    collect (call, result) -> result, run beside the answer: turns what cannot be sent back into plain data
    seeds   how many times the case is drawn
    """

    name: str
    calls: Callable[[np.random.Generator], Sequence[Call]]
    judge: Callable[[Sequence[Call], Sequence[Any]], str | None]
    grad: int | None = None
    prepare: Callable[[Call], Call] | None = None
    collect: Callable[[Call, Any], Any] | None = None
    seeds: int = 2


@dataclass(frozen=True)
class Exercise:
    """One answer that a student writes, and how it is judged.

    name      "lab1.balanced_bce"
    cases     the public cases; hidden ones are added by assignments/hidden/
    hints     staged, from a nudge to nearly the answer; shown one at a time by `hint(name)`
    library   "module:function" of the library's own answer, which may not be handed in; None where there is none
    relatives others of the library that come to the same, as in `library`: out of reach, too, while this is graded
    suspects  (what such an answer gives, the sentence to say): tried on a failed case's calls, so that a usual mistake
              is named for what it is
    """

    name: str
    cases: tuple[Case, ...]
    hints: tuple[str, ...]
    library: str | None = None
    suspects: tuple[tuple[Callable[..., Any], str], ...] = field(default=())
    relatives: tuple[str, ...] = ()


def differs(result: Any, expected: Any, atol: float = 1e-5, rtol: float = 1e-5, what: str = "the result") -> str | None:
    """One sentence on how a result differs from what was expected in kind, shape, range or value; None if it does not.

    Tensors, arrays and numbers are compared by value: a right number in another container is right, but where a tensor
    or an array is expected something of its shape must come.
    """
    if result is None:
        return "your function returns None: is there a return at its end?"
    if result is NotImplemented or result is Ellipsis:
        return f"{what} is {result!r}: that is a placeholder, not an answer"
    if isinstance(expected, (list, tuple)) and not (expected and np.isscalar(expected[0])):
        if not isinstance(result, (list, tuple)) or len(result) != len(expected):
            return f"{what} should be a {type(expected).__name__} of {len(expected)}, not {brief(result)}"
        for i, (r, e) in enumerate(zip(result, expected, strict=True)):
            if said := differs(r, e, atol, rtol, f"{what}[{i}]"):
                return said
        return None
    try:
        got, want = plain(result), plain(expected)
    except (TypeError, ValueError, RuntimeError):
        return f"{what} is {brief(result)}, which is not what is asked for"
    if got.shape != want.shape:
        return f"{what} has shape {got.shape}, asked for is {want.shape}"
    if want.dtype == bool and got.dtype != bool and not np.isin(got, (0, 1)).all():
        return f"{what} should be true or false everywhere, not {brief(result)}"
    if got.dtype.kind not in "biuf":
        return f"{what} is {brief(result)}, which is not what is asked for"
    got, want = got.astype(np.float64), want.astype(np.float64)
    if (np.isnan(got) & ~np.isnan(want)).any():
        return f"{what} is not a number (NaN) somewhere: is anything divided by zero?"
    if (np.isinf(got) & ~np.isinf(want)).any():
        return f"{what} is infinite somewhere: is anything divided by zero, or a logarithm taken of it?"
    near = np.isclose(got, want, atol=atol, rtol=rtol, equal_nan=True)
    if near.all():
        return None
    if got.size == 1:
        return f"{what} is {got.item():.6g}, right is {want.item():.6g}"
    at = tuple(int(i) for i in np.argwhere(~near)[0])
    return (f"{what} differs in {int((~near).sum())} of {near.size} places; "
            f"at {list(at)} it is {got[at]:.6g}, right is {want[at]:.6g}")


def equals(oracle: Callable[..., Any], hint: str, atol: float = 1e-5, rtol: float = 1e-5
           ) -> Callable[[Sequence[Call], Sequence[Any]], str | None]:
    """The usual judge: every result equals the oracle's; else `hint`, followed by where the first difference is.

    What the oracle said is kept: a grader puts the same calls to every answer of a class, and oracles are slow loops.
    """
    kept: dict[tuple, Any] = {}

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, result in zip(calls, results, strict=True):
            if (key := _content(call)) not in kept:
                kept[key] = oracle(*call)
            if said := differs(result, kept[key], atol, rtol):
                return Said(hint, said)
        return None

    return judge


def _content(value: Any) -> tuple:
    """What a call's arguments are, to the bit, as a key of a dictionary."""
    if isinstance(value, torch.Tensor):
        return "tensor", str(value.dtype), tuple(value.shape), value.detach().cpu().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return "array", str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return type(value).__name__, *(_content(v) for v in value)
    return type(value).__name__, repr(value)


def plain(value: Any) -> np.ndarray:
    """A tensor, array, number or list of numbers as an array on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().resolve_conj().numpy()
    return np.asarray(value)


def brief(value: Any) -> str:
    """What a value is, in a few words that do not call its own code."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    if type(value) in (bool, int, float, str):
        return f"{value!r}"[:60]
    if type(value) in (list, tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"an object of type {type(value).__name__}"


def duplicate(call: Call) -> Call:
    """A deep copy of a call's arguments; tensors keep what they require of gradients."""
    return copy.deepcopy(call)


def changed(before: Any, after: Any) -> bool:
    """Whether an argument was changed in place."""
    if isinstance(before, torch.Tensor):
        return before.shape != after.shape or not torch.equal(before.detach(), after.detach())
    if isinstance(before, np.ndarray):
        return before.shape != after.shape or not np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
    if isinstance(before, (list, tuple)):
        return len(before) != len(after) or any(changed(b, a) for b, a in zip(before, after, strict=True))
    return False
