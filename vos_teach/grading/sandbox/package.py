"""The copy of vos_teach that the sandbox sees: nothing that judges an answer is in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

import vos_teach

PREFIX = "vos_teach_box_"
BESIDE = "_beside.py"  # modules of lab/exercises that run beside an answer: the only ones of them that are copied
_LEFT_OUT = ("__pycache__", "exercises", "grading", "quiz.json")


def folder() -> tuple[Path, IO[str]]:
    """A new folder for a sandbox's files, locked while its owner lives; those of killed owners are removed."""
    here = Path(tempfile.gettempdir())
    for old in here.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), open(old / "lock") as lock:
            if _locked(lock):
                remove(old)
    made = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = open(made / "lock", "w")  # noqa: SIM115
    _locked(lock)
    return made, lock


def _locked(lock: IO[str]) -> bool:
    """Whether the lock could be had: nobody else has it."""
    try:
        import fcntl
    except ImportError:  # Windows, where there is no sandbox either
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def remove(path: Path | str) -> None:
    """Remove a folder, whatever rights its folders were left with."""
    for parent, _, _ in os.walk(path):
        with contextlib.suppress(OSError):
            os.chmod(parent, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def filtered(target: Path) -> Path:
    """Write `target/vos_teach`: the package without exercises (their oracles), the grading and the quiz's answers.

    What stays of these are the modules that run beside an answer, and this one, of which the sandbox is made.
    """
    source = Path(vos_teach.__file__).parent
    copy = target / "vos_teach"
    shutil.copytree(source, copy, ignore=lambda _, names: [n for n in names if n in _LEFT_OUT])
    exercises = copy / "lab" / "exercises"
    exercises.mkdir()
    for path in (source / "lab" / "exercises").glob("*.py"):
        if path.name == "__init__.py" or path.name.endswith(BESIDE):
            shutil.copy(path, exercises)
    sandbox = copy / "grading" / "sandbox"
    sandbox.mkdir(parents=True)
    shutil.copy(source / "grading" / "__init__.py", copy / "grading")
    for path in (source / "grading" / "sandbox").glob("*.py"):
        shutil.copy(path, sandbox)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # a container's user may be another one
    return copy
