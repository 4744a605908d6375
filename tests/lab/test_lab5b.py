"""Lab 5b's exercises: oracles against answers known by hand and against the library. Mistakes: test_mistakes.py."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vos_teach.lab import check
from vos_teach.lab.exercises import lab5b, lab5b_beside, lab5b_grid, lab5b_many, lab5b_match, lab5b_rows

judging = sys.modules["vos_teach.lab.check"]
HIDDEN = Path(__file__).parents[2] / "assignments" / "hidden"


@pytest.fixture(autouse=True)
def _hidden(monkeypatch):
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(HIDDEN))


def test_attention_along_lines_by_hand():
    """Keys of 0: a plain mean over what is seen, 2 + 3 + 2 - 2 places of a 2x3x2 block."""
    v = torch.arange(12.0).view(1, 2, 3, 2)
    out = lab5b_grid.grid_oracle(torch.ones(1, 2, 3, 2), torch.zeros(1, 2, 3, 2), v)
    assert out[0, 0, 0, 0] == pytest.approx((0 + 1 + 2 + 4 + 6) / 5)
    assert out[0, 1, 1, 1] == pytest.approx((9 + 8 + 7 + 11 + 3) / 5)
    one = torch.tensor([0.0, math.log(3)]).view(1, 1, 1, 2)
    two = torch.tensor([4.0, 8.0]).view(1, 1, 1, 2)
    assert np.allclose(lab5b_grid.grid_oracle(torch.ones(1, 1, 1, 2), one, two), 7)


def test_what_is_watched_tells_pairs_from_lines():
    call = lab5b_grid.block(np.random.default_rng(0), 2, 5, 6)
    n = 60

    def most(function):
        q, k, v = lab5b_beside.watched_prepare(call)
        values, held = lab5b_beside.watched_collect(call, function(q, k, v))
        assert type(values) is np.ndarray
        return held

    assert most(lambda q, k, v: v + 0) == 3 * n
    assert most(lambda q, k, v: torch.zeros_like(v) + (q.flatten(1).T @ k.flatten(1)).sum()) == n * n
    assert most(lambda q, k, v: v * torch.ones(3, n, n)[0].sum()) == 3 * n, "what was never near it is not counted"
    assert most(lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(
        q.flatten(1).T, k.flatten(1).T, v.flatten(1).T, attn_mask=torch.ones(n, n) > 0).T.view_as(v)) == n * n


def test_layers_by_hand():
    assert lab5b_grid.hops_oracle([lab5b_grid.star(1)]) == 0
    assert lab5b_grid.hops_oracle([lab5b_grid.lines(5)]) == 4
    assert lab5b_grid.hops_oracle([lab5b_grid.star(4)]) == 2
    assert lab5b_grid.hops_oracle([lab5b_grid.grid(2, 2, 2)]) == 3
    assert lab5b_grid.hops_oracle([lab5b_grid.grid(2, 2, 2, "hw")]) is None
    chain = torch.eye(3, dtype=torch.bool)
    chain[1, 0] = True  # place 1 sees place 0, and then 2 sees 1; nobody hears of place 2
    assert lab5b_grid.hops_oracle([chain]) is None


def test_distances_by_hand():
    query = torch.tensor([[[0.0, 2.0]]])
    memory = torch.tensor([[[1.0, 5.0, 2.0]]])
    mask = torch.tensor([[True, True, False]])
    s = 1 / (1 + math.exp(-1.5))
    assert lab5b_match.distance_oracle(query, memory, mask, 0.5).tolist() == [[pytest.approx(2 * s - 1)] * 2]
    assert lab5b_match.distance_oracle(query, memory, mask & False).tolist() == [[1, 1]]
    _, slope = lab5b_match.along_query_oracle(query, memory, mask, 0.5)
    assert slope[0, 0, 0] == pytest.approx(-slope[0, 0, 1]) and slope[0, 0, 1] > 0
    d = torch.tensor([[0.3], [0.2], [0.1]])
    assert np.allclose(lab5b_match.rest_oracle(d), [[0.1], [0.2]])
    assert lab5b_match.along_distance_oracle(d)[1].tolist() == [[0], [1], [1]]


def test_identities_by_hand():
    masks = torch.tensor([[[1.0, 0.5]], [[0.0, 0.5]]])
    bank = torch.tensor([[1.0, 2.0], [5.0, 4.0], [9.0, 9.0]])
    value, slope = lab5b_many.along_bank_oracle(masks, bank)
    assert value.tolist() == [[[1, 3]], [[2, 3]]]
    assert slope.tolist() == [[1.5, 1.5], [0.5, 0.5], [0, 0]]
    assert lab5b_many.along_masks_oracle(masks, bank)[1].tolist() == [[[3, 3]], [[9, 9]]]


def test_rows_by_hand():
    """One thing wrong at a time, and the sentence for it."""
    def said(drawn, judge=lab5b_rows.nothing_more, count=2, rows=4):
        calls = [(count, rows, i) for i in range(len(drawn))]
        return lab5b_rows.together(judge)(calls, drawn)

    assert said([[0, 3, 1]]) is None and said([np.array([0, 2, 1])]) is None and said([torch.tensor([0, 1, 3])]) is None
    for drawn, words in (([0, 1], "one for each"), ([1, 2, 3], "always 0"), ([0, 0, 1], "has got row 0"),
                         ([0, 4, 1], "does not have"), ([0, 2, 2], "the same row"), ([0.0, 1.0, 2.0], "whole numbers"),
                         (None, "whole numbers"), ([[0, 1, 2]], "whole numbers"), ([0, [1], 2], "whole numbers")):
        assert words in said([drawn]), drawn
    pairs = [[0, a, b] for a in (1, 2, 3) for b in (1, 2, 3) if a != b]
    assert said(pairs, lab5b_rows.every_row) is None and said(pairs, lab5b_rows.every_pair) is None
    assert "some rows" in said([[0, 1, 2], [0, 2, 1]], lab5b_rows.every_row)
    assert "the same rows" in said([[0, 1, 2]] * 9, lab5b_rows.every_row)
    assert "never gets" in said([[0, 1, 2], [0, 1, 3], [0, 2, 3]], lab5b_rows.every_row)
    assert "follows from" in said([[0, 1, 2], [0, 2, 3], [0, 3, 1]], lab5b_rows.every_pair)
    assert said([[0, 1, 2], [0, 1, 2], [0, 3, 1], [0, 3, 1]], lab5b_rows.the_same) is None
    assert "same rng" in said([[0, 1, 2], [0, 1, 2], [0, 3, 1], [0, 1, 3]], lab5b_rows.the_same)


def test_sequences_by_hand():
    cost = torch.tensor([[[0.0, 1.0], [9.0, 2.0]], [[4.0, 1.0], [0.5, 9.0]]])  # two frames, queries down
    assert cost.mean(0).tolist() == [[2.0, 1.0], [4.75, 5.5]]
    assert lab5b_many.sequences_oracle(cost, torch.ones(2, 2) > 0) == [(1, 0), (0, 1)]
    assert lab5b_many.sequences_oracle(cost, torch.tensor([[False, True], [False, True]])) == [(0, 1)]
    assert lab5b_many.sequences_oracle(cost, torch.tensor([[True, True], [False, False]])) == [(0, 0), (1, 1)]


def library(exercise):
    """The library's own answer."""
    module, name = exercise.library.split(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("exercise", lab5b.EXERCISES, ids=lambda e: e.name)
def test_the_library_agrees_with_the_oracle(exercise):
    answer = library(exercise)
    for case in (*exercise.cases, *judging.hidden_cases(exercise.name)):
        assert judging.verdict(exercise, case, answer) is None, case.name
    with pytest.raises(judging.CheckFailed, match="not yours"):
        check(exercise.name, answer)


def test_public_and_hidden_cases_differ_in_size():
    """Or an answer that is hard-coded for the public ones could pass."""
    def tensors(value):
        if isinstance(value, torch.Tensor):
            return [tuple(value.shape)]
        return [s for v in value for s in tensors(v)] if isinstance(value, (list, tuple)) else []

    def sizes(cases):
        rng = np.random.default_rng(0)
        calls = [call for case in cases for call in case.calls(rng)]
        return {s for call in calls for s in tensors(call) or [call[:2]]}  # of numbers alone: all but their seed

    for exercise in lab5b.EXERCISES:
        assert sizes(judging.hidden_cases(exercise.name)) - sizes(exercise.cases), exercise.name
