"""nbgrader's settings, once, for its own commands (assignments/nbgrader_config.py) and for `vos-teach labs build`."""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import ClearSolutions, GetGrades
from traitlets.config import Config

from vos_teach.errors import VosError
from vos_teach.grading.feedback import HideHidden
from vos_teach.grading.source import STUB

CELL_SECONDS = 600  # nbgrader's own limit is 30 seconds, which training in a cell would pass


class ClearAnswers(ClearSolutions):
    """nbgrader's, but a quiz's answer becomes `name = ""`: a stub outside any function can only be a quiz's."""

    def preprocess_cell(self, cell: Any, resources: Any, cell_index: int) -> Any:
        """One cell, its solution taken out."""
        cell, resources = super().preprocess_cell(cell, resources, cell_index)
        if cell.cell_type == "code" and "nbgrader" in cell.metadata:
            name = cell.metadata.nbgrader.get("grade_id", "").partition("-")[2]
            cell.source = re.sub(rf"^{STUB}$", f'{name} = ""', cell.source, flags=re.M)
        return cell, resources


def kernels_by_files(c: Any) -> None:
    """Let kernels talk through files' sockets, not TCP: kernels that start at the same time race for its ports."""
    if os.name != "nt":
        folder = tempfile.mkdtemp(prefix="vt_")  # a socket's path must be short
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        c.KernelManager.transport = "ipc"
        c.KernelManager.ip = f"{folder}/k"


class Heard(logging.Handler):
    """What nbgrader logs as errors: its exceptions only point to "the above traceback"."""

    def __init__(self) -> None:
        super().__init__()
        self.tracebacks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what has a traceback."""
        if "Traceback" in (text := record.getMessage()):
            self.tracebacks.append(text)

    def cause(self) -> str:
        """The last line of the last traceback."""
        return (self.tracebacks[-1].strip().splitlines() or ["?"])[-1] if self.tracebacks else "it does not say why"


def configure(c: Any, root: str | Path) -> None:
    """Set the course up in `root`: its folders and database there, the labs' stubs, time for training."""
    c.CourseDirectory.root = str(Path(root).resolve())
    c.CourseDirectory.course_id = "vos_teach"
    c.ClearSolutions.code_stub = {"python": STUB}
    c.ClearSolutions.text_stub = "Your answer here"
    c.GenerateAssignment.preprocessors = [
        ClearAnswers if part is ClearSolutions else part for part in GenerateAssignment.preprocessors.default()]
    c.GenerateFeedback.preprocessors = [GetGrades, HideHidden, CSSHTMLHeaderPreprocessor]
    c.Execute.timeout = CELL_SECONDS
    c.ExecutePreprocessor.timeout = CELL_SECONDS
    os.environ.setdefault("VOS_TEACH_HIDDEN", str(Path(root).resolve() / "hidden"))  # not a folder a student hands in
    beside = str(Path(sys.executable).parent)  # nbgrader calls `alembic` by name, also where no venv is activated
    if beside not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = beside + os.pathsep + os.environ.get("PATH", "")


@contextmanager
def environment_kept() -> Iterator[None]:
    """Whatever is set in the environment inside is as before afterwards."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def release(sources: dict[str, tuple[str, str]]) -> dict[str, str]:
    """nbgrader's own step from source to release, in a course that is thrown away afterwards.

    sources: assignment -> (name of its notebook, that notebook as JSON); returned: assignment -> JSON.
    """
    done = {}
    with tempfile.TemporaryDirectory(prefix="vos_teach_labs_") as folder, environment_kept():
        config = Config()
        configure(config, folder)
        said = Heard()
        log = logging.Logger("nbgrader", logging.ERROR)
        log.addHandler(said)
        for lab, (stem, text) in sources.items():
            path = Path(folder) / "source" / lab / f"{stem}.ipynb"
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
            course = CourseDirectory(config=config, assignment_id=lab)
            try:
                GenerateAssignment(coursedir=course, config=config, log=log).start()
            except (NbGraderException, SystemExit):
                raise VosError(f"nbgrader refuses '{stem}': {said.cause()}") from None
            done[lab] = (Path(folder) / "release" / lab / f"{stem}.ipynb").read_text(encoding="utf-8")
    return done
