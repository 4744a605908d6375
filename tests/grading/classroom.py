"""A course of nbgrader in a folder of its own, with its plain commands, and what students and their editors do."""

from __future__ import annotations

import ast
import copy
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

from vos_teach.grading import build, simulate, source

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = "\n".join([*simulate.IMPORTS.values(), ""])


def source_of(lab: str) -> Path:
    (path,) = [p for p in build.sources(ROOT) if p.stem.startswith(f"{lab}_")]
    return path


def skeleton(lab: str) -> str:
    """A real lab's source, cut down to its set-up, its definitions and what is graded: seconds instead of minutes."""
    lines = source_of(lab).read_text(encoding="utf-8").splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"# %%( |$)", line)]
    out = []
    for i, j in zip(starts, [*starts[1:], len(lines)], strict=True):
        text = "\n".join(lines[i + 1 : j])
        if lines[i] == "# %% setup" or re.search(r" (answer|check|quiz|manual)=", lines[i]):
            out.append(f"{lines[i]}\n{text}")
        elif lines[i] == "# %%":
            kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
            if kept := [ast.unparse(node) for node in ast.parse(text).body if isinstance(node, kinds)]:
                out.append("# %%\n" + "\n".join(kept) + "\n")
    return "\n".join(out)


class Course:
    """assignments/ with the real configuration and hidden cases. text: the lab's source; default: the real one."""

    def __init__(self, folder: Path, lab: str, text: str | None = None):
        self.folder, self.lab = folder, lab
        real = source_of(lab)
        self.stem = real.stem
        folder.mkdir(parents=True)
        shutil.copy(ROOT / "assignments" / "nbgrader_config.py", folder)
        shutil.copytree(ROOT / "assignments" / "hidden", folder / "hidden")
        written = folder / "labs" / real.name
        written.parent.mkdir()
        written.write_text(text or real.read_text(encoding="utf-8"), encoding="utf-8")
        notebook, _ = source.expand(written)
        path = folder / "source" / lab / f"{self.stem}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(build.dump(notebook), encoding="utf-8")
        self.answered = json.loads(path.read_text(encoding="utf-8"))

    def __call__(self, *command: str) -> str:
        """Run `nbgrader ...` in the course's folder."""
        clean = {k: v for k, v in os.environ.items() if k not in ("VOS_TEACH_DAVIS", "VOS_TEACH_HIDDEN")}
        done = subprocess.run([sys.executable, "-m", "nbgrader", *command], cwd=self.folder, capture_output=True,
                              text=True, env={**clean, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, f"nbgrader {' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    def released(self) -> dict:
        path = self.folder / "release" / self.lab / f"{self.stem}.ipynb"
        return json.loads(path.read_text(encoding="utf-8"))

    def reference(self) -> dict:
        """The student's notebook with all answers filled in."""
        marker = re.compile(rf"^[ \t]*({source.BEGIN}|{source.END})[ \t]*\n?", re.M)
        return filled(self.released(), {c["id"]: marker.sub("", "".join(c["source"])) for c in self.answered["cells"]
                                        if _solution(c)})

    def submit(self, student: str, notebook: dict) -> None:
        path = self.folder / "submitted" / student / self.lab / f"{self.stem}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook), encoding="utf-8")

    def marks(self) -> dict[str, dict[str, float | None]]:
        """student -> exercise -> mark; None: waits for a human."""
        from nbgrader.api import Gradebook

        with Gradebook(f"sqlite:///{self.folder / 'gradebook.db'}", "vos_teach") as book:
            return {submission.student.id: {
                grade.name.removesuffix("-check").replace("-", ".", 1): None if grade.needs_manual_grade
                else grade.auto_score for notebook in submission.notebooks for grade in notebook.grades}
                for submission in book.assignment_submissions(self.lab)}

    def points(self, manual: bool = True) -> dict[str, float | None]:
        """exercise -> its points; manually graded ones: None."""
        graded = [c["metadata"]["nbgrader"] for c in self.answered["cells"]
                  if c["metadata"].get("nbgrader", {}).get("grade")]
        return {g["grade_id"].removesuffix("-check").replace("-", ".", 1):
                None if g["solution"] else g["points"] for g in graded if manual or not g["solution"]}


def _solution(cell: dict) -> bool:
    return cell["metadata"].get("nbgrader", {}).get("solution", False)


def filled(notebook: dict, answers: dict[str, str]) -> dict:
    """A copy with these cells' texts (by id) replaced."""
    out = copy.deepcopy(notebook)
    ids = {cell["id"] for cell in out["cells"]}
    assert set(answers) <= ids, set(answers) - ids
    for cell in out["cells"]:
        if cell["id"] in answers:
            cell["source"] = answers[cell["id"]]
    return out


def mistakes(lab: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_mistakes_{lab}", ROOT / "assignments" / "mistakes" / f"{lab}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def pasted(exercise: str, function: Any) -> tuple[str, str]:
    """(id of the answer cell, its text with the function under the answer's name)."""
    short = exercise.partition(".")[2]
    text = f"{source.sentinel(exercise)}\n{IMPORTS}{inspect.getsource(function)}\n\n{short} = {function.__name__}\n"
    return exercise.replace(".", "-"), text


def resaved(notebook: dict) -> dict:
    """As another editor gives a notebook back: keys in another order, its own metadata, new ids, old outputs."""
    out = json.loads(json.dumps(notebook, sort_keys=True))

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: turned(value[k]) for k in sorted(value, reverse=True)}
        return [turned(v) for v in value] if isinstance(value, list) else value

    for i, cell in enumerate(out["cells"]):
        cell["id"] = uuid.UUID(int=i * 7919 + 1).hex[-12:]
        cell["metadata"] |= {"id": f"colab{i}", "vscode": {"languageId": "python"}, "tags": ["kept"]}
        cell["source"] = "".join(cell["source"])
        if cell["cell_type"] == "code":
            cell["execution_count"] = i + 1
            view = {"application/vnd.jupyter.widget-view+json": {"model_id": f"m{i}", "version_major": 2,
                                                                 "version_minor": 0}, "text/plain": "slider"}
            cell["outputs"] = [
                {"output_type": "stream", "name": "stderr", "text": "an old warning\n"},
                {"output_type": "display_data", "data": view, "metadata": {}},
                {"output_type": "error", "ename": "NotAttempted", "evalue": "earlier", "traceback": ["earlier"]}]
    state = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2, "version_minor": 0}}
    out["metadata"] = {"widgets": state, "colab": {"provenance": []}, "kernelspec": {
        "display_name": "my own", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
    return turned(out)
