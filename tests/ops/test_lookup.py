"""Affinity, matching, attention and identities against slow loops: from one pixel up, nothing there, large keys."""

import numpy as np
import oracles.lookup as oracle
import pytest
import torch

from vos_teach.errors import VosError
from vos_teach.ops.affinity import dot_affinity, l2_affinity, readout
from vos_teach.ops.attention import grid_attention, window_attention
from vos_teach.ops.identify import assign_identities, draw_rows
from vos_teach.ops.matching import global_distance, local_distance

TOL = 1e-5


def rand(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def wide(x):
    return x.double().numpy()


@pytest.mark.parametrize(("c", "n", "m"), [(1, 1, 1), (3, 1, 4), (4, 7, 1), (8, 12, 9)])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_affinities_equal_the_loop(c, n, m, scale):
    mk, qk = rand(c, n, scale=scale), rand(c, m, seed=1, scale=scale)
    np.testing.assert_allclose(dot_affinity(mk, qk), oracle.affinity(wide(mk), wide(qk), "dot"), atol=TOL)
    for k in (None, 1, 3, n, n + 5):
        np.testing.assert_allclose(l2_affinity(mk, qk, k), oracle.affinity(wide(mk), wide(qk), "l2", k), atol=TOL)


def test_columns_sum_to_one_and_top_k_leaves_k():
    mk, qk = rand(2, 5, 30), rand(2, 5, 11, seed=1)
    for found in (dot_affinity(mk, qk), l2_affinity(mk, qk), l2_affinity(mk, qk, 4)):
        assert found.shape == (2, 30, 11) and torch.allclose(found.sum(-2), torch.ones(2, 11), atol=TOL)
    assert ((l2_affinity(mk, qk, 4) > 0).sum(-2) == 4).all()


def test_keys_far_from_zero_and_near_to_each_other():
    """What float32 would lose in |m|^2: distances do not depend on where zero is."""
    mk, qk = rand(6, 20), rand(6, 8, seed=1)
    np.testing.assert_allclose(l2_affinity(mk + 1024, qk + 1024), l2_affinity(mk.add(1024) - 1024, qk.add(1024) - 1024),
                               atol=TOL)


def test_a_key_of_large_norm_steals_everything_from_dot_but_not_from_l2():
    mk = torch.eye(4)
    mk[:, 3] = torch.tensor([9.0, 9, 9, 9])
    qk = torch.eye(4)[:, :3]
    assert (dot_affinity(mk, qk).argmax(0) == 3).all()
    assert l2_affinity(mk, qk).argmax(0).tolist() == [0, 1, 2]


def test_readout_is_the_weighted_mean_and_one_affinity_serves_all_objects():
    a, mv = dot_affinity(rand(4, 6), rand(4, 5, seed=1)), rand(3, 2, 6, seed=2)
    found = readout(a, mv)
    assert found.shape == (3, 2, 5)
    for k in range(3):
        for j in range(5):
            by_hand = sum(a[i, j] * mv[k, :, i] for i in range(6))
            assert torch.allclose(found[k, :, j], by_hand, atol=TOL)


@pytest.mark.parametrize(("c", "size", "of"), [(1, (1, 1), (1, 1)), (3, (4, 5), (4, 5)), (5, (3, 6), (2, 9))])
@pytest.mark.parametrize("scale", [0.5, 1e3])
def test_global_distance_equals_the_loop(c, size, of, scale):
    query, memory = rand(c, *size, scale=scale), rand(c, *of, seed=1, scale=scale)
    query[:, 0, 0] = memory[:, 0, 0]  # one that is found exactly
    mask = torch.rand(3, *of, generator=torch.Generator().manual_seed(2)) < 0.4
    mask[0, 0, 0], mask[2] = True, False
    found = global_distance(query, memory, mask, bias=-0.3)
    assert found.shape == (3, *size) and (found[2] == 1).all()
    for k in range(3):
        slow = oracle.distance(wide(query), wide(memory), mask[k].numpy(), -0.3)
        np.testing.assert_allclose(found[k], slow, atol=TOL)
    assert torch.equal(global_distance(query, memory, mask[0], -0.3), found[0])


def test_each_object_has_its_own_bias():
    query, memory, mask = rand(2, 3, 3), rand(2, 3, 3, seed=1), torch.ones(2, 3, 3).bool()
    bias = torch.tensor([0.0, 2.0])
    together, near = global_distance(query, memory, mask, bias), local_distance(query, memory, mask, [1, 2], bias)
    for k in range(2):
        assert torch.allclose(together[k], global_distance(query, memory, mask[k], float(bias[k])))
        assert torch.allclose(near[k], local_distance(query, memory, mask[k], [1, 2], float(bias[k])))


@pytest.mark.parametrize(("c", "size"), [(1, (1, 1)), (3, (4, 5)), (2, (6, 3))])
@pytest.mark.parametrize("scale", [0.5, 1e3])
def test_local_distance_equals_the_loop(c, size, scale):
    query, memory = rand(c, *size, scale=scale), rand(c, *size, seed=1, scale=scale)
    memory[:, 0, -1] = query[:, 0, 0]
    mask = torch.rand(2, *size, generator=torch.Generator().manual_seed(5)) < 0.5
    mask[1] = False
    found = local_distance(query, memory, mask, [2, 0, 9])
    assert found.shape == (2, 3, *size) and (found[1] == 1).all()
    for i, window in enumerate([2, 0, 9]):
        slow = oracle.distance(wide(query), wide(memory), mask[0].numpy(), window=window)
        np.testing.assert_allclose(found[0, i], slow, atol=TOL)
    everywhere = global_distance(query, memory, mask[0])
    assert torch.allclose(local_distance(query, memory, mask[0], [max(size)])[0], everywhere, atol=TOL)


@pytest.mark.parametrize("of", [global_distance, lambda *a: local_distance(*a, [1])])
def test_distances_have_finite_gradients(of):
    query, memory = rand(2, 3, 4).requires_grad_(), rand(2, 3, 4, seed=1).requires_grad_()
    mask = torch.zeros(2, 3, 4).bool()
    mask[0, 1, 1] = True
    of(query, memory, mask).sum().backward()
    assert query.grad.isfinite().all() and query.grad.abs().sum() > 0 and memory.grad[:, 1, 1].abs().sum() > 0


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4), (3, 1, 5), (1, 4, 4)])
def test_grid_attention_equals_dense_attention_under_its_mask(size):
    q, k, v = rand(3, *size), rand(3, *size, seed=1), rand(2, *size, seed=2)
    np.testing.assert_allclose(grid_attention(q, k, v), oracle.grid(wide(q), wide(k), wide(v)), atol=TOL)


@pytest.mark.parametrize(("size", "window"), [((1, 1), 3), ((4, 5), 1), ((3, 6), 3), ((2, 4), 7)])
@pytest.mark.parametrize("biased", [False, True])
def test_window_attention_equals_dense_attention_under_its_mask(size, window, biased):
    q, k, v = rand(3, *size), rand(3, *size, seed=1), rand(2, *size, seed=2)
    bias = rand(window * window, seed=3) if biased else None
    slow = oracle.window(wide(q), wide(k), wide(v), window, None if bias is None else wide(bias))
    np.testing.assert_allclose(window_attention(q, k, v, window, bias), slow, atol=TOL)


@pytest.mark.parametrize("size, shape", [(1, (1, 1)), (3, (1, 4)), (3, (5, 4)), (7, (4, 6))])
def test_window_attention_of_several_maps_is_map_by_map(size, shape):
    q, k, v = (rand(2, 3, 4, *shape, seed=s) for s in range(3))
    bias = rand(3, size * size, seed=3)
    got = window_attention(q, k, v, size, bias)
    for b in range(2):
        for n in range(3):
            assert torch.allclose(got[b, n], window_attention(q[b, n], k[b, n], v[b, n], size, bias[n]), atol=1e-5)


def test_large_scores_stay_finite():
    q = rand(3, 2, 3, 4, scale=1e3)
    assert grid_attention(q, q, q).isfinite().all() and window_attention(q[:, 0], q[:, 0], q[:, 0], 3).isfinite().all()


def test_identities_are_each_pixels_own():
    labels = torch.tensor([[0, 1], [2, 1]])
    bank = rand(5, 3)
    found = assign_identities(torch.stack([labels == k for k in range(3)]), bank)
    for y, x in np.ndindex(2, 2):
        assert torch.equal(found[:, y, x], bank[labels[y, x]])
    soft = assign_identities(torch.full((2, 1, 1), 0.5), bank)
    assert torch.allclose(soft[:, 0, 0], (bank[0] + bank[1]) / 2)
    with pytest.raises(VosError, match="5 objects are more than the 4"):
        assign_identities(torch.zeros(6, 2, 2), bank)


@pytest.mark.parametrize(("count", "rows"), [(0, 1), (1, 2), (3, 4), (10, 11), (2, 11)])
def test_rows_are_drawn_from_all_but_the_backgrounds(count, rows):
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        drawn = draw_rows(count, rows, rng)
        assert drawn.dtype == torch.long and len(drawn) == count + 1 == len(set(drawn.tolist())) and drawn[0] == 0
        seen |= set(drawn[1:].tolist())
    assert seen == (set(range(1, rows)) if count else set())
    with pytest.raises(VosError, match=f"{rows} objects are more than the {rows - 1}"):
        draw_rows(rows, rows, rng)
