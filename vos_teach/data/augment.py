"""Random changes of a frame together with its mask."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vos_teach.clip import to_tensor
from vos_teach.ops.deform import thin_plate_spline


def affine(frame: np.ndarray, mask: np.ndarray, rng: np.random.Generator, size: tuple[int, int] | None = None,
           degrees: float = 30, scale: tuple[float, float] = (0.75, 1.25), shift: float = 0.0,
           flip: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """One random rotation, zoom, shift and flip, the SAME for frame (H,W,3 uint8) and mask (H,W uint8).

    The frame is resampled bilinearly, the mask by nearest neighbour (ids must not blend); both are mirrored at
    the border. size: (H', W') of the result, cut around the (shifted) centre; shift: fraction of the size.
    Defaults are OSVOS's: +-30 degrees, x0.75 to x1.25, flips.
    """
    h, w = mask.shape
    out = size or (h, w)
    angle, zoom = np.deg2rad(rng.uniform(-degrees, degrees)), rng.uniform(*scale)
    mirror = -1 if flip and rng.random() < 0.5 else 1
    move = rng.uniform(-shift, shift, 2) * (w, h)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom
    turn[:, 0] *= mirror
    centre = np.array([(w - 1) / 2, (h - 1) / 2])
    target = np.array([(out[1] - 1) / 2, (out[0] - 1) / 2]) + move
    matrix = np.hstack([turn, (target - turn @ centre)[:, None]])
    border = cv2.BORDER_REFLECT_101
    return (cv2.warpAffine(frame, matrix, out[::-1], flags=cv2.INTER_LINEAR, borderMode=border),
            cv2.warpAffine(mask, matrix, out[::-1], flags=cv2.INTER_NEAREST, borderMode=border))


def light(frame: np.ndarray, rng: np.random.Generator, strength: float = 0.2) -> np.ndarray:
    """Random gain, offset and gamma per channel group: H,W,3 uint8 -> H,W,3 uint8."""
    x = frame.astype(np.float32) / 255
    gamma = np.exp(rng.uniform(-strength, strength))
    gain = 1 + rng.uniform(-strength, strength) + rng.uniform(-strength / 4, strength / 4, 3)
    x = np.clip(x, 0, 1) ** gamma * gain + rng.uniform(-strength / 4, strength / 4)
    return (np.clip(x, 0, 1) * 255).round().astype(np.uint8)


def corrupt(mask: np.ndarray, rng: np.random.Generator, bend: float = 0.1, scale: float = 0.05, shift: float = 0.1,
            thick: float = 5 / 480) -> np.ndarray:
    """A mask as the frame before might have had it: H,W uint8 of 0 and 1 -> the same (MaskTrack, section 3.2).

    Half of the time a thin-plate spline moves five points of its outline, by up to `bend` of its size in x and y, else
    it is scaled by up to `scale` and shifted by up to `shift` of its size; either way it is then dilated by a disk of
    radius `thick` of the height, so that no outline can be trusted. An empty mask stays empty.
    """
    h, w = mask.shape
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if not len(rows):
        return mask.copy()
    low, high = np.array([columns[0], rows[0]], float), np.array([columns[-1], rows[-1]], float)
    size = high - low + 1
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len)[:, 0].astype(float)  # points in (x, y)
    if rng.random() < 0.5 and len(outline) >= 5:
        points = outline[rng.choice(len(outline), 5, replace=False)]
        moved = points + rng.uniform(-bend, bend, (5, 2)) * size
        y, x = np.mgrid[:h, :w]
        grid = torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1).astype(np.float64))
        try:  # backwards: where does each pixel come from
            source = thin_plate_spline(torch.from_numpy(moved), torch.from_numpy(points), grid).numpy()
        except ValueError:  # the five lie on a line
            source = grid.numpy()
        source = source.reshape(h, w, 2).astype(np.float32)
        out = cv2.remap(mask, source[..., 0], source[..., 1], cv2.INTER_NEAREST, borderValue=0)
    else:
        zoom, centre = 1 + rng.uniform(-scale, scale, 2), (low + high) / 2
        goal = centre + rng.uniform(-shift, shift, 2) * size
        matrix = np.column_stack([np.diag(zoom), goal - zoom * centre])
        out = cv2.warpAffine(mask, matrix, (w, h), flags=cv2.INTER_NEAREST)
    radius = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))


def to_tensors(frame: np.ndarray, mask: np.ndarray) -> tuple[Tensor, Tensor]:
    """H,W,3 uint8 and H,W uint8 -> 3,H,W float in [0,1] and H,W int64."""
    return to_tensor(frame), torch.from_numpy(mask).long()


def to_image(frame: Tensor) -> np.ndarray:
    """The other way round: 3,H,W float in [0,1], on any device -> H,W,3 uint8."""
    return (frame.permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
