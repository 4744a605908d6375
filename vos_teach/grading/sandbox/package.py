"""The copy of vos_teach that the sandbox sees: nothing that judges an answer is in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import vos_teach

BESIDE = "_beside.py"  # modules of lab/exercises that run beside an answer: the only ones of them that are copied
_LEFT_OUT = ("__pycache__", "exercises", "grading", "quiz.json")


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
    return copy
