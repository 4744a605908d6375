"""The labs' cases, put to the test by answers: wrong ones must be refused for what is wrong, right ones must pass.

Generic over all labs: assignments/mistakes/LAB.py lists the answers. Each is taken as a notebook would have it: its
source alone, where only the usual imports are known.
"""

import dataclasses
import importlib.util
import inspect
import math
from functools import cache
from operator import attrgetter
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy
import torch

from vos_teach.lab.check import LABS, CheckFailed, NotAttempted, examine, find, hidden_cases, once, verdict

ROOT = Path(__file__).parents[2]
LINE = 240  # a message must fit on one line, more or less


@cache
def mistakes(lab):
    """assignments/mistakes/LAB.py's table, {} where it is absent."""
    path = ROOT / "assignments" / "mistakes" / f"{lab}.py"
    if not path.is_file():
        return {}
    spec = importlib.util.spec_from_file_location(f"mistakes_{lab}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MISTAKES


@cache
def exercises():
    return [e.name for lab in LABS for e in importlib.import_module(f"vos_teach.lab.exercises.{lab}").EXERCISES]


@cache
def pasted(function):
    """The function as a notebook would define it, from its source alone."""
    space = {"np": np, "torch": torch, "F": torch.nn.functional, "scipy": scipy, "cv2": cv2, "math": math,
             "nn": torch.nn, "Tensor": torch.Tensor}
    space |= {name: value for name, value in function.__globals__.items()  # the lab's own imports
              if inspect.ismodule(value) or str(getattr(value, "__module__", "")).startswith("vos_teach.")}
    code = compile("from __future__ import annotations\n" + inspect.getsource(function), function.__name__, "exec")
    exec(code, space)
    return space[function.__name__]


@pytest.fixture(autouse=True)
def _hidden(monkeypatch):
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(ROOT / "assignments" / "hidden"))


@cache
def fails(name, function, number):
    """Whether an answer fails case `number` of the exercise, public ones first."""
    bare = dataclasses.replace(find(name), suspects=())  # whose mistake it is does not matter here
    return verdict(bare, all_cases(name)[number], pasted(function)) is not None


@cache
def all_cases(name):
    return (*find(name).cases, *hidden_cases(name))


def wrong_ones():
    return [pytest.param(name, f, words, id=f"{name}-{f.__name__}")
            for lab in LABS for name, m in mistakes(lab).items() for f, words in m["wrong"]]


def right_ones():
    return [pytest.param(name, f, id=f"{name}-{f.__name__}")
            for lab in LABS for name, m in mistakes(lab).items() for f in m["right"]]


@pytest.mark.parametrize("name", exercises())
def test_enough_answers(name):
    m = mistakes(name.partition(".")[0]).get(name)
    assert m, f"assignments/mistakes/ has nothing for {name}"
    assert len(m["wrong"]) >= 5 and len(m["right"]) >= 2
    assert len(find(name).hints) >= 3
    names = [case.name for case in all_cases(name)]
    assert len(set(names)) == len(names)  # draws are seeded by the name: two alike would be one


@pytest.mark.parametrize("lab", LABS)
def test_mistakes_belong_to_exercises(lab):
    assert set(mistakes(lab)) <= set(exercises())


@pytest.mark.parametrize("name", exercises())
def test_what_is_kept_out_of_reach_exists(name):
    spec = find(name)
    for where in [*([spec.library] if spec.library else []), *spec.relatives]:
        module, _, path = where.partition(":")
        assert callable(attrgetter(path)(importlib.import_module(module))), where


@pytest.mark.parametrize(("name", "function", "words"), wrong_ones())
def test_wrong_is_refused_for_what_is_wrong(name, function, words):
    number = next((i for i in range(len(all_cases(name))) if fails(name, function, i)), None)
    assert number is not None, "passes every case"
    said = verdict(find(name), all_cases(name)[number], pasted(function))
    assert isinstance(said, CheckFailed) and not isinstance(said, NotAttempted)
    assert words in said.why, said.why
    assert len(said.why) <= LINE and "\n" not in said.why, said.why


@pytest.mark.parametrize(("name", "function"), right_ones())
def test_right_passes(name, function):
    for case in all_cases(name):
        assert verdict(find(name), case, pasted(function)) is None


@pytest.mark.parametrize("name", exercises())
def test_every_case_refuses_some_mistake(name):
    wrong = [f for f, _ in mistakes(name.partition(".")[0])[name]["wrong"]]
    for number, case in enumerate(all_cases(name)):
        assert any(fails(name, f, number) for f in wrong), f"case '{case.name}' refuses nothing"


@pytest.mark.parametrize("name", exercises())
def test_made_for_the_public_cases_is_not_enough(name):
    public = len(find(name).cases)
    wrong = [f for f, _ in mistakes(name.partition(".")[0])[name]["wrong"]]
    passing = [f for f in wrong if not any(fails(name, f, i) for i in range(public))]
    assert passing, "no wrong answer passes the public cases: write one that is made for them"
    for function in passing:
        assert any(fails(name, function, i) for i in range(public, len(all_cases(name)))), function.__name__


SEEDS = pytest.mark.parametrize("salts", [  # of 700 answers all take minutes
    pytest.param(range(3), marks=pytest.mark.slow, id="some"),
    pytest.param(range(3, 12), marks=pytest.mark.acceptance, id="rest")])


@SEEDS
@pytest.mark.parametrize(("name", "function"), right_ones())
def test_right_is_right_for_every_seed_of_a_grader(name, function, salts):
    """A grader draws inputs of its own: no right answer may be lost to an unlucky draw."""
    for case in all_cases(name):
        for salt in salts:
            found = examine(find(name), case, lambda c, call: once(c, pasted(function), call), (salt,))
            assert found is None, f"{case.name}, salt {salt}: {found.text}"


@SEEDS
@pytest.mark.parametrize(("name", "function", "words"), wrong_ones())
def test_wrong_is_wrong_for_every_seed_of_a_grader(name, function, words, salts):
    """Nor may a mistake earn its marks by a lucky one."""
    bare = dataclasses.replace(find(name), suspects=())
    for salt in salts:
        assert any(examine(bare, case, lambda c, call: once(c, pasted(function), call), (salt,)) is not None
                   for case in reversed(all_cases(name))), f"salt {salt}: it passes"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "function", "words"), wrong_ones())
def test_what_a_student_hears_of_a_hidden_case_does_not_depend_on_its_values(name, function, words):
    """Three draws of the same case: the sentence is the same, or another fixed one (a usual mistake, a first check)."""
    for case in hidden_cases(name):
        said = {found.safe for salt in range(3)
                if (found := examine(find(name), case, lambda c, call: once(c, pasted(function), call), (salt,)))}
        assert len(said) <= 2 and all(len(s) <= LINE for s in said), said
