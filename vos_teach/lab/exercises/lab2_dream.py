"""Lab 2: how a dreamed pair is judged: a pasted object, and exactly how it moved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vos_teach.lab.cases import Call, Case, Exercise, equals


def dream_oracle(background: np.ndarray, frame: np.ndarray, mask: np.ndarray, shift: tuple[int, int]
                 ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel by pixel: each pixel of the object says where it goes, and is painted there."""
    h, w = mask.shape
    dx, dy = shift
    second, labels, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    for y in range(h):
        for x in range(w):
            if mask[y, x] == 0:
                continue
            flow[y, x] = dx, dy
            if 0 <= y + dy < h and 0 <= x + dx < w:
                second[y + dy, x + dx] = frame[y, x]
                labels[y + dy, x + dx] = mask[y, x]
    return second, labels, flow


def dream_call(rng: np.random.Generator, shift: tuple[int, int] | None, h: int = 24, w: int = 40, ids: int = 1,
               edge: str = "") -> Call:
    """A background, a frame, and the labels of one or two lopsided things in it.

    edge: "right" or "top left", if they lie at that border.
    """
    background, frame = (rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for _ in range(2))
    mask = np.zeros((h, w), np.uint8)
    for k in range(1, ids + 1):
        tall, wide = int(rng.integers(4, 7)), int(rng.integers(7, 11))
        top, left = int(rng.integers(6, h - 12)), int(rng.integers(8, w - 18))
        if edge:
            top, left = (top, w - wide) if edge == "right" else (2, 3)
        mask[top : top + tall, left : left + wide] = k
        mask[top : top + tall // 2, left + wide // 2 : left + wide] = 0  # lopsided
    if shift is None:
        shift = int(rng.integers(3, 7)), -int(rng.integers(1, 3))
    return background, frame, mask, shift


def _dream(sign: int = 1, swap: str = "", flow_at: str = "first", wrap: bool = False, inverted: bool = False,
           whole: bool = False, stays: bool = False, everywhere: bool = False, binary: bool = False, under: bool = False
           ) -> Callable[..., tuple]:
    """A dream with one thing wrong."""

    def wrong(background, frame, mask, shift):
        dx, dy = shift[::-1] if "s" in swap else shift
        on = mask == 0 if inverted else np.ones_like(mask) > 0 if whole else mask > 0
        y, x = np.nonzero(on)
        ty, tx = y + dy, x + dx
        h, w = mask.shape
        keep = (ty >= 0) & (ty < h) & (tx >= 0) & (tx < w)
        if wrap:
            ty, tx, keep = ty % h, tx % w, keep | True
        second = frame.copy() if under else background.copy()
        second[ty[keep], tx[keep]] = frame[y[keep], x[keep]]
        labels = np.zeros_like(mask)
        labels[ty[keep], tx[keep]] = 1 if binary else mask[y[keep], x[keep]]
        moves = (labels if flow_at == "second" else mask) > 0
        flow = np.zeros((*mask.shape, 2), np.float32)
        flow[moves | everywhere] = (sign * dy, sign * dx) if "f" in swap else (sign * dx, sign * dy)
        return second, mask.copy() if stays else labels, flow

    return wrong


def dream_case(name: str, hint: str, calls: Callable[[np.random.Generator], list[Call]]) -> Case:
    """A case of `dream`."""
    return Case(name, calls, equals(dream_oracle, hint))


DREAM = Exercise(
    "lab2.dream",
    cases=(
        dream_case("to the right and up", "second frame, mask or flow is wrong", lambda rng: [dream_call(rng, None)]),
        dream_case("to the right alone", "a shift is (dx, dy): this one moves columns, and no rows",
                   lambda rng: [dream_call(rng, (int(rng.integers(3, 8)), 0))]),
        dream_case("partly out of the frame", "what leaves the frame is gone; its flow is known all the same",
                   lambda rng: [dream_call(rng, (5, 1), edge="right")]),
        dream_case("no motion", "without a shift the object is pasted where it was, and all flow is 0",
                   lambda rng: [dream_call(rng, (0, 0))]),
    ),
    hints=(
        "The object's pixels come from `frame`, all others from `background`. Flow belongs to the FIRST frame: at each "
        "pixel of the object where it is now, it says how far that pixel goes.",
        "y, x = np.nonzero(mask) are the object's pixels, rows first; they go to y + dy and x + dx. Drop those that "
        "land outside; negative indices count from the end, so they must be dropped too.",
        "second = background.copy(); second[ty, tx] = frame[y, x] and new[ty, tx] = mask[y, x] for those that stay "
        "inside; flow = zeros H,W,2 float32, and flow[mask > 0] = (dx, dy).",
    ),
    suspects=(
        (_dream(sign=-1), "the flow is reversed: it says where a pixel of the first frame GOES, p + flow(p)"),
        (_dream(flow_at="second"), "the flow belongs to the first frame: set it where the object IS now"),
        (_dream(swap="f"), "the flow is (dy, dx): its channels are (dx, dy), x first"),
        (_dream(swap="s"), "x and y of the shift are swapped: dx moves columns, dy rows"),
        (_dream(swap="sf"), "x and y of the shift are swapped: dx moves columns, dy rows"),
        (_dream(wrap=True),
         "what leaves the frame comes back on the other side: drop it (negative indices count from the end)"),
        (_dream(inverted=True), "background and object are swapped: the object's pixels come from frame"),
        (_dream(whole=True), "the whole frame is pasted: only the pixels of the object"),
        (_dream(under=True), "the object is still in its old place: paste onto `background`, which has none"),
        (_dream(stays=True), "the mask has not moved with the object: it is that of the second frame"),
        (_dream(everywhere=True), "the flow is 0 where the background is: only the object moves"),
        (_dream(binary=True), "the mask lost its ids: object 2 stays object 2"),
    ),
)
