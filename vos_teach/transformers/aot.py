"""AOT: associating objects with transformers (Yang, Wei, Yang, NeurIPS 2021). All objects of a frame in ONE pass.

A bank holds a vector for the background and one for each of up to ten objects. A frame's masks become one map of these
vectors, the identities, and where a memory network stores a mask per object, this one stores that map:

    id     = bank row of the object that each pixel belongs to         ops.identify.assign_identities
    memory = (key, W(value + id))                                      queries are keys: one projection for both
    block    x + self-attention(x);   x + long(x, frame 0 and every n-th) + short(x, a window of the last frame);
             x + feed-forward(x), with a depthwise convolution
    logit of object k at a pixel = (the decoder's vector there) . (row k of the bank)

So time hardly depends on the number of objects. The other way, one pass for each object and a merge at the end ("post-
ensemble" in the paper), is here too: passes="each", same weights, frames encoded once. No row may come to mean a
kind of object: in training each clip draws anew which object has which row, and rows nobody has are left out of the
softmax.

Kept: the bank, W(v + id), key = query, both memories, frame 0 as its own memory, shuffled identities, the loss (half
bootstrapped cross-entropy, half soft Jaccard), training with its own predicted masks in memory. Changed: MobileNet-V2
is EfficientNet-Lite0, started from OSVOS's parent; the bank is one vector a row, spread by one convolution for all rows
(the paper's convolution has a filter for each), and serves as the output layer again: what one object teaches, all rows
have learnt; the window's bias does not depend on the query. Added: a third block at stride 8 (as the authors' later
MS-AOT has it), without self-attention, whose long-term memory is only the frames with given masks; at 240 lines a
window of 7 cells of stride 16 is the paper's 15 at 480 (at stride 8 it reaches half as far). Dropped: pre-training on
static images. Slots are ordered: another order, other rows of the bank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.clip import VosError
from vos_teach.data.sample import Source, crowded
from vos_teach.nn.backbone import backbone
from vos_teach.nn.blocks import split_heads
from vos_teach.nn.head import TopDown, groups, resize, seeded
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.identify import assign_identities
from vos_teach.ops.streams import softmax_over_objects
from vos_teach.segmenter import given
from vos_teach.transformers.aot_block import Block, Pair
from vos_teach.transformers.aot_training import lessons
from vos_teach.transformers.memory import STRIDE, over_pixels, whole_cells
from vos_teach.weights import load_part, started

Moment = list[Pair]  # what a frame leaves: a pair for each block
Identify = Callable[[Tensor, Tensor], Tensor]
IDENTITY = 32  # length of the bank's vectors


@dataclass(frozen=True)
class Config:
    """One configuration per scale. width: channels at strides 8 and 16; every, room: see AOT."""

    backbone: str = "lite0"
    objects: int = 10
    width: tuple[int, int] = (48, 96)
    blocks: int = 2  # at stride 16
    heads: int = 4
    window: int = 7
    every: int = 5
    room: int = 8
    weights: str | None = "aot"  # those that ship


SCALES = {
    "toy": Config(), "small": Config(),
    "paper": Config("resnet50", width=(128, 256), blocks=3, heads=8, window=15, weights=None),
}


class Network(nn.Module):
    """Trunk, bank, blocks, decoder. identify: the key operator, the library's or a student's."""

    def __init__(self, config: Config, pretrained: bool = True, identify: Identify = assign_identities):
        super().__init__()
        self.identify, self.heads, (fine, deep) = identify, config.heads, config.width
        self.trunk = backbone(config.backbone, pretrained)
        self.trunk.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        c2, c4, c8, c16 = self.trunk.channels
        self.deep_in = nn.Sequential(nn.Conv2d(c16, deep, 1), nn.GroupNorm(8, deep))
        self.fine_in = nn.Sequential(nn.Conv2d(c8, fine, 1), nn.GroupNorm(8, fine))
        self.lift = nn.Conv2d(deep, fine, 1)
        self.bank = nn.Parameter(nn.init.orthogonal_(torch.empty(config.objects + 1, IDENTITY)) * math.sqrt(deep))
        self.spread_fine, self.spread_deep = nn.Conv2d(IDENTITY, fine, 4, 2, 1), nn.Conv2d(IDENTITY, deep, 8, 4, 2)
        self.blocks = nn.ModuleList(Block(deep, config.heads, config.window, own=True) for _ in range(config.blocks))
        self.blocks.append(Block(fine, config.heads // 2, config.window, own=False))
        self.decoder = TopDown((c2, c4, fine, deep), (IDENTITY, IDENTITY, fine, deep))
        self.embed, self.straight = nn.Conv2d(IDENTITY, IDENTITY, 1), nn.Conv2d(fine, IDENTITY, 1)
        self.wake()
        self.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs

    @torch.no_grad()
    def wake(self) -> None:
        """Identities start as far apart in memory as in the bank, and are read back as they were written: before any
        training the answer is about the last mask, a little blurred.
        """
        for conv in (self.spread_fine, self.spread_deep):
            turned = nn.init.orthogonal_(torch.empty(conv.out_channels, IDENTITY))  # C,D
            conv.weight.mul_(0.5).add_(turned[..., None, None] / conv.weight[0, 0].numel())
            if conv is self.spread_fine:
                self.straight.weight.mul_(0.2).add_(0.3 * turned.T[..., None, None])
        self.embed.weight.mul_(0.5)

    def encode(self, frame: Tensor) -> list[Tensor]:
        """Frames B,3,H,W in [0,1] -> maps at strides 2, 4, 8, 16: they know nothing of any object."""
        f2, f4, f8, f16 = self.trunk(frame)
        return [f2, f4, self.fine_in(f8), self.deep_in(f16)]

    def identities(self, masks: Tensor, bank: Tensor) -> list[Tensor]:
        """Masks B,K+1,H,W, background first, and the rows B,K+1,D they take -> B,C,H/s,W/s for each block."""
        masks = F.avg_pool2d(masks, 4)
        ident = torch.stack([self.identify(m, b) for m, b in zip(masks, bank, strict=True)])  # B,D,H/4,W/4
        return [self.spread_deep(ident)] * (len(self.blocks) - 1) + [self.spread_fine(ident)]

    def propagate(self, features: Sequence[Tensor], shown: Sequence[Moment], seen: Sequence[Moment],
                  last: Moment | None, idents: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor, Moment]:
        """A frame through all blocks -> maps at strides 8 and 16 that know whose each place is, and keys and values.

        shown: moments whose masks were given; seen: others in long-term memory; last: the last frame's. idents: of
        this frame, which then is its own memory.
        """
        now = []
        fine, deep = features[2:]
        for i, block in enumerate(self.blocks):
            final = i + 1 == len(self.blocks)
            if final:
                fine = fine + resize(self.lift(deep), fine)
            x = fine if final else deep
            if idents is not None:
                x, pair = block(x, None, None, idents[i])
            else:
                assert last is not None, "a frame without identities needs a memory"
                held = [moment[i] for moment in (shown if final else [*shown, *seen])]
                far = torch.cat([k for k, _ in held], 1), torch.cat([v for _, v in held], 1)
                x, pair = block(x, far, last[i])
            now.append(pair)
            fine, deep = (x, deep) if final else (fine, x)
        return fine, deep, now

    def remember(self, now: Moment, idents: Sequence[Tensor]) -> Moment:
        """Keys and values of a frame, and its identities -> what memory holds of it."""
        blocks = cast("Sequence[Block]", self.blocks)
        return [block.remember(pair, ident) for block, pair, ident in zip(blocks, now, idents, strict=True)]

    def decide(self, features: Sequence[Tensor], fine: Tensor, deep: Tensor, bank: Tensor) -> Tensor:
        """-> logits B,K+1,H,W of the bank's rows B,K+1,D."""
        y = self.embed(self.decoder([*features[:2], fine, deep]))  # B,D,H/2,W/2
        y = y + resize(self.straight(fine), y)
        logits = torch.einsum("bdhw,bkd->bkhw", y, bank) / math.sqrt(IDENTITY)
        return F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)


class Group:
    """Objects that share a pass, and what is remembered of them."""

    def __init__(self) -> None:
        self.asked: list[bool] = []  # an empty mask asks for nothing
        self.shown: list[tuple[int, Moment]] = []  # frame numbers and moments
        self.seen: list[tuple[int, Moment]] = []
        self.last: Moment | None = None
        self.now: Moment | None = None  # of the frame that is being looked at

    def moments(self) -> tuple[list[Moment], list[Moment]]:
        """What is remembered of frames with given masks, and of others."""
        return [moment for _, moment in self.shown], [moment for _, moment in self.seen]


class AOT:
    """AOT on a clip. passes: "one" for all objects together, "each" for one pass an object, merged at the end.

    every: how often a frame goes to long-term memory, 0: only frames with given masks ever do; room: how many of those
    without, the latest; what is older is let go. Where an object is given late, that frame stays for ever, and with it
    the estimates of the older objects of its pass. More objects than the bank tells apart take further passes.
    """

    task, causal, seed = "one-shot", True, 0

    def __init__(self, net: Network, every: int = 5, room: int = 8, passes: str = "one", device: str = "cpu"):
        self.net, self.every, self.room, self.device = net.to(device).eval(), every, room, device
        self.most = 1 if passes == "each" else len(net.bank) - 1  # objects of a pass
        self.groups: list[Group] = []

    @torch.no_grad()
    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        assert masks is not None, "a one-shot system needs the masks of its first frame"
        self.groups, self.time = [], 0
        self.store(self.net.encode(frame[None]), given(masks), self.join(masks))
        return given(masks)

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        self.time += 1
        features = self.net.encode(frame[None])
        parts = [self.look(group, features) for group in self.groups]
        prob = parts[0] if len(parts) == 1 else soft_aggregate(torch.cat([p[1:] for p in parts]))
        joined: list[Group] = []
        if new is not None:  # a mask that is given beats every estimate on its pixels
            prob = soft_aggregate(torch.cat([prob[1:] * ~new.any(0), given(new)[1:]]))
            joined = self.join(new)
        self.store(features, prob, joined)
        return prob

    def join(self, masks: Tensor) -> list[Group]:
        """New objects: into the last group, or into new ones when it is full -> the groups that have got some."""
        joined: list[Group] = []
        for mask in masks:
            if not self.groups or len(self.groups[-1].asked) == self.most:
                self.groups.append(Group())
            self.groups[-1].asked.append(bool(mask.any()))
            if self.groups[-1] not in joined:
                joined.append(self.groups[-1])
        return joined

    def look(self, group: Group, features: list[Tensor]) -> Tensor:
        """One pass: what the frame shows of a group's objects, k+1,H,W."""
        fine, deep, group.now = self.net.propagate(features, *group.moments(), group.last)
        logits = self.net.decide(features, fine, deep, self.net.bank[None, : len(group.asked) + 1])[0]
        return softmax_over_objects(logits, torch.tensor(group.asked, device=logits.device))

    def store(self, features: list[Tensor], prob: Tensor, shown: Sequence[Group]) -> None:
        """The frame and its masks, K+1,H,W, into each group's memory; shown: groups of which some masks were given."""
        hard = F.one_hot(prob.argmax(0), len(prob)).permute(2, 0, 1).to(features[0])
        first = 1
        for group in self.groups:
            k = len(group.asked)
            own = hard[first : first + k]
            first += k
            masks = torch.cat([1 - own.sum(0, keepdim=True), own])[None]
            idents = self.net.identities(masks, self.net.bank[None, : k + 1])
            if group.now is None:  # a first frame is its own memory
                *_, group.now = self.net.propagate(features, [], [], None, idents)
            group.last = self.net.remember(group.now, idents)
            group.now = None
            if group in shown:
                group.shown.append((self.time, group.last))
            elif self.every and self.room and self.time % self.every == 0:
                group.seen = [*group.seen, (self.time, group.last)][-self.room :]

    @property
    def times(self) -> tuple[int, ...]:
        """The frame numbers of long-term memory, as in `looks`."""
        return tuple(time for time, _ in [*self.groups[0].shown, *self.groups[0].seen]) if self.groups else ()

    @torch.no_grad()
    def looks(self, frame: Tensor, at: tuple[int, int], slot: int = 0, block: int = 0) -> Tensor:
        """Where a pixel (y, x) of the next frame looks in long-term memory: T,H,W, a plane for each of `times`, sum 1.

        The system is stopped just before that frame, and stays there. slot: of an object, for the pass it is in; block:
        one of those at stride 16. Mean over the heads; the pixels of a cell share its weight.
        """
        whole = whole_cells(frame, at)
        if not 0 <= block < len(self.net.blocks) - 1:
            raise VosError(f"block is {block}: choose one from 0 to {len(self.net.blocks) - 2}")
        if slot // self.most >= len(self.groups):
            raise VosError("nothing is in memory yet: start the system on a clip first")
        group = self.groups[slot // self.most]
        shown, seen = group.moments()
        features = self.net.encode(whole)
        *_, now = self.net.propagate(features, shown, seen, group.last)
        heads, (rows, columns) = self.net.heads, features[3].shape[-2:]
        place = at[0] // STRIDE * columns + at[1] // STRIDE
        q = split_heads(now[block][0][:, place : place + 1], heads)  # 1,heads,1,c
        k = split_heads(torch.cat([moment[block][0] for moment in [*shown, *seen]], 1), heads)  # 1,heads,TN,c
        p = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1).mean(1).view(-1, rows, columns)
        return over_pixels(p, frame)


def aot(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
        passes: str = "one", identify: Identify = assign_identities, **changes: Any) -> AOT:
    """Build AOT. weights: a safetensors file instead of the one that ships; init: "trained", or "imagenet": all but the
    trunk is not trained; passes: "one" for all objects or "each"; identify: (masks K+1,H,W, bank K+1,D) -> D,H,W;
    changes: fields of Config.
    """
    if passes not in ("one", "each"):
        raise VosError(f"passes is '{passes}'; choose from: one, each")
    config = configured(SCALES, scale, None, None, changes)
    for name in ("every", "room"):
        if getattr(config, name) < 0:
            raise VosError(f"{name} is {getattr(config, name)}: it must be 0 or more")
    net = started("aot", lambda pretrained: new_network(config, pretrained, identify), init, weights or config.weights)
    return AOT(net, config.every, config.room, passes, device)


def new_network(config: Config, pretrained: bool, identify: Identify = assign_identities) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(config, pretrained, identify))


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 2600, batch: int = 2,
           size: tuple[int, int] = (160, 288), device: str = "cpu", trunk: str | None = "osvos",
           identify: Identify = assign_identities, **changes: Any) -> Recipe:
    """Training on short clips: what `vos-teach train aot` runs. size: of the crops.

    trunk: weights whose trunk it starts from; None: ImageNet's, as for other backbones than the default; changes:
    fields of Config. See aot_training.
    """
    config = replace(SCALES[scale], **changes)
    net, trunk = new_network(config, True, identify).to(device), trunk if config.backbone == "lite0" else None
    if trunk is not None:
        load_part(net.trunk, trunk, "trunk")
    return Recipe(net, lessons(net, crowded(sources), steps, batch, size, device), groups(net, 2e-4, 1e-3),
                  steps, {"batch": batch, "size": size, "trunk": trunk, "config": config})
