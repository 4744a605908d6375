"""MaskRNN: instance level video object segmentation (Hu, Huang, Schwing, NIPS 2017). Per object and frame: flow brings
the last mask to where the object is now, two networks segment it there, and a box decides how far it may reach.

    warped  = warp(mask_{t-1}, flow from t to t-1)
    logit   = A[frame, warped] + F[|flow to t-1|, |flow to t+1|, warped]
    box     = refine(box of warped, deltas)          deltas from A's features inside that box (RoIAlign, two layers)
    mask_t  = sigmoid(logit) inside the enlarged box, 0 outside

Where is the RNN? `Network.step(mask, frame, flows) -> mask` is its cell, and the mask is its hidden state: no LSTM, no
GRU, but the same weights at every frame, and a state that the next frame starts from. It is trained as one: `unroll`
feeds the network its own soft masks over a few frames, and since warping is bilinear, the loss of frame 3 reaches what
was computed at frame 1 (`through_time=False` cuts that). Two losses at each frame: of the mask, and of the box.

The state is all it remembers: an object that is lost for a frame is lost, so while nothing is found the last place
stays, and where the warped mask is empty there is no gate. Each of K objects has networks of its own, fine-tuned on
frame 0; a pixel that two want stays in the state of who wants it most.

Flow forward needs the next frame, so the system gets the whole clip at once. At the last frame, and in dreams, things
are taken to move on as they came: |forward| is |back|. Both sizes are squeezed to [0,1): s / (s + height / 40).

Kept: warp, segment, gate; two networks, summed; the box's refinement; the recurrence, trained through time; both
losses; online learning. Changed: EfficientNet-Lite0 that starts from MaskTrack's weights for A, a small U-Net for F
(both VGG in the paper); FlowNet2 by DIS, in training as in use; cross-entropy plus soft Jaccard; smooth L1 on the
deltas; probabilities where the paper takes the largest object. Online learning is on lucid dreams of frame 0: a lone
frame has no flow (`lucid=False`: frame 0 turned and zoomed, at rest).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from vos_teach.clip import VosError
from vos_teach.data.augment import affine, to_image, to_tensors
from vos_teach.data.flow import Estimator, tensors
from vos_teach.data.lucid import Dreamer
from vos_teach.data.moments import spoil
from vos_teach.data.sample import Source, crowded
from vos_teach.data.windows import windows
from vos_teach.nn.backbone import Backbone
from vos_teach.nn.guided import Guided
from vos_teach.nn.head import TopDown, groups, seeded, up
from vos_teach.nn.online import configured, tune
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.boxes import boxes_of, deltas_between, inside, refine
from vos_teach.ops.losses import mask_loss
from vos_teach.ops.warp import warp as bilinear
from vos_teach.segmenter import given
from vos_teach.weights import load_into

Warp = Callable[[Tensor, Tensor], Tensor]
LARGER = 1.5  # the box, where the localiser looks and where the gate is open
MOST = 0.7  # deltas: one frame halves or doubles a box at most


@dataclass(frozen=True)
class Config:
    """One configuration per scale; `steps` and `seconds` bound the fine-tuning of each object; steps=0 for none."""

    backbone: str = "lite0"
    steps: int | None = None
    seconds: float | None = None
    rate: float = 1e-4  # Adam, A's trunk
    head_rate: float = 3e-4  # Adam, the rest
    weights: str | None = "maskrnn"  # those that ship
    lucid: bool = True


SCALES = {
    "toy": Config(steps=60, rate=2e-4, head_rate=1e-3),
    "small": Config(seconds=30.0),
    "paper": Config(backbone="resnet50", steps=200, rate=1e-5, head_rate=1e-4, weights=None),
}


def speed(flow: Tensor) -> Tensor:
    """Sizes of flow, ...,2,H,W in pixels -> ...,H,W in [0,1): 1/2 at a fortieth of the height."""
    size = flow.norm(dim=-3)
    return size / (size + flow.shape[-2] / 40)


class Appearance(Guided):
    """A: frame and warped mask in; logit and the coarsest features out. Parameters are MaskTrack's, name by name."""

    def look(self, frame: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """B,3,H,W and B,1,H,W -> B,H,W and B,C,H/16,W/16."""
        features = self.trunk(torch.cat([frame, maps], 1))
        logit = self.score(self.decoder(features))
        return up(logit, frame), features[-1]


class Motion(nn.Module):
    """F: sizes of flow and warped mask in, a logit out. A small U-Net; it says 0 until it is trained."""

    def __init__(self, channels: tuple[int, ...] = (16, 24, 48, 64)):
        super().__init__()
        stages: list[nn.Module] = []
        for a, b in zip((3, *channels), channels, strict=False):
            more = [nn.Conv2d(b, b, 3, padding=1), nn.ReLU()] if stages else []
            stages.append(nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU(), *more))
        self.trunk = Backbone(stages, channels, (2, 4, 8, 16), (0.5,) * 3, (0.5,) * 3)
        self.decoder = TopDown(channels, (16, 24, 32, 48))
        self.score = nn.Conv2d(16, 1, 1)
        for p in self.score.parameters():
            nn.init.zeros_(p)

    def forward(self, maps: Tensor) -> Tensor:
        """B,3,H,W in [0,1] -> B,H,W."""
        logit = self.score(self.decoder(self.trunk(maps)))
        return up(logit, maps)


class Localiser(nn.Module):
    """Features and mask inside a box -> what is wrong with the box. Untrained, it says that nothing is."""

    def __init__(self, channels: int):
        super().__init__()
        self.narrow = nn.Conv2d(channels, 32, 1)
        self.hidden, self.out = nn.Linear(33 * 7 * 7, 64), nn.Linear(64, 4)
        for p in self.out.parameters():
            nn.init.zeros_(p)

    def forward(self, feature: Tensor, mask: Tensor, box: Tensor) -> Tensor:
        """B,C,h,w; B,H,W; boxes B,4 in pixels of the mask -> deltas B,4."""
        rois = torch.cat([torch.arange(len(box), device=box.device)[:, None].to(feature), box.to(feature)], 1)
        scale = feature.shape[-1] / mask.shape[-1]
        look = [roi_align(F.relu(self.narrow(feature)), rois, 7, scale, aligned=True),
                roi_align(mask[:, None], rois, 7, 1.0, aligned=True)]
        return self.out(F.relu(self.hidden(torch.cat(look, 1).flatten(1))))


class Seen(NamedTuple):
    """One frame: mask B,H,W (the next state), logit B,H,W before the gate, the warped masks' boxes B,4, whether they
    had anything B bool, deltas B,4."""

    mask: Tensor
    logit: Tensor
    rough: Tensor
    there: Tensor
    deltas: Tensor


class Network(nn.Module):
    """The recurrent cell. warp: (image ...,C,H,W, flow ...,2,H,W) -> like image; gate=False: masks as they are."""

    def __init__(self, name: str = "lite0", pretrained: bool = True, warp: Warp = bilinear, gate: bool = True):
        super().__init__()
        self.appearance = Appearance(name, pretrained, extra=1)
        self.motion, self.localiser = Motion(), Localiser(self.appearance.trunk.channels[-1])
        self.warp, self.gate = warp, gate
        self.to(memory_format=torch.channels_last)

    def step(self, mask: Tensor, frame: Tensor, back: Tensor, ahead: Tensor) -> Seen:
        """From frame t-1 to t: masks of t-1 B,H,W in [0,1], the state; frames t B,3,H,W; flow from t to t-1 and to
        t+1, B,2,H,W in pixels -> what is seen at t, the next state in it.
        """
        warped = self.warp(mask[:, None], back)  # B,1,H,W
        logit, feature = self.appearance.look(frame, warped)
        logit = logit + self.motion(torch.cat([speed(torch.stack([back, ahead], 1)), warped], 1))
        rough, there = boxes_of(warped[:, 0])
        deltas = self.localiser(feature, warped[:, 0], refine(rough, torch.zeros_like(rough), LARGER))
        new = torch.sigmoid(logit)
        if self.gate:
            sure = deltas.detach().clamp(-MOST, MOST) * there[:, None]  # nothing there: all of the frame stays open
            new = new * inside(refine(rough, sure, LARGER), (mask.shape[-2], mask.shape[-1]))
        return Seen(new, logit, rough, there, deltas)


def objective(seen: Seen, target: Tensor) -> Tensor:
    """Both losses of a frame; target B,H,W of 0 and 1 -> scalar. The mask's is before the gate, which would hide it."""
    loss = mask_loss(seen.logit, target)
    true, shown = boxes_of(target)
    if (both := seen.there & shown).any():
        wanted = deltas_between(seen.rough, true).clamp(-MOST, MOST)
        loss = loss + F.smooth_l1_loss(seen.deltas[both], wanted[both], beta=0.1)
    return loss


def flows(frames: Sequence[Tensor], flow: str | Estimator = "dis") -> tuple[Tensor, Tensor]:
    """T frames 3,H,W -> flow of frames 1..T-1 to the frame before and to the next, T-1,2,H,W each.

    The last one has no next: what moves is taken to move on as it came.
    """
    back = [tensors(b, a, flow) for a, b in pairwise(frames)]
    ahead = [tensors(a, b, flow) for a, b in pairwise(frames[1:])]
    return torch.stack(back), torch.stack([*ahead, -back[-1]])


def unroll(net: Network, frames: Tensor, back: Tensor, ahead: Tensor, first: Tensor, target: Tensor,
           *, through_time: bool = True) -> Tensor:
    """The loss of short clips: frames B,T,3,H,W, flow B,T-1,2,H,W each, masks of frame 0 B,H,W, target B,T,H,W.

    The mean over frames 1..T-1, each seen from the network's own last mask. through_time=False: no gradient runs
    from one frame into the one before.
    """
    state, losses = first.to(frames), []
    for t in range(1, frames.shape[1]):
        seen = net.step(state, frames[:, t], back[:, t - 1], ahead[:, t - 1])
        losses.append(objective(seen, target[:, t]))
        state = seen.mask if through_time else seen.mask.detach()
    return torch.stack(losses).mean()


class MaskRNN:
    """One-shot; the whole clip at once, since flow is needed in both directions. K objects, all from frame 0 on."""

    task, causal = "one-shot", False

    def __init__(self, offline: Network, config: Config, flow: str | Estimator = "dis", device: str = "cpu",
                 on_step: Callable[[int, Network], None] | None = None):
        self.offline, self.config, self.flow, self.device = offline.to(device).eval(), config, flow, device
        self.on_step, self.seed, self.finetune_seconds = on_step, 0, 0.0

    def segment(self, frames: Sequence[Tensor], masks: Tensor | None = None) -> Tensor:
        """See Whole."""
        assert masks is not None, "a one-shot system needs the masks of its first frame"
        begin = time.perf_counter()
        nets = [self.learn(frames[0], mask) if mask.any() else None for mask in masks]
        self.finetune_seconds = time.perf_counter() - begin if masks.any() and self.config.steps != 0 else 0.0
        state, results = given(masks)[1:], [given(masks)]
        for t in range(1, len(frames)):
            now = [frames[i] for i in range(t - 1, min(t + 2, len(frames)))]
            back, ahead = (x[0] for x in flows(now, self.flow))
            prob = self.look(nets, state, now[1], back, ahead)
            results.append(soft_aggregate(prob))
            own = prob * (prob >= prob.amax(0))  # who wants a pixel most keeps it
            found = (own > 0.5).flatten(1).any(1)[:, None, None]
            state = torch.where(found, own, state)
        return torch.stack(results)

    @torch.no_grad()
    def look(self, nets: Sequence[Network | None], state: Tensor, frame: Tensor, back: Tensor, ahead: Tensor) -> Tensor:
        """A step of all objects: state K,H,W -> K,H,W. An object without a network was not asked for; those that
        share one, as all do without fine-tuning, go through it together."""
        prob = torch.zeros_like(state)
        for net in dict.fromkeys(nets):
            if net is not None:
                rows = [k for k, own in enumerate(nets) if own is net]
                seen = net.step(state[rows], *(x.expand(len(rows), -1, -1, -1) for x in (frame, back, ahead)))
                prob[rows] = seen.mask
        return prob

    def learn(self, frame: Tensor, mask: Tensor) -> Network:
        """Online learning on frame 0, 3,H,W, and one object's mask, H,W bool: a network of its own."""
        if self.config.steps == 0:
            return self.offline
        net, rng = copy.deepcopy(self.offline), np.random.default_rng(self.seed)
        image = to_image(frame)
        labels = mask.cpu().numpy().astype(np.uint8)
        dreamer = Dreamer(image, labels) if self.config.lucid else None

        def loss() -> Tensor | None:
            if dreamer is None:
                clip = [to_tensors(*affine(image, labels, rng))] * 2
                back = ahead = torch.zeros(1, 2, *labels.shape)
            else:
                dream = dreamer.pair(rng)
                clip = [to_tensors(dream.first, dream.first_mask), to_tensors(dream.second, dream.second_mask)]
                back, ahead = flows([x.to(self.device) for x, _ in clip], self.flow)
            pictures, targets = (torch.stack(x)[None] for x in zip(*clip, strict=True))  # 1,2,...
            if not targets.flatten(2).any(2).all():  # turned out of the frame
                return None
            first = torch.from_numpy(spoil(targets[0, 0].numpy().astype(np.uint8), rng))[None]
            return unroll(net, *(x.to(self.device) for x in (pictures, back[None], ahead[None], first, targets)))

        tune(net, rated(net, self.config.rate, self.config.head_rate), loss, self.config, self.on_step)
        return net.eval()


def maskrnn(device: str = "cpu", scale: str = "small", steps: int | None = None, seconds: float | None = None,
            weights: str | None = None, flow: str | Estimator = "dis", warp: Warp = bilinear, gate: bool = True,
            on_step: Callable[[int, Network], None] | None = None, **changes: Any) -> MaskRNN:
    """Build MaskRNN. steps, seconds: the budget for fine-tuning, of each object, 0 for none; weights: a safetensors
    file instead of the one that ships; flow, warp: see data.flow and ops.warp; gate=False: masks may reach anywhere;
    changes: fields of Config.
    """
    config = configured(SCALES, scale, steps, seconds, changes)
    source = weights or config.weights
    if source is None:
        raise VosError("this scale ships no weights; train some (vos-teach train maskrnn --scale paper) and give "
                       "their file as weights")
    net = new_network(config.backbone, False, warp, gate)
    load_into(net, source)
    return MaskRNN(net, config, flow, device, on_step)


def new_network(name: str, pretrained: bool, warp: Warp = bilinear, gate: bool = True) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(name, pretrained, warp, gate))


def rated(net: Network, rate: float, head_rate: float) -> list[dict]:
    """Learning rates of A's trunk and of the rest."""
    return groups(net, rate, head_rate, ["appearance.trunk"])


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 800, batch: int = 2,
           size: tuple[int, int] = (192, 320), device: str = "cpu", length: int = 4, through_time: bool = True,
           start: str | Path | None = "masktrack") -> Recipe:
    """Training through time: what `vos-teach train maskrnn` runs. size: of the crops; length: frames of a clip.

    start: weights of MaskTrack's that A starts from, where its backbone is the same; None: ImageNet's.
    """
    name = SCALES[scale].backbone
    net, sources = new_network(name, True).to(device), crowded(sources)
    start = start if name == "lite0" else None
    if start is not None:
        load_into(net.appearance, start)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        drawn = windows(sources, rng, batch, size, length, unrest=0.5)
        back, ahead = (torch.stack(x) for x in zip(*(flows(list(f)) for f in drawn.frames), strict=True))
        target = (drawn.labels == 1).long()  # slots are in random order: any object is as likely
        first = torch.stack([x if rng.random() < 0.25 else torch.from_numpy(spoil(x.numpy().astype(np.uint8), rng))
                             for x in target[:, 0]])
        parts = (drawn.frames, back, ahead, first, target)
        return unroll(net, *(x.to(device) for x in parts), through_time=through_time)

    return Recipe(net, loss, rated(net, 1.5e-4, 6e-4), steps,
                  {"batch": batch, "size": size, "length": length, "through_time": through_time, "start": start})
