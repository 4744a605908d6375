"""Recurrent cells against slow loops, a state worked out by hand, gradients through time, any size."""

import math

import numpy as np
import oracles.recurrent as oracle
import pytest
import torch

from vos_teach.ops.convrnn import ConvGRUCell, ConvLSTMCell


def seeded(make, *sizes):
    torch.manual_seed(3)
    return make(*sizes).double()


@pytest.mark.parametrize(("h", "w", "kernel"), [(1, 1, 3), (3, 5, 1), (4, 3, 3), (2, 7, 5)])
def test_lstm_equals_the_loop_over_three_frames(h, w, kernel):
    cell = seeded(ConvLSTMCell, 2, 3, kernel)
    frames = torch.randn(3, 1, 2, h, w).double()
    state, slow = None, (np.zeros((3, h, w)), np.zeros((3, h, w)))
    for x in frames:
        state = cell(x, state)
        slow = oracle.lstm(x[0].numpy(), *slow, cell.conv.weight.detach().numpy(), cell.conv.bias.detach().numpy())
        for ours, theirs in zip(state, slow, strict=True):
            np.testing.assert_allclose(ours[0].detach().numpy(), theirs, atol=1e-12)


@pytest.mark.parametrize(("h", "w", "kernel"), [(1, 1, 3), (3, 5, 1), (4, 3, 3), (2, 7, 5)])
def test_gru_equals_the_loop_over_three_frames(h, w, kernel):
    cell = seeded(ConvGRUCell, 2, 3, kernel)
    weights = [p.detach().numpy() for p in (cell.gates.weight, cell.gates.bias, cell.new.weight, cell.new.bias)]
    state, slow = None, np.zeros((3, h, w))
    for x in torch.randn(3, 1, 2, h, w).double():
        state = cell(x, state)
        slow = oracle.gru(x[0].numpy(), slow, *weights)
        np.testing.assert_allclose(state[0].detach().numpy(), slow, atol=1e-12)


def test_lstm_unrolled_by_hand():
    """One pixel, one channel: i = f = o = 1/2 and g = x; two frames of 1."""
    cell = ConvLSTMCell(1, 1, 1).double()
    with torch.no_grad():
        cell.conv.weight.zero_()
        cell.conv.bias.zero_()
        cell.conv.weight[3, 0] = 1.0  # the fourth part is g, of x alone
    one = torch.ones(1, 1, 1, 1).double()
    h, c = cell(one)
    assert c.item() == pytest.approx(math.tanh(1) / 2) and h.item() == pytest.approx(math.tanh(math.tanh(1) / 2) / 2)
    h, c = cell(one, (h, c))
    assert c.item() == pytest.approx(0.75 * math.tanh(1)) and h.item() == pytest.approx(math.tanh(c.item()) / 2)


def test_gates_do_what_they_are_for():
    """An open f with a shut i keeps c for ever; a shut o hides it."""
    cell = ConvLSTMCell(1, 1, 1)
    with torch.no_grad():
        cell.conv.weight.zero_()
        cell.conv.bias.copy_(torch.tensor([-50.0, 50.0, 50.0, 0.0]))
    c = torch.full((1, 1, 2, 2), 0.3)
    for _ in range(100):
        h, kept = cell(torch.randn(1, 1, 2, 2), (torch.zeros_like(c), c))
        assert torch.allclose(kept, c)
    assert torch.allclose(h, torch.tanh(c))
    with torch.no_grad():
        cell.conv.bias[2] = -50.0
    assert cell(torch.randn(1, 1, 2, 2), (h, c))[0].abs().max() < 1e-6


@pytest.mark.parametrize("make", [ConvLSTMCell, ConvGRUCell])
def test_gradients_go_through_time(make):
    """Of the third frame's state with regard to the first frame, against finite differences."""
    cell = seeded(make, 1, 2, 3)
    rest = torch.randn(2, 1, 1, 3, 2).double()

    def last(x):
        state = cell(x)
        for later in rest:
            state = cell(later, state)
        return state[0] if isinstance(state, tuple) else state

    x = torch.randn(1, 1, 3, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(last, (x,))
    assert torch.autograd.grad(last(x).sum(), x)[0].abs().min() > 0


@pytest.mark.parametrize("make", [ConvLSTMCell, ConvGRUCell])
def test_a_batch_is_its_samples(make):
    cell = seeded(make, 2, 3, 3)
    x = torch.randn(4, 2, 5, 4).double()

    def after_two(x, before):
        state = cell(x, cell(before))
        return state[0] if isinstance(state, tuple) else state

    together = after_two(x, x.flip(0))
    for i in range(4):
        assert torch.allclose(together[i], after_two(x[i : i + 1], x.flip(0)[i : i + 1])[0])
