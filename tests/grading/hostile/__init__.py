"""The hostile class: one small function per student, which writes what that student hands in, and what it deserves.

A student is a function of this package with the decorator `student`. Its docstring says what is tried; its name, with
hyphens, is the student's. `deserves` lists, exercise by exercise, the outcomes that are acceptable; every exercise that
is not listed must be right with full marks. Attacks know where everything is (`World`): nothing is safe because nobody
knows its path.
"""

from __future__ import annotations

import copy
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vos_teach.grading import source
from vos_teach.grading.travelled import filled, inserted

LEAK = "VOSLEAK"  # what attacks print, raise or write of a hidden case starts with this; in their text it is in pieces
DAEMON = "vosdaemon"  # the name that attacks give to processes that are to survive
LAB = "lab1"
EXERCISES = ("lab1.balanced_bce", "lab1.finetune", "lab1.online_targets", "lab1.modulate", "lab1.mask_gaussian")
MACHINE = (*EXERCISES, *(f"lab1.q_{q}" for q in ("limits", "one_frame", "flicker", "onavos", "slow", "modulation")))

RIGHT = frozenset({"right"})
WRONG = frozenset({"wrong"})
CAUGHT = frozenset({"wrong", "tampered", "died"})  # a forgery that must not pay; how it ends is the sandbox's affair
STOPPED = frozenset({"wrong", "tampered", "died", "time-out", "out of memory", "not attempted"})
EMPTY = frozenset({"not attempted", "does not parse"})


@dataclass(frozen=True)
class World:
    """Where the things are that nobody may touch. port: of a listener on 127.0.0.1, TCP and UDP."""

    course: Path
    submissions: Path
    home: Path  # the instructor's own files
    neighbour: Path  # another student's notebook
    port: int = 9


@dataclass(frozen=True)
class Student:
    """One member of the class.

    deserves: exercise -> outcomes; fate: of the whole submission, one of these; held: whether a human must look at it,
    None where either is fine; says: exercise or "" (the whole submission) -> a pattern that the reason must contain
    """

    name: str
    make: Callable[[Desk], None]
    deserves: dict[str, frozenset[str]] = field(default_factory=dict)
    fate: frozenset[str] = frozenset({"graded"})
    held: bool | None = None
    says: dict[str, str] = field(default_factory=dict)
    repaired: str = ""  # a pattern that one of the repairs must contain
    kind: str = ""  # the module that it comes from

    def outcomes(self, exercise: str) -> frozenset[str]:
        """The outcomes that are acceptable."""
        return self.deserves.get(exercise, RIGHT)


class Desk:
    """Where one student writes. `answered` is the release with all answers right, `released` is untouched."""

    def __init__(self, folder: Path, released: dict, answered: dict, stem: str, world: World):
        self.folder, self.stem, self.world = folder, stem, world
        self._released, self._answered = released, answered

    @property
    def released(self) -> dict:
        return copy.deepcopy(self._released)

    @property
    def answered(self) -> dict:
        return copy.deepcopy(self._answered)

    def right(self, exercise: str) -> str:
        """The right answer's cell."""
        return text(self._answered, exercise.replace(".", "-"))

    def answer(self, exercise: str, code: str, before: str = "") -> dict:
        """The notebook, with this answer under its sentinel, and an own cell before it."""
        name = exercise.replace(".", "-")
        out = filled(self._answered, {name: f"{source.sentinel(exercise)}\n{clean(code)}"})
        return inserted(out, name, clean(before)) if before else out

    def give(self, exercise: str, code: str, before: str = "") -> None:
        """Hand in the notebook with this answer."""
        self.hand_in(self.answer(exercise, code, before))

    def hand_in(self, notebook: dict | str | bytes, name: str | None = None) -> Path:
        """Write a notebook, or whatever else is handed in as one."""
        path = self.folder / (name or f"{self.stem}.ipynb")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps(notebook) if isinstance(notebook, dict) else notebook
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path


def clean(code: str) -> str:
    """Code without the indentation that it has in a test."""
    return textwrap.dedent(code).strip("\n")


def text(notebook: dict, name: str) -> str:
    """The text of the cell of that id."""
    return next("".join(c["source"]) for c in notebook["cells"] if c.get("id") == name)


CLASS: dict[str, Student] = {}


def student(deserves: dict[str, frozenset[str]] | None = None, fate: str | frozenset[str] = "graded",
            held: bool | None = None, says: dict[str, str] | None = None, repaired: str = "") -> Any:
    """Enrol the student whom the decorated function makes."""

    def enrol(make: Callable[[Desk], None]) -> Callable[[Desk], None]:
        name = make.__name__.strip("_").replace("_", "-")
        assert name not in CLASS and make.__doc__, name
        fates = frozenset({fate}) if isinstance(fate, str) else fate
        CLASS[name] = Student(name, make, deserves or {}, fates, held, says or {}, repaired,
                              make.__module__.rpartition(".")[2])
        return make

    return enrol


def build(students: list[str], released: dict, answered: dict, stem: str, world: World) -> None:
    """Write what these students hand in: SUBMISSIONS/STUDENT/lab1/..."""
    for name in students:
        folder = world.submissions / name / LAB
        folder.mkdir(parents=True)
        CLASS[name].make(Desk(folder, released, answered, stem, world))


from hostile import breakers, cells, files, forgers, legal, shadows, tellers, thieves  # noqa: E402, F401
