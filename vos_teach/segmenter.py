"""The one protocol every system obeys, and the two adapters.

A result is always K+1,H,W probabilities: background first, then the objects in slot order, summing to 1.
Object ids belong to the engine; a system sees slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from vos_teach.ops.aggregate import soft_aggregate


class Segmenter(Protocol):
    """What a video object segmentation system must offer.

    task     "one-shot": masks of the objects are given when they appear; "zero-shot": none are
    causal   False if it needs frames ahead; then it has `segment` instead of `start` and `step`
    seed     every random draw of a clip comes from this; set by the engine before `start`
    """

    task: Literal["one-shot", "zero-shot"]
    causal: bool
    seed: int

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """Forget everything, see frame 0 (3,H,W float in [0,1]) and its masks (K,H,W bool; None for zero-shot)."""
        ...

    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """The next frame; `new` K',H,W bool: the masks of objects that appear in this frame (their slots follow)."""
        ...


class Whole(Protocol):
    """A system that needs the whole clip at once (`causal` is False)."""

    task: Literal["one-shot", "zero-shot"]
    causal: bool
    seed: int

    def segment(self, frames: Sequence[Tensor], masks: Tensor | None = None) -> Tensor:
        """All T frames -> T,K+1,H,W probabilities; `masks` (K,H,W bool, frame 0) for a one-shot system."""
        ...


def given(masks: Tensor) -> Tensor:
    """Given masks K,H,W bool as a result K+1,H,W: background where no object is; the first slot wins overlaps."""
    first = masks & (masks.cumsum(0) == 1)  # each pixel in one slot only
    return torch.cat([~masks.any(0, keepdim=True), first]).float()


class OneObject:
    """Adapter for systems that know one object only: a copy per object, each seeded alike, merged by soft_aggregate.

    `make()` builds a one-shot Segmenter for a single object. Copies should share what is never changed
    (a parent's weights), or K objects cost K networks.
    """

    task: Literal["one-shot"] = "one-shot"
    causal = True

    def __init__(self, make: Callable[[], Segmenter]):
        self.make, self.seed, self.copies = make, 0, []  # type: ignore[var-annotated]

    def _begin(self, frame: Tensor, masks: Tensor) -> None:
        for mask in masks:
            copy = self.make()
            copy.seed = self.seed
            copy.start(frame, mask[None])
            self.copies.append(copy)

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        assert masks is not None, "a one-shot system needs the masks of its first frame"
        self.copies = []
        self._begin(frame, masks)
        return given(masks)

    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        prob = [copy.step(frame)[1] for copy in self.copies]
        if not prob and new is None:
            return torch.ones(1, *frame.shape[-2:], device=frame.device)
        if new is None:
            return soft_aggregate(torch.stack(prob))  # K+1,H,W
        taken = new.any(0)  # a mask that is given beats every estimate on its pixels
        self._begin(frame, new)
        old = [p * ~taken for p in prob]
        return soft_aggregate(torch.stack([*old, *given(new)[1:]]))


class WholeClip:
    """Adapter that lets the engine's one loop run a system which needs the whole clip: it is segmented at `start`."""

    causal = False

    def __init__(self, system: Whole, frames: Sequence[Tensor]):
        self.system, self.frames, self.task, self.seed = system, frames, system.task, 0
        self.t = 0

    @property
    def finetune_seconds(self) -> float:
        """The system's own, if it has such."""
        return float(getattr(self.system, "finetune_seconds", 0.0))

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        self.system.seed, self.t = self.seed, 0
        self.results = self.system.segment(self.frames, masks)  # T,K+1,H,W
        return self.results[0]

    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter; objects that appear late are not supported by a system that sees all frames at once."""
        if new is not None:
            raise NotImplementedError("objects that appear after frame 0 need a system with start and step")
        self.t += 1
        return self.results[self.t]
