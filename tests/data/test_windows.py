"""Short clips for training through time: one camera a window, slots in any order, times within reach."""

import numpy as np
import pytest
import torch

from vos_teach.clip import Clip, Lazy, VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.data.windows import asked, moments, recoloured, windows


@pytest.fixture(scope="module")
def clip():
    return toy.clip(3, length=8, objects=2)


def draw(clips, seed=0, batch=3, length=4, **options):
    return windows([Source("toy", clips, 1.0)], np.random.default_rng(seed), batch, (96, 160), length, **options)


def test_shapes_slots_and_the_same_draw_for_a_seed(clip):
    one, same, other = draw([clip]), draw([clip]), draw([clip], seed=1)
    assert one.frames.shape == (3, 4, 3, 96, 160) and one.labels.shape == (3, 4, 96, 160)
    assert one.frames.min() >= 0 and one.frames.max() <= 1 and one.labels.dtype == torch.int64
    assert torch.equal(one.frames, same.frames) and torch.equal(one.labels, same.labels)
    assert not torch.equal(one.frames, other.frames)
    for labels, count in zip(one.labels, one.counts, strict=True):
        assert set(labels[0].unique().tolist()) - {0} == set(range(1, int(count) + 1))
        assert labels.max() <= count


def painted(ids=(1, 2), length=8, size=(96, 160)):
    """A clip whose frames say everything: object k is grey 60 k, frame t has a corner of grey 8 t."""

    def mask(t):
        out = np.zeros(size, np.uint8)
        for n, k in enumerate(ids):
            out[30 + 4 * n : 60 - 4 * n, 30 + 50 * n : 65 + 50 * n] = k
        return out

    def frame(t):
        grey = mask(t) * np.uint8(60)
        return np.repeat(grey[..., None], 3, 2)

    return Clip("painted", Lazy(length, frame), Lazy(length, mask), tuple(ids), size)


def test_frames_and_masks_are_moved_together_and_slots_are_shuffled():
    """Inside an object of the labels the picture is of one colour, whatever slot it got."""
    slots = {1: set(), 2: set()}
    for seed in range(12):
        got = draw([painted()], seed, batch=1)
        for frame, labels in zip(got.frames[0], got.labels[0], strict=True):
            bright = {}
            for slot in (1, 2):
                inner = torch.nn.functional.max_pool2d((labels != slot).float()[None], 5, 1, 2)[0] == 0
                if inner.any():
                    values = frame[:, inner]
                    assert (values.amax(1) - values.amin(1)).max() < 0.02
                    bright[slot] = float(values.mean())
            if len(bright) == 2:
                slots[1].add(bright[1] > bright[2])
    assert slots[1] == {True, False}


def test_one_camera_for_a_window_and_a_little_unrest():
    """What stands still stays nearly in place; without unrest, exactly, and in the same light."""
    for seed in range(6):
        still = draw([painted()], seed, batch=1, unrest=0.0)
        assert (still.frames[0] == still.frames[0, :1]).all() and (still.labels[0] == still.labels[0, :1]).all()
        shaken = draw([painted()], seed, batch=1)
        assert not torch.equal(shaken.frames[0, 0], shaken.frames[0, 1])
        first, rest = shaken.labels[0, :1] > 0, shaken.labels[0, 1:] > 0
        iou = (first & rest).sum((-2, -1)) / (first | rest).sum((-2, -1))
        assert iou.min() > 0.75, iou


def test_moments_keep_their_distance_in_both_directions():
    steps = set()
    for seed in range(60):
        times = moments(np.random.default_rng(seed), 20, 5, gap=3)
        assert min(times) >= 0 and max(times) < 20 and len(times) == 5
        apart = set(np.diff(times).tolist())
        assert len(apart) == 1
        steps |= apart
    assert steps == {-3, -2, -1, 1, 2, 3}
    assert max(max(moments(np.random.default_rng(s), 20, 5)) for s in range(80)) == 19


def test_short_clips_are_played_to_and_fro_and_the_gap_shrinks_where_it_must():
    for seed in range(20):
        assert set(np.abs(np.diff(moments(np.random.default_rng(seed), 8, 8, gap=3))).tolist()) == {1}
        times = moments(np.random.default_rng(seed), 3, 8, gap=3)
        assert set(times) == {0, 1, 2} and (np.abs(np.diff(times)) == 1).all()
        assert moments(np.random.default_rng(seed), 1, 3) == [0, 0, 0]


def comer(size=(96, 160)):
    """Object 2 comes in frame 2; time is turned back in half of the draws."""

    def mask(t):
        out = np.zeros(size, np.uint8)
        out[20:60, 20:60] = 1
        if t >= 2:
            out[40:80, 90:130] = 2
        return out

    return Clip("comer", Lazy(4, lambda t: np.zeros((*size, 3), np.uint8)), Lazy(4, mask), (1, 2), size, {2: 2})


def test_who_is_not_in_frame_0_is_background_or_has_a_later_slot():
    seen = set()
    for seed in range(12):
        plain, late = (draw([comer()], seed, batch=1, gap=1, late=x) for x in (False, True))
        count = int(plain.counts[0])
        assert int(late.counts[0]) == count and set(plain.labels[0].unique().tolist()) == set(range(count + 1))
        assert set(late.labels[0].unique().tolist()) == {0, 1, 2}
        if count == 1:
            assert not (late.labels[0, 0] == 2).any() and (late.labels[0, -1] == 2).any()
        seen.add(count)
    assert seen == {1, 2}


def test_clips_without_annotation_or_object_are_refused_in_a_sentence(clip):
    bare = Clip("bare", clip.frames, [None] * len(clip), clip.ids, clip.size)
    with pytest.raises(VosError, match="annotated one after the other"):
        draw([bare], batch=1)
    with pytest.raises(VosError, match="at least 1"):
        draw([clip], length=0)


def test_sometimes_only_one_of_several_is_asked_for():
    labels, counts = torch.zeros(2, 4, 64, 96).long(), torch.tensor([1, 2])
    labels[0, :, 8:40, 8:40], labels[1, :, 20:60, 4:24], labels[1, :, 6:30, 40:80] = 1, 1, 2
    labels[1, 0, 0, 0] = 255
    seen = set()
    for seed in range(20):
        got, n = asked(labels, counts, np.random.default_rng(seed))
        assert torch.equal(got[0], labels[0]) and got[1, 0, 0, 0] == 255
        if n[1] == 1:
            k = int(labels[1][got[1] == 1].unique())
            assert torch.equal(got[1] == 1, labels[1] == k)
            seen.add(k)
        else:
            assert torch.equal(got[1], labels[1])
            seen.add("both")
    assert seen == {1, 2, "both"}


def test_another_hue_leaves_greys_and_frames_of_a_clip_alike():
    frames = torch.rand(1, 2, 3, 4, 4) * 0.2 + 0.4
    frames[:, 1] = frames[:, 0]
    out = recoloured(frames, np.random.default_rng(1), share=1.0)
    assert torch.equal(out[:, 0], out[:, 1]) and not torch.allclose(out, frames, atol=0.01)
    assert torch.allclose(out.mean(2), frames.mean(2), atol=1e-5)
    grey = torch.full((1, 1, 3, 2, 2), 0.3)
    assert torch.allclose(recoloured(grey, np.random.default_rng(1), share=1.0), grey, atol=1e-6)
    assert torch.allclose(recoloured(frames, np.random.default_rng(1), share=0.0), frames)
