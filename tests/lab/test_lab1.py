"""Lab 1's exercises: oracles against answers known by hand, and against the library. The mistakes: test_mistakes.py."""

import copy
import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vos_teach.data.augment import affine, to_tensors
from vos_teach.lab import check
from vos_teach.lab.exercises import lab1, lab1_beside, lab1_osmn

judging = sys.modules["vos_teach.lab.check"]
HIDDEN = Path(__file__).parents[2] / "assignments" / "hidden"


def test_balanced_loss_by_hand():
    logits, target = torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    # one of four is positive and weighs 3/4, three weigh 1/4; each pixel's loss is log 2
    assert float(lab1.bce_oracle(logits, target)) == pytest.approx((3 / 4 + 3 / 4) * math.log(2) / 4)


def test_selection_by_hand():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[2:7, 2:7] = True
    got = lab1.targets_oracle(torch.full((16, 16), 0.99), mask, 0.97, 6 / 16, 1 / 16)
    # erosion by 1 leaves rows and columns 3 to 5; 6 pixels away is not farther than 6
    assert got[4, 11] == 1 and got[4, 12] == 0 and got[11, 4] == 1 and got[12, 4] == 0
    assert (lab1.targets_oracle(torch.full((16, 16), 0.99), mask & False) == 255).all()


def test_gaussian_by_hand():
    mask = torch.zeros(96, 160, dtype=torch.bool)
    mask[10, 20:25] = True
    got = lab1_osmn.gaussian_oracle(mask)
    assert got[10, 22] == 1 and got[11, 22] == pytest.approx(math.exp(-0.5))  # the floor is 1 pixel at 96
    assert got[10, 23] == pytest.approx(math.exp(-0.5 / 1.4826**2))  # distances 2 1 0 1 2: their middle is 1


@pytest.mark.parametrize("exercise", [e for e in lab1.EXERCISES if e.library], ids=lambda e: e.name)
def test_the_library_agrees_with_the_oracles(exercise, monkeypatch):
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(HIDDEN))
    module, name = exercise.library.split(":")
    answer = getattr(importlib.import_module(module), name)
    for case in (*exercise.cases, *judging.hidden_cases(exercise.name)):
        assert judging.verdict(exercise, case, answer) is None, case.name


def test_every_exercise_has_hints_and_refuses_the_librarys_own():
    for exercise in lab1.EXERCISES:
        assert len(exercise.hints) >= 3
        if exercise.library:
            module, name = exercise.library.split(":")
            with pytest.raises(judging.CheckFailed, match="not yours"):
                check(exercise.name, getattr(importlib.import_module(module), name))


def test_public_and_hidden_cases_differ_in_size(monkeypatch):
    """Or an answer that is hard-coded for the public ones could pass."""
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(HIDDEN))

    def sizes(cases):
        rng = np.random.default_rng(0)
        return {tuple(np.shape(a)) for case in cases for call in case.calls(rng) for a in call if np.ndim(a) > 1}

    for exercise in lab1.EXERCISES:
        assert sizes(judging.hidden_cases(exercise.name)) - sizes(exercise.cases), exercise.name


def test_a_copy_of_the_tiny_network_writes_into_the_same_log():
    import copy

    net = lab1_beside.Tiny(0)
    net.log = lab1_beside.Log()
    copy.deepcopy(net)(torch.rand(1, 3, 8, 8))
    assert net.log.seen[0].shape == (1, 3, 8, 8)


def test_a_wrong_answer_harms_no_later_check():
    """A student corrects the answer and checks again: the parent that the wrong one changed is not met again."""
    def right(parent, image, mask, loss, steps, rng, rate):
        net = copy.deepcopy(parent).eval()
        optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=rate)
        for _ in range(steps):
            x, y = to_tensors(*affine(image, mask, rng))
            optimizer.zero_grad()
            loss(net(x[None]), y[None]).backward()
            optimizer.step()
        return net

    def wrong(parent, image, mask, loss, steps, rng, rate):
        for p in parent.parameters():
            p.data += 0.1
        return right(parent, image, mask, loss, steps, rng, rate)

    check("lab1.finetune", right)
    with pytest.raises(judging.CheckFailed, match="deep copy"):
        check("lab1.finetune", wrong)
    case = judging.find("lab1.finetune").cases[-1]  # the one that meets a parent again
    assert judging.verdict(judging.find("lab1.finetune"), case, wrong) is not None
    check("lab1.finetune", right)
