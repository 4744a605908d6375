"""check: its three outcomes, on exercises made up here."""

import functools
import os
import sys
import types
import warnings

import numpy as np
import pytest
import torch

from vos_teach.errors import VosError
from vos_teach.lab import CheckFailed, NotAttempted, check, hint, quiz
from vos_teach.lab.cases import Case, Exercise, differs, equals
from vos_teach.ops.losses import balanced_bce

judging = sys.modules["vos_teach.lab.check"]


def double(x):
    return 2 * x


def calls(rng):
    return [(rng.normal(size=(2, 3)),)]


PUBLIC = Case("doubles", calls, equals(double, "twice, not something else"))
SLOPE = Case("slope", lambda rng: [(torch.from_numpy(rng.normal(size=3)),)],
             lambda calls, results: differs(results[0][1], torch.full((3,), 2.0), what="the gradient"), grad=0)


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    module = types.ModuleType("made_up")
    module.EXERCISES = (
        Exercise("lab9.double", (PUBLIC,), ("think of two", "2 * x"), "operator:mul",
                 ((lambda x: x / 2, "halved, not doubled"),)),
        Exercise("lab9.slope", (SLOPE,), ("torch",)),
    )
    monkeypatch.setattr(judging, "LABS", ("lab9",))
    monkeypatch.setitem(sys.modules, "vos_teach.lab.exercises.lab9", module)
    judging._hints_shown.clear()


def failure(exercise, answer, **options):
    with pytest.raises(CheckFailed) as caught:
        check(exercise, answer, **options)
    return caught.value


def test_right_returns_nothing_and_prints_one_line(capfd):
    assert check("lab9.double", lambda x: x + x) is None
    assert capfd.readouterr().out == "Right - lab9.double: 1 cases passed\n"


def test_wrong_says_the_case_and_where():
    error = failure("lab9.double", lambda x: 3 * x)
    assert not isinstance(error, NotAttempted)
    assert "twice, not something else" in error.why and "case: doubles" in error.why and "6 of 6 places" in error.why


def test_a_usual_mistake_is_named():
    assert "halved, not doubled" in failure("lab9.double", lambda x: 0.5 * x).why


def test_in_ipython_a_failure_is_two_lines():
    lines = failure("lab9.double", lambda x: 3 * x)._render_traceback_()
    assert len(lines) == 2 and not any("\n" in line for line in lines)


def not_implemented(x):
    raise NotImplementedError


def stub(x):
    raise NotAttempted


@pytest.mark.parametrize("answer", [stub, not_implemented, None, ...])
def test_not_attempted(answer):
    assert isinstance(failure("lab9.double", answer), NotAttempted)


def test_forgotten_return_is_said():
    assert "return" in failure("lab9.double", lambda x: None).why


def test_the_exception_of_an_answer_is_one_line():
    def answer(x):
        raise ValueError("first line\nsecond line")

    why = failure("lab9.double", answer).why
    assert "ValueError: first line" in why and "second" not in why


def test_an_input_changed_in_place_is_refused():
    def answer(x):
        x *= 2
        return x

    assert "argument number 1 in place" in failure("lab9.double", answer).why


def test_an_input_changed_in_place_cannot_mislead_the_oracle():
    def answer(x):
        x[:] = 0
        return np.zeros_like(x)

    failure("lab9.double", answer)


@pytest.mark.parametrize("result", [NotImplemented, "text", object(), [[1, 2], [3]], np.zeros((3, 2)), 4.0,
                                    np.full((2, 3), np.nan), np.full((2, 3), np.inf)])
def test_strange_results_are_wrong_and_never_crash(result):
    failure("lab9.double", lambda x: result)


def test_an_object_that_equals_everything_is_wrong():
    class Equal:
        def __eq__(self, other):
            return True

        def __array_ufunc__(self, *args, **kwargs):
            return np.True_

    failure("lab9.double", lambda x: Equal())


def test_gradients_are_asked_for():
    check("lab9.slope", lambda x: 2 * x)
    assert "no gradient" in failure("lab9.slope", lambda x: 2 * x.detach()).why
    assert "the gradient" in failure("lab9.slope", lambda x: 2 * x.detach() + x).why


@pytest.mark.parametrize("answer", [balanced_bce, functools.partial(balanced_bce)])
def test_the_librarys_own_is_refused(answer):
    assert "not yours" in failure("lab9.double", answer).why


def test_a_value_in_place_of_the_function_is_refused():
    assert "without calling it" in failure("lab9.double", np.zeros(3)).why


def test_what_an_answer_says_costs_nothing_and_is_not_heard(capfd):
    def answer(x):
        warnings.warn("deprecated", stacklevel=1)
        print("noise")
        os.write(2, b"native noise\n")
        sys.stderr.write("more noise\n")
        return 2 * x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check("lab9.double", answer)
    out, err = capfd.readouterr()
    assert "noise" not in out + err and out.startswith("Right")


def test_streams_are_back_after_an_exception(capfd):
    failure("lab9.double", not_implemented)
    failure("lab9.double", lambda x: 1 / 0)
    print("heard")
    os.write(2, b"heard too\n")
    out, err = capfd.readouterr()
    assert out == "heard\n" and err == "heard too\n"


def test_hints_come_one_at_a_time_and_the_last_stays(capsys):
    for _ in range(3):
        hint("lab9.double")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1::2] == ["think of two", "2 * x", "2 * x"]
    assert lines[0].startswith("Hint 1 of 2") and "last" in lines[2]


def test_unknown_exercises_are_named():
    with pytest.raises(VosError, match=r"lab9\.double, lab9\.slope"):
        check("lab9.triple", double)
    with pytest.raises(VosError, match="lab9"):
        check("nonsense", double)


def test_grading_without_the_hidden_cases_fails_loudly(tmp_path, monkeypatch):
    monkeypatch.delenv("VOS_TEACH_HIDDEN", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VosError, match=r"hidden cases of 'lab9\.double' are not here"):
        check("lab9.double", lambda x: 2 * x, hidden=True)


HIDDEN = """
from vos_teach.lab.cases import Case, equals
CASES = {"lab9.double": (Case("negative", lambda rng: [(-rng.random((2, 2)),)], equals(lambda x: 2 * x, "below 0")),)}
"""


@pytest.mark.parametrize("where", ["variable", "above"])
def test_hidden_cases_are_found_and_decide(where, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "assignments" / "hidden"
    folder.mkdir(parents=True)
    (folder / "lab9.py").write_text(HIDDEN)
    monkeypatch.delenv("VOS_TEACH_HIDDEN", raising=False)
    if where == "variable":
        monkeypatch.setenv("VOS_TEACH_HIDDEN", str(folder))
    else:
        inside = tmp_path / "assignments" / "autograded" / "ann" / "lab9"
        inside.mkdir(parents=True)
        monkeypatch.chdir(inside)
    seen = [c[0] for draw in range(2) for c in PUBLIC.calls(draw_rng(PUBLIC, draw))]

    def learnt_by_heart(x):
        return 2 * x if any(x.shape == s.shape and np.array_equal(x, s) for s in seen) else 0 * x

    check("lab9.double", learnt_by_heart)
    assert "below 0" in failure("lab9.double", learnt_by_heart, hidden=True).why
    check("lab9.double", lambda x: x + x, hidden=True)
    assert "2 cases" in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(VosError, match=r"no cases of 'lab9\.slope'"):
        check("lab9.slope", lambda x: 2 * x, hidden=True)


def draw_rng(case, draw):
    import zlib

    return np.random.default_rng([zlib.crc32(b"lab9.double"), zlib.crc32(case.name.encode()), draw])


@pytest.fixture()
def question(monkeypatch):
    name = "lab9.q"
    sealed = {"a": quiz.seal(name, "a", False, "no: too small"), "b": quiz.seal(name, "b", True, "yes: because")}
    monkeypatch.setattr(quiz, "_sealed", lambda: {name: sealed})
    return name


def test_quiz(question, capsys, tmp_path, monkeypatch):
    assert isinstance(failure(question, ""), NotAttempted)
    assert failure(question, "a").why == "no: too small"
    assert "choose one of 'a', 'b'" in failure(question, "z").why
    assert "choose one of" in failure(question, 3).why
    check(question, " B ")
    assert capsys.readouterr().out == "Right - lab9.q\nyes: because\n"
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(tmp_path))
    (tmp_path / "quiz.py").write_text('RIGHT = {"lab9.q": "a"}\n')
    failure(question, "b", hidden=True)  # the key decides, whatever the sealed text says
    check(question, "a", hidden=True)


def test_sealed_text_shows_nothing(question):
    assert all("because" not in s and "right" not in s for s in quiz._sealed()[question].values())
