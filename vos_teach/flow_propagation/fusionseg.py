"""FusionSeg: learning to combine motion and appearance for fully automatic segmentation of generic objects in videos
(Jain, Xiong, Grauman, CVPR 2017). Nobody says which object: what is segmented is what stands out, what moves, or both.

    a = appearance( frame_t )                       logits of background and foreground, per pixel
    m = motion( colours( flow from t to t+1 ) )     the same kind of network, shown the flow as a picture
    fused = conv3x3( max( branch_A(a), branch_M(m), branch_AM([a, m]) ) )        branch: 1x1 convolution, ReLU

The streams fail differently. A parked car looks like an object and does not move; a dancer before a crowd is one of
many people and the only one who moves; who stands still for a moment moves no more than the wall. So one stream being
sure can be enough (branches A and M), and sometimes only both together are (branch AM). The maximum is that "or"; the
public network leaves the combining operation unnamed, and here it is the maximum.

Kept: flow as colours, so that both streams start from ImageNet; 2-channel logits per stream; three parallel branches
and the 3x3 convolution; streams trained apart, and frozen while the fusion learns on clips that neither has seen (else
it would learn to trust the one that knows them by heart). Changed: ResNet-101 is replaced by EfficientNet-Lite0 with a
top-down decoder, Liu's flow by DIS; the camera's part of it, an affine fit, is taken off before the colours, since
thirty videos are too few to learn what cameras do. The last frame has no next one: its flow is the one back to the
frame before, turned round. Dropped: weakly labelled videos and images; all there is are DAVIS's training clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.clip import VOID, VosError, to_tensor
from vos_teach.data.fields import picture, steady
from vos_teach.data.flow import Estimator, tensors
from vos_teach.data.foreground import Examples, divided
from vos_teach.data.sample import Source
from vos_teach.nn.backbone import backbone
from vos_teach.nn.head import TopDown, groups, resize, seeded
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.losses import soft_iou
from vos_teach.weights import load_into, load_part

STREAMS = ("appearance", "motion", "both")
PARTS = ("appearance", "motion", "fusion")
Fuse = Callable[[Tensor, Tensor], Tensor]  # the streams' logits B,2,H,W each -> probabilities B,2,H,W


@dataclass(frozen=True)
class Config:
    """One configuration per scale."""

    backbone: str = "lite0"
    weights: str | None = "fusionseg"  # those that ship


SCALES = {"toy": Config(), "small": Config(), "paper": Config(backbone="resnet50", weights=None)}


class Fusion(nn.Module):
    """Three branches side by side, their maximum, and a 3x3 convolution.

    Two of the channels start as evidence for either class, so that an untrained fusion is about the streams' sum.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        self.appearance, self.motion = nn.Conv2d(2, width, 1), nn.Conv2d(2, width, 1)
        self.both = nn.Conv2d(4, width, 1)
        self.last = nn.Conv2d(width, 2, 3, padding=1, padding_mode="replicate")
        with torch.no_grad():
            for k in range(min(2, width)):  # channel k: what speaks for class k and against the other
                sign = torch.tensor([0.5, -0.5] if k == 0 else [-0.5, 0.5])[:, None, None]
                self.appearance.weight[k], self.motion.weight[k] = sign, sign
                self.both.weight[k] = torch.cat([sign, sign])
                self.last.weight[k, k, 1, 1] += 1

    def forward(self, a: Tensor, m: Tensor) -> Tensor:
        """Logits B,2,H,W of each stream -> fused logits B,2,H,W."""
        branches = self.appearance(a), self.motion(m), self.both(torch.cat([a, m], 1))  # B,16,H,W each
        return self.last(torch.stack([F.relu(b) for b in branches]).amax(0))


class Stream(nn.Module):
    """One picture in, background's and foreground's logits out. Appearance and motion differ in the picture alone."""

    def __init__(self, name: str = "lite0", pretrained: bool = True):
        super().__init__()
        self.trunk = backbone(name, pretrained)
        self.trunk.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        self.decoder = TopDown(self.trunk.channels)
        self.score = nn.Conv2d(16, 2, 1)
        self.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs

    def forward(self, image: Tensor) -> Tensor:
        """B,3,H,W in [0,1] -> logits B,2,H,W."""
        logits = self.score(self.decoder(self.trunk(image)))  # B,2,H/2,W/2
        return resize(logits, image)


class Network(nn.Module):
    """Both streams and their fusion."""

    def __init__(self, name: str = "lite0", pretrained: bool = True):
        super().__init__()
        self.appearance, self.motion, self.fusion = Stream(name, pretrained), Stream(name, pretrained), Fusion()


class FusionSeg:
    """The system: every frame by itself, from its colours and its motion to the next frame.

    stream: "both", or the one that works alone; fuse: what takes the place of the learnt fusion.
    """

    task, causal, seed = "zero-shot", False, 0

    def __init__(self, net: Network, stream: str = "both", flow: str | Estimator = "dis", fuse: Fuse | None = None,
                 device: str = "cpu"):
        self.net, self.device = net.to(device).eval(), device
        self.stream, self.flow, self.fuse = stream, flow, fuse

    @torch.no_grad()
    def segment(self, frames: Sequence[Tensor], masks: Tensor | None = None) -> Tensor:
        """See Whole: T frames 3,H,W -> T,2,H,W probabilities. `masks` is not looked at."""
        return torch.cat([self.look(frames, t) for t in range(len(frames))])

    def look(self, frames: Sequence[Tensor], t: int) -> Tensor:
        """Frame t of the clip -> 1,2,H,W probabilities."""
        if self.stream != "motion":
            a = self.net.appearance(frames[t][None])
            if self.stream == "appearance":
                return torch.softmax(a, 1)
        m = self.net.motion(self.seen_motion(frames, t)[None])
        if self.stream == "motion":
            return torch.softmax(m, 1)
        return torch.softmax(self.net.fusion(a, m), 1) if self.fuse is None else self.fuse(a, m)

    def seen_motion(self, frames: Sequence[Tensor], t: int) -> Tensor:
        """What the motion stream is shown of frame t: 3,H,W in [0,1]. One frame alone does not move."""
        now = frames[t]
        if t + 1 < len(frames):
            flow = tensors(now, frames[t + 1], self.flow)
        elif t > 0:
            flow = -tensors(now, frames[t - 1], self.flow)
        else:
            flow = now.new_zeros(2, *now.shape[-2:])
        return to_tensor(picture(steady(flow.permute(1, 2, 0).cpu().numpy()))).to(now)


def fusionseg(device: str = "cpu", scale: str = "small", weights: str | None = None, flow: str | Estimator = "dis",
              fuse: Fuse | None = None, stream: str = "both") -> FusionSeg:
    """Build FusionSeg. weights: a safetensors file instead of the one that ships; flow: a name of data.flow.NAMES or a
    function of two frames; fuse: (appearance logits, motion logits) -> probabilities, B,2,H,W each, instead of the
    learnt fusion; stream: "appearance" or "motion" for one alone.
    """
    if scale not in SCALES:
        raise VosError(f"there is no scale '{scale}'; choose from: {', '.join(SCALES)}")
    if stream not in STREAMS:
        raise VosError(f"stream is '{stream}'; choose from: {', '.join(STREAMS)}")
    if fuse is not None and stream != "both":
        raise VosError(f"the {stream} stream alone leaves nothing to fuse: leave out fuse, or take stream 'both'")
    config = SCALES[scale]
    if (source := weights or config.weights) is None:
        raise VosError("this scale ships no weights; train some (vos-teach train fusionseg --scale paper) and give "
                       "their file as weights")
    net = new_network(config.backbone, pretrained=False)
    load_into(net, source)
    return FusionSeg(net, stream, flow, fuse, device)


def appearance(device: str = "cpu", scale: str = "small", weights: str | None = None) -> FusionSeg:
    """The appearance stream alone: what stands out in a frame."""
    return fusionseg(device, scale, weights, stream="appearance")


def motion(device: str = "cpu", scale: str = "small", weights: str | None = None, flow: str | Estimator = "dis"
           ) -> FusionSeg:
    """The motion stream alone: what moves otherwise than the camera."""
    return fusionseg(device, scale, weights, flow, stream="motion")


def new_network(name: str, pretrained: bool) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(name, pretrained))


def objective(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus one minus the soft Jaccard index; B,2,H,W and B,H,W int64 of 0, 1 and void -> scalar."""
    p = torch.softmax(logits, 1)[:, 1] * (target != VOID)
    return F.cross_entropy(logits, target, ignore_index=VOID) + (1 - soft_iou(p, (target == 1).to(p))).mean()


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 2400, batch: int = 4,
           size: tuple[int, int] = (224, 384), device: str = "cpu", part: str = "all",
           start: dict[str, str | Path] | None = None, count: int = 60) -> Recipe:
    """Training: what `vos-teach train fusionseg` runs. size: the crops' height and width.

    part: "appearance", "motion" or "fusion" trains that one alone, so that the streams can be trained side by side on
    two machines; "all": the three at once, each from its own examples and with no gradient between them (the fusion
    then learns from streams that still change). start: part -> a file to take it from, for the fusion
    {"appearance": ..., "motion": ...}; count: batches whose logits the fusion alone learns from.
    """
    if part not in (*PARTS, "all"):
        raise VosError(f"part is '{part}'; choose from: {', '.join(PARTS)}, all")
    net = new_network(SCALES[scale].backbone, pretrained=True).to(device)
    for name, file in (start or {}).items():
        load_part(getattr(net, name), file, name)
    chosen = PARTS if part == "all" else (part,)
    examples = {name: Examples(own, size, plain=name == "fusion")
                for name, own in zip(PARTS, divided(sources), strict=True)}

    def seen_by_both(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        drawn = {key: value.to(device) for key, value in examples["fusion"].draw(rng, batch).items()}
        with torch.no_grad():  # the streams are frozen
            return net.appearance(drawn["appearance"]), net.motion(drawn["motion"]), drawn["target"]

    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        total = torch.zeros((), device=device)
        seeds = rng.integers(2**31, size=len(PARTS))  # so that a part alone sees the same examples
        for name, seed in zip(PARTS, seeds, strict=True):
            own = np.random.default_rng(seed)
            if name not in chosen:
                continue
            if name != "fusion":
                drawn = examples[name].draw(own, batch, (name,))
                logits, target = getattr(net, name)(drawn[name].to(device)), drawn["target"].to(device)
            elif part == "all":
                *both, target = seen_by_both(own)
                logits = net.fusion(*both)
            else:  # what the streams say of an example never changes: it is found once
                if not kept:
                    kept.extend(seen_by_both(np.random.default_rng([9, i])) for i in range(count))
                one = kept[int(own.integers(count))]
                some = torch.from_numpy(own.permutation(len(one[0]))[:2])
                *both, target = (x[some] for x in one)
                logits = net.fusion(*both)
            total = total + objective(logits, target)
        return total

    rates: list[dict[str, Any]] = []
    for name in chosen:
        one = getattr(net, name)
        rates += [{"params": list(one.parameters()), "lr": 2e-2}] if name == "fusion" else groups(one, 5e-4, 2e-3)
    return Recipe(net, loss, rates, steps, {"batch": batch, "size": size, "part": part, "count": count})


def recipe_appearance(sources: Sequence[Source], scale: str = "small", **options: Any) -> Recipe:
    """What `vos-teach train fusionseg-appearance` runs."""
    return recipe(sources, scale, part="appearance", **options)


def recipe_motion(sources: Sequence[Source], scale: str = "small", **options: Any) -> Recipe:
    """What `vos-teach train fusionseg-motion` runs."""
    return recipe(sources, scale, part="motion", **{"size": (192, 320), **options})  # flow has no fine detail
