"""The judge, with a sandbox that is none: what becomes a mark, with which words for whom."""

import dataclasses

import pytest
from classroom import ROOT
from fake_box import Box

from vos_teach.errors import VosError
from vos_teach.grading import judge as judging
from vos_teach.grading.judge import Asked, asked, judge
from vos_teach.grading.records import Cell, Mark, Prepared
from vos_teach.lab.check import find, hidden_module

HIDDEN = ROOT / "assignments" / "hidden"
SETUP = Cell("setup", "import numpy as np\nfrom vos_teach.lab import NotAttempted", "release")
HEAD = "def recall(values, threshold=0.5):\n    "
RECALL = HEAD + "return float(sum(v > threshold for v in values) / max(1, len(values)))"
RIGHT = HEAD + "v = np.asarray(values, float)\n    return float((v > threshold).mean()) if len(v) else float('nan')"
STUB = "def recall(values, threshold=0.5):\n    raise NotAttempted"
PART = Asked("lab0.recall", 2, "function")


def submission(answer, *own, missing=False, exercise="lab0.recall", **more):
    cells = [SETUP, *(Cell(f"own{i}", text, "own") for i, text in enumerate(own)),
             Cell("answer", answer, "answer", exercise), Cell("check", "check()", "check", exercise)]
    return Prepared("ada", "lab0", digest="d", notebook={"cells": []}, cells=cells,
                    missing=[exercise] if missing else [], **more)


def mark_of(prepared, box=None, part=PART, seed=1):
    (mark,) = judge(prepared, box or Box(), seed, HIDDEN, [part]).marks
    return mark


def test_right_with_both_public_and_hidden_cases():
    box = Box()
    record = judge(submission(RIGHT), box, 5, HIDDEN, [PART], "k")
    (mark,) = record.marks
    assert (mark.score, mark.outcome, mark.hidden) == (2, "right", False)
    public = len(find("lab0.recall").cases)
    hidden = len(hidden_module("lab0.recall", "lab0").CASES["lab0.recall"])
    assert mark.reason == f"{public + hidden} cases, {hidden} of them hidden"
    assert (record.key, record.seed, record.sandbox, record.held) == ("k", 5, "none", False)
    (session,) = box.sessions
    assert session.blocked == ["vos_teach.metrics:recall"] and session.cells == [
        ["import numpy as np", "from vos_teach.lab import NotAttempted"][0], RIGHT]


def test_a_public_case_is_shown_a_hidden_one_is_not():
    shown = mark_of(submission("def recall(values, threshold=0.5):\n    return 7.0"))
    assert (shown.score, shown.outcome, shown.hidden) == (0, "wrong", False) and "(case: " in shown.said
    kept = mark_of(submission(RECALL))  # stands the public cases; no frames is a hidden one
    assert (kept.score, kept.outcome, kept.hidden, kept.case) == (0, "wrong", True, "no frames")
    assert "hidden case 'no frames'" in kept.reason and "no frames'" not in kept.said and "case" not in kept.said


def test_inputs_are_drawn_from_the_seed():
    seen = {}
    for seed in (1, 1, 2):
        box = Box()
        real = box.session

        def session(*a, real=real, seed=seed, **k):
            one = real(*a, **k)
            call = one.call
            one.call = lambda name, args, *r: (seen.setdefault(seed, []).append(repr(args)), call(name, args, *r))[1]
            return one

        box.session = session
        assert mark_of(submission(RIGHT), box, seed=seed).outcome == "right"
    n = len(seen[1]) // 2
    assert seen[1][:n] == seen[1][n:] and seen[1][:n] != seen[2]


@pytest.mark.parametrize(("answer", "outcome", "words"), [
    (STUB, "not attempted", "as released"),
    ("# nothing", "not attempted", "no cell before the check defines 'recall'"),
    ("recall = None", "not attempted", "None"), ("recall = ...", "not attempted", "..."),
    ("recall = 0.5", "wrong", "not float"),
    ("def recall(:\n    pass", "does not parse", "line 1"),
    ("from vos_teach.metrics import recall", "wrong", "the library's own"),
    ("recall = 1 / 0", "wrong", "the cell answer raised ZeroDivisionError"),
    ("x = bytearray(2**62)\nrecall = 1", "out of memory", "MemoryError"),
    ("def recall(*a):\n    raise MemoryError", "out of memory", "public case"),
    ("def recall(*a):\n    raise KeyError('my own words')", "wrong", "it raised KeyError: 'my own words'"),
    ("class Odd(Exception): pass\ndef recall(*a):\n    raise Odd(object())", "wrong", "<object object at 0x...>"),
    ("def recall(values, threshold=0.5):\n    values[:] = 1\n    return 1.0", "wrong", "argument number 1 in place"),
    ("def recall(*a):\n    return None", "wrong", "returns None"),
    ("def recall(*a):\n    return {'x': [object()]}", "wrong", ""),
    ("def recall(*a):\n    return 'right'", "wrong", ""),
    ("def recall(*a):\n    return np.array([1j])", "wrong", ""),
    ("def recall(*a):\n    return float('nan')", "wrong", ""),
    ("class Same(float):\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0\n"
     "    def __array__(self, *a, **k): return np.zeros(())\ndef recall(*a):\n    return Same(0.123)", "wrong", ""),
    ("def recall(*a):\n    yield 1", "wrong", ""),
])
def test_each_outcome_has_its_words(answer, outcome, words):
    mark = mark_of(submission(answer))
    assert (mark.score, mark.outcome) == (0, outcome), mark
    assert words in mark.reason and mark.reason and mark.said, mark


def test_one_line_is_all_that_a_reason_is():
    mark = mark_of(submission("def recall(*a):\n    raise ValueError('\\x1b[31m' + 'one\\ntwo ' * 300)"))
    assert mark.outcome == "wrong" and "\n" not in mark.reason + mark.said
    assert "\x1b" not in mark.reason and len(mark.reason) <= 400


@pytest.mark.parametrize("outcome", ["time-out", "died", "out of memory", "tampered"])
def test_a_lost_process_is_a_mark_that_says_where(outcome):
    record = judge(submission(RIGHT), Box({"recall": outcome}), 1, HIDDEN, [PART, PART])
    for mark in record.marks:
        assert (mark.score, mark.outcome) == (0, outcome) and "before its first case" in mark.reason
        assert mark.said == judging.SAID[outcome]
    assert record.held == (outcome == "tampered")
    quiet = submission(RIGHT.replace("def recall", "def rec").replace("'nan')", "'nan')\nglobals()['recall'] = rec"))
    mark = mark_of(quiet, Box({"recall": outcome}))
    assert mark.outcome == outcome


def test_a_forged_last_answer_is_found_out():
    record = judge(submission(RIGHT), Box({"check": "tampered"}), 1, HIDDEN, [PART])
    assert record.held and (record.marks[0].score, record.marks[0].outcome) == (0, "tampered")


def test_lost_in_a_hidden_case_names_it_for_the_instructor_only():
    box = Box()
    real = box.session

    def session(*a, **k):
        one = real(*a, **k)
        call = one.call

        def dies(name, args, *r):
            if not len(args[0]):  # "no frames"
                raise judging.Lost("time-out", "60 s were not enough")
            return call(name, args, *r)

        one.call = dies
        return one

    box.session = session
    mark = mark_of(submission(RIGHT), box)
    assert (mark.outcome, mark.hidden, mark.case) == ("time-out", True, "no frames")
    assert "hidden case 'no frames'" in mark.reason and "frames" not in mark.said


def test_what_the_first_try_leaves_out_gets_a_second():
    hook = "import vos_teach.lab as shared\nshared.base = 0.5"
    answer = RIGHT.replace("> threshold", "> threshold * 2 * __import__('vos_teach.lab').lab.base")
    box = Box()
    mark = mark_of(submission(answer, hook), box)
    assert mark.outcome == "right" and len(box.sessions) == 2 and hook in box.sessions[1].cells
    box = Box()
    assert mark_of(submission(RIGHT, "recall2 = 1"), box).outcome == "right" and len(box.sessions) == 1
    box = Box({"harm": "time-out"})  # an own cell that is not needed cannot lower a mark
    mark = mark_of(submission(RECALL, "harm = 1"), box)
    assert mark.outcome == "wrong" and len(box.sessions) == 2


def test_an_answer_whose_cell_is_gone():
    assert mark_of(submission(STUB, missing=True)).outcome == "cell deleted"  # restored empty by who prepares
    assert mark_of(submission("", missing=True)).outcome == "cell deleted"
    assert mark_of(submission(STUB, RIGHT, missing=True)).outcome == "right"


@pytest.mark.parametrize(("text", "outcome", "sessions"), [
    ('q_decay = "c"', "right", 0), ('q_decay = "C "', "right", 0), ('q_decay = "a"', "wrong", 0),
    ('q_decay = ""', "not attempted", 0), ("q_decay = None", "not attempted", 1), ("", "not attempted", 1),
    ('q_decay = "c" if True else ""', "right", 1), ('q_decay = ["c"]', "wrong", 1), ("q_decay = 3", "wrong", 1),
    ("class S(str):\n    def __eq__(self, o): return True\nq_decay = S('a')", "wrong", 1),
    ("q_decay = (", "does not parse", 1),
])
def test_quiz(text, outcome, sessions):
    part, box = Asked("lab0.q_decay", 1, "quiz"), Box()
    mark = mark_of(submission(text, exercise="lab0.q_decay"), box, part)
    assert (mark.outcome, mark.score, len(box.sessions)) == (outcome, float(outcome == "right"), sessions)
    if outcome == "right":
        assert len(mark.said) > 20, "the explanation"


def test_a_human_marks_what_only_a_human_can():
    mark = mark_of(submission(RIGHT), part=Asked("lab0.reflection", 4, "manual"))
    assert (mark.score, mark.outcome, mark.points) == (None, "by hand", 4)


@pytest.mark.parametrize(("fate", "held"), [("no notebook", False), ("unreadable", True), ("wrong lab", True)])
def test_nothing_to_judge(fate, held):
    box = Box()
    record = judge(Prepared("ada", "lab0", fate, "why"), box, 1, HIDDEN, [PART, Asked("lab0.reflection", 4, "manual")])
    assert (record.fate, record.held, box.sessions) == (fate, held, [])
    assert [(m.score, m.outcome, m.reason) for m in record.marks] == [(0, "not attempted", "why")] * 2 and record.said


def test_flags_are_held_for_a_human_and_change_no_mark():
    record = judge(submission(RIGHT, flags=["it reads sys._getframe"]), Box(), 1, HIDDEN, [PART])
    assert record.held and record.marks[0].outcome == "right" and record.flags == ["it reads sys._getframe"]


def test_a_bug_of_the_sandbox_costs_one_mark_and_a_look():
    box = Box()
    box.session = lambda *a, **k: 1 / 0
    record = judge(submission(RIGHT), box, 1, HIDDEN, [PART])
    assert record.held and "ZeroDivisionError" in record.marks[0].reason and record.marks[0].outcome == "died"


def test_errors_of_the_graders_own_are_loud(monkeypatch, tmp_path):
    with pytest.raises(VosError, match=r"hidden cases of 'lab0\.recall' are not here"):
        judge(submission(RIGHT), Box(), 1, tmp_path, [PART])
    (tmp_path / "lab0.py").write_text("1/0")
    with pytest.raises(VosError, match=r"hidden cases of 'lab0\.recall' cannot be loaded: ZeroDivisionError"):
        judge(submission(RIGHT), Box(), 1, tmp_path, [PART])
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "lab0.py").write_text(
        "from vos_teach.lab.cases import Case\n"
        "CASES = {'lab0.recall': (Case('odd', lambda rng: 1 / 0, lambda c, r: None),)}")
    with pytest.raises(VosError, match=r"hidden case 'odd' of 'lab0\.recall' cannot be drawn \(ZeroDivisionError"):
        judge(submission(RIGHT), Box(), 1, tmp_path / "two", [PART])
    (tmp_path / "two" / "quiz.py").write_text("RIGHT = {}")
    with pytest.raises(VosError, match=r"no right letter of 'lab0\.q_decay'"):
        judge(submission('q_decay = "a"', exercise="lab0.q_decay"), Box(), 1, tmp_path / "two",
              [Asked("lab0.q_decay", 1, "quiz")])


def test_what_a_release_asks_for():
    import json

    release = json.loads((ROOT / "notebooks" / "lab1_online_learning.ipynb").read_text(encoding="utf-8"))
    parts = asked(release)
    assert parts[0] == Asked("lab1.balanced_bce", 3, "function") and parts[-1].kind == "manual"
    assert {p.name for p in parts if p.kind == "quiz"} == {p.name for p in parts if ".q_" in p.name}
    with pytest.raises(VosError, match="no cell that is graded"):
        asked({"cells": []})


def test_marks_survive_a_file(tmp_path):
    from vos_teach.grading.records import read_record, write

    record = judge(submission(RIGHT), Box(), 1, HIDDEN, [PART])
    record.before = {"inputs": {"seed": "1"}, "scores": {"lab0.recall": [1.0, "right", ""]}}
    write(tmp_path / "r.json", record)
    assert read_record(tmp_path / "r.json") == record and isinstance(record.marks[0], Mark)
    assert dataclasses.asdict(record)["limits"] == {"wall": 60}


def test_an_oracle_is_asked_once_for_the_same_call_and_anew_for_another():
    import numpy as np
    import torch

    from vos_teach.lab.cases import duplicate, equals

    asked_for = []

    def oracle(x, n):
        asked_for.append((x, n))
        return np.asarray(x).sum() + n

    case, base = equals(oracle, "wrong"), np.arange(3.0)
    calls = [(base, 1), (base + 1, 1), (base, 2), (base.astype(np.float32), 1), (torch.arange(3.0), 1), (list(base), 1),
             (base[:, None], 1), (base, True), (base, 1.0)]
    for _ in range(2):
        assert case(duplicate(calls), [np.asarray(x).sum() + n for x, n in calls]) is None
    assert len(asked_for) == len(calls)
    assert case([(base, 1)], [5.0]).startswith("wrong")
