"""Composites: exact masks, both objects visible, nothing changed outside the paste, the same for a seed."""

import numpy as np
import pytest

from vos_teach.clip import VosError
from vos_teach.data import composite, davis, toy


@pytest.fixture(scope="module")
def toys():
    return [toy.clip(s, length=14, split="val", noise=0) for s in range(20, 26)]


def shares(pair, a):
    """The visible share of a's object in frame 0, and the pasted one's area there as a share of the frame."""
    mask = pair.masks[0]
    return (mask == 1).sum() / (a.masks[0] == a.ids[0]).sum(), (mask == 2).mean()


def test_ids_and_visibility(toys):
    for seed in range(8):
        pair = composite.pair(toys[0], toys[1], seed)
        assert pair.ids == (1, 2) and pair.starts == {1: 0, 2: 0} and pair.size == toys[0].size
        mine, pasted = shares(pair, toys[0])
        assert mine >= composite.VISIBLE and pasted >= 0.005
        for mask in pair.masks:
            assert set(np.unique(mask)) <= {0, 1, 2} and mask.dtype == np.uint8
        assert pair.categories == {1: toys[0].categories[1], 2: toys[1].categories[1]}


def test_outside_the_paste_nothing_changes(toys):
    pair = composite.pair(toys[2], toys[3], 1)
    for t in range(0, len(pair), 5):
        pasted = pair.masks[t] == 2
        assert (pair.frames[t][~pasted] == toys[2].frames[t][~pasted]).all()
        assert (pair.masks[t][~pasted] == toys[2].masks[t][~pasted]).all()
        assert not pasted.any() or (pair.frames[t][pasted] != toys[2].frames[t][pasted]).any(-1).mean() > 0.7


def test_both_orders_of_depth_occur(toys):
    """In front, the paste hides the base's object; behind, the base's object is whole in every frame."""
    whole = [all(((m == 1) == (a == 1)).all() for m, a in zip(composite.pair(toys[0], toys[4], s).masks,
                                                            toys[0].masks, strict=True)) for s in range(12)]
    assert any(whole)
    rng_behind = [bool(np.random.default_rng([11, s]).random(2)[1] < 0.5) for s in range(12)]
    assert all(w for w, behind in zip(whole, rng_behind, strict=True) if behind)
    assert not all(rng_behind)


def test_the_pasted_object_looks_like_itself(toys):
    """Away from its soft edge the paste is b's colours, up to one factor of brightness."""
    pair = composite.pair(toys[0], toys[1], 3)
    mine = pair.frames[0][pair.masks[0] == 2].astype(float).mean(0)
    theirs = toys[1].frames[0][toys[1].masks[0] == 1].astype(float).mean(0)
    ratio = mine / theirs
    assert ratio.max() / ratio.min() < 1.25


def test_deterministic_and_lazy(toys):
    one, two = (composite.suite(toys, 9, seed=4) for _ in range(2))
    assert [c.name for c in one] == [c.name for c in two]
    for a, b in zip(one, two, strict=True):
        assert (a.frames[3] == b.frames[3]).all() and (a.masks[3] == b.masks[3]).all()
    other = composite.suite(toys, 9, seed=5)
    assert any(a.name != b.name or (a.masks[0] != b.masks[0]).any() for a, b in zip(one, other, strict=True))


def test_never_with_itself_and_base_as_often_as_pasted(toys):
    names = [c.name.split("+") for c in composite.suite(toys, 2 * len(toys), seed=1)]
    assert all(a != b for a, b in names)
    assert len({tuple(x) for x in names}) == len(names)
    for clip in toys:
        assert sum(a == clip.name for a, _ in names) == 2
    with pytest.raises(VosError, match="at least 2"):
        composite.suite(toys[:1], 3)


def test_several_objects_keep_their_ids_in_order():
    a, b = toy.clip(30, objects=2, length=6), toy.clip(31, objects=1, length=5)
    pair = composite.pair(a, b)
    assert pair.ids == (1, 2, 3) and len(pair) == 5
    three = composite.pair(pair, toy.clip(32, length=5))
    assert three.ids == (1, 2, 3, 4) and set(np.unique(three.masks[0])) == {0, 1, 2, 3, 4}


def test_other_sizes_are_brought_to_the_bases():
    a, b = toy.clip(40, length=4), toy.clip(41, length=4, size=(120, 160))
    pair = composite.pair(a, b)
    assert pair.frames[3].shape == (96, 160, 3) and pair.masks[3].shape == (96, 160)


def test_nothing_to_paste_is_an_error(toys):
    from dataclasses import replace

    empty = replace(toys[0], masks=[np.zeros((96, 160), np.uint8)] * 14)
    with pytest.raises(VosError, match="nothing to paste"):
        composite.pair(toys[1], empty)
    with pytest.raises(VosError, match="no annotated object"):
        composite.pair(toys[1], replace(toys[0], masks=[None] * 14))


def test_real_sequences(shared_data):
    clips = [c.resize(240) for c in davis.read(shared_data / "DAVIS", 2016, "val", "present")]
    by_name = {c.name: c for c in clips}
    pairs = composite.suite(clips, len(clips))
    for pair in pairs:
        a, b = (by_name[n] for n in pair.name.split("+"))
        mine, pasted = shares(pair, a)
        assert pair.ids == (1, 2) and len(pair) == min(len(a), len(b))
        assert mine >= composite.VISIBLE and pasted >= 0.005, pair.name
        last = pair.masks[len(pair) - 1]
        assert set(np.unique(last)) <= {0, 1, 2} and last.shape == pair.frames[len(pair) - 1].shape[:2]
