"""Optical flow: its direction and units, what is kept on disk, there and back, colours."""

import cv2
import numpy as np
import pytest
import torch

from vos_teach.clip import VosError
from vos_teach.data import flow as M
from vos_teach.data import toy
from vos_teach.ops.warp import warp


@pytest.fixture(scope="module")
def clip():
    return toy.clip(4, length=4, objects=1, split="val")


def moved(image, dx, dy):
    """The same picture, its content dx to the right and dy down; wide borders are cut away by who compares."""
    return np.roll(image, (dy, dx), (0, 1))


def test_dis_finds_a_shift_in_pixels_x_first(clip):
    a = clip.frames[0]
    found = M.estimate(a, moved(a, 3, -2))
    inner = found[20:-20, 20:-20]
    assert found.shape == (*a.shape[:2], 2) and found.dtype == np.float32
    assert np.median(inner[..., 0]) == pytest.approx(3, abs=0.2)
    assert np.median(inner[..., 1]) == pytest.approx(-2, abs=0.2)


def test_exact_flow_brings_the_next_frame_back_off_occlusions(clip):
    """Mean absolute error under two grey levels, both ways."""
    for t, to in ((0, 1), (2, 1)):
        flow, back = M.between(clip, t, to, "exact"), M.between(clip, to, t, "exact")
        said = warp(torch.from_numpy(clip.frames[to].transpose(2, 0, 1)).float(),
                    torch.from_numpy(flow.transpose(2, 0, 1))).numpy().transpose(1, 2, 0)
        there = cv2.erode(M.consistent(flow, back).astype(np.uint8), np.ones((5, 5))) > 0  # an edge is a mixture
        assert there.mean() > 0.5
        assert np.abs(said - clip.frames[t])[there].mean() < 2


def test_there_and_back_fails_where_things_are_hidden_or_outside():
    forward = np.zeros((20, 40, 2), np.float32)
    forward[5:15, 5:15, 0] = 10  # a square moves 10 to the right, over what lies there
    backward = np.zeros_like(forward)
    backward[5:15, 15:25, 0] = -10
    found = M.consistent(forward, backward)
    assert found[5:15, 5:15].all(), "the square itself leads home"
    assert not found[5:15, 15:25].any(), "what it covers does not"
    assert found[:4].all()
    assert not M.consistent(np.full((8, 8, 2), 9, np.float32), np.full((8, 8, 2), -9, np.float32)).any(), "all left"


def test_flow_is_kept_by_content_and_a_broken_file_is_made_again(clip, tmp_path, monkeypatch):
    a, b = clip.frames[0], clip.frames[1]
    first = M.estimate(a, b, cache=tmp_path)
    (kept,) = tmp_path.glob("*.npy")
    calls = []
    real = M.dis
    monkeypatch.setattr(M, "dis", lambda *x: calls.append(1) or real(*x))
    assert np.array_equal(M.estimate(a.copy(), b.copy(), cache=tmp_path), first) and not calls
    assert np.abs(first - real(a, b)).max() < 0.07
    M.estimate(b, a, cache=tmp_path)
    assert len(calls) == 1 and len(list(tmp_path.glob("*.npy"))) == 2, "the way back is another flow"
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(M.estimate(a, b, cache=tmp_path), first) and len(calls) == 2


def test_colours_tell_directions_apart():
    flow = np.zeros((2, 4, 2), np.float32)
    flow[:, 1, 0], flow[:, 2, 0], flow[:, 3, 1] = 5, -5, 5
    said = M.colours(flow).astype(int)
    assert said.shape == (2, 4, 3) and (said[0, 0] > 245).all(), "what stands still is white"
    assert min(np.abs(said[0, i] - said[0, j]).sum() for i in (1, 2, 3) for j in range(i)) > 80


@pytest.mark.parametrize(("call", "says"), [
    (lambda c: M.estimate(c.frames[0], c.frames[1], "farneback"), "choose from: dis, raft-small"),
    (lambda c: M.estimate(c.frames[0], c.frames[1][:-1]), "one size"),
    (lambda c: M.between(c, 0, 2, "exact"), "only toy clips do, between neighbours"),
])
def test_bad_requests_are_told_in_a_sentence(clip, call, says):
    with pytest.raises(VosError, match=says):
        call(clip)


def test_raft_without_its_weights_says_what_to_do(clip, monkeypatch):
    def offline(**_):
        raise OSError("no network")

    M._raft.cache_clear()
    monkeypatch.setattr(M.raft, "raft_small", offline)
    with pytest.raises(VosError, match=r"raft-small.*no network.*use the flow 'dis'"):
        M.estimate(clip.frames[0], clip.frames[1], "raft-small")


@pytest.mark.slow
def test_raft_takes_frames_of_any_size(clip, monkeypatch):
    """With weights that know nothing: what matters is padding and shape."""
    M._raft.cache_clear()
    real = M.raft.raft_small
    monkeypatch.setattr(M.raft, "raft_small", lambda **_: real(weights=None))
    assert M.estimate(clip.frames[0][:91, :133], clip.frames[1][:91, :133], "raft-small").shape == (91, 133, 2)
    M._raft.cache_clear()


def test_tensors_take_an_estimator_by_name_or_a_function(clip):
    a, b = clip.frame(0), clip.frame(1)
    found = M.tensors(a, b)
    assert torch.equal(found, torch.from_numpy(M.dis(clip.frames[0], clip.frames[1]).transpose(2, 0, 1).copy()))
    own = M.tensors(a, b, lambda x, y: np.full((*x.shape[:2], 2), (x.dtype == np.uint8, 7), np.float32))
    assert own.shape == (2, *clip.size) and (own[0] == 1).all() and (own[1] == 7).all()
