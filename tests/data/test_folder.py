"""A folder of one's own, in the ways people lay them out."""

import cv2
import numpy as np
import pytest
from pictures import blocks_mask, jpeg, write_frames

from vos_teach.clip import VosError
from vos_teach.data import folder
from vos_teach.data.png import write_mask


@pytest.mark.parametrize("frames, masks", [("frames", "masks"), ("JPEGImages", "Annotations"), (".", ".")])
def test_frames_and_a_first_mask(tmp_path, frames, masks):
    write_frames(tmp_path / frames, ["0", "1", "2"])
    write_mask(tmp_path / masks / "0.png", blocks_mask([1, 2]))
    clip = folder.read(tmp_path)
    assert (clip.name, len(clip), clip.ids) == (tmp_path.name, 3, (1, 2))
    assert np.array_equal(clip.masks[0], blocks_mask([1, 2])) and clip.masks[1] is None
    write_mask(tmp_path / masks / "2.png", blocks_mask([0, 0, 3]))
    assert folder.read(tmp_path).starts == {1: 0, 2: 0, 3: 2}


def test_black_and_white_masks_without_a_year(tmp_path):
    write_frames(tmp_path / "frames", ["0", "1"])
    write_mask(tmp_path / "masks/0.png", blocks_mask([255]))
    assert folder.read(tmp_path).ids == (1,)
    write_mask(tmp_path / "masks/0.png", blocks_mask([2, 255]))
    assert folder.read(tmp_path).ids == (2,)  # then 255 is void


def test_a_davis_path_finds_its_masks(davis_root):
    clip = folder.read(davis_root / "JPEGImages/480p/a")
    assert clip.name == "a" and clip.ids == (1, 2)
    (davis_root / "ImageSets/2017").rename(davis_root / "ImageSets/2016")
    clip = folder.read(davis_root / "JPEGImages/480p/a")
    assert clip.ids == (1,) and clip.masks[2].max() == 1


def test_read_many(davis_root, shared_data):
    assert [c.name for c in folder.read_many(davis_root)] == ["a", "b"]
    assert [c.name for c in folder.read_many(shared_data / "YouTubeVOS/train")] == ["003234408d"]
    with pytest.raises(VosError, match="neither in DAVIS nor in YouTube-VOS layout"):
        folder.read_many(davis_root / "JPEGImages")


def test_read_many_takes_the_only_list(davis_root):
    (davis_root / "ImageSets/2017/val.txt").rename(davis_root / "ImageSets/2017/train.txt")
    assert [c.name for c in folder.read_many(davis_root)] == ["a", "b"]
    (davis_root / "ImageSets/2017/test-dev.txt").write_text("b\n")
    with pytest.raises(VosError, match=r"val\.txt' is missing"):
        folder.read_many(davis_root)


def test_a_video_file(tmp_path):
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 24))
    for _ in range(4):
        writer.write(np.full((24, 32, 3), (255, 0, 0), np.uint8))  # blue
    writer.release()
    with pytest.raises(VosError, match=r"no first mask: put one beside it as '.*v\.png'"):
        folder.read(path)
    write_mask(path.with_suffix(".png"), blocks_mask([1], (24, 32)))
    clip = folder.read(path)
    assert len(clip) == 4 and clip.ids == (1,) and clip.size == (24, 32)
    assert clip.frames[3][..., 2].min() > 200 > 100 > clip.frames[3][..., 0].max()
    path.write_bytes(b"no video")
    with pytest.raises(VosError, match="cannot be decoded"):
        folder.read(path)


def test_what_is_no_clip_is_said(tmp_path, davis_root):
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, said in (
        (empty, "has no frames"), (tmp_path / "none", "does not exist"), (davis_root, "is a data set: give one"),
        (davis_root / "JPEGImages", "only folders"), (tmp_path, "only folders"),
        (davis_root / "JPEGImages/480p", "only folders"),
    ):
        with pytest.raises(VosError, match=said):
            folder.read(path)
    (empty / "0.jpg").write_bytes(jpeg())
    with pytest.raises(VosError, match="frames but no mask"):
        folder.read(empty)
    write_mask(empty / "0.png", blocks_mask([]))
    with pytest.raises(VosError, match="marks no object"):
        folder.read(empty)
    write_mask(empty / "0.png", blocks_mask([1], (12, 21)))
    with pytest.raises(VosError, match=r"0\.png' is 21x12 but '.*0\.jpg' is 20x12"):
        folder.read(empty)
    (empty / "frames").mkdir()
    with pytest.raises(VosError, match="no masks beside it"):
        folder.read(empty)
