"""What is known of a submission: as prepared (before anything runs) and as judged. Plain data, kept as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vos_teach.data.png import write_bytes

OUTCOMES = ("right", "wrong", "not attempted", "time-out", "out of memory", "died", "does not parse", "cell deleted",
            "tampered", "by hand")  # of an exercise
FATES = ("graded", "no notebook", "unreadable", "wrong lab")  # of a submission


@dataclass
class Cell:
    """One code cell of a prepared notebook, in order.

    origin    "release": as released; "changed": a released cell that the student changed; "answer"; "check"; "own"
    exercise  the answer's or check's exercise or question, "lab1.balanced_bce"
    """

    id: str
    source: str
    origin: str
    exercise: str | None = None


@dataclass
class Prepared:
    """A submission made to fit the release, before anything of it runs.

    notebook  the release with the student's answers and own cells, as nbformat's dict; None if there is no notebook
    cells     its code cells
    missing   exercises whose answer cell is gone and was restored empty
    repairs   what was repaired, a sentence each; flags: what a human should look at
    """

    student: str
    lab: str
    fate: str = "graded"
    reason: str = ""
    files: list[str] = field(default_factory=list)
    digest: str = ""  # of the submitted bytes
    notebook: dict[str, Any] | None = None
    cells: list[Cell] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


@dataclass
class Mark:
    """One exercise's mark. score is None only where a human gives it.

    reason: for the instructor; said: for the student, with nothing of a hidden case in it; mistake: the usual mistake
    that it is; case: the case that was not stood, hidden or not
    """

    exercise: str
    points: float
    score: float | None
    outcome: str
    reason: str = ""
    said: str = ""
    mistake: str | None = None
    case: str | None = None
    hidden: bool = False
    seconds: float = 0.0
    peak: int = 0  # bytes


@dataclass
class Record:
    """A judged submission.

    key     of all that the marks depend on; another key means: judge again
    inputs  what the key is made of: "submission", "release", "hidden cases", "package", "seed", "limits" -> a hash
    limits  of each exercise: seconds, bytes
    before  if this replaced an earlier record with other marks: its "inputs", and its "scores" as `scores` gives them
    """

    student: str
    lab: str
    key: str
    fate: str
    reason: str
    said: str
    marks: list[Mark]
    repairs: list[str]
    flags: list[str]
    held: bool
    sandbox: str  # the level that it ran at, "none" included
    seed: int
    seconds: float = 0.0
    inputs: dict[str, str] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)

    def scores(self) -> dict[str, tuple[float | None, str, str]]:
        """exercise -> (score, outcome, reason): what two runs must agree on."""
        return {m.exercise: (m.score, m.outcome, m.reason) for m in self.marks}


def write(path: Path, thing: Prepared | Record) -> None:
    """Write it as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, json.dumps(asdict(thing), indent=1, ensure_ascii=False, sort_keys=True).encode())


def read_prepared(path: Path) -> Prepared:
    """Read what `write` wrote."""
    return prepared_from(json.loads(path.read_text(encoding="utf-8")))


def prepared_from(said: dict[str, Any]) -> Prepared:
    """A submission from plain data."""
    return Prepared(**{**said, "cells": [Cell(**c) for c in said["cells"]]})


def read_record(path: Path) -> Record:
    """Read what `write` wrote."""
    return record_from(json.loads(path.read_text(encoding="utf-8")))


def record_from(said: dict[str, Any]) -> Record:
    """A record from plain data."""
    return Record(**{**said, "marks": [Mark(**m) for m in said["marks"]]})
