"""RVOS: end-to-end recurrent network for video object segmentation (Ventura, Bellver, Girbau, Salvador, Marques,
Giro-i-Nieto, CVPR 2019). Two recurrences: over the frames of a video, and over the objects of a frame.

    h(i,t), c(i,t) = ConvLSTM( [features(t), h(i,t-1), mask(i,t-1)],  (h(i-1,t), c(i-1,t)) )      at every level
                                             time                      space

A frame is encoded once. Then a small decoder runs once for each object: it hears what the object before it in this
frame has taken (space), and what itself was in the last frame (time). Of the past only h comes along, c does not.

One-shot, a slot also gets its object's last mask, at every level. Zero-shot there is none: slots find objects of their
own accord, and a stop score tells when no object is left. Nobody has said which slot is to be which object, so in
training the best assignment by soft IoU decides, among the first n slots for n objects, at the clip's FIRST frame; for
the rest of the clip it stays, or an object could be another one in every frame at no cost.

Kept: both recurrences, both tasks, the ablation (recurrence "S", "T" or "ST"), soft IoU and matching once, the last
mask on every level, first the true one, then the inferred (ST+), training on clips of 5 frames. Zero-shot, "T" looks
aside in the first frame, as the authors' code does, or all its slots would be one for ever. Changed: ONE
network, where the paper trains one for each task: a mask is +1 on the object, -1 off it, and 0 where none is known;
ResNet-101 is EfficientNet-Lite0, the trunk of OSVOS's parent, frozen; cross-entropy beside the soft IoU; masks are
made exclusive before they are fed back; one frame in four gets no last masks: a mask that has lost its object says
"not here" everywhere, and was believed for ever. Added: the stop score, from the predecessor for still images (RSIS,
arXiv:1712.00617; the authors' code runs a fixed number of slots); clips in other colours, and with objects that are
not asked for; frames run through without gradients before those that count; edges from stride 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.clip import VosError
from vos_teach.data.sample import Source, crowded
from vos_teach.data.windows import asked, recoloured, windows
from vos_teach.nn.backbone import backbone
from vos_teach.nn.head import groups, resize, seeded
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.assign import match_instances
from vos_teach.ops.convrnn import ConvLSTMCell
from vos_teach.ops.losses import soft_iou
from vos_teach.segmenter import given
from vos_teach.weights import load_part, started

Pair = tuple[Tensor, Tensor]  # (h, c)
Cell = Callable[[int, int, int], nn.Module]  # (inputs, hidden, kernel) -> (x, (h, c)) -> (h, c)
Recur = Callable[[nn.Module, Tensor, Pair, Tensor], Pair]
Task = Literal["one-shot", "zero-shot"]
TASKS: tuple[Task, Task] = ("one-shot", "zero-shot")
RECURRENCES = ("S", "T", "ST")
LENGTH, AHEAD = 5, 12  # frames of a training clip; frames before them, at most
WITHHOLD = 4  # of so many frames one gets no last masks, in training (drawn) and in use (counted)


@dataclass(frozen=True)
class Config:
    """One configuration per scale; hidden: channels of the states at strides 4, 8 and 16."""

    backbone: str = "lite0"
    hidden: tuple[int, int, int] = (16, 32, 48)
    weights: str | None = "rvos"  # those that ship


SCALES = {"toy": Config(weights="rvos-toy"), "small": Config(), "paper": Config("resnet50", (32, 64, 128), None)}


def space_time(cell: nn.Module, x: Tensor, space: Pair, time: Tensor) -> Pair:
    """One level, one object, one frame -> its (h, c).

    x B,C,H,W: what this level sees of the frame and of the mask; space: (h, c), B,D,H,W each, of the object BEFORE it
    in this frame; time B,D,H,W: h of the SAME object in the last frame. What there is not is zeros. cell: a ConvLSTM
    for C + D input channels. The cell state is the spatial neighbour's; that of the past is not used.
    """
    return cell(torch.cat([x, time], dim=1), space)


class Network(nn.Module):
    """Encoder, and a decoder whose levels at strides 16, 8 and 4 are recurrent.

    recurrence: "S" over objects, "T" over frames, "ST"; all have the same parameters, what is cut is zeros. cell,
    recur: the key operators, the library's or a student's.
    """

    def __init__(self, name: str = "lite0", pretrained: bool = True, hidden: tuple[int, int, int] = (16, 32, 48),
                 recurrence: str = "ST", cell: Cell = ConvLSTMCell, recur: Recur = space_time):
        super().__init__()
        self.hidden, self.recurrence, self.recur = hidden, recurrence, recur
        self.trunk = backbone(name, pretrained)
        self.trunk.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        channels = self.trunk.channels
        self.edge = nn.Sequential(nn.Conv2d(channels[0], 16, 3, padding=1), nn.GroupNorm(8, 16))
        self.skip = nn.ModuleList(nn.Conv2d(c, d, 3, padding=1) for c, d in zip(channels[1:], hidden, strict=True))
        self.norm = nn.ModuleList(nn.GroupNorm(8, d) for d in hidden)
        self.down = nn.ModuleList(nn.Conv2d(d, e, 1) for d, e in zip(hidden[1:], hidden, strict=False))
        self.cells = nn.ModuleList(cell(d + 1 + d, d, 3) for d in hidden)  # features, mask, h of the last frame
        self.lift = nn.Conv2d(hidden[0], 16, 3, padding=1)
        self.score = nn.Conv2d(16, 1, 1)
        self.stop = nn.Linear(sum(hidden), 1)
        self.wake()
        self.trunk.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs; gates are not

    @torch.no_grad()
    def wake(self) -> None:
        """New layers so that h, which is small, and the mask, one channel of many, are heard from the start."""
        self.lift.weight.mul_(8)
        for cell, d in zip(self.cells, self.hidden, strict=True):
            for w in (p for p in cell.parameters() if p.dim() == 4 and len(p) == 4 * d):  # gates i, f, o, g
                w[:, d] *= 4
                w[3 * d :, d, 1, 1] += torch.tensor([1.0, -1.0]).repeat(d // 2)  # half of the state starts as the mask

    def encode(self, frame: Tensor) -> list[Tensor]:
        """Frames B,3,H,W in [0,1] -> what the decoder sees of them, at strides 2, 4, 8 and 16: once for all objects."""
        fine, *maps = (f.contiguous() for f in self.trunk(frame))
        return [self.edge(fine), *(n(s(f)) for n, s, f in zip(self.norm, self.skip, maps, strict=True))]

    def look(self, features: Sequence[Tensor], masks: Sequence[Tensor] | None, past: Sequence[list[Tensor] | None],
             until: float | None = None) -> tuple[Tensor, Tensor, list[list[Tensor]]]:
        """One frame, object after object -> logits B,N,H,W, stop scores B,N (logits; high: there is an object), and
        the h of each level of each object: the next frame's `past`.

        masks: N last masks B,H,W in [0,1], or None: zero-shot. past: N entries, None for an object without a past.
        until: stop before the first object whose score's probability is below (a batch of one).
        """
        logits, scores, now = [], [], []
        before: list[Pair] | None = None
        for i, time in enumerate(past):
            alone = self.recurrence == "T" and not (masks is None and time is None)
            mask = None if masks is None else 2 * masks[i][:, None] - 1  # B,1,H,W: +1 on the object, -1 off it
            states = self.object(features, mask, None if alone else before, None if self.recurrence == "S" else time)
            h = [h for h, _ in states]
            score = self.stop(torch.cat([x.amax((-2, -1)) for x in h], 1))[:, 0]  # B
            if until is not None and torch.sigmoid(score).item() < until:
                break
            y = F.relu(features[0] + resize(self.lift(h[0]), features[0]))
            logits.append(F.interpolate(self.score(y), scale_factor=2, mode="bilinear", align_corners=False)[:, 0])
            scores.append(score)
            now.append(h)
            before = states
        b, _, height, width = features[0].shape
        none = features[0].new_zeros(b, 0)
        return (torch.stack(logits, 1) if logits else none.view(b, 0, 1, 1).expand(b, 0, 2 * height, 2 * width),
                torch.stack(scores, 1) if scores else none, now)

    def object(self, features: Sequence[Tensor], mask: Tensor | None, space: list[Pair] | None,
               time: list[Tensor] | None) -> list[Pair]:
        """One object in one frame -> its states at strides 4, 8 and 16; mask B,1,H,W or None: unknown."""
        states: list[Pair] = []
        for level in (2, 1, 0):  # from the coarsest; each hears the one before
            x = features[1 + level]
            if states:
                x = x + resize(self.down[level](states[0][0]), x)
            size, empty = x.shape[-2:], x.new_zeros(len(x), self.hidden[level], *x.shape[-2:])
            known = x.new_zeros(len(x), 1, *size) if mask is None else F.adaptive_avg_pool2d(mask, tuple(size))
            x = torch.cat([F.relu(x), known], 1)
            states.insert(0, self.recur(self.cells[level], x, (empty, empty) if space is None else space[level],
                                        empty if time is None else time[level]))
        return states


class RVOS:
    """RVOS on a clip, one pass a frame for all objects. task: which of the two; the network is the same.

    Zero-shot: up to `slots` objects, those found before the first stop in the first frame that shows any; further
    planes are 0. scores: theirs, in [0,1]. best: only the slot with the greatest.
    One-shot, every `withhold`-th frame gets no last masks (0: all do, as in the paper), so that what was lost may be
    found again from h. Without a temporal recurrence there is none, and every frame gets them.
    """

    causal, seed = True, 0

    def __init__(self, net: Network, task: Task = "one-shot", slots: int = 10, best: bool = False, device: str = "cpu",
                 withhold: int = WITHHOLD):
        self.net, self.task, self.slots, self.best, self.device = net.to(device).eval(), task, slots, best, device
        self.withhold = 0 if net.recurrence == "S" else withhold

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        self.past: list[list[Tensor]] = []
        self.scores: list[float] = []
        self.masks = frame.new_zeros(0, *frame.shape[-2:])  # K,H,W: the last frame's
        self.asked: list[bool] = []
        self.t = -1
        return self.step(frame, masks)

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        features, self.t = self.net.encode(frame[None]), self.t + 1
        return self.found(features, frame) if self.task == "zero-shot" else self.followed(features, frame, new)

    def followed(self, features: list[Tensor], frame: Tensor, new: Tensor | None) -> Tensor:
        """One-shot. Objects that appear only now come after the others, with their own masks."""
        new = torch.zeros_like(self.masks[:0], dtype=torch.bool) if new is None else new
        old, shown = len(self.masks), given(new)[1:]
        self.asked += new.flatten(1).any(1).tolist()
        kept = len(new) > 0 or self.t < 2 or not self.withhold or self.t % self.withhold > 0
        masks = [m[None] for m in (*self.masks, *shown.to(frame))] if kept else None
        logits, _, self.past = self.net.look(features, masks, [*self.past, *[None] * len(new)])
        p = torch.sigmoid(logits[0, :old]) * ~new.any(0)  # a mask that is given beats every estimate on its pixels
        p = p * torch.tensor(self.asked[:old], device=p.device).view(-1, 1, 1)  # an empty mask asks for nothing
        result = soft_aggregate(torch.cat([p, shown.to(p)])) if old else given(new)
        self.masks = result[1:]
        return result

    def found(self, features: list[Tensor], frame: Tensor) -> Tensor:
        """Zero-shot. What the first frame has found is followed, and nothing else."""
        if self.past:
            logits, _, self.past = self.net.look(features, None, self.past)
        else:
            logits, scores, self.past = self.net.look(features, None, [None] * self.slots, until=0.5)
            self.scores = torch.sigmoid(scores[0]).tolist()
        p = torch.sigmoid(logits[0])  # n,H,W
        if self.best and len(p):
            p = p[self.scores.index(max(self.scores))][None]
        planes = 1 if self.best else self.slots
        result = soft_aggregate(p) if len(p) else torch.ones_like(frame[:1])
        return torch.cat([result, result.new_zeros(planes - len(p), *frame.shape[-2:])])


def rvos(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
         recurrence: str = "ST", cell: Cell = ConvLSTMCell, recur: Recur = space_time, task: Task = "one-shot",
         slots: int = 10, best: bool = False, withhold: int = WITHHOLD, **changes: Any) -> RVOS:
    """Build RVOS. weights: a safetensors file instead of the one that ships; init: "trained", or "imagenet": a decoder
    that is not trained; recurrence: "S", "T" or "ST", to cut one of a network trained with both, or with the weights of
    one trained without; cell, recur: see Network; task, slots, best, withhold: see RVOS; changes: fields of Config.
    """
    config = configured(SCALES, scale, None, None, changes)
    if slots < 1:
        raise VosError(f"slots is {slots}: it must be at least 1")
    if withhold < 0:
        raise VosError(f"withhold is {withhold}: it must be 0, never, or more")
    net = started("rvos", lambda pretrained: new_network(config, pretrained, recurrence, cell, recur), init,
                  weights or config.weights)
    return RVOS(net, task, slots, best, device, withhold)


def zero_shot(device: str = "cpu", scale: str = "small", **options: Any) -> RVOS:
    """RVOS for the zero-shot task: the same network, and `rvos`'s options."""
    return rvos(device, scale, task="zero-shot", **options)


def top(device: str = "cpu", scale: str = "small", **options: Any) -> RVOS:
    """RVOS without a mask, its clearest slot alone: one answer, where the truth has one object, as in DAVIS-2016."""
    return rvos(device, scale, task="zero-shot", best=True, **options)


def new_network(config: Config, pretrained: bool, recurrence: str = "ST", cell: Cell = ConvLSTMCell,
                recur: Recur = space_time) -> Network:
    """A network whose new layers start alike in every run. Raises VosError for a recurrence that there is not."""
    if recurrence not in RECURRENCES:
        raise VosError(f"recurrence is '{recurrence}'; choose from: {', '.join(RECURRENCES)}")
    return seeded(lambda: Network(config.backbone, pretrained, config.hidden, recurrence, cell, recur))


def objective(logit: Tensor, target: Tensor, there: Tensor, iou: Callable = soft_iou) -> Tensor:
    """Cross-entropy plus one minus soft IoU; logit, target B,N,H,W, target 0 and 1; there B,N bool: slots in use.

    Slots without one do not count. In frames that do not show the object soft IoU does not either: it would praise an
    empty mask (empty on empty is 1) and could not blame another (its gradient is 0).
    """
    entropy = F.binary_cross_entropy_with_logits(logit, target, reduction="none").mean((-2, -1))
    shown = there & target.flatten(2).any(2)
    loss = entropy[there].mean()
    return loss + (1 - iou(torch.sigmoid(logit), target))[shown].mean() if shown.any() else loss


def unroll(net: Network, frames: Tensor, labels: Tensor, counts: Tensor, task: Task, inferred: bool = True,
           ahead: int = 0, match: Callable = match_instances, iou: Callable = soft_iou,
           hidden: Sequence[bool] = ()) -> Tensor:
    """The loss of a batch of clips, through space and time: B,T,3,H,W, B,T,H,W of slots, B -> scalar.

    inferred: one-shot, the last masks are the network's own, without gradient; False: the true ones. ahead: so many
    frames after frame 0 are run through without gradients and without a loss. match: (slots n,H,W, objects n,H,W) -> n,
    the slot of each object. hidden: for each frame, whether the last mask is withheld (never in the first two).
    """
    zero = task == "zero-shot"
    slots = int(counts.max()) + zero  # zero-shot, one more: it must say that nothing is left
    there = torch.arange(slots, device=frames.device) < counts.to(frames.device)[:, None]  # B,N
    truth = torch.stack([labels == k + 1 for k in range(slots)], 2).to(frames) * there[:, None, :, None, None]
    losses, last = [], truth[:, 0]
    past: list[list[Tensor] | None] = [None] * slots
    first = ahead + 1 if ahead else 0  # the first frame with gradients
    features: list[list[Tensor]] = []
    for span in (slice(0, first), slice(first, None)):  # all frames of a span at once
        with torch.set_grad_enabled(span.start == first and torch.is_grad_enabled()):
            if (part := frames[:, span]).numel():
                maps = [f.unflatten(0, part.shape[:2]) for f in net.encode(part.flatten(0, 1))]
                features += [[f[:, t] for f in maps] for t in range(part.shape[1])]
    for t, seen in enumerate(features):
        with torch.set_grad_enabled(t >= first and torch.is_grad_enabled()):
            masks = truth[:, max(0, t - 1)] if t < 2 or not inferred else last  # B,N,H,W
            unknown = zero or (t > 1 and t < len(hidden) and hidden[t])
            logits, scores, now = net.look(seen, None if unknown else masks.unbind(1), past)
        if zero and t == 0:  # which slot is which object: now, and for all frames to come
            truth = truth.clone()
            for b, n in enumerate(counts.tolist()):
                chosen = match(torch.sigmoid(logits[b, :n].detach()), truth[b, 0, :n])
                truth[b, :, chosen] = truth[b, :, :n].clone()
            if not ahead:
                losses.append(F.binary_cross_entropy_with_logits(scores, there.to(scores)))
        past, last = list(now), soft_aggregate(torch.sigmoid(logits.detach()) * there[..., None, None])[:, 1:]
        if t >= first and (zero or t > 0):
            losses.append(objective(logits, truth[:, t], there, iou) / (len(features) - max(first, not zero)))
    return torch.stack(losses).sum()


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 3000, batch: int = 2,
           size: tuple[int, int] = (192, 320), device: str = "cpu", recurrence: str = "ST",
           tasks: Sequence[Task] = ("one-shot", "one-shot", "zero-shot"), trunk: str | None = "osvos", mix: bool = True,
           hide: float = 1 / WITHHOLD, match: Callable = match_instances, iou: Callable = soft_iou, **changes: Any
           ) -> Recipe:
    """Training through space and time: what `vos-teach train rvos` runs. size: of the crops.

    A step is of one of `tasks`, drawn anew. One-shot, the first fifth of the steps gives true masks, the others
    inferred ones; of these a share `hide` is withheld (with "S", which has no h of the past, none). Later, half of the
    clips begin with frames that are run through.
    trunk: weights whose trunk the encoder takes over and keeps: learning on, it would know the training clips by heart;
    None: ImageNet's, which learns, as for other backbones than the default; mix: composites of clips that show one
    object; changes: fields of Config.
    """
    config = replace(SCALES[scale], **changes)
    net = new_network(config, pretrained=True, recurrence=recurrence).to(device)
    sources = crowded(sources) if mix else list(sources)
    trunk = trunk if config.backbone == "lite0" else None
    if trunk is not None:
        load_part(net.trunk, trunk, "trunk")
        net.trunk.requires_grad_(False)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        task = tasks[int(rng.integers(len(tasks)))]
        late = step >= 0.4 * steps and rng.random() < 0.5
        ahead = int(rng.integers(1, AHEAD + 1)) if late else 0
        inferred, hidden = step >= 0.2 * steps, rng.random(LENGTH + ahead) < hide * (recurrence != "S")
        drawn = windows(sources, rng, batch, size, LENGTH + ahead)
        labels, counts = asked(drawn.labels, drawn.counts, rng) if task == "one-shot" else (drawn.labels, drawn.counts)
        return unroll(net, recoloured(drawn.frames, rng).to(device), labels.to(device), counts, task, inferred, ahead,
                      match, iou, (hidden & inferred).tolist())

    return Recipe(net, loss, groups(net, 2e-4, 1e-3), steps,
                  {"batch": batch, "size": size, "trunk": trunk, "backbone": config.backbone, "tasks": tuple(tasks),
                   "recurrence": recurrence, "mix": mix, "hide": hide})
