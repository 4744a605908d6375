"""What toy clips are made of: crops of real pictures, and shapes with soft edges.

The pictures come inside scikit-image's wheel (public domain, CC0, or given without restrictions), so nothing is
downloaded. A category is a shape times a picture; some shapes and some pictures never occur in training.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from vos_teach.clip import VosError

PICTURES = {  # name -> file in skimage/data
    "astronaut": "astronaut.png", "brick": "brick.png", "cat": "chelsea.png", "coffee": "coffee.png",
    "grass": "grass.png", "gravel": "gravel.png", "hubble": "hubble_deep_field.jpg", "tissue": "ihc.png",
    "moon": "moon.png", "rocket": "rocket.jpg", "coins": "coins.png", "retina": "retina.jpg",
}
SHAPES = ("disc", "square", "triangle", "star", "heart", "crescent", "cross", "flower")
HELD_PICTURES, HELD_SHAPES = ("tissue", "coins"), ("heart", "cross")

_ALL = [(f"{s} {p}", s in HELD_SHAPES or p in HELD_PICTURES) for s in SHAPES for p in PICTURES]
SEEN = tuple(name for name, held in _ALL if not held)      # "star grass" and so on: in both splits
UNSEEN = tuple(name for name, held in _ALL if held)        # in validation only

RADIUS, PATCH = 28, 84     # a shape's radius and its patch's side, in canonical pixels


@cache
def picture(name: str) -> np.ndarray:
    """H,W,3 float32 RGB in 0..255, shorter side at most 512. Raises VosError if the wheel lacks it."""
    import skimage

    path = Path(skimage.__file__).parent / "data" / PICTURES[name]
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        raise VosError(f"{path} is missing or damaged: reinstall scikit-image")
    shrink = 512 / min(image.shape[:2])
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., ::-1]).astype(np.float32)


def crop(rng: np.random.Generator, name: str, size: tuple[int, int], share: tuple[float, float]
         ) -> np.ndarray:
    """A random crop of a picture, `share` of the largest possible one's side, flipped, tinted: H,W,3 in 0..255.

    Of five crops the most textured one is taken: a black piece of sky would make no object.
    """
    image = picture(name)
    h, w = image.shape[:2]
    best, most = None, -1.0
    for _ in range(5):
        k = min(h / size[0], w / size[1]) * rng.uniform(*share)
        ch, cw = max(8, int(size[0] * k)), max(8, int(size[1] * k))
        y, x = rng.integers(h - ch + 1), rng.integers(w - cw + 1)
        piece = image[y : y + ch, x : x + cw]
        spread = float(piece[::4, ::4].std())
        if spread > most:
            best, most = piece, spread
        if most > 35:
            break
    if rng.random() < 0.5:
        best = best[:, ::-1]
    shrink = best.shape[0] > size[0]
    out = cv2.resize(best, size[::-1], interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    out = (out - out.mean()) * rng.uniform(0.85, 1.2) + np.clip(out.mean() * rng.uniform(0.9, 1.1), 55, 190)
    return np.clip(out * rng.uniform(0.8, 1.2, 3).astype(np.float32), 0, 255).astype(np.float32)


@cache
def alpha(shape: str) -> np.ndarray:
    """The shape's coverage, PATCH,PATCH float32 in [0, 1], centred, the edge about 1.5 pixels soft."""
    n = 4 * PATCH                                                     # drawn four times as fine, then averaged
    y, x = (np.mgrid[:n, :n] - (n - 1) / 2) / (4 * RADIUS)
    r, a = np.hypot(x, y), np.arctan2(-y, x)
    if shape == "disc":
        inside = r < 0.9
    elif shape == "square":
        inside = np.abs(x) ** 6 + np.abs(y) ** 6 < 0.8**6
    elif shape == "triangle":
        inside = np.maximum(y, np.sin(np.pi / 3) * np.abs(x) - 0.5 * y) < 0.52
    elif shape == "star":
        inside = r < 0.78 + 0.26 * np.cos(5 * (a - np.pi / 2))
    elif shape == "heart":
        inside = (x * 1.25) ** 2 + (-y * 1.2 - np.sqrt(np.abs(x * 1.25)) * 0.75 + 0.22) ** 2 < 0.85
    elif shape == "crescent":
        inside = (r < 1.0) & (np.hypot(x - 0.55, y) > 0.72)
    elif shape == "cross":
        inside = (np.minimum(np.abs(x), np.abs(y)) < 0.34) & (np.maximum(np.abs(x), np.abs(y)) < 0.95)
    elif shape == "flower":
        inside = r < 0.82 + 0.17 * np.cos(4 * a)
    else:
        raise VosError(f"unknown shape '{shape}': choose one of {', '.join(SHAPES)}")
    cover = cv2.resize(inside.astype(np.float32), (PATCH, PATCH), interpolation=cv2.INTER_AREA)
    cover[[0, -1]] = cover[:, [0, -1]] = 0
    return cv2.GaussianBlur(cover, (0, 0), 0.7)


def cutout(rng: np.random.Generator, category: str) -> np.ndarray:
    """A new instance of a category: PATCH,PATCH,4 float32, colours (0..255) times alpha, alpha (0..1)."""
    shape, name = category.split(" ")
    texture = cv2.GaussianBlur(crop(rng, name, (PATCH, PATCH), (0.3, 0.7)), (0, 0), 0.8)
    cover = alpha(shape)[..., None]
    return np.ascontiguousarray(np.concatenate([texture * cover, cover], -1))
