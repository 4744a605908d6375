"""Lab 2: how a spoiled mask is judged. How it is drawn is free, so only what must hold of any draw is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from vos_teach.lab.cases import Call, Case, Exercise, Said, brief
from vos_teach.lab.exercises.lab2_beside import spoil_prepare

THICK = 5 / 480
DRAWS = 16
Judge = Callable[[Sequence[Call], Sequence[Any]], "str | None"]


def wide_thing(rng: np.random.Generator, h: int, w: int, tall: int = 16, wide: int = 64) -> np.ndarray:
    """H,W uint8: a wide ellipse with a corner bitten off, near the middle; its box is `wide` and `tall`, plus one."""
    y, x = np.mgrid[:h, :w]
    cy, cx = h // 2 + int(rng.integers(-2, 3)), w // 2 + int(rng.integers(-4, 5))
    d = ((y - cy) / (tall / 2)) ** 2 + ((x - cx) / (wide / 2)) ** 2
    return ((d <= 1) & ~((y > cy + 1) & (x > cx + 1) & (d > 0.5))).astype(np.uint8)


def draws(rng: np.random.Generator, h: int = 80, w: int = 240, scale: float = 0.0, shift: float = 0.0, n: int = DRAWS,
          thick: float = 1 / 1000, tall: int = 16, wide: int = 64) -> list[Call]:
    """The same mask n times, each time with another seed. The default `thick` is one pixel at any size."""
    mask, seeds = wide_thing(rng, h, w, tall, wide), rng.choice(10000, n, replace=False)
    return [(mask.copy(), int(seed), scale, shift, thick) for seed in seeds]


def at_border(rng: np.random.Generator, h: int = 60, w: int = 160) -> list[Call]:
    """A thing that the left border cuts off, shifted a lot."""
    mask = np.zeros((h, w), np.uint8)
    top = int(rng.integers(15, h - 30))
    mask[top : top + 14, :30] = 1
    return [(mask.copy(), int(seed), 0.0, 0.4, 1 / 1000) for seed in rng.choice(10000, 8, replace=False)]


def radius(call: Call) -> int:
    """Of the disk, in pixels."""
    return max(1, round(call[4] * call[0].shape[0]))


def box(mask: np.ndarray) -> np.ndarray:
    """[left, top, right, bottom] of a mask that is not empty."""
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max(), y.max()], float)


def of_each(look: Callable[[Call, np.ndarray], str | None]) -> Judge:
    """A judge of each result by itself."""
    return of_all(lambda calls, masks: next((s for c, m in zip(calls, masks, strict=True) if (s := look(c, m))), None))


def of_all(look: Callable[[Sequence[Call], Sequence[np.ndarray]], str | None]) -> Judge:
    """A judge of all results together, once it is clear that they are masks."""

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, r in zip(calls, results, strict=True):
            if said := _no_mask(call, r):
                return said
        return look(calls, [np.asarray(r) > 0 for r in results])

    return judge


def _no_mask(call: Call, r: Any) -> str | None:
    try:
        r = np.asarray(r)
    except Exception:
        return Said("return the spoiled mask, an array H,W", f"not {brief(r)}")
    if r.dtype.kind not in "biuf" or r.ndim != 2:
        return Said("return the spoiled mask, an array H,W", "is there a return at its end?" if r.ndim == 0 else "")
    if r.shape != call[0].shape:
        return Said("a spoiled mask is as large as the mask: cv2 wants sizes as (width, height)", f"it is {r.shape}")
    if not np.isin(r, (0, 1)).all():
        return Said("values other than 0 and 1 appear: resample masks by nearest neighbour, or threshold them")
    return None


def dilated(call: Call, r: np.ndarray) -> str | None:
    """Without scale and shift it is the mask, grown by a disk; one pixel more or less is left to the disk's maker."""
    mask, reach = call[0] > 0, radius(call)
    far = distance_transform_edt(~mask)
    if (r == mask).all():
        return Said("nothing is dilated: its outline must not be trusted, so it grows by a disk of radius thick * H")
    if not r[mask].all():
        return Said("parts of the mask are gone although scale and shift are 0: it is to be dilated, not eroded")
    if r[far > reach + 1].any():
        return Said("it grows too far somewhere: dilate by a DISK of radius round(thick * H), no square",
                    f"radius {reach}, found {far[r].max():.1f}")
    if not r[far <= reach - 1].all():
        return Said("it does not grow far enough on all sides: the disk's radius is round(thick * H) pixels")
    return None


def shifted(calls: Sequence[Call], masks: Sequence[np.ndarray]) -> str | None:
    """Shifts along x and y: up to the share of the object's own width and height, to either side, each by itself."""
    if any(not m.any() for m in masks):
        return Said("the mask is empty although the object was far from the border")
    home = box(calls[0][0] > 0)
    size, share = home[2:] - home[:2] + 1, calls[0][3]
    move = np.array([(box(m)[:2] + box(m)[2:] - home[:2] - home[2:]) / 2 for m in masks])  # n,2
    most = np.abs(move).max(0)
    limit = share * size
    if np.ptp(move, 0).max() == 0:
        return Said("every draw gave the same mask: draw the shift from the rng that is given")
    if most[0] < 0.35 * limit[0] and most[1] > limit[1] + 2:
        return Said("x and y are swapped: along x it moves by a share of the object's WIDTH, along y of its height")
    if (most > limit + 2).any():
        return Said("it moves too far: the shift is a share of the OBJECT's width and height, not of the frame's",
                    f"up to {most[0]:.0f} and {most[1]:.0f} pixels")
    if (most < 0.35 * limit).any():
        return Said("it hardly moves along x or along y: up to `shift` of the object's width, and of its height")
    if ((move > 0).all(0) | (move < 0).all(0)).any():
        return Said("it always moves to the same side: draw from -shift to shift")
    if abs(np.corrcoef(move.T)[0, 1]) > 0.95:
        return Said("x and y move together: draw two numbers")
    return None


def scaled(calls: Sequence[Call], masks: Sequence[np.ndarray]) -> str | None:
    """It grows and shrinks about its own middle, within bounds."""
    if any(not m.any() for m in masks):
        return Said("the mask is empty although it was only to be scaled")
    home, reach, scale = box(calls[0][0] > 0), radius(calls[0]), calls[0][2]
    width = home[2] - home[0] + 1
    boxes = np.array([box(m) for m in masks])
    move = np.abs((boxes[:, :2] + boxes[:, 2:] - home[:2] - home[2:]) / 2).max()
    zoom = (boxes[:, 2] - boxes[:, 0] + 1 - 2 * reach) / width
    slack = 3 / width
    if move > 2:
        return Said("it moves while it is only to be scaled: scale about the object's own middle",
                    f"by {move:.0f} pixels")
    if zoom.max() > 1 + scale + slack or zoom.min() < 1 - scale - slack:
        return Said("it is scaled too much: by a factor from 1 - scale to 1 + scale",
                    f"{zoom.min():.2f} to {zoom.max():.2f}")
    if zoom.max() < 1 + 0.3 * scale or zoom.min() > 1 - 0.3 * scale:
        return Said("over many draws it must both grow and shrink: by a factor from 1 - scale to 1 + scale")
    return None


def stays_on_its_side(call: Call, r: np.ndarray) -> str | None:
    """What is shifted out of the frame is gone."""
    if r[:, r.shape[1] // 2 :].any():
        return Said("what leaves the frame on the left comes back on the right: np.roll goes round, a shift does not")
    return None if r.any() else Said("the whole mask is gone although the shift was less than half its size")


def stays_empty(call: Call, r: np.ndarray) -> str | None:
    """Nothing in, nothing out."""
    return Said("an empty mask stays empty") if r.any() else None


def same_for_same_seed(calls: Sequence[Call], masks: Sequence[np.ndarray]) -> str | None:
    """Calls: the first seed twice, then others."""
    if not (masks[0] == masks[1]).all():
        return Said("the same rng gave two different masks: draw every number from the rng that is given")
    if all((m == masks[0]).all() for m in masks[2:]):
        return Said("every draw gave the same mask: draw from the rng that is given")
    return None


def again(rng: np.random.Generator, **size: Any) -> list[Call]:
    """The first call twice, then others; everything is drawn."""
    calls = draws(rng, scale=0.2, shift=0.2, n=5, **size)
    return [(calls[0][0].copy(), *calls[0][1:]), *calls]


def spoil_case(name: str, judge: Judge, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `spoil`."""
    return Case(name, calls, judge, prepare=spoil_prepare)


def empty(rng: np.random.Generator, h: int, w: int) -> list[Call]:
    """A mask without any object."""
    return [(np.zeros((h, w), np.uint8), int(rng.integers(1000)), 0.05, 0.1, THICK)]


SPOIL = Exercise(
    "lab2.spoil",
    relatives=("vos_teach.data.augment:corrupt", "vos_teach.mask_propagation.masktrack:spoil"),
    cases=(
        spoil_case("dilated alone", of_each(dilated), lambda rng: draws(rng, 480, 200, thick=THICK, n=2)),
        spoil_case("shifted alone", of_all(shifted), lambda rng: draws(rng, shift=0.2)),
        spoil_case("scaled alone", of_all(scaled), lambda rng: draws(rng, scale=0.3)),
        spoil_case("an object at the border", of_each(stays_on_its_side), at_border),
        spoil_case("an empty mask", of_each(stays_empty), lambda rng: empty(rng, 40, 64)),
        spoil_case("the same rng, the same mask", of_all(same_for_same_seed), again),
    ),
    hints=(
        "Three steps: where is the object (its box), an affine map that scales it about the box's middle and moves the "
        "middle, then a dilation. Every amount is a share of the object's own size; only the disk's is of the frame.",
        "rng.uniform(-shift, shift, 2) * (width, height) is the move, 1 + rng.uniform(-scale, scale) the zoom. "
        "cv2.warpAffine(mask, matrix, (W, H), flags=cv2.INTER_NEAREST) moves a mask; its matrix is 2x3, in (x, y).",
        "centre = (low + high) / 2; goal = centre + move; matrix = np.column_stack([zoom * np.eye(2), goal - zoom * "
        "centre]); then cv2.dilate by cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)).",
    ),
)
