"""Whose notebook has other cells than the release: doubled, gone, retyped, re-pointed, travelled."""

from __future__ import annotations

import json

from hostile import EMPTY, EXERCISES, MACHINE, RIGHT, WRONG, Desk, student, text
from vos_teach.grading import travelled
from vos_teach.grading.travelled import filled

SHAM = "def modulate(features, gamma, beta):\n    return features\n"


def _at(notebook: dict, name: str) -> int:
    return next(i for i, c in enumerate(notebook["cells"]) if c["id"] == name)


@student(repaired="duplicat|twice|copies|copy")
def duplicated_cells(desk: Desk) -> None:
    """Answer and check of an exercise twice, with the same ids, as VS Code copies them; the last is right."""
    out = desk.answered
    at = _at(out, "lab1-modulate")
    old = json.loads(json.dumps(out["cells"][at : at + 2]))
    old[0]["source"] = desk.released["cells"][_at(desk.released, "lab1-modulate")]["source"]
    out["cells"][at:at] = old
    desk.hand_in(out)


@student({"lab1.modulate": WRONG}, held=True, repaired="duplicat|twice|copies|copy")
def duplicated_answers_that_differ(desk: Desk) -> None:
    """Two answers to one exercise, both attempted: the first is right, the last is not."""
    out = desk.answered
    at = _at(out, "lab1-modulate")
    again = json.loads(json.dumps(out["cells"][at]))
    again["source"] = "# >>> lab1.modulate - your answer; keep this line\n" + SHAM
    out["cells"].insert(at + 1, again)
    desk.hand_in(out)


@student(repaired="check|restored|missing")
def deleted_checks(desk: Desk) -> None:
    """All answers right, and every check cell deleted."""
    out = desk.answered
    out["cells"] = [c for c in out["cells"] if not c["id"].endswith("-check")]
    desk.hand_in(out)


@student({"lab1.modulate": frozenset({"cell deleted"})}, says={"lab1.modulate": "delet|gone|missing"})
def deleted_answer(desk: Desk) -> None:
    """An answer's cell deleted, its check still there."""
    out = desk.answered
    del out["cells"][_at(out, "lab1-modulate")]
    desk.hand_in(out)


@student({e: frozenset({"cell deleted", "not attempted"}) for e in MACHINE})
def deleted_everything(desk: Desk) -> None:
    """Nothing but the title and the set-up."""
    out = desk.answered
    out["cells"] = out["cells"][: _at(out, "setup") + 1]
    desk.hand_in(out)


@student({"lab1.modulate": RIGHT | EMPTY | {"cell deleted"}}, repaired="markdown|text|type")
def retyped_cell(desk: Desk) -> None:
    """An answer turned into a text cell, by a key pressed by mistake."""
    out = desk.answered
    cell = out["cells"][_at(out, "lab1-modulate")]
    cell["cell_type"] = "markdown"
    del cell["outputs"], cell["execution_count"]
    desk.hand_in(out)


@student(repaired="markdown|text|type|check|restored")
def retyped_checks(desk: Desk) -> None:
    """Check cells turned into raw and text cells."""
    out = desk.answered
    for i, cell in enumerate(c for c in out["cells"] if c["id"].endswith("-check")):
        cell["cell_type"] = ("markdown", "raw")[i % 2]
        cell.pop("outputs", None), cell.pop("execution_count", None)
    desk.hand_in(out)


@student({"lab1.modulate": WRONG})
def changed_check(desk: Desk) -> None:
    """A check cell's text changed into praise."""
    out = desk.answer("lab1.modulate", SHAM)
    out["cells"][_at(out, "lab1-modulate-check")]["source"] = "print('Right - lab1.modulate: 10 cases passed')"
    desk.hand_in(out)


@student()
def repointed_ids(desk: Desk) -> None:
    """The grade_ids of two answers exchanged; sentinels and functions are as they were."""
    out = desk.answered
    a, b = (out["cells"][_at(out, f"lab1-{n}")] for n in ("modulate", "mask_gaussian"))
    a["metadata"], b["metadata"] = b["metadata"], a["metadata"]
    a["id"], b["id"] = b["id"], a["id"]
    desk.hand_in(out)


@student()
def reversed_order(desk: Desk) -> None:
    """The graded cells in reverse order: every check before its answer."""
    out = desk.answered
    places = [i for i, c in enumerate(out["cells"]) if c["metadata"].get("nbgrader")]
    cells = [out["cells"][i] for i in places]
    for i, cell in zip(places, reversed(cells), strict=True):
        out["cells"][i] = cell
    desk.hand_in(out)


@student()
def stripped(desk: Desk) -> None:
    """Ids and metadata of all cells are gone; the sentinels are there."""
    desk.hand_in(travelled.colab(desk.answered))


@student()
def stripped_of_sentinels_too(desk: Desk) -> None:
    """Ids, metadata and sentinels are gone: only the names of functions and variables tell what is what."""
    out = travelled.colab(desk.answered)
    for cell in out["cells"]:
        cell["source"] = "\n".join(line for line in "".join(cell["source"]).split("\n") if "keep this line" not in line)
    desk.hand_in(out)


@student()
def from_vscode(desk: Desk) -> None:
    """Saved by VS Code, which adds what it needs and copies metadata with a cell."""
    desk.hand_in(travelled.vscode(desk.answered))


@student()
def from_jupytext(desk: Desk) -> None:
    """There and back through a jupytext script: every id is new."""
    desk.hand_in(travelled.jupytext(desk.answered))


@student()
def from_another_jupyter(desk: Desk) -> None:
    """Saved as nbformat 4.4, before cells had ids, with the kernel of somebody's own environment."""
    out = desk.answered
    out["nbformat_minor"] = 4
    for cell in out["cells"]:
        del cell["id"]
    out["metadata"]["kernelspec"] = {"name": "my-env", "display_name": "my env", "language": "python"}
    desk.hand_in(out)


@student()
def split_cell(desk: Desk) -> None:
    """An answer split in two, helper and function, each with the same metadata, as JupyterLab splits a cell."""
    out = desk.answered
    at = _at(out, "lab1-modulate")
    second = json.loads(json.dumps(out["cells"][at]))
    out["cells"][at]["source"] = ("# >>> lab1.modulate - your answer; keep this line\n"
                                  "def spread(gamma):\n    return gamma[..., None, None]")
    second["source"], second["id"] = ("def modulate(features, gamma, beta):\n"
                                      "    return spread(gamma) * features + beta"), "ab12cd34"
    out["cells"].insert(at + 1, second)
    desk.hand_in(out)


@student(dict.fromkeys(EXERCISES, RIGHT), repaired=".")
def everything_in_one_cell(desk: Desk) -> None:
    """All answers moved into one own cell at the top of them; their cells are as released."""
    answers = "\n\n".join(text(desk.answered, e.replace(".", "-")) for e in EXERCISES)
    out = filled(desk.answered, {e.replace(".", "-"): text(desk.released, e.replace(".", "-")) for e in EXERCISES})
    for exercise in EXERCISES:
        del out["cells"][_at(out, exercise.replace(".", "-"))]
    desk.hand_in(travelled.inserted(out, "lab1-balanced_bce-check", answers))


@student(dict.fromkeys(("lab1.modulate",), frozenset({"does not parse"})), says={"lab1.modulate": "line|parse|syntax"})
def does_not_parse(desk: Desk) -> None:
    """An answer with a bracket too few: the others keep their marks."""
    desk.give("lab1.modulate", "def modulate(features, gamma, beta):\n    return (gamma[..., None, None] * features\n")


@student(dict.fromkeys(MACHINE, frozenset({"not attempted"})))
def untouched(desk: Desk) -> None:
    """As released."""
    desk.hand_in(desk.released)


@student()
def reference(desk: Desk) -> None:
    """All answers right."""
    desk.hand_in(desk.answered)
