"""A run's folder: its lock, the records in it, what they depend on, and which marks changed."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vos_teach.data.png import write_bytes
from vos_teach.errors import VosError
from vos_teach.grading.records import Prepared, Record, read_record, write

REFERENCE = "the course's own answers"
SCRATCH = "vos_teach_run_"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """No two graders in one run's folder. The lock goes with its process, however that ends."""
    from filelock import FileLock, Timeout

    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise VosError(f"another grader is at work in '{out}': wait for it, or choose another --out") from None
    except OSError as error:
        raise VosError(f"'{out}' cannot be used ({error.strerror or error}): choose another --out") from None
    try:
        for old in [*out.glob("records/.*.part"), *out.glob("prepared/.*.part"), *out.glob(".*.part")]:
            old.unlink(missing_ok=True)  # what a killed grader was just writing
        _sweep(out)
        yield
    finally:
        lock.release()


def new_scratch(out: Path) -> Path:
    """A new folder for temporary files, of which the run's folder keeps a note: a killed grader cannot remove it."""
    _sweep(out)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH))
    write_bytes(out / ".scratch", str(scratch).encode())
    return scratch


def _sweep(out: Path) -> None:
    with suppress(OSError, ValueError):
        old = Path((out / ".scratch").read_text())
        if old.name.startswith(SCRATCH) and old.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(old, ignore_errors=True)
        (out / ".scratch").unlink()


def versions() -> dict[str, str]:
    """What judged: of this machine."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("vos_teach", "torch", "numpy", "scipy", "opencv-python-headless", "IPython", "nbgrader"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def key_of(one: Prepared, inputs: dict[str, str]) -> tuple[str, dict[str, str]]:
    """(key, what it is made of) of a submission's record."""
    its = {**inputs, "submission": hashed([one.digest, one.fate, one.reason, one.flags])}
    return hashed(its), its


def hashed(value: Any) -> str:
    """Plain data in 16 letters."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def record_at(path: Path, key: str | None = None) -> Record | None:
    """The record there, if it has that key; a damaged one is none."""
    try:
        record = read_record(path)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record if key in (None, record.key) else None


def keep(out: Path, record: Record) -> None:
    """Write a record, with what it replaces where marks differ. The course's own answers must be right."""
    if record.student == REFERENCE:
        lost = [m for m in record.marks if m.outcome not in ("right", "by hand")]
        if lost:
            raise VosError(f"{REFERENCE} lose marks, so nobody's would mean anything: {lost[0].exercise}: "
                           f"{lost[0].outcome}, {lost[0].reason}; correct that and grade again")
        write(out / "reference.json", record)
        return
    path = out / "records" / f"{record.student}.json"
    old = record_at(path)
    if old is not None and old.scores() != record.scores():
        record.before = {"inputs": old.inputs, "scores": {k: list(v) for k, v in old.scores().items()}}
    write(path, record)


def changes(pairs: Sequence[tuple[Prepared, Record]]) -> list[dict[str, Any]]:
    """Marks that are others than in the record that was replaced: student, exercise, old, new, why."""
    found = []
    for _, record in pairs:
        if not record.before:
            continue
        old, inputs = record.before["scores"], record.before["inputs"]
        why = [name for name in sorted(record.inputs) if inputs.get(name) != record.inputs[name]]
        why = [f"the {name} changed" for name in why] or ["a worker died before"]
        now = {name: list(said) for name, said in record.scores().items()}
        for name in [*now, *(n for n in old if n not in now)]:
            if old.get(name, [None])[:2] != now.get(name, [None])[:2]:
                found.append({"student": record.student, "exercise": name, "old": old.get(name), "new": now.get(name),
                              "why": ", ".join(why)})
    return found
