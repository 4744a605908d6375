"""Layers that move along exact maps: the renderer under the toy clips.

Each layer is a flat picture (its canonical frame, coordinates u) seen through a map known at every time t:

    q = S(t)^-1 R(t)^-1 (p - c(t)),    u = q + sum_k a_k sin(w_k . q + f_k(t))       p: pixel of frame t

Rendering needs p -> u (G), in closed form. Flow needs u -> p (F) as well: q = u - sum a sin(...) by fixed point,
which converges because sum |a||w| < 1. A pixel's flow is then exact: F_{t+1}(G_t(p)) - p, in its topmost layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np

ROUNDS = 24    # of the fixed point; the slope is at most 0.65, so what is left is under 1e-3 pixels


@dataclass
class Layer:
    """A moving picture. T: frames of the clip.

    patch    h,w,4 float32, colours 0..255 times alpha, alpha 0..1 (a background: h,w,3, no alpha)
    centre   T,2 pixels (x, y) where the patch's middle is;   angle  T radians;   scale  T,2
    waves    K,6 (ax, ay, wx, wy, phase, speed): deformation in canonical pixels, speed in radians a frame
    swell    T: what the waves' amplitudes are multiplied by (at most 1)
    object   the object's id in the masks, 0 for what nobody asks for
    shown    T bool;   other, mix: a second patch and T shares of it;   gain  T,3 factors on the colours
    ground   the background: its picture goes on, mirrored, beyond its edge
    """

    patch: np.ndarray
    centre: np.ndarray
    angle: np.ndarray
    scale: np.ndarray
    waves: np.ndarray = field(default_factory=lambda: np.zeros((0, 6), np.float32))
    swell: np.ndarray | None = None
    object: int = 0
    shown: np.ndarray | None = None
    other: np.ndarray | None = None
    mix: np.ndarray | None = None
    gain: np.ndarray | None = None
    ground: bool = False

    def _bend(self, t: int, qx: np.ndarray, qy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The deformation at q: sum_k a_k sin(w_k . q + f_k(t))."""
        size = 1.0 if self.swell is None else float(self.swell[t])
        bx, by = np.zeros_like(qx), np.zeros_like(qy)
        for ax, ay, wx, wy, phase, speed in self.waves.tolist():
            s = np.sin(wx * qx + wy * qy + (phase + speed * t))
            bx += size * ax * s
            by += size * ay * s
        return bx, by

    def canonical(self, t: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of frame t -> canonical coordinates (0, 0 is the patch's middle)."""
        c, s = float(np.cos(self.angle[t])), float(np.sin(self.angle[t]))
        (cx, cy), (sx, sy) = self.centre[t].tolist(), self.scale[t].tolist()
        x, y = x - cx, y - cy
        qx, qy = (c * x + s * y) / sx, (c * y - s * x) / sy
        if len(self.waves):
            bx, by = self._bend(t, qx, qy)
            qx, qy = qx + bx, qy + by
        return qx, qy

    def pixels(self, t: int, ux: np.ndarray, uy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Canonical coordinates -> pixels of frame t, the inverse of `canonical`."""
        qx, qy = ux, uy
        for _ in range(ROUNDS if len(self.waves) else 0):
            bx, by = self._bend(t, qx, qy)
            qx, qy = ux - bx, uy - by
        c, s = float(np.cos(self.angle[t])), float(np.sin(self.angle[t]))
        (cx, cy), (sx, sy) = self.centre[t].tolist(), self.scale[t].tolist()
        qx, qy = qx * sx, qy * sy
        return c * qx - s * qy + cx, s * qx + c * qy + cy

    def box(self, t: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """y0, y1, x0, x1: the part of the frame that the layer can touch in frame t."""
        if self.ground:
            return 0, size[0], 0, size[1]
        bend = np.abs(self.waves[:, :2]).sum(0) if len(self.waves) else np.zeros(2)
        half = (np.array(self.patch.shape[1::-1]) / 2 + bend) * self.scale[t]         # (x, y)
        c, s = abs(np.cos(self.angle[t])), abs(np.sin(self.angle[t]))
        rx, ry = c * half[0] + s * half[1], s * half[0] + c * half[1]
        cx, cy = self.centre[t]
        y0, y1 = max(0, int(cy - ry)), min(size[0], int(cy + ry) + 2)
        x0, x1 = max(0, int(cx - rx)), min(size[1], int(cx + rx) + 2)
        return y0, max(y0, y1), x0, max(x0, x1)

    def draw(self, t: int, grid: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """The layer at the grid's pixels of frame t: h,w,4 float32 (a background: h,w,3)."""
        ux, uy = self.canonical(t, *grid)
        h, w = self.patch.shape[:2]
        patch = self.patch
        if self.mix is not None and self.mix[t] > 0:
            patch = cv2.addWeighted(patch, 1 - float(self.mix[t]), self.other, float(self.mix[t]), 0)
        border = cv2.BORDER_REFLECT_101 if self.ground else cv2.BORDER_CONSTANT
        out = cv2.remap(patch, ux + np.float32((w - 1) / 2), uy + np.float32((h - 1) / 2), cv2.INTER_LINEAR,
                        borderMode=border)
        if self.gain is not None:
            out[..., :3] *= self.gain[t].astype(np.float32)
            np.minimum(out[..., :3], 255 * out[..., 3:], out=out[..., :3])
        return out


class Scene:
    """Layers from back to front (the first is the background), seen for T frames of `size` (H, W).

    noise   standard deviation of the sensor's noise in grey levels;   blur  of the lens, in pixels
    light   T,3 factors on the whole frame
    """

    def __init__(self, layers: list[Layer], size: tuple[int, int], length: int, seed: int, noise: float = 1.5,
                 blur: float = 0.5, light: np.ndarray | None = None):
        self.layers, self.size, self.length, self.seed = layers, size, length, seed
        self.noise, self.blur, self.light = noise, blur, light
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        self.grid = (x, y)
        self._last: tuple[int, np.ndarray, np.ndarray] | None = None

    def render(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame t, H,W,3 uint8, and H,W uint8: the index of each pixel's topmost layer (alpha at least 1/2)."""
        last = self._last
        if last is not None and last[0] == t:
            return last[1], last[2]
        top = np.zeros(self.size, np.uint8)
        image = self.layers[0].draw(t, self.grid)
        for k, layer in enumerate(self.layers[1:], 1):
            y0, y1, x0, x1 = layer.box(t, self.size)
            if y1 == y0 or x1 == x0 or (layer.shown is not None and not layer.shown[t]):
                continue
            part = layer.draw(t, (self.grid[0][y0:y1, x0:x1], self.grid[1][y0:y1, x0:x1]))
            below, cover = image[y0:y1, x0:x1], cv2.extractChannel(part, 3)
            kept = cv2.multiply(below, cv2.merge([1 - cover] * 3))
            cv2.add(kept, cv2.cvtColor(part, cv2.COLOR_BGRA2BGR), dst=below)                # drops alpha
            top[y0:y1, x0:x1][cover >= 0.5] = k
        if self.light is not None:
            image = cv2.multiply(image, (*self.light[t].tolist(), 0.0))
        if self.blur:
            image = cv2.GaussianBlur(image, (5, 5), self.blur)
        grain = _grain(image.size, np.random.default_rng([self.seed, t])).reshape(image.shape)
        frame = cv2.scaleAdd(grain, float(self.noise), image)
        frame = cv2.add(frame, (0.0, 0.0, 0.0, 0.0), dtype=cv2.CV_8U)                  # rounds and saturates
        self._last = (t, frame, top)
        return frame, top

    def frame(self, t: int) -> np.ndarray:
        """H,W,3 uint8; the caller's own copy."""
        return self.render(t)[0].copy()

    def mask(self, t: int) -> np.ndarray:
        """H,W uint8 object ids."""
        return np.array([layer.object for layer in self.layers], np.uint8)[self.render(t)[1]]

    def flow(self, t: int, to: int) -> np.ndarray:
        """H,W,2 float32 (dx, dy): where what each pixel of frame t shows is in frame `to`, hidden or not."""
        top = self.render(t)[1]
        out = np.empty((*self.size, 2), np.float32)
        for k in np.unique(top).tolist():
            where = top == k
            x, y = self.grid[0][where].astype(np.float64), self.grid[1][where].astype(np.float64)
            nx, ny = self.layers[k].pixels(to, *self.layers[k].canonical(t, x, y))
            out[where] = np.stack([nx - x, ny - y], -1)
        return out


@cache
def _noise() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(1 << 19, np.float32)


def _grain(n: int, rng: np.random.Generator) -> np.ndarray:
    """n normal deviates, from a random place of one long list: much faster than drawing new ones."""
    start = int(rng.integers(1 << 19))
    first = _noise()[start : start + n]
    return first if len(first) == n else np.concatenate([first, np.resize(_noise(), n - len(first))])
