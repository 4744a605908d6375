"""OSMN: video object segmentation by network modulation (Yang, Wang, Xiong, Yang, Katsaggelos, CVPR 2018).

OSVOS spends seconds to minutes on changing a network's weights until it segments one object. Here a second network
looks at that object ONCE and says how to change the first one: one forward pass instead of a training.

    y_s = gamma_s * relu(norm(conv_s(feature_s))) + beta_s      s: backbone stages at strides 4, 8, 16
    gamma_s = W_s d + b_s         d: what the visual modulator sees in the masked crop of frame 0; once a video
    beta_s  = 1x1_s( pool_s( G ) )     G: a Gaussian around the PREVIOUS frame's mask (median and 1.4826 MAD per axis)

gamma turns channels up or down (which object), beta is added at every pixel (where it was). W = 0, b = 1 and beta = 0
at the start: training begins with a network that knows no object, and learns what a mask should change.

Kept: both modulators, the identity start, gamma once a video, no online learning, pairs of frames of one clip as
training, the Gaussian disturbed in training as it will be by mistakes. Changed: VGG-16 is replaced by
EfficientNet-Lite0 (option: vgg16), whose side maps are modulated rather than the trunk itself, so that the trunk sees
only the frame; they are merged top-down by small convolutions; trained on composites of two clips
too, where only the mask tells which object is meant. Dropped: pre-training on still images (COCO), the CRF.

Loss: plain cross-entropy plus soft Jaccard, not OSVOS's balanced cross-entropy. That one calls background object at
far less than even odds, and masks get fat; plain cross-entropy alone hedges, masks and with them G shrink from frame
to frame until nothing is left. The Jaccard term does not pay for hedging, and small objects count as much as large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.data.sample import Source, crowded, pairs
from vos_teach.nn.backbone import backbone
from vos_teach.nn.head import groups, resize, seeded, up
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.losses import mask_loss as objective
from vos_teach.ops.modulate import mask_gaussian, modulate
from vos_teach.segmenter import OneObject, given
from vos_teach.weights import started


@dataclass(frozen=True)
class Config:
    """One configuration per scale. There is nothing to tune online: that is the point."""

    backbone: str = "lite0"
    weights: str | None = "osmn"  # those that ship


SCALES = {"toy": Config(), "small": Config(), "paper": Config(backbone="vgg16", weights=None)}
CROP = 112  # side of the square in which the visual modulator sees the object


class Network(nn.Module):
    """The segmentation network and its two modulators. widths: channels of the side maps at strides 2, 4, 8, 16.

    modulate: the key operator, as in `ops.modulate`.
    """

    def __init__(self, name: str = "lite0", pretrained: bool = True, widths: Sequence[int] = (16, 24, 48, 96),
                 modulate: Callable[..., Tensor] = modulate):
        super().__init__()
        self.modulate = modulate
        self.trunk, self.eye = backbone(name, pretrained), backbone(name, pretrained)
        self.trunk.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        self.eye.stages[0].requires_grad_(False)
        channels = self.trunk.channels
        self.side = nn.ModuleList(nn.Conv2d(c, w, 3, padding=1) for c, w in zip(channels, widths, strict=True))
        self.norm = nn.ModuleList(nn.GroupNorm(8, w) for w in widths)  # of one size, or beta could not be heard
        self.merge = nn.ModuleList(nn.Conv2d(w, v, 3, padding=1) for w, v in zip(widths[1:], widths, strict=False))
        self.deep = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.last = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.score = nn.Conv2d(widths[0], 1, 1)
        self.visual = nn.ModuleList(nn.Linear(sum(channels[1:]), w) for w in widths[1:])
        self.spatial = nn.ModuleList(nn.Conv2d(1, w, 1) for w in widths[1:])
        for layer in self.visual:
            nn.init.zeros_(layer.weight)
            nn.init.ones_(layer.bias)  # gamma = 1 for every object
        for layer in self.spatial:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # beta = 0 wherever it was
        self.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs

    def look(self, frame: Tensor, mask: Tensor) -> list[Tensor]:
        """Visual modulator: frames B,3,H,W in [0,1] and masks B,H,W bool, none empty -> gamma B,C per stage."""
        crops = torch.stack([crop(f, m, self.eye.mean) for f, m in zip(frame, mask, strict=True)])
        pooled = [f.mean((-2, -1)) for f in self.eye(crops)[1:]]  # B,C each
        seen = torch.cat([F.layer_norm(d, d.shape[-1:]) for d in pooled], 1)  # stages differ in scale
        return [layer(seen) for layer in self.visual]

    def forward(self, x: Tensor, gamma: Sequence[Tensor], place: Tensor) -> Tensor:
        """Frames B,3,H,W in [0,1], gamma B,C per stage (`look`), Gaussians B,H,W -> logits B,H,W."""
        maps = [F.relu(norm(conv(f))) for norm, conv, f in zip(self.norm, self.side, self.trunk(x), strict=True)]
        for s, (scale, layer) in enumerate(zip(gamma, self.spatial, strict=True), start=1):
            beta = layer(F.adaptive_avg_pool2d(place[:, None], maps[s].shape[-2:]))  # B,C,h,w
            maps[s] = self.modulate(maps[s], scale, beta)
        y = F.relu(self.deep(maps[-1])) + maps[-1]
        for conv, side in zip(reversed(self.merge), reversed(maps[:-1]), strict=True):  # from stride 16 to 2
            y = side + resize(F.relu(conv(y)), side)
        return up(self.score(F.relu(self.last(y))), x)


def crop(frame: Tensor, mask: Tensor, grey: Tensor, side: int = CROP) -> Tensor:
    """The object alone: 3,H,W and H,W bool (not empty) -> 3,side,side; what is not object is `grey` (3,1,1)."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    box = (..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    alone = ((frame - grey) * mask)[box]
    h, w = alone.shape[-2:]
    n = max(h, w)  # a square, so that its shape stays
    left, top = (n - w) // 2, (n - h) // 2
    alone = F.pad(alone, (left, n - w - left, top, n - h - top))
    return F.interpolate(alone[None], (side, side), mode="bilinear", antialias=True, align_corners=False)[0] + grey


class OneModulated:
    """OSMN for a single object: `start` looks at it, `step` segments a frame with that look and the last place."""

    task, causal, seed = "one-shot", True, 0

    def __init__(self, net: Network, gaussian: Callable[[Tensor], Tensor] = mask_gaussian):
        self.net, self.gaussian = net, gaussian
        self.gamma: list[Tensor] | None = None

    @torch.no_grad()
    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter; K must be 1."""
        self.gamma = None
        if masks.any():
            self.gamma = self.net.look(frame[None], masks)
            self.place = self.gaussian(masks[0]).to(frame)
        return given(masks)

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter. While nothing is found the last place stays: there it will be looked for."""
        if self.gamma is None:  # an empty mask asks for nothing
            p = torch.zeros_like(frame[0])
        else:
            p = torch.sigmoid(self.net(frame[None], self.gamma, self.place[None])[0])  # H,W
            if (found := p > 0.5).any():
                self.place = self.gaussian(found).to(frame)
        return torch.stack([1 - p, p])


class OSMN(OneObject):
    """OSMN for any number of objects: one look and one place each, one network for all, merged per pixel."""

    def __init__(self, net: Network, gaussian: Callable[[Tensor], Tensor] = mask_gaussian, device: str = "cpu"):
        net, self.device = net.to(device).eval(), device
        super().__init__(lambda: OneModulated(net, gaussian))


def osmn(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
         gaussian: Callable[[Tensor], Tensor] = mask_gaussian, modulate: Callable[..., Tensor] = modulate,
         **changes) -> OSMN:
    """Build OSMN. weights: a safetensors file instead of the one that ships; init: "trained", or "imagenet": modulators
    that know nothing yet; gaussian: mask H,W bool -> H,W, the place of an object; modulate: (features B,C,H,W,
    gamma B,C, beta B,C,H,W) -> like features; changes: fields of Config.
    """
    config = configured(SCALES, scale, None, None, changes)
    net = started("osmn", lambda pretrained: new_network(config.backbone, pretrained, modulate), init,
                  weights or config.weights)
    return OSMN(net, gaussian, device)


def new_network(name: str, pretrained: bool, modulate: Callable[..., Tensor] = modulate) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(name, pretrained, modulate=modulate))


def disturb(previous: Tensor, rng: np.random.Generator) -> Tensor:
    """Masks as they come at test time: B,H,W -> B,H,W bool, each with a place that is somewhat or wholly wrong.

    75 of 100 are shifted by about an eighth of the object's size and grown or shrunk. 15 are a fragment: what is left
    after a bad frame, from which the object must grow again. 5 lie anywhere, 2.5 are the whole frame, 2.5 empty:
    then only the object's look can tell. More of those, and the network would learn not to trust the place.
    """
    out, (h, w) = [], previous.shape[-2:]
    for mask in previous.cpu().numpy().astype(np.uint8):
        kind, at = rng.random(), np.argwhere(mask)[:, ::-1]  # (x, y) of each pixel
        if kind > 0.95 or len(at) == 0:
            out.append(np.zeros_like(mask) if kind > 0.975 else np.ones_like(mask))
            continue
        middle, extent = at.mean(0), at.std(0) * 4 + 2
        if kind < 0.15:
            part = np.zeros_like(mask)
            reach, (x, y) = rng.uniform(0.1, 0.4, 2) * extent, at[rng.integers(len(at))]
            top, left = max(0, int(y - reach[1])), max(0, int(x - reach[0]))
            part[top : int(y + reach[1]) + 1, left : int(x + reach[0]) + 1] = 1
            out.append(mask * part)
            continue
        zoom = np.exp(rng.normal(0, 0.2, 2))
        goal = rng.uniform(0, (w, h)) if kind > 0.9 else middle + rng.normal(0, 0.12, 2) * extent
        matrix = np.column_stack([np.diag(zoom), goal - zoom * middle])
        out.append(cv2.warpAffine(mask, matrix, (w, h), flags=cv2.INTER_NEAREST))
    return torch.from_numpy(np.stack(out)).bool().to(previous.device)


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 4000, batch: int = 4,
           size: tuple[int, int] = (224, 384), device: str = "cpu") -> Recipe:
    """Offline training (section 3.4): what `vos-teach train osmn` runs. size: the crops' height and width."""
    net, sources = new_network(SCALES[scale].backbone, pretrained=True).to(device), crowded(sources)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        drawn = pairs(sources, rng, batch, size)
        place = mask_gaussian(disturb(drawn.previous, rng)).to(device)
        gamma = net.look(drawn.reference.to(device), drawn.given.bool().to(device))
        logit = net(drawn.image.to(device), gamma, place)
        return objective(logit, drawn.target.to(device))

    # gamma starts slowly: it could tell 30 training clips apart, where beta has to be learnt for any
    return Recipe(net, loss, groups(net, 5e-4, 2e-3, ("trunk", "eye", "visual")), steps, {"batch": batch, "size": size})
