"""What students may not see, and the search for it: solutions, hidden cases, the quiz's right letters and reasons."""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from vos_teach.errors import VosError
from vos_teach.grading import source
from vos_teach.grading.build import sources

DISTINCTIVE = 24  # characters, spaces not counted: a shorter line may well be somebody else's


def packed(text: str) -> str:
    """A text without any space, so that neither indentation nor line ends hide a copy."""
    return re.sub(r"\s+", "", text)


def secrets(root: Path) -> dict[str, str]:
    """Packed line -> where it comes from. Lines that the library itself shares, or a hint says, are nobody's secret.

    Raises VosError if most of a lab's hidden cases are in the package: they are not hidden then.
    """
    package = root / "vos_teach"
    library = _texts(path for path in package.rglob("*.py") if (package / "lab") not in path.parents)
    library += packed("\n".join(hint for path in package.glob("lab/exercises/*.py") for hint in _hints(path)))
    found: dict[str, str] = {}
    for path in sources(root):
        cells = source.read(path)
        for cell in cells:
            for line in _kept(cell):
                if len(line) >= DISTINCTIVE and line not in library:
                    found[line] = f"a solution of {cell.name}"
            if cell.tag == "quiz":
                asked = source.question(cell)
                found[packed(f'"{cell.name}": "{asked.right}"')] = f"the right letter of {cell.name}"
                for letter, (_, why) in asked.options.items():
                    if len(packed(why)) >= DISTINCTIVE:
                        found[packed(why)] = f"what is said of {letter}) in {cell.name}"
    for path in sorted((root / "assignments" / "hidden").glob("lab*.py")):
        public = library + _texts(package.glob(f"lab/exercises/{path.stem}*.py"))
        lines = {packed(line) for line in path.read_text(encoding="utf-8").splitlines()}
        lines = {line for line in lines if len(line) >= DISTINCTIVE}
        own = {line for line in lines if line not in public}
        if lines and len(own) < len(lines) / 2:
            raise VosError(f"most lines of '{path.name}' in assignments/hidden are in the package too: "
                           "hidden cases must stay out of it")
        found |= dict.fromkeys(own, f"a hidden case of {path.stem}")
    return found


def _kept(cell: source.Cell) -> list[str]:
    """The packed lines of a cell that the release leaves out."""
    if cell.tag == "answer":
        regions = re.findall(rf"{source.BEGIN}(.*?){source.END}", cell.text, re.S)
    elif cell.tag == "manual":
        regions = [cell.text.partition(source.BEGIN)[2].partition(source.END)[0]]
    else:
        regions = []
    return [packed(line) for region in regions for line in region.splitlines()]


def _hints(path: Path) -> list[str]:
    """The hints of a module of exercises: whoever asks for them gets them, up to nearly the answer."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call) and ast.unparse(node.func) == "Exercise"]
    given = [word.value for call in calls for word in call.keywords if word.arg == "hints"]
    given += [call.args[2] for call in calls if len(call.args) > 2]  # Exercise(name, cases, hints)
    return [node.value for part in given for node in ast.walk(part)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _texts(paths: Iterable[Path]) -> str:
    return "\n".join(packed(path.read_text(encoding="utf-8")) for path in sorted(paths))


def search(folder: Path, known: dict[str, str]) -> list[str]:
    """Where anything of `known` is in the folder, notebooks and wheels opened: "notebooks/x.ipynb: a solution of y"."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        found += [f"{name}: {what}" for what in _inside(name, path.read_bytes(), known)]
    return found


def _inside(name: str, data: bytes, known: dict[str, str]) -> list[str]:
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [f"{part}: {what}" for part in archive.namelist()
                    for what in _inside(part, archive.read(part), known)]
    text = data.decode("utf-8", "ignore")
    if name.endswith(".ipynb"):
        notebook = json.loads(text)
        text += "\n" + "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    text = packed(text)
    return sorted({what for line, what in known.items() if line in text})
