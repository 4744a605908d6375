"""Lab 1: how OSMN's Gaussian and its modulation are judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, equals
from vos_teach.lab.exercises.lab1_common import blob

# ---- mask_gaussian --------------------------------------------------------------------------------------------


def gaussian_oracle(mask: Tensor) -> np.ndarray:
    """Sort the object's coordinates by hand: middle, and 1.4826 times the middle of the distances to it."""
    on = mask.numpy().astype(bool)
    h, w = on.shape
    out = np.zeros((h, w))
    if not on.any():
        return out
    pixels = [(r, c) for r in range(h) for c in range(w) if on[r, c]]
    (my, sy), (mx, sx) = (_middle([p[axis] for p in pixels], floor=5 / 480 * h) for axis in (0, 1))
    for r in range(h):
        for c in range(w):
            out[r, c] = math.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))
    return out


def _middle(values: Sequence[float], floor: float) -> tuple[float, float]:
    def median(v: Sequence[float]) -> float:
        v, n = sorted(v), len(v)
        return (v[(n - 1) // 2] + v[n // 2]) / 2

    m = median(values)
    return m, max(1.4826 * median([abs(v - m) for v in values]), floor)


def _gauss(centre=np.median, spread="mad", factor=1.4826, floor: float | str = "h", swap=False, two=2.0,
           total=False, square=2, joint=False) -> Callable[..., np.ndarray]:
    """A Gaussian with one thing wrong."""

    def wrong(mask):
        on = mask.numpy().astype(bool)
        h, w = on.shape
        y, x = np.nonzero(on)
        if len(y) == 0:
            return np.zeros((h, w))
        least = {"h": 5 / 480 * h, "w": 5 / 480 * w, "px": 5.0, "none": 0.0}[floor]

        def of(v):
            m = centre(v)
            s = v.std() if spread == "std" else factor * np.median(np.abs(v - m))
            return m, s

        (my, sy), (mx, sx) = of(y), of(x)
        if joint:
            sy = sx = max(sy, sx)
        sy, sx = max(sy, least), max(sx, least)
        if swap:
            my, sy, mx, sx = mx, sx, my, sy
        r, c = np.mgrid[:h, :w]
        g = np.exp(-(np.abs(r - my) ** 2) / (two * sy**square) - np.abs(c - mx) ** 2 / (two * sx**square))
        return g / g.sum() if total else g

    return wrong


def lopsided(rng: np.random.Generator, h: int, w: int, radius: float, stray: int = 0) -> Call:
    """A blob, with a patch of `stray` x `stray` pixels far away that does not belong to it."""
    mask = blob(rng, h, w, radius)
    if stray:
        cy, cx = np.argwhere(mask).mean(0)
        r, c = (0 if cy > h / 2 else h - stray), (0 if cx > w / 2 else w - stray)
        mask[r : r + stray, c : c + stray] = True
    return (torch.from_numpy(mask),)


def four_by_two(rng: np.random.Generator, h: int, w: int) -> Call:
    """Two rows of four pixels, the last apart: the middle lies between pixels in both directions."""
    mask = torch.zeros(h, w, dtype=torch.bool)
    row = int(rng.integers(h - 2))
    mask[row : row + 2, [20, 21, 22, 31]] = True
    return (mask,)


def one_pixel(rng: np.random.Generator, h: int, w: int) -> Call:
    """A mask of a single pixel."""
    mask = torch.zeros(h, w, dtype=torch.bool)
    mask[int(rng.integers(h)), int(rng.integers(w))] = True
    return (mask,)


MASK_GAUSSIAN = Exercise(
    "lab1.mask_gaussian",
    cases=(
        Case("a lopsided object", lambda rng: [lopsided(rng, 48, 80, 12)],
             equals(gaussian_oracle, "centre or spread is wrong")),
        Case("a wrong patch far away", lambda rng: [lopsided(rng, 48, 80, 10, stray=6)],
             equals(gaussian_oracle, "a few wrong pixels must hardly move it: median and MAD")),
        Case("a single pixel", lambda rng: [one_pixel(rng, 96, 160)],
             equals(gaussian_oracle, "the spread is at least 5/480 of the height")),
        Case("an empty mask", lambda rng: [(torch.zeros(48, 80, dtype=torch.bool),)],
             equals(gaussian_oracle, "an empty mask has no middle: return zeros")),
        Case("two rows of four pixels", lambda rng: [four_by_two(rng, 40, 64)],
             equals(gaussian_oracle, "of an even number of values the median is the mean of the middle two")),
    ),
    hints=(
        "Take the coordinates of the object's pixels. Where is their middle, along y and along x, and how far is the "
        "middle one of them away from it? Each axis for itself.",
        "y, x = np.nonzero(mask); per axis m = np.median(v) and s = 1.4826 * np.median(abs(v - m)), but at least "
        "5/480 of the height. The factor makes s the standard deviation where the values are normal.",
        "exp(-((rows - my)**2 / (2 sy**2) + (columns - mx)**2 / (2 sx**2))) over the whole frame. Nothing to "
        "normalise: it is 1 in the middle. An empty mask gives zeros.",
    ),
    library="vos_teach.ops.modulate:mask_gaussian",
    suspects=(
        (_gauss(centre=np.mean, spread="std"), "mean and standard deviation follow every stray pixel: median and MAD"),
        (_gauss(spread="std"), "that spread is the standard deviation: take 1.4826 times the MAD"),
        (_gauss(centre=np.mean), "the centre is the mean: take the median, which a stray patch hardly moves"),
        (_gauss(factor=1.0), "the factor 1.4826 is missing: it makes the MAD comparable to a standard deviation"),
        (_gauss(floor="none"), "the floor is missing: the spread is at least 5/480 of the height"),
        (_gauss(floor="px"), "the floor is 5 pixels of 480p: here it is 5/480 of the height"),
        (_gauss(floor="w"), "the floor is a fraction of the height, not of the width"),
        (_gauss(swap=True), "x and y are swapped: np.nonzero gives rows (y) first, columns (x) second"),
        (_gauss(two=1.0), "the 2 is missing: exp(-d**2 / (2 s**2))"),
        (_gauss(square=1), "the spread is not squared: exp(-d**2 / (2 s**2))"),
        (_gauss(total=True), "it sums to 1: its PEAK is to be 1"),
        (_gauss(joint=True), "one spread for both axes: each axis has its own"),
        (_gauss(centre=lambda v: np.sort(v)[(len(v) - 1) // 2]),
         "of an even number of values the median is the mean of the middle two (torch.median takes the lower)"),
    ),
)

# ---- modulate -------------------------------------------------------------------------------------------------


def modulate_oracle(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Number by number: each channel times its own gamma, plus beta at that place."""
    c, h, w = features.shape[-3:]
    f, b, g = features.reshape(-1, c, h, w), beta.reshape(-1, c, h, w), gamma.reshape(-1, c)
    out = torch.zeros(f.shape, dtype=features.dtype)
    for n in range(len(f)):
        for k in range(c):
            for y in range(h):
                for x in range(w):
                    out[n, k, y, x] = g[n, k] * f[n, k, y, x] + b[n, k, y, x]
    return out.reshape(features.shape)


def modulate_with_gradient(features: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """The oracle's value, and the gradient of its sum for gamma: the sum of each channel's features."""
    return modulate_oracle(features, gamma.detach(), beta), features.sum(dim=(-2, -1))


def modulate_call(rng: np.random.Generator, *shape: int, start: bool = False) -> Call:
    """Features ...,C,H,W from 0 up (they come out of a ReLU), gamma ...,C, beta ...,C,H,W; `start`: 1 and 0."""
    features = np.maximum(rng.normal(0.3, 1, shape), 0)
    gamma = np.ones(shape[:-2]) if start else rng.normal(1, 1, shape[:-2])
    beta = np.zeros(shape) if start else rng.normal(0, 1, shape)
    return tuple(torch.tensor(v, dtype=torch.float32) for v in (features, gamma, beta))


MODULATE = Exercise(
    "lab1.modulate",
    cases=(
        Case("one image", lambda rng: [modulate_call(rng, 1, 4, 5, 6)],
             equals(modulate_oracle, "the value is wrong")),
        Case("two images, two objects", lambda rng: [modulate_call(rng, 2, 4, 5, 6)],
             equals(modulate_oracle, "each image has its own gamma and beta")),
        Case("as many channels as columns", lambda rng: [modulate_call(rng, 2, 6, 6, 6)],
             equals(modulate_oracle, "gamma belongs to the channels, not to rows or columns")),
        Case("gamma 1 and beta 0", lambda rng: [modulate_call(rng, 2, 4, 5, 6, start=True)],
             equals(modulate_oracle, "gamma 1 and beta 0 change nothing: so training starts")),
        Case("the gradient for gamma", lambda rng: [modulate_call(rng, 1, 4, 5, 6)],
             equals(modulate_with_gradient, "value or gradient is wrong"), grad=1),
    ),
    hints=(
        "One number per channel, and one map per channel. Which axes does gamma lack?",
        "gamma is ...,C and features are ...,C,H,W: gamma[..., None, None] is ...,C,1,1, and broadcasts over H, W.",
        "gamma[..., None, None] * features + beta. Nothing after it: what is modulated may be negative.",
    ),
    library="vos_teach.ops.modulate:modulate",
    suspects=(
        (lambda f, g, b: torch.relu(g[..., None, None] * f + b), "there is no ReLU after the modulation"),
        (lambda f, g, b: (1 + g)[..., None, None] * f + b, "gamma itself is the factor, not 1 + gamma"),
        (lambda f, g, b: g[..., None, None] * (f + b), "beta is added after the scaling, not before"),
        (lambda f, g, b: g[..., None, None] * f, "beta is missing"),
        (lambda f, g, b: g[..., None, :] * f + b if g.dim() == 1 else g[:, None, None, :] * f + b,
         "gamma was spread along the columns: it belongs to the channels, gamma[..., None, None]"),
        (lambda f, g, b: g[:1, :, None, None] * f + b, "the first image's gamma was used for all images"),
    ),
)
