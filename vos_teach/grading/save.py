"""Judged submissions -> nbgrader's gradebook, by nbgrader's own converters; then feedback and tables.

Nothing is executed here. A judged notebook is written as if it had been executed, with each verdict as its check
cell's output, and nbgrader's `autograde --no-execute` takes it from there. There is one writer. Whatever was cut short
is done again by the next call; what is in the gradebook already is left alone, and so is all that humans wrote there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nbconvert.exporters import Exporter
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from traitlets import Type
from traitlets.config import Config, PyFileConfigLoader

from vos_teach.data.png import write_bytes
from vos_teach.errors import VosError
from vos_teach.grading.course import Heard, configure, environment_kept
from vos_teach.grading.feedback import HIDDEN, LABELS, WRONG, Page
from vos_teach.grading.records import Mark, Prepared, Record

BATCH = 20  # students between two notes of what is done
FORM = 1  # of what is saved; another form: all is saved again

Pair = tuple[Prepared, Record]


class Course:
    """nbgrader's course folder and one lab of it."""

    def __init__(self, folder: Path, lab: str):
        self.folder, self.lab = Path(folder).resolve(), lab
        found = sorted((self.folder / "source" / lab).glob("*.ipynb"))
        if len(found) != 1:
            raise VosError(f"'{self.folder / 'source' / lab}' holds {len(found)} notebooks instead of one: run "
                           "vos-teach labs build")
        self.source, self.stem = found[0], found[0].stem
        self.heard = Heard()
        self.log = logging.Logger("nbgrader", logging.ERROR)
        self.log.addHandler(self.heard)
        own = self.folder / "nbgrader_config.py"
        self.config = PyFileConfigLoader(own.name, str(self.folder)).load_config() if own.is_file() else Config()
        if not own.is_file():
            configure(self.config, self.folder)
        self.directory = self._directory()
        self.db = self.directory.db_url

    def _directory(self, **more: Any) -> CourseDirectory:
        return CourseDirectory(config=self.config, assignment_id=self.lab, **more)

    def book(self) -> Gradebook:
        """The gradebook, to be used in a `with`."""
        return Gradebook(self.db, self.directory.course_id)

    def convert(self, kind: Any, students: Sequence[str], said: str, executed: Path | None = None, **more: Any) -> None:
        """Run one of nbgrader's converters for these students. Raises VosError if it fails.

        executed: the folder of the submissions, if it is not submitted/.
        """
        where = self._directory(**({"submitted_directory": str(executed)} if executed else {}))
        try:
            made = kind(coursedir=where, config=self.config, log=self.log, force=True, **more)
            made.students = list(students)
            made.start()
        except (NbGraderException, SystemExit, MissingEntry):
            raise VosError(f"nbgrader cannot {said} of {self.lab}: {self.heard.cause()}") from None

    def ready(self) -> None:
        """Have the assignment in the gradebook as the source has it now."""
        want = self._wanted()
        if self._known() != want:
            self.convert(GenerateAssignment, (), "make the release")
            if (known := self._known()) != want:
                raise VosError(f"nbgrader's gradebook has other cells of {self.lab} than '{self.source}' "
                               f"({', '.join(sorted(set(known or {}) ^ set(want))[:4]) or 'their points differ'})")

    def _wanted(self) -> dict[str, float]:
        cells = json.loads(self.source.read_text(encoding="utf-8"))["cells"]
        about = [c["metadata"]["nbgrader"] for c in cells if "nbgrader" in c["metadata"]]
        return {a["grade_id"]: float(a["points"]) for a in about if a["grade"]}

    def _known(self) -> dict[str, float] | None:
        """grade_id -> points; None if what is there is older than the source."""
        released = self.folder / "release" / self.lab / f"{self.stem}.ipynb"
        if not released.is_file() or released.stat().st_mtime < self.source.stat().st_mtime:
            return None
        with self.book() as book:
            try:
                cells = book.find_notebook(self.stem, self.lab).grade_cells
                return {cell.name: float(cell.max_score) for cell in cells}
            except MissingEntry:
                return None


class _Autograde(Autograde):
    """nbgrader's, for chosen students, from a folder of notebooks that were executed elsewhere."""

    students: Sequence[str] = ()

    def init_notebooks(self) -> None:
        """No pattern is put to the disk: a folder's name may hold anything."""
        self.assignments = _notebooks(self)

    def _format_source(self, assignment_id: str, student_id: str, escape: bool = False) -> str:
        if not self._sanitizing or not escape:
            return super()._format_source(assignment_id, student_id, escape)
        where = re.escape(self.coursedir.submitted_directory)  # nbgrader does not
        return re.escape(os.sep).join((where, student_id, assignment_id))


class _Feedback(GenerateFeedback):
    """nbgrader's, for chosen students."""

    students: Sequence[str] = ()
    exporter_class = Type(Page, klass=Exporter)

    def init_notebooks(self) -> None:
        """Those students' notebooks."""
        self.assignments = _notebooks(self)


def _notebooks(converter: Any) -> dict[str, list[str]]:
    folders = [converter._format_source(converter.coursedir.assignment_id, student) for student in converter.students]
    return {folder: [str(path) for path in sorted(Path(folder).glob("*.ipynb"))] for folder in folders}


def save(course: Path, lab: str, run: Path, records: list[Pair]) -> None:
    """Bring the gradebook, feedback/ and the tables up to these records.

    course: the folder with source/LAB/ and gradebook.db. run: the run's folder; executed/ and saved/ are written there.
    Marks that humans gave stay. Raises VosError if nbgrader fails, or if the gradebook then says anything else than the
    records do.
    """
    from vos_teach.grading import exporters

    run = Path(run).resolve()
    with environment_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # of nbgrader's own use of SQLAlchemy
        there = Course(course, lab)
        there.ready()
        release = json.loads((there.folder / "release" / lab / f"{there.stem}.ipynb").read_text(encoding="utf-8"))
        todo = []
        for prepared, record in records:
            data = executed(prepared, record, release)
            digest = hashlib.sha256(data + _comments(record).encode() + bytes([FORM])).hexdigest()
            if not _done(there, run, record, digest):
                todo.append((prepared, record, data, digest))
        for at in range(0, len(todo), BATCH):
            _batch(there, run, todo[at : at + BATCH])
        _right(there, [record for _, record in records])
        exporters.note(there.folder, lab, [record for _, record in records])
        exporters.tables(there, run)


def _batch(course: Course, run: Path, todo: Sequence[tuple[Prepared, Record, bytes, str]]) -> None:
    ours = {}
    for _, record, data, _ in todo:
        ours[record.student] = _flagged(run, record.student)
        _note(run, record.student, None, ours[record.student] or record.held)
        path = run / "executed" / record.student / course.lab / f"{course.stem}.ipynb"
        for old in path.parent.glob("*") if path.parent.is_dir() else ():
            old.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
        handed = course.folder / course.directory.submitted_directory / record.student / course.lab / "timestamp.txt"
        if handed.is_file() and not handed.is_symlink() and handed.stat().st_size < 1000:
            shutil.copyfile(handed, path.parent / handed.name)  # nbgrader reckons lateness by it
    students = [record.student for _, record, _, _ in todo]
    with _no_execution(course):
        course.convert(_Autograde, students, "save the marks", run / "executed")
    with course.book() as book:
        for _, record, _, _ in todo:
            _annotate(book, course, record, ours[record.student])
        book.db.commit()
    course.convert(_Feedback, students, "write the feedback")
    for _, record, _, digest in todo:
        _note(run, record.student, digest, record.held)


class _no_execution:
    """nbgrader's flag --no-execute."""

    def __init__(self, course: Course):
        self.config = course.config

    def __enter__(self) -> None:
        self.config.Execute.enabled = False
        self.config.ClearOutput.enabled = False

    def __exit__(self, *_: object) -> None:
        del self.config.Execute["enabled"], self.config.ClearOutput["enabled"]


def _state(run: Path, student: str) -> dict[str, Any]:
    try:
        found = json.loads((run / "saved" / f"{student}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _flagged(run: Path, student: str) -> bool:
    """Whether it was this program that flagged the submission in nbgrader, and no human."""
    return bool(_state(run, student).get("flagged"))


def _note(run: Path, student: str, digest: str | None, flagged: bool) -> None:
    (run / "saved").mkdir(parents=True, exist_ok=True)
    write_bytes(run / "saved" / f"{student}.json", json.dumps({"digest": digest, "flagged": flagged}).encode())


def _done(course: Course, run: Path, record: Record, digest: str) -> bool:
    """Whether this is saved already, and still there."""
    pages = [course.folder / step / record.student / course.lab / f"{course.stem}.{end}" for step, end in (
        (course.directory.autograded_directory, "ipynb"), (course.directory.feedback_directory, "html"))]
    if _state(run, record.student).get("digest") != digest or not all(p.is_file() for p in pages):
        return False
    with course.book() as book:
        return not _differences(book, course, record)


# ---- a judged notebook as if it had been executed

def executed(prepared: Prepared, record: Record, release: dict[str, Any]) -> bytes:
    """The notebook as nbgrader wants it: each check cell has its verdict as its output."""
    marks = {mark.exercise: mark for mark in record.marks}
    notebook = prepared.notebook if prepared.fate == "graded" and prepared.notebook else release
    cells = []
    for cell in notebook["cells"]:
        cell = dict(cell)
        about = cell["metadata"].get("nbgrader", {})
        if about.get("grade") and not about.get("solution"):
            name = exercise_of(about["grade_id"])
            if name not in marks:
                raise VosError(f"'{record.student}' has no mark of '{name}', which {record.lab} asks for: grade again")
            cell |= {"outputs": [verdict(marks[name])], "execution_count": None}
        cells.append(cell)
    whole = {**notebook, "cells": cells}
    return (json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def exercise_of(grade_id: str) -> str:
    """lab1-balanced_bce-check -> lab1.balanced_bce."""
    return grade_id.removesuffix("-check").replace("-", ".", 1)


def verdict(mark: Mark) -> dict[str, Any]:
    """A mark as an output from which nbgrader reads the same score. Two lines, and nothing of a hidden case."""
    said = told(mark)
    if mark.score is None:
        raise VosError(f"'{mark.exercise}' has a check cell but no score")
    if mark.score >= mark.points:
        text = f"Right - {mark.exercise}\n" + (f"{said}\n" if said and said != "right" else "")
        return {"output_type": "stream", "name": "stdout", "text": text}
    if mark.score > 0:
        return {"output_type": "execute_result", "data": {"text/plain": str(mark.score)}, "metadata": {},
                "execution_count": None}
    label = LABELS.get(mark.outcome, WRONG)
    return {"output_type": "error", "ename": label, "evalue": said, "traceback": [f"{label} - {mark.exercise}", said]}


def told(mark: Mark) -> str:
    """What a student is told of a mark; should it name a hidden case after all, nothing but that it is not right."""
    if mark.hidden and mark.case and mark.case in mark.said:
        return HIDDEN
    return mark.said


def _comments(record: Record) -> str:
    return json.dumps([record.said, record.held, *([m.exercise, told(m)] for m in record.marks)])


# ---- what goes beside the scores, and whether all is as it should be

def _annotate(book: Gradebook, course: Course, record: Record, ours: bool) -> None:
    """Comments, the flag, and what is known of the student. Nothing that a human wrote is touched."""
    notebook = book.find_submission_notebook(course.stem, course.lab, record.student)
    marks = {mark.exercise: mark for mark in record.marks}
    for comment in notebook.comments:
        if (mark := marks.get(exercise_of(comment.name))) is not None and mark.outcome != "by hand":
            comment.auto_comment = told(mark)
        elif record.fate != "graded":
            comment.auto_comment = record.said
    if record.held or ours:
        notebook.flagged = record.held
    student = book.find_student(record.student)
    if student.lms_user_id is None and (found := re.search(r"_(\d{2,})$", record.student)):
        student.lms_user_id = found[1]


def _differences(book: Gradebook, course: Course, record: Record) -> list[str]:
    """What the gradebook has otherwise than the record, a few words each."""
    try:
        notebook = book.find_submission_notebook(course.stem, course.lab, record.student)
    except MissingEntry:
        return ["nothing is there"]
    marks = {mark.exercise: mark for mark in record.marks}
    found, out = set(), []
    for grade in notebook.grades:
        name = exercise_of(grade.name)
        found.add(name)
        if (mark := marks.get(name)) is None:
            out.append(f"{name} has no mark")
        elif mark.score is None:  # by hand: waits for a human, unless nothing was written
            if grade.auto_score not in (None, 0.0) or (grade.auto_score is None and not grade.needs_manual_grade):
                out.append(f"{name} should wait for a human, not have {grade.auto_score}")
        elif grade.auto_score is None or abs(grade.auto_score - mark.score) > 1e-9:
            out.append(f"{name} has {grade.auto_score} instead of {mark.score}")
        elif grade.needs_manual_grade and grade.manual_score is None:
            out.append(f"{name} waits for a human, though it has {mark.score}")
    out += [f"{name} is missing" for name in marks.keys() - found]
    for comment in notebook.comments:
        mark = marks.get(exercise_of(comment.name))
        if mark is not None and mark.outcome != "by hand" and comment.auto_comment != told(mark):
            out.append(f"the comment on {comment.name} differs")
    return out


def _right(course: Course, records: Iterable[Record]) -> None:
    """Raise VosError unless the gradebook says what the records say."""
    with course.book() as book:
        for record in records:
            if wrong := _differences(book, course, record):
                raise VosError(f"the gradebook does not have the marks of '{record.student}': {'; '.join(wrong[:3])}. "
                               f"Delete '{course.folder / 'autograded' / record.student / course.lab}' and save again")
