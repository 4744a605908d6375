"""DAVIS in all its layouts, on small copies made here and on the real sequences."""

import json
import shutil

import numpy as np
import pytest
from pictures import blocks_mask, jpeg, write_frames
from PIL import Image

from vos_teach.clip import VosError
from vos_teach.data import sequence
from vos_teach.data.davis import read
from vos_teach.data.png import write_mask


def test_2017(davis_root):
    a, b = read(davis_root, sequences=["a", "b"])
    assert (a.name, len(a), a.ids, a.size, a.starts) == ("a", 3, (1, 2), (12, 20), {1: 0, 2: 0})
    assert a.frame_names == ("00000", "00001", "00002")
    assert np.array_equal(a.masks[1], blocks_mask([1, 2])) and b.ids == (1,)
    assert set(np.unique(b.masks[1])) == {0, 1, 255}  # void stays void
    picture = np.array(Image.open(davis_root / "JPEGImages/480p/a/00002.jpg"))
    assert np.array_equal(a.frames[2], picture)


def test_2016_anything_above_zero_is_object_1(davis_root):
    (davis_root / "ImageSets/2017").rename(davis_root / "ImageSets/2016")
    write_mask(davis_root / "Annotations/480p/b/00000.png", np.zeros((12, 20), np.uint8))  # as in bmx-bumps
    a, b = read(davis_root, sequences="present")
    assert a.ids == b.ids == (1,)
    assert np.array_equal(a.masks[0], blocks_mask([1, 1]))
    assert np.array_equal(b.masks[1], blocks_mask([1, 1])) and not b.masks[0].any()


def test_the_first_release_lists_paths(davis_root):
    shutil.rmtree(davis_root / "ImageSets")
    (davis_root / "ImageSets/480p").mkdir(parents=True)
    lines = [f"/JPEGImages/480p/a/{t:05d}.jpg /Annotations/480p/a/{t:05d}.png " for t in range(3)]
    (davis_root / "ImageSets/480p/val.txt").write_text("\n".join(lines))
    (clip,) = read(davis_root)
    assert clip.name == "a" and clip.ids == (1,)


def test_other_years_do_not_count(davis_root):
    shutil.copytree(davis_root / "ImageSets/2017", davis_root / "ImageSets/2019")
    assert [c.ids for c in read(davis_root, sequences="present")] == [(1, 2), (1,)]


def test_only_what_is_asked_for_is_decoded(davis_root, monkeypatch):
    frames, masks = [], []
    real_frame, real_mask = sequence.read_frame, sequence.read_mask
    monkeypatch.setattr(sequence, "read_frame", lambda p: frames.append(p.name) or real_frame(p))
    monkeypatch.setattr(sequence, "read_mask", lambda p: masks.append(p.name) or real_mask(p))
    (clip,) = read(davis_root, sequences=["a"])
    assert (frames, masks) == ([], ["00000.png"])  # the first mask, for the ids
    small = clip.cut(1).resize(6)
    assert (frames, masks) == ([], ["00000.png"])
    assert small.frames[0].shape == (6, 10, 3) and frames == ["00001.jpg"]
    read(davis_root, 2017, sequences=["b"])
    assert len(masks) == 2
    (davis_root / "ImageSets/2017").rename(davis_root / "ImageSets/2016")
    read(davis_root, sequences=["b"])
    assert len(masks) == 2 and len(frames) == 1


def test_resolutions(davis_root):
    write_frames(davis_root / "JPEGImages/240p/c", ["00000"], (6, 10))
    write_mask(davis_root / "Annotations/240p/c/00000.png", blocks_mask([1], (6, 10)))
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(davis_root / kind / "480p/a", davis_root / kind / "1080p/a")
        shutil.copytree(davis_root / kind / "240p/c", davis_root / kind / "240p/a")
    assert [c.size for c in read(davis_root)] == [(12, 20), (12, 20), (6, 10)]
    assert [c.name for c in read(davis_root, resolution="1080p", sequences="present")] == ["a"]
    with pytest.raises(VosError, match=r"sequence 'b' of the val split is not in '.*1080p'"):
        read(davis_root, resolution="1080p")


def test_unsupervised_objects_may_come_late(davis_root):
    for t, ids in enumerate([[1], [1], [1, 2]]):
        write_mask(davis_root / f"Annotations_unsupervised/480p/a/{t:05d}.png", blocks_mask(ids))
    (clip,) = read(davis_root, sequences=["a"], unsupervised=True)
    assert clip.ids == (1, 2) and clip.starts == {1: 0, 2: 2}


def test_late_objects_need_meta_json(davis_root):
    write_mask(davis_root / "Annotations/480p/a/00002.png", blocks_mask([1, 2, 3]))
    (clip,) = read(davis_root, sequences=["a"])
    with pytest.raises(VosError, match=r"00002\.png' has object 3, which is not in the first mask"):
        clip.masks[2]
    objects = {"1": {"category": "dog"}, "2": {}, "3": {"frames": ["00002"], "category": "cat"}}
    (davis_root / "meta.json").write_text(json.dumps({"videos": {"a": {"objects": objects}}}))
    (clip,) = read(davis_root, sequences=["a"])
    assert clip.starts == {1: 0, 2: 0, 3: 2} and clip.categories == {1: "dog", 3: "cat"}
    assert set(np.unique(clip.masks[2])) == {0, 1, 2, 3}


def test_test_splits_have_the_first_mask_only(davis_root):
    (davis_root / "ImageSets/2017/test-dev.txt").write_text("a\n")
    for t in (1, 2):
        (davis_root / f"Annotations/480p/a/0000{t}.png").unlink()
    (clip,) = read(davis_root, split="test-dev")
    assert clip.masks[0] is not None and clip.masks[1] is clip.masks[2] is None
    with pytest.raises(VosError, match=r"frame '00001' but no mask '.*00001.png'"):
        read(davis_root, sequences=["a"])


def damage(root, what):
    frames, masks = root / "JPEGImages/480p/a", root / "Annotations/480p/a"
    if what == "mask":
        (masks / "00001.png").unlink()
    elif what == "frame":
        (frames / "00001.jpg").unlink()
    elif what == "frames":
        shutil.rmtree(frames)
        frames.mkdir()
    elif what == "masks":
        shutil.rmtree(masks)
    elif what == "size":
        write_mask(masks / "00001.png", blocks_mask([1], (12, 21)))
    elif what == "frame size":
        (frames / "00001.jpg").write_bytes(jpeg((12, 22)))
    elif what == "rgb":
        Image.new("RGB", (20, 12)).save(masks / "00001.png")
    elif what == "png":
        (masks / "00001.png").write_bytes((masks / "00001.png").read_bytes()[:-20])
    elif what == "jpeg":
        (frames / "00001.jpg").write_bytes((frames / "00001.jpg").read_bytes()[:-20])
    elif what == "all":
        shutil.rmtree(root / "JPEGImages")
    elif what == "list":
        (root / "ImageSets/2017/val.txt").write_text("\n\n")
    elif what == "lists":
        shutil.rmtree(root / "ImageSets")
    elif what == "years":
        shutil.copytree(root / "ImageSets/2017", root / "ImageSets/2016")


@pytest.mark.parametrize("what, said", [
    ("mask", r"sequence 'a' has frame '00001' but no mask '.*a/00001\.png'"),
    ("frame", r"sequence 'a' has mask '.*00001\.png' but no such frame"),
    ("frames", r"480p/a' is empty"), ("masks", r"Annotations/480p/a' is missing"),
    ("size", r"00001\.png' is 21x12 but '.*00000\.jpg' is 20x12"),
    ("frame size", r"00001\.jpg' is 22x12 but '.*00000\.jpg' is 20x12"),
    ("rgb", r"00001\.png' is 8-bit RGB"), ("png", r"00001\.png' is truncated"), ("jpeg", r"00001\.jpg' is trunc"),
    ("all", "is not a DAVIS folder"), ("list", r"val\.txt' is empty"), ("lists", "has no ImageSets"),
    ("years", "lists for 2016 and 2017: say which"),
])
def test_bad_input_is_said_in_one_sentence(davis_root, what, said):
    damage(davis_root, what)
    with pytest.raises(VosError, match=said) as error:
        for frame, _ in read(davis_root, sequences=["a"])[0]:
            assert frame.any()
    assert "\n" not in str(error.value)


def test_sequences_that_are_not_there(davis_root):
    with pytest.raises(VosError, match=r"sequence 'zebra' is not in '.*val\.txt'"):
        read(davis_root, sequences=["zebra"])
    with pytest.raises(VosError, match="sequence 'c' of the val split is not in"):
        read(davis_root)
    with pytest.raises(VosError, match=r"train\.txt' is missing"):
        read(davis_root, split="train")
    assert [c.name for c in read(davis_root, sequences="present")] == ["a", "b"]


def test_the_real_sequences(shared_data):
    train = read(shared_data / "DAVIS", split="train")
    val = read(shared_data / "DAVIS", sequences="present")
    assert len(train) == 30 and len(val) == 12
    assert {c.size for c in train} == {(240, 427)} and {c.size for c in val} == {(480, 854)}
    bumps = next(c for c in train if c.name == "bmx-bumps")
    assert bumps.ids == (1,) and sum(not m.any() for m in bumps.masks) == 14
    assert set(np.unique(val[0].masks[0])) == {0, 1}
