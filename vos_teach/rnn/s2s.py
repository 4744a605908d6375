"""S2S: YouTube-VOS, sequence-to-sequence video object segmentation (Xu, Yang, Fan, Yang, Yue, Liang, Price, Cohen,
Huang, ECCV 2018). A sequence of frames is turned into a sequence of masks by a recurrent network, as a sentence is
turned into another; the first mask is what its memory starts from.

    h_0, c_0 = Initializer(frame_0, mask_0)                 learnt: nothing of frame 0 is looked at again
    x_t      = Encoder(frame_t)
    h_t, c_t = ConvLSTM(x_t, (h_{t-1}, c_{t-1}))
    mask_t   = Decoder(h_t)

Where the object was and what it looks like reach frame t through (h, c) alone: no mask is fed back, nothing is tuned on
frame 0. So all of it has to be learnt from videos, by back-propagation through time: the loss of mask_t changes what
the cell wrote at every moment before t, and what the initializer wrote at the start.

Kept: the four parts, the learnt initial state, one recurrence per object, training through time on clips that grow
longer. Changed: both VGG-16 are EfficientNet-Lite0; a cell at stride 16 alone loses small things, so there is a second
one at stride 8, which hears the first, and the decoder takes edges from the encoder's finer stages; soft Jaccard beside
the cross-entropy. Added: late in training half of the clips begin with frames that are only run through, without
gradients: states after many frames look otherwise than after a few. Dropped: online learning (an option of the paper).
Where YouTube-VOS has thousands of training videos, ours has thirty, composites of them, and toy clips.
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
from vos_teach.nn.backbone import backbone, widen
from vos_teach.nn.head import TopDown, groups, resize, seeded, up
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.convrnn import ConvLSTMCell
from vos_teach.ops.losses import mask_loss as objective
from vos_teach.segmenter import OneObject, given
from vos_teach.weights import load_part, started

Pair = tuple[Tensor, Tensor]  # (h, c)
State = tuple[Pair, Pair]  # of the cells at stride 8 and 16
Cell = Callable[[int, int, int], nn.Module]  # (inputs, hidden, kernel) -> (x, (h, c)) -> (h, c)
FROM = ("masktrack", "osvos")  # whose trunks the initializer and the encoder start from
AHEAD = 6  # frames run through without gradients


@dataclass(frozen=True)
class Config:
    """One configuration per scale; hidden: channels of the states at stride 8 and 16."""

    backbone: str = "lite0"
    hidden: tuple[int, int] = (48, 56)
    weights: str | None = "s2s"  # those that ship


SCALES = {"toy": Config(), "small": Config(), "paper": Config("vgg16", (128, 512), None)}


class Initializer(nn.Module):
    """The state of who has seen frame 0 and its mask."""

    def __init__(self, name: str, pretrained: bool, hidden: tuple[int, int]):
        super().__init__()
        self.trunk = widen(backbone(name, pretrained), 1)
        # each level also gets the mask itself, as the share of each cell that it covers
        self.write = nn.ModuleList(nn.Conv2d(c + 1, 2 * n, 1)
                                   for c, n in zip(self.trunk.channels[2:], hidden, strict=True))

    def forward(self, frame: Tensor, mask: Tensor) -> State:
        """Frames B,3,H,W in [0,1] and masks B,H,W -> the states (h, c) at stride 8 and 16."""
        mask = mask[:, None].to(frame)
        pairs = []
        for feature, conv in zip(self.trunk(torch.cat([frame, mask], 1))[2:], self.write, strict=True):
            area = F.adaptive_avg_pool2d(mask, feature.shape[-2:])
            h, c = conv(torch.cat([feature, area], 1)).chunk(2, dim=1)
            pairs.append((torch.tanh(h), c))  # a cell's h lies between -1 and 1, its c anywhere
        return pairs[0], pairs[1]


class Network(nn.Module):
    """Initializer, encoder, two cells, decoder. cell: a ConvLSTM cell, the library's or a student's."""

    def __init__(self, name: str = "lite0", pretrained: bool = True, hidden: tuple[int, int] = (48, 56),
                 cell: Cell = ConvLSTMCell):
        super().__init__()
        self.initializer = Initializer(name, pretrained, hidden)
        self.encoder = backbone(name, pretrained)
        self.encoder.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        c2, c4, c8, c16 = self.encoder.channels
        self.deep_in, self.fine_in = nn.Conv2d(c16, hidden[1], 1), nn.Conv2d(c8, 32, 1)
        self.down = nn.Conv2d(hidden[1], 32, 1)  # what the coarse state tells the fine one
        self.deep, self.fine = cell(hidden[1], hidden[1], 3), cell(32, hidden[0], 3)
        self.decoder = TopDown((c2, c4, *hidden), widths=(16, 24, *hidden))
        self.score = nn.Conv2d(16, 1, 1)
        self.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs

    def start(self, frame: Tensor, mask: Tensor) -> State:
        """Frames B,3,H,W and masks B,H,W of one object each -> the state of each."""
        return self.initializer(frame, mask)

    def encode(self, frame: Tensor) -> list[Tensor]:
        """Frames B,3,H,W -> features at strides 2, 4, 8, 16: they know nothing of any object."""
        return self.encoder(frame)

    def step(self, features: Sequence[Tensor], state: State, like: Tensor) -> tuple[Tensor, State]:
        """A frame's features and the last state -> logits B,H,W of the size of frames `like`, and the next state."""
        f2, f4, f8, f16 = features
        deep = self.deep(F.relu(self.deep_in(f16)), state[1])
        hint = resize(self.down(deep[0]), f8)
        fine = self.fine(F.relu(self.fine_in(f8) + hint), state[0])
        return up(self.score(self.decoder([f2, f4, fine[0], deep[0]])), like), (fine, deep)


class Encoding:
    """Features of frames; `once`: those of the latest frame are kept for the next object that asks for them."""

    def __init__(self, net: Network, once: bool):
        self.net, self.once, self.frame = net, once, None

    def __call__(self, frame: Tensor) -> list[Tensor]:
        """3,H,W -> the encoder's features of 1,3,H,W."""
        if self.once and frame is self.frame:
            return self.features
        features = self.net.encode(frame[None])
        if self.once:
            self.frame, self.features = frame, features
        return features


class OneSequence:
    """S2S for a single object: `start` writes its state, `step` carries it on."""

    task, causal, seed = "one-shot", True, 0

    def __init__(self, net: Network, encode: Callable[[Tensor], list[Tensor]]):
        self.net, self.encode, self.state = net, encode, None

    @torch.no_grad()
    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter; K must be 1."""
        assert masks is not None, "a one-shot system needs the mask of its first frame"
        self.state = self.net.start(frame[None], masks) if masks.any() else None
        return given(masks)

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        if self.state is None:  # an empty mask asks for nothing
            p = torch.zeros_like(frame[0])
        else:
            logit, self.state = self.net.step(self.encode(frame), self.state, frame[None])
            p = torch.sigmoid(logit[0])  # H,W
        return torch.stack([1 - p, p])


class S2S(OneObject):
    """S2S for any number of objects: a state each, merged per pixel.

    shared: a frame is encoded once for all objects, which changes the time and nothing else; as published, each
    object's pass encodes it anew.
    """

    def __init__(self, net: Network, shared: bool = False, device: str = "cpu"):
        net, self.device, self.shared = net.to(device).eval(), device, shared
        encode = Encoding(net, once=shared)
        super().__init__(lambda: OneSequence(net, encode))


def s2s(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
        shared: bool = False, cell: Cell = ConvLSTMCell, **changes: Any) -> S2S:
    """Build S2S. weights: a safetensors file instead of the one that ships; init: "trained", or "imagenet": a memory
    that is not trained; shared: encode a frame once for all objects; cell: (inputs, hidden, kernel) -> a ConvLSTM cell
    with the library's parameters; changes: fields of Config.
    """
    config = configured(SCALES, scale, None, None, changes)
    net = started("s2s", lambda pretrained: new_network(config, pretrained, cell), init, weights or config.weights)
    return S2S(net, shared, device)


def new_network(config: Config, pretrained: bool, cell: Cell = ConvLSTMCell) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(config.backbone, pretrained, config.hidden, cell))


def length_at(step: int, steps: int, shortest: int = 3, longest: int = 8) -> int:
    """Frames of a training clip, frame 0 included: the shortest for a fifth of the steps, the longest in the last."""
    grown = min(1.0, max(0.0, (step / steps - 0.2) / 0.6))
    return shortest + round(grown * (longest - shortest))


def unroll(net: Network, frames: Tensor, labels: Tensor, counts: Tensor, ahead: int = 0, objects: int = 2) -> Tensor:
    """The loss of a batch of clips, through time: B,T,3,H,W, B,T,H,W of slots, B -> scalar.

    The first `objects` slots of each clip are followed, a state each; their frames are encoded once. ahead: so many
    frames after frame 0 are run through without gradients and without a loss.
    """
    rows = [(b, k) for b, n in enumerate(counts.tolist()) for k in range(1, min(objects, n) + 1)]
    clip = torch.tensor([b for b, _ in rows], device=frames.device)
    slot = torch.tensor([k for _, k in rows], device=frames.device)
    target = labels[clip] == slot[:, None, None, None]  # N,T,H,W bool
    count, length = frames.shape[:2]

    def run(first: int, last: int, state: State) -> tuple[list[Tensor], State]:
        features = [f.unflatten(0, (count, last - first)) for f in net.encode(frames[:, first:last].flatten(0, 1))]
        logits = []
        for t in range(last - first):
            logit, state = net.step([f[clip, t] for f in features], state, frames[:, 0])
            logits.append(logit)
        return logits, state

    with torch.set_grad_enabled(ahead == 0):
        state = net.start(frames[clip, 0], target[:, 0])
        if ahead:
            _, state = run(1, 1 + ahead, state)
    logits, _ = run(1 + ahead, length, state)
    return objective(torch.stack(logits, 1), target[:, 1 + ahead :])


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 2400, batch: int = 2,
           size: tuple[int, int] = (192, 320), device: str = "cpu", trunks: tuple[str, str] | None = FROM,
           **changes: Any) -> Recipe:
    """Training through time (section 3.2 of the ECCV paper): what `vos-teach train s2s` runs. size: of the crops.

    trunks: weights whose trunks the initializer and the encoder start from; None: ImageNet's, as for other backbones
    than the default; changes: fields of Config.
    """
    config = replace(SCALES[scale], **changes)
    net, sources = new_network(config, pretrained=True).to(device), crowded(sources)
    trunks = trunks if config.backbone == "lite0" else None
    if trunks is not None:
        load_part(net.initializer.trunk, trunks[0], "trunk")
        load_part(net.encoder, trunks[1], "trunk")

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        length = length_at(step, steps)
        ahead = int(rng.integers(1, AHEAD + 1)) if step >= 0.6 * steps and rng.random() < 0.5 else 0
        drawn = windows(sources, rng, batch, size, length + ahead)
        return unroll(net, drawn.frames.to(device), drawn.labels.to(device), drawn.counts, ahead)

    return Recipe(net, loss, groups(net, 2e-4, 1e-3, ("initializer.trunk", "encoder")), steps,
                  {"batch": batch, "size": size, "trunks": trunks, "backbone": config.backbone})
