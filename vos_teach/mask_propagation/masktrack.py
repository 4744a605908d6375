"""MaskTrack: learning video object segmentation from static images (Perazzi, Khoreva, Benenson, Schiele,
Sorkine-Hornung, CVPR 2017). The mask of the last frame goes into the network beside the frame, which turns it into this
frame's.

    mask_t = network( [frame_t, mask_{t-1}] ) > 1/2           four channels in, one logit out; the video is a recursion

Such a network can be trained without any video. From one image and its mask an example is made by spoiling the mask
as the last frame's would be wrong for this one; the network learns to refine it:

    input   [image, dilate( deform(mask) )]         thin-plate spline, or scale and shift (data.augment.corrupt)
    target  mask

Offline that is all. Online, a copy of the network is fine-tuned on frame 0, turned, scaled and flipped, with its mask
spoiled in the same way, so that it knows this object's look as well as its place.

Kept: the fourth channel, training from single frames alone, the corruption with the paper's amounts, both modes, the
recursion on its own hard masks. Added: masks as a recursion leaves them (`spoil`), without which ours drifts. Changed:
DeepLab-VGG is replaced by EfficientNet-Lite0 with a top-down decoder; images come from DAVIS's training frames and toy
clips, half of them composites of two clips, where only the mask tells which object is meant; plain cross-entropy plus
soft Jaccard, since plain cross-entropy hedges and masks shrink from frame to frame. While nothing is found the last
place stays. Dropped: the twin that looks at flow (see LucidTracker), the CRF.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.data.augment import affine, corrupt, to_image, to_tensors
from vos_teach.data.lucid import Dreamer
from vos_teach.data.sample import Source, crowded, singles
from vos_teach.nn.guided import Guided
from vos_teach.nn.head import groups, seeded
from vos_teach.nn.online import configured, tune
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.losses import mask_loss as objective
from vos_teach.segmenter import OneObject, given
from vos_teach.weights import load_into, started

Deform = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # a mask H,W uint8 -> how the last frame had it


@dataclass(frozen=True)
class Config:
    """One configuration per scale; `steps` and `seconds` bound the fine-tuning; steps=0 is the offline system."""

    backbone: str = "lite0"
    steps: int | None = None
    seconds: float | None = None
    rate: float = 1e-4  # Adam, trunk
    head_rate: float = 3e-4  # Adam, decoder
    weights: str | None = "masktrack"  # those that ship
    lucid: bool = False  # fine-tune on lucid dreams of frame 0 (data/lucid.py)


SCALES = {
    "toy": Config(steps=60, rate=2e-4, head_rate=1e-3),
    "small": Config(seconds=30.0),
    "paper": Config(backbone="resnet50", steps=200, rate=1e-5, head_rate=1e-4, weights=None),
}


class Network(Guided):
    """Frame and mask in, logit out."""

    def __init__(self, name: str = "lite0", pretrained: bool = True):
        super().__init__(name, pretrained, extra=1)

    def forward(self, frame: Tensor, mask: Tensor) -> Tensor:
        """Frames B,3,H,W in [0,1], last masks B,H,W of 0 and 1 -> logits B,H,W."""
        return super().forward(frame, mask[:, None])[:, 0]


def example(frame: np.ndarray, mask: np.ndarray, rng: np.random.Generator, deform: Deform = corrupt
            ) -> tuple[Tensor, Tensor, Tensor]:
    """A training example of one image, H,W,3 uint8, and its mask, H,W uint8: frame 3,H,W, last mask H,W, target H,W."""
    image, target = to_tensors(frame, mask)
    return image, torch.from_numpy(np.ascontiguousarray(deform(mask, rng))).long(), target


def spoil(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The last mask as a recursion may leave it: H,W uint8 of 0 and 1 -> the same.

    Of 100, 40 are the paper's corruption, 30 the same two to three times as strong, 15 a fragment, from which the
    object must grow again, and 15 have a patch too much, which must go.
    """
    kind, at = rng.random(), np.argwhere(mask)
    if kind < 0.4 or not len(at):
        return corrupt(mask, rng)
    if kind < 0.7:
        return corrupt(mask, rng, bend=0.2, scale=0.15, shift=0.3)
    y, x = at[rng.integers(len(at))]
    reach = np.maximum(2, rng.uniform(0.15, 0.5, 2) * np.ptp(at, 0))
    patch = np.zeros_like(mask)
    patch[max(0, int(y - reach[0])) : int(y + reach[0]) + 1, max(0, int(x - reach[1])) : int(x + reach[1]) + 1] = 1
    return corrupt(mask * patch, rng) if kind < 0.85 else np.maximum(corrupt(mask, rng), patch)


class OneTracked:
    """MaskTrack for a single object: `start` fine-tunes a copy if there is a budget, `step` refines the last mask."""

    task, causal = "one-shot", True

    def __init__(self, offline: Network, config: Config, deform: Deform = spoil, device: str = "cpu",
                 on_step: Callable[[int, Network], None] | None = None):
        self.offline, self.config, self.deform, self.device, self.on_step = offline, config, deform, device, on_step
        self.seed, self.finetune_seconds, self.net, self.last = 0, 0.0, None, None

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter; K must be 1."""
        self.net, self.finetune_seconds, self.last = None, 0.0, masks[0]
        if masks.any():
            begin = time.perf_counter()
            self.net = copy.deepcopy(self.offline) if self.config.steps != 0 else self.offline
            self.tune(frame, masks[0])
            self.net.eval()
            self.finetune_seconds = time.perf_counter() - begin
        return given(masks)

    def tune(self, frame: Tensor, mask: Tensor) -> None:
        """Online learning on frame 0: 3,H,W and H,W bool."""
        image = to_image(frame)
        labels, rng = mask.cpu().numpy().astype(np.uint8), np.random.default_rng(self.seed)
        dreamer = Dreamer(image, labels) if self.config.lucid else None

        def loss() -> Tensor | None:
            if dreamer is None:
                x, last, target = example(*affine(image, labels, rng), rng, self.deform)
            else:
                dream = dreamer.pair(rng)
                spoilt = self.deform(dream.first_mask, rng)
                x, last, target = example(dream.second, dream.second_mask, rng, lambda *_: spoilt)
            if not target.any():  # turned out of the frame
                return None
            return objective(self.net(x[None].to(self.device), last[None].to(self.device)),
                             target[None].to(self.device))

        tune(self.net, groups(self.net, self.config.rate, self.config.head_rate), loss, self.config, self.on_step)

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        if self.net is None:  # an empty mask asks for nothing
            p = torch.zeros_like(frame[0])
        else:
            p = torch.sigmoid(self.net(frame[None], self.last[None])[0])  # H,W
            if (found := p > 0.5).any():
                self.last = found
        return torch.stack([1 - p, p])


class MaskTrack(OneObject):
    """MaskTrack for any number of objects: one recursion each, merged per pixel."""

    def __init__(self, offline: Network, config: Config, deform: Deform = spoil, device: str = "cpu",
                 on_step: Callable[[int, Network], None] | None = None):
        offline = offline.to(device).eval()
        super().__init__(lambda: OneTracked(offline, config, deform, device, on_step))
        self.device, self.config = device, config

    @property
    def finetune_seconds(self) -> float:
        """Seconds spent on online learning in this clip so far."""
        return sum(one.finetune_seconds for one in self.copies)


def masktrack(device: str = "cpu", scale: str = "small", steps: int | None = None, seconds: float | None = None,
              init: str = "trained", weights: str | None = None, deform: Deform = spoil,
              on_step: Callable[[int, Network], None] | None = None, **changes: Any) -> MaskTrack:
    """Build MaskTrack. steps, seconds: the fine-tuning budget, steps=0 for the offline system; init: "trained" or
    "imagenet"; weights: a safetensors file instead of the one that ships; deform: how frame 0's mask is spoiled while
    fine-tuning, (mask H,W uint8, rng) -> the same; changes: fields of Config.
    """
    config = configured(SCALES, scale, steps, seconds, changes)
    net = started("masktrack", lambda pretrained: new_network(config.backbone, pretrained), init,
                  weights or config.weights)
    return MaskTrack(net, config, deform, device, on_step)


def offline(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained") -> MaskTrack:
    """MaskTrack without online learning: what static images have taught it."""
    return masktrack(device, scale, steps=0, weights=weights, init=init)


def new_network(name: str, pretrained: bool) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(name, pretrained))


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 5000, batch: int = 4,
           size: tuple[int, int] = (224, 384), device: str = "cpu", start: str | Path | None = None,
           deform: Deform = corrupt) -> Recipe:
    """Offline training (section 3.2): what `vos-teach train masktrack` runs. size: the crops' height and width.

    start: weights to go on from, at lower rates; deform: how masks are spoiled.
    """
    net, sources = new_network(SCALES[scale].backbone, pretrained=True).to(device), crowded(sources)
    if start is not None:
        load_into(net, start)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        drawn = [example(*one, rng, deform) for one in singles(sources, rng, batch, size)]
        image, last, target = (torch.stack(part).to(device) for part in zip(*drawn, strict=True))
        return objective(net(image, last), target)

    rates = (5e-4, 2e-3) if start is None else (2e-4, 6e-4)
    return Recipe(net, loss, groups(net, *rates), steps, {"batch": batch, "size": size, "deform": deform.__name__})
