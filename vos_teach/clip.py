"""The data: a clip is frames, masks, object ids, and what else is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import torch

from vos_teach.errors import VosError as VosError  # most of the house takes it from here

VOID = 255  # in a Clip's masks 255 is always void; readers turn DAVIS-2016's 0/255 masks into 0/1


class Lazy(Sequence):
    """A sequence whose items are made when asked for and never kept: `Lazy(n, make)[i]` is `make(i)`."""

    def __init__(self, length: int, make: Callable[[int], Any]):
        self.length, self.make = length, make

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            where = range(*i.indices(self.length))
            return Lazy(len(where), lambda j: self.make(where[j]))
        if not -self.length <= i < self.length:
            raise IndexError(i)
        return self.make(int(i) % self.length)


@dataclass(frozen=True)
class Clip:
    """One video. Frames and masks are sequences decoded on access, so a clip of any length costs little memory.

    name            the sequence's name
    frames          T items, each H,W,3 uint8 RGB
    masks           T items, each H,W uint8 (0 background, 1..254 object ids, 255 void), or None: not annotated
    ids             the objects' ids, ascending
    size            (H, W)
    starts          id -> the frame in which its mask is given (default: 0 for all)
    frame_names     T stems of the frames' files, "00000" and so on
    forward_flow    T-1 items, each H,W,2 float32 (dx, dy) in pixels: where a pixel of frame t is in frame t+1
    backward_flow   T-1 items: where a pixel of frame t+1 was in frame t
    attributes      DAVIS attributes that hold for the clip, for example {"occlusion", "fast-motion"}
    categories      id -> category name
    last_counts     whether the last frame is scored: in YouTube-VOS; not in DAVIS's one-shot protocol
    """

    name: str
    frames: Sequence[np.ndarray]
    masks: Sequence[np.ndarray | None]
    ids: tuple[int, ...]
    size: tuple[int, int]
    starts: Mapping[int, int] = field(default_factory=dict)
    frame_names: tuple[str, ...] = ()
    forward_flow: Sequence[np.ndarray] | None = None
    backward_flow: Sequence[np.ndarray] | None = None
    attributes: frozenset[str] = frozenset()
    categories: Mapping[int, str] = field(default_factory=dict)
    last_counts: bool = False

    def __post_init__(self) -> None:
        if len(self.frames) == 0:
            raise VosError(f"clip '{self.name}' has no frames")
        if len(self.masks) != len(self.frames):
            raise VosError(f"clip '{self.name}' has {len(self.frames)} frames but {len(self.masks)} masks")
        if not self.frame_names:
            object.__setattr__(self, "frame_names", tuple(f"{t:05d}" for t in range(len(self.frames))))
        object.__setattr__(self, "starts", {k: self.starts.get(k, 0) for k in self.ids})

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        return iter(zip(self.frames, self.masks, strict=True))

    def frame(self, t: int) -> torch.Tensor:
        """Frame t as the systems see it: 3,H,W float in [0, 1]."""
        return to_tensor(self.frames[t])

    def objects(self, t: int, ids: Sequence[int] | None = None) -> torch.Tensor:
        """The masks of `ids` (default: all) in frame t: K,H,W bool. Raises VosError if t is not annotated."""
        mask = self.masks[t]
        if mask is None:
            raise VosError(f"frame {self.frame_names[t]} of clip '{self.name}' has no annotation")
        ids = self.ids if ids is None else ids
        return torch.from_numpy(np.stack([mask == k for k in ids]) if ids else np.zeros((0, *mask.shape), bool))

    def cut(self, start: int = 0, stop: int | None = None) -> Clip:
        """Frames start..stop-1 as a clip. Objects given before `start` count as given in its first frame."""
        stop = len(self) if stop is None else min(stop, len(self))
        ids = tuple(k for k in self.ids if self.starts[k] < stop)
        return replace(
            self, frames=self.frames[start:stop], masks=self.masks[start:stop], ids=ids,
            starts={k: max(0, self.starts[k] - start) for k in ids}, frame_names=self.frame_names[start:stop],
            forward_flow=None if self.forward_flow is None else self.forward_flow[start : stop - 1],
            backward_flow=None if self.backward_flow is None else self.backward_flow[start : stop - 1],
        )

    def resize(self, height: int) -> Clip:
        """The clip at another height, aspect kept. Frames by area or bilinear, masks by nearest: ids stay exact."""
        h, w = self.size
        if height < 1:
            raise VosError(f"clip '{self.name}' cannot be {height} pixels high: ask for a height of 1 or more")
        if height == h:
            return self
        size = (height, max(1, round(w * height / h)))
        if self.forward_flow is not None or self.backward_flow is not None:
            scale = np.array([size[1] / w, size[0] / h], np.float32)

            def flows(seq: Sequence[np.ndarray] | None) -> Sequence[np.ndarray] | None:
                if seq is None:
                    return None
                return Lazy(len(seq), lambda t: cv2.resize(seq[t], size[::-1], interpolation=cv2.INTER_LINEAR) * scale)

            forward, backward = flows(self.forward_flow), flows(self.backward_flow)
        else:
            forward = backward = None
        return replace(
            self, size=size, forward_flow=forward, backward_flow=backward,
            frames=Lazy(len(self), lambda t: resize_frame(self.frames[t], size)),
            masks=Lazy(len(self), lambda t: None if (m := self.masks[t]) is None else resize_mask(m, size)),
        )


def resize_frame(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """H,W,3 uint8 -> size (H', W'), by area when shrinking, else bilinear."""
    shrink = size[0] < frame.shape[0]
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """H,W uint8 ids -> size (H', W'), by nearest neighbour at pixel centres, so that no new id can appear."""
    rows = ((np.arange(size[0]) + 0.5) * mask.shape[0] / size[0]).astype(int)
    cols = ((np.arange(size[1]) + 0.5) * mask.shape[1] / size[1]).astype(int)
    return np.ascontiguousarray(mask[rows[:, None], cols])


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """H,W,C uint8 -> C,H,W float in [0,1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
