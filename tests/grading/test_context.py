"""Which cells an answer needs: seen in their text."""

import json

import pytest
from classroom import ROOT

from vos_teach.grading import build as labs
from vos_teach.grading.context import fault, literal, look, plans
from vos_teach.grading.records import Cell

CHECK = Cell("c", 'check("lab0.f", f)', "check", "lab0.f")


def cells(*given):
    """(id, source, origin) -> cells, then the check of lab0.f."""
    return [Cell(i, s, o, "lab0.f" if i == "f" else None) for i, s, o in given] + [CHECK]


def ids(plan):
    return [piece.id for piece in plan.pieces]


def test_what_a_text_binds_and_reads():
    part = look("import a.b, c as d\nfrom e import g as h\nx: int = y\ndef k(p, q=r):\n    global s\n    s = t + p\n"
                "    u = 1\n    return [v for v in w]\nclass L(M):\n    n = o\nz += 1")
    assert part.binds == {"a", "d", "h", "x", "k", "s", "L", "z"}
    assert {"y", "r", "t", "w", "M", "o", "z", "int"} <= part.reads
    assert not {"p", "u", "v", "n"} & (part.reads | part.binds)


def test_least_is_the_closure_in_the_notebooks_order():
    given = cells(("a", "import numpy as np\nbig = np.zeros(10**9)", "release"),
                  ("b", "def helper(x):\n    return np.abs(x) + base", "own"),
                  ("n", "notes = 'nothing to do with it'", "own"),
                  ("d", "base = 1", "own"),
                  ("f", "def f(x):\n    return helper(x)", "answer"))
    least, more = plans(given, "lab0.f")
    assert ids(least) == ["a", "b", "d", "f"] and least.rest == ("n",)
    assert least.pieces[0].source == "import numpy as np", "the released cell's heavy statement is not needed"
    assert ids(more) == ["a", "b", "n", "d", "f"] and more.rest == ()


def test_nothing_left_out_is_one_try():
    (only,) = plans(cells(("a", "x = 1\ny = 2", "release"), ("f", "def f():\n    return x", "answer")), "lab0.f")
    assert [p.source for p in only.pieces] == ["x = 1", "def f():\n    return x"]


def test_all_that_binds_a_name_counts_not_only_the_last():
    given = cells(("a", "x = 1", "own"), ("b", "x = x + 1", "own"), ("f", "def f():\n    return x", "answer"))
    assert ids(plans(given, "lab0.f")[0]) == ["a", "b", "f"]


def test_an_own_cell_is_taken_whole_a_changed_one_by_its_statements():
    given = cells(("o", "t = {}\nt['a'] = fill()", "own"), ("g", "def fill():\n    return 1\nslow()", "changed"),
                  ("f", "def f():\n    return t", "answer"))
    least, more = plans(given, "lab0.f")
    assert [p.source for p in least.pieces][:2] == ["t = {}\nt['a'] = fill()", "def fill():\n    return 1"]
    assert least.rest == ("g",) and "slow()" in more.pieces[1].source


def test_cells_after_the_check_and_other_checks_are_nothing():
    given = [Cell("k", "x = 0", "check", "lab0.g"), *cells(("f", "def f():\n    return x", "answer")),
             Cell("z", "x = 1", "own")]
    (only,) = plans(given, "lab0.f")
    assert ids(only) == ["f"]


def test_another_answer_is_taken_if_it_is_needed():
    given = [Cell("g", "def g():\n    return 1", "answer", "lab0.g"),
             Cell("h", "def h():\n    return 2", "answer", "lab0.h"),
             *cells(("f", "def f():\n    return g()", "answer"))]
    assert ids(plans(given, "lab0.f")[0]) == ["g", "f"]


def test_an_answer_elsewhere_replaces_an_empty_cell_that_was_restored():
    given = cells(("o", "def f():\n    return 1", "own"), ("f", "def f():\n    raise NotAttempted", "answer"))
    assert ids(plans(given, "lab0.f", gone=True)[0]) == ["o"]
    assert ids(plans(given, "lab0.f")[0]) == ["o", "f"]
    assert ids(plans(given[1:], "lab0.f", gone=True)[0]) == ["f"]


@pytest.mark.parametrize("source", ["%matplotlib inline\nx = 1", "!ls\nx = 1", "x = 1\nx?", "from m import *\nx = 1",
                                    "from __future__ import annotations\nx = 1", "x = 1\nawait x"])
def test_what_a_notebook_may_hold(source):
    assert fault(source) is None
    given = cells(("a", source, "own"), ("f", "def f():\n    return x", "answer"))
    assert ids(plans(given, "lab0.f")[0]) == ["a", "f"]


@pytest.mark.parametrize("source", ["def f(:\n", "x = '\0'", "(" * 5000, "if True:\nx = 1", "\ud800 = 1"])
def test_what_is_no_python_is_said_and_stops_nothing(source):
    assert fault(source)
    given = cells(("a", source, "own"), ("f", "def f():\n    return x", "answer"))
    least, more = plans(given, "lab0.f")
    assert ids(least) == ["f"] and ids(more) == ["a", "f"]


def test_imports_of_the_future_and_of_everything_are_always_taken():
    given = cells(("a", "from __future__ import annotations\nimport heavy", "release"), ("b", "from m import *", "own"),
                  ("f", "def f(x: y):\n    return x", "answer"))
    least = plans(given, "lab0.f")[0]
    assert ids(least) == ["a", "b", "f"] and least.pieces[0].source == "from __future__ import annotations"


@pytest.mark.parametrize(("source", "known"), [
    ('f = "b"', (True, "b")), ("# mine\nf = 'b'  # sure", (True, "b")), ("f = 1", (False, "")),
    ('f = "b".upper()', (False, "")), ('f = "b"\nprint(f)', (False, "")), ("", (False, "")),
    ('f: str = "b"', (False, ""))])
def test_a_plain_letter_needs_no_process(source, known):
    assert literal(cells(("f", source, "answer")), "lab0.f") == known
    assert literal(cells(("o", "f = 'c'", "own"), ("f", source, "answer")), "lab0.f") == (False, "")


@pytest.mark.parametrize("lab", [p.stem for p in labs.sources(ROOT)])
def test_the_real_labs_exercises_need_no_training(lab):
    """Of the released cells only imports and functions: nothing that computes, no set-up of clips."""
    notebook = json.loads((ROOT / "notebooks" / f"{lab}.ipynb").read_text(encoding="utf-8"))
    given = []
    for cell in (c for c in notebook["cells"] if c["cell_type"] == "code"):
        about = cell["metadata"].get("nbgrader", {})
        kind = "check" if about.get("grade") else "answer" if about.get("solution") else "release"
        name = about["grade_id"].removesuffix("-check").replace("-", ".", 1) if about else None
        given.append(Cell(cell["id"], "".join(cell["source"]), kind, name))
    asked = [c.exercise for c in given if c.origin == "check"]
    assert len(asked) > 5
    for exercise in asked:
        (plan,) = plans(given, exercise)
        assert plan.pieces[-1].id == exercise.replace(".", "-")
        for piece in plan.pieces[:-1]:
            assert all(line.startswith(("import ", "from ", "def ", " ")) for line in piece.source.splitlines()), piece
