"""VisTR: end-to-end video instance segmentation with transformers (Wang, Xu, Wang, Shen, Cheng, Shen, Xia, CVPR 2021).
Nobody says which objects. A clip goes in as one sequence, and one sequence of masks per instance comes out.

    memory     = encoder( features of all T frames + 3-D sine positions )     every place hears every place and time
    out(t, n)  = decoder( query(n) + sine(t) ),  n = 1..N           T x N queries: query n is ONE instance, always
    score, box = heads( out(t, n) )
    mask(., n) = 3-D convolutions over frames( attention maps of out(t, n), features )

Which query is which instance is decided once a clip: by the cost (class 1, L1 of boxes 5, generalised IoU 2), its mean
over the frames that show the instance; the cheapest assignment holds for all frames (ops.assign.match_sequences). So no
tracker is needed: an identity is the number of a query. Only frames that show a matched instance teach its box and its
mask: a box of nothing is no box.

Kept: instance queries aligned over frames, full attention over space and time, sequence matching and its cost, the 3-D
mask head with the attention maps. DETR needs hundreds of epochs to start; here all starts near a sensible answer.
Changed for that: five queries for the clip instead of ten a frame, learnt each as one vector and the frame's sine;
trunk, pixel decoder and first mask are those of FusionSeg's appearance stream (what stands out), and the queries' part
is added to it; the attention maps are supervised after every layer of the decoder, and a box is where such a map lies
(its mean and spread), plus a correction. Masks learn by cross-entropy and soft Jaccard (focal and dice in the paper).
ResNet is EfficientNet-Lite0; instances have no category, only "there or not".

A window has six frames. Longer clips take windows that share three, matched by masks and scores in those and averaged
there: no frame is left out. First comes the query with the greatest score; others below 1/2 stay empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.clip import VosError
from vos_teach.data.sample import Source, crowded
from vos_teach.data.windows import recoloured, windows
from vos_teach.nn.backbone import backbone
from vos_teach.nn.blocks import Attention, FeedForward, sine_positions, split_heads
from vos_teach.nn.head import TopDown, groups, resize, seeded
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.assign import match_sequences
from vos_teach.ops.losses import soft_iou
from vos_teach.transformers.vistr_training import Match, sequence_loss
from vos_teach.weights import load_part, started

PARENT = "fusionseg"  # whose appearance stream it starts from
STREAM = ("trunk", "decoder", "score")  # that stream


@dataclass(frozen=True)
class Config:
    """One configuration per scale. window, shared: frames of a window, and those it shares with the next."""

    backbone: str = "lite0"
    queries: int = 5
    width: int = 96
    heads: int = 4
    layers: int = 2  # of encoder and decoder each
    window: int = 6
    shared: int = 3
    weights: str | None = "vistr"  # those that ship


SCALES = {"toy": Config(), "small": Config(),
          "paper": Config("resnet50", queries=10, width=384, heads=8, layers=6, window=36, shared=18, weights=None)}


class Layer(nn.Module):
    """Self-attention, attention to memory (if `cross`), feed-forward; positions are added to queries and keys only."""

    def __init__(self, width: int, heads: int, cross: bool):
        super().__init__()
        self.own, self.cross = Attention(width, heads), Attention(width, heads) if cross else None
        self.feed, self.norms = FeedForward(width), nn.ModuleList(nn.LayerNorm(width) for _ in range(2 + cross))

    def forward(self, x: Tensor, place: Tensor, memory: Tensor | None = None, where: Tensor | None = None) -> Tensor:
        """x B,M,C at `place` M,C; memory B,N,C at `where` N,C -> B,M,C."""
        y = self.norms[0](x)
        x = x + self.own(y + place, y + place, y)
        if self.cross is not None:
            assert memory is not None and where is not None, "nothing to look at"
            x = x + self.cross(self.norms[2](x) + place, memory + where, memory)
        return x + self.feed(self.norms[1](x))


@dataclass
class Answer:
    """What the network says of a window of T frames and its N queries.

    scores B,T,N logits; boxes a list of B,T,N,4 (centre x, y, width, height; shares of the frame) and coarse a list of
    B,T,N,h,w logits at stride 16, one for each layer of the decoder, the last one last; views B,T,N,heads,h,w: the last
    layer's attention maps
    """

    scores: Tensor
    boxes: list[Tensor]
    coarse: list[Tensor]
    views: Tensor


class Network(nn.Module):
    """Trunk, pixel decoder, transformer, heads."""

    def __init__(self, config: Config, pretrained: bool = True):
        super().__init__()
        width, self.window = config.width, config.window
        self.trunk = backbone(config.backbone, pretrained)
        self.trunk.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        self.decoder, self.score = TopDown(self.trunk.channels), nn.Conv2d(16, 2, 1)  # FusionSeg's appearance stream
        self.enter = nn.Sequential(nn.Conv2d(self.trunk.channels[-1], width, 1), nn.GroupNorm(8, width))
        self.encoder = nn.ModuleList(Layer(width, config.heads, cross=False) for _ in range(config.layers))
        self.layers = nn.ModuleList(Layer(width, config.heads, cross=True) for _ in range(config.layers))
        self.queries = nn.Parameter(torch.randn(config.queries, width))
        self.settle, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.offer = nn.Linear(width, width), nn.Linear(width, width)  # the attention maps' queries and keys
        self.heads, self.blend = config.heads, nn.Parameter(torch.tensor([1.0, 0.5, -1.0]))  # of a map's logits
        self.there, self.shift = nn.Linear(width, 1), nn.Linear(width, 4)
        self.narrow, self.fine = nn.Conv2d(width, 16, 1), nn.Conv2d(16, 16, 1)
        self.mask = nn.ModuleList((nn.Conv3d(2 * 16 + config.heads + 1, 16, 3, padding=1),
                                   nn.Conv3d(16, 16, 3, padding=1), nn.Conv3d(16, 1, 3, padding=1)))
        for layer in (self.shift, self.there, self.mask[-1]):
            for p in layer.parameters():
                nn.init.zeros_(p)
        for part in (self.trunk, self.decoder):
            part.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs

    def look(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frames B,3,H,W, each by itself -> B,C,h,w at stride 16, B,16,H/2,W/2, and what stands out: B,1,H/2,W/2."""
        features = self.trunk(frames)
        pixels = self.decoder(features)
        both = self.score(pixels)  # background and foreground
        return self.enter(features[-1]), pixels, both[:, 1:] - both[:, :1]

    def ponder(self, deep: Tensor, out: Tensor) -> tuple[Answer, Tensor]:
        """Maps B,T,C,h,w and B,T,1,H/2,W/2 (see `look`) -> what it says of the queries, and memory B,T,C,h,w."""
        b, t, c, h, w = deep.shape
        place = sine_positions((self.window, h, w), c).to(deep)[:, :t]  # C,T,h,w
        where = place.flatten(1).T  # Thw,C
        memory = deep.permute(0, 1, 3, 4, 2).flatten(1, 3)  # B,Thw,C
        for layer in self.encoder:
            memory = layer(memory, where)
        memory = self.settle(memory)
        when = place.mean((2, 3)).T  # T,C
        asked = (when[:, None] + self.queries).flatten(0, 1)  # TN,C: query n in frame t
        x = asked.expand(b, -1, -1)  # B,TN,C
        prior = F.adaptive_avg_pool2d(out.flatten(0, 1), (h, w)).view(b, t, 1, h, w)
        keys = split_heads(self.offer(memory + where).view(b * t, h * w, c), self.heads)  # BT,heads,hw,c
        boxes, coarse = [], []
        for layer in self.layers:
            x = layer(x, asked, memory, where)
            said = self.norm(x).view(b, t, -1, c)
            q = split_heads(self.ask(said).flatten(0, 1), self.heads)  # BT,heads,N,c
            views = q @ keys.transpose(-1, -2) / math.sqrt(q.shape[-1])  # BT,heads,N,hw
            views = views.view(b, t, self.heads, -1, h, w).transpose(2, 3)
            own, likely, base = self.blend
            coarse.append(own * views.mean(3) + likely * prior + base)
            boxes.append(spread(torch.sigmoid(coarse[-1]), self.shift(said)))
        return Answer(self.there(said)[..., 0], boxes, coarse, views), memory.view(b, t, h, w, c).permute(0, 1, 4, 2, 3)

    def draw(self, answer: Answer, memory: Tensor, pixels: Tensor, out: Tensor, chosen: Sequence[tuple[int, int]]
             ) -> Tensor:
        """Masks of the chosen queries (clip, query): R,T,H,W of logits. pixels, out: B,T,..., see `look`."""
        b, n = (torch.tensor(part, device=pixels.device) for part in zip(*chosen, strict=True))
        t, half = pixels.shape[1], pixels.shape[-2:]
        fine = F.avg_pool2d(self.fine(pixels.flatten(0, 1)), 2).unflatten(0, (-1, t))  # B,T,16,H/4,W/4
        views = answer.views[b, :, n]  # R,T,heads,h,w
        views = views.flatten(3).softmax(-1).unflatten(3, views.shape[3:]) * (views.shape[3] * views.shape[4] / 4)
        deep = self.narrow(memory.flatten(0, 1)).unflatten(0, (-1, t))[b]
        x = torch.cat([deep, views, answer.coarse[-1][b, :, n][:, :, None]], 2).flatten(0, 1)
        x = resize(x, fine).unflatten(0, (-1, t))
        x = torch.cat([fine[b], x], 2).transpose(1, 2)  # R,C,T,H/4,W/4
        x = F.relu(self.mask[0](x))
        x = x + F.relu(self.mask[1](x))
        x = self.mask[2](x)[:, 0] + F.interpolate(answer.coarse[-1][b, :, n], x.shape[-2:], mode="bilinear",
                                                  align_corners=False)  # R,T,H/4,W/4
        x = F.interpolate(x, half, mode="bilinear", align_corners=False) + out[b, :, 0]
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, frames: Tensor) -> tuple[Answer, Callable[[Sequence[tuple[int, int]]], Tensor]]:
        """Clips B,T,3,H,W -> what it says, and a function that draws the masks of chosen queries (see `draw`)."""
        deep, pixels, out = (x.unflatten(0, frames.shape[:2]) for x in self.look(frames.flatten(0, 1)))
        answer, memory = self.ponder(deep, out)
        return answer, lambda chosen: self.draw(answer, memory, pixels, out, chosen)


def spread(p: Tensor, shift: Tensor) -> Tensor:
    """Boxes of soft masks: ...,h,w and corrections ...,4 -> ...,4 (centre x, y, width, height; shares of the frame).

    The box of even weight with the mask's mean and spread: width = sqrt(12) times the standard deviation.
    """
    h, w = p.shape[-2:]
    y, x = (torch.arange(h).to(p) + 0.5) / h, (torch.arange(w).to(p) + 0.5) / w
    total = p.sum((-2, -1)).clamp_min(1e-6)
    out = []
    for axis, weight in ((x, p.sum(-2)), (y, p.sum(-1))):
        mean = (weight * axis).sum(-1) / total
        var = (weight * (axis - mean[..., None]).square()).sum(-1) / total + 1 / (12 * len(axis) ** 2)
        out.append((mean, (12 * var).sqrt()))
    (cx, width), (cy, height) = out
    centre = torch.stack([cx, cy], -1) + 0.5 * torch.tanh(shift[..., :2])
    return torch.cat([centre, torch.stack([width, height], -1) * shift[..., 2:].clamp(-2, 2).exp()], -1)


def spans(length: int, window: int, shared: int) -> list[tuple[int, int]]:
    """First frames and ends of the windows over a clip: all as long as the window, the last one ends with the clip."""
    if length <= window:
        return [(0, length)]
    starts = [*range(0, length - window, window - shared), length - window]
    return [(a, a + window) for a in starts]


class VisTR:
    """VisTR on a whole clip. Planes are queries, the greatest score first; those below 1/2 are 0, but for the first.

    best: only the first. scores: of all queries of the latest clip, in [0,1], in that order. match: who goes on as whom
    from window to window.
    """

    task, causal, seed = "zero-shot", False, 0

    def __init__(self, net: Network, shared: int = 3, best: bool = False, match: Match = match_sequences,
                 device: str = "cpu"):
        self.net, self.shared, self.best, self.match = net.to(device).eval(), shared, best, match
        self.device, self.scores = device, []  # type: ignore[var-annotated]

    @torch.no_grad()
    def segment(self, frames: Sequence[Tensor], masks: Tensor | None = None) -> Tensor:
        """See Whole: T frames -> T,K+1,H,W; K is the number of queries, or 1."""
        looked: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        found: list[list[Tensor]] = [[] for _ in frames]  # of each frame: N,H,W from each window that has it
        scores: list[list[Tensor]] = [[] for _ in frames]
        before = 0
        for first, end in spans(len(frames), self.net.window, self.shared):
            looked = {t: looked[t] if t in looked else self.net.look(frames[t][None]) for t in range(first, end)}
            deep, pixels, out = (torch.cat(part)[None] for part in zip(*looked.values(), strict=True))
            answer, memory = self.net.ponder(deep, out)
            score = torch.sigmoid(answer.scores[0])  # T,N
            drawn = self.net.draw(answer, memory, pixels, out, [(0, n) for n in range(score.shape[1])])
            said = torch.sigmoid(drawn).transpose(0, 1)  # T,N,H,W
            if common := range(first, before):
                old = torch.stack([torch.stack(found[t]).mean(0) for t in common])
                was = torch.stack([torch.stack(scores[t]).mean(0) for t in common])
                kin = self.follow(said[: len(common)], score[: len(common)], old, was)
                said, score = said[:, kin], score[:, kin]
            for t in range(first, end):
                found[t].append(said[t - first])
                scores[t].append(score[t - first])
            before = end
        total = torch.stack([torch.stack(s).mean(0) for s in scores]).mean(0)  # N
        order = total.argsort(descending=True, stable=True)
        self.scores = total[order].tolist()
        kept = (total[order] >= 0.5).to(total)
        kept[0] = 1
        planes = 1 if self.best else len(order)
        return torch.stack([soft_aggregate((torch.stack(f).mean(0)[order] * kept[:, None, None])[:planes])
                            for f in found])

    def follow(self, new: Tensor, score: Tensor, old: Tensor, was: Tensor) -> list[int]:
        """Which query goes on as each of the last window's, by masks T,N,H,W and scores T,N of shared frames."""
        near = soft_iou(new[:, :, None], old[:, None])  # T,N,N
        unlike = 1 - near + (score[:, :, None] - was[:, None]).abs()
        pairs = self.match(unlike, torch.ones_like(was, dtype=torch.bool))
        return [q for q, _ in sorted(pairs, key=lambda pair: pair[1])]


def vistr(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
          best: bool = False, match: Match = match_sequences, **changes: Any) -> VisTR:
    """Build VisTR. weights: a safetensors file instead of the one that ships; init: "trained", or "imagenet": all but
    the trunk is not trained; best, match: see VisTR; changes: fields of Config.
    """
    config = configured(SCALES, scale, None, None, changes)
    if not 0 < config.shared < config.window:
        raise VosError(f"shared is {config.shared}: windows share from 1 to {config.window - 1} frames")
    if config.queries < 1:
        raise VosError(f"queries is {config.queries}: it must be at least 1")
    net = started("vistr", lambda pretrained: new_network(config, pretrained), init, weights or config.weights)
    return VisTR(net, config.shared, best, match, device)


def top(device: str = "cpu", scale: str = "small", **options: Any) -> VisTR:
    """VisTR's highest-scored query alone: one answer, where the truth has one object, as in DAVIS-2016."""
    return vistr(device, scale, best=True, **options)


def new_network(config: Config, pretrained: bool) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(config, pretrained))


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 2200, batch: int = 2,
           size: tuple[int, int] = (160, 288), device: str = "cpu", parent: str | None = PARENT,
           match: Match = match_sequences, **changes: Any) -> Recipe:
    """Training on windows: what `vos-teach train vistr` runs. size: of the crops.

    parent: weights whose appearance stream it starts from; None: from ImageNet's trunk, as for other backbones than the
    default; match: see vistr_training; changes: fields of Config.
    """
    config = replace(SCALES[scale], **changes)
    net, sources = new_network(config, True).to(device), crowded(sources)
    parent = parent if config.backbone == "lite0" else None
    if parent is not None:
        for name in STREAM:
            load_part(getattr(net, name), parent, f"appearance.{name}")

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        drawn = windows(sources, rng, batch, size, config.window, gap=3, late=True)
        return sequence_loss(net, recoloured(drawn.frames, rng).to(device), drawn.labels.to(device), match)

    return Recipe(net, loss, groups(net, 1e-4, 7e-4, STREAM), steps,
                  {"batch": batch, "size": size, "parent": parent, "config": config})
