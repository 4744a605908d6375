"""Small frames and masks that tests write."""

import io

import numpy as np
from PIL import Image


def jpeg(size=(12, 20), seed=0):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()


def write_frames(folder, stems, size=(12, 20)):
    folder.mkdir(parents=True, exist_ok=True)
    for k, stem in enumerate(stems):
        (folder / f"{stem}.jpg").write_bytes(jpeg(size, k))


def blocks_mask(ids, size=(12, 20)):
    """Ids side by side, 3 columns each, background on the right."""
    mask = np.zeros(size, np.uint8)
    for n, k in enumerate(ids):
        mask[2:8, 3 * n : 3 * n + 3] = k
    return mask
