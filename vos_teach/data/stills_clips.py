"""Short clips from single frames: one picture and its mask, bent and moved a little more from moment to moment.

STM and STCN learn from such clips before they see a video (STM, section 3.5: one image, three random transforms).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vos_teach.clip import Clip, VosError
from vos_teach.data.augment import light
from vos_teach.data.sample import Source, draw
from vos_teach.data.windows import TRIES, Window, Windows, camera, gathered, in_pixels, in_slots


def stills_clips(sources: Sequence[Source], rng: np.random.Generator, batch: int, size: tuple[int, int], length: int,
                 unrest: float = 1.0) -> Windows:
    """`batch` clips of `length` frames, each from ONE annotated frame; size and smaller clips: as in `windows`.

    From a moment to the next the picture turns by about 6 degrees, zooms by 8 %, moves by 4 % of its size and bends by
    1.5 %, and the light changes by 5 %: unrest times that, one step upon the other, so that the last frame is the
    farthest. Raises VosError where no annotated object is found.
    """
    if batch < 1 or length < 1:
        raise VosError(f"batch={batch}, length={length}: each must be at least 1")
    clips, batch, size = draw(sources, rng, batch, size)
    found = gathered(batch, lambda: _moved(clips[int(rng.integers(len(clips)))], rng, size, length, unrest))
    if found is None:
        raise VosError(f"no annotated object in {TRIES * batch} frames: give clips with masks")
    return found


def _moved(clip: Clip, rng: np.random.Generator, size: tuple[int, int], length: int, unrest: float
           ) -> Window | None:
    """One clip: frames T,3,H,W, labels T,H,W and the count, or None if its first frame shows nothing."""
    t = int(rng.integers(len(clip)))
    mask = clip.masks[t]
    if mask is None:
        return None
    picture, steady = clip.frames[t], camera(rng, size[0] / clip.size[0])
    picture = light(picture, rng)
    placed, bend = steady, np.zeros((4, 6, 2))
    frames, labels = [], []
    for n in range(length):
        if n:
            placed, bend = _next(placed, rng, unrest), bend + rng.normal(0, 0.015 * unrest, bend.shape)
        x, y = _sources(placed, bend, clip.size, size)
        frames.append(light(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), rng,
                            0.05 * unrest))
        labels.append(cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101))
    return in_slots(frames, labels, clip.ids, rng)


def _next(placed: np.ndarray, rng: np.random.Generator, unrest: float) -> np.ndarray:
    """A camera's 2,3 matrix a moment later: turned, zoomed along each axis, sheared, shifted."""
    angle = np.deg2rad(rng.normal(0, 6)) * unrest
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.exp(rng.normal(0, 0.07) * unrest + rng.normal(0, 0.04, 2) * unrest)
    shear = np.array([[1, rng.normal(0, 0.05) * unrest], [0, 1]])
    return np.hstack([turn @ shear @ np.diag(stretch) @ placed[:, :2],
                      placed[:, 2:] + rng.normal(0, 0.04, (2, 1)) * unrest])


def _sources(placed: np.ndarray, bend: np.ndarray, source: tuple[int, int], size: tuple[int, int]
             ) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of the result where it comes from, x and y; bend: shifts of a coarse net, as shares of H."""
    forward = in_pixels(placed, source, size)
    inverse = cv2.invertAffineTransform(forward)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    net = cv2.resize(bend.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC) * size[0]  # H,W,2
    x, y = x + net[..., 0], y + net[..., 1]
    return ((inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]).astype(np.float32),
            (inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]).astype(np.float32))
