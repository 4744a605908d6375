"""J, F, statistics, matching: against slow oracles and by what must not change them."""

import numpy as np
import pytest
from oracles import metrics as oracle
from skimage.morphology import disk as skimage_disk

from vos_teach.clip import VosError
from vos_teach.metrics import boundary_f, decay, jaccard, match_proposals, recall
from vos_teach.metrics.measures import boundary, disk, radius


def blobs(rng, t, h, w):
    """Random masks: rectangles with noise, sometimes touching the border, empty or full."""
    masks = np.zeros((t, h, w), bool)
    for m in masks:
        kind = rng.integers(8)
        if kind == 0:
            continue
        if kind == 1:
            m[:] = True
            continue
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(-4, h), rng.integers(-4, w)
            m[max(y, 0) : y + rng.integers(1, h + 1), max(x, 0) : x + rng.integers(1, w + 1)] ^= True
        m ^= rng.random((h, w)) < rng.choice([0, 0, 0.02])
    return masks


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (13, 17), (64, 64), (40, 70)])
@pytest.mark.parametrize("with_void", [False, True])
def test_j_and_f_equal_the_oracles(size, with_void):
    rng = np.random.default_rng(size)
    a, b = blobs(rng, 12, *size), blobs(rng, 12, *size)
    b[::4] = a[::4] ^ (rng.random(a[::4].shape) < 0.01)
    void = rng.random(a.shape) < 0.1 if with_void else None
    voids = [None] * len(a) if void is None else void
    for bound in (0.008, 0.05):
        expected = [oracle.boundary_f(*m, bound=bound) for m in zip(a, b, voids, strict=True)]
        np.testing.assert_allclose(boundary_f(a, b, void, bound), expected, rtol=0, atol=1e-12)
    expected = [oracle.jaccard(*m) for m in zip(a, b, voids, strict=True)]
    np.testing.assert_allclose(jaccard(a, b, void), expected, rtol=0, atol=1e-12)
    assert jaccard(a, b).dtype == boundary_f(a, b).dtype == np.float64


def test_boundary_equals_the_oracle():
    rng = np.random.default_rng(0)
    for size in ((1, 1), (1, 5), (5, 1), (12, 15)):
        for m in blobs(rng, 8, *size):
            np.testing.assert_array_equal(boundary(m.view(np.uint8)), oracle.boundary(m))


def test_radius_and_disk():
    sizes = {(480, 854): 8, (480, 910): 9, (96, 160): 2, (64, 64): 1}
    assert {size: radius(size) for size in sizes} == sizes
    assert radius((480, 854), bound=3) == 3
    for r in range(12):
        np.testing.assert_array_equal(disk(r), skimage_disk(r))


def test_empty_masks():
    none, some, full = np.zeros((3, 20, 20), bool), np.zeros((3, 20, 20), bool), np.ones((3, 20, 20), bool)
    some[:, 5:9, 5:9] = True
    assert jaccard(none, none).tolist() == boundary_f(none, none).tolist() == [1, 1, 1]
    assert jaccard(none, some).tolist() == boundary_f(some, none).tolist() == [0, 0, 0]
    # a mask that fills the frame has no boundary either, since the frame's border is none
    assert boundary_f(none, full).tolist() == [1, 1, 1]
    assert jaccard(none, full).tolist() == [0, 0, 0]
    assert jaccard(some, none, void=some).tolist() == boundary_f(some, none, void=some).tolist() == [1, 1, 1]


def test_what_must_not_change_them():
    rng = np.random.default_rng(1)
    a, b = np.zeros((6, 60, 80), bool), np.zeros((6, 60, 80), bool)
    a[:, 20:40, 20:45], b[:, 22:42, 25:48] = True, True
    a ^= np.pad(rng.random((6, 30, 30)) < 0.02, ((0, 0), (15, 15), (15, 35)))
    for measure in (jaccard, boundary_f):
        value = measure(a, b)
        assert ((value > 0.1) & (value < 1)).all()
        np.testing.assert_array_equal(value, measure(b, a))  # symmetric
        moved = [np.roll(m, (7, -9), axis=(1, 2)) for m in (a, b)]
        np.testing.assert_array_equal(value, measure(*moved))  # moved together, away from the border
        order = rng.permutation(6)
        np.testing.assert_array_equal(value[order], measure(a[order], b[order]))
        np.testing.assert_array_equal(measure(a, a), 1)
        np.testing.assert_array_equal(value[:1], measure(a[0], b[0]))  # a single frame
        np.testing.assert_array_equal(value, measure(a.tolist(), b.astype(int).tolist()))  # array-likes


def test_tolerance_is_inclusive():
    a, b = np.zeros((1, 64, 64), bool), np.zeros((1, 64, 64), bool)
    a[0, :, :30], b[0, :, :31] = True, True  # vertical lines one pixel apart; radius 1
    assert boundary_f(a, b)[0] == 1
    b[0, :, 31] = True
    assert boundary_f(a, b)[0] == 0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 17, 48, 100, 255, 256, 257, 300, 1000])
def test_decay_equals_the_oracle_at_any_length(n):
    values = np.random.default_rng(n).random(n)
    assert decay(values) == pytest.approx(oracle.decay(values), abs=1e-12)


def test_statistics():
    assert recall([0.5, 0.51, 0.2, 1.0]) == 0.5  # strictly above
    assert recall([0.2, 0.4], threshold=0.3) == 0.5
    assert decay(np.linspace(1, 0, 400)) == pytest.approx(0.75, abs=0.01)
    assert decay([1.0] * 40 + [np.nan] + [0.5] * 40) == 0.5
    assert decay([1.0, 0.5, 0.0], bins=2) == pytest.approx(0.5)
    assert np.isnan(recall([])) and np.isnan(decay([]))


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (4, 4), (5, 2), (3, 6), (0, 3)])
def test_matching_is_the_best_of_all_permutations(shape):
    rng = np.random.default_rng(shape)
    for _ in range(20):
        scores = rng.random(shape)
        pairs = match_proposals(scores)
        assert len(pairs) == min(shape) and pairs == sorted(pairs)
        assert len({g for g, _ in pairs}) == len({p for _, p in pairs}) == len(pairs)
        if pairs:
            total = sum(scores[g, p] for g, p in pairs)
            assert total == pytest.approx(oracle.match_total(scores), abs=1e-12)
    assert all(type(i) is int for pair in pairs for i in pair)


def test_shapes_that_do_not_fit_are_refused():
    a = np.zeros((2, 4, 4), bool)
    for call in (
        lambda: jaccard(a, a[:1]), lambda: boundary_f(a, a[:, :3]), lambda: jaccard(a, a, void=a[0]),
        lambda: jaccard(a[0, 0], a[0, 0]), lambda: match_proposals([1.0, 2.0]),
    ):
        with pytest.raises(VosError):
            call()
