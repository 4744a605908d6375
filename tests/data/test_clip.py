"""Clip: lazy, and exact where it cuts and resizes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos_teach.clip import Clip, Lazy, VosError, resize_frame, resize_mask


def counting(length=6, size=(12, 20)):
    """A clip whose frame t is filled with t, and the list of frames and masks made."""
    made = []
    frames = Lazy(length, lambda t: made.append(("f", t)) or np.full((*size, 3), t, np.uint8))
    masks = Lazy(length, lambda t: made.append(("m", t)) or np.full(size, 1 + (t >= 3), np.uint8))
    return Clip("c", frames, masks, (1, 2), size, starts={2: 3}), made


def test_nothing_is_decoded_before_it_is_asked_for():
    clip, made = counting()
    small = clip.cut(1, 5).resize(6).cut(1)
    assert made == [] and len(small) == 3
    assert small.frames[1][0, 0, 0] == 3 and small.masks[-1].max() == 2
    assert made == [("f", 3), ("m", 4)]
    small.frame(1)
    assert made.count(("f", 3)) == 2  # never kept


def test_lazy_is_a_sequence():
    lazy = Lazy(5, lambda i: i * i)
    assert list(lazy) == [0, 1, 4, 9, 16] and list(lazy[1:4]) == [1, 4, 9] and list(lazy[::-2]) == [16, 4, 0]
    assert lazy[-1] == 16 and list(lazy[1:][1:2]) == [4]
    for i in (5, -6):
        with pytest.raises(IndexError):
            lazy[i]


def test_cut_keeps_the_objects_that_are_given_by_then():
    clip, _ = counting()
    assert clip.cut(0, 3).ids == (1,)
    assert clip.cut(0, 4).starts == {1: 0, 2: 3}
    assert clip.cut(2).starts == {1: 0, 2: 1} and clip.cut(4).starts == {1: 0, 2: 0}
    assert clip.cut(2, 4).frame_names == ("00002", "00003") and len(clip.cut(2, 100)) == 4
    with pytest.raises(VosError, match="no frames"):
        clip.cut(3, 3)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_resized_masks_take_the_nearest_pixel(h, w, height, width, seed):
    mask = np.random.default_rng(seed).choice(np.array([0, 1, 7, 255], np.uint8), (h, w))
    small = resize_mask(mask, (height, width))
    assert small.shape == (height, width) and small.dtype == np.uint8
    for y in range(height):
        for x in range(width):  # the pixel in which the new pixel's centre lies
            assert small[y, x] == mask[(2 * y + 1) * h // (2 * height), (2 * x + 1) * w // (2 * width)]


def test_resize_keeps_ids_aspect_and_flow():
    clip, _ = counting(2, (20, 30))
    flow = np.full((20, 30, 2), (3.0, 2.0), np.float32)
    clip = Clip("c", clip.frames, [np.eye(20, 30, dtype=np.uint8) * 9, None], (9,), (20, 30), forward_flow=[flow])
    small = clip.resize(10)
    assert small.size == (10, 15) and set(np.unique(small.masks[0])) <= {0, 9} and small.masks[1] is None
    assert small.frames[0].shape == (10, 15, 3)
    np.testing.assert_allclose(small.forward_flow[0], np.broadcast_to(np.float32([1.5, 1.0]), (10, 15, 2)))
    assert clip.resize(20) is clip


def test_frames_shrink_by_area():
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[::2, ::2] = 200
    assert (resize_frame(frame, (2, 2)) == 50).all()


def test_objects():
    clip, _ = counting()
    assert clip.objects(4).tolist() == torch.stack([torch.zeros(12, 20), torch.ones(12, 20)]).bool().tolist()
    assert clip.objects(4, [2]).shape == (1, 12, 20) and clip.objects(0, []).shape == (0, 12, 20)
    bare = Clip("c", clip.frames, [None] * 6, (), (12, 20))
    with pytest.raises(VosError, match="frame 00002 of clip 'c' has no annotation"):
        bare.objects(2)
    frame = clip.frame(5)
    assert frame.shape == (3, 12, 20) and frame.dtype == torch.float32 and torch.allclose(frame, torch.tensor(5 / 255))


def test_a_clip_must_fit_together():
    with pytest.raises(VosError, match="no frames"):
        Clip("c", [], [], (), (1, 1))
    with pytest.raises(VosError, match="6 frames but 5 masks"):
        Clip("c", counting()[0].frames, [None] * 5, (), (12, 20))
