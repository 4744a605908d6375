"""STM: video object segmentation using space-time memory networks (Oh, Lee, Xu, Kim, ICCV 2019). The past is not
compressed into a state: frames and their masks are kept, and each pixel of a new frame looks up the ones like it.

    key, value of memory  = MemoryEncoder(frame, mask, masks of the others)      for each object, at stride 16
    key, value of a query = QueryEncoder(frame)
    affinity  = softmax over all pixels of memory of  k_memory . k_query / sqrt(C)
    mask      = Decoder([sum affinity x value of memory,  value of the query], finer maps of the query encoder)
    merged    = soft aggregation of all objects' masks                           ops.aggregate.soft_aggregate

Memory holds frame 0, every 5th and always the frame before; what it holds of later frames is what was predicted.

Kept: both encoders, keys and values of both, the dot product, the masks of the others, a decoder that refines with
skips, soft aggregation, the memory's rule, frozen batch normalisation; training on clips made of stills, then on videos
with growing gaps, its own predicted masks in memory. Changed (not at scale `paper`): ResNet-50 is EfficientNet-Lite0,
started from OSVOS's parent; masks come in behind stride 2, so that both encoders share what stands before, frozen; keys
64 and 1x1, values 64, two of them the masks themselves as shares of each cell; the course's decoder, down to stride 2,
which corrects the coarse mask that is so read. Both kinds of keys start as the same projection: alike pixels are alike
from the first step on. Cross-entropy of each object plus soft Jaccard of the merged masks. Memory is bounded (see
Bank). Added in training: memories without some of their frames, other hues, objects that nobody asks for. Dropped:
YouTube-VOS and other data sets of stills.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.data.sample import Source, crowded
from vos_teach.nn.backbone import Backbone, backbone
from vos_teach.nn.head import groups, seeded
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.affinity import dot_affinity, readout
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.segmenter import given
from vos_teach.transformers.decoders import Published, Pyramid
from vos_teach.transformers.memory import Bank, Entry, Policy, chosen, others, padded, strongest
from vos_teach.transformers.memory_training import lessons
from vos_teach.weights import load_part, started

Affinity = Callable[[Tensor, Tensor], Tensor]  # keys ...,C,N and ...,C,M -> ...,N,M
Read = Callable[[Tensor, Tensor], Tensor]  # affinity ...,N,M and values ...,Cv,N -> ...,Cv,M
SLOW = ("encoder", "writer.trunk", "query_key", "memory_key")  # what has learnt something before
GAIN = 0.25  # of new keys: with OSVOS's features attention is neither uniform nor one nearest neighbour alone


@dataclass(frozen=True)
class Config:
    """One configuration per scale; key, value, query: channels of keys, of memory's values, of the query's.

    writer: the backbone that writes into memory; widths: of the paper's decoder at strides 16, 8 and 4; None: the
    course's decoder; limit: frames in memory, at most; None: as in the paper, no bound.
    """

    backbone: str = "lite0"
    writer: str = "lite0"
    key: int = 64
    value: int = 64
    query: int = 96
    kernel: int = 1  # of the keys' convolution
    widths: tuple[int, int, int] | None = None
    weights: str | None = "stm"  # those that ship
    limit: int | None = 16


SCALES = {"toy": Config(), "small": Config(),
          "paper": Config("resnet50", "resnet50", 128, 512, 512, 3, (256, 256, 256), None, None)}


class Seen(NamedTuple):
    """What a frame is to a query: key B,C,h,w, value B,Cq,h,w, features B,C16,h,w, and those of strides 2, 4 and 8."""

    key: Tensor
    value: Tensor
    deep: Tensor
    skips: list[Tensor]

    def part(self, of: Any) -> Seen:
        """Some of the frames."""
        return Seen(self.key[of], self.value[of], self.deep[of], [x[of] for x in self.skips])


class Writer(nn.Module):
    """An encoder that also sees masks. entry: so many layers stand before the masks come in; None: the first stage."""

    def __init__(self, trunk: Backbone, entry: int | None):
        super().__init__()
        self.trunk, layers = trunk, list(trunk.stages[0].children())
        self.entry = len(layers) if entry is None else entry
        self.masks = nn.Conv2d(2, trunk.channels[0], 7, stride=2, padding=3, bias=False)

    def before(self, frame: Tensor) -> Tensor:
        """What stands before the masks: frames B,3,H,W -> B,width,H/2,W/2, once for all objects."""
        x = (frame - self.trunk.get_buffer("mean")) / self.trunk.get_buffer("std")
        for layer in list(self.trunk.stages[0].children())[: self.entry]:
            x = layer(x)
        return x

    def forward(self, x: Tensor, masks: Tensor, rows: Tensor) -> Tensor:
        """Frames as `before` leaves them, masks R,2,H,W (the object's, the others'), rows R -> R,C16,H/16,W/16."""
        x = x[rows] + self.masks(masks)
        for layer in (*list(self.trunk.stages[0].children())[self.entry :], *list(self.trunk.stages)[1:]):
            x = layer(x)
        return x


class Network(nn.Module):
    """Both encoders, the look into memory, the decoder.

    affinity, read: the operators, the library's or a student's; top_k: see `strongest`.
    """

    own_keys = True  # each object has keys of its own

    def __init__(self, config: Config, pretrained: bool = True, affinity: Affinity = dot_affinity,
                 read: Read = readout):
        super().__init__()
        self.affinity, self.look = affinity, read
        self.top_k: int | None = None
        self.encoder = backbone(config.backbone, pretrained)
        self.direct = config.widths is None  # two of the values are the masks themselves
        deep, pad = self.encoder.channels[-1], config.kernel // 2
        self.query_key = nn.Conv2d(deep, config.key, config.kernel, padding=pad)
        self.query_value = nn.Conv2d(deep, config.query, 3, padding=1)
        nn.init.orthogonal_(self.query_key.weight, GAIN)
        if self.direct:
            self.encoder.stages[0].requires_grad_(False)  # edges are edges; stride 2 is half of a step's time
        self.writing(config, pretrained)
        skips = self.encoder.channels[:3]
        self.decoder = (Pyramid(skips, config.value, config.query) if config.widths is None else
                        Published(skips, config.value, config.query, config.widths, 2 if self.own_keys else 1))
        self.to(memory_format=torch.channels_last)  # depthwise convolutions are faster so, on CPUs

    def writing(self, config: Config, pretrained: bool) -> None:
        """The layers that write into memory."""
        trunk = backbone(config.writer, pretrained)
        if self.direct:
            trunk.stages[0] = self.encoder.stages[0]  # one and the same, frozen
        self.writer = Writer(trunk, None if self.direct else 1)
        deep, pad = trunk.channels[-1], config.kernel // 2
        self.memory_key = nn.Conv2d(deep, config.key, config.kernel, padding=pad)
        self.memory_value = nn.Conv2d(deep, config.value - 2 * self.direct, 3, padding=1)
        self.memory_key.load_state_dict(self.query_key.state_dict())

    def query(self, frame: Tensor) -> Seen:
        """Frames B,3,H,W in [0,1]: once for all objects."""
        *skips, deep = self.encoder(frame)
        return Seen(self.query_key(deep), self.query_value(deep), deep, skips)

    def write(self, frame: Tensor, masks: Tensor, other: Tensor, rows: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
        """Frames B,3,H,W, masks and the others' R,H,W in [0,1], rows R -> keys R,C,h,w and values R,Cv,h,w.

        rows: of which frame each object is; seen: what `query` gave for the frames.
        """
        deep = self.written(frame, masks, other, rows, seen)
        return self.memory_key(deep), self.values(self.memory_value(deep), masks, other)

    def written(self, frame: Tensor, masks: Tensor, other: Tensor, rows: Tensor, seen: Seen) -> Tensor:
        """The same -> features of frames and masks R,C16,h,w."""
        stem = seen.skips[0] if self.direct else self.writer.before(frame)  # B,width,H/2,W/2
        return self.writer(stem, torch.stack([masks, other], 1), rows)

    def values(self, value: Tensor, masks: Tensor, other: Tensor) -> Tensor:
        """Where two of the values are the masks: how much of each cell they cover, -1 to 1."""
        if not self.direct:
            return value
        h, w = value.shape[-2:]
        area = F.adaptive_avg_pool2d(torch.stack([masks, other], 1), (h, w))
        return torch.cat([value, 2 * area - 1], 1)

    def attend(self, mk: Tensor, qk: Tensor) -> Tensor:
        """Keys of memory ...,C,N and of one query C,M -> affinity ...,N,M."""
        return strongest(self.affinity(mk, qk), self.top_k)

    def segment(self, memory: Sequence[tuple[Tensor, Tensor]], seen: Seen, rows: Tensor) -> Tensor:
        """Keys and values of the memory of each of B frames -> logits R,H,W; rows in the frames' order."""
        h, w = seen.key.shape[-2:]
        read = [self.look(self.attend(mk, key.flatten(1)), mv) for (mk, mv), key in zip(memory, seen.key, strict=True)]
        return self.decoder(torch.cat(read).unflatten(-1, (h, w)), seen.value, seen.skips, rows)


class STM:
    """STM on a clip: all objects at once. policy: which frames memory holds; limit: how many at most, None: no bound.

    truth: t -> K,h,w masks of frame t, to be remembered instead of those that were predicted; None: as published.
    """

    task, causal, seed = "one-shot", True, 0

    def __init__(self, net: Network, policy: str | Policy = "first+last+every", limit: int | None = None,
                 aggregate: Callable[[Tensor], Tensor] = soft_aggregate, device: str = "cpu"):
        self.net, self.device, self.aggregate = net.to(device).eval(), device, aggregate
        self.policy, self.limit, self.bank = chosen(policy), limit, Bank(chosen(policy), limit)
        self.truth: Callable[[int], Tensor] | None = None

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        self.bank, self.t = Bank(self.policy, self.limit), -1
        self.asked: list[bool] = []
        return self.step(frame, frame.new_zeros(0, *frame.shape[-2:], dtype=torch.bool) if masks is None else masks)

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        self.t += 1
        old, count = len(self.asked), 0 if new is None else len(new)
        new = torch.zeros(0, *frame.shape[-2:], dtype=torch.bool, device=frame.device) if new is None else new
        seen = self.net.query(frame[None])
        result = given(new)
        if old and any(self.asked):
            logits = self.net.segment([self.bank.read()], seen, torch.zeros(old, dtype=torch.long))
            asked = torch.tensor(self.asked, device=frame.device)[:, None, None]  # an empty mask asks for nothing
            p = torch.sigmoid(logits) * asked * ~new.any(0)  # a mask that is given beats every estimate on its pixels
            result = self.aggregate(torch.cat([p, result[1:]]))
        elif old:
            result = torch.cat([result[:1], torch.zeros(old, *frame.shape[-2:]).to(result), result[1:]])
        if count:
            self.asked += new.flatten(1).any(1).tolist()
            self.bank.grow(lambda entry: self.written(entry.frame, entry.masks, slice(old, None)), count)
        if self.bank.wants(self.t, count > 0):
            masks = result[1:] if self.truth is None else padded(self.truth(self.t), frame)
            self.bank.add(Entry(self.t, frame, masks, *self.written(frame, masks, slice(None), seen), count > 0))
        else:
            self.bank.tidy(self.t)
        return result

    def written(self, frame: Tensor, masks: Tensor, slots: slice, seen: Seen | None = None) -> tuple[Tensor, Tensor]:
        """Key(s) and values of some objects of a frame: those of the objects that came last have not seen it yet."""
        seen = self.net.query(frame[None]) if seen is None else seen
        mine, other = masks[slots], others(masks)[slots]
        key, value = self.net.write(frame[None], mine, other, torch.zeros(len(mine), dtype=torch.long), seen)
        return (key if self.net.own_keys else key[0]), value


def stm(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
        affinity: Affinity = dot_affinity, aggregate: Callable[[Tensor], Tensor] = soft_aggregate,
        policy: str | Policy = "first+last+every", read: Read = readout, **changes: Any) -> STM:
    """Build STM. weights: a safetensors file instead of the one that ships; init: "trained", or "imagenet": a memory
    that is not trained; affinity, read, aggregate: the operators; policy: see STM; changes: fields of Config.
    """
    config = configured(SCALES, scale, None, None, changes)
    net = started("stm", lambda pretrained: new_network(config, pretrained, affinity, read), init,
                  weights or config.weights)
    return STM(net, policy, config.limit, aggregate, device)


def new_network(config: Config, pretrained: bool, affinity: Affinity = dot_affinity, read: Read = readout) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(config, pretrained, affinity, read))


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 3600, batch: int = 2,
           size: tuple[int, int] = (192, 320), device: str = "cpu", trunk: str | None = "osvos",
           **changes: Any) -> Recipe:
    """Both parts of the training, stills first (section 3.5): what `vos-teach train stm` runs. size: of the crops.

    trunk: weights whose trunk both encoders start from; None: ImageNet's, as for other backbones than the default;
    changes: fields of Config.
    """
    config = replace(SCALES[scale], **changes)
    net = new_network(config, pretrained=True).to(device)
    trunk = trunk if config.backbone == "lite0" else None
    if trunk is not None:
        load_part(net.encoder, trunk, "trunk")
        load_part(net.writer.trunk, trunk, "trunk")
    return Recipe(net, lessons(net, crowded(sources), steps, batch, size, device),
                  groups(net, 2e-4, 1e-3, SLOW), steps,
                  {"batch": batch, "size": size, "trunk": trunk, "backbone": config.backbone})
