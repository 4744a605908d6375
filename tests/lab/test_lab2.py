"""Lab 2's exercises: oracles against answers known by hand, and against the library. The mistakes: test_mistakes.py."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vos_teach.lab import check
from vos_teach.lab.exercises import lab2, lab2_beside, lab2_dream, lab2_pair, lab2_spoil, lab2_track

judging = sys.modules["vos_teach.lab.check"]
HIDDEN = Path(__file__).parents[2] / "assignments" / "hidden"


@pytest.fixture(autouse=True)
def _listed(monkeypatch):
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(HIDDEN))


def test_spline_by_hand():
    square = torch.tensor([[0, 0], [10, 0], [0, 10], [10, 10]], dtype=torch.float64)
    there = square + torch.tensor([3.0, -2.0])
    got = lab2.spline_oracle(square, there, torch.tensor([[5.0, 5.0], [40.0, -7.0]], dtype=torch.float64))
    assert np.allclose(got, [[8, 3], [43, -9]])  # all shifted alike: a shift, everywhere
    there = square.clone()
    there[3] += torch.tensor([4.0, 0.0])
    got = lab2.spline_oracle(square, there, square)
    assert np.allclose(got, there)  # it interpolates, and moves in x alone


def test_recursion_by_hand():
    """A disc goes right, hides, comes back near; a twin far away is never touched."""
    options, frames, mask = lab2_track.film(np.random.default_rng(0), length=7, gone=(3, 4), twin=True)
    got = lab2_track.track_oracle(options, frames, mask)
    assert [bool(m.any()) for m in got] == [True, True, True, False, False, True, True]
    for t in (1, 2, 5, 6):
        red = frames[t][0].numpy() > 0
        red[:, -14:] = False  # the twin
        assert (got[t] == red).all()


def test_the_network_takes_anything_but_zero_for_a_hint():
    options, frames, mask = lab2_track.film(np.random.default_rng(0), twin=True)
    network = lab2_beside.Seer(**options)
    logits = network(frames[1][None], mask[None])
    for hint in (torch.sigmoid(logits), logits):
        assert (network(frames[2][None], hint)[0, :, -14:] > 0).any()  # the twin lights up
    assert not (network(frames[2][None], (logits > 0))[0, :, -14:] > 0).any()
    with pytest.raises(ValueError, match="B,3,H,W"):
        network(frames[0], mask[None])


def test_dream_by_hand():
    background, frame = np.zeros((3, 4, 3), np.uint8), np.full((3, 4, 3), 9, np.uint8)
    mask = np.zeros((3, 4), np.uint8)
    mask[1, 2:] = 2
    second, moved, flow = lab2_dream.dream_oracle(background, frame, mask, (1, -1))
    assert moved[0, 3] == 2 and moved.sum() == 2 and (second[0, 3] == 9).all() and second.sum() == 27
    assert flow[1, 2].tolist() == flow[1, 3].tolist() == [1, -1] and np.abs(flow).sum() == 4


def test_what_is_dreamed_agrees_with_the_librarys_warp():
    """Frame 2, fetched along the flow, gives the object's pixels of frame 1 back."""
    from vos_teach.ops.warp import warp

    background, frame, mask, _ = lab2_dream.dream_call(np.random.default_rng(1), (4, -2))
    second, _, flow = lab2_dream.dream_oracle(background, frame, mask, (4, -2))
    back = warp(*(torch.from_numpy(v.transpose(2, 0, 1).copy()).float() for v in (second, flow))).permute(1, 2, 0)
    assert torch.allclose(back[mask > 0], torch.from_numpy(frame[mask > 0]).float(), atol=1e-3)


def test_stand_in_spoils_without_dilating():
    _, mask = lab2_pair.picture(np.random.default_rng(0), 64, 88)
    inside = lab2_beside.core(mask, np.random.default_rng(0))
    assert inside.any() and not (inside > mask).any() and inside.sum() < 0.8 * mask.sum()


def test_dilation_is_told_apart_by_one_pixel():
    call = lab2_spoil.draws(np.random.default_rng(0), 480, 200, thick=5 / 480, n=1)[0]
    far = lab2_spoil.distance_transform_edt(call[0] == 0)
    assert lab2_spoil.radius(call) == 5
    assert [lab2_spoil.dilated(call, far <= r) is None for r in (0, 3, 4, 5, 6, 7)] == [False, False, True, True, True,
                                                                                       False]


def test_the_library_agrees_with_the_oracle(monkeypatch):
    monkeypatch.setattr(judging, "LABS", (*judging.LABS, "lab2"))
    (exercise,) = [e for e in lab2.EXERCISES if e.library]
    module, name = exercise.library.split(":")
    answer = getattr(importlib.import_module(module), name)
    for case in (*exercise.cases, *judging.hidden_cases(exercise.name)):
        assert judging.verdict(exercise, case, answer) is None, case.name
    with pytest.raises(judging.CheckFailed, match="not yours"):
        check(exercise.name, answer)


def test_every_exercise_has_hints():
    for exercise in lab2.EXERCISES:
        assert len(exercise.hints) >= 3


def test_public_and_hidden_cases_differ_in_size():
    """Or an answer that is hard-coded for the public ones could pass."""
    def sizes(cases):
        rng = np.random.default_rng(0)
        found = {tuple(np.shape(a)) for case in cases for call in case.calls(rng) for a in call
                 if not isinstance(a, (list, dict)) and np.ndim(a) > 1}
        return found

    for exercise in lab2.EXERCISES:
        assert sizes(judging.hidden_cases(exercise.name)) - sizes(exercise.cases), exercise.name
