"""Lab 3's exercises: oracles against answers known by hand, and against the library. The mistakes: test_mistakes.py."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vos_teach.lab import check
from vos_teach.lab.exercises import lab3, lab3_flow, lab3_streams, lab3_warp

judging = sys.modules["vos_teach.lab.check"]
HIDDEN = Path(__file__).parents[2] / "assignments" / "hidden"


@pytest.fixture(autouse=True)
def _hidden(monkeypatch):
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(HIDDEN))


def test_warp_by_hand():
    image = torch.arange(12.0).reshape(1, 3, 4)
    flow = torch.zeros(2, 3, 4)
    flow[0], flow[1] = 1, 1
    assert lab3_warp.warp_oracle(image, flow).tolist() == [[[5, 6, 7, 0], [9, 10, 11, 0], [0, 0, 0, 0]]]
    flow[:] = torch.tensor([-0.25, 0.0])[:, None, None]
    got, along = lab3_warp.along_flow_oracle(image, flow)
    assert got[0, 1].tolist() == [3.0, 4.75, 5.75, 6.75]  # a quarter of what is on the left; outside it is 0
    assert along[0, 1].tolist() == [4, 1, 1, 1] and (along[1, :-1, 1:] == 4).all()
    assert lab3_warp.along_image_oracle(image, flow)[1][0, 0].tolist() == [1, 1, 1, 0.75]


def test_a_step_by_hand():
    y, x = np.mgrid[:12, :14].astype(float)
    bowl = 0.02 * ((x - 6) ** 2 + (y - 5) ** 2)
    flow, det = lab3_flow.step_oracle(bowl, 0.02 * ((x - 6.2) ** 2 + (y - 5) ** 2), 5)
    assert (det[3:-3, 3:-3] > 1e-3).all() and np.allclose(flow[5, 6], (0.2, 0), atol=0.02)
    assert not lab3_flow.step_oracle(x / 14, x / 14 - 0.02, 5)[0].any()  # the aperture problem


def test_there_and_back_by_hand():
    forward, backward = np.zeros((2, 4, 6, 2), np.float32)
    forward[..., 0], backward[..., 0] = 2, -2
    backward[1, 3, 0] = 1  # what is there came from elsewhere
    home, clear = lab3_flow.there_and_back(forward, backward)
    want = np.ones((4, 6), bool)
    want[1, 1] = False
    want[:, 4:] = False  # out of the frame
    assert (home == want)[clear].all() and clear[1, 1] and clear[:, 4:].all()


def test_what_a_thing_covers_is_not_found_again():
    forward, backward = lab3_flow.scene(np.random.default_rng(0))
    home, clear = lab3_flow.there_and_back(forward, backward)
    thing = np.abs(forward[..., 0] - 6.4) < 1e-3
    assert home[thing & clear].mean() > 0.75 and clear.mean() > 0.9
    covered = np.roll(thing, (2, 6), (0, 1)) & ~thing & clear  # ground that it came to cover
    assert home[covered].mean() < 0.2


def test_streams_by_hand():
    loud, quiet = torch.tensor([8.0, 0.0])[:, None, None], torch.tensor([0.0, 1.0])[:, None, None]
    p = 1 / (1 + np.exp(-8)), 1 / (1 + np.exp(1))
    assert np.allclose(lab3_streams.average_oracle(loud, quiet)[:, 0, 0], [np.mean(p), 1 - np.mean(p)])
    logits, present = torch.log(torch.tensor([1.0, 9.0, 3.0]))[:, None, None], torch.tensor([False, True])
    assert np.allclose(lab3_streams.objects_oracle(logits, present)[:, 0, 0], [0.25, 0, 0.75])
    masks = torch.tensor([[[True, False]], [[True, True]]])
    assert lab3_streams.channels_oracle(masks, 3).tolist() == [[[1, 0]], [[1, 1]], [[0, 0]]]


@pytest.mark.parametrize("exercise", lab3.EXERCISES, ids=lambda e: e.name)
def test_the_library_agrees_with_the_oracle(exercise):
    module, name = exercise.library.split(":")
    answer = getattr(importlib.import_module(module), name)
    for case in (*exercise.cases, *judging.hidden_cases(exercise.name)):
        assert judging.verdict(exercise, case, answer) is None, case.name
    with pytest.raises(judging.CheckFailed, match="not yours"):
        check(exercise.name, answer)


def test_public_and_hidden_cases_differ_in_size():
    """Or an answer that is hard-coded for the public ones could pass."""
    def sizes(cases):
        rng = np.random.default_rng(0)
        return {tuple(np.shape(a)) for case in cases for call in case.calls(rng) for a in call if np.ndim(a) > 1}

    for exercise in lab3.EXERCISES:
        assert sizes(judging.hidden_cases(exercise.name)) - sizes(exercise.cases), exercise.name
