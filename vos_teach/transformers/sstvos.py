"""SSTVOS: sparse spatiotemporal transformers for video object segmentation (Duke, Ahmed, Wolf, Aarabi, Taylor, CVPR
2021). Frames whose masks are known and the new frame are ONE block of T x H x W places that attend to each other. All
with all costs (THW)^2, which no video can pay; here each place attends to few, and what it cannot see it hears of from
others, a layer later.

    x, s <- attention(q(x), k(x), [v(x), s])         in each layer and head; x: what a place is, s: whose it is
    grid:  own row, column and time line             THW (T + H + W) scores; everything heard of after three layers
    strided, local: ops/sparse.py                    the same idea, other neighbours

The masks travel with the attention as further values. In past frames s is the known labels, one plane each, and stays
so; in the new frame it starts as nothing, and after each layer is the share of attention that each label has got: along
the time line first, then along rows and columns. So one affinity, which knows nothing of objects, serves them all.

Kept: sparse attention over space and time inside the network, several layers and heads, labels of past frames carried
by the same attention, the rest from CFBI: embeddings, gates, ensembler, joint loss, training through time with its own
labels. Changed: EfficientNet-Lite0, embeddings at stride 8; a window of four frames of which frame 0 is always one (and
a frame in which an object appears), three layers of two heads; places as sines; queries and keys that start alike, so
that like attends to like. As in CFBI, what is not the object is the most that any other label has got, and shares vote
directly. The training starts from CFBI's weights. The authors' model code was never released: layer sizes are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vos_teach.clip import VosError
from vos_teach.data.sample import Source
from vos_teach.nn.blocks import sine_positions
from vos_teach.nn.head import seeded
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.attention import grid_attention
from vos_teach.ops.sparse import grid_mask, local_attention, local_mask, strided_attention, strided_mask
from vos_teach.transformers import cfbi
from vos_teach.weights import load, started

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]  # q, k C,T,H,W, v Cv,T,H,W -> like v
PATTERNS: dict[str, tuple[Attention, ...]] = {  # of layers, in turns
    "grid": (grid_attention,), "strided": (strided_attention, local_attention), "local": (local_attention,)}
MASKS: dict[str, tuple[Callable[[tuple[int, int, int]], Tensor], ...]] = {  # the same, for ops.sparse.hops
    "grid": (grid_mask,), "strided": (strided_mask, local_mask), "local": (local_mask,)}


@dataclass(frozen=True)
class Config(cfbi.Config):
    """One configuration per scale; frames: of the window, the new one included; channels: of a place in the block."""

    weights: str | None = "sstvos"  # those that ship
    frames: int = 4
    channels: int = 48
    layers: int = 3
    heads: int = 2


SCALES = {"toy": Config(), "small": Config(), "paper": Config("resnet50", 100, weights=None, channels=256, heads=8)}


class Layer(nn.Module):
    """Attention and a feed-forward part for each place. attention: the key operator, the library's or a student's."""

    def __init__(self, channels: int, heads: int, attention: Attention):
        super().__init__()
        self.heads, self.attention = heads, attention
        self.norm, self.calm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels) for _ in range(4))
        self.feed = nn.Sequential(nn.Linear(channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels))
        self.key.load_state_dict(self.query.state_dict())  # like attends to like

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Places C,T,H,W and labels K+1,T,H,W -> the same places, and what of each label has come to the last frame by
        each head: heads,K+1,H,W.
        """
        y = self.norm(x.movedim(0, -1))
        q, k, v = (f(y).movedim(-1, 0).chunk(self.heads) for f in (self.query, self.key, self.value))
        read = [self.attention(*one[:2], torch.cat([one[2], labels])) for one in zip(q, k, v, strict=True)]
        width = len(v[0])
        y = torch.cat([r[:width] for r in read]).movedim(0, -1)  # T,H,W,C
        x = x.movedim(0, -1) + self.out(y)
        return (x + self.feed(self.calm(x))).movedim(-1, 0), torch.stack([r[width:, -1] for r in read])


class Network(cfbi.Network):
    """CFBI's network, a transformer in place of matching. attention: one operator, or several for layers in turns."""

    def __init__(self, config: Config = SCALES["small"], pretrained: bool = True,
                 attention: Attention | Sequence[Attention] = grid_attention):
        super().__init__(config, pretrained)
        del self.bias  # of distances: there are none
        several = tuple(attention) if isinstance(attention, Sequence) else (attention,)
        self.recent = config.frames - 2
        self.place = nn.Conv2d(config.embedding, config.channels, 1)
        self.role = nn.Parameter(torch.zeros(3, config.channels, 1, 1))  # a first frame, a later one, the new one
        self.layers = nn.ModuleList(Layer(config.channels, config.heads, several[i % len(several)])
                                    for i in range(config.layers))
        self.ensemble(config, config.layers * config.heads, config.channels)

    def match(self, now: Tensor, past: cfbi.Past) -> tuple[Tensor, Tensor]:
        """See CFBI's: a distance is the share of attention that a label has NOT got; the context is the new frame's
        places after the last layer, C,h,w.
        """
        first, last = past
        newest = {id(e): its for e, its in last}  # of a frame that is in both, the latest labels: they are complete
        known = [(e, newest.get(id(e), its)) for e, its in first]
        known += [m for m in last if all(m[0] is not e for e, _ in first)]  # each frame once
        labels = torch.stack([its for _, its in known], 1).to(now)  # K+1,T-1,h,w
        x = self.place(torch.stack([*(e for e, _ in known), now]) * (len(now) ** 0.5 / 2))  # T,C,h,w, from variance 1
        roles = [0] * len(first) + [1] * (len(known) - len(first)) + [2]
        x = (x + self.role[roles] + sine_positions(now.shape[1:], x.shape[1]).to(x)).movedim(1, 0)  # C,T,h,w
        planes, shares = torch.zeros_like(labels[:, 0]), []
        for layer in self.layers:
            x, come = layer(x, torch.cat([labels, planes[:, None]], 1))
            share = come / come.sum(1, keepdim=True).clamp(min=1e-4)  # heads,K+1,h,w
            shares.append(share)
            planes = share.mean(0)
        distance = 1 - torch.cat(shares).movedim(1, 0)  # K+1,layers * heads,h,w
        return self.paired(distance[1:], cfbi.others(distance)), x[:, -1]


class SSTVOS(cfbi.CFBI):
    """SSTVOS on a clip. Of the past it keeps frame 0 (and frames in which objects appear) and the latest ones of its
    window, with their labels: memory does not grow.
    """


def sstvos(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
           attention: Attention | Sequence[Attention] = grid_attention, **changes: Any) -> SSTVOS:
    """Build SSTVOS. weights: a safetensors file instead of the one that ships; init: "trained", or "imagenet": a
    transformer that is not trained; attention: see Network; changes: fields of Config.
    """
    config = configured(SCALES, scale, None, None, changes)
    net = started("sstvos", lambda pretrained: new_network(config, pretrained, attention), init,
                  weights or config.weights)
    return SSTVOS(net, device)


def new_network(config: Config, pretrained: bool, attention: Attention | Sequence[Attention] = grid_attention
                ) -> Network:
    """A network whose new layers start alike in every run. Raises VosError for a window without room for the past."""
    if config.frames < 3:
        raise VosError(f"a window of {config.frames} frames has no room for frame 0, the last one and the new one: "
                       "frames must be at least 3")
    return seeded(lambda: Network(config, pretrained, attention))


def descend(net: Network, source: str) -> None:
    """Take over from CFBI's weights what both networks have. Raises VosError where nothing fits."""
    own, state = net.state_dict(), load(source)
    shared = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    if not all(any(k.startswith(part) for k in shared) for part in ("trunk.", "pyramid.", "decoder.")):
        raise VosError(f"weights '{source}' are none of CFBI's at this scale: give another file, or start=None")
    net.load_state_dict(shared, strict=False)
    entry = state["enter.weight"]  # its first channels are the frame's features, its last one the last mask
    with torch.no_grad():
        net.enter.weight[:, :64], net.enter.weight[:, -1] = entry[:, :64], entry[:, -1]
        net.enter.bias.copy_(state["enter.bias"])  # type: ignore[union-attr]


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 1500, batch: int = 2,
           size: tuple[int, int] = (192, 320), device: str = "cpu", start: str | None = "cfbi",
           attention: Attention | Sequence[Attention] = grid_attention, **changes: Any) -> Recipe:
    """Training as CFBI's: what `vos-teach train sstvos` runs. size: of the crops.

    start: CFBI's weights, from which everything but the transformer is taken over; None: ImageNet's trunk; attention:
    see Network; changes: fields of Config.
    """
    config = replace(SCALES[scale], **changes)
    net, start = new_network(config, True, attention), start if config.backbone == "lite0" else None
    if start is not None:
        descend(net, start)
    several = attention if isinstance(attention, Sequence) else (attention,)
    return cfbi.training(net.to(device), sources, steps, batch, size, 0.0, 0.1, start=start, backbone=config.backbone,
                         attention=[getattr(a, "__name__", "a student's") for a in several])
