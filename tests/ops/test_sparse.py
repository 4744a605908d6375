"""Sparse attention against dense attention under its mask, masks against their definitions, hops against thought."""

import itertools
import math

import pytest
import torch

from vos_teach.errors import VosError
from vos_teach.ops import sparse
from vos_teach.ops.attention import grid_attention

TOL = 1e-5
SIZES = [(1, 1, 1), (2, 3, 4), (3, 1, 5), (1, 4, 4), (4, 7, 9)]
PATTERNS = {
    "grid": (grid_attention, sparse.grid_mask),
    "strided": (lambda q, k, v: sparse.strided_attention(q, k, v, (2, 3, 2)),
                lambda size: sparse.strided_mask(size, (2, 3, 2))),
    "strided, as given": (sparse.strided_attention, sparse.strided_mask),
    "local": (lambda q, k, v: sparse.local_attention(q, k, v, (0, 1, 2)),
              lambda size: sparse.local_mask(size, (0, 1, 2))),
    "local, as given": (sparse.local_attention, sparse.local_mask),
}


def rand(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [1.0, 1e2])
def test_each_pattern_equals_dense_attention_under_its_mask(name, size, scale):
    attention, mask = PATTERNS[name]
    q, k, v = rand(3, *size, scale=scale), rand(3, *size, seed=1), rand(2, *size, seed=2)
    expected = sparse.dense_attention(q.double(), k.double(), v.double(), mask(size)).float()
    assert torch.allclose(attention(q, k, v), expected, atol=TOL * scale)


def test_dense_attention_equals_the_loop():
    q, k, v = rand(3, 2, 2, 3), rand(3, 2, 2, 3, seed=1), rand(2, 2, 2, 3, seed=2)
    out, places = sparse.dense_attention(q, k, v), list(itertools.product(range(2), range(2), range(3)))
    for here in places:
        e = [math.exp(float(q[(slice(None), *here)] @ k[(slice(None), *at)])) for at in places]
        by_hand = sum(x / sum(e) * v[(slice(None), *at)] for x, at in zip(e, places, strict=True))
        assert torch.allclose(out[(slice(None), *here)], by_hand, atol=TOL)


def test_masks_are_what_their_names_say():
    size = 2, 5, 6
    grid, strided = sparse.grid_mask(size), sparse.strided_mask(size, (1, 2, 3))
    local = sparse.local_mask(size, (0, 1, 2))
    places = list(itertools.product(*map(range, size)))
    for (i, a), (j, b) in itertools.product(enumerate(places), repeat=2):
        d = [abs(x - y) for x, y in zip(a, b, strict=True)]
        assert grid[i, j] == (sum(x > 0 for x in d) <= 1)
        assert strided[i, j] == (d[1] % 2 == 0 and d[2] % 3 == 0)
        assert local[i, j] == (d[0] == 0 and d[1] <= 1 and d[2] <= 2)
    assert (grid.sum(1) == 2 + 5 + 6 - 2).all(), "self once"


@pytest.mark.parametrize("name", PATTERNS)
def test_gradients_are_those_of_dense_attention(name):
    attention, mask = PATTERNS[name]
    size = 3, 4, 5
    inputs = [rand(2, *size, seed=s).double().requires_grad_() for s in range(3)]
    weight = rand(2, *size, seed=4).double()
    sparse_ = torch.autograd.grad((attention(*inputs) * weight).sum(), inputs)
    dense = torch.autograd.grad((sparse.dense_attention(*inputs, mask(size)) * weight).sum(), inputs)
    assert all(torch.allclose(a, b, atol=TOL) for a, b in zip(sparse_, dense, strict=True))


@pytest.mark.parametrize("attention", [a for a, _ in PATTERNS.values()])
def test_large_scores_stay_finite(attention):
    q = rand(3, 2, 5, 4, scale=1e3)
    assert attention(q, q, q).isfinite().all()


def test_hops_end_where_places_do_not_attend_to_themselves():
    """A layer adds to what was there: a ring in which each hears its neighbour alone is through after N - 1 layers."""
    ring = torch.eye(5).roll(1, 1).bool()
    assert sparse.hops([ring]) == 4
    assert sparse.hops([torch.zeros(3, 3).bool()]) is None
    two = torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]).bool()
    assert sparse.hops([two]) is None, "two pairs that never meet"


def test_hops_of_patterns_whose_answer_is_known():
    size = 3, 7, 7
    grid, dense = sparse.grid_mask(size), torch.ones(147, 147, dtype=torch.bool)
    assert sparse.hops([dense]) == 1 and sparse.hops([torch.ones(1, 1).bool()]) == 0
    assert sparse.hops([grid]) == 3, "a row, a column, a time line"
    assert sparse.hops([sparse.grid_mask((1, 7, 7))]) == 2 and sparse.hops([sparse.grid_mask((1, 1, 9))]) == 1
    assert sparse.hops([sparse.local_mask(size, (1, 1, 1))]) == 6, "from corner to corner"
    assert sparse.hops([sparse.local_mask(size, (0, 3, 3))]) is None, "no way through time"
    strided, local = sparse.strided_mask(size, (1, 3, 3)), sparse.local_mask(size, (0, 1, 1))
    assert sparse.hops([strided]) is None, "residues never meet"
    assert sparse.hops([strided, local]) == 3, "two in the middle; at a border the window is cut, and residues lack"
    wide = sparse.local_mask(size, (0, 2, 2))
    assert sparse.hops([strided, wide]) == sparse.hops([wide, strided, wide]) == 2, "every residue on either side"


def test_hops_are_when_a_change_arrives_everywhere():
    """The matrices against the operators: what one place's value reaches, layer after layer."""
    size = 2, 4, 5
    n = math.prod(size)
    q, v = torch.zeros(1, *size), torch.zeros(1, *size)
    v[0, 1, 2, 3] = 1.0
    pairs = [PATTERNS["strided"], PATTERNS["local"]]
    heard = sparse.reach_of([mask(size) for _, mask in pairs], 5)
    for i, layer in enumerate(heard):
        v = pairs[i % 2][0](q, q, v)
        assert torch.equal(v.flatten() > 0, layer[:, 1 * 20 + 2 * 5 + 3]), i
    assert len(heard) == 5 and heard[0].shape == (n, n)


def test_bad_options_are_told():
    q = rand(1, 2, 3, 4)
    with pytest.raises(VosError, match="stride is"):
        sparse.strided_attention(q, q, q, (0, 1, 1))
    with pytest.raises(VosError, match="reach is"):
        sparse.local_attention(q, q, q, (1, -1, 1))
    for of in (lambda: sparse.hops([]), lambda: sparse.reach_of([], 1)):
        with pytest.raises(VosError, match="no mask is given"):
            of()
