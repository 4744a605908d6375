"""Marks from what an answer does: it runs in a sandbox, and what it gives back is compared here.

Nothing that the student's process says of itself counts. It gets inputs, drawn from the run's seed, and gives back
plain data; expected values, hidden cases and the comparison are on this side only.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vos_teach.errors import VosError
from vos_teach.grading.context import Plan, fault, literal, plans
from vos_teach.grading.records import Cell, Mark, Prepared, Record
from vos_teach.grading.sandbox import Lost
from vos_teach.lab import quiz
from vos_teach.lab.cases import Case, Exercise, changed
from vos_teach.lab.check import Damage, Finding, NoGradient, Raised, examine, find, hidden_cases, hidden_module

SAID = {
    "time-out": "it did not come to an end within the time allowed",
    "out of memory": "it needed more memory than is allowed",
    "died": "Python itself ended while it ran (sys.exit, os._exit or a crash), so there is no result",
    "tampered": "it was stopped because it interfered with the grading: ask your instructor",
}
RANK = {"right": 3, "wrong": 2, "not attempted": 1}  # of two tries at the same answer the better one counts


@dataclass(frozen=True)
class Asked:
    """One thing that a lab asks for. kind: "function", "quiz" or "manual" (a human marks it)."""

    name: str
    points: float
    kind: str


def asked(release: dict[str, Any]) -> list[Asked]:
    """What a released notebook asks for, in its order. Raises VosError if it asks for nothing."""
    found = []
    for cell in release["cells"]:
        about = cell.get("metadata", {}).get("nbgrader", {})
        if about.get("grade"):
            name = about["grade_id"].removesuffix("-check").replace("-", ".", 1)
            kind = "manual" if about.get("solution") else "quiz" if quiz.known(name) else "function"
            found.append(Asked(name, float(about["points"]), kind))
    if not found:
        raise VosError("the released notebook has no cell that is graded: run vos-teach labs build")
    return found


def judge(prepared: Prepared, box: Any, seed: int, hidden: Path, parts: Sequence[Asked] | None = None,
          key: str = "") -> Record:
    """Judge one prepared submission, whatever it is; box: a sandbox.Box. parts: what the release asks for.

    hidden: the folder of hidden cases. Raises VosError for an error that is not the student's: a hidden case that is
    absent or cannot be drawn, a sandbox that does not start.
    """
    start = time.monotonic()
    record = Record(prepared.student, prepared.lab, key, prepared.fate, prepared.reason, "", [], list(prepared.repairs),
                    list(prepared.flags), False, getattr(box, "level", "none"), seed)
    with suppress(TypeError):
        record.limits = asdict(box.limits)
    if parts is None:
        parts = asked(prepared.notebook) if prepared.notebook else []
    if prepared.fate != "graded" or prepared.notebook is None:
        return unread(record, parts)
    with _hidden(hidden):
        for part in parts:
            if part.kind == "manual":
                mark = Mark(part.name, part.points, None, "by hand", "a human marks this", "your instructor marks this")
            elif part.kind == "quiz":
                mark = _better(part, prepared, box, _Quiz(part, prepared.cells))
            else:
                mark = _better(part, prepared, box, _Function(part, seed))
            record.marks.append(mark)
            if mark.outcome == "tampered" or mark.reason.startswith(OURS):
                record.flags.append(f"{mark.exercise}: {mark.reason}")
    record.held = bool(record.flags)
    record.seconds = time.monotonic() - start
    return record


def unread(record: Record, parts: Sequence[Asked]) -> Record:
    """The record of a submission in which there is nothing to judge: 0 everywhere, with the reason."""
    said = {"no notebook": "no notebook of this lab was handed in",
            "wrong lab": "what was handed in is another lab"}.get(record.fate, "your notebook could not be read")
    record.said = said
    record.marks = [Mark(p.name, p.points, 0.0, "not attempted", record.reason or record.fate, said) for p in parts]
    record.held = bool(record.flags) or record.fate != "no notebook"
    return record


OURS = "the grader itself failed"
GONE = "its cell is gone, and no other cell before the check defines it"


@contextmanager
def _hidden(folder: Path) -> Iterator[None]:
    """lab.check finds the hidden cases there; the sandbox's environment is its own."""
    before = os.environ.get("VOS_TEACH_HIDDEN")
    os.environ["VOS_TEACH_HIDDEN"] = str(Path(folder).resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ["VOS_TEACH_HIDDEN"]
        else:
            os.environ["VOS_TEACH_HIDDEN"] = before


# ---- one exercise: the least that its answer needs; if that is not right, once more with all of the student's cells

class _Stop(Exception):
    """An answer is judged: its Mark's outcome, reason, said, and so on."""

    def __init__(self, outcome: str, reason: str, said: str | None = None, **more: Any):
        super().__init__(reason)
        self.outcome, self.reason, self.said, self.more = outcome, reason, reason if said is None else said, more


def _better(part: Asked, prepared: Prepared, box: Any, put: _Quiz | _Function) -> Mark:
    best: Mark | None = None
    for plan in plans(prepared.cells, part.name, part.name in prepared.missing):
        mark, ours = _attempt(part, prepared, box, plan, put)
        if ours:  # not the student's process was lost, but the sandbox that it was in
            mark, _ = _attempt(part, prepared, box, plan, put)
        if best is None or RANK.get(mark.outcome, 0) > RANK.get(best.outcome, 0):
            best = mark
        if best.outcome in ("right", "time-out", "tampered"):  # more cells take no less time
            break
    assert best is not None
    if best.outcome == "not attempted" and part.name in prepared.missing:
        best.outcome, best.reason, best.said = "cell deleted", GONE, GONE
    return best


def _attempt(part: Asked, prepared: Prepared, box: Any, plan: Plan, put: _Quiz | _Function) -> tuple[Mark, bool]:
    """One try, in a process of its own: whatever happens there becomes a mark. Also: the sandbox itself ended."""
    session = None
    try:
        put.without()
        put.where = "before its first case"
        with _opened(box, plan, put) as session:
            ran = session.run([piece.source for piece in plan.pieces])
            errors = [(plan.pieces[r.index].id, *r.error) for r in ran if r.error]
            put(session, lambda: _unbound(part, prepared, errors))
    except _Stop as stop:
        end = stop
    except Lost as lost:
        why = "it did not end within its time" if lost.outcome == "time-out" else lost.reason  # by which clock: chance
        end = _Stop(lost.outcome, f"{why} ({put.where})", SAID.get(lost.outcome, lost.outcome), **put.at)
    except VosError:
        raise
    except Exception as error:  # a surprise must cost one mark and a human's look, not the class
        end = _Stop("died", f"{OURS}: {type(error).__name__}: {error} ({put.where})", SAID["died"], **put.at)
    else:
        raise AssertionError("an answer was put without a verdict")
    usage = {} if session is None else session.usage  # known when it is over
    score = part.points if end.outcome == "right" else 0.0
    mark = Mark(part.name, part.points, score, end.outcome, _clean(end.reason), _clean(end.said),
                seconds=float(usage.get("wall", 0.0)), peak=int(usage.get("peak_bytes", 0)), **end.more)
    return mark, end.outcome == "died" and bool(getattr(session, "report", {}).get("failed"))


def _opened(box: Any, plan: Plan, put: _Quiz | _Function) -> Any:
    """A session; where what came before it has harmed the sandbox, in a new one."""
    cells = [piece.source for piece in plan.pieces]
    try:
        return box.session(cells, put.blocked, put.beside)
    except VosError:
        box.stop()
        return box.session(cells, put.blocked, put.beside)


def _unbound(part: Asked, prepared: Prepared, errors: Sequence[tuple[str, str, str]]) -> _Stop:
    """There is nothing under the answer's name: why?"""
    short = part.name.partition(".")[2]
    own = next((c for c in prepared.cells if c.origin == "answer" and c.exercise == part.name), None)
    if own is not None and (why := fault(own.source)):
        return _Stop("does not parse", f"its cell is no Python: {why}")
    if part.name in prepared.missing:
        return _Stop("cell deleted", GONE)
    for cell, name, message in errors:
        if _memory(name, message):
            return _Stop("out of memory", f"cell {cell} raised {name}", SAID["out of memory"])
    if errors:
        cell, name, message = errors[-1]
        return _Stop("wrong", f"there is no '{short}', since the cell {cell} raised {name}: {message}")
    return _Stop("not attempted", f"no cell before the check defines '{short}'")


class _Quiz:
    """One letter."""

    blocked: Sequence[str] = ()
    beside: Sequence[str] = ()

    def __init__(self, part: Asked, cells: Sequence[Cell]):
        self.part, self.cells, self.where, self.at = part, cells, "", {}  # type: ignore[var-annotated]

    def without(self) -> None:
        """A plain letter in its cell needs no process."""
        known, letter = literal(self.cells, self.part.name)
        if known:
            raise self.verdict(letter)

    def __call__(self, session: Any, unbound: Callable[[], _Stop]) -> None:
        short = self.part.name.partition(".")[2]
        if not session.kind(short).get("bound"):
            raise unbound()
        answer = session.value(short)
        session.check()
        raise self.verdict(answer)

    def verdict(self, answer: Any) -> _Stop:
        """Right, wrong or not attempted."""
        key = hidden_module(self.part.name, "quiz")
        if self.part.name not in key.RIGHT:
            raise VosError(f"assignments/hidden/quiz.py has no right letter of '{self.part.name}': "
                           "run vos-teach labs build")
        said = quiz.judge(self.part.name, answer if type(answer) in (str, type(None)) else 0, key)
        if said is None:
            return _Stop("not attempted", "no letter was chosen")
        right, why = said
        chosen = repr(answer[:20]) if type(answer) is str else f"something that is no letter ({type(answer).__name__})"
        return _Stop("right" if right else "wrong", f"chose {chosen}", why)


class _Function:
    """One function: the public cases, then the hidden ones, until one is not stood."""

    def __init__(self, part: Asked, seed: int):
        self.spec, self.seed, self.where, self.at = find(part.name), seed, "", {}  # type: ignore[var-annotated]
        try:
            hidden = hidden_cases(part.name)
        except VosError:
            raise
        except Exception as error:
            raise VosError(f"the hidden cases of '{part.name}' cannot be loaded: {type(error).__name__}: {error}"
                           ) from None
        self.cases = [(case, False) for case in self.spec.cases] + [(case, True) for case in hidden]
        self.blocked = [*([self.spec.library] if self.spec.library else []), *self.spec.relatives]
        runs = [f for case, _ in self.cases for f in (case.prepare, case.collect) if f]
        self.beside = sorted({f.__module__ for f in runs})

    def without(self) -> None:
        """A function has to run."""

    def __call__(self, session: Any, unbound: Callable[[], _Stop]) -> None:
        short = self.spec.name.partition(".")[2]
        _refuse(session.kind(short), unbound)
        for case, hidden in self.cases:
            kind = "hidden" if hidden else "public"
            self.where, self.at = f"{kind} case '{case.name}'", {"case": case.name, "hidden": hidden}
            found = examine(self.spec, _guarded(self.spec, case, kind), lambda c, call: _ask(session, short, c, call),
                            (self.seed,))
            if found is not None:
                raise self.stop(found, case, hidden)
        self.where, self.at = "after its last case", {}
        session.check()
        raise _Stop("right", f"{len(self.cases)} cases, {sum(h for _, h in self.cases)} of them hidden", "right")

    def stop(self, found: Finding, case: Case, hidden: bool) -> _Stop:
        """A finding, for instructor and student. Of a hidden case the student hears nothing but what is safe."""
        if found.kind == "not attempted":
            return _Stop("not attempted", "it, or what it needs, is as released", "there is no answer yet")
        if hidden:
            return _Stop("wrong", f"{found.text} ({self.where})", found.safe, mistake=found.mistake, **self.at)
        return _Stop("wrong", f"{found.text} ({self.where})", f"{found.text} (case: {case.name})",
                     mistake=found.mistake, **self.at)


def _refuse(kind: dict[str, Any], unbound: Callable[[], _Stop]) -> None:
    """What lab.check.refuse refuses. What is said here comes from the student's process: it decides nothing that the
    cases would not decide too."""
    if not kind.get("bound"):
        raise unbound()
    if kind.get("nothing"):
        raise _Stop("not attempted", f"it is {'None' if kind.get('type') == 'NoneType' else '...'}",
                    "there is no answer yet")
    if not kind.get("callable"):
        raise _Stop("wrong", f"hand in the function itself, without calling it, not {kind.get('type')}")
    if str(kind.get("module")).startswith("vos_teach."):
        raise _Stop("wrong", "that is the library's own :-) right, but not yours: write it yourself")


def _guarded(spec: Exercise, case: Case, kind: str) -> Case:
    """The case, whose draws, if they fail, are nobody's mistake but its author's."""

    def calls(rng: Any) -> Sequence[tuple]:
        try:
            return case.calls(rng)
        except Exception as error:
            raise VosError(f"the {kind} case '{case.name}' of '{spec.name}' cannot be drawn "
                           f"({type(error).__name__}: {error}): correct it and grade again") from None

    return replace(case, calls=calls)


def _ask(session: Any, name: str, case: Case, call: tuple) -> Any:
    """One call of the answer over there. Whether it damaged its arguments is seen here."""
    try:
        reply = session.call(name, call, case.grad, _address(case, case.prepare), _address(case, case.collect))
    except Raised as error:
        if _memory(error.name, str(error)):
            raise Lost("out of memory", f"it raised {error.name}") from None
        raise
    for i, before in enumerate(call):
        try:
            damaged = changed(before, reply.args_after[i])
        except Exception:  # not even of the same kind any more
            damaged = True
        if damaged:
            raise Damage(i + 1)
    if case.grad is not None and not _pair(reply.result):
        raise NoGradient
    return reply.result


def _pair(result: Any) -> bool:
    return type(result) in (tuple, list) and len(result) == 2 and all(isinstance(r, torch.Tensor) for r in result)


def _address(case: Case, function: Callable | None) -> str | None:
    if function is None:
        return None
    if "." in function.__qualname__ or "<" in function.__qualname__:
        raise VosError(f"case '{case.name}': {function.__qualname__} must be a function of a module, to be found there")
    return f"{function.__module__}:{function.__qualname__}"


def _memory(name: str, message: str) -> bool:
    return name in ("MemoryError", "_ArrayMemoryError", "ArrayMemoryError") or (
        name == "RuntimeError" and "allocate memory" in message)


def _clean(text: str) -> str:
    """One line that is the same in every run: no addresses, nothing that a terminal would obey."""
    text = re.sub(r"0x[0-9a-fA-F]{4,}", "0x...", " ".join(text.split()))
    return "".join(c if c.isprintable() else "?" for c in text)[:400]
