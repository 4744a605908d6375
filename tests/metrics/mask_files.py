"""Tiny data sets on disk: colours stand for nothing, ids are all that counts."""

from pathlib import Path

import numpy as np
from PIL import Image


def save(path: Path, mask: np.ndarray, mode: str = "P") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask.astype(np.uint8))
    if mode == "P":
        image.putpalette([v for k in range(256) for v in (k, 255 - k, (k * 7) % 256)])
    image.save(path)


class Davis:
    """A data set in DAVIS's layout and predictions for it, written mask by mask."""

    def __init__(self, root: Path, year: int = 2017, split: str = "val"):
        self.root, self.pred, self.year, self.split = root / "davis", root / "pred", year, split
        (self.root / "ImageSets" / str(year)).mkdir(parents=True)

    def add(self, name, truth, pred=None, resolution="480p", annotations="Annotations", mode="P"):
        """truth, pred: T,H,W ids; pred None: perfect."""
        listing = self.root / "ImageSets" / str(self.year) / f"{self.split}.txt"
        names = listing.read_text().split() if listing.is_file() else []
        if name not in names:
            listing.write_text("\n".join([*names, name]) + "\n")
        for t, mask in enumerate(truth):
            save(self.root / annotations / resolution / name / f"{t:05d}.png", mask, mode)
        for t, mask in enumerate(truth if pred is None else pred):
            save(self.pred / name / f"{t:05d}.png", mask)
        return self


def squares(t=8, size=(40, 60), ids=(1, 2), speed=1):
    """T,H,W ids: a square per id, each moving right."""
    clip = np.zeros((t, *size), np.uint8)
    for f in range(t):
        for n, k in enumerate(ids):
            y, x = 3 + 12 * n, 4 + speed * f
            clip[f, y : y + 9, x : x + 11] = k
    return clip
