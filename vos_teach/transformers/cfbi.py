"""CFBI: collaborative video object segmentation by foreground-background integration (Yang, Wei, Yang, ECCV 2020).
Each pixel asks two questions of frames whose masks are known: how near is the nearest pixel of the object, and how near
the nearest pixel that is NOT the object's? A look-alike is near to the object, but nearer still to itself.

    D(p, q)    = (sigmoid(|e_p - e_q|^2 + b) - 1/2) * 2              e: a pixel's embedding; b_F and b_B are learnt
    G_F, G_B   = min over q of frame 0 in the object; outside it     global: an object may come from anywhere
    L_F, L_B   = min over q of frame t-1, within +-w of p            local: from one frame to the next nothing jumps
    gate       = 1 + tanh(FC [mean e of: object and rest in frame 0, object and rest in frame t-1])
    logit      = ensemble( features(t), G_F, G_B, L_F, L_B, mask(t-1);  channels weighted by the gate )

Outside an object is the scene's background and every other object: G_B and L_B are the minimum over all other labels.
So frame and matching are shared, the decoder runs once for each object, and one distribution over all of them comes
out, which is what the loss is of.

Kept: foreground and background, global and local, several windows, both biases, instance-level gates, all objects
together, training through time with the last mask as the network itself has labelled it. Changed: DeepLab-ResNet-101 is
EfficientNet-Lite0, started from OSVOS's parent; matching is at stride 8 with 32 channels (stride 4, 100), on embeddings
of length 2, or many steps of training would be needed to bring distances into the sigmoid's range; three windows; three
gated blocks; soft Jaccard beside the bootstrapped cross-entropy. Added: nearest neighbours vote on the logit directly,
so that matching is trained from the first step; late in training, frames run through without gradients; in some steps
the background is left out (`background=False`), so that one network shows what it is good for. Dropped: balanced random
crops, the sequence-wise optimisation's longer clips, the multi-scale and flip tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.data.sample import Source, crowded
from vos_teach.data.windows import windows
from vos_teach.nn.backbone import backbone
from vos_teach.nn.head import groups, seeded
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.losses import bootstrapped_ce, soft_iou
from vos_teach.ops.matching import global_distance, local_distance
from vos_teach.segmenter import given
from vos_teach.weights import load_part, started

Global = Callable[[Tensor, Tensor, Tensor, Any], Tensor]  # (query C,h,w, memory C,H,W, masks K,H,W, bias) -> K,h,w
Local = Callable[[Tensor, Tensor, Tensor, Sequence[int], Any], Tensor]  # (..., windows, bias) -> K,windows,h,w
Memory = tuple[Tensor, Tensor]  # a frame to match with: embedding C,h,w, labels K+1,h,w bool: background, then objects
LENGTH, AHEAD, OBJECTS = 4, 4, 3  # frames of a training clip; frames before them, objects of them: at most


@dataclass(frozen=True)
class Config:
    """One configuration per scale; windows: of the local matching, in cells of 8 pixels."""

    backbone: str = "lite0"
    embedding: int = 32
    windows: tuple[int, ...] = (1, 2, 4)
    weights: str | None = "cfbi"  # those that ship


SCALES = {"toy": Config(), "small": Config(), "paper": Config("resnet50", 100, (2, 4, 6, 8, 10, 12), None)}


class Pyramid(nn.Module):
    """A frame, once for all objects: edges at strides 2 and 4, features and embeddings at stride 8."""

    def __init__(self, channels: Sequence[int], embedding: int):
        super().__init__()
        c2, c4, c8, c16 = channels
        self.edge = nn.ModuleList(nn.Sequential(nn.Conv2d(c, d, 3, padding=1), nn.GroupNorm(8, d))
                                  for c, d in ((c2, 16), (c4, 24)))
        self.fine, self.deep, self.norm = nn.Conv2d(c8, 64, 3, padding=1), nn.Conv2d(c16, 64, 1), nn.GroupNorm(8, 64)
        self.embed = nn.Conv2d(64, embedding, 1)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """A trunk's maps -> B,16,H/2,W/2, B,24,H/4,W/4, B,64,H/8,W/8 and the embeddings B,C,H/8,W/8."""
        f2, f4, f8, f16 = features
        x = F.relu(self.norm(self.fine(f8) + resize(self.deep(f16), f8)))
        return [self.edge[0](f2), self.edge[1](f4), x, 2 * F.normalize(self.embed(x))]


class Ensembler(nn.Module):
    """From what has been found about an object to its logits: residual blocks whose channels a gate weights, then edges
    from finer strides. gate: a vector per object of length `who`.
    """

    def __init__(self, who: int, width: int = 64, dilations: Sequence[int] = (1, 2, 4)):
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(who, width) for _ in dilations)
        for p in self.gates.parameters():
            nn.init.zeros_(p)  # every gate starts open: 1 + tanh(0)
        self.blocks = nn.ModuleList(nn.Sequential(
            nn.Conv2d(width, width, 3, padding=d, dilation=d), nn.GroupNorm(8, width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width)) for d in dilations)
        self.up4, self.merge4 = nn.Conv2d(width + 1, 24, 1), nn.Conv2d(24, 24, 3, padding=1)
        self.up2, self.merge2 = nn.Conv2d(24, 16, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.score = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor, who: Tensor, edges: Sequence[Tensor], mask: Tensor) -> Tensor:
        """x N,64,h,w; who N,W; edges N,16,H/2,W/2 and N,24,H/4,W/4; last masks N,1,H,W, +1 and -1 -> N,1,H/2,W/2."""
        for gate, block in zip(self.gates, self.blocks, strict=True):
            x = F.relu(x + block(x * (1 + torch.tanh(gate(who)))[..., None, None]))
        fine, mid = edges
        last = covered(mask, mid)
        y = F.relu(mid + self.up4(torch.cat([resize(x, mid), last], 1)))  # N,24,H/4,W/4
        y = F.relu(self.merge4(y)) + y
        y = F.relu(fine + resize(self.up2(y), fine))  # N,16,H/2,W/2
        return self.score(F.relu(self.merge2(y)) + y)


class Network(nn.Module):
    """global_match, local_match: the key operators, the library's or a student's. background: False leaves out the
    matching with what is not the object: nothing of it is ever near.
    """

    def __init__(self, config: Config = SCALES["small"], pretrained: bool = True,
                 global_match: Global = global_distance, local_match: Local = local_distance, background: bool = True):
        super().__init__()
        self.windows, self.background = config.windows, background
        self.global_match, self.local_match = global_match, local_match
        self.trunk = backbone(config.backbone, pretrained)
        self.trunk.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        self.pyramid = Pyramid(self.trunk.channels, config.embedding)
        self.bias = nn.Parameter(torch.zeros(2))  # b_F and b_B
        maps = 2 * (1 + len(config.windows)) + 1  # with the last mask
        self.enter = nn.Conv2d(64 + maps, 64, 3, padding=1)
        self.vote = nn.Conv2d(maps, 1, 1, bias=False)
        self.decoder = Ensembler(4 * config.embedding)
        self.trunk.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs
        with torch.no_grad():  # what is near votes for, what is near to the rest against
            self.vote.weight[0, :, 0, 0] = torch.tensor([-1.0, 1.0] * (maps // 2) + [0.5])

    def encode(self, frame: Tensor) -> list[Tensor]:
        """Frames B,3,H,W in [0,1] -> see Pyramid."""
        return self.pyramid([f.contiguous() for f in self.trunk(frame)])

    def match(self, now: Tensor, first: Memory, last: Memory) -> tuple[Tensor, Tensor]:
        """Embeddings C,h,w of this frame -> distances K,2 * (1 + windows),h,w, foreground and background in turns, and
        what gates hear of each object, K,4C.
        """
        (far, labels), (near, its) = first, last

        def distances(some: slice, bias: Tensor) -> Tensor:  # to some of the labels: K',1 + windows,h,w
            return torch.cat([self.global_match(now, far, labels[some], bias)[:, None],
                              self.local_match(now, near, its[some], self.windows, bias)], 1)

        fore, back = distances(slice(1, None), self.bias[0]), others(distances(slice(None), self.bias[1]))
        if not self.background:
            back = torch.ones_like(back)
        return torch.stack([fore, back], 2).flatten(1, 2), torch.cat([means(*first), means(*last)], 1)

    def look(self, features: Sequence[Tensor], first: Sequence[Memory], last: Sequence[Memory],
             masks: Sequence[Tensor]) -> list[Tensor]:
        """One frame of each of B clips -> logits K,H,W for each, K its number of objects.

        features: `encode`'s; first, last: the frames to match with; masks: the last labels, K+1,H,W, as `labelled`.
        """
        pairs = [self.match(*one) for one in zip(features[-1], first, last, strict=True)]
        maps, who = (torch.cat(part) for part in zip(*pairs, strict=True))  # N objects in all
        counts = [len(m) - 1 for m in masks]
        clip = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(maps.device)
        mask = 2 * torch.cat([m[1:] for m in masks]).to(maps)[:, None] - 1  # N,1,H,W
        fine, mid, x, _ = (f[clip] for f in features)
        known = torch.cat([2 * maps - 1, covered(mask, x)], 1)
        logit = self.decoder(F.relu(self.enter(torch.cat([x, known], 1))), who, (fine, mid), mask)
        logit = logit + resize(self.vote(known), logit)
        return list(F.interpolate(logit, mask.shape[-2:], mode="bilinear", align_corners=False)[:, 0].split(counts))


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the height and width of `like`."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


def covered(mask: Tensor, like: Tensor) -> Tensor:
    """The share of each of `like`'s cells that a mask covers."""
    return F.adaptive_avg_pool2d(mask, (like.shape[-2], like.shape[-1]))


def others(distance: Tensor) -> Tensor:
    """Distances to K+1 labels, background first -> those of K objects to all that is not theirs: K,... each."""
    return torch.stack([torch.cat([distance[:k], distance[k + 1 :]]).amin(0) for k in range(1, len(distance))]
                       ) if len(distance) > 1 else distance[1:]


def means(embedding: Tensor, labels: Tensor) -> Tensor:
    """The mean embedding inside and outside each object: C,h,w and K+1,h,w -> K,2C; zeros where there is no pixel."""
    inside = labels.flatten(1).to(embedding)  # K+1,hw
    total, count = inside @ embedding.flatten(1).T, inside.sum(1, keepdim=True)  # K+1,C; K+1,1
    rest = (total.sum(0) - total) / (count.sum() - count).clamp(min=1)
    return torch.cat([total / count.clamp(min=1), rest], 1)[1:]


def labelled(prob: Tensor) -> Tensor:
    """K+1,H,W probabilities -> K+1,H,W of 0 and 1: each pixel's most probable label."""
    return F.one_hot(prob.detach().argmax(0), len(prob)).movedim(-1, 0).to(prob)


def memory(embedding: Tensor, masks: Tensor) -> Memory:
    """A frame to match with, of its embedding C,h,w and its labels K+1,H,W: a cell has the label of most of its pixels.

    An object too thin to win any cell has the one which it covers most of.
    """
    share = covered(masks.to(embedding), embedding)  # K+1,h,w
    cells = labelled(share).bool()
    for k in range(1, len(share)):
        if not cells[k].any() and share[k].any():
            cells.flatten(1)[:, share[k].argmax()] = torch.arange(len(share), device=cells.device) == k
    return embedding, cells


class CFBI:
    """CFBI on a clip, all objects in every step. Of the past it keeps frame 0 (and frames in which objects appear) and
    the last frame, with their labels.
    """

    task, causal, seed = "one-shot", True, 0

    def __init__(self, net: Network, device: str = "cpu"):
        self.net, self.device = net.to(device).eval(), device

    @torch.no_grad()
    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        assert masks is not None, "a one-shot system needs the masks of its first frame"
        result, self.asked = given(masks), masks.flatten(1).any(1)
        self.masks = labelled(result)
        self.first = self.last = memory(self.net.encode(frame[None])[-1][0], self.masks)
        return result

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        features = self.net.encode(frame[None])
        new = torch.zeros_like(self.masks[:0]).bool() if new is None else new
        (logits,) = self.net.look(features, [self.first], [self.last], [self.masks])
        p = torch.sigmoid(logits) * ~new.any(0)  # a mask that is given beats every estimate on its pixels
        p = p * self.asked[:, None, None]  # an empty mask asks for nothing
        result = soft_aggregate(torch.cat([p, given(new)[1:].to(p)]))
        self.masks = labelled(result)
        self.last = memory(features[-1][0], self.masks)
        if len(new):
            self.asked = torch.cat([self.asked, new.flatten(1).any(1)])
            self.first = grown(self.first, self.last, len(new))
        return result


def grown(first: Memory, now: Memory, count: int) -> Memory:
    """Frame 0, and below it the frame in which `count` more objects appear, where older ones are only estimates."""
    (e, labels), (more, its) = first, now
    its = torch.cat([its[:1], torch.zeros_like(its[1:-count]), its[-count:]])
    return torch.cat([e, more], 1), torch.cat([F.pad(labels, (0, 0, 0, 0, 0, count)), its], 1)


def cfbi(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
         global_match: Global = global_distance, local_match: Local = local_distance, background: bool = True,
         **changes: Any) -> CFBI:
    """Build CFBI. weights: a safetensors file instead of the one that ships; init: "trained", or "imagenet": matching
    that is not trained; global_match, local_match, background: see Network; changes: fields of Config.
    """
    config = configured(SCALES, scale, None, None, changes)
    net = started("cfbi", lambda pretrained: new_network(config, pretrained, global_match, local_match, background),
                  init, weights or config.weights)
    return CFBI(net, device)


def new_network(config: Config, pretrained: bool, *operators: Any) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(config, pretrained, *operators))


def objective(logits: Tensor, target: Tensor) -> Tensor:
    """Of all objects together: K,H,W and H,W of 0..K, 255 ignored -> scalar.

    Bootstrapped cross-entropy of the joint distribution (the hardest quarter of the pixels), and one minus the soft
    Jaccard index of the objects that are shown.
    """
    p, counts = soft_aggregate(torch.sigmoid(logits)), target != 255
    truth = F.one_hot(target * counts, len(p)).movedim(-1, 0)[1:] * counts  # K,H,W
    loss = bootstrapped_ce(p.log()[None], target[None], 0.25)
    shown = truth.flatten(1).any(1)  # of an empty target soft Jaccard teaches nothing
    return loss + (1 - soft_iou(p[1:] * counts, truth)[shown]).mean() if shown.any() else loss


def unroll(net: Network, frames: Tensor, labels: Tensor, counts: Tensor, own: bool = True, ahead: int = 0) -> Tensor:
    """The loss of a batch of clips, through time: B,T,3,H,W, B,T,H,W of slots, B -> scalar.

    own: the last masks are the network's own labels, else the true ones. ahead: so many frames after frame 0 are run
    through without gradients and without a loss.
    """
    many = counts.clamp(max=OBJECTS).tolist()
    labels = torch.where((labels > OBJECTS) & (labels < 255), 0, labels)
    true = [F.one_hot(x * (x != 255), n + 1).movedim(-1, 1) for x, n in zip(labels, many, strict=True)]  # T,K+1,H,W
    features = encoded(net, torch.cat([frames[:, :1], frames[:, ahead + 1 :]], 1))
    if ahead:
        with torch.no_grad():
            features[1:1] = encoded(net, frames[:, 1 : ahead + 1])
    first = [memory(e, x[0]) for e, x in zip(features[0][-1], true, strict=True)]
    last, masks, losses = first, [x[0] for x in true], []
    for t, seen in enumerate(features[1:], 1):
        with torch.set_grad_enabled(t > ahead and torch.is_grad_enabled()):
            logits = net.look(seen, first, last, masks)
        if t > ahead:
            losses += [objective(x, y[t]) for x, y in zip(logits, labels, strict=True)]
        masks = [labelled(soft_aggregate(torch.sigmoid(x))) for x in logits] if own else [x[t] for x in true]
        last = [memory(e, m) for e, m in zip(seen[-1], masks, strict=True)]
    return torch.stack(losses).mean()


def encoded(net: Network, frames: Tensor) -> list[list[Tensor]]:
    """B,T,3,H,W -> what `encode` gives for each of the T frames, all encoded at once."""
    maps = [f.unflatten(0, frames.shape[:2]) for f in net.encode(frames.flatten(0, 1))]
    return [[f[:, t] for f in maps] for t in range(frames.shape[1])]


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 2000, batch: int = 2,
           size: tuple[int, int] = (192, 320), device: str = "cpu", trunk: str | None = "osvos", without: float = 0.15,
           **changes: Any) -> Recipe:
    """Training through time: what `vos-teach train cfbi` runs. size: of the crops.

    The first fifth of the steps has true last masks, the others the network's own labels. trunk: weights whose trunk
    the encoder starts from; None: ImageNet's, as for other backbones than the default; without: the share of steps that
    leave the background out; changes: fields of Config.
    """
    config = replace(SCALES[scale], **changes)
    net, sources = new_network(config, True).to(device), crowded(sources)
    trunk = trunk if config.backbone == "lite0" else None
    if trunk is not None:
        load_part(net.trunk, trunk, "trunk")

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        ahead = int(rng.integers(1, AHEAD + 1)) if step >= 0.5 * steps and rng.random() < 0.5 else 0
        net.background = bool(rng.random() >= without)
        drawn = windows(sources, rng, batch, size, LENGTH + ahead)
        return unroll(net, drawn.frames.to(device), drawn.labels.to(device), drawn.counts, step >= 0.2 * steps, ahead)

    return Recipe(net, loss, groups(net, 2e-4, 1e-3), steps,
                  {"batch": batch, "size": size, "trunk": trunk, "backbone": config.backbone, "without": without})
