"""Lab 2: how a training pair made of one still image is judged, by what it must show: plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from vos_teach.lab.cases import Call, Case, Exercise, Said
from vos_teach.lab.exercises.lab2_beside import pair_collect, pair_prepare

SHRINKS = np.arange(1.5, 8.1, 0.25)  # in pixels, of the stand-in for `spoil`, zoomed with the picture if need be
Judge = Callable[[Sequence[Call], Sequence[Any]], "str | None"]


def picture(rng: np.random.Generator, h: int, w: int, round_one: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a red thing left of and above the middle on greenish ground, and its mask."""
    y, x = np.mgrid[:h, :w]
    cy, cx, ry, rx = h * rng.uniform(0.36, 0.42), w * rng.uniform(0.32, 0.38), h / 4, w / 5
    d = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 if round_one else np.maximum(abs(y - cy) / ry, abs(x - cx) / rx)
    mask = (d <= 1).astype(np.uint8)
    frame = np.where(mask[..., None], (215, 60, 60), (40, 110, 90)) + rng.integers(-25, 26, (h, w, 3))
    return frame.clip(0, 255).astype(np.uint8), mask


def pair_calls(rng: np.random.Generator, h: int = 64, w: int = 88, round_one: bool = False, n: int = 3) -> list[Call]:
    """One picture, n seeds."""
    frame, mask = picture(rng, h, w, round_one)
    return [(frame.copy(), mask.copy(), int(seed)) for seed in rng.choice(10000, n, replace=False)]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def of_each(look: Callable[[np.ndarray, np.ndarray, np.ndarray], str | None]) -> Judge:
    """A judge of each pair by itself, once it is clear that it is one: image, last mask, target."""

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, r in zip(calls, results, strict=True):
            if said := _no_pair(call, r) or look(*r):
                return said
        return None

    return judge


def _no_pair(call: Call, r: Any) -> str | None:
    if not isinstance(r, (list, tuple)) or len(r) != 3:
        return Said("return three tensors: image, last mask, target", f"not {r}" if isinstance(r, str) else "")
    image, last, target = r
    size = call[1].shape
    if image.shape != (3, *size):
        return Said("the image is 3,H,W, channels first (see to_tensors)", f"it is {image.shape}")
    if last.shape != size or target.shape != size:
        return Said("last mask and target are H,W", f"they are {last.shape} and {target.shape}")
    if image.dtype.kind != "f" or image.max() > 1.001 or image.max() < 0.05:
        return Said("the network wants images in [0, 1] (see to_tensors)", f"the largest value is {image.max():.3g}")
    if not (np.isin(last, (0, 1)).all() and np.isin(target, (0, 1)).all()):
        return Said("masks hold 0 and 1 only: they are moved by nearest neighbour, or ids blend")
    return None


def target_is_true(image: np.ndarray, last: np.ndarray, target: np.ndarray) -> str | None:
    """The target lies over the object that the image shows."""
    red = image[0] > 0.5
    if overlap(red, target > 0) >= 0.85:
        return None
    if overlap(red, last > 0) >= 0.85:
        return Said("last mask and target are swapped: the spoiled mask goes in, the true one is to come out")
    if target.any() and not (target > 0)[~red].any():
        return Said("the target is spoiled too: it is the true mask; only the last mask is spoiled")
    return Said("the target does not lie over the object: frame and mask move together, by ONE call of affine")


def last_is_spoiled(image: np.ndarray, last: np.ndarray, target: np.ndarray) -> str | None:
    """The last mask is what `spoil` makes of the target, or moves with it."""
    if overlap(last > 0, target > 0) > 0.93:
        return Said("the last mask is the true one: a network that never sees a wrong mask learns to copy it")
    inside = distance_transform_edt(target > 0)
    if max(overlap(last > 0, inside > k) for k in SHRINKS) >= 0.85:
        return None
    return Said("the last mask is not what `spoil` makes of this target: spoil it AFTER it has moved with the frame")


def draws_from_rng(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
    """Calls: the first seed twice, then others."""
    for call, r in zip(calls, results, strict=True):
        if said := _no_pair(call, r):
            return said
    same = [all(np.array_equal(a, b) for a, b in zip(results[0], r, strict=True)) for r in results[1:]]
    if not same[0]:
        return Said("the same rng gave two different pairs: draw every number from the rng that is given")
    last = [np.array_equal(results[0][1], r[1]) for r in results[2:]]
    return Said("every draw gave the same pair: give the rng on to spoil (and affine)") if all(last) else None


def again(rng: np.random.Generator, **size: Any) -> list[Call]:
    """The first call twice, then others."""
    calls = pair_calls(rng, n=6, **size)
    return [(calls[0][0].copy(), calls[0][1].copy(), calls[0][2]), *calls]


def pair_case(name: str, judge: Judge, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `training_pair`."""
    return Case(name, calls, judge, prepare=pair_prepare, collect=pair_collect)


TRAINING_PAIR = Exercise(
    "lab2.training_pair",
    relatives=("vos_teach.mask_propagation.masktrack:example",),
    cases=(
        pair_case("the target", of_each(target_is_true), pair_calls),
        pair_case("the last mask", of_each(last_is_spoiled), pair_calls),
        pair_case("the same rng, the same pair", draws_from_rng, again),
    ),
    hints=(
        "What will the network be given in a video, and what should it answer? Which of the two is wrong there?",
        "affine(frame, mask, rng) moves both alike; to_tensors(frame, mask) makes 3,H,W in [0, 1] and H,W of them. "
        "spoil(mask, rng) takes and gives an array: torch.from_numpy makes a tensor of it.",
        "frame, mask = affine(frame, mask, rng); image, target = to_tensors(frame, mask); "
        "last = torch.from_numpy(spoil(mask, rng)); return image, last, target.",
    ),
)
