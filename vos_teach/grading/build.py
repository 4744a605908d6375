"""`vos-teach labs build`: every assignments/labs/*.py -> nbgrader's source -> notebooks/, the same bytes every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vos_teach.data.png import write_bytes
from vos_teach.errors import VosError
from vos_teach.grading import source
from vos_teach.grading.setup import repository
from vos_teach.lab import quiz

METADATA = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}


def find_root(start: Path | None = None) -> Path:
    """The checkout: the nearest folder around here with assignments/labs, else the one this package lies in."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (folder / "assignments" / "labs").is_dir():
            return folder
    raise VosError("no folder assignments/labs here or above: run this in the project's checkout")


def sources(root: Path) -> list[Path]:
    """The labs' sources, in order. Raises VosError if there are none."""
    found = sorted((root / "assignments" / "labs").glob("lab*.py"))
    if not found:
        raise VosError(f"'{root / 'assignments' / 'labs'}' holds no lab: write lab0_NAME.py")
    labs = [path.stem.partition("_")[0] for path in found]
    for lab, path in zip(labs, found, strict=True):
        if labs.count(lab) > 1:
            raise VosError(f"'{path.name}': there are two sources of {lab}")
    return found


def build(root: Path) -> dict[Path, bytes]:
    """All that is generated from the labs' sources: path -> bytes. Nothing is written.

    notebooks/STEM.ipynb (the release), assignments/source/LAB/STEM.ipynb (with the answers, nbgrader's source),
    assignments/hidden/quiz.py (the right letters) and vos_teach/assets/quiz.json (the explanations, sealed).
    """
    from vos_teach.grading.course import release

    address = repository(root)
    answered, questions, stems = {}, [], {}
    for path in sources(root):
        notebook, asked = source.expand(path, address)
        stems[path.stem.partition("_")[0]] = path.stem
        answered[path.stem.partition("_")[0]] = notebook
        questions += asked
    released = release({lab: (stems[lab], dump(notebook)) for lab, notebook in answered.items()})
    out: dict[Path, bytes] = {}
    for lab, stem in stems.items():
        out[root / "assignments" / "source" / lab / f"{stem}.ipynb"] = dump(answered[lab]).encode()
        student = json.loads(released[lab])
        _intact(stem, answered[lab], student)
        out[root / "notebooks" / f"{stem}.ipynb"] = dump(student).encode()
    sealed = root / "vos_teach" / "assets" / "quiz.json"
    out[sealed] = _sealed(questions, sealed).encode()
    out[root / "assignments" / "hidden" / "quiz.py"] = _right(questions).encode()
    return out


def write(files: dict[Path, bytes]) -> list[Path]:
    """Write what has changed, each file whole; returns those."""
    changed = [path for path, data in files.items() if not path.is_file() or path.read_bytes() != data]
    for path in changed:
        write_bytes(path, files[path])
    return changed


def dump(notebook: Any) -> str:
    """A notebook as JSON in one form: keys in order, no outputs, no counts, no state of widgets, one kernel."""
    cells = []
    for cell in notebook["cells"]:
        kept = {"cell_type": cell["cell_type"], "id": cell["id"], "metadata": dict(cell["metadata"]),
                "source": _lines(cell["source"])}
        if cell["cell_type"] == "code":
            kept |= {"execution_count": None, "outputs": []}
        cells.append(kept)
    whole = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _lines(text: str | list[str]) -> list[str]:
    return "".join(text).splitlines(keepends=True)


def _intact(stem: str, answered: Any, student: dict) -> None:
    """VosError if nbgrader lost or renamed a cell, or left in what students may not see."""
    if [c["id"] for c in answered.cells] != [c["id"] for c in student["cells"]]:
        raise VosError(f"'{stem}': nbgrader changed the cells' ids, so the notebook would not be reproducible")
    for cell in student["cells"]:
        text = "".join(cell["source"])
        if any(word in text for word in ("SOLUTION", "HIDDEN TESTS", "hidden=True")):
            raise VosError(f"'{stem}', cell {cell['id']}: an answer or a hidden test is left in it")


def _sealed(questions: list[source.Question], path: Path) -> str:
    """quiz.json. A seal that holds the same is kept: another zlib packs the same text into other bytes."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    out: dict[str, dict[str, str]] = {}
    for asked in questions:
        for letter, (right, why) in asked.options.items():
            kept = old.get(asked.name, {}).get(letter)
            fresh = quiz.seal(asked.name, letter, right, why)
            out.setdefault(asked.name, {})[letter] = kept if kept and _same(asked.name, letter, kept, fresh) else fresh
    return json.dumps(out, indent=1, sort_keys=True) + "\n"


def _same(name: str, letter: str, one: str, other: str) -> bool:
    try:
        return quiz.unseal(name, letter, one) == quiz.unseal(name, letter, other)
    except Exception:  # damaged: zlib.error, binascii.Error, UnicodeDecodeError
        return False


def _right(questions: list[source.Question]) -> str:
    lines = "".join(f'    "{asked.name}": "{asked.right}",\n' for asked in sorted(questions, key=lambda q: q.name))
    return ('"""The right letters of the quizzes. Written by `vos-teach labs build` from assignments/labs/: never '
            f'edit."""\n\nRIGHT = {{\n{lines}}}\n')
