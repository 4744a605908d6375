"""Visual memory: learning video object segmentation with visual memory (Tokmakov, Alahari, Schmid, ICCV 2017).
Nobody says which object is meant. Two streams look at each frame, one at the picture and one at what moves, and a
memory that runs over the whole clip in both directions decides: what has moved once is remembered when it stops.

    x_t    = [appearance(frame_t), motion(flow_t)]       128 channels and one: a map of what moves by itself
    h_t>   = ConvGRU(x_t, h_{t-1}>)     h_t< = ConvGRU(x_t, h_{t+1}<)
    mask_t = 1x1( decoder([h_t>, h_t<]) )

The whole is NOT learnt end to end. The motion network is trained before, on flow alone, and frozen; and flow itself
comes from a method made for something else (DIS here, a classical one). No error of a mask ever reaches either.
`flow` takes another method (data.flow.known: a toy clip's exact flow; or one that says 0: nothing moves),
`flow_seconds` says what it costs in time, and with joint=True in the recipe the motion network learns on.

Flow is blind to what stands still. So some training clips end with repeats of a frame: no flow at all, and the object
is labelled as before. The memory can only get that right by remembering.

Kept: two streams; the motion network's single map from flow alone, trained first on synthetic clips (FlyingThings in
the paper, toy clips and their exact flow here) and then frozen; an appearance network that has not learnt from the
memory's clips either, and 128 channels of it; the bidirectional ConvGRU with 64 channels each way; the stopped motion.
Changed: EfficientNet-Lite0, as ImageNet left it, for DeepLab, which knew PASCAL's objects; a small U-Net for MP-Net,
which here sees DAVIS's training flow too; a kernel of 3 for 7: at stride 8 both reach a tenth of the height, of 240 and
of 480 lines; a decoder with the backbone's finer stages for the CRF. Added: clips in other colours. The memory needs
the whole clip, and about 4 MB for each frame of 240 lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.clip import VOID
from vos_teach.data import toy
from vos_teach.data.flow import Estimator, tensors
from vos_teach.data.moving import moving
from vos_teach.data.sample import Source, drawn_clips
from vos_teach.data.windows import recoloured, windows
from vos_teach.nn.backbone import backbone
from vos_teach.nn.head import TopDown, resize, seeded, up
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.convrnn import ConvGRUCell
from vos_teach.ops.losses import mask_loss as objective
from vos_teach.weights import load_part, started

Cell = Callable[[int, int, int], nn.Module]  # (inputs, hidden, kernel) -> (x, h) -> h
Flow = str | Estimator  # a name or a function, see data.flow
APPEARANCE = 128
RATE = 1e-3  # of learning, at its peak


@dataclass(frozen=True)
class Config:
    """One configuration per scale; hidden and kernel are the ConvGRU's."""

    backbone: str = "lite0"
    hidden: int = 64
    kernel: int = 3
    weights: str | None = "visual-memory"  # those that ship


SCALES = {"toy": Config(), "small": Config(), "paper": Config("resnet50", kernel=7, weights=None)}


def legible(flow: Tensor) -> Tensor:
    """Flow B,2,H,W in pixels -> B,4,H,W: as it is, and without the frame's median, which a moving camera causes.

    In hundredths of the height, so that size does not matter, and |v| becomes log(1 + |v|), direction kept: a fast
    object must not drown a slow one. No flow gives zeros.
    """
    flow = flow * (100 / flow.shape[-2])
    rest = flow - flow.flatten(2).median(-1).values[..., None, None]

    def squash(v: Tensor) -> Tensor:
        size = v.norm(dim=1, keepdim=True)
        return v * torch.where(size > 1e-6, torch.log1p(size) / size.clamp_min(1e-6), 1.0)

    return torch.cat([squash(flow), squash(rest)], 1)


class Motion(nn.Module):
    """What moves by itself, from flow alone: a U-Net. Trained first, then frozen."""

    def __init__(self, widths: Sequence[int] = (16, 24, 32, 48)):
        super().__init__()
        self.down = nn.ModuleList()
        for c, d in zip((4, *widths), widths, strict=False):
            self.down.append(nn.Sequential(nn.Conv2d(c, d, 3, 2, 1), nn.GroupNorm(8, d), nn.ReLU(),
                                           nn.Conv2d(d, d, 3, 1, 1), nn.GroupNorm(8, d), nn.ReLU()))
        self.decoder = TopDown(widths, (16, *widths[:-1]))
        self.score = nn.Conv2d(16, 1, 1)

    def forward(self, flow: Tensor) -> Tensor:
        """B,2,H,W in pixels -> logits B,1,H/2,W/2."""
        x, maps = legible(flow), []
        for stage in self.down:
            x = stage(x)
            maps.append(x)
        return self.score(self.decoder(maps))


class Network(nn.Module):
    """Both streams, the memory in both directions, the decoder. cell: a ConvGRU cell, the library's or a student's."""

    def __init__(self, name: str = "lite0", pretrained: bool = True, hidden: int = 64, kernel: int = 3,
                 cell: Cell = ConvGRUCell):
        super().__init__()
        self.motion = Motion()
        self.trunk = backbone(name, pretrained)
        c2, c4, c8, c16 = self.trunk.channels
        self.near, self.far = nn.Conv2d(c8, APPEARANCE, 1), nn.Conv2d(c16, APPEARANCE, 1)
        self.there, self.back = (cell(APPEARANCE + 1, hidden, kernel) for _ in range(2))
        self.decoder = TopDown((c2, c4, 2 * hidden), widths=(16, 24, 48))
        self.score = nn.Conv2d(16, 1, 1)
        self.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs

    def look(self, frames: Tensor, flow: Tensor, joint: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Frames B,3,H,W and flow B,2,H,W -> both streams B,129,H/8,W/8, and the stages at strides 2 and 4.

        joint: the motion network learns too.
        """
        with torch.set_grad_enabled(joint and torch.is_grad_enabled()):
            moves = torch.sigmoid(self.motion(flow))
        f2, f4, f8, f16 = self.trunk(frames)
        far = resize(self.far(f16), f8)
        return torch.cat([F.relu(self.near(f8) + far), F.adaptive_avg_pool2d(moves, f8.shape[-2:])], 1), f2, f4

    def remember(self, streams: Sequence[Tensor]) -> list[Tensor]:
        """T of B,129,h,w -> T of B,2*hidden,h,w: what was seen until then, and what will be seen from then on."""
        passes = []
        for cell, order in ((self.there, streams), (self.back, streams[::-1])):
            h, states = None, []
            for x in order:
                h = cell(x, h)
                states.append(h)
            passes.append(states)
        return [torch.cat(both, 1) for both in zip(passes[0], passes[1][::-1], strict=True)]

    def decide(self, memory: Tensor, f2: Tensor, f4: Tensor, like: Tensor) -> Tensor:
        """A frame's memory and fine stages -> logits B,H,W of the size of frames `like`."""
        return up(self.score(self.decoder([f2, f4, memory])), like)

    def forward(self, frames: Tensor, flow: Tensor, joint: bool = False) -> Tensor:
        """Clips B,T,3,H,W and their flow B,T,2,H,W -> logits B,T,H,W."""
        shape, flat = frames.shape[:2], frames.flatten(0, 1)
        streams, f2, f4 = self.look(flat, flow.flatten(0, 1), joint)
        memory = torch.stack(self.remember(streams.unflatten(0, shape).unbind(1)), 1)
        return self.decide(memory.flatten(0, 1), f2, f4, flat).unflatten(0, shape)


def flows(frames: Sequence[Tensor], flow: Flow = "dis") -> list[Tensor]:
    """T frames 3,H,W -> T of 2,H,W, to the next frame; the last one's is that to the frame before it, turned round.

    Between equal frames, and in a clip of one frame, it is 0.
    """
    def one(a: Tensor, b: Tensor) -> Tensor:
        return torch.zeros_like(a[:2]) if torch.equal(a, b) else tensors(a, b, flow)

    last = len(frames) - 1
    return [one(frames[t], frames[t + 1]) for t in range(last)] + [-one(frames[last], frames[max(0, last - 1)])]


def stop(frames: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A clip whose second part is one frame, repeated: T,3,H,W and T,H,W -> the same. Nothing moves there any more."""
    still = int(rng.integers(1, max(2, len(frames) - 1)))
    times = torch.arange(len(frames)).clamp(max=still)
    return frames[times], labels[times]


class VisualMemory:
    """The system: whole clips, no mask given. `flow_seconds`: spent on flow in the latest clip."""

    task, causal, seed = "zero-shot", False, 0

    def __init__(self, net: Network, flow: Flow = "dis", device: str = "cpu"):
        self.net, self.flow, self.device, self.flow_seconds = net.to(device).eval(), flow, device, 0.0

    @torch.no_grad()
    def segment(self, frames: Sequence[Tensor], masks: Tensor | None = None) -> Tensor:
        """See Whole: T frames -> T,2,H,W."""
        begin = time.perf_counter()
        flow = flows(frames, self.flow)
        self.flow_seconds = time.perf_counter() - begin
        looks = [self.net.look(frames[t][None], flow[t][None]) for t in range(len(frames))]
        memory = self.net.remember([streams for streams, _, _ in looks])
        p = torch.cat([torch.sigmoid(self.net.decide(m, f2, f4, frames[0][None]))
                       for m, (_, f2, f4) in zip(memory, looks, strict=True)])  # T,H,W
        return torch.stack([1 - p, p], 1)


def visual_memory(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
                  flow: Flow = "dis", cell: Cell = ConvGRUCell, **changes: Any) -> VisualMemory:
    """Build it. weights: a safetensors file instead of the one that ships; init: "trained", or "imagenet": motion and
    memory know nothing yet; flow: one of data.flow's names, or a function of two frames; cell: (inputs, hidden, kernel)
    -> a ConvGRU cell with the library's parameters; changes: fields of Config.
    """
    config = configured(SCALES, scale, None, None, changes)
    net = started("visual-memory", lambda pretrained: new_network(config, pretrained, cell), init,
                  weights or config.weights)
    return VisualMemory(net, flow, device)


def new_network(config: Config, pretrained: bool, cell: Cell = ConvGRUCell) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(config.backbone, pretrained, config.hidden, config.kernel, cell))


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 1400, batch: int = 2, length: int = 6,
           size: tuple[int, int] = (192, 320), device: str = "cpu", stopped: float = 0.25, joint: bool = False,
           motion: str | Path | None = "visual-memory", trunk: str | Path | None = None, **changes: Any) -> Recipe:
    """The memory's training, both streams frozen: what `vos-teach train visual-memory` runs. size: of the crops.

    stopped   the share of clips that end with repeated frames
    joint     the motion network is not frozen
    motion    weights whose motion network is taken over; None: one that knows nothing yet, see `recipe_motion`
    trunk     weights whose trunk the appearance stream gets; None: ImageNet's; changes: fields of Config
    """
    config = replace(SCALES[scale], **changes)
    net = new_network(config, pretrained=True).to(device)
    if motion is not None:
        load_part(net.motion, motion, "motion")
    if trunk is not None:
        load_part(net.trunk, trunk, "trunk")
    net.trunk.requires_grad_(False)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        drawn, clips = windows(sources, rng, batch, size, length, gap=2, late=True), []
        for frames, labels in zip(recoloured(drawn.frames, rng), drawn.labels, strict=True):
            clips.append(stop(frames, labels, rng) if rng.random() < stopped else (frames, labels))
        frames, labels = (torch.stack(part) for part in zip(*clips, strict=True))
        flow = torch.stack([torch.stack(flows(clip)) for clip in frames])
        logit = net(frames.to(device), flow.to(device), joint)
        return objective(logit, ((labels > 0) & (labels != VOID)).to(device))

    return Recipe(net, loss, [{"params": [p for p in net.parameters() if p.requires_grad], "lr": RATE}], steps,
                  {"batch": batch, "length": length, "size": size, "stopped": stopped, "joint": joint,
                   "motion": str(motion), "trunk": str(trunk), "config": config})


def recipe_motion(sources: Sequence[Source], scale: str = "small", steps: int = 600, batch: int = 8,
                  size: tuple[int, int] = (192, 320), device: str = "cpu", toys: int = 100, **changes: Any) -> Recipe:
    """What comes before: the motion network alone, on the sources' flow and, half of it, the exact flow of `toys` toy
    clips in which only objects move. What it gives is `motion` for `recipe`.
    """
    config = replace(SCALES[scale], **changes)
    net = new_network(config, pretrained=True).to(device)
    lone = toy.training(toys, seed=1, distractors=0, similar=0)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        drawn: list[tuple[Tensor, Tensor]] = []
        while len(drawn) < batch:
            clips = lone if rng.random() < 0.5 else drawn_clips(sources, rng)
            if (one := moving(clips[int(rng.integers(len(clips)))], rng, size)) is not None:
                drawn.append(one)
        flow, target = (torch.stack(part).to(device) for part in zip(*drawn, strict=True))
        # Adam divides by the gradients' size over many steps: a loss that fades is a rate that fades, and the motion
        # network ends its training settled
        return (1 - step / steps) * objective(up(net.motion(flow), flow), target)

    return Recipe(net, loss, [{"params": list(net.motion.parameters()), "lr": RATE}], steps,
                  {"batch": batch, "size": size, "toys": toys})
