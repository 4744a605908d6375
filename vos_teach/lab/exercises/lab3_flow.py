"""Lab 3: how flow is judged: one step of Lucas and Kanade, and the check there and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vos_teach.lab.cases import Call, Case, Exercise, Said, brief, plain

Judge = Callable[[Sequence[Call], Sequence[Any]], "str | None"]
LEAST = 1e-3  # of the determinant, as the exercise has it

# ---- lucas_kanade ---------------------------------------------------------------------------------------------


def step_oracle(first: np.ndarray, second: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Flow H,W,2 and the determinants H,W: for each pixel the least squares of its window. Only whole windows."""
    h, w = first.shape
    r = window // 2
    flow, det = np.zeros((h, w, 2)), np.zeros((h, w))
    slopes = np.zeros((h, w, 2))
    slopes[:, 1:-1, 0] = (first[:, 2:] - first[:, :-2]) / 2
    slopes[1:-1, :, 1] = (first[2:] - first[:-2]) / 2
    for y in range(r + 1, h - r - 1):
        for x in range(r + 1, w - r - 1):
            here = slice(y - r, y + r + 1), slice(x - r, x + r + 1)
            a, b = slopes[here].reshape(-1, 2), (first - second)[here].ravel()
            det[y, x] = np.linalg.det(a.T @ a)
            if det[y, x] > LEAST:
                flow[y, x] = np.linalg.lstsq(a, b, rcond=None)[0]
    return flow, det


def waves(rng: np.random.Generator, h: int, w: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A smooth pattern in [0, 1] as a function of (x, y); there is something to see everywhere, in both directions."""
    angles = rng.uniform(0, np.pi) + np.array([0.0, 0.9, 1.7, 2.4])
    parts = [(np.cos(a), np.sin(a), 2 * np.pi / rng.uniform(11, 16), rng.uniform(0, 6.28)) for a in angles]
    return lambda x, y: 0.5 + sum(np.sin(k * (cx * x + cy * y) + p) for cx, cy, k, p in parts) / 8


def moved(rng: np.random.Generator, h: int = 40, w: int = 52, window: int = 11, d: tuple | None = None) -> Call:
    """A pattern, and the same after a small motion."""
    y, x = np.mgrid[:h, :w].astype(float)
    pattern = waves(rng, h, w)
    dx, dy = d or (rng.uniform(0.25, 0.5), -rng.uniform(0.1, 0.2))
    return pattern(x, y), pattern(x - dx, y - dy), window


def apart(rng: np.random.Generator, h: int = 36, w: int = 60, window: int = 7) -> Call:
    """The left half goes left, the right half right."""
    y, x = np.mgrid[:h, :w].astype(float)
    pattern = waves(rng, h, w)
    dx = np.where(x < w / 2, -1, 1) * rng.uniform(0.3, 0.45)
    return pattern(x, y), pattern(x - dx, y - 0.1), window


def little(rng: np.random.Generator, h: int = 34, w: int = 66, window: int = 7) -> Call:
    """On the left nothing is to be seen, in the middle upright stripes, on the right a pattern; all moves alike."""
    y, x = np.mgrid[:h, :w].astype(float)
    pattern, phase, grey = waves(rng, h, w), rng.uniform(0, 6.28), rng.uniform(0.3, 0.7)

    def seen(x: np.ndarray) -> np.ndarray:
        stripes = 0.5 + 0.4 * np.sin(2 * np.pi * x / 9 + phase)
        column = np.mgrid[:h, :w][1]
        return np.where(column < w // 3, grey, np.where(column < 2 * w // 3, stripes, pattern(x, y)))

    return seen(x), seen(x - 0.4), window


def near_the_oracle(hint: str) -> Judge:
    """Compares where the whole window lies inside, and where it is clear whether there is enough to be seen."""

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for (first, second, window), result in zip(calls, results, strict=True):
            if said := _no_flow(first.shape, result):
                return said
            got = plain(result).astype(float)
            want, det = step_oracle(first, second, window)
            inside = np.zeros(first.shape, bool)
            r = window // 2 + 1
            inside[r:-r, r:-r] = True
            clear = inside & ((det > 10 * LEAST) | (det < 0.1 * LEAST))
            flat = clear & (det < LEAST)
            if not np.isfinite(got[inside]).all():
                return Said("the flow is not a number somewhere: where the determinant is below 1e-3 it must be 0")
            if (np.abs(got[flat]) > 0.02).any():
                return Said("where a window is flat, or shows stripes of one direction, the flow is 0 by agreement")
            seen = clear & (det > LEAST)
            if seen.any() and np.abs(want[seen]).max() > 0.05 and not got[seen].any():
                return Said("the flow is 0 everywhere: take SUMS over the window; of means the determinant is tiny")
            off = np.abs(got - want).max(-1)
            if (off[seen] > 0.02).any():
                y, x = np.argwhere(seen & (off > 0.02))[0]
                return Said(hint, f"at [{y}, {x}] it is ({got[y, x, 0]:.3g}, {got[y, x, 1]:.3g}), right is "
                                  f"({want[y, x, 0]:.3g}, {want[y, x, 1]:.3g})")
        return None

    return judge


def _no_flow(size: tuple[int, int], result: Any) -> str | None:
    try:
        shape, kind = plain(result).shape, plain(result).dtype.kind
    except Exception:
        return Said("return the flow, an array H,W,2", f"not {brief(result)}")
    if shape != (*size, 2) or kind not in "biuf":
        return Said("return the flow, an array H,W,2 of (dx, dy)", f"yours is {brief(result)}")
    return None


def _step(swap: bool = False, sign: int = 1, window: int = 0, alone: bool = False, mean: bool = False) -> Callable:
    """A step with one thing wrong."""

    def wrong(first: np.ndarray, second: np.ndarray, size: int = 15) -> np.ndarray:
        from scipy.ndimage import uniform_filter

        n = window or size
        slope_y, slope_x = np.gradient(first)
        change = sign * (second - first)

        def over(v: np.ndarray) -> np.ndarray:
            out = np.full_like(v, v.sum()) if n < 0 else uniform_filter(v, n, mode="constant") * n * n
            return out / (n * n) if mean else out

        a, b, c = over(slope_x**2), over(slope_x * slope_y), over(slope_y**2)
        p, q = over(slope_x * change), over(slope_y * change)
        b = 0 * b if alone else b
        d = a * c - b * b
        found = np.stack([b * q - c * p, b * p - a * q], -1) / np.where(d > LEAST, d, np.inf)[..., None]
        return found[..., ::-1] if swap else found

    return wrong


def _alone(first: np.ndarray, second: np.ndarray, window: int = 15) -> np.ndarray:
    """Each pixel by itself: the motion across its edge."""
    slopes = np.stack(np.gradient(first)[::-1], -1)
    size = (slopes**2).sum(-1, keepdims=True)
    return slopes * (first - second)[..., None] / np.where(size < 1e-6, np.inf, size)


def step_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `lucas_kanade`."""
    return Case(name, calls, near_the_oracle(hint))


LUCAS_KANADE = Exercise(
    "lab3.lucas_kanade",
    cases=(
        step_case("a small motion", "the flow is wrong: it goes from first to second, (dx, dy), by least squares",
                  lambda rng: [moved(rng)]),
        step_case("two halves that go apart", "each pixel has its own window, of the size that is given",
                  lambda rng: [apart(rng)]),
        step_case("where little is to be seen", "the flow is wrong beside the places where nothing is to be seen",
                  lambda rng: [little(rng)]),
        step_case("another window", "the window has the size that is given", lambda rng: [moved(rng, 34, 44, 5)]),
    ),
    hints=(
        "Each pixel of a window gives one equation, Ix dx + Iy dy = -It. More equations than unknowns: least squares, "
        "a 2x2 system for each pixel. Its five sums are pictures that are made all at once.",
        "iy, ix = np.gradient(first): rows come first. It = second - first. Sums over windows: uniform_filter(a * b, "
        "window) gives means, so multiply by window**2. A 2x2 system is solved by Cramer's rule.",
        "dx = (Sxy Syt - Syy Sxt) / det and dy = (Sxy Sxt - Sxx Syt) / det with det = Sxx Syy - Sxy^2; 0 where det is "
        "below 1e-3: divide by np.where(det < 1e-3, 1, det), then np.where again.",
    ),
    library="vos_teach.ops.optical:lucas_kanade_step",
    relatives=("vos_teach.ops.optical:lucas_kanade",),
    suspects=(
        (_step(sign=-1), "the flow is reversed: It is second - first, and Ix dx + Iy dy = -It"),
        (_step(swap=True), "dx and dy are swapped: np.gradient gives the slope along the rows first, that is y"),
        (_step(window=-1), "one motion for the whole frame: each pixel has a window of its own"),
        (_step(window=15), "the window is 15 whatever is asked for: use the one that is given"),
        (_alone, "each pixel by itself: one equation does not give two unknowns; sum over the window"),
        (_step(alone=True), "Sxy is left out: slopes along x and y go together where edges are slanted"),
        (_step(mean=True), "the flow is 0 nearly everywhere: take SUMS over the window, of means the determinant is "
                           "tiny"),
    ),
)

# ---- consistent -----------------------------------------------------------------------------------------------


def there_and_back(forward: np.ndarray, backward: np.ndarray, share: float = 0.01, least: float = 0.5
                   ) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel: H,W bool, whether there and back leads home, and H,W bool, where that is beyond doubt."""
    h, w = forward.shape[:2]
    home, clear = np.zeros((h, w), bool), np.zeros((h, w), bool)
    there, back = forward.astype(float).tolist(), backward.astype(float).tolist()
    for y in range(h):
        for x in range(w):
            dx, dy = there[y][x]
            px, py = x + dx, y + dy
            room = min(px, py, w - 1 - px, h - 1 - py)  # to the border; negative outside
            clear[y, x] = abs(room) > 0.05
            if room < 0:
                continue
            left, top = min(int(px), w - 2), min(int(py), h - 2)
            a, b = px - left, py - top
            four = (back[top][left], back[top][left + 1], back[top + 1][left], back[top + 1][left + 1])
            shares = ((1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b)
            bx, by = (sum(s * v[c] for s, v in zip(shares, four, strict=True)) for c in (0, 1))
            edge = max(max(v[c] for v in four) - min(v[c] for v in four) for c in (0, 1))
            off = (dx + bx) ** 2 + (dy + by) ** 2
            bound = share * (dx**2 + dy**2 + bx**2 + by**2) + least
            home[y, x] = off < bound
            # where the way back jumps, a hair's breadth may decide
            clear[y, x] &= abs(off - bound) > 0.02 * bound + edge * (0.1 * off**0.5 + 0.02)
    return home, clear


def scene(rng: np.random.Generator, h: int = 30, w: int = 46, ground: tuple = (0.6, -0.3), thing: tuple = (6.4, 2.3),
          error: float = 0.0, slope: float = 0.0) -> Call:
    """Flow there and back of a rectangle before a ground. What it covers in frame 2 cannot be found from there.

    error: so much is added to the way back, along y, in the left half
    slope: the ground's motion grows from left to right
    """
    y, x = np.mgrid[:h, :w]
    top, left = int(rng.integers(h // 4, h // 3)), int(rng.integers(w // 5, w // 4))
    tall, wide = h // 3, w // 4
    forward, backward = np.zeros((2, h, w, 2))
    forward[:] = ground
    forward[..., 0] += slope * x
    backward[:] = -np.array(ground)
    backward[..., 0] -= slope * (x - ground[0]) / (1 + slope)
    forward[(y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)] = thing
    ty, tx = y - thing[1], x - thing[0]
    backward[(ty >= top) & (ty < top + tall) & (tx >= left) & (tx < left + wide)] = -np.array(thing)
    backward[:, : w // 2, 1] += error
    return forward.astype(np.float32), backward.astype(np.float32)


def as_clear_as_it_gets(hint: str) -> Judge:
    """Compares where neither rounding nor a threshold decides."""

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, result in zip(calls, results, strict=True):
            size = call[0].shape[:2]
            try:
                got = plain(result)
            except Exception:
                got = np.array(None)
            if got.shape != size or got.dtype.kind not in "biuf":
                return Said("return H,W, true where there and back leads home", f"yours is {brief(result)}")
            if not np.isin(got, (0, 1)).all():
                return Said("return true or false for each pixel, not how far off it is")
            want, clear = there_and_back(*call)
            wrong = clear & (got.astype(bool) != want)
            if wrong.any():
                y, x = np.argwhere(wrong)[0]
                return Said(hint, f"in {wrong.sum()} of {clear.sum()} places; at [{y}, {x}] right is {want[y, x]}")
        return None

    return judge


def _consistent(lookup: str = "there", sign: int = 1, inside: bool = True, bound: str = "both", turned: bool = False,
                fixed: bool = False) -> Callable:
    """A check with one thing wrong."""

    def wrong(forward: np.ndarray, backward: np.ndarray, share: float = 0.01, least: float = 0.5) -> np.ndarray:
        import cv2

        if fixed:
            share, least = 0.01, 0.5
        h, w = forward.shape[:2]
        y, x = np.mgrid[:h, :w].astype(np.float32)
        fx, fy = forward[..., 0], forward[..., 1]
        px, py = {"there": (x + fx, y + fy), "here": (x, y), "behind": (x - fx, y - fy),
                  "swapped": (x + fy, y + fx)}[lookup]
        there = cv2.remap(backward, px, py, cv2.INTER_LINEAR)
        off = ((forward + sign * there) ** 2).sum(-1)
        size = (forward**2).sum(-1) + (there**2).sum(-1)
        out = {"both": off < share * size + least, "least": off < least, "share": off < share * size,
               "root": off**0.5 < share * size**0.5 + least}[bound]
        if inside:
            px, py = x + fx, y + fy
            out = out & (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
        return ~out if turned else out

    return wrong


def consistent_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `consistent`."""
    return Case(name, calls, as_clear_as_it_gets(hint))


CONSISTENT = Exercise(
    "lab3.consistent",
    cases=(
        consistent_case("a thing before a ground", "wrong: the way back is read WHERE THE PIXEL WENT, p + forward(p)",
                        lambda rng: [scene(rng)]),
        consistent_case("a hair's breadth", "half a pixel is nothing: `least` is allowed even where nothing moves",
                        lambda rng: [scene(rng, 26, 40, (0.0, 0.0), (5.6, -3.4), error=0.6)]),
        consistent_case("far, and a little off", "the further it goes, the more it may be off: share times the squares",
                        lambda rng: [scene(rng, 30, 64, (14.3, 0.4), (-13.2, 1.4), error=1.45)]),
        consistent_case("out of the frame", "what leaves the frame cannot be found again: false",
                        lambda rng: [scene(rng, 28, 40, (-7.4, 0.2), (2.4, 8.6))]),
    ),
    hints=(
        "Take one pixel p. Where is it in frame 2? What does the way back say THERE? If all is well, both arrows "
        "together are nearly (0, 0).",
        "x + forward[..., 0] and y + forward[..., 1] are the places, as float32; cv2.remap(backward, those x, those y, "
        "cv2.INTER_LINEAR) reads the way back there, both channels at once. Places outside count as false.",
        "off = ((forward + back)**2).sum(-1); size = (forward**2).sum(-1) + (back**2).sum(-1); off < share * size + "
        "least, and 0 <= place <= size of the frame - 1, along x and along y.",
    ),
    library="vos_teach.data.flow:consistent",
    suspects=(
        (_consistent(fixed=True), "share and least are fixed: use those that are given"),
        (_consistent(lookup="here"), "the way back is read at p itself: read it where the pixel WENT, p + forward(p)"),
        (_consistent(lookup="behind"), "the way back is read at p - forward(p): the pixel went to p + forward(p)"),
        (_consistent(lookup="swapped"), "x and y are swapped when the way back is read: forward[..., 0] is along x"),
        (_consistent(sign=-1), "there MINUS back: the way back has the opposite sign, so their SUM is near 0"),
        (_consistent(inside=False), "what leaves the frame is false: there is no way back out there"),
        (_consistent(bound="least"), "the bound does not grow with the motion: share * (|f|^2 + |b|^2) + least"),
        (_consistent(bound="share"), "`least` is missing: where nothing moves, a hair's breadth would be an error"),
        (_consistent(bound="root"), "lengths are compared, not their squares: |f + b|^2 < share * (|f|^2 + |b|^2) + "
                                    "least"),
        (_consistent(turned=True), "it is turned round: TRUE where there and back leads home"),
    ),
)
