"""YouTube-VOS: every 5th frame annotated, late objects, categories, seen and unseen."""

import json

import numpy as np
import pytest
from pictures import blocks_mask, write_frames

from vos_teach.clip import VosError
from vos_teach.data import sequence, youtube
from vos_teach.data.png import write_mask


@pytest.fixture
def root(tmp_path):
    """Video v with all of frames 0..10, masks in 0, 5, 10; object 2 comes in frame 5."""
    write_frames(tmp_path / "JPEGImages/v", [f"{t:05d}" for t in range(11)])
    for t, ids in ((0, [1]), (5, [1, 2]), (10, [0, 2])):
        write_mask(tmp_path / f"Annotations/v/{t:05d}.png", blocks_mask(ids))
    return tmp_path


def meta(root):
    objects = {"1": {"category": "ape", "frames": ["00000", "00005"]},
               "2": {"category": "owl", "frames": ["00005", "00010"]}}
    (root / "meta.json").write_text(json.dumps({"videos": {"v": {"objects": objects}}}))


@pytest.mark.parametrize("with_meta", [False, True])
def test_all_frames_and_late_objects(root, with_meta, monkeypatch):
    if with_meta:
        meta(root)
        monkeypatch.setattr(sequence, "read_mask", None)  # nothing is decoded beforehand
    (clip,) = youtube.read(root)
    monkeypatch.undo()
    assert len(clip) == 11 and clip.ids == (1, 2) and clip.starts == {1: 0, 2: 5}
    assert [t for t in range(11) if clip.masks[t] is not None] == [0, 5, 10]
    assert clip.categories == ({1: "ape", 2: "owl"} if with_meta else {})
    assert clip.cut(0, 5).ids == (1,) and clip.cut(3).starts == {1: 0, 2: 2}


def test_only_every_5th_frame(root):
    for t in range(11):
        if t % 5:
            (root / f"JPEGImages/v/{t:05d}.jpg").unlink()
    (clip,) = youtube.read(root)
    assert clip.frame_names == ("00000", "00005", "00010") and clip.starts == {1: 0, 2: 1}
    assert all(m is not None for m in clip.masks)


def test_seen_and_unseen(root):
    with pytest.raises(VosError, match=r"meta\.json' is missing"):
        youtube.train_categories(root)
    with pytest.raises(VosError, match="object 1 of clip 'v' has no category"):
        youtube.seen_unseen(youtube.read(root), ["ape"])
    meta(root)
    assert youtube.train_categories(root) == {"ape", "owl"}
    assert youtube.seen_unseen(youtube.read(root), ["ape"]) == ([("v", 1)], [("v", 2)])


def test_bad_input(root):
    with pytest.raises(VosError, match="video 'w' is not in"):
        youtube.read(root, ["w"])
    with pytest.raises(VosError, match="is not a YouTube-VOS folder"):
        youtube.read(root / "JPEGImages")
    (root / "JPEGImages/v/00005.jpg").unlink()
    with pytest.raises(VosError, match=r"has mask '.*00005\.png' but no such frame"):
        youtube.read(root)
    (root / "meta.json").write_text("{}")
    with pytest.raises(VosError, match=r"is not YouTube-VOS's meta\.json"):
        youtube.read(root)


def test_the_real_clip(shared_data):
    (clip,) = youtube.read(shared_data / "YouTubeVOS/train")
    assert len(clip) == 15 and clip.ids == (1, 2, 3, 4, 5) and clip.size == (180, 320)
    assert clip.frame_names[:2] == ("00000", "00005") and set(np.unique(clip.masks[3])) <= set(range(6))
