"""What a student gets to see: nbgrader's feedback page without anything of the hidden cases.

A check cell in autograded/ is the source's, hidden region included, and nbgrader's feedback shows it whole. Here a
preprocessor of nbconvert takes out what is hidden before the page is made. It is part of the course's configuration,
so plain `nbgrader generate_feedback` is as careful.
"""

from __future__ import annotations

import re
from typing import Any

from nbconvert.exporters import HTMLExporter, TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.widgetsdatatypefilter import WidgetsDataTypeFilter
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import NbGraderPreprocessor

from vos_teach.grading.source import HIDE, UNHIDE

_REGION = re.compile(rf"^[ \t]*{HIDE}[^\n]*\n.*?(?:^[ \t]*{UNHIDE}[^\n]*\n?|\Z)", re.M | re.S)
_CASE = re.compile(r"\(case: ([^()\n]*(?:\([^()\n]*\)[^()\n]*)*)\)\s*\Z")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# outcome -> what is shown above its reason; any other: WRONG
LABELS = {"not attempted": "Not attempted", "time-out": "Out of time", "out of memory": "Out of memory",
          "died": "Python ended", "does not parse": "No Python", "cell deleted": "No answer cell",
          "tampered": "Stopped"}
WRONG = "Not right yet"
HIDDEN = "not right for every input: there are cases here that are not shown"


class Page(HTMLExporter):
    """nbconvert's page, without its second reading of the whole page, which takes as long as the page itself."""

    def from_notebook_node(self, nb: Any, resources: Any = None, **kw: Any) -> tuple[str, dict[str, Any]]:
        """The page of a notebook."""
        lexer = nb.metadata.get("language_info", {}).get("name")
        self.register_filter("highlight_code", Highlight2HTML(pygments_lexer=lexer, parent=self))
        resources = self._init_resources(resources)
        self.register_filter("filter_data_type", WidgetsDataTypeFilter(notebook_metadata=self._nb_metadata, parent=self,
                                                                       resources=resources))
        return TemplateExporter.from_notebook_node(self, nb, resources, **kw)


class HideHidden(NbGraderPreprocessor):
    """Takes from check cells the hidden region, and from their outputs what a hidden case may have said.

    What stays: the line of a right answer, what was saved as said (`save.py` keeps it as the answer's comment), and
    what is said of a public case, which the student has too.
    """

    def preprocess(self, nb: Any, resources: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The whole notebook."""
        self.said = self._said(resources["nbgrader"])
        return super().preprocess(nb, resources)

    def preprocess_cell(self, cell: Any, resources: dict[str, Any], cell_index: int) -> tuple[Any, dict[str, Any]]:
        """One cell; only those that check are touched."""
        about = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and about.get("grade") and not about.get("solution"):
            cell.source = shown(cell.source)
            name = str(about.get("grade_id", "")).removesuffix("-check")
            passed = (about.get("score") or 0) >= (about.get("points") or 0)
            cell.outputs = [self._output(name, passed, cell.outputs)] if cell.outputs else []
        return cell, resources

    @staticmethod
    def _said(about: dict[str, Any]) -> dict[str, str]:
        """answer cell -> what was saved as said to the student."""
        with Gradebook(about["db_url"]) as book:
            try:
                notebook = book.find_submission_notebook(about["notebook"], about["assignment"], about["student"])
            except MissingEntry:
                return {}
            return {c.name: c.auto_comment for c in notebook.comments if c.auto_comment and c.auto_comment != NOTHING}

    def _output(self, name: str, passed: bool, outputs: list[Any]) -> Any:
        from nbformat.v4 import new_output

        exercise = name.replace("-", ".", 1)
        said = self.said.get(name)
        if passed:
            more = _explained(said, exercise, outputs)
            return new_output("stream", name="stdout", text=f"Right - {exercise}\n{more}")
        label, why = WRONG, said or ""
        for output in outputs:
            if output.output_type == "error":
                known = {"NotAttempted": LABELS["not attempted"], **{shown: shown for shown in LABELS.values()}}
                label = known.get(output.ename, WRONG)
                if said is None:
                    why = public(exercise, str(output.evalue), output.ename)
        why = why or HIDDEN
        return new_output("error", ename=label, evalue=why, traceback=[f"{label} - {exercise}", why])


NOTHING = "No response."  # nbgrader's own automatic comment


def shown(text: str) -> str:
    """A check cell's text without its hidden regions."""
    text = _REGION.sub("", text)
    return "\n".join(line for line in text.split("\n") if "hidden=True" not in line).strip("\n")


def public(exercise: str, said: str, kind: str = "CheckFailed") -> str:
    """What a check cell said, if it is of a public case or of none; else a sentence without content."""
    from vos_teach.lab import quiz
    from vos_teach.lab.check import VosError, find

    said = _ANSI.sub("", said).removeprefix(f"{exercise}: ")
    if kind == "NotAttempted":
        return "there is no answer yet"
    if kind != "CheckFailed":  # raised before any case: the cell's own words may be anything
        return f"it raised {kind}" if re.fullmatch(r"\w{1,60}", kind) else HIDDEN
    if quiz.known(exercise):
        return said[:2000]
    case = _CASE.search(said)
    try:
        known = {c.name for c in find(exercise).cases}
    except VosError:
        known = set()
    return said[:2000] if case and case[1] in known else HIDDEN


def _explained(said: str | None, exercise: str, outputs: list[Any]) -> str:
    """What belongs to a right answer: for a quiz the explanation, sealed in the package."""
    if said is not None:
        return "" if said == "right" else f"{said}\n"
    from vos_teach.lab import quiz

    if quiz.known(exercise):
        text = "".join(str(o.text) for o in outputs if o.output_type == "stream" and o.name == "stdout")
        lines = text.split("\n")
        return f"{lines[1][:2000]}\n" if len(lines) > 1 and lines[0] == f"Right - {exercise}" else ""
    return ""
