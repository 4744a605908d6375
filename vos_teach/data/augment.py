"""Random changes of a frame together with its mask."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


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


def to_tensors(frame: np.ndarray, mask: np.ndarray) -> tuple[Tensor, Tensor]:
    """H,W,3 uint8 and H,W uint8 -> 3,H,W float in [0,1] and H,W int64."""
    image = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).float() / 255
    return image, torch.from_numpy(mask).long()
