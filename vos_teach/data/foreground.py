"""Training examples for zero-shot systems: frames, what moves in them, and every object as foreground."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from vos_teach.clip import VOID, Clip, to_tensor
from vos_teach.data import composite, toy
from vos_teach.data.augment import light
from vos_teach.data.fields import moved, picture, placed, restless, steady
from vos_teach.data.flow import estimate
from vos_teach.data.sample import Source, draw
from vos_teach.data.windows import seen


class Examples:
    """Training examples: frames, their flow to the next frame, and all objects as foreground.

    Flow is found once a frame and kept (half precision, 0.4 MB each at 240p). plain: light, colours and motion stay as
    they are, for the fusion, which must see the streams fail as they will.
    """

    def __init__(self, sources: Sequence[Source], size: tuple[int, int], plain: bool = False):
        self.sources, self.size, self.plain = sources, size, plain
        self.kept: dict[tuple[str, int], np.ndarray] = {}

    def flow(self, clip: Clip, t: int) -> np.ndarray:
        """The steady flow from frame t on, H,W,2."""
        if (clip.name, t) not in self.kept:
            found = estimate(clip.frames[t], clip.frames[t + 1])
            self.kept[clip.name, t] = steady(found).astype(np.float16)
        return self.kept[clip.name, t].astype(np.float32)

    def draw(self, rng: np.random.Generator, batch: int, streams: Sequence[str] = ("appearance", "motion")
             ) -> dict[str, Tensor]:
        """A batch: "appearance", frames B,3,H,W; "motion", their flow's pictures B,3,H,W, as far as asked for by
        `streams`; "target", B,H,W of 0, 1 and void.
        """
        clips, batch, size = draw(self.sources, rng, batch, self.size)
        drawn: dict[str, list[Tensor]] = {name: [] for name in (*streams, "target")}
        while len(drawn["target"]) < batch:
            clip = clips[int(rng.integers(len(clips)))]
            t = int(rng.integers(len(clip) - 1))
            if (labels := clip.masks[t]) is None:
                continue
            mask = np.where(labels == VOID, np.uint8(VOID), (labels > 0).astype(np.uint8))
            matrix = placed(clip.size, rng, size, (0.9, 1.2) if self.plain else (0.75, 1.5))
            mask = seen(mask, matrix, size, cv2.INTER_NEAREST)
            if not (mask == 1).any():
                continue
            if "appearance" in drawn:
                frame = seen(clip.frames[t], matrix, size, cv2.INTER_LINEAR)
                drawn["appearance"].append(to_tensor(frame if self.plain else lit(frame, rng)))
            if "motion" in drawn:
                field, gain = moved(self.flow(clip, t), matrix, size), 1.0
                if not self.plain:
                    gain = float(np.exp(rng.uniform(-0.4, 0.4)))
                    if rng.random() < 0.04:  # nothing moves: there is nothing to find
                        field, mask = np.zeros_like(field), np.zeros_like(mask)
                    field = restless(field, rng)
                drawn["motion"].append(to_tensor(picture(field, gain)))
            drawn["target"].append(torch.from_numpy(mask).long())
        return {name: torch.stack(parts) for name, parts in drawn.items()}


def divided(sources: Sequence[Source]) -> tuple[list[Source], list[Source], list[Source]]:
    """Clips for the appearance stream, the motion stream, and the fusion: every fifth is the fusion's alone.

    Toy clips are made anew without moving things that count as background, as here all that moves is foreground. A
    quarter of the appearance stream's batches are composites, all objects foreground: new grounds for known things.
    """
    watched, unseen, looks = [], [], []
    for source in sources:
        clips = list(source.clips)
        if clips[0].forward_flow is not None:
            clips = toy.training(len(clips), distractors=0, similar=0)
        ours, theirs = [c for i, c in enumerate(clips) if i % 5 != 2], clips[2::5]
        watched.append(Source(source.name, ours, source.share))
        unseen.append(Source(source.name, theirs or ours, source.share))
        alone = [c for c in ours if len(c.ids) == 1]
        if clips[0].forward_flow is None and len(alone) > 1:
            looks += [Source(source.name, ours, 0.75 * source.share),
                      Source(source.name + "+", composite.suite(alone, 10 * len(alone)), 0.25 * source.share)]
        else:
            looks.append(watched[-1])
    return looks, watched, unseen


def lit(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frame in another light, and often in other colours: thirty videos must not be known by theirs."""
    if rng.random() < 0.3:
        frame = frame[..., rng.permutation(3)]
    if rng.random() < 0.3:
        grey = frame.mean(-1, keepdims=True)
        frame = (grey + (frame - grey) * rng.uniform(0, 0.7)).astype(np.uint8)
    if rng.random() < 0.2:
        frame = cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.5, 1.5))
    return light(np.ascontiguousarray(frame), rng, 0.35)
