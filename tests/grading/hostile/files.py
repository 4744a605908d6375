"""Who hands in files that are not what is expected, by accident or on purpose."""

from __future__ import annotations

import io
import json
import os
import zipfile

from hostile import MACHINE, RIGHT, WRONG, Desk, clean, student
from vos_teach.grading import travelled

NOTHING = dict.fromkeys(MACHINE, frozenset({"not attempted", "cell deleted"}))


# ---- no notebook that could be read

@student(fate="unreadable", held=True, says={"": "empty"})
def empty_file(desk: Desk) -> None:
    """A notebook of no bytes: the upload broke off."""
    desk.hand_in(b"")


@student(fate="no notebook", held=None, says={"": "no notebook"})
def empty_folder(desk: Desk) -> None:
    """A folder, and nothing in it."""


@student(fate="no notebook", says={"": "no notebook"})
def another_kind_of_file(desk: Desk) -> None:
    """A PDF of the notebook."""
    desk.hand_in(b"%PDF-1.4 print of my notebook", "lab1.pdf")


@student(fate="unreadable", held=True, says={"": "JSON"})
def invalid_json(desk: Desk) -> None:
    """Half of a notebook."""
    whole = json.dumps(desk.answered)
    desk.hand_in(whole[: len(whole) // 2])


@student(fate="unreadable", held=True, says={"": "JSON|nested|deep"})
def deep_json(desk: Desk) -> None:
    """Lists in lists, deeper than a parser may recurse."""
    desk.hand_in("[" * 200_000 + "]" * 200_000)


@student(fate=frozenset({"unreadable", "graded"}), says={"": "."})
def deep_metadata(desk: Desk) -> None:
    """A right notebook, whose metadata are nested deeper than a parser may recurse."""
    whole = json.dumps(desk.answered)
    desk.hand_in(whole[:-1] + ', "deep": ' + "[" * 50_000 + "]" * 50_000 + "}")


@student(fate="unreadable", held=True, says={"": "notebook"})
def json_of_something_else(desk: Desk) -> None:
    """JSON, but no notebook."""
    desk.hand_in(json.dumps({"cells": {"a": 3}, "metadata": None, "nbformat": "four"}))


@student(fate="unreadable", held=True, says={"": "large|MB|big"})
def giant_notebook(desk: Desk) -> None:
    """A notebook of 40 MB in an output."""
    out = desk.answered
    out["cells"][-2]["source"] = "x" * 40_000_000
    desk.hand_in(out)


@student(fate=frozenset({"unreadable", "graded"}), says={"": "."})
def many_cells(desk: Desk) -> None:
    """A right notebook with 20,000 empty cells behind it."""
    out = desk.answered
    out["cells"] += [{"cell_type": "code", "id": f"many-{i}", "metadata": {}, "outputs": [], "execution_count": None,
                      "source": ""} for i in range(20_000)]
    desk.hand_in(out)


@student(fate=frozenset({"graded", "unreadable"}), says={"": "."})
def not_utf8(desk: Desk) -> None:
    """A right notebook saved as Latin-1, with umlauts."""
    out = desk.answered
    out["cells"][-1]["source"] = "Für alle Fälle: Grüße"
    desk.hand_in(json.dumps(out, ensure_ascii=False).encode("latin-1"))


@student()
def utf8_with_mark(desk: Desk) -> None:
    """A right notebook that starts with a byte-order mark, as some editors on Windows write it."""
    desk.hand_in(b"\xef\xbb\xbf" + json.dumps(desk.answered).encode())


@student(fate=frozenset({"graded", "unreadable"}), says={"": "."})
def utf16(desk: Desk) -> None:
    """A right notebook in UTF-16."""
    desk.hand_in(json.dumps(desk.answered).encode("utf-16"))


@student(fate="wrong lab", held=True, says={"": "lab0|another lab|wrong lab"})
def wrong_lab(desk: Desk) -> None:
    """Lab 0's notebook."""
    names = ("jaccard", "boundary_f", "recall", "decay")
    desk.hand_in(travelled.notebook([cell for n in names for cell in (
        travelled.code(f"# >>> lab0.{n} - your answer; keep this line\ndef {n}(*a):\n    return 0", f"lab0-{n}",
                       nbgrader={"grade_id": f"lab0-{n}", "solution": True, "grade": False, "locked": False,
                                 "schema_version": 3, "task": False}),
        travelled.code(f'check("lab0.{n}", {n})', f"lab0-{n}-check"))]), "lab0_measures.ipynb")


@student(fate=frozenset({"wrong lab", "graded"}), deserves=NOTHING, says={"": "."})
def unrelated_notebook(desk: Desk) -> None:
    """A notebook of something else, under the right name."""
    desk.hand_in(travelled.notebook([travelled.code("print('holiday pictures')", "a")]))


# ---- more files than one

@student(held=None)
def two_notebooks(desk: Desk) -> None:
    """The right notebook, and an older one beside it that is hardly begun."""
    desk.hand_in(desk.answered)
    desk.hand_in(desk.released, "Untitled1.ipynb")


@student(dict.fromkeys(MACHINE, RIGHT | {"not attempted"}), held=True, says={"": "."})
def two_notebooks_of_other_names(desk: Desk) -> None:
    """Two notebooks, neither of which has the name of the release."""
    desk.hand_in(desk.answered, "final.ipynb")
    desk.hand_in(desk.released, "final_really.ipynb")


@student()
def copy_of_the_download(desk: Desk) -> None:
    """The right notebook, named by a browser."""
    desk.hand_in(desk.answered, f"{desk.stem} (1).ipynb")


@student(fate=frozenset({"no notebook", "unreadable"}), held=True, says={"": "link|no notebook"})
def symlink_to_a_neighbour(desk: Desk) -> None:
    """The notebook is a link to another student's."""
    os.symlink(desk.world.neighbour, desk.folder / f"{desk.stem}.ipynb")


@student({"lab1.modulate": WRONG}, says={"": "."})
def symlinks_beside(desk: Desk) -> None:
    """Links beside the notebook, to folders and files outside, and to themselves."""
    for name, target in (("hidden", desk.world.course / "hidden"), ("up", ".."), ("all", "/"), ("me", "me"),
                         ("notes.txt", desk.world.home / "notes.txt"), ("env", "/proc/self/environ")):
        os.symlink(target, desk.folder / name)
    desk.give("lab1.modulate", clean("""
        import glob, importlib.util
        def modulate(features, gamma, beta):
            for path in ("hidden/lab1.py", "../hidden/lab1.py", "all/work/hidden/lab1.py"):
                try:
                    spec = importlib.util.spec_from_file_location("loot", path)
                    module = importlib.util.module_from_spec(spec)
                    spec.loader.exec_module(module)
                    return module.modulate_oracle(features, gamma, beta)
                except BaseException:
                    continue
            return features
    """))


@student()
def archive_with_dots(desk: Desk) -> None:
    """A right notebook, an archive whose members want to be unpacked elsewhere, and names with dots and line breaks."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("../../../vosleft-zip.txt", "was here")
        file.writestr("/tmp/vosleft-zip.txt", "was here")
    desk.hand_in(packed.getvalue(), "extra.zip")
    for name in ("..ipynb", "...", "a\nb.txt", "-rf", "$(touch vosleft).txt", "<img src=x onerror=alert(1)>.txt"):
        desk.hand_in("x", name)
    out = desk.answered
    out["cells"][-1]["attachments"] = {"../../../vosleft.png": {"image/png": "aGFsbG8="}}
    desk.hand_in(out)


@student()
def pipe_beside(desk: Desk) -> None:
    """A right notebook beside a named pipe, which whoever reads it waits for."""
    os.mkfifo(desk.folder / "data.csv")
    desk.hand_in(desk.answered)
