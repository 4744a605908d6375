"""Index masks on disk: one strict PNG reader, and where a dataset keeps its ground truth."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from vos_teach.errors import VosError as bad  # not from vos_teach.clip: worker processes never load torch

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KINDS = {2: "RGB", 4: "grey with transparency", 6: "RGBA"}


def read_mask(path: Path) -> np.ndarray:
    """The ids in a palette or grey PNG, H,W uint8. VosError if it is damaged, truncated or in colour.

    Nearly all writers store a mask's rows unfiltered or as differences along the row: such a file is inflated
    straight into an array, every checksum verified. Pillow reads the rest.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise bad(f"mask '{path}' is missing") from None
    (width, height, depth, colour, _, _, interlace), packed = _chunks(data, path)
    if colour in KINDS or depth == 16:
        raise bad(f"mask '{path}' is {KINDS.get(colour, '16-bit')}; "
                  "masks are 8-bit palette or grey PNGs whose values are object ids")
    try:
        raw = zlib.decompress(packed, bufsize=min(height * (width + 1) + 1, 1 << 26))
    except zlib.error:
        raise bad(f"mask '{path}' is truncated or damaged; write it again") from None
    if depth == 8 and not interlace:
        if len(raw) != height * (width + 1):
            raise bad(f"mask '{path}' has {len(raw)} bytes of pixels, not {height} x {width + 1}; write it again")
        rows = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
        filters, mask = rows[:, 0], rows[:, 1:]
        if not filters.any():
            return mask
        if filters.min() == filters.max() == 1:  # each value is the difference to the one before in its row
            x, y, w, h = cv2.boundingRect(mask)
            out = np.zeros(mask.shape, np.uint8)
            if w:
                out[y : y + h, x : x + w] = np.add.accumulate(mask[y : y + h, x : x + w], 1, np.uint8)
                out[y : y + h, x + w :] = out[y : y + h, x + w - 1, None]
            return out
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image).astype(np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise bad(f"mask '{path}' cannot be decoded ({error}); write it again") from None


def mask_size(path: Path) -> tuple[int, int]:
    """(H, W) of a PNG, from its header alone."""
    with open(path, "rb") as file:
        head = file.read(24)
    if len(head) < 24 or not head.startswith(SIGNATURE):
        raise bad(f"mask '{path}' is not a PNG")
    width, height = struct.unpack(">II", head[16:24])
    return height, width


def _chunks(data: bytes, path: Path) -> tuple[tuple[int, ...], bytes]:
    """A PNG's header and its compressed pixels, all checksums verified."""
    if not data.startswith(SIGNATURE):
        raise bad(f"mask '{path}' is not a PNG")
    at, header, packed = 8, (), []
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 8 + length
        if end + 4 > len(data):
            break
        body = data[at + 8 : end]
        if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack(">I", data[end : end + 4])[0]:
            raise bad(f"mask '{path}' is damaged (a checksum is wrong); write it again")
        if kind == b"IHDR" and length == 13:
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed.append(body)
        elif kind == b"IEND" and header:
            return header, b"".join(packed)
        at = end + 4
    raise bad(f"mask '{path}' is truncated; write it again")
