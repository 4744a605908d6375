"""Tables of marks that Canvas and Moodle import, as plugins of `nbgrader export`.

    nbgrader export --exporter=vos_teach.grading.exporters.CanvasExport --to canvas.csv
    nbgrader export --exporter=vos_teach.grading.exporters.MoodleExport --to moodle.csv

Scores come from the gradebook. What the gradebook has no room for (outcomes, flags, what is held for review) is kept
beside it, in graded/LAB.json, by `save`.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.plugins import ExportPlugin
from traitlets import Dict, List

from vos_teach.data.png import write_bytes
from vos_teach.errors import VosError
from vos_teach.grading.records import Record

# Canvas makes an assignment of every column that it does not know, unless its name has one of its own columns' in it.
BESIDE = "(beside Final Score)"
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade", "Grade can be changed",
          "Last modified (submission)", "Last modified (grade)", "Feedback comments", "Outcome", "Held for review",
          "Flags")


def note(course: Path, lab: str, records: Iterable[Record]) -> Path:
    """Keep beside the gradebook what it has no room for; students who are not among these records stay as they are."""
    path = course / "graded" / f"{lab}.json"
    kept = _notes(course, lab)
    for record in records:
        kept[record.student] = {
            "fate": record.fate, "reason": record.reason, "held": record.held, "flags": record.flags,
            "sandbox": record.sandbox, "seed": record.seed,
            "marks": [{k: v for k, v in asdict(mark).items() if k not in ("seconds", "peak")} for mark in record.marks]}
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False).encode())
    return path


def _notes(course: Path, lab: str) -> dict[str, Any]:
    try:
        found = json.loads((course / "graded" / f"{lab}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def tables(course: Any, run: Path) -> list[Path]:
    """Write marks_canvas.csv and marks_moodle.csv of the course's lab into the run's folder (course: save.Course)."""
    out = []
    with course.book() as book:
        for kind in (CanvasExport, MoodleExport):
            plugin = kind(config=course.config)
            plugin.assignment, plugin.to = [course.lab], str(run / f"marks_{plugin.name}.csv")
            plugin.export(book)
            out.append(Path(plugin.to))
    return out


class _Export(ExportPlugin):
    """What both have in common: one row for each student, from the gradebook and the notes beside it."""

    name = ""
    folder: Path | None = None  # of the gradebook

    def export(self, gradebook: Gradebook) -> None:
        """Write the table to `self.to`."""
        known = [a.name for a in gradebook.assignments]
        labs = [name for name in known if not self.assignment or name in map(str, self.assignment)]
        if not labs:
            raise VosError(f"the gradebook has no assignment {', '.join(map(str, self.assignment)) or 'at all'}: "
                           f"it has {', '.join(known) or 'none'}")
        base = gradebook.engine.url.database
        self.folder = Path(base).resolve().parent if base else Path.cwd()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\r\n")
        for row in self.rows(gradebook, labs):
            writer.writerow([tame(cell) for cell in row])
        write_bytes(Path(self.to or f"{self.name}.csv"), text.getvalue().encode("utf-8"))

    def rows(self, book: Gradebook, labs: Sequence[str]) -> Iterator[Sequence[Any]]:
        """The table, its head first."""
        raise NotImplementedError

    def students(self, book: Gradebook) -> list[Any]:
        """Those that were asked for, in the order of their names."""
        wanted = set(map(str, self.student))
        return sorted((s for s in book.students if not wanted or s.id in wanted), key=lambda s: s.id)

    def score(self, book: Gradebook, lab: str, student: str) -> tuple[float | None, Any]:
        """(score less what is taken off for lateness, the submission); None where nothing was handed in."""
        try:
            found = book.find_submission(lab, student)
        except MissingEntry:
            return None, None
        return max(0.0, found.score - (found.late_submission_penalty or 0.0)), found

    def about(self, lab: str, student: str, found: Any) -> tuple[str, str, str]:
        """(outcome, held, flags) in words."""
        kept = _notes(self.folder or Path.cwd(), lab).get(student, {})
        if found is None:
            return "nothing handed in", "", ""
        if kept.get("fate", "graded") != "graded":
            outcome = f"{kept['fate']}: {kept.get('reason', '')}"
        else:
            odd = [f"{m['exercise']}: {m['outcome']}" for m in kept.get("marks", ())
                   if m["outcome"] not in ("right", "wrong", "not attempted", "by hand")]
            outcome = "; ".join(["graded", *odd]) if kept else "graded by nbgrader"
        if found.needs_manual_grade:
            outcome += "; waits for marks by hand"
        held = "yes" if kept.get("held") or any(n.flagged for n in found.notebooks) else "no"
        return outcome, held, "; ".join(kept.get("flags", ()))


class CanvasExport(_Export):
    """Canvas's gradebook: Grades, Import. Columns of its own beside the marks are made so that Canvas passes over them.

    A student is found by ID (Canvas's own number: the digits in the name of a downloaded submission, or nbgrader's
    lms_user_id), else by SIS Login ID (nbgrader's student id).
    """

    name = "canvas"
    ids = Dict(help="assignment -> Canvas's number of it, for the column's name 'lab1 (12345)'").tag(config=True)
    section = List([], help="not used; Canvas only wants the column").tag(config=False)

    def rows(self, book: Gradebook, labs: Sequence[str]) -> Iterator[Sequence[Any]]:
        """Head, points possible, one row for each student."""
        more = [f"{lab} {word} {BESIDE}" for lab in labs for word in ("outcome", "held for review", "flags")]
        yield [*CANVAS, *(f"{lab} ({self.ids[lab]})" if lab in self.ids else lab for lab in labs), *more]
        yield ["    Points Possible", "", "", "", "", *(number(book.find_assignment(lab).max_score) for lab in labs),
               *("(read only)" for _ in more)]
        for student in self.students(book):
            scores, extra = [], []
            for lab in labs:
                score, found = self.score(book, lab, student.id)
                scores.append("" if score is None else number(score))
                extra += self.about(lab, student.id, found)
            yield [full_name(student, last_first=True), lms(student), "", student.id, "", *scores, *extra]


class MoodleExport(_Export):
    """Moodle's offline grading worksheet: assignment, View all submissions, Upload grading worksheet.

    A student is found by Identifier, "Participant 123": the digits in the name of a downloaded submission's folder, or
    nbgrader's lms_user_id. One assignment for each table: the last, where none is named.
    """

    name = "moodle"

    def rows(self, book: Gradebook, labs: Sequence[str]) -> Iterator[Sequence[Any]]:
        """Head, one row for each student."""
        lab = labs[-1]
        yield MOODLE
        most = number(book.find_assignment(lab).max_score)
        for student in self.students(book):
            score, found = self.score(book, lab, student.id)
            outcome, held, flags = self.about(lab, student.id, found)
            when = found.timestamp.isoformat(" ") if found is not None and found.timestamp else "-"
            yield [f"Participant {lms(student)}" if lms(student) else "", full_name(student), student.email or "",
                   "No submission" if found is None else "Submitted for grading",
                   "" if score is None else number(score), most, "Yes", when, "-",
                   self.comments(lab, student.id), outcome, held, flags]

    def comments(self, lab: str, student: str) -> str:
        """What the student is told, as HTML: a line for each exercise that has not its full mark."""
        kept = _notes(self.folder or Path.cwd(), lab).get(student, {})
        lines = [f"{m['exercise']}: {number(m['score'])} of {number(m['points'])} - {m['said']}"
                 for m in kept.get("marks", ()) if m["score"] is not None and m["score"] < m["points"]]
        return "<br>".join(html.escape(" ".join(line.split())) for line in lines)


def full_name(student: Any, last_first: bool = False) -> str:
    """As the gradebook has it; else the student's id without the number at its end."""
    first, last = student.first_name or "", student.last_name or ""
    if first or last:
        return ", ".join(p for p in (last, first) if p) if last_first else " ".join(p for p in (first, last) if p)
    return re.sub(r"_\d+$", "", student.id).replace("_", " ")


def lms(student: Any) -> str:
    """Canvas's or Moodle's number of a student, or nothing."""
    found = re.search(r"_(\d{2,})$", student.id)
    return str(student.lms_user_id or "") or (found[1] if found else "")


def number(value: float | None) -> str:
    """A score as both read it: a point, no zeros at the end."""
    return "" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


def tame(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula; its text may come from a student."""
    text = str(value)
    text = "".join(c if c.isprintable() or c == " " else " " for c in text)
    formula = re.match(r"[=+\-@]", text) and not re.fullmatch(r"-|-?[\d.]+", text)
    return f"'{text}" if formula else text
