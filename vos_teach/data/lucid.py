"""Lucid data dreaming: training pairs from one annotated frame (Khoreva, Benenson, Ilg, Brox, Schiele, IJCV 2019).

The frame is taken apart into objects and background; both are put together again twice, each thing moved a little
further the second time. That gives two frames as a video might have them, their masks, and the flow between them, all
exact because all of it was made.

    background   inpainted where the objects were (their masks dilated), moved as a whole
    object       deformed by a thin-plate spline and moved; pasted with a soft edge
    light        hue stays; saturation and value become a x^b + c, alike in both frames

Kept: cut, inpaint, deform, light, paste, the amounts, several objects. Changed: OpenCV's inpainting for PatchMatch, a
feathered paste for Poisson blending. Dropped: further objects brought in from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from vos_teach.clip import VOID, VosError
from vos_teach.ops.deform import thin_plate_spline

STILL = 0.02  # of a pixel: how exact an inverse is


@dataclass(frozen=True)
class Dream:
    """Two frames in a row, H,W,3 uint8, their label maps, H,W uint8, and how the pixels of the first one move.

    flow     H,W,2 float32 in pixels (dx, dy): pixel p of the first frame is at p + flow(p) in the second
    visible  H,W bool: where it can still be seen there, inside the frame and not behind another thing
    """

    first: np.ndarray
    first_mask: np.ndarray
    second: np.ndarray
    second_mask: np.ndarray
    flow: np.ndarray
    visible: np.ndarray


class Dreamer:
    """A frame, H,W,3 uint8, and its label map, H,W uint8, taken apart once; `pair` dreams as many pairs as asked for.

    The amounts are the paper's: bend, of an object's size; turn in degrees; scale and shift (of the object's or frame's
    size) for what moves between the two frames. wander: how much further than that the first frame is from the real
    one. Raises VosError where there is no object.
    """

    def __init__(self, frame: np.ndarray, labels: np.ndarray, bend: float = 0.05, turn: float = 3.0,
                 scale: float = 0.05, shift: float = 0.05, wander: float = 3.0):
        labels = np.where(labels == VOID, 0, labels).astype(np.uint8)
        self.ids = [int(k) for k in np.unique(labels) if k]
        if not self.ids:
            raise VosError("there is nothing to dream of: the frame's mask has no object")
        self.frame, self.labels, self.size = frame, labels, labels.shape
        self.bend, self.turn, self.scale, self.shift, self.wander = bend, turn, scale, shift, wander
        radius = max(2, round(self.size[0] / 80))
        around = cv2.dilate((labels > 0).astype(np.uint8), np.ones((2 * radius + 1,) * 2, np.uint8))
        self.background = _inpaint(frame, around)

    def pair(self, rng: np.random.Generator) -> Dream:
        """Two frames."""
        h, w = self.size
        light = _light(rng)
        boxes = {0: np.array([[0, 0], [w - 1, h - 1]], float)}
        for k in rng.permutation(self.ids):  # who is in front of whom is the same in both frames
            y, x = np.nonzero(self.labels == k)
            boxes[int(k)] = np.array([[x.min(), y.min()], [x.max(), y.max()]], float)
        place = {k: self._motion(rng, box, k, self.wander) for k, box in boxes.items()}
        move = {k: self._motion(rng, place[k].box(box), k, 1.0) for k, box in boxes.items()}
        first, first_mask = self._draw({k: [place[k]] for k in boxes}, boxes, light)
        second, second_mask = self._draw({k: [place[k], move[k]] for k in boxes}, boxes, light)
        grid = _grid(self.size)
        target = np.empty((h * w, 2))
        for k in boxes:
            here = first_mask.ravel() == k
            target[here] = move[k](grid[here])
        flow = (target - grid).reshape(h, w, 2).astype(np.float32)
        at = np.rint(target).astype(int)
        inside = (at >= 0).all(1) & (at < (w, h)).all(1)
        there = second_mask[at[:, 1].clip(0, h - 1), at[:, 0].clip(0, w - 1)]
        visible = (inside & (there == first_mask.ravel())).reshape(h, w)
        return Dream(first, first_mask, second, second_mask, flow, visible)

    def _motion(self, rng: np.random.Generator, box: np.ndarray, k: int, much: float) -> Motion:
        """A random motion of what lies in a box; `much`: how many times the amounts."""
        return Motion.random(rng, box, self.bend if k else 0.0, self.turn * much, self.scale * min(much, 3.0),
                             self.shift * much)

    def _draw(self, motions: dict[int, Sequence[Motion]], boxes: dict[int, np.ndarray],
              light: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """A frame of things from back to front: where they go from the real frame, and their boxes there."""
        h, w = self.size
        mask, out = np.zeros(self.size, np.uint8), np.zeros((h, w, 3), np.float32)
        for k, steps in motions.items():
            box = boxes[k]
            for motion in steps:
                box = motion.box(box)
            left, top = np.floor(box[0] - 3).astype(int).clip(0, (w, h))
            right, bottom = np.ceil(box[1] + 4).astype(int).clip(0, (w, h))
            if k == 0:
                left, top, right, bottom = 0, 0, w, h
            if right <= left or bottom <= top:
                continue  # it has left the frame
            at = _grid((bottom - top, right - left)) + np.array([left, top])
            for motion in reversed(steps):
                at = motion.inverse(at)
            x, y = at.astype(np.float32).reshape(bottom - top, right - left, 2).transpose(2, 0, 1)
            picture = self.background if k == 0 else self.frame
            seen = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
            part = slice(top, bottom), slice(left, right)
            if k == 0:
                out[part] = seen
                continue
            own = (self.labels == k).astype(np.uint8)
            soft = cv2.GaussianBlur(own.astype(np.float32), (0, 0), 0.8) * own  # softened on its inner side
            alpha = cv2.remap(soft, x, y, cv2.INTER_LINEAR)[..., None]
            out[part] = alpha * seen + (1 - alpha) * out[part]
            mask[part][cv2.remap(own, x, y, cv2.INTER_NEAREST) > 0] = k
        return light(out.round().clip(0, 255).astype(np.uint8)), mask


@dataclass(frozen=True)
class Motion:
    """A smooth motion of the plane: a thin-plate spline from src to dst (P,2 each, or None), then an affine one."""

    matrix: np.ndarray
    offset: np.ndarray
    src: torch.Tensor | None = None
    dst: torch.Tensor | None = None

    @classmethod
    def random(cls, rng: np.random.Generator, box: np.ndarray, bend: float, turn: float, scale: float, shift: float
               ) -> Motion:
        """Of what lies in a box, [[left, top], [right, bottom]]: up to so much of its size, and so many degrees."""
        size, centre = box[1] - box[0] + 1, box.mean(0)
        angle, zoom = np.deg2rad(rng.uniform(-turn, turn)), 1 + rng.uniform(-scale, scale)
        matrix = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = centre + rng.uniform(-shift, shift, 2) * size - matrix @ centre
        if not bend:
            return cls(matrix, offset)
        points = box[0] + np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]]) * size  # never all on one line
        return cls(matrix, offset, torch.from_numpy(points),
                   torch.from_numpy(points + rng.uniform(-bend, bend, (5, 2)) * size))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """N,2 in (x, y) -> where they go."""
        return self._bent(points) @ self.matrix.T + self.offset

    def _bent(self, points: np.ndarray) -> np.ndarray:
        if self.src is None or self.dst is None or not len(points):
            return points
        return thin_plate_spline(self.src, self.dst, torch.from_numpy(np.ascontiguousarray(points, float))).numpy()

    def inverse(self, points: np.ndarray) -> np.ndarray:
        """Where N,2 points came from; the spline's inverse by iteration, to 1/50 of a pixel."""
        goal = (points - self.offset) @ np.linalg.inv(self.matrix).T
        if self.src is None:
            return goal
        found, open_ = goal.copy(), np.arange(len(goal))
        for _ in range(60):
            off = goal[open_] - self._bent(found[open_])
            found[open_] += off
            open_ = open_[np.abs(off).max(1) > STILL]
            if not len(open_):
                break
        return found

    def box(self, box: np.ndarray) -> np.ndarray:
        """Where a box goes, at most."""
        s = np.linspace(0, 1, 9)
        inner = np.stack(np.meshgrid(s, s), -1).reshape(-1, 2) * (box[1] - box[0]) + box[0]
        moved = self(inner)
        return np.array([moved.min(0), moved.max(0)])


def _grid(size: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x.ravel(), y.ravel()], 1).astype(float)


def _inpaint(frame: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Fill a hole in a frame: at a third of its size, since its inside is blurred anyway; seams stay sharp enough."""
    h, w = where.shape
    if where.all():
        return np.broadcast_to(frame.reshape(-1, 3).mean(0).astype(np.uint8), frame.shape).copy()
    small = max(2, round(h / 3)), max(2, round(w / 3))
    little = cv2.resize(frame, small[::-1], interpolation=cv2.INTER_AREA)
    hole = cv2.resize(where, small[::-1], interpolation=cv2.INTER_NEAREST)
    hole = cv2.dilate(hole, np.ones((3, 3), np.uint8))
    filled = cv2.resize(cv2.inpaint(little, hole, 3, cv2.INPAINT_TELEA), (w, h), interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(where.astype(np.float32), (0, 0), 1.5)[..., None]
    return (soft * filled + (1 - soft) * frame).round().astype(np.uint8)


def _light(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Saturation and value become a x^b + c (sec. 4): one change of light, for any frame."""
    a, b, c = 1 + rng.uniform(-0.05, 0.05, 2), np.exp(rng.uniform(-0.3, 0.3, 2)), rng.uniform(-0.07, 0.07, 2)

    def change(frame: np.ndarray) -> np.ndarray:
        hsv = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        hsv[..., 1:] = (a * hsv[..., 1:] ** b + c).clip(0, 1)
        return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).round().clip(0, 255).astype(np.uint8)

    return change
