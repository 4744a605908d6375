"""A class graded: prepare, judge, save. Each step can be cut short and run again; no mark is lost, none is made twice.

The run's folder holds run.json (lab, seed, versions), prepared/STUDENT.json, records/STUDENT.json (each written when
it is done, whole or not at all), changes.json, and what saving and reporting add.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vos_teach.data.png import write_bytes
from vos_teach.errors import VosError
from vos_teach.grading import pool, sandbox, similar
from vos_teach.grading.folder import REFERENCE, changes, hashed, keep, key_of, locked, new_scratch, record_at, versions
from vos_teach.grading.judge import Asked, asked, unread
from vos_teach.grading.records import Cell, Mark, Prepared, Record, read_record, record_from, write


@dataclass(frozen=True)
class Task:
    """What is to be graded, and how.

    course  the folder that holds source/LAB/ and hidden/        out  the run's folder
    seed    None: the run's own, drawn once                      only  these students; None: all
    """

    submissions: Path
    lab: str
    course: Path
    out: Path
    jobs: int = 2
    scheduler: str | None = None
    sandbox: str = "auto"
    seed: int | None = None
    seconds: float = 60  # of processor time, for each exercise
    memory: float = 3  # GB
    only: Sequence[str] | None = None
    save: bool = True


@dataclass
class Class:
    """What came of it. kept: how many records were there already; changes: marks that are others than before."""

    pairs: list[tuple[Prepared, Record]]
    seed: int
    kept: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def grade(task: Task, heard: Callable[[str], None] = print, bar: Callable[..., Any] | None = None) -> Class:
    """Grade a class, or go on where an earlier call was cut.

    heard: gets a sentence now and then. bar: tqdm, or what behaves like it. Raises VosError for what is wrong with the
    course or this machine; nothing that a student hands in raises.
    """
    if task.sandbox == "auto":
        task = replace(task, sandbox=sandbox.choose("auto"))
        heard(f"sandbox: {task.sandbox}")
    notebook, answered = release(task.course, task.lab)
    parts = asked(notebook)
    with locked(task.out):
        seed = _run(task)
        prepared = prepare(task, notebook, heard)
        inputs = common(task, notebook, seed)
        todo, kept = [], 0
        for one in prepared:
            key, its = key_of(one, inputs)
            path = task.out / "records" / f"{one.student}.json"
            if record_at(path, key) is not None:
                kept += 1
            else:
                todo.append(_job(task, one, parts, seed, key, its))
        if kept:
            heard(f"{kept} of {len(prepared)} submissions are judged already")
        if todo:
            judge_all(task, _with_reference(task, answered, parts, seed, inputs, todo), bar)
        pairs = [(one, read_record(path)) for one in everyone(task, prepared)
                 if (path := task.out / "records" / f"{one.student}.json").is_file()]
        alike = _alike(pairs, notebook, answered, heard)
        done = Class(similar.flagged(pairs, alike), seed, kept, changes(pairs))
        write_bytes(task.out / "changes.json", json.dumps(done.changes, indent=1, ensure_ascii=False).encode())
        _report(task, done, alike)
        if task.save:
            _save(task, done, heard)
        return done


# ---- the course

def release(course: Path, lab: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the notebook that students got, the same with the answers). Raises VosError where the course has none."""
    found = sorted((course / "source" / lab).glob("*.ipynb"))
    if len(found) != 1:
        raise VosError(f"'{course / 'source' / lab}' holds {len(found)} notebooks instead of one: run vos-teach labs "
                       "build, and give the folder assignments as --course")
    text = found[0].read_text(encoding="utf-8")
    given = course / "release" / lab / found[0].name
    if given.is_file():
        return json.loads(given.read_text(encoding="utf-8")), json.loads(text)
    beside = course.resolve().parent / "notebooks" / found[0].name
    if beside.is_file():
        return json.loads(beside.read_text(encoding="utf-8")), json.loads(text)
    from vos_teach.grading.course import release as made

    return json.loads(made({lab: (found[0].stem, text)})[lab]), json.loads(text)


def reference(answered: dict[str, Any], lab: str) -> Prepared:
    """The notebook with the answers, as if it had been handed in."""
    from vos_teach.grading import source

    marker = re.compile(rf"^[ \t]*({source.BEGIN}|{source.END})[ \t]*\n?", re.M)
    cells = []
    for cell in answered["cells"]:
        if cell["cell_type"] == "code":
            about = cell.get("metadata", {}).get("nbgrader", {})
            name = about["grade_id"].removesuffix("-check").replace("-", ".", 1) if about else None
            kind = "check" if about.get("grade") else "answer" if about.get("solution") else "release"
            cells.append(Cell(cell["id"], marker.sub("", "".join(cell["source"])), kind, name))
    text = json.dumps(answered, sort_keys=True)
    return Prepared(REFERENCE, lab, digest=hashlib.sha256(text.encode()).hexdigest(), notebook=answered, cells=cells)


# ---- preparing

def _run(task: Task) -> int:
    """run.json, made or read: the seed."""
    path = task.out / "run.json"
    try:
        old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        lab, seed = old.get("lab", task.lab), int(old.get("seed", secrets.randbits(31)))
    except (ValueError, AttributeError, TypeError):
        raise VosError(f"'{path}' is damaged: choose another --out, or restore it") from None
    if lab != task.lab:
        raise VosError(f"'{task.out}' holds a run of {lab}: choose another --out for {task.lab}")
    if task.seed is not None:
        seed = task.seed
    said = {"lab": task.lab, "seed": seed, "versions": versions(), "submissions": str(task.submissions),
            "limits": _limits(task), "sandbox": task.sandbox}
    if said != old:
        write_bytes(path, json.dumps(said, indent=1, sort_keys=True).encode())
    return seed


def _limits(task: Task) -> dict[str, Any]:
    """Of an exercise. Processor time decides; the clock only ends who sleeps, so that a busy machine costs no marks."""
    return {"wall": 3.0 * task.seconds, "cpu": float(task.seconds), "memory": int(task.memory * 2**30), "start": 600.0}


def common(task: Task, notebook: dict[str, Any], seed: int) -> dict[str, str]:
    """What all marks of a run depend on, beside the submissions: a hash each."""
    return {"release": hashed(notebook), "hidden cases": pool.hidden_cases(task.course / "hidden", task.lab),
            "package": pool.package(), "seed": str(seed), "limits": hashed(_limits(task)),
            "sandbox": "none" if task.sandbox == "none" else "on"}


def prepare(task: Task, notebook: dict[str, Any], heard: Callable[[str], None]) -> list[Prepared]:
    """Every submission of this run, made to fit the release; written to prepared/."""
    from vos_teach.grading.collect import find
    from vos_teach.grading.prepare import prepare as library

    found = find(task.submissions, task.lab)
    if task.only is not None:
        if unknown := sorted(set(task.only) - set(found)):
            raise VosError(f"'{task.submissions}' has nothing of {', '.join(unknown)}")
        found = {student: found[student] for student in found if student in task.only}
    if not found:
        raise VosError(f"'{task.submissions}' holds no submission: one folder for each student, or one notebook each")
    done = []
    for student in sorted(found):
        try:
            one = library(student, found[student], notebook, task.lab)
        except VosError as error:
            one = Prepared(student, task.lab, "unreadable", str(error))
        except (Exception, RecursionError) as error:  # a surprise in one submission must not stop the class
            why = f"it could not be prepared: {type(error).__name__}: {error}"
            one = Prepared(student, task.lab, "unreadable", why, flags=["preparing it failed"])
        write(task.out / "prepared" / f"{student}.json", one)
        done.append(one)
    heard(f"{len(done)} submissions of {task.lab}")
    return done


def everyone(task: Task, prepared: Sequence[Prepared]) -> list[Prepared]:
    """With --students: also those who were prepared earlier, for gradebook and report."""
    if task.only is None:
        return list(prepared)
    from vos_teach.grading.records import read_prepared

    mine = {one.student: one for one in prepared}
    for path in (task.out / "prepared").glob("*.json"):
        mine.setdefault(path.stem, read_prepared(path))
    return [mine[student] for student in sorted(mine)]


# ---- judging

def _job(task: Task, one: Prepared, parts: Sequence[Asked], seed: int, key: str, its: dict[str, str]) -> dict[str, Any]:
    plain = asdict(one)
    plain["notebook"] = {} if one.notebook is not None else None  # its cells are what is judged
    return {"prepared": plain, "parts": [asdict(p) for p in parts], "seed": seed, "key": key, "inputs": its,
            "hidden": str((task.course / "hidden").resolve()), "lab": task.lab, "level": task.sandbox,
            "limits": _limits(task), "seconds": 1200 + 4 * len(parts) * (3 * task.seconds + 30)}


def _with_reference(task: Task, answered: dict[str, Any], parts: Sequence[Asked], seed: int, inputs: dict[str, str],
                    todo: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The jobs, the course's own answers first, unless these were judged right with the same inputs."""
    one = reference(answered, task.lab)
    key, its = key_of(one, inputs)
    if record_at(task.out / "reference.json", key) is not None:
        return todo
    return [_job(task, one, parts, seed, key, its), *todo]


def judge_all(task: Task, jobs: Sequence[dict[str, Any]], bar: Callable[..., Any] | None = None) -> None:
    """Judge what is to be judged; each record is written when it comes. Raises VosError if the grader is at fault."""
    if task.scheduler:
        run = pool.cluster(jobs, task.scheduler)
    else:
        run = pool.local(jobs, max(1, task.jobs), new_scratch(task.out))
    counts: Counter[str] = Counter()
    shown = bar(total=len(jobs), unit="student", desc=f"judging {task.lab}") if bar else None
    try:
        for number, said in run:
            job = jobs[number]
            if said is not None and pool.ERROR in said:
                raise VosError(said[pool.ERROR])
            record = record_from(said) if said is not None else _died(job)
            keep(task.out, record)
            counts.update(["held"] if record.held else [], outcomes=0)
            counts.update(m.outcome for m in record.marks if m.outcome != "by hand")
            if shown is not None:
                shown.set_postfix_str(", ".join(f"{n} {what}" for what, n in sorted(counts.items()) if n))
                shown.update()
    finally:
        run.close()  # type: ignore[attr-defined]
        if shown is not None:
            shown.close()


def _died(job: dict[str, Any]) -> Record:
    """For a submission whose workers died: held for a human, and judged again in the next run."""
    from vos_teach.grading.records import prepared_from

    one = prepared_from(job["prepared"])
    why = f"the worker process died {pool.TRIES} times while it judged this"
    record = Record(one.student, one.lab, "", one.fate, why, "", [], one.repairs, [*one.flags, why], True, "",
                    job["seed"])
    record = unread(record, [Asked(**p) for p in job["parts"] if p["kind"] != "manual"])
    for mark in record.marks:
        mark.outcome, mark.said = "died", "your answers could not be judged; your instructor looks at them"
    record.said, record.inputs = "your answers could not be judged; your instructor looks at them", job["inputs"]
    record.marks += [Mark(p["name"], p["points"], None, "by hand", "a human marks this", "your instructor marks this")
                     for p in job["parts"] if p["kind"] == "manual"]
    return record


# ---- saving

def _alike(pairs: Sequence[tuple[Prepared, Record]], notebook: dict[str, Any], answered: dict[str, Any],
           heard: Callable[[str], None]) -> list[Any]:
    """Near-identical submissions. They are hostile texts: where looking at them fails, marks must still be saved."""
    try:
        return similar.find(pairs, notebook, answered)
    except Exception as error:
        heard(f"near-identical submissions were not looked for: {type(error).__name__}: {error}")
        return []


def _save(task: Task, done: Class, heard: Callable[[str], None]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="nbgrader")  # its own use of its database
        from vos_teach.grading.save import save

        heard("saving to nbgrader's gradebook")
        save(task.course, task.lab, task.out, done.pairs)
    done.files += sorted(task.out.glob("marks_*.csv"))


def _report(task: Task, done: Class, alike: Sequence[similar.Pair]) -> None:
    from vos_teach.grading import report

    done.files.append(report.write(task.out, done.pairs, alike))
