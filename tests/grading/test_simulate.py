"""A class that is made up is believable, the same for the same seed, and its truth is true."""

import ast
import hashlib
import json
import shutil
from collections import Counter

import pytest
from classroom import ROOT

from vos_teach.errors import VosError
from vos_teach.grading import similar, simulate
from vos_teach.grading.records import Cell, Prepared, Record
from vos_teach.lab import CheckFailed, NotAttempted, check

COURSE = ROOT / "assignments"
pytestmark = pytest.mark.skipif(not (COURSE / "source" / "lab1").is_dir(), reason="first: vos-teach labs build")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "class"
    path = simulate.simulate(40, "lab1", out, COURSE, seed=5)
    return out, json.loads(path.read_text())


def hashes(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}


def notebook(out, name):
    return json.loads(next((out / name / "lab1").iterdir()).read_text(encoding="utf-8"))


def test_the_same_seed_the_same_class(made, tmp_path):
    simulate.simulate(40, "lab1", tmp_path / "again", COURSE, seed=5)
    assert hashes(tmp_path / "again") == hashes(made[0])
    simulate.simulate(40, "lab1", tmp_path / "other", COURSE, seed=6)
    assert hashes(tmp_path / "other") != hashes(made[0])


def test_the_mixture_is_as_asked_for(made, tmp_path):
    out, truth = made
    students = truth["students"]
    assert len(students) == 40 and set(students) == {p.name for p in out.iterdir() if p.is_dir()}
    kinds = Counter(s["kind"] for s in students.values())
    assert all(kinds[k] == round(40 * share) for k, share in simulate.MIXTURE.items())
    assert kinds["mistaken"] == 40 - sum(kinds[k] for k in simulate.MIXTURE)
    assert {s["editor"] for s in students.values()} == set(simulate.EDITORS)
    only = simulate.simulate(6, "lab1", tmp_path / "only", COURSE, 1, {"untouched": 1.0})
    assert {s["kind"] for s in json.loads(only.read_text())["students"].values()} == {"untouched"}


@pytest.mark.slow
def test_the_truth_is_true(made, tmp_path, monkeypatch):
    """Every answer that is said to be right or wrong is judged as in a notebook, one by one, each text once."""
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(COURSE / "hidden"))
    out, truth = made
    judged = set()
    for name, student in truth["students"].items():
        if student["kind"] in ("hostile", "broken") or student["fate"] != "graded" or student["editor"] == "Colab":
            continue
        cells = {}
        for c in notebook(out, name)["cells"]:
            about = c["metadata"].get("nbgrader", {})
            if about.get("solution") and c["cell_type"] == "code":
                cells[about["grade_id"].replace("-", ".", 1)] = "".join(c["source"])
        for exercise, outcomes in student["deserves"].items():
            short, key = exercise.partition(".")[2], (exercise, cells[exercise].split("\n", 1)[1])
            if (exercise == "lab1.finetune" and len(judged) % 3) or key in judged:  # the slow one: a third of them
                continue
            judged.add(key)
            space = {"NotAttempted": NotAttempted}
            exec("\n".join(simulate.IMPORTS.values()), space)
            exec("from vos_teach.data.augment import affine, to_tensors", space)
            exec(cells[exercise], space)
            try:
                check(exercise, space[short], hidden=True)
                said = "right"
            except NotAttempted:
                said = "not attempted"
            except CheckFailed:
                said = "wrong"
            assert said in outcomes, (name, exercise, said, student["did"][exercise])
    assert len(judged) > 30


def test_who_copied_is_found_and_the_others_are_explained(made):
    out, truth = made
    from vos_teach.grading.classroom import release

    released, answered = release(COURSE, "lab1")
    class_ = []
    for name, student in truth["students"].items():
        if student["fate"] == "graded" and student["editor"] != "Colab":
            found = notebook(out, name)
            cells = [Cell(c["id"], "".join(c["source"]), "answer", c["metadata"]["nbgrader"]["grade_id"].replace(
                "-", ".", 1)) for c in found["cells"] if c["metadata"].get("nbgrader", {}).get("solution")]
            class_.append((Prepared(name, "lab1", cells=cells),
                           Record(name, "lab1", "", "graded", "", "", [], [], [], False, "", 0)))
    here = {one.student for one, _ in class_}
    copied = {frozenset((n, s["like"])) for n, s in truth["students"].items() if s["like"] and {n, s["like"]} <= here}
    assert copied
    pairs = similar.find(class_, released, answered)
    assert copied <= {frozenset((p.student, p.other)) for p in pairs}
    for pair in pairs:  # all others: both drew the same text, or two variations that the mistakes' author wrote
        did = [truth["students"][who]["did"].get(pair.exercise, "") for who in (pair.student, pair.other)
               if who in truth["students"]]
        assert frozenset((pair.student, pair.other)) in copied or all(did), pair


def test_what_is_broken_is_broken(tmp_path):
    path = simulate.simulate(24, "lab1", tmp_path / "b", COURSE, 2, {"broken": 1.0})
    truth = json.loads(path.read_text())["students"]
    assert {s["did"]["notebook"] for s in truth.values()} == {
        "bracket", "deleted", "check deleted", "doubled", "half a file", "empty file"}
    for name, student in truth.items():
        how = student["did"]["notebook"]
        if how in ("half a file", "empty file"):
            assert student["fate"] == "unreadable" and student["deserves"] == {}
            with pytest.raises(ValueError):
                notebook(tmp_path / "b", name)
            continue
        cells = notebook(tmp_path / "b", name)["cells"]
        ids = [c["id"] for c in cells]
        lost = [e for e, o in student["deserves"].items() if o in (["does not parse"], ["cell deleted"])]
        assert (len(lost) == 1) == (how in ("bracket", "deleted"))
        if how == "bracket":
            with pytest.raises(SyntaxError):
                ast.parse("".join(next(c for c in cells if c["id"] == lost[0].replace(".", "-"))["source"]))
        assert (len(ids) > len(set(ids))) == (how == "doubled")


def test_an_answer_that_is_pasted_brings_the_imports_of_the_file_that_it_is_from():
    for path in sorted((COURSE / "mistakes").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {a.asname or a.name.partition(".")[0] for n in nodes for a in n.names} - {"annotations"}
        known = {n for line in simulate.IMPORTS.values() for node in ast.parse(line).body for n in
                 [a.asname or a.name.partition(".")[0] for a in node.names]}
        assert names <= known | {"affine", "to_tensors"}, path.name


def test_attacks_fit_every_exercise(tmp_path):
    path = simulate.simulate(30, "lab1", tmp_path / "h", COURSE, 3, {"hostile": 1.0})
    truth = json.loads(path.read_text())["students"]
    tried = {d for s in truth.values() for d in s["did"].values() if d.startswith("attack")}
    assert len(tried) >= 6
    for name, student in truth.items():
        (exercise,) = [e for e, d in student["did"].items() if d.startswith("attack")]
        assert student["deserves"][exercise] != ["right"] and "right" not in student["deserves"][exercise]
        for cell in notebook(tmp_path / "h", name)["cells"]:
            if exercise.partition(".")[2] in "".join(cell["source"])[:60] and cell["cell_type"] == "code":
                ast.parse("".join(cell["source"]))


def test_what_is_wrong_is_one_sentence(tmp_path):
    with pytest.raises(VosError, match="at least 1"):
        simulate.simulate(0, "lab1", tmp_path / "x", COURSE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    with pytest.raises(VosError, match="not an empty folder"):
        simulate.simulate(2, "lab1", tmp_path / "full", COURSE)
    shutil.copytree(COURSE / "source", tmp_path / "course" / "source")
    with pytest.raises(VosError, match=r"usual mistakes of lab1 are not here: .* which instructors have"):
        simulate.simulate(2, "lab1", tmp_path / "x", tmp_path / "course")
    with pytest.raises(VosError, match="at most"):
        simulate.simulate(10**5, "lab1", tmp_path / "x", COURSE)
    assert not (tmp_path / "x").exists()
