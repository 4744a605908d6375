"""The hostile class: that each hand-in is what it says, and (acceptance) that each gets what it deserves."""

import ast
import json
import re

import pytest
from classroom import ROOT, skeleton
from hostile import CLASS, EXERCISES, LAB, MACHINE, World, build, text

from vos_teach.grading import records, source
from vos_teach.grading.travelled import filled


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """(released, answered, stem) of lab 1, cut down to its set-up, its definitions and what is graded."""
    from vos_teach.grading import build as labs
    from vos_teach.grading.course import release

    path = tmp_path_factory.mktemp("lab") / f"{LAB}_online_learning.py"
    path.write_text(skeleton(LAB), encoding="utf-8")
    notebook, _ = source.expand(path)
    whole = labs.dump(notebook)
    released = json.loads(release({LAB: (path.stem, whole)})[LAB])
    marker = re.compile(rf"^[ \t]*({source.BEGIN}|{source.END})[ \t]*\n?", re.M)
    answers = {c["id"]: marker.sub("", "".join(c["source"])) for c in json.loads(whole)["cells"]
               if c["metadata"].get("nbgrader", {}).get("solution")}
    return released, filled(released, answers), path.stem


@pytest.fixture(scope="session")
def handed_in(lab, tmp_path_factory):
    """(world, student -> folder), with everything written."""
    root = tmp_path_factory.mktemp("class")
    world = World(root / "course", root / "submissions", root / "home", root / "submissions" / "reference" / LAB
                  / f"{lab[2]}.ipynb")
    build(list(CLASS), *lab, world)
    return world, {name: world.submissions / name / LAB for name in CLASS}


def load(folder, stem):
    return json.loads((folder / f"{stem}.ipynb").read_text(encoding="utf-8-sig"))


def test_the_class_is_large_and_says_what_it_expects():
    assert len(CLASS) >= 45 and len({s.kind for s in CLASS.values()}) == 8
    known = set(records.OUTCOMES)
    for s in CLASS.values():
        assert s.fate <= set(records.FATES) and set(s.deserves) <= set(MACHINE), s.name
        assert all(outcomes and outcomes <= known for outcomes in s.deserves.values()), s.name
        assert set(s.says) <= {"", *MACHINE}, s.name
    assert {s.name for s in CLASS.values() if s.kind == "legal" and (s.deserves or s.fate != {"graded"})} == set()


@pytest.mark.slow
def test_the_exercises_are_the_labs(lab):
    graded = {c["id"].removesuffix("-check").replace("-", ".", 1) for c in lab[0]["cells"]
              if c["metadata"].get("nbgrader", {}).get("grade") and c["cell_type"] == "code"}
    assert graded == set(MACHINE) and set(EXERCISES) < graded


@pytest.mark.slow
def test_an_attack_is_a_notebook_that_differs_and_whose_answer_is_a_function(lab, handed_in):
    from IPython.core.inputtransformer2 import TransformerManager

    known = {"".join(c["source"]) for c in lab[1]["cells"]}
    otherwise = {"library-itself", "defined-in-an-own-cell", "partial", "callable-object", "module-of-torch",
                 "one-line"}
    for name in [s.name for s in CLASS.values() if s.kind not in ("files", "cells")]:
        changed = [c for c in load(handed_in[1][name], lab[2])["cells"] if "".join(c["source"]) not in known]
        assert changed, name
        for cell in changed:
            raw = "".join(cell["source"])
            body = raw if raw.startswith("%%") else TransformerManager().transform_cell(raw)
            if raw.startswith("# >>>") and name not in otherwise and ".q_" not in raw.split("\n")[0]:
                functions = {n.name for n in ast.parse(body).body if isinstance(n, ast.FunctionDef)}
                assert cell["id"].partition("-")[2] in functions, name


@pytest.mark.slow
def test_files_are_what_they_claim(lab, handed_in):
    world, folders = handed_in
    stem = lab[2]
    path = {name: folder / f"{stem}.ipynb" for name, folder in folders.items()}
    assert path["empty-file"].read_bytes() == b"" and list(folders["empty-folder"].iterdir()) == []
    for name in ("invalid-json", "deep-json"):
        with pytest.raises((ValueError, RecursionError)):
            json.loads(path[name].read_text())
    assert path["giant-notebook"].stat().st_size > 20 << 20
    with pytest.raises(UnicodeDecodeError):
        path["not-utf8"].read_text(encoding="utf-8")
    assert len(list(folders["two-notebooks"].glob("*.ipynb"))) == 2
    assert path["symlink-to-a-neighbour"].is_symlink() and path["symlink-to-a-neighbour"].resolve() == world.neighbour
    assert (folders["symlinks-beside"] / "up").resolve() == folders["symlinks-beside"].parent
    assert (folders["shadowing-launcher"] / "ipykernel_launcher.py").is_file()
    bare = load(folders["stripped"], stem)
    assert not [c for c in bare["cells"] if "id" in c or "nbgrader" in c["metadata"]]
    assert sum("keep this line" in "".join(c["source"]) for c in bare["cells"]) == len(MACHINE) + 1
    assert "keep this line" not in path["stripped-of-sentinels-too"].read_text()
    ids = [c["id"] for c in load(folders["duplicated-cells"], stem)["cells"]]
    assert ids.count("lab1-modulate") == 2 and ids.count("lab1-modulate-check") == 2
    assert "lab1-modulate" not in [c["id"] for c in load(folders["deleted-answer"], stem)["cells"]]
    assert len(load(folders["from-jupytext"], stem)["cells"]) == len(lab[1]["cells"])
    assert not {c["id"] for c in load(folders["from-jupytext"], stem)["cells"]} & {c["id"] for c in lab[1]["cells"]}
    moved = load(folders["everything-in-one-cell"], stem)
    assert text(moved, "lab1-balanced_bce-check") and "lab1-modulate" not in [c["id"] for c in moved["cells"]]
    assert json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text())["nbformat"] == moved["nbformat"]
