"""Frames and masks on disk: palette PNGs as DAVIS has them, JPEG or PNG frames; no file is ever half-written."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from vos_teach.errors import VosError  # not from vos_teach.clip: evaluate's processes never load torch


def davis_palette() -> np.ndarray:
    """256,3 uint8: the colour of every id, Pascal VOC's rule: bits 0, 1, 2 of it are R, G, B's top bits."""
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for level in range(8):
        for channel in range(3):
            palette[:, channel] |= ((ids >> (3 * level + channel) & 1) << (7 - level)).astype(np.uint8)
    return palette


PALETTE = davis_palette()
PNG = b"\x89PNG\r\n\x1a\n"
KINDS = {0: "grey", 2: "RGB", 4: "grey with alpha", 6: "RGBA"}  # PNG's colour types without a palette


def read_mask(path: str | Path) -> np.ndarray:
    """A mask -> H,W uint8 ids: palette indices, or the values of an 8-bit or 1-bit grey PNG.

    Nearly all writers store a mask's rows unfiltered or as differences along the row: such a file is inflated
    straight into an array, which is fast. Pillow reads the rest. Raises VosError for colour, other depths of grey,
    truncated, damaged (every checksum is verified) or missing files.
    """
    data = _bytes(path, "mask")
    if not data.startswith(PNG):
        raise VosError(f"mask '{path}' is not a PNG file: masks are palette or 8-bit grey PNGs")
    try:
        (width, height, depth, colour, _, _, interlace), packed = check_png(data)
        if colour in KINDS and not (colour == 0 and depth in (1, 8)):
            raise VosError(
                f"mask '{path}' is {depth}-bit {KINDS[colour]}, so it holds no object ids: "
                "save it as a palette or 8-bit grey PNG"
            )
        raw = zlib.decompress(packed, bufsize=min(height * (width + 1) + 1, 1 << 26))
        if depth == 8 and not interlace:
            if len(raw) != height * (width + 1):
                raise ValueError(f"{len(raw)} bytes of pixels, not {height} x {width + 1}")
            rows = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
            filters, mask = rows[:, 0], rows[:, 1:]
            if not filters.any():
                return mask.copy()
            if filters.min() == filters.max() == 1:  # each value is the difference to the one before in its row
                x, y, w, h = cv2.boundingRect(mask)
                out = np.zeros(mask.shape, np.uint8)
                if w:
                    out[y : y + h, x : x + w] = np.add.accumulate(mask[y : y + h, x : x + w], 1, np.uint8)
                    out[y : y + h, x + w :] = out[y : y + h, x + w - 1, None]
                return out
    except (ValueError, zlib.error) as error:
        raise VosError(f"mask '{path}' is truncated or damaged ({error}): fetch or save it again") from None
    return np.array(_decode(path, data, "mask"), np.uint8)


def read_frame(path: str | Path) -> np.ndarray:
    """A frame -> H,W,3 uint8 RGB. Raises VosError if it is missing, truncated or no 8-bit picture."""
    picture = _decode(path, _bytes(path, "frame"), "frame")
    if picture.mode.startswith(("I", "F")):
        raise VosError(f"frame '{path}' has more than 8 bits a channel: save it as an 8-bit JPEG or PNG")
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def read_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of a picture from its header alone, without decoding it."""
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except FileNotFoundError:
        raise VosError(f"'{path}' is missing") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise VosError(f"'{path}' cannot be read as a picture ({error}): fetch or save it again") from None


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """H,W ids (any integer or bool type, 0..255) -> palette PNG, whole or not at all."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "biu" or (mask.size and (mask.min() < 0 or mask.max() > 255)):
        raise VosError(f"mask for '{path}' must be H,W integers from 0 to 255, not {mask.dtype} {mask.shape}")
    picture = Image.fromarray(mask.astype(np.uint8), "L")
    picture.putpalette(PALETTE.tobytes())  # turns "L" into "P" without touching the values
    out = io.BytesIO()
    picture.save(out, "PNG")
    write_bytes(path, out.getvalue())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all: under a temporary name beside it, then renamed. Makes the folder.

    Raises VosError where the folder cannot be written or the disk is full.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        why = error.strerror or error
        raise VosError(f"'{path}' cannot be written ({why}): choose another folder or free some space") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    value = os.umask(0o022)
    os.umask(value)
    return value


def _bytes(path: str | Path, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise VosError(f"{what} '{path}' is missing") from None
    except OSError as error:
        raise VosError(f"{what} '{path}' cannot be read ({error.strerror or error})") from None


def _decode(path: str | Path, data: bytes, what: str) -> Image.Image:
    try:
        if data.startswith(PNG):
            check_png(data)
        picture = Image.open(io.BytesIO(data))
        picture.load()  # without LOAD_TRUNCATED_IMAGES, Pillow refuses a JPEG that ends early
        return picture
    except UnidentifiedImageError:
        raise VosError(f"{what} '{path}' is no picture, or cut short: fetch or save it again") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VosError(f"{what} '{path}' is truncated or damaged ({error}): fetch or save it again") from None


def check_png(data: bytes) -> tuple[tuple[int, ...], bytes]:
    """A PNG's header (width, height, depth, colour, ...) and its packed pixels. ValueError unless every chunk is
    whole and has its CRC, most of which Pillow skips.
    """
    at, kind, header, packed = len(PNG), b"", (), []
    while kind != b"IEND":
        size = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 8 + size
        if end + 4 > len(data):
            raise ValueError("the file ends early")
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError("a checksum is wrong")
        if kind == b"IHDR" and size == 13:
            header = struct.unpack(">IIBBBBB", data[at + 8 : end])
        elif kind == b"IDAT":
            packed.append(data[at + 8 : end])
        at = end + 4
    if not header:
        raise ValueError("there is no header")
    return header, b"".join(packed)
