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
crops, tests at several scales and flipped.
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
from vos_teach.data.windows import asked, recoloured, windows
from vos_teach.nn.backbone import backbone
from vos_teach.nn.head import groups, resize, seeded, up
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.losses import bootstrapped_ce, soft_iou
from vos_teach.ops.matching import global_distance, local_distance
from vos_teach.segmenter import given
from vos_teach.transformers.ensembler import Ensembler, Pyramid, covered
from vos_teach.weights import load_part, started

Global = Callable[[Tensor, Tensor, Tensor, Any], Tensor]  # (query C,h,w, memory C,H,W, masks K,H,W, bias) -> K,h,w
Local = Callable[[Tensor, Tensor, Tensor, Sequence[int], Any], Tensor]  # (..., windows, bias) -> K,windows,h,w
Memory = tuple[Tensor, Tensor]  # a frame to match with: embedding C,h,w, labels K+1,h,w bool: background, then objects
Past = tuple[list[Memory], list[Memory]]  # frames in which objects appear, frame 0 first; the latest ones, in order
LENGTH, AHEAD, OBJECTS = 4, 4, 3  # frames of a training clip; frames before them, objects of them: at most


@dataclass(frozen=True)
class Config:
    """One configuration per scale; windows: of the local matching, in cells of 8 pixels."""

    backbone: str = "lite0"
    embedding: int = 32
    windows: tuple[int, ...] = (1, 2, 4)
    weights: str | None = "cfbi"  # those that ship


SCALES = {"toy": Config(), "small": Config(), "paper": Config("resnet50", 100, (2, 4, 6, 8, 10, 12), None)}


class Network(nn.Module):
    """global_match, local_match: the key operators, the library's or a student's. background: False leaves out the
    matching with what is not the object: nothing of it is ever near.
    """

    recent = 1  # of the latest frames so many are kept

    def __init__(self, config: Config = SCALES["small"], pretrained: bool = True,
                 global_match: Global = global_distance, local_match: Local = local_distance, background: bool = True):
        super().__init__()
        self.windows, self.background = config.windows, background
        self.global_match, self.local_match = global_match, local_match
        self.trunk = backbone(config.backbone, pretrained)
        self.trunk.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        self.pyramid = Pyramid(self.trunk.channels, config.embedding)
        self.bias = nn.Parameter(torch.zeros(2))  # b_F and b_B
        self.ensemble(config, 1 + len(config.windows), 0)

    def ensemble(self, config: Any, planes: int, context: int) -> None:
        """What comes after `match`, which gives each object `planes` maps of either kind, and all of them `context`."""
        self.enter = nn.Conv2d(64 + context + 2 * planes + 1, 64, 3, padding=1)
        self.vote = nn.Conv2d(2 * planes + 1, 1, 1, bias=False)
        self.decoder = Ensembler(4 * config.embedding)
        self.trunk.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs
        with torch.no_grad():  # what is near votes for, what is near to the rest against
            self.vote.weight[0, :, 0, 0] = torch.tensor([-4.0 / planes, 4.0 / planes] * planes + [0.5])

    def encode(self, frame: Tensor) -> list[Tensor]:
        """Frames B,3,H,W in [0,1] -> see Pyramid."""
        return self.pyramid([f.contiguous() for f in self.trunk(frame)])

    def match(self, now: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        """Embeddings C,h,w of this frame -> distances K,2 * planes,h,w in [0,1], foreground and background in turns,
        and context,h,w: maps that are the same for all objects, none here.
        """
        (far, labels), (near, its) = joined(past[0]), latest(past)

        def distances(some: slice, bias: Tensor) -> Tensor:  # to some of the labels: K',1 + windows,h,w
            return torch.cat([self.global_match(now, far, labels[some], bias)[:, None],
                              self.local_match(now, near, its[some], self.windows, bias)], 1)

        fore, back = distances(slice(1, None), self.bias[0]), others(distances(slice(None), self.bias[1]))
        return self.paired(fore, back), now[:0]

    def paired(self, fore: Tensor, back: Tensor) -> Tensor:
        """K,planes,h,w each -> K,2 * planes,h,w, in turns."""
        return torch.stack([fore, back if self.background else torch.ones_like(back)], 2).flatten(1, 2)

    def look(self, features: Sequence[Tensor], past: Sequence[Past], masks: Sequence[Tensor]) -> list[Tensor]:
        """One frame of each of B clips -> logits K,H,W for each, K its number of objects.

        features: `encode`'s; past: of each clip; masks: the last labels, K+1,H,W of 0 and 1.
        """
        found = [self.match(*one) for one in zip(features[-1], past, strict=True)]
        who = torch.cat([torch.cat([means(*joined(p[0])), means(*latest(p))], 1) for p in past])  # N,4C: N objects
        counts = [len(m) - 1 for m in masks]
        clip = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(who.device)
        mask = 2 * torch.cat([m[1:] for m in masks]).to(who)[:, None] - 1  # N,1,H,W
        fine, mid, x, _ = (f[clip] for f in features)
        context = torch.stack([c for _, c in found])[clip]
        known = torch.cat([2 * torch.cat([m for m, _ in found]) - 1, covered(mask, x)], 1)  # N,2 * planes + 1,h,w
        logit = self.decoder(F.relu(self.enter(torch.cat([x, context, known], 1))), who, (fine, mid), mask)
        logit = logit + resize(self.vote(known), logit)
        return list(up(logit, mask).split(counts))


def joined(frames: Sequence[Memory]) -> Memory:
    """Several frames to match with as one: below each other."""
    return torch.cat([e for e, _ in frames], 1), torch.cat([labels for _, labels in frames], 1)


def latest(past: Past) -> Memory:
    """The last frame."""
    return (past[1] or past[0])[-1]


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
        self.past: Past = [memory(self.net.encode(frame[None])[-1][0], self.masks)], []
        return result

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        features = self.net.encode(frame[None])
        new = torch.zeros_like(self.masks[:0]).bool() if new is None else new
        (logits,) = self.net.look(features, [self.past], [self.masks])
        p = torch.sigmoid(logits) * ~new.any(0)  # a mask that is given beats every estimate on its pixels
        p = p * self.asked[:, None, None]  # an empty mask asks for nothing
        result = soft_aggregate(torch.cat([p, given(new)[1:].to(p)]))
        self.masks = labelled(result)
        self.asked = torch.cat([self.asked, new.flatten(1).any(1)])
        first, last = ([(e, F.pad(labels, (0, 0, 0, 0, 0, len(new)))) for e, labels in part] for part in self.past)
        e, labels = memory(features[-1][0], self.masks)
        if len(new):  # background and older objects are only estimates there: for ever holds what was given
            first.append((e, torch.cat([torch.zeros_like(labels[: -len(new)]), labels[-len(new) :]])))
        self.past = first, [*last, (e, labels)][-self.net.recent :]
        return result


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
    past: list[Past] = [([memory(e, x[0])], []) for e, x in zip(features[0][-1], true, strict=True)]
    masks, losses = [x[0] for x in true], []
    for t, seen in enumerate(features[1:], 1):
        with torch.set_grad_enabled(t > ahead and torch.is_grad_enabled()):
            logits = net.look(seen, past, masks)
        if t > ahead:
            losses += [objective(x, y[t]) for x, y in zip(logits, labels, strict=True)]
        masks = [labelled(soft_aggregate(torch.sigmoid(x))) for x in logits] if own else [x[t] for x in true]
        past = [(first, [*last, memory(e, m)][-net.recent :])
                for (first, last), e, m in zip(past, seen[-1], masks, strict=True)]
    return torch.stack(losses).mean()


def encoded(net: Network, frames: Tensor) -> list[list[Tensor]]:
    """B,T,3,H,W -> what `encode` gives for each of the T frames, all encoded at once."""
    maps = [f.unflatten(0, frames.shape[:2]) for f in net.encode(frames.flatten(0, 1))]
    return [[f[:, t] for f in maps] for t in range(frames.shape[1])]


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 1600, batch: int = 2,
           size: tuple[int, int] = (192, 320), device: str = "cpu", trunk: str | None = "osvos", without: float = 0.15,
           **changes: Any) -> Recipe:
    """Training through time: what `vos-teach train cfbi` runs. size: of the crops.

    trunk: weights whose trunk the encoder starts from; None: ImageNet's, as for other backbones than the default;
    without: the share of steps that leave the background out; changes: fields of Config.
    """
    config = replace(SCALES[scale], **changes)
    net, trunk = new_network(config, True), trunk if config.backbone == "lite0" else None
    if trunk is not None:
        load_part(net.trunk, trunk, "trunk")
    return training(net.to(device), sources, steps, batch, size, without, 0.1, trunk=trunk, backbone=config.backbone)


def training(net: Network, sources: Sequence[Source], steps: int, batch: int, size: tuple[int, int], without: float,
             true: float, **about: Any) -> Recipe:
    """A network's training. true: the share of the steps, at the start, that have true last masks, not the network's
    own; in half of the steps of the second half frames are run through before those that count.
    """
    sources, device = crowded(sources), next(net.parameters()).device

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        ahead = int(rng.integers(1, AHEAD + 1)) if step >= 0.5 * steps and rng.random() < 0.5 else 0
        net.background = bool(rng.random() >= without)
        drawn = windows(sources, rng, batch, size, LENGTH + ahead)
        labels, counts = asked(drawn.labels, drawn.counts, rng)
        return unroll(net, recoloured(drawn.frames, rng).to(device), labels.to(device), counts, step >= true * steps,
                      ahead)

    return Recipe(net, loss, groups(net, 2e-4, 1e-3), steps,
                  {"batch": batch, "size": size, "without": without, "true": true, **about})
