"""Masks and frames on disk: known colours, round trips, and every kind of bad file."""

import os
import resource
import signal
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import jpeg
from PIL import Image

from vos_teach.clip import VosError
from vos_teach.data import png


def test_palette_has_the_colours_of_pascal_voc():
    known = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    assert png.PALETTE[:7].tolist() == [list(c) for c in known]
    assert png.PALETTE[[8, 20, 255]].tolist() == [[64, 0, 0], [0, 64, 128], [224, 224, 192]]
    assert png.PALETTE.shape == (256, 3) and len({tuple(c) for c in png.PALETTE.tolist()}) == 256


def test_palette_equals_that_of_the_published_results(shared_data):
    theirs = Image.open(shared_data / "osvos_results/dog/00000.png").getpalette()
    assert theirs[: 3 * 22] == png.PALETTE[:22].ravel().tolist()


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 255)))
def test_masks_survive_writing(tmp_path_factory, mask):
    path = tmp_path_factory.getbasetemp() / "mask.png"
    png.write_mask(path, mask)
    assert np.array_equal(png.read_mask(path), mask)
    assert Image.open(path).mode == "P"
    assert np.array_equal(np.array(Image.open(path).convert("RGB")), png.PALETTE[mask])


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_modes_that_hold_ids(tmp_path, mode):
    mask = np.random.default_rng(0).integers(0, 2, (7, 11), np.uint8)
    picture = Image.fromarray(mask)
    picture = picture.point(lambda v: 255 * v).convert("1") if mode == "1" else picture
    if mode == "P":
        picture.putpalette([0, 0, 0, 9, 9, 9])  # Pillow packs two colours into 1 bit a pixel
    picture.save(tmp_path / "m.png")
    assert np.array_equal(png.read_mask(tmp_path / "m.png"), mask)


@pytest.mark.parametrize(
    "mode, said", [("RGB", "8-bit RGB"), ("RGBA", "RGBA"), ("LA", "alpha"), ("I;16", "16-bit grey")]
)
def test_modes_that_hold_none(tmp_path, mode, said):
    Image.new(mode, (5, 4)).save(tmp_path / "m.png")
    with pytest.raises(VosError, match=f"m.png' is .*{said}.*save it as a palette"):
        png.read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("depth", [2, 4])
def test_grey_of_few_bits_is_refused(tmp_path, depth):
    """Pillow would stretch its values to 0..255, and so change the ids."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8 // depth, 1, depth, 0, 0, 0, 0)
    (tmp_path / "m.png").write_bytes(png.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x1b"))
                                     + chunk(b"IEND", b""))
    assert np.array(Image.open(tmp_path / "m.png")).max() > 15
    with pytest.raises(VosError, match=rf"m\.png' is {depth}-bit grey"):
        png.read_mask(tmp_path / "m.png")


def test_a_mask_may_be_written_to(tmp_path):
    for name, mask in (("plain", np.arange(6).reshape(2, 3)), ("empty", np.zeros((2, 3), int))):
        png.write_mask(tmp_path / name, mask)
        png.read_mask(tmp_path / name)[:] = 1


def test_a_mask_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "m.png"
    png.write_mask(path, np.arange(200, dtype=np.uint8).reshape(10, 20))
    data = path.read_bytes()
    for size in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(VosError, match=r"m\.png' is"):
            png.read_mask(path)


def test_a_mask_with_any_bit_wrong_is_refused(tmp_path):
    path = tmp_path / "m.png"
    png.write_mask(path, np.arange(200, dtype=np.uint8).reshape(10, 20))
    data = path.read_bytes()
    for at in range(0, len(data), 5):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(VosError, match=r"m\.png' is"):
            png.read_mask(path)


def test_a_jpeg_as_mask_is_refused(tmp_path):
    (tmp_path / "m.png").write_bytes(jpeg())
    with pytest.raises(VosError, match="not a PNG"):
        png.read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("keep", [0, 10, 300, 0.5, -2])
def test_a_truncated_jpeg_is_refused_not_padded(tmp_path, keep):
    data = jpeg((60, 80))
    (tmp_path / "f.jpg").write_bytes(data[: int(keep * len(data)) if keep == 0.5 else keep])
    with pytest.raises(VosError, match=r"frame '.*f\.jpg' is"):
        png.read_frame(tmp_path / "f.jpg")


def test_frames(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "f.png")
    assert np.array_equal(png.read_frame(tmp_path / "f.png"), picture)
    assert png.read_size(tmp_path / "f.png") == (6, 8)
    Image.fromarray(picture[..., 0]).save(tmp_path / "g.png")
    assert np.array_equal(png.read_frame(tmp_path / "g.png"), np.repeat(picture[..., :1], 3, 2))
    Image.new("I;16", (5, 4)).save(tmp_path / "h.png")
    with pytest.raises(VosError, match="more than 8 bits"):
        png.read_frame(tmp_path / "h.png")
    for read in (png.read_frame, png.read_mask, png.read_size):
        with pytest.raises(VosError, match=r"none\.png' is missing"):
            read(tmp_path / "none.png")
    bomb = png.PNG + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 1 << 20, 1 << 20, 8, 2, 0, 0, 0)
    (tmp_path / "b.png").write_bytes(bomb)
    with pytest.raises(VosError, match=r"b\.png"):
        png.read_frame(tmp_path / "b.png")


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2, 3), int), np.zeros((2, 2)), np.full((2, 2), 256), np.full((2, 2), -1)]
)
def test_what_is_no_mask_is_not_written(tmp_path, mask):
    with pytest.raises(VosError, match="H,W integers from 0 to 255"):
        png.write_mask(tmp_path / "m.png", mask)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VosError, match=r"file/m\.png' cannot be written"):
        png.write_mask(tmp_path / "file" / "m.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(VosError, match="cannot be written"):
        png.write_mask("/proc/vos/m.png", np.zeros((2, 2), np.uint8))


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "m.png"
    png.write_mask(path, np.ones((2, 2), np.uint8))
    big = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    limits, ignore = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(VosError, match=r"m\.png' cannot be written .*free some space"):
            png.write_mask(path, big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignore)
    assert os.listdir(tmp_path) == ["m.png"] and png.read_mask(path).all()
