"""The one loop: padding, resizing, late objects, flat memory, timing."""

import numpy as np
import pytest
import torch

from vos_teach import engine
from vos_teach.baselines import CopyFirst, CopyFlow
from vos_teach.clip import Clip, Lazy, VosError
from vos_teach.segmenter import OneObject, given


def blocks(T=6, H=37, W=51, starts=None):
    """A clip with two squares that move one pixel a frame; object 9 may come late."""
    starts = starts or {}

    def mask(t):
        m = np.zeros((H, W), np.uint8)
        m[5:15, 3 + t : 13 + t] = 4
        if t >= starts.get(9, 0):
            m[20:30, 20:32] = 9
        return m

    frames = Lazy(T, lambda t: np.repeat(mask(t)[..., None] * 20, 3, 2))
    return Clip("blocks", frames, Lazy(T, mask), (4, 9), (H, W), starts)


class Recorder:
    """Says which sizes it was shown; paints every pixel with slot 1."""

    task, causal, seed = "one-shot", True, 0

    def __init__(self):
        self.sizes = []

    def start(self, frame, masks=None):
        self.sizes.append(tuple(frame.shape[-2:]))
        self.k = len(masks)
        return given(masks)

    def step(self, frame, new=None):
        self.sizes.append(tuple(frame.shape[-2:]))
        self.k += 0 if new is None else len(new)
        prob = torch.zeros(self.k + 1, *frame.shape[-2:])
        prob[1] = 1
        return prob


def test_frames_are_padded_to_the_stride_and_cut_back():
    recorder, clip = Recorder(), blocks()
    result = engine.run(recorder, clip)
    assert set(recorder.sizes) == {(48, 64)}
    assert all(m.shape == (37, 51) for m in result.masks)
    assert (result.masks[3] == 4).all()


def test_working_height_is_kept_apart_from_the_clips_size():
    recorder, clip = Recorder(), blocks()
    result = engine.run(recorder, clip, height=20)
    assert set(recorder.sizes) == {(32, 32)}  # 20 x 28, padded
    assert np.array_equal(result.masks[0], clip.masks[0]), "the first mask comes back at full size, not resampled"


def test_copy_first_is_the_first_mask_for_ever():
    clip = blocks()
    assert all(np.array_equal(m, clip.masks[0]) for m in engine.run(CopyFirst(), clip).masks)


def test_copy_flow_follows_a_moving_object_that_copy_first_loses():
    rng = np.random.default_rng(0)
    canvas, patch = rng.integers(0, 255, (64, 160, 3), np.uint8), rng.integers(0, 255, (24, 24, 3), np.uint8)
    import cv2

    canvas, patch = cv2.GaussianBlur(canvas, (0, 0), 4), cv2.GaussianBlur(patch, (0, 0), 4)

    def draw(t, what):
        what = what.copy()
        what[20:44, 10 + 2 * t : 34 + 2 * t] = patch if what.ndim == 3 else 1
        return what

    masks = Lazy(10, lambda t: draw(t, np.zeros((64, 160), np.uint8)))
    clip = Clip("slide", Lazy(10, lambda t: draw(t, canvas)), masks, (1,), (64, 160))

    def iou(a, b):
        return (a & b).sum() / (a | b).sum()

    flow, first = (engine.run(s, clip).masks[-1] == 1 for s in (CopyFlow(), CopyFirst()))
    truth = clip.masks[-1] == 1
    assert iou(first, truth) < 0.2 and iou(flow, truth) > 0.45


@pytest.mark.parametrize("wrap", [CopyFirst, lambda: OneObject(CopyFirst)])
def test_late_objects_are_given_when_they_appear(wrap):
    clip = blocks(starts={9: 3})
    masks = engine.run(wrap(), clip).masks
    assert 9 not in masks[2] and np.array_equal(masks[3] == 9, clip.masks[3] == 9)
    assert np.array_equal(masks[5] == 4, (clip.masks[0] == 4) & (masks[3] != 9))


def test_objects_that_all_come_late():
    clip = blocks(starts={4: 2, 9: 3})
    result = engine.run(CopyFirst(), clip)
    assert not result.masks[1].any() and (result.masks[2] == 4).any() and len(result.step_seconds) == 5


class WholeThirds:
    """Needs the whole clip: splits every frame into three bands, in the same order for ever."""

    task, causal, seed = "zero-shot", False, 0

    def segment(self, frames, masks=None):
        out = []
        for frame in frames:
            prob = torch.zeros(3, *frame.shape[-2:])
            for k, band in enumerate(prob.chunk(3, dim=-1)):
                band[k] = 1
            out.append(prob)
        return torch.stack(out)


def test_whole_clip_systems_run_in_the_same_loop():
    masks = engine.run(WholeThirds(), blocks()).masks
    assert len(masks) == 6 and set(np.unique(masks[4])) == {0, 1, 2}


def test_a_one_shot_system_needs_an_object():
    clip = Clip("nothing", [np.zeros((8, 8, 3), np.uint8)], [np.zeros((8, 8), np.uint8)], (), (8, 8))
    with pytest.raises(VosError, match="no annotated object"):
        engine.run(CopyFirst(), clip)


def test_merging_one_object_at_a_time_is_soft_aggregation():
    """Two copies that claim p and q of every pixel: the oracle is the formula, written out."""

    class Claim:
        task, causal, seed = "one-shot", True, 0

        def start(self, frame, masks=None):
            self.p = 0.7 if masks[0, 0, 0] else 0.4
            return given(masks)

        def step(self, frame, new=None):
            p = torch.full(frame.shape[-2:], self.p)
            return torch.stack([1 - p, p])

    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, 0, 0] = masks[1, 3, 3] = True
    both = OneObject(Claim)
    both.start(torch.zeros(3, 4, 4), masks)
    prob = both.step(torch.zeros(3, 4, 4))[:, 2, 2]
    odds = np.array([p / (1 - p) for p in (0.3 * 0.6, 0.7, 0.4)])
    assert np.allclose(prob, odds / odds.sum(), atol=1e-6)


@pytest.mark.slow
def test_memory_stays_flat_over_a_thousand_frames():
    """Label maps kept unpacked weigh 78 MiB over the 800 frames (copy-flow: 35), frames kept three times that."""
    for make, size in ((CopyFirst, (240, 427)), (CopyFlow, (160, 284))):
        sizes = []
        clip = blocks(T=1000, H=size[0], W=size[1])
        engine.run(make(), clip, on_frame=lambda t, labels, sizes=sizes: sizes.append(engine.resident()))
        assert max(sizes[200:]) - sizes[200] < 15, f"{make.__name__} grew by {max(sizes[200:]) - sizes[200]:.1f} MiB"


def test_an_object_at_the_border_stays_itself_in_the_padding():
    """17 x 33 becomes 32 x 48: a mask that fills the frame must fill the padded frame too."""
    seen = {}

    class Look(CopyFirst):
        def start(self, frame, masks=None):
            seen["masks"] = masks
            return super().start(frame, masks)

    full = np.ones((17, 33), np.uint8)
    engine.run(Look(), Clip("full", [np.zeros((17, 33, 3), np.uint8)] * 2, [full] * 2, (1,), (17, 33)))
    assert seen["masks"].shape == (1, 32, 48) and seen["masks"].all()
