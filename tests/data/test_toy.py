"""Toy clips: the same for a seed, exact flow, and knobs that do what they say."""

import json
import os
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest

from vos_teach.cli import main
from vos_teach.clip import VosError
from vos_teach.data import davis, toy
from vos_teach.data.png import write_mask


def areas(clip, k=1):
    return np.array([(m == k).sum() for m in clip.masks])


def middles(clip, k=1):
    """T,2: the mean (x, y) of object k's pixels, nan where it is not to be seen."""
    out = np.full((len(clip), 2), np.nan)
    for t, mask in enumerate(clip.masks):
        if (mask == k).any():
            y, x = np.nonzero(mask == k)
            out[t] = x.mean(), y.mean()
    return out


def look(image, x, y):
    return cv2.remap(image.astype(np.float32), x, y, cv2.INTER_LINEAR)


def agreement(clip, t):
    """Frame t against frame t+1 looked up along the flow, off occlusions: grey levels, share of wrong mask pixels."""
    h, w = clip.size
    y, x = np.mgrid[:h, :w].astype(np.float32)
    there, back = clip.forward_flow[t], clip.backward_flow[t]
    px, py = x + there[..., 0], y + there[..., 1]
    apart = np.abs(there + look(back, px, py)).max(-1)         # hidden in t+1: the flow does not lead back
    seen = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1) & (apart < 0.5)
    grey = np.abs(look(clip.frames[t + 1], px, py) - clip.frames[t])[seen].mean()
    near = np.round(px).clip(0, w - 1).astype(int), np.round(py).clip(0, h - 1).astype(int)
    wrong = (clip.masks[t + 1][near[1], near[0]] != clip.masks[t])[seen].mean()
    return grey, wrong, seen.mean()


def test_the_same_arguments_give_the_same_clip():
    one, two, other = (toy.clip(s, objects=2, deformation=True, camera_motion=True) for s in (3, 3, 4))
    for t in (7, 0, 19):                                                # in any order
        assert (one.frames[t] == two.frames[t]).all() and (one.masks[t] == two.masks[t]).all()
    assert (one.forward_flow[5] == two.forward_flow[5]).all()
    assert (one.frames[0] != other.frames[0]).mean() > 0.5
    assert (one.frames[0] != toy.clip(3, objects=2, split="val").frames[0]).mean() > 0.5


@pytest.mark.slow                                                       # imports torch again
def test_the_same_in_another_process():
    program = "from vos_teach.data import toy; import zlib; print(zlib.crc32(toy.clip(11).frames[2].tobytes()))"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True,
                         env={**os.environ, "PYTHONHASHSEED": "1"})
    assert int(run.stdout) == zlib.crc32(toy.clip(11).frames[2].tobytes())


@pytest.mark.parametrize("name", [n for n in toy.SUITE if n != "appearance"])
def test_flow_is_exact(name):
    number = list(toy.SUITE).index(name)
    clip = toy.clip(number, split="val", noise=0, light=0, **toy.SUITE[name])
    for t in (0, 6, 12, 18):
        grey, wrong, seen = agreement(clip, t)
        assert grey < 2 and wrong < 0.01 and seen > 0.8, (t, grey, wrong, seen)


def test_flow_there_and_back_is_the_identity():
    """What does not move is tracked to a thousandth: forward then backward, on the layers' own maps."""
    clip = toy.clip(2, split="val", deformation=True, dynamic_background=True, camera_motion=True)
    scene = clip.frames.make.__self__
    x, y = (v.astype(np.float64) for v in scene.grid)
    for layer in scene.layers:
        px, py = layer.pixels(9, *layer.canonical(9, x, y))
        assert np.abs(px - x).max() < 1e-2 and np.abs(py - y).max() < 1e-2


def test_a_still_background_has_no_flow():
    clip = toy.clip(5, distractors=0)
    flow, still = clip.forward_flow[0], clip.masks[0] == 0
    assert np.abs(flow[still]).max() < 1e-3 and np.abs(flow[~still]).max() > 0.3


def test_ids_sizes_and_frame_0():
    for clip in toy.training(5, seed=5):
        assert clip.frames[0].shape == (96, 160, 3) and clip.frames[0].dtype == np.uint8
        assert clip.forward_flow[0].shape == (96, 160, 2) and clip.forward_flow[0].dtype == np.float32
        assert len(clip.frames) == len(clip.masks) == len(clip.forward_flow) + 1 == len(clip.backward_flow) + 1
        assert set(np.unique(clip.masks[0])) == {0} | {k for k in clip.ids if clip.starts[k] == 0}
        for t in range(len(clip)):
            assert set(np.unique(clip.masks[t])) <= {0, *clip.ids}
        for k in clip.ids:
            assert areas(clip, k)[: clip.starts[k]].sum() == 0
            assert areas(clip, k)[clip.starts[k]] >= 0.012 * 96 * 160
    large = toy.clip(0, size=(240, 427), length=4)
    assert large.frames[3].shape == (240, 427, 3) and areas(large)[0] >= 0.012 * 240 * 427


def test_pictures_are_textured():
    for clip in toy.suite():
        frame, mask = clip.frames[0].astype(float), clip.masks[0]
        assert frame.std() > 15
        for k in np.unique(mask[mask > 0]):
            assert frame[mask == k].std() > 5, (clip.name, k)


# ---- knobs -------------------------------------------------------------------------------------------------------


def mean_of(measure, seeds=range(6), **knobs):
    return np.mean([measure(toy.clip(s, split="val", distractors=0, **knobs)) for s in seeds])


def test_fast_motion_is_fast():
    def speed(clip):
        return np.nanmean(np.hypot(*np.diff(middles(clip), axis=0).T))

    assert mean_of(speed) < 3 and mean_of(speed, fast_motion=True) > 6


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("knob", ["occlusion", "out_of_view"])
def test_gone_and_back(knob, seed):
    area = areas(toy.clip(seed, split="val", distractors=0, **{knob: True}))
    gone = np.flatnonzero(area == 0)
    assert len(gone) and gone.min() > 0 and gone.max() < len(area) - 1
    assert area[0] > 180 and area[-1] > 0.4 * area[0]
    assert (np.diff(gone) == 1).all()                                    # away once
    if knob == "out_of_view":
        assert len(gone) >= 3


def test_scale_variation_changes_area():
    def ratio(clip):
        return areas(clip).max() / areas(clip).min()

    assert mean_of(ratio) < 2 and mean_of(ratio, scale_variation=True) > 2.5


def test_appearance_change_changes_colours():
    def drift(clip):
        first, last = (clip.frames[t][clip.masks[t] == 1].mean(0) for t in (0, -1))
        return np.abs(first - last).max()

    assert mean_of(drift, light=0) < 15 and mean_of(drift, light=0, appearance_change=True) > 25


def test_deformation_changes_shape():
    """Second moments, freed of rotation and scale: the ratio of the axes."""
    def change(clip):
        ratios = []
        for mask in clip.masks:
            y, x = np.nonzero(mask == 1)
            small, large = np.linalg.eigvalsh(np.cov(x, y))
            ratios.append(np.log(large / small))
        return np.std(ratios)

    assert mean_of(change, deformation=True) > 2 * mean_of(change)


def test_look_alikes_look_alike_and_are_not_objects():
    clip = toy.clip(7, split="val", similar=2, distractors=0)
    layers = clip.frames.make.__self__.layers
    twins = [x for x in layers[1:] if x.object == 0]
    me = next(x for x in layers if x.object == 1)
    assert len(twins) == 2 and clip.ids == (1,)
    for twin in twins:
        assert np.abs(twin.patch[:, ::-1, :3].mean((0, 1)) / me.patch[..., :3].mean((0, 1)) - 1).max() < 0.1
        assert (twin.patch[:, ::-1, 3] == me.patch[..., 3]).all()


@pytest.mark.parametrize("knob", ["camera_motion", "dynamic_background"])
def test_backgrounds_move(knob):
    clip = toy.clip(3, split="val", distractors=0, **{knob: True})
    assert np.abs(np.stack(list(clip.forward_flow))[:, :8]).mean() > 0.3


def test_stickers_stand_still():
    plain, stuck = (toy.clip(3, split="val", distractors=0, stickers=n, noise=0, light=0) for n in (0, 3))
    bare, sticky = (c.frames.make.__self__.layers[0].patch for c in (plain, stuck))
    assert bare.shape == sticky.shape and (np.abs(bare - sticky).max(-1) > 5).mean() > 0.02     # part of the ground
    free = cv2.dilate(stuck.masks[0] | stuck.masks[9], np.ones((7, 7))) == 0
    assert np.abs(stuck.frames[0][free].astype(int) - stuck.frames[9][free]).max() <= 1
    assert "background-clutter" in toy.clip(3, own_texture=True).attributes


def test_late_objects_start_late():
    clip = toy.clip(4, objects=3, late=2)
    assert clip.starts[1] == 0 and 0 < clip.starts[2] < 20 and 0 < clip.starts[3] < 20
    assert set(np.unique(clip.masks[0])) == {0, 1}
    for k in (2, 3):
        assert areas(clip, k)[clip.starts[k]] > 0


def test_held_out_categories_never_occur_in_training():
    assert not set(toy.SEEN) & set(toy.UNSEEN) and len(toy.SEEN) > 40
    used = {c for clip in toy.training(40, seed=1) for c in clip.categories.values()}
    assert used <= set(toy.SEEN) and len(used) > 20
    unseen = next(c for c in toy.suite() if c.name == "unseen")
    assert set(unseen.categories.values()) <= set(toy.UNSEEN)
    for clip in toy.suite():
        assert set(clip.categories) == set(clip.ids)
        assert clip.name == "unseen" or set(clip.categories.values()) <= set(toy.SEEN)


def test_attributes_name_the_knobs():
    assert toy.clip(1, occlusion=True, fast_motion=True).attributes == {"occlusion", "fast-motion"}
    assert toy.clip(1).attributes == frozenset()


def test_training_obeys_fixed_knobs():
    clips = toy.training(8, seed=2, objects=1, length=6, size=(64, 96))
    assert all(c.ids == (1,) and len(c) == 6 and c.size == (64, 96) for c in clips)
    assert len({c.name for c in clips}) == 8


@pytest.mark.parametrize("wrong, says", [
    (dict(split="test"), "split"), (dict(unseen=True), "held out"), (dict(objects=2, late=2), "from the start"),
    (dict(length=1), "length=1"), (dict(length=6, occlusion=True), "12 frames"), (dict(fast=True), "'fast'"),
    (dict(occlusion=True, out_of_view=True), "choose one"), (dict(size=(16, 16)), "48 pixels"),
])
def test_bad_knobs_are_refused_in_one_sentence(wrong, says):
    with pytest.raises(VosError, match=says):
        toy.clip(0, **wrong)


def test_time_of_a_clip():
    """Aim: 50 ms on a quiet core for 20 frames with their masks; the bound is generous because machines differ."""
    toy.training(3)                                                      # the pictures are read once
    clips, start = None, time.process_time()
    clips = toy.training(10, seed=9)
    for clip in clips:
        for _ in clip:
            pass
    assert (time.process_time() - start) / len(clips) < 0.4


def test_written_clips_are_read_again(tmp_path):
    clips = toy.split("val")[:3]
    toy.write(clips, tmp_path / "toy", "val")
    again = davis.read(tmp_path / "toy")
    assert [c.name for c in again] == [c.name for c in clips]
    for a, b in zip(clips, again, strict=True):
        assert len(a) == len(b) and a.size == b.size and a.ids == b.ids
        for t in (0, 11):
            assert (a.masks[t] == b.masks[t]).all()
            assert np.abs(a.frames[t].astype(int) - b.frames[t]).mean() < 4
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]
    with pytest.raises(VosError, match="not empty"):
        toy.write(clips, tmp_path / "toy")


def test_late_objects_and_categories_survive_writing(tmp_path, monkeypatch, capsys):
    """And `evaluate` scores a late object from the frame after its first one."""
    clips = [c for c in toy.suite() if c.name in ("re-entry", "late-object")]
    root = toy.write(clips, tmp_path / "toy")
    again = davis.read(root)
    for a, b in zip(clips, again, strict=True):
        assert (a.ids, a.starts, a.categories) == (b.ids, b.starts, b.categories)
    late = again[1]
    start = late.starts[2]
    assert start > 0 and all((m == n).all() for m, n in zip(late.masks, clips[1].masks, strict=True))
    videos = json.loads((root / "meta.json").read_text())["videos"]
    shown = [late.frame_names[t] for t, m in enumerate(late.masks) if (m == 2).any()]
    assert videos["late-object"]["objects"]["2"] == {"category": late.categories[2], "frames": shown}
    assert len(videos["re-entry"]["objects"]["1"]["frames"]) < 20        # away for a while

    for t, mask in enumerate(late.masks):                                # wrong until the mask is given, right after
        write_mask(tmp_path / "pred/late-object" / f"{late.frame_names[t]}.png", mask if t > start else mask * 0 + 2)
    scores = tmp_path / "scores.json"
    monkeypatch.setattr(sys, "argv", [
        "vos-teach", "evaluate", "--pred", str(tmp_path / "pred"), "--davis", str(root), "--task", "one-shot",
        "--sequences", "present", "--processes", "1", "--json", str(scores)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    objects = json.loads(scores.read_text())["sequences"]["late-object"]["objects"]
    assert objects["2"]["start"] == start and objects["2"]["J"]["values"] == [1.0] * (20 - 2 - start)
    assert objects["1"]["start"] == 0 and objects["1"]["J"]["values"] == [0.0] * start + [1.0] * (20 - 2 - start)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "write_mask", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(VosError, match="No space left"):
        toy.write(toy.split("val", 1), tmp_path / "toy")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path, capsys, monkeypatch):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vos-teach", "toy", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr()

    assert run("--out", tmp_path / "a", "--split", "train", "--clips", 2)[0] == 0
    assert len(davis.read(tmp_path / "a", split="train")) == 2
    for words in (["--out", tmp_path / "a"], ["--out", tmp_path / "b", "--split", "tst"],
                  ["--out", tmp_path / "b", "--clips", 13]):
        code, said = run(*words)
        assert code == 2 and said.err.count("\n") == 1 and said.err.startswith("vos-teach: ")
