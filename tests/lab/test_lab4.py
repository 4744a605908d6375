"""Lab 4's exercises: oracles against answers known by hand, and against the library. The mistakes: test_mistakes.py."""

import importlib
import math
import sys
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch

from vos_teach.lab import check
from vos_teach.lab.exercises import lab4, lab4_beside, lab4_cells, lab4_loops, lab4_match
from vos_teach.ops.convrnn import ConvLSTMCell

judging = sys.modules["vos_teach.lab.check"]
HIDDEN = Path(__file__).parents[2] / "assignments" / "hidden"


@pytest.fixture(autouse=True)
def _hidden(monkeypatch):
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(HIDDEN))


def test_a_step_of_the_lstm_by_hand():
    one = torch.ones(1, 1, 1, 1)  # the sums below, before their squashing: i = x, f = h + 1, o = 2 x, g = -h
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, -1.0]])[..., None, None]
    h, c = lab4_cells.lstm_oracle(0.5 * one, 0.2 * one, 3 * one, weight, torch.tensor([0.0, 1.0, 0.0, 0.0]))
    new = 3 / (1 + math.exp(-1.2)) - math.tanh(0.2) / (1 + math.exp(-0.5))
    assert c.item() == pytest.approx(new) and h.item() == pytest.approx(math.tanh(new) / (1 + math.exp(-1)))


def test_the_lstms_slopes_are_those_of_autograd():
    call = lab4_cells.memory(np.random.default_rng(3), 1, 2, 1, 2, 2)
    cell = ConvLSTMCell(2, 1, 3)
    x, h, c = (v.clone().requires_grad_() for v in call[:3])
    with torch.no_grad():
        cell.conv.weight.copy_(call[3])
        cell.conv.bias.copy_(call[4])
    new_h, new_c = cell(x, (h, c))
    (new_h.sum() + (new_c**2).sum()).backward()
    said = lab4_cells.lstm_slopes_oracle(*call)[2:]
    for want, got in zip((x.grad, h.grad, c.grad, cell.conv.weight.grad, cell.conv.bias.grad), said, strict=True):
        assert np.allclose(want, got, atol=1e-3)


def test_the_keeper_forgets_and_drifts():
    """What stands in for a network with a memory must be one: its answer depends on frames long past."""
    frames, given = lab4_loops.film(np.random.default_rng(0), 5)[1:]
    other = frames.clone()
    other[1] += 0.3
    a, b = (lab4_loops.unroll_oracle(7, f, given) for f in (frames, other))
    assert (a[0] == given[0].numpy()).all() and (np.abs(a - b)[1:] > 1e-4).any((1, 2)).all()
    fresh = [*given[:3], given[0], None]
    c, d = (lab4_loops.unroll_oracle(7, f, fresh) for f in (frames, other))
    assert (c[3:] == d[3:]).all()  # a mask that is given wipes the past away


def test_objects_are_picked_from_the_brightest_on():
    picture = torch.zeros(3, 6)
    picture[:, :2], picture[:, 3], picture[1, 5] = 2, 3, 1
    found = lab4_loops.find_oracle([2.0, 2.0, 2.0, -1.0], picture, 10, 0.5)
    wanted = [[[0, 0, 0, 1, 0, 0]] * 3, [[1, 1, 0, 0, 0, 0]] * 3, [[0] * 6, [0, 0, 0, 0, 0, 1], [0] * 6]]
    assert [(m > 0.5).astype(int).tolist() for m in found] == wanted
    assert len(lab4_loops.find_oracle([0.1, -0.1], picture, 10, 0.5)) == 1
    with pytest.raises(ValueError, match="no end"):
        look = lab4_beside.Picker([1.0])
        for _ in range(lab4_beside.MOST + 1):
            look(picture)


def test_soft_iou_by_hand():
    p, t = torch.tensor([[0.5, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    value, slope = lab4_match.along_pred_oracle(p, t)
    assert value.tolist() == 0.25  # 0.5 of 1 + 1
    assert slope.tolist() == [[0.5, -0.125, -0.125]]
    value, slope = lab4_match.along_pred_oracle(0 * p, 0 * t)
    assert value == 1 and not slope.any()


def test_matching_by_hand():
    pred, target = lab4_match.rivals(np.random.default_rng(0))
    assert lab4_match.match_oracle(pred, target).tolist() == [1, 0]
    (call, flipped) = lab4_match.gone(np.random.default_rng(0))
    (k,) = np.flatnonzero(call[1].sum((1, 2)).numpy() == 0)
    assert not call[0][lab4_match.match_oracle(*call)[k]].any()
    assert (lab4_match.match_oracle(*flipped) == 3 - lab4_match.match_oracle(*call)).all()


def test_a_level_by_hand():
    options, x, space, time = lab4_cells.level(np.random.default_rng(0), 1, 1, 1, 1, 1)
    weight = lab4_beside.mixing(**options)
    given = np.array([x.item(), time.item(), space[0].item(), space[1].item()])
    h, c, *slopes = lab4_cells.level_oracle(options, x, space, time)
    assert np.allclose([h.item(), c.item()], np.tanh(weight @ given))
    assert [s.shape for s in slopes] == [(1, 1, 1, 1)] * 4


def library(exercise):
    """The library's own answer, as a function of the exercise's arguments; None where there is none."""
    if exercise.name == "lab4.convlstm":
        def convlstm(x, h, c, weight, bias):
            cell = ConvLSTMCell(x.shape[1], h.shape[1], weight.shape[-1])
            del cell.conv.weight, cell.conv.bias
            cell.conv.weight, cell.conv.bias = weight, bias
            return cell(x, (h, c))

        return convlstm
    if exercise.library is None:
        return None
    module, name = exercise.library.split(":")
    return attrgetter(name)(importlib.import_module(module))


@pytest.mark.parametrize("exercise", lab4.EXERCISES, ids=lambda e: e.name)
def test_the_library_agrees_with_the_oracle(exercise):
    answer = library(exercise)
    if answer is None:
        pytest.skip("a loop of the lab's own: the library has none to compare with")
    for case in (*exercise.cases, *judging.hidden_cases(exercise.name)):
        assert judging.verdict(exercise, case, answer) is None, case.name
    if exercise.library:
        with pytest.raises(judging.CheckFailed, match="not yours"):
            check(exercise.name, answer)


def test_public_and_hidden_cases_differ_in_size():
    """Or an answer that is hard-coded for the public ones could pass."""
    def sizes(cases):
        rng = np.random.default_rng(0)
        return {tuple(np.shape(a)) for case in cases for call in case.calls(rng) for a in call
                if isinstance(a, torch.Tensor) and a.dim() > 1}

    for exercise in lab4.EXERCISES:
        assert sizes(judging.hidden_cases(exercise.name)) - sizes(exercise.cases), exercise.name
