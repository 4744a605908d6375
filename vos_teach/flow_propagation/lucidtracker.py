"""LucidTracker: lucid data dreaming for object tracking (Khoreva, Benenson, Ilg, Brox, Schiele, IJCV 2019). Flow moves
the last masks to where their objects are now, and how fast each pixel moves is a picture of its own.

    warped_k = warp(mask_k of t-1, flow from t to t-1)          speed = |flow| beside the frame's own motion
    two streams   mean of softmax( A[frame, warped] ) and softmax( F[speed, warped] )
    one stream    softmax( J[frame, speed, warped] )

Several objects share a pass: one warped mask each in N input channels, N + 1 outputs, one softmax over those that are
there. So the time of a frame hardly depends on their number. `passes="each"` is the other way: the same network, one
object at a time, merged per pixel. More than N objects take further passes of N, merged in the same way.

Training needs pairs of frames, their masks and flow: lucid dreams of single frames (data/lucid.py), and real
neighbours. Online (an option), a copy of the network learns from dreams of frame 0 alone.

Kept: both designs, streams trained each by its own loss and averaged, masks warped by flow, N + 1 channels, dreams.
Changed: DeepLab-VGG is replaced by EfficientNet-Lite0 with a top-down decoder that starts from MaskTrack; FlowNet2 by
DIS, in training as in use; training dreams of DAVIS's training frames, composites and toy clips, and sees their real
neighbours too; cross-entropy plus soft Jaccard. Added: where the others' masks are near an object's logit falls
(`apart`), so that slots are told apart from the first step on; examples in which nothing moves, and composites of four.
Dropped: CRF, semantic segmentation (but see `extra`).
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
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.clip import VosError
from vos_teach.data import moments
from vos_teach.data.augment import to_image
from vos_teach.data.flow import Estimator, tensors
from vos_teach.data.lucid import Dreamer
from vos_teach.data.sample import Source, crowded
from vos_teach.nn.guided import Guided
from vos_teach.nn.head import groups, resize, seeded
from vos_teach.nn.online import configured, tune
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.losses import soft_iou
from vos_teach.ops.streams import average_streams, mask_channels, softmax_over_objects
from vos_teach.ops.warp import warp as bilinear
from vos_teach.segmenter import given
from vos_teach.weights import load, load_into

Extra = Callable[[Tensor], Tensor]  # a frame, 3,H,W in [0,1] -> one more map, H,W in [0,1]
STILL = 0.3  # the share of dreams in which nothing moves: or a motion stream learns that what rests is background
SHIPPED = {2: "lucidtracker", 1: "lucidtracker-one-stream"}  # by the number of streams


@dataclass(frozen=True)
class Config:
    """One configuration per scale; `steps` and `seconds` bound the fine-tuning, once for all objects of a frame."""

    backbone: str = "lite0"
    slots: int = 5
    steps: int | None = None
    seconds: float | None = None
    rate: float = 1e-4  # Adam, trunks
    head_rate: float = 3e-4  # Adam, decoders
    ships: bool = True
    lucid: bool = True  # fine-tuning is on dreams always; here so that every system knows the option


SCALES = {
    "toy": Config(steps=60, rate=2e-4, head_rate=1e-3),
    "small": Config(seconds=30.0),
    "paper": Config(backbone="resnet50", steps=200, rate=1e-5, head_rate=1e-4, ships=False),
}


class Stream(Guided):
    """A picture of three channels, further maps and N masks in; N + 1 logits out, background first."""

    def __init__(self, name: str, pretrained: bool, maps: int, slots: int):
        super().__init__(name, pretrained, extra=maps + slots, outputs=slots + 1)
        self.apart = nn.Parameter(torch.tensor(4.0))

    def forward(self, picture: Tensor, maps: Tensor, masks: Tensor) -> Tensor:
        """B,3,H,W; B,M,H,W (M may be 0); B,N,H,W, all in [0,1] -> logits B,N+1,H,W."""
        logits = super().forward(picture, torch.cat([maps, masks], 1))
        near = F.avg_pool2d(F.avg_pool2d(masks, 8), 5, 1, 2)  # blurred over 40 pixels
        near = resize(near, masks)
        others = near.sum(1, keepdim=True) - near  # 0 for an object that is alone
        return torch.cat([logits[:, :1], logits[:, 1:] - self.apart * others], 1)


class Network(nn.Module):
    """One or two streams of the same parts. extra: one more map beside them, to which two streams add a third."""

    def __init__(self, name: str = "lite0", pretrained: bool = True, streams: int = 2, slots: int = 5,
                 extra: bool = False):
        super().__init__()
        maps = [0] * (streams + extra) if streams == 2 else [1 + extra]
        self.slots, self.maps = slots, 1 + extra
        self.streams = nn.ModuleList(Stream(name, pretrained, m, slots) for m in maps)

    def forward(self, frame: Tensor, maps: Tensor, masks: Tensor) -> list[Tensor]:
        """Frames B,3,H,W, maps B,M,H,W (speed, and the extra one), warped masks B,N,H,W -> logits B,N+1,H,W each."""
        maps = maps[:, : self.maps]  # examples may have one more than this network takes
        if len(self.streams) == 1:
            return [self.streams[0](frame, maps, masks)]
        pictures = [frame, *(maps[:, i : i + 1].expand(-1, 3, -1, -1) for i in range(self.maps))]
        return [net(p, maps[:, :0], masks) for net, p in zip(self.streams, pictures, strict=True)]


def inherit(net: Network, source: str | Path = "masktrack") -> None:
    """Start every stream from MaskTrack's network: what it knows of a mask goes to each slot, a little differently.

    The further maps change nothing until they are trained.
    """
    theirs, rng = load(source), torch.Generator().manual_seed(0)
    for stream in net.streams:
        own, bias = stream.state_dict(), {}
        for name, value in theirs.items():
            if own[name].shape == value.shape:
                own[name] = value
            elif name.startswith("trunk"):  # 32,4,3,3 -> 32,3+M+N,3,3
                noise = torch.randn((len(value), net.slots, *value.shape[2:]), generator=rng)
                slots = value[:, 3:] + 0.2 * value[:, 3:].std() * noise
                own[name] = torch.cat([value[:, :3], torch.zeros_like(own[name][:, 3:-net.slots]), slots], 1)
                # the trunk turns 0 to 1 into -1 to 1, so a free slot is not nothing: all but one are made up for
                bias[name.replace("weight", "bias")] = slots.sum((1, 2, 3)) - value[:, 3:].sum((1, 2, 3))
            else:  # the score: a logit of foreground -> one of each object, against 0 of the background
                own[name][:1], own[name][1:] = 0, value
        for name, value in bias.items():
            own[name] = own[name] + value
        stream.load_state_dict(own)


def speed(flow: Tensor) -> Tensor:
    """How fast each pixel moves beside the frame's own (its median) motion: flow 2,H,W -> H,W in [0,1].

    1 is the fastest fiftieth of the frame, but at least two pixels, so that noise of a still frame is no motion.
    """
    size = (flow - flow.flatten(1).median(1).values[:, None, None]).norm(dim=0)
    return (size / torch.quantile(size.flatten()[::7], 0.98).clamp(min=2)).clamp(max=1)


def maps_of(frame: Tensor, flow: Tensor, extra: Extra | None = None) -> Tensor:
    """What a network sees beside frame and masks: speed and, if there is one, the extra map; M,H,W in [0,1]."""
    return torch.stack([speed(flow), *([] if extra is None else [extra(frame)])])


def objective(logits: Sequence[Tensor], target: Tensor, present: Tensor) -> Tensor:
    """Each stream by itself: cross-entropy over what is there, plus one minus the objects' soft Jaccard; summed.

    logits B,N+1,H,W each; target B,H,W int64 of slots (0: background); present B,N bool.
    """
    total = torch.zeros((), device=target.device)
    one_hot = F.one_hot(target, logits[0].shape[1]).permute(0, 3, 1, 2)[:, 1:]
    for x in logits:
        p = softmax_over_objects(x, present)
        hit = p.gather(1, target[:, None]).clamp(min=1e-7)
        total = total - hit.log().mean() + (1 - soft_iou(p[:, 1:], one_hot))[present].mean()
    return total


def loss_of(net: Network, drawn: Sequence[moments.Example], device: str) -> Tensor:
    """The objective of a batch of examples."""
    batch = [torch.stack(x).to(device) for x in zip(*((e.frame, e.maps, e.masks, e.target, e.present) for e in drawn),
                                                    strict=True)]
    return objective(net(*batch[:3]), *batch[3:])


class LucidTracker:
    """One-shot, causal: `start` fine-tunes a copy if there is a budget, `step` warps and refines the last masks."""

    task, causal = "one-shot", True

    def __init__(self, offline: Network, config: Config, passes: str = "one", flow: str | Estimator = "dis",
                 warp: Callable[[Tensor, Tensor], Tensor] = bilinear, fuse: Callable[..., Tensor] = average_streams,
                 over: Callable[[Tensor, Tensor], Tensor] = softmax_over_objects, device: str = "cpu",
                 on_step: Callable[[int, Network], None] | None = None,
                 extra: Extra | None = None):
        self.offline, self.config, self.flow, self.warp = offline.to(device).eval(), config, flow, warp
        self.fuse, self.over, self.device, self.on_step, self.extra = fuse, over, device, on_step, extra
        self.group = 1 if passes == "each" else config.slots  # objects of a pass
        self.seed, self.finetune_seconds = 0, 0.0

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        self.net, self.finetune_seconds, self.dreamers = self.offline, 0.0, []
        self.rng, self.frame = np.random.default_rng(self.seed), frame
        self.last = given(masks)[1:].bool()  # K,H,W
        self.there = masks.flatten(1).any(1)  # K bool: an empty mask asks for nothing
        if self.there.any():
            self.learn()
        return given(masks)

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        prob = self.look(frame)  # K+1,H,W
        if new is not None:  # a mask that is given beats every estimate on its pixels
            prob = soft_aggregate(torch.cat([prob[1:] * ~new.any(0), given(new)[1:]]))
            self.last = torch.cat([self.last, given(new)[1:].bool()])
            self.there = torch.cat([self.there, new.flatten(1).any(1)])
        found = F.one_hot(prob.argmax(0), len(prob)).permute(2, 0, 1)[1:].bool()
        seen = found.flatten(1).any(1)[:, None, None]
        self.last, self.frame = torch.where(seen, found, self.last), frame  # what is not found stays where it was
        if new is not None and new.any():
            self.learn()
        return prob

    def look(self, frame: Tensor) -> Tensor:
        """The next frame, 3,H,W, seen with the warped last masks -> K+1,H,W."""
        flow = tensors(frame, self.frame, self.flow)  # back to the last frame: where did this pixel come from
        warped = self.warp(self.last.to(frame), flow)  # K,H,W
        maps = maps_of(frame, flow, self.extra)[None]
        parts = []
        for i in range(0, len(warped), self.group):
            masks, there = warped[i : i + self.group], self.there[i : i + self.group]
            k, known = len(masks), torch.zeros(self.config.slots, dtype=torch.bool, device=frame.device)
            known[:k] = there
            logits = self.net(frame[None], maps, mask_channels(masks, self.config.slots)[None])
            said = [self.over(x[0], known)[: k + 1] for x in logits]
            # streams are averaged as distributions; of these, the logarithm is as good as logits
            parts.append(said[0] if len(said) == 1 else self.fuse(*(p.clamp(min=1e-12).log() for p in said)))
        return parts[0] if len(parts) == 1 else soft_aggregate(torch.cat([p[1:] for p in parts]))

    def learn(self) -> None:
        """Online learning on dreams of the frames in which objects were given, all objects at once."""
        if self.config.steps == 0:
            return
        begin = time.perf_counter()
        if self.net is self.offline:
            self.net = copy.deepcopy(self.offline)
        image = to_image(self.frame)
        slots = torch.arange(1, len(self.last) + 1, device=self.last.device)[:, None, None]
        self.dreamers.append(Dreamer(image, (self.last * slots).amax(0).to(torch.uint8).cpu().numpy()))

        def loss() -> Tensor | None:
            dream = self.dreamers[self.rng.integers(len(self.dreamers))].pair(self.rng)
            pair = dream.first, dream.first_mask, dream.second, dream.second_mask
            if self.rng.random() < STILL:
                pair = *pair[2:], *pair[2:]
            moment = moments.between(*pair, lambda frame, flow: maps_of(frame, flow, self.extra), self.flow)
            first = int(self.rng.integers(-(-len(self.last) // self.group))) * self.group
            ids = range(first + 1, min(first + self.group, len(self.last)) + 1)
            drawn = moments.example(moment, self.rng, self.config.slots, ids)
            return loss_of(self.net, [drawn], self.device) if drawn.present.any() else None

        tune(self.net, rated(self.net, self.config.rate, self.config.head_rate), loss, self.config, self.on_step)
        self.net.eval()
        self.finetune_seconds += time.perf_counter() - begin


def lucidtracker(device: str = "cpu", scale: str = "small", steps: int | None = None, seconds: float | None = None,
                 weights: str | None = None, flow: str | Estimator = "dis", streams: int = 2, passes: str = "one",
                 warp: Callable[[Tensor, Tensor], Tensor] = bilinear, fuse: Callable[..., Tensor] = average_streams,
                 over: Callable[[Tensor, Tensor], Tensor] = softmax_over_objects,
                 on_step: Callable[[int, Network], None] | None = None, extra: Extra | None = None,
                 **changes: Any) -> LucidTracker:
    """Build LucidTracker. steps, seconds: the budget for fine-tuning on dreams of the first frame, 0 for none; weights:
    a safetensors file instead of what ships; streams: 2 or 1; passes: "one" for all objects together or "each"; extra:
    frame 3,H,W -> a map H,W in [0,1], for weights trained with it; changes: fields of Config.
    """
    if streams not in SHIPPED:
        raise VosError(f"streams is {streams}: choose 1 or 2")
    if passes not in ("one", "each"):
        raise VosError(f"passes is '{passes}'; choose from: one, each")
    config = configured(SCALES, scale, steps, seconds, changes)
    if not config.lucid:
        raise VosError("this system is fine-tuned on dreams only: leave lucid as it is")
    if weights is None and (extra is not None or not config.ships):
        raise VosError("no weights ship for this scale or with an extra map: train some and give their file as weights")
    net = new_network(config.backbone, False, streams, config.slots, extra is not None)
    load_into(net, weights or SHIPPED[streams])
    return LucidTracker(net, config, passes, flow, warp, fuse, over, device, on_step, extra)


def one_stream(device: str = "cpu", scale: str = "small", **options: Any) -> LucidTracker:
    """LucidTracker whose frame, speed and masks go into one network."""
    return lucidtracker(device, scale, streams=1, **options)


def new_network(name: str, pretrained: bool, streams: int = 2, slots: int = 5, extra: bool = False) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(name, pretrained, streams, slots, extra))


def rated(net: Network, rate: float, head_rate: float) -> list[dict]:
    """Learning rates of the streams' trunks and of the rest."""
    return groups(net, rate, head_rate, [f"streams.{i}.trunk" for i in range(len(net.streams))])


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 1600, batch: int = 4,
           size: tuple[int, int] = (192, 320), device: str = "cpu", streams: int = 2, count: int = 1000,
           pool: moments.Pool | None = None, extra: Extra | None = None, start: str | Path = "masktrack") -> Recipe:
    """Offline training: what `vos-teach train lucidtracker` runs. size: the crops' height and width; count: of moments,
    two fifths of them dreams; pool: moments made already, with that extra map; start: MaskTrack's weights.
    """
    config = SCALES[scale]
    net = new_network(config.backbone, True, streams, config.slots, extra is not None).to(device)
    if config.ships:
        inherit(net, start)
    if pool is None:
        pool = moments.Pool(crowded(sources, fours=0.3), count, lambda frame, flow: maps_of(frame, flow, extra))

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        return loss_of(net, pool.draw(rng, batch, config.slots, size), device)

    about = {"batch": batch, "size": size, "streams": streams, "pool": len(pool), "extra": extra is not None}
    return Recipe(net, loss, rated(net, 2e-4, 6e-4), steps, about)


def recipe_one_stream(sources: Sequence[Source], scale: str = "small", **options: Any) -> Recipe:
    """What `vos-teach train lucidtracker-one-stream` runs."""
    return recipe(sources, scale, streams=1, **options)
