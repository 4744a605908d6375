"""Short clips for training through time: one camera and one light for all frames of a clip, and a little unrest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from vos_teach.clip import VOID, Clip, VosError
from vos_teach.data.augment import light, to_tensors
from vos_teach.data.sample import Source, draw

TRIES = 1000
Window = tuple[Tensor, Tensor, int]  # frames T,3,H,W, labels T,H,W, and how many objects frame 0 shows


@dataclass(frozen=True)
class Windows:
    """A batch of short clips.

    frames  B,T,3,H,W float in [0,1]
    labels  B,T,H,W int64: 0 background, the objects' slots, 255 void where the clip has it
    counts  B int64: how many objects frame 0 shows; they have the slots 1..count, in an order drawn anew
    """

    frames: Tensor
    labels: Tensor
    counts: Tensor


def windows(sources: Sequence[Source], rng: np.random.Generator, batch: int, size: tuple[int, int], length: int,
            gap: int = 3, late: bool = False, unrest: float = 1.0) -> Windows:
    """`batch` clips of `length` frames from the sources' clips, cut and turned to H,W = size; each shows an object.

    A batch comes from one source; clips smaller than `size` give more of their own size, as in `sample.stills`.
    gap      neighbours are 1..gap of the clip's frames apart, alike within a window, forwards or backwards; a clip
             that is too short for that is played to and fro
    late     objects that frame 0 of the window does not show: background, or, if True, slots after the others'
    unrest   a hand's: 1 moves each frame by about 0.5 %, turns it by 0.5 degrees, zooms by 1 %; light changes by 2 %

    Raises VosError where no window with an annotated object is found.
    """
    if batch < 1 or length < 1 or gap < 1:
        raise VosError(f"batch={batch}, length={length}, gap={gap}: each must be at least 1")
    clips, batch, size = draw(sources, rng, batch, size)
    found = gathered(batch, lambda: _window(clips[int(rng.integers(len(clips)))], rng, size, length, gap, late, unrest))
    if found is None:
        raise VosError(f"no window of {length} frames with an object in {TRIES * batch} tries: give clips whose frames "
                       "are annotated one after the other")
    return found


def gathered(batch: int, one: Callable[[], Window | None]) -> Windows | None:
    """`batch` windows, each drawn by one(), which may find none; None if too many find none."""
    drawn: list[Window] = []
    for _ in range(TRIES * batch):
        if (window := one()) is not None:
            drawn.append(window)
        if len(drawn) == batch:
            frames, labels, counts = zip(*drawn, strict=True)
            return Windows(torch.stack(frames), torch.stack(labels), torch.tensor(counts))
    return None


def moments(rng: np.random.Generator, total: int, length: int, gap: int = 1) -> list[int]:
    """`length` frame numbers of a clip of `total`, 1..gap apart, forwards or backwards, turning back at its ends."""
    gap = int(rng.integers(1, min(gap, max(1, (total - 1) // max(1, length - 1))) + 1))
    span = gap * (length - 1) + 1
    first = int(rng.integers(max(1, total - span + 1)))
    back = max(1, 2 * (total - 1))  # to and fro
    out = [min(t % back, back - t % back) if total > 1 else 0 for t in range(first, first + span, gap)]
    return out[::-1] if rng.random() < 0.5 else out


def _window(clip: Clip, rng: np.random.Generator, size: tuple[int, int], length: int, gap: int, late: bool,
            unrest: float) -> Window | None:
    """One window: frames T,3,H,W, labels T,H,W and the count, or None if its first frame shows nothing."""
    times = moments(rng, len(clip), length, gap)
    given = [clip.masks[t] for t in times]
    masks = [m for m in given if m is not None]
    if len(masks) < len(given):
        return None
    fit = size[0] / clip.size[0]  # the clip's own height fills the crop's
    steady = camera(rng, fit)
    seed = int(rng.integers(2**31))
    frames, labels = [], []
    for t, mask in zip(times, masks, strict=True):
        matrix = in_pixels(_shaken(steady, rng, unrest), clip.size, size)
        frame = light(seen(clip.frames[t], matrix, size, cv2.INTER_LINEAR), np.random.default_rng(seed))
        frames.append(light(frame, rng, 0.02 * unrest))
        labels.append(seen(mask, matrix, size, cv2.INTER_NEAREST))
    return in_slots(frames, labels, clip.ids, rng, late)


def in_slots(frames: Sequence[np.ndarray], labels: Sequence[np.ndarray], ids: Sequence[int], rng: np.random.Generator,
             late: bool = False) -> Window | None:
    """T frames H,W,3 and label maps H,W as a window, its objects in an order drawn anew; None if frame 0 shows none."""
    least = 0.0005 * labels[0].size  # what is smaller is a sliver at the border
    shown = [k for k in ids if (labels[0] == k).sum() >= least]
    if not shown:
        return None
    order = [shown[i] for i in rng.permutation(len(shown))]
    if late:
        rest = [k for k in ids if k not in shown and any((x == k).any() for x in labels)]
        order += [rest[i] for i in rng.permutation(len(rest))]
    table = np.zeros(256, np.uint8)
    table[order], table[VOID] = np.arange(1, len(order) + 1), VOID
    images, targets = zip(*(to_tensors(f, table[x]) for f, x in zip(frames, labels, strict=True)), strict=True)
    return torch.stack(images), torch.stack(targets), len(shown)


def camera(rng: np.random.Generator, fit: float) -> np.ndarray:
    """A 2,3 matrix about the middle: turn, zoom and flip, and a shift as a share of the result's size."""
    angle, zoom, mirror = np.deg2rad(rng.uniform(-10, 10)), fit * rng.uniform(0.8, 1.4), rng.choice([-1, 1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom
    turn[:, 0] *= mirror
    return np.hstack([turn, rng.uniform(-0.1, 0.1, (2, 1))])


def _shaken(steady: np.ndarray, rng: np.random.Generator, unrest: float) -> np.ndarray:
    """The same camera a moment later."""
    angle, zoom = np.deg2rad(rng.normal(0, 0.5)) * unrest, np.exp(rng.normal(0, 0.01) * unrest)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom
    return np.hstack([turn @ steady[:, :2], steady[:, 2:] + rng.normal(0, 0.005, (2, 1)) * unrest])


def in_pixels(placed: np.ndarray, source: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The camera's 2,3 matrix in pixels: the source's middle comes to the result's, moved by the camera's share."""
    (h, w), (height, width) = source, size
    goal = np.array([[(width - 1) / 2], [(height - 1) / 2]]) + placed[:, 2:] * [[width], [height]]
    return np.hstack([placed[:, :2], goal - placed[:, :2] @ np.array([[(w - 1) / 2], [(h - 1) / 2]])])


def seen(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], how: int,
         border: int = cv2.BORDER_REFLECT_101) -> np.ndarray:
    """The image through a camera given in pixels: H,W of `size`; how, border: OpenCV's interpolation and border."""
    return cv2.warpAffine(image, matrix, size[::-1], flags=how, borderMode=border)


def asked(labels: Tensor, counts: Tensor, rng: np.random.Generator, alone: float = 0.4) -> tuple[Tensor, Tensor]:
    """Of some clips with several objects only one is asked for, the others are background: as (labels, counts).

    So it is the mask that tells what to follow, and not how much something stands out.
    """
    labels, counts = labels.clone(), counts.clone()
    for b, n in enumerate(counts.tolist()):
        if n > 1 and rng.random() < alone:
            k = int(rng.integers(n)) + 1
            own, void = labels[b] == k, labels[b] == VOID
            labels[b] = own.long()
            labels[b][void] = VOID
            counts[b] = 1
    return labels, counts


def recoloured(frames: Tensor, rng: np.random.Generator, share: float = 0.35) -> Tensor:
    """Clips B,T,3,H,W in [0,1], a share of them in another hue and saturation, the same for all frames of a clip.

    Thirty videos are few: who knows a bear by its brown need not look at its mask.
    """
    grey = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)  # of the axis of greys
    matrices = []
    for _ in frames:
        angle, strong = rng.uniform(-math.pi, math.pi), rng.uniform(0.5, 1.3)
        turn = grey + strong * (math.cos(angle) * (torch.eye(3) - grey) + math.sin(angle) * cross)
        matrices.append(turn if rng.random() < share else torch.eye(3))
    return torch.einsum("bij,btjhw->btihw", torch.stack(matrices).to(frames), frames).clamp(0, 1)
