"""The memory bank: which frames are held and let go, late objects, looks and reads; lessons, and clips of stills."""

from types import SimpleNamespace

import numpy as np
import oracles.lookup as oracle
import pytest
import torch

from vos_teach.clip import Clip, Lazy, VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.data.stills_clips import stills_clips
from vos_teach.ops.affinity import dot_affinity, l2_affinity
from vos_teach.transformers import memory as M
from vos_teach.transformers import memory_training as T
from vos_teach.transformers import stcn, stm


def entry(t, given=False, count=1, key=2, size=(1, 3)):
    full = torch.full((count, key, *size), float(t))
    return M.Entry(t, torch.zeros(3, 16, 48), torch.zeros(count, 16, 48), full[0], 10 * full, given)


def played(bank, length, given=(0,)):
    """What is held while each frame from 1 on is segmented."""
    held = []
    for t in range(length):
        if t:
            held.append(bank.times)
        if bank.wants(t, t in given):
            bank.add(entry(t, t in given))
        else:
            bank.tidy(t)
    return held


@pytest.mark.parametrize("name, at_1, at_7, at_12", [
    ("first", [0], [0], [0]),
    ("last", [0], [6], [11]),
    ("first+last", [0], [0, 6], [0, 11]),
    ("first+every", [0], [0, 5], [0, 5, 10]),
    ("first+last+every", [0], [0, 5, 6], [0, 5, 10, 11]),
])
def test_what_each_rule_holds(name, at_1, at_7, at_12):
    rule = M.chosen(name)
    assert [sorted(rule(t)) for t in (1, 7, 12)] == [at_1, at_7, at_12]
    held = played(M.Bank(rule), 14)
    always = {0}  # its mask is given, so it is never let go
    assert [set(held[t - 1]) for t in (1, 7, 12)] == [set(x) | always for x in (at_1, at_7, at_12)]


def test_a_full_bank_lets_the_oldest_frame_go_that_was_predicted():
    held = played(M.Bank(M.frames(last=True, every=2), limit=4), 20, given=(0, 6))
    assert held[5] == (0, 2, 4, 5) and held[8] == (0, 4, 6, 8) and held[18] == (0, 6, 16, 18)
    assert max(map(len, held)) == 4
    assert played(M.Bank(M.frames(last=True), limit=1), 5, given=(0, 2))[-1] == (0, 2), "what is given stays"


def test_what_was_let_go_does_not_come_back():
    held = played(M.Bank(lambda t: [t - 1] if t < 4 else [1, 2, t - 1]), 7)
    assert held[2:] == [(0, 2), (0, 2, 3), (0, 2, 4), (0, 2, 5)]


def test_memory_grows_along_its_own_axis_a_frame_after_the_other():
    bank = M.Bank(M.frames(every=1))
    for t in range(3):
        bank.add(entry(t, count=2))
        keys, values = bank.read()
        assert keys.shape == (2, 3 * (t + 1)) and values.shape == (2, 2, 3 * (t + 1))
    assert keys[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and torch.equal(values[1], 10 * keys)


def test_an_object_that_comes_late_was_nowhere_before():
    for own in (False, True):
        bank = M.Bank(M.frames(every=1))
        for t in range(2):
            e = entry(t, count=2)
            bank.add(e if not own else M.Entry(t, e.frame, e.masks, e.value, e.value))
        asked = []

        def write(entry, own=own, asked=asked):
            asked.append(entry.masks.shape[0])
            assert not entry.masks[2:].any()
            value = torch.full((1, 2, 1, 3), -1.0)
            return (value if own else torch.zeros(2, 1, 3)), value

        before = bank.read()[0].clone()
        bank.grow(write, 1)
        keys, values = bank.read()
        assert asked == [3, 3] and values.shape == (3, 2, 6) and (values[2] == -1).all()
        assert keys.shape == ((3, 2, 6) if own else (2, 6)) and torch.equal(keys[:2] if own else keys, before)


def test_the_others_are_all_but_oneself():
    masks = torch.rand(4, 2, 3) / 4
    for k, other in enumerate(M.others(masks)):
        assert torch.allclose(other, sum(m for j, m in enumerate(masks) if j != k))
    assert not M.others(masks[:1]).any() and M.others(torch.ones(3, 2, 2)).max() == 1


@pytest.mark.parametrize("k", [1, 3, 6, 50])
@pytest.mark.parametrize("kind", ["dot", "l2"])
def test_the_strongest_are_the_softmax_of_their_scores_alone(kind, k):
    mk, qk = torch.randn(4, 6), torch.randn(4, 5)
    got = M.strongest((dot_affinity if kind == "dot" else l2_affinity)(mk, qk), k)
    assert np.allclose(got, oracle.affinity(mk.double().numpy(), qk.double().numpy(), kind, k), atol=1e-5)
    many = M.strongest(torch.rand(3, 6, 5), k)
    assert many.shape == (3, 6, 5) and ((many > 0).sum(-2) == min(k, 6)).all()


TINY = stm.Config("tiny", "tiny", 8, 8, 8, weights=None)


def tiny(kind=stm, **options):
    config = TINY if kind is stm else stm.replace(TINY, writer="light")
    net = kind.new_network(config, False)
    with torch.no_grad():
        net.query_key.weight *= 50  # else a network that knows nothing looks everywhere alike
    return (stm.STM if kind is stm else stcn.STCN)(net, **options)


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=8, objects=2, split="val")


def started(kind, clip, until, **options):
    system = tiny(kind, **options)
    system.start(clip.frame(0), clip.objects(0))
    for t in range(1, until):
        system.step(clip.frame(t))
    return system


@pytest.mark.parametrize("kind", [stm, stcn])
def test_where_a_pixel_looks(kind, clip):
    """A plane per frame in memory, a distribution over all their pixels, constant in the cells of the features."""
    system = started(kind, clip, 7)
    seen = M.looks(system, clip.frame(7), (40, 70), slot=1)
    assert seen.shape == (len(system.bank), *clip.size) and len(system.bank) >= 2
    assert torch.isclose(seen.sum(), torch.tensor(1.0), atol=1e-5) and (seen >= 0).all()
    query = system.net.query(clip.frame(7)[None])
    affinity = system.net.attend(system.bank.read()[0], query.key[0].flatten(1))
    one = affinity[1] if kind is stm else affinity  # N,M
    cell = (40 // 16) * (clip.size[1] // 16) + 70 // 16
    t, y, x = 1, 3, 5
    expected = one[t * 60 + y * 10 + x, cell] / 256
    assert torch.allclose(seen[t, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16], expected.detach().expand(16, 16))
    assert torch.equal(seen, M.looks(system, clip.frame(7), (47, 79), slot=1))
    assert not torch.equal(seen, M.looks(system, clip.frame(7), (48, 79), slot=1))


def test_a_frame_that_recurs_is_looked_at_where_it_was(clip):
    """By distance nothing is nearer than the same place in the same frame."""
    system = started(stcn, clip, 2, policy="first")
    for at in ((8, 8), (40, 100), (90, 150)):
        seen = M.looks(system, clip.frame(0), at)[0]
        best = seen.flatten().argmax().item()
        assert (best // clip.size[1] // 16, best % clip.size[1] // 16) == (at[0] // 16, at[1] // 16)


def test_looks_at_frames_whose_sides_are_no_multiples_of_16(clip):
    system = started(stcn, clip, 3)
    part = M.looks(system, clip.frame(3)[:, :90, :155], (89, 154))
    assert part.shape[-2:] == (90, 155) and part.sum() <= 1 + 1e-5
    with pytest.raises(VosError, match="lies outside the frame of 90 x 155"):
        M.looks(system, clip.frame(3)[:, :90, :155], (90, 3))
    with pytest.raises(VosError, match="nothing is in memory yet"):
        M.looks(tiny(stcn), clip.frame(3), (1, 1))


def test_a_key_of_large_norm_is_read_by_all_of_the_dot_product():
    """Ten cells in memory, one of them long: the dot product reads that one alone, the distance each of the others."""
    angle = torch.arange(9) / 20
    keys = torch.stack([angle.cos(), angle.sin()]) * 3  # 2,9
    memory = torch.cat([keys, torch.tensor([[9.0], [4.0]])], 1)
    bank = SimpleNamespace(times=(0,))
    shares = {}
    for affinity in (dot_affinity, l2_affinity):
        reads = M.Reads(affinity, lambda: bank, top_k=1)
        reads(memory, keys)
        shares[affinity] = reads.share
    assert shares == pytest.approx({dot_affinity: 0.1, l2_affinity: 0.9})


def test_a_cell_among_the_nearest_that_weighs_nothing_is_not_read():
    bank = SimpleNamespace(times=(0,))
    weights = torch.tensor([0.6, 0.398, 6.1e-4, 5.9e-4, 0.0])[:, None]  # a thousandth of the largest: 6e-4
    for k, share in ((1, 0.2), (2, 0.4), (4, 0.6), (5, 0.6)):
        reads = M.Reads(lambda mk, qk: mk, lambda: bank, top_k=k)
        reads(weights, None)
        assert reads.share == pytest.approx(share)


def test_what_is_read_once_is_read_for_ever_and_frames_count_for_themselves():
    bank = SimpleNamespace(times=(0,))
    reads = M.Reads(lambda mk, qk: mk, lambda: bank, top_k=1)  # memory "keys" are the affinity itself
    reads(torch.eye(4)[:, :1], None)
    assert reads.share == 0.25
    reads(torch.eye(4)[:, 2:3], None)
    assert reads.share == 0.5
    bank.times = (0, 3)
    reads(torch.eye(8)[:, 6:7], None)
    assert reads.share == 3 / 8
    bank.times = (3,)  # frame 0 was let go; what it gave stays counted
    reads(torch.eye(4)[:, 3:4], None)
    assert reads.share == 4 / 8


@pytest.mark.parametrize("kind", [stm, stcn])
def test_the_share_of_memory_that_is_read_on_a_clip(kind, clip):
    system = tiny(kind)
    before = system.net.affinity
    few, many = (M.share_read(system, clip, top_k=k) for k in (1, 600))
    assert 0 < few < many == 1 and system.net.affinity is before
    with pytest.raises(VosError, match="no frame after the first mask"):
        M.share_read(system, clip.cut(0, 1))
    late = Clip("late", clip.frames, clip.masks, clip.ids, clip.size, {clip.ids[1]: 3})
    assert 0 < M.share_read(system, late) <= 1


def test_true_masks_in_memory(clip):
    """Of the size at which the engine runs it, padded as its frames are; nothing else changes."""
    from vos_teach import engine

    system = tiny(stcn, policy="first+last")
    system.truth = M.true_masks(clip, 90)
    kept = []
    for t, _ in enumerate(engine.stream(system, clip, height=90)):
        kept.append(system.bank.entries[-1].masks)
        small = clip.resize(90).objects(t).float()
        assert kept[-1].shape == (2, 96, 160) and torch.equal(kept[-1][:, :90, :150], small)
        assert torch.equal(kept[-1][:, 90:, :150], small[:, -1:].expand(-1, 6, -1))
    late = Clip("late", clip.frames, clip.masks, clip.ids, clip.size, {clip.ids[1]: 2})
    with pytest.raises(VosError, match="gives an object late"):
        M.true_masks(late)


def test_bad_memories_are_told_in_a_sentence():
    with pytest.raises(VosError, match="choose from: first, last"):
        M.chosen("middle")
    with pytest.raises(VosError, match="every is 0"):
        M.frames(every=0)
    with pytest.raises(VosError, match="holds no frame"):
        M.frames(first=False)
    with pytest.raises(VosError, match="limit is 0"):
        M.Bank(M.frames(), 0)


# ---- lessons

def test_lessons_are_stills_first_then_videos_with_growing_gaps():
    got = [T.lesson(step, 1000) for step in range(1000)]
    lengths, gaps = zip(*got, strict=True)
    assert set(gaps[:300]) == {0} and gaps[300] == 2 and max(gaps) == T.FAR and set(gaps[860:]) == {T.NEAR}
    assert list(gaps[:850]) == sorted(gaps[:850]) and set(lengths[:670]) == {3} and set(lengths[670:]) == {4}


def test_who_is_asked_for():
    rng, seen = np.random.default_rng(0), []
    for _ in range(300):
        rows = T.asked([1, 3], rng)
        assert rows == sorted(rows) and rows[0] == (0, 1) and len(set(rows)) == len(rows)
        seen.append(tuple(k for b, k in rows if b == 1))
    assert {k for ks in seen for k in ks} == {1, 2, 3} and {len(ks) for ks in seen} == {1, 2}
    assert 0.3 < np.mean([len(ks) == 1 for ks in seen]) < 0.5


def test_memory_always_has_frame_0_and_sometimes_the_rest():
    drawn = [T.held(4, np.random.default_rng(seed)) for seed in range(200)]
    assert all(m[0] == [0] and m[2][0] == 0 and max(m[2]) <= 2 for m in drawn)
    assert {tuple(m[2]) for m in drawn} == {(0,), (0, 1), (0, 2), (0, 1, 2)}


def test_clips_of_stills_come_from_one_frame_each_and_move_on_and_on():
    source = [Source("toy", [toy.clip(s, length=4, objects=2) for s in (1, 2)], 1.0)]
    drawn = stills_clips(source, np.random.default_rng(0), 6, (96, 160), 3)
    again = stills_clips(source, np.random.default_rng(0), 6, (96, 160), 3)
    assert torch.equal(drawn.frames, again.frames) and drawn.frames.shape == (6, 3, 3, 96, 160)
    assert drawn.frames.min() >= 0 and drawn.frames.max() <= 1 and drawn.labels.shape == (6, 3, 96, 160)
    for b, n in enumerate(drawn.counts.tolist()):
        assert set(drawn.labels[b].unique().tolist()) <= {0, *range(1, n + 1)} and (drawn.labels[b, 0] > 0).any()
    far = [(drawn.labels[:, 0] != drawn.labels[:, t]).float().mean().item() for t in (1, 2)]
    assert 0 < far[0] < far[1]
    still = stills_clips(source, np.random.default_rng(0), 2, (96, 160), 3, unrest=0.0)
    assert torch.equal(still.labels[:, 0], still.labels[:, 2]) and torch.equal(still.frames[:, 0], still.frames[:, 2])


def test_a_still_and_its_mask_move_together():
    """A picture that IS its mask: wherever it is taken, colour and label agree."""
    mask = np.zeros((96, 160), np.uint8)
    mask[30:70, 50:110] = 1
    clip = Clip("same", Lazy(1, lambda _: np.repeat(mask[..., None] * 255, 3, 2)), [mask], (1,), mask.shape)
    drawn = stills_clips([Source("s", [clip], 1.0)], np.random.default_rng(3), 4, (96, 160), 3)
    bright = drawn.frames.mean(2)
    middle = (bright.amax((-1, -2)) + bright.amin((-1, -2)))[..., None, None] / 2
    assert ((bright > middle) == (drawn.labels == 1)).float().mean() > 0.99


def test_clips_without_masks_make_no_stills():
    bare = Clip("bare", [np.zeros((96, 160, 3), np.uint8)], [None], (), (96, 160))
    with pytest.raises(VosError, match="give clips with masks"):
        stills_clips([Source("s", [bare], 1.0)], np.random.default_rng(0), 1, (96, 160), 3)
    with pytest.raises(VosError, match="at least 1"):
        stills_clips([Source("s", [bare], 1.0)], np.random.default_rng(0), 0, (96, 160), 3)
