"""`check(exercise, answer)`: not attempted, wrong (with a hint aimed at the likely mistake), or right.

In a notebook a failure is two lines, not a wall of traceback. It raises, so that nbgrader sees it; it returns
nothing, so that there is nothing to forge by printing. What an answer prints, and what native code says on stderr,
is silenced while it is judged, and warnings never cost a mark.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import inspect
import os
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vos_teach.errors import VosError
from vos_teach.lab import quiz
from vos_teach.lab.cases import Case, Exercise, Said, changed, differs, duplicate

LABS = ("lab0", "lab1", "lab2", "lab3", "lab4", "lab5a", "lab5b")  # each is a module in lab/exercises
_hints_shown: dict[str, int] = {}


class CheckFailed(Exception):
    """An answer is wrong. Its message is one or two lines, and that is all that a notebook shows of it."""

    label = "Not right yet"

    def __init__(self, exercise: str, why: str):
        self.exercise, self.why = exercise, why
        super().__init__(f"{exercise}: {why}")

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback."""
        return [f"{self.label} - {self.exercise}", self.why]


class NotAttempted(CheckFailed):
    """There is no answer yet. The stubs of the labs raise it, so what depends on them raises it too."""

    label = "Not attempted"

    def __init__(self, exercise: str = "this exercise",
                 why: str = "write your answer into its cell, run that, then run this cell again"):
        super().__init__(exercise, why)


def check(exercise: str, answer: Any, hidden: bool = False) -> None:
    """Judge an answer: nothing is returned; one line is printed if it is right.

    exercise: its name, "lab1.balanced_bce". answer: the function that the student wrote, or the letter chosen in a
    quiz. hidden: also the cases of assignments/hidden/, which only instructors have; VosError where they are not.
    Raises NotAttempted, or CheckFailed with a hint, or VosError for an unknown exercise.
    """
    if quiz.known(exercise):
        said = quiz.judge(exercise, answer, hidden_module(exercise, "quiz") if hidden else None)
        if said is None:
            raise NotAttempted(exercise, "choose a letter in the cell above, run it, then run this cell again")
        right, text = said
        if not right:
            raise CheckFailed(exercise, text)
        print(f"Right - {exercise}\n{text}")
        return
    spec = find(exercise)
    cases = list(spec.cases)
    if hidden:
        cases += hidden_cases(exercise)
    refuse(spec, answer)
    for case in cases:
        said = verdict(spec, case, answer)
        if said is not None:
            raise said
    print(f"Right - {exercise}: {len(cases)} cases passed")


def hint(exercise: str) -> None:
    """Print the next hint: each call gives one more, from a nudge to nearly the answer."""
    hints = find(exercise).hints
    n = min(_hints_shown.get(exercise, 0), len(hints) - 1)
    _hints_shown[exercise] = n + 1
    more = len(hints) - n - 1
    print(f"Hint {n + 1} of {len(hints)} - {exercise}{'' if more else ' (the last one)'}\n{hints[n]}")


def find(exercise: str) -> Exercise:
    """The exercise of that name. Raises VosError that lists the lab's exercises if there is none."""
    lab = exercise.partition(".")[0]
    if lab not in LABS:
        raise VosError(f"there is no exercise '{exercise}': its name starts with one of {', '.join(LABS)}")
    exercises = importlib.import_module(f"vos_teach.lab.exercises.{lab}").EXERCISES
    by_name = {e.name: e for e in exercises}
    if exercise not in by_name:
        raise VosError(f"there is no exercise '{exercise}'; choose from: {', '.join(by_name)}")
    return by_name[exercise]


def hidden_cases(exercise: str) -> tuple[Case, ...]:
    """The hidden cases of an exercise. Raises VosError where they are absent: a mark without them is no mark."""
    cases = hidden_module(exercise, exercise.partition(".")[0]).CASES.get(exercise, ())
    if not cases:
        raise VosError(f"assignments/hidden/ has no cases of '{exercise}', so it cannot be graded: add them")
    return tuple(cases)


def hidden_module(exercise: str, name: str) -> Any:
    """The module of that name in the folder of hidden cases: VOS_TEACH_HIDDEN, or assignments/hidden above us."""
    given = os.environ.get("VOS_TEACH_HIDDEN")
    here = Path.cwd()
    around = [p / part for p in (here, *here.parents) for part in ("assignments/hidden", "hidden")]
    path = next((p / f"{name}.py" for p in ([Path(given)] if given else around) if (p / f"{name}.py").is_file()), None)
    if path is None:
        raise VosError(f"the hidden cases of '{exercise}' are not here: it cannot be graded. Instructors set "
                       f"VOS_TEACH_HIDDEN to the folder that holds {name}.py; students check without hidden=True")
    unique = f"_vos_teach_hidden_{name}_{zlib.crc32(str(path).encode()):08x}"
    if unique not in sys.modules:
        found = importlib.util.spec_from_file_location(unique, path)
        module = importlib.util.module_from_spec(found)  # type: ignore[arg-type]
        sys.modules[unique] = module
        try:
            found.loader.exec_module(module)  # type: ignore[union-attr]
        except BaseException:
            del sys.modules[unique]
            raise
    return sys.modules[unique]


def refuse(spec: Exercise, answer: Any) -> None:
    """Raise CheckFailed for what is not a function of the student's own."""
    if answer is None or answer is Ellipsis:
        raise NotAttempted(spec.name)
    if not callable(answer):
        raise CheckFailed(spec.name, f"hand in the function itself, without calling it, not {type(answer).__name__}")
    inner = answer
    while isinstance(inner, functools.partial):
        inner = inner.func
    with suppress(ValueError):
        inner = inspect.unwrap(inner)
    if str(getattr(inner, "__module__", "")).startswith("vos_teach."):
        raise CheckFailed(spec.name, "that is the library's own :-) right, but not yours: write it yourself")


Ask = Callable[[Case, tuple], Any]  # one call of an answer: its result; raises what the answer raises, or one of ours


@dataclass(frozen=True)
class Finding:
    """What is wrong with an answer.

    kind     "not attempted", "raised", "changes its input", "no gradient" or "wrong"
    text     what a notebook shows
    safe     the same without any value of the case and without any word of the answer's own: for hidden cases
    mistake  the sentence of the usual mistake that it is, or None
    """

    kind: str
    text: str
    safe: str
    mistake: str | None = None


def verdict(spec: Exercise, case: Case, answer: Callable[..., Any]) -> CheckFailed | None:
    """None if the answer stands this case in all its draws, else what to raise."""
    found = examine(spec, case, lambda c, call: once(c, answer, call))
    if found is None:
        return None
    return NotAttempted(spec.name) if found.kind == "not attempted" else CheckFailed(
        spec.name, f"{found.text} (case: {case.name})")


def examine(spec: Exercise, case: Case, ask: Ask, salt: Sequence[int] = ()) -> Finding | None:
    """Put one case to an answer that may live elsewhere: `ask` makes one call of it. None if all is well.

    salt: mixed into the seed of the draws, so that a grader's inputs are not those that a notebook sees.
    """
    for draw in range(case.seeds):
        seed = [zlib.crc32(spec.name.encode()), zlib.crc32(case.name.encode()), draw, *salt]
        calls = [tuple(call) for call in case.calls(np.random.default_rng(seed))]
        try:
            results = [ask(case, duplicate(call)) for call in calls]
        except (NotAttempted, NotImplementedError):
            return Finding("not attempted", "", "")
        except Damage as damage:
            return _same("changes its input", f"your function changes its argument number {damage.args[0]} in place: "
                         "work on a copy")
        except NoGradient:
            return _same("no gradient", "no gradient flows back through your function: stay with torch operations, "
                         "without .item(), .detach() or .numpy()")
        except Exception as error:
            name = error.name if isinstance(error, Raised) else type(error).__name__
            first = (str(error).strip().splitlines() or [""])[0][:160]
            known = isinstance(getattr(builtins, name, None), type)  # a class of the answer's own may have any name
            return Finding("raised", f"it raised {name}: {first}", f"it raised {name if known else 'an exception'}")
        try:
            said = case.judge([duplicate(call) for call in calls], results)
        except Exception:  # what came back could not even be looked at
            said = Said("what your function returns is not of the kind that is asked for")
        if said is not None:
            if mistake := _suspect(spec, case, calls, results):
                return Finding("wrong", mistake, mistake, mistake)
            return Finding("wrong", said, getattr(said, "hint", "") or f"not right for every input; {spec.hints[0]}")
    return None


def _same(kind: str, text: str) -> Finding:
    return Finding(kind, text, text)


class Damage(Exception):
    """An argument was changed in place: its number, from 1."""


class NoGradient(Exception):
    """No gradient came back."""


class Raised(Exception):
    """An answer in another process raised an exception of this name, with this message."""

    def __init__(self, name: str, message: str):
        super().__init__(message)
        self.name = name


def once(case: Case, answer: Callable[..., Any], call: tuple) -> Any:
    """One call of an answer, silently: its result, with the gradient if the case asks for one."""
    before = duplicate(call)
    if case.grad is not None:
        call = tuple(a.requires_grad_() if i == case.grad else a for i, a in enumerate(call))
    ready = case.prepare(call) if case.prepare else call
    with silence():
        result = answer(*ready)
    if case.grad is not None:
        if not isinstance(result, torch.Tensor) or not result.requires_grad:
            raise NoGradient
        (slope,) = torch.autograd.grad(result.sum(), call[case.grad], allow_unused=True)
        if slope is None:
            raise NoGradient
        result = (result.detach(), slope)
    for i, (old, new) in enumerate(zip(before, call, strict=True)):
        if changed(old, new):
            raise Damage(i + 1)
    return case.collect(call, result) if case.collect else result


def _suspect(spec: Exercise, case: Case, calls: Sequence[tuple], results: Sequence[Any]) -> str | None:
    """What to say if the results are just those of a usual mistake."""
    for wrong, sentence in spec.suspects:
        try:
            theirs = [once(case, wrong, duplicate(call)) for call in calls]
            if all(differs(r, t) is None for r, t in zip(results, theirs, strict=True)):
                return sentence
        except Exception:
            continue
    return None


@contextmanager
def silence() -> Iterator[None]:
    """Nothing that runs inside is heard: Python's streams, native code's file descriptors 1 and 2, and warnings."""
    with warnings.catch_warnings(), tempfile.TemporaryFile("w") as sink:
        warnings.simplefilter("ignore")
        kept, old = [], (sys.stdout, sys.stderr)
        for stream in old:
            with suppress(Exception):
                stream.flush()
        for fd in (1, 2):
            with suppress(OSError):
                kept.append((fd, os.dup(fd)))
                os.dup2(sink.fileno(), fd)
        sys.stdout = sys.stderr = sink
        try:
            yield
        finally:
            sys.stdout, sys.stderr = old
            for fd, copy in kept:
                os.dup2(copy, fd)
                os.close(copy)
