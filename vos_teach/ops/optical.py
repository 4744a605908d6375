"""Optical flow by least squares (Lucas & Kanade, IJCAI 1981), coarse to fine (Bouguet, Intel 2001), dense."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, median_filter, uniform_filter

LEAST = 1e-3  # of the determinant: below it a window shows too little to tell its motion
REACH = 2.0  # pixels: one step goes no further, as its model is a straight line
SMALLEST = 16  # pixels: no level of a pyramid is narrower

Step = Callable[..., np.ndarray]  # (first, second, window) -> flow


def lucas_kanade_step(first: np.ndarray, second: np.ndarray, window: int = 15) -> np.ndarray:
    """Flow from first to second, H,W grey in [0, 1] -> H,W,2 float32 (dx, dy), right to first order, so for less than
    a pixel or so. 0 where a window is flat or shows stripes of one direction only.

    All pixels p of a window x window square are taken to move by one d: it makes the sum of
    (Ix dx + Iy dy + second - first)^2 over the square least. Outside the frame nothing is added.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    iy, ix = np.gradient(first)
    it = second - first

    def total(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # sum of a*b over each pixel's window
        return uniform_filter(a * b, window, mode="constant") * window**2

    xx, xy, yy, xt, yt = total(ix, ix), total(ix, iy), total(iy, iy), total(ix, it), total(iy, it)
    det = xx * yy - xy * xy
    known = det > LEAST
    det = np.where(known, det, 1.0)
    flow = np.stack([xy * yt - yy * xt, xy * xt - xx * yt], axis=-1) / det[..., None]
    return np.where(known[..., None], flow, 0.0).astype(np.float32)


def lucas_kanade(first: np.ndarray, second: np.ndarray, window: int = 15, levels: int = 4, iterations: int = 5,
                 step: Step = lucas_kanade_step) -> np.ndarray:
    """Flow from first to second, H,W grey in [0, 1] -> H,W,2 float32 (dx, dy), for motions of many pixels.

    From the coarsest of `levels` halved pictures to the finest: what is known of the flow is doubled, the second
    picture is fetched back along it, and `step` finds what is still missing, `iterations` times.
    """
    pictures = [(np.asarray(first, np.float64), np.asarray(second, np.float64))]
    while len(pictures) < levels and min(pictures[-1][0].shape) >= 2 * SMALLEST:
        pictures.append(tuple(gaussian_filter(x, 1.0)[::2, ::2] for x in pictures[-1]))
    flow = np.zeros((*pictures[-1][0].shape, 2))
    for a, b in reversed(pictures):
        y, x = np.mgrid[: a.shape[0], : a.shape[1]].astype(np.float64)
        if flow.shape[:2] != a.shape:
            flow = 2 * np.stack([_at(flow[..., c], x / 2, y / 2) for c in (0, 1)], axis=-1)
        for _ in range(iterations):
            more = np.nan_to_num(np.asarray(step(a, _at(b, x + flow[..., 0], y + flow[..., 1]), window), np.float64))
            length = np.linalg.norm(more, axis=-1, keepdims=True)
            flow = flow + more * np.minimum(1.0, REACH / np.maximum(length, 1e-9))
            flow = median_filter(flow, size=(5, 5, 1))  # single pixels that went astray
    return flow.astype(np.float32)


def _at(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An image H,W between its pixels, bilinear; beyond the border it goes on as it ends."""
    return map_coordinates(image, [y, x], order=1, mode="nearest")
