"""Lab 5a's exercises: oracles against answers known by hand and against the library. Mistakes: test_mistakes.py."""

import importlib
import math
import sys
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch

from vos_teach.lab import check
from vos_teach.lab.exercises import lab5a, lab5a_affinity, lab5a_beside, lab5a_memory, lab5a_merge
from vos_teach.ops.affinity import dot_affinity, l2_affinity, readout
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.transformers import memory as M

judging = sys.modules["vos_teach.lab.check"]
HIDDEN = Path(__file__).parents[2] / "assignments" / "hidden"


@pytest.fixture(autouse=True)
def _hidden(monkeypatch):
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(HIDDEN))


def test_affinities_by_hand():
    mk, qk = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0]])  # two places, one question, one channel
    assert np.allclose(lab5a_affinity.dot_oracle(mk, qk)[:, 0], [1 / (1 + math.exp(4)), 1 / (1 + math.exp(-4))])
    assert np.allclose(lab5a_affinity.l2_oracle(mk, qk)[:, 0], [0.5, 0.5])
    assert lab5a_affinity.l2_oracle(mk, torch.tensor([[1.9]]), 1)[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["dot", "l2", "top", "merge", "read"])
def test_the_slopes_are_those_of_autograd(kind):
    rng = np.random.default_rng(3)
    call, oracle, ours = {
        "dot": (lab5a_affinity.keys(rng, 3, 2), lab5a_affinity.dot_oracle, dot_affinity),
        "l2": (lab5a_affinity.keys(rng, 3, 2, loud=0.7), lab5a_affinity.l2_oracle, l2_affinity),
        "top": ((*lab5a_affinity.keys(rng, 4, 2, loud=0.7), 2), lab5a_affinity.l2_oracle, l2_affinity),
        "merge": (lab5a_merge.objects(rng, 2, 1, 2), lab5a_merge.merge_oracle, soft_aggregate),
        "read": (lab5a_memory.reading(rng, 3, 2, 2), lab5a_memory.readout_oracle, readout),
    }[kind]
    value, *slopes = lab5a_affinity.wiggled(oracle)(*call)
    asked = lab5a_beside.slopes_prepare(call)
    got = lab5a_beside.slopes_collect(asked, ours(*asked))
    assert np.allclose(value, got[0], atol=1e-5) and len(slopes) == len(got) - 1 > 0
    assert any(np.abs(slope).max() > 1e-2 for slope in slopes)  # or a lost gradient would not be seen
    for want, slope in zip(slopes, got[1:], strict=True):
        assert np.allclose(want, slope, atol=1e-3)


def test_what_has_no_gradient_is_said_to_be_cut():
    call = lab5a_beside.slopes_prepare(lab5a_affinity.keys(np.random.default_rng(0)))
    assert lab5a_beside.slopes_collect(call, dot_affinity(*call).detach()) == "cut"
    assert "tuple" in lab5a_beside.slopes_collect(call, (1, 2))


def test_the_stand_in_is_asked_once_and_every_place_counts():
    near, call = lab5a_beside.Nearness(), lab5a_affinity.keys(np.random.default_rng(0))
    weights = near(*call)
    assert torch.allclose(weights.sum(0), torch.ones(4)) and (weights > 0).all()
    with pytest.raises(ValueError, match="asked twice"):
        near(*call)
    with pytest.raises(ValueError, match="keys C,N"):
        lab5a_beside.Nearness()(call[0][None], call[1])


def test_a_look_up_by_hand():
    """Two frames of one place each: what is read is the weighted mean of their values."""
    memory = [(torch.tensor([[[0.0]]]), torch.tensor([[[[1.0]]], [[[10.0]]]])),
              (torch.tensor([[[0.2]]]), torch.tensor([[[[3.0]]], [[[20.0]]]]))]
    out = lab5a_memory.look_oracle(memory, torch.tensor([[[0.0]]]))
    a, b = 1 / 0.2**2, 1 / 0.4**2
    assert out.shape == (2, 1, 1, 1)
    assert np.allclose(out[:, 0, 0, 0], [(a + 3 * b) / (a + b), (10 * a + 20 * b) / (a + b)])


@pytest.mark.parametrize("t, last, every, limit, want", [
    (1, True, 5, None, [0]), (12, True, 5, None, [0, 5, 10, 11]), (12, False, None, None, [0]),
    (12, True, 5, 3, [0, 10, 11]), (12, True, 5, 1, [0]), (11, True, 5, 2, [0, 10]), (3, False, 1, None, [0, 1, 2]),
])
def test_a_rule_by_hand(t, last, every, limit, want):
    assert lab5a_memory.remember_oracle(t, last, every, limit) == want


@pytest.mark.parametrize("limit", [None, 3])
def test_the_rule_is_what_the_library_holds(limit):
    """Frame by frame, with the bound in the rule or in the bank."""
    rule = M.frames(last=True, every=4)
    bank = M.Bank(rule, limit)
    ours = M.Bank(lambda t: lab5a_memory.remember_oracle(t, True, 4, limit))
    for t in range(20):
        for b in (bank, ours):
            if b.wants(t, t == 0):
                e = torch.zeros(1, 1, 1)
                b.add(M.Entry(t, torch.zeros(3, 16, 16), torch.zeros(1, 16, 16), e, e[None], t == 0))
            else:
                b.tidy(t)
        assert bank.times == ours.times


def test_merging_by_hand():
    out = lab5a_merge.merge_oracle(torch.tensor([0.4, 0.4, 0.4]).view(3, 1, 1))[:, 0, 0]
    odds = [0.216 / 0.784, *[0.4 / 0.6] * 3]
    assert np.allclose(out, np.array(odds) / sum(odds), atol=1e-6) and out.argmin() == 0
    one = lab5a_merge.merge_oracle(torch.full((1, 1, 1), 0.3))[:, 0, 0]
    assert np.allclose(one, [0.49 / 0.58, 0.09 / 0.58]) and one[0] > 0.7  # not 0.7 and 0.3: the odds are squared


@pytest.mark.parametrize("exercise", lab5a.EXERCISES, ids=lambda e: e.name)
def test_the_library_agrees_with_the_oracle(exercise):
    if exercise.library is None:
        pytest.skip("a function of the lab's own: the library has none to compare with")
    module, name = exercise.library.split(":")
    answer = attrgetter(name)(importlib.import_module(module))
    for case in (*exercise.cases, *judging.hidden_cases(exercise.name)):
        assert judging.verdict(exercise, case, answer) is None, case.name
    with pytest.raises(judging.CheckFailed, match="not yours"):
        check(exercise.name, answer)


def test_public_and_hidden_cases_differ_in_size():
    """Or an answer that is hard-coded for the public ones could pass."""
    def sizes(cases):
        rng = np.random.default_rng(0)
        return {str([getattr(a, "shape", a) for a in call]) for case in cases for call in case.calls(rng)}

    for exercise in lab5a.EXERCISES:
        assert sizes(judging.hidden_cases(exercise.name)) - sizes(exercise.cases), exercise.name
