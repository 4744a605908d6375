"""OSVOS: one-shot video object segmentation (Caelles, Maninis, Pont-Tuset, Leal-Taixe, Cremers, Van Gool, CVPR 2017).

A network is trained three times, each time for something narrower:
    base     ImageNet classification                 what edges, textures and things look like
    parent   foreground of many videos, offline      what a salient object looks like
    test     frame 0 of THIS video, online           what this object looks like
Then every frame is segmented by itself; nothing is carried from frame to frame.

    logit = 1x1( concat_s up( 3x3_s( feature_s ) ) )          s: backbone stages at strides 2, 4, 8, 16
    parent loss = (1 - e/E) * sum_s L(side_s) + L(logit),     L: class-balanced cross-entropy; e of E epochs done
    online loss = L(logit) on frame 0, flipped, rotated by +-30 degrees, scaled by 0.75 to 1.25

Kept: the three trainings, side outputs and their fading supervision, the balanced loss, independence of frames,
one network per object, weights restored afterwards. Changed: VGG-16 is replaced by EfficientNet-Lite0 (option:
vgg16), SGD on a summed loss by Adam on its mean. Dropped: the contour branch that snaps boundaries.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.clip import VosError
from vos_teach.data.augment import affine, to_image, to_tensors
from vos_teach.data.lucid import Dreamer
from vos_teach.data.sample import Source, stills
from vos_teach.nn.backbone import backbone
from vos_teach.nn.head import groups, seeded, up
from vos_teach.nn.online import configured, tune
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.losses import balanced_bce
from vos_teach.segmenter import OneObject, given
from vos_teach.weights import load_into


@dataclass(frozen=True)
class Config:
    """One configuration per scale; `steps` and `seconds` bound the fine-tuning, whichever ends first."""

    backbone: str = "lite0"
    steps: int | None = None
    seconds: float | None = None
    rate: float = 1e-4  # Adam, trunk
    head_rate: float = 5e-4  # Adam, side outputs and fusion
    weights: str | None = "osvos"  # shipped parent
    lucid: bool = False  # fine-tune on lucid dreams of frame 0 (data/lucid.py), not only on turns and zooms of it


SCALES = {
    "toy": Config(steps=60, rate=2e-4, head_rate=1e-3),  # few steps: larger ones
    "small": Config(seconds=30.0),
    "paper": Config(backbone="vgg16", steps=2000, rate=1e-5, head_rate=1e-4, weights=None),
}


class Network(nn.Module):
    """Side outputs of all backbone stages, fused linearly."""

    def __init__(self, name: str = "lite0", pretrained: bool = True, width: int = 16):
        super().__init__()
        self.trunk = backbone(name, pretrained)
        self.trunk.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        self.prepare = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1) for c in self.trunk.channels)
        self.score = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in self.trunk.channels)  # one per side loss
        self.fuse = nn.Conv2d(width * len(self.prepare), 1, 1)
        self.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs

    def forward(self, x: Tensor, sides: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """B,3,H,W in [0,1] -> logits B,H,W; with `sides` also the list of the side outputs' logits B,H,W."""
        maps = [conv(f) for conv, f in zip(self.prepare, self.trunk(x), strict=True)]  # B,16,H/s,W/s each
        # 1x1(concat(up(m))) = sum(up(1x1(m))): both are linear, and upsampling one channel is 16 times cheaper
        parts = self.fuse.weight.split(self.prepare[0].out_channels, dim=1)
        logit = sum(up(F.conv2d(m, w), x) for m, w in zip(maps, parts, strict=True)) + self.fuse.bias
        if not sides:
            return logit
        return logit, [up(score(m), x) for score, m in zip(self.score, maps, strict=True)]


def finetune(net: Network, frame: np.ndarray, mask: np.ndarray, rng: np.random.Generator, config: Config,
             loss: Callable[[Tensor, Tensor], Tensor] = balanced_bce,
             on_step: Callable[[int, Network], None] | None = None) -> int:
    """Online learning: train `net` in place on one frame (H,W,3 uint8) and its mask (H,W uint8, 0/1).

    Ends after config.steps steps or config.seconds seconds, whichever comes first; the learning rate falls
    linearly to a tenth over that budget. on_step(steps taken so far, net) is called before each step and at the
    end. Returns the number of steps taken.
    """
    device = next(net.parameters()).device

    dreamer = Dreamer(frame, mask) if config.lucid else None

    def once() -> Tensor | None:
        drawn = affine(frame, mask, rng)
        if dreamer is not None:
            dream = dreamer.pair(rng)
            drawn = dream.second, dream.second_mask
        image, target = to_tensors(*drawn)
        if not target.any():  # an object that was rotated out of the frame teaches nothing: the balanced loss is 0
            return None
        return loss(net(image[None].to(device)), target[None].to(device))

    return tune(net, groups(net, config.rate, config.head_rate), once, config, on_step)


class OneFrame:
    """OSVOS for a single object: `start` fine-tunes a copy of the parent on frame 0, `step` applies it to a frame."""

    task, causal = "one-shot", True

    def __init__(self, parent: Network, config: Config, loss: Callable[[Tensor, Tensor], Tensor] = balanced_bce,
                 device: str = "cpu", on_step: Callable[[int, Network], None] | None = None):
        self.parent, self.config, self.loss, self.device, self.seed = parent, config, loss, device, 0
        self.on_step = on_step
        self.finetune_seconds, self.steps, self.net = 0.0, 0, None

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter; K must be 1."""
        self.net, self.finetune_seconds, self.steps = None, 0.0, 0
        if masks.any():
            begin = time.perf_counter()
            self.net = copy.deepcopy(self.parent)  # the parent itself is never touched: weights are as new per object
            image = to_image(frame)
            rng = np.random.default_rng(self.seed)
            mask = masks[0].cpu().numpy().astype(np.uint8)
            self.steps = finetune(self.net, image, mask, rng, self.config, self.loss, self.on_step)
            self.net.eval()
            self.finetune_seconds = time.perf_counter() - begin
        return given(masks)

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        if self.net is None:  # an empty mask asks for nothing
            p = torch.zeros_like(frame[0])
        else:
            p = torch.sigmoid(self.net(frame[None])[0])  # H,W
        return torch.stack([1 - p, p])


class OSVOS(OneObject):
    """OSVOS for any number of objects: one network each, merged per pixel. `finetune_seconds` is the sum over all."""

    def __init__(self, parent: Network, config: Config, loss: Callable[[Tensor, Tensor], Tensor] = balanced_bce,
                 device: str = "cpu", on_step: Callable[[int, Network], None] | None = None):
        parent = parent.to(device).eval()
        super().__init__(lambda: OneFrame(parent, config, loss, device, on_step))
        self.device, self.config = device, config

    @property
    def finetune_seconds(self) -> float:
        """Seconds spent on online learning in this clip so far."""
        return sum(one.finetune_seconds for one in self.copies)


def osvos(device: str = "cpu", scale: str = "small", steps: int | None = None, seconds: float | None = None,
          init: str = "parent", weights: str | None = None, loss=balanced_bce, on_step=None, **changes) -> OSVOS:
    """Build OSVOS. steps, seconds: the fine-tuning budget (default: the scale's); init: where it starts from,
    "parent", "imagenet" (no parent training) or "scratch" (neither), for the paper's ablation; weights: a
    safetensors file to use instead of the shipped parent; loss, on_step: as in finetune; changes: fields of Config.
    """
    config = configured(SCALES, scale, steps, seconds, changes)
    return OSVOS(parent_network(config.backbone, init, weights or config.weights), config, loss, device, on_step)


def mask_blind(device: str = "cpu", scale: str = "small", weights: str | None = None) -> OSVOS:
    """The baseline that never sees which object was asked for: the parent, with no fine-tuning at all."""
    return osvos(device, scale, steps=0, weights=weights)


def new_network(name: str, pretrained: bool) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(name, pretrained))


def parent_network(name: str, init: str = "parent", source: str | None = None) -> Network:
    """A network at the start of its online learning. Raises VosError if a parent is asked for and there is none."""
    if init not in ("parent", "imagenet", "scratch"):
        raise VosError(f"init is '{init}'; choose from: parent, imagenet, scratch")
    if init == "parent" and source is None:
        raise VosError("this scale ships no parent; train one (vos-teach train osvos --scale paper) and give "
                       "its file as weights, or start from init 'imagenet'")
    net = new_network(name, pretrained=init == "imagenet")
    if init == "parent":
        load_into(net, source)
    return net


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 3000, batch: int = 4,
           size: tuple[int, int] = (224, 384), device: str = "cpu") -> Recipe:
    """Parent training (section 3.2): what `vos-teach train osvos` runs. size: the crops' height and width."""
    net = new_network(SCALES[scale].backbone, pretrained=True).to(device)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        image, target = (x.to(device) for x in stills(sources, rng, batch, size))
        logit, sides = net(image, sides=True)
        fade = 1 - step / steps  # the side outputs' supervision fades as the fused output takes over
        return balanced_bce(logit, target) + fade * sum(balanced_bce(side, target) for side in sides)

    return Recipe(net, loss, groups(net, 3e-4, 1e-3), steps, {"batch": batch, "size": size})
