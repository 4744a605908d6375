"""Flow fields with what moves in them: what a network that looks at flow alone is trained on."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vos_teach.clip import VOID, Clip
from vos_teach.data.flow import between
from vos_teach.data.windows import camera, in_pixels, seen


def moving(clip: Clip, rng: np.random.Generator, size: tuple[int, int], flow: str = "dis", pan: float = 1.0
           ) -> tuple[Tensor, Tensor] | None:
    """A flow field and what moves in it: 2,H,W in pixels and H,W of 0 and 1, size is H,W; None if nothing is labelled.

    Exact where the clip knows its flow, else estimated. Turned, zoomed and flipped, arrows and all; pan: how strong a
    camera's motion is added (1: up to 4 % of the height, 3 % of zoom, 2 degrees). Of 20 fields one is zeros, with
    nothing in it: where nothing moves, that is to be said.
    """
    t = int(rng.integers(len(clip)))
    to = t + 1 if t == 0 or (t + 1 < len(clip) and rng.random() < 0.5) else t - 1
    labels = clip.masks[t]
    if labels is None or len(clip) < 2:
        return None
    matrix = in_pixels(camera(rng, size[0] / clip.size[0]), clip.size, size)
    if rng.random() < 0.05:
        return torch.zeros(2, *size), torch.zeros(size, dtype=torch.int64)
    field = between(clip, t, to, "exact" if clip.forward_flow is not None else flow)
    edge = cv2.BORDER_REPLICATE  # mirrored, arrows would point the wrong way
    mask = seen(((labels > 0) & (labels != VOID)).astype(np.uint8), matrix, size, cv2.INTER_NEAREST, edge)
    field = seen(field, matrix, size, cv2.INTER_LINEAR, edge) @ matrix[:, :2].T  # H,W,2
    zoom, turn = 0.03 * pan * rng.uniform(-1, 1), np.deg2rad(2 * pan * rng.uniform(-1, 1))
    y, x = np.mgrid[: size[0], : size[1]]
    x, y = x - (size[1] - 1) / 2, y - (size[0] - 1) / 2
    shift = 0.04 * pan * size[0] * rng.uniform(-1, 1, 2)
    if rng.random() < 0.5:
        field = field + np.stack([zoom * x - turn * y, zoom * y + turn * x], -1) + shift
    arrows = torch.from_numpy(np.ascontiguousarray(field.transpose(2, 0, 1), np.float32))
    return (arrows, torch.from_numpy(mask).long()) if mask.any() else None
