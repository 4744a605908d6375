"""STCN: rethinking space-time networks with improved memory coverage (Cheng, Tai, Tang, NeurIPS 2021). Whether two
places look alike does not depend on which object is asked for: keys are of frames alone, and one affinity serves all.

    key       = KeyEncoder(frame)                       of memory and of queries: one and the same encoder
    value     = light ValueEncoder(frame, mask, masks of the others), fused with the key encoder's features
    affinity  = softmax over memory of  -|k_memory - k_query|^2 / sqrt(C),  at inference of the 20 nearest alone
    mask      = Decoder([sum affinity x value, features of the query], finer maps)     then as STM

The distance instead of the dot product: a key of large norm has a large dot product with everything, so few memory
cells are read by all and most by none; but it is near to few. `share_read` in memory.py counts. A frame in memory costs
nothing but its values, since its keys were computed when it was segmented, and K objects cost K values and K decoders,
not K encoders and K affinities.

From STM: the decoder, the merging, the bank, the training. Kept: keys without masks, one affinity for all objects, the
negative squared L2 distance, the light value encoder and its fusion, top-k at inference, every 5th frame and no frame
before, frozen batch normalisation. Changed (not at scale `paper`): EfficientNet-Lite0, started from our STM's query
encoder and decoder (the paper trains anew); the value encoder is seven convolutions behind the key encoder's stride 2,
ResNet-18 in the paper; no gate of channels and places (CBAM) where it is fused; the rest as in STM. Dropped: BL30K and
other data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vos_teach.data.sample import Source, crowded
from vos_teach.nn.backbone import Backbone, backbone
from vos_teach.nn.head import groups, seeded
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.ops.affinity import dot_affinity, l2_affinity, readout
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.transformers import stm
from vos_teach.transformers.decoders import Gate, ResBlock, awake
from vos_teach.transformers.memory import Policy, strongest
from vos_teach.transformers.memory_training import lessons
from vos_teach.transformers.stm import Affinity, Config, Read, Seen, Writer
from vos_teach.weights import load_part, started

TOP_K = 20
LIMIT = 8  # frames in memory: at 240 lines more than these would cost more than all else behind the encoder
LIGHT = (24, 40, 64)  # channels of our value encoder at strides 4, 8 and 16


SMALL = Config(writer="light", weights="stcn", limit=LIMIT)
SCALES = {"toy": SMALL, "small": SMALL,
          "paper": Config("resnet50", "resnet18", 64, 512, 512, 3, (512, 256, 256), None, None)}


class Network(stm.Network):
    """Key encoder, value encoder, the look into memory, the decoder."""

    own_keys = False

    def __init__(self, config: Config, pretrained: bool = True, affinity: Affinity = l2_affinity, read: Read = readout):
        super().__init__(config, pretrained, affinity, read)

    def writing(self, config: Config, pretrained: bool) -> None:
        """The layers that write values."""
        trunk = light(self.encoder) if config.writer == "light" else with_biases(backbone(config.writer, pretrained))
        self.writer, value = Writer(trunk, None if self.direct else 1), config.value - 2 * self.direct
        deep = trunk.channels[-1] + self.encoder.channels[-1]
        first = ResBlock(deep, value)
        gate = [] if self.direct else [Gate(value)]
        self.fuse = nn.Sequential(first, *gate, ResBlock(value, value))
        if self.direct:
            awake(self.fuse)
            awake(self.writer.masks)
            with torch.no_grad():  # the key encoder's features are several times as large as the writer's
                for conv in (first.first, first.straight):
                    conv.get_parameter("weight")[:, trunk.channels[-1] :] *= 0.2

    def write(self, frame: Tensor, masks: Tensor, other: Tensor, rows: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
        """See STM's; keys are those of the frames, B,C,h,w, and values R,Cv,h,w."""
        value = self.fuse(torch.cat([self.written(frame, masks, other, rows, seen), seen.deep[rows]], 1))
        return seen.key, self.values(value, masks, other)

    def attend(self, mk: Tensor, qk: Tensor) -> Tensor:
        """Keys of memory C,N and of a query C,M -> affinity N,M, of the top_k nearest alone where that is set."""
        if self.top_k is not None and "top_k" in inspect.signature(self.affinity).parameters:
            return self.affinity(mk, qk, top_k=self.top_k)  # type: ignore[call-arg]
        return strongest(self.affinity(mk, qk), self.top_k)


def light(encoder: Backbone) -> Backbone:
    """Our value encoder's trunk: the key encoder's first stage, shared, and two convolutions for each next stride."""
    stages: list[nn.Module] = [encoder.stages[0]]
    for c, d in zip((encoder.channels[0], *LIGHT), LIGHT, strict=False):
        stages.append(nn.Sequential(nn.Conv2d(c, d, 3, stride=2, padding=1), nn.ReLU(),
                                    nn.Conv2d(d, d, 3, padding=1), nn.ReLU()))
        awake(stages[-1])
    return Backbone(stages, (encoder.channels[0], *LIGHT), encoder.strides, (0.5,) * 3, (0.5,) * 3)  # not used here


def with_biases(trunk: Backbone) -> Backbone:
    """The authors' ResNet-18 has biases in its convolutions, though batch normalisation makes them superfluous."""
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            module.bias = nn.Parameter(torch.zeros(module.out_channels))
    return trunk


class STCN(stm.STM):
    """STCN on a clip: all objects at once. top_k: memory cells that count for a pixel, None: all; the rest: see STM."""

    def __init__(self, net: Network, policy: str | Policy = "first+every", limit: int | None = None,
                 aggregate: Callable[[Tensor], Tensor] = soft_aggregate, device: str = "cpu",
                 top_k: int | None = TOP_K):
        super().__init__(net, policy, limit, aggregate, device)
        net.top_k = top_k


def stcn(device: str = "cpu", scale: str = "small", weights: str | None = None, init: str = "trained",
         affinity: Affinity = l2_affinity, aggregate: Callable[[Tensor], Tensor] = soft_aggregate,
         policy: str | Policy = "first+every", read: Read = readout, top_k: int | None = TOP_K, **changes: Any) -> STCN:
    """Build STCN. Options as of `stm`, and top_k: memory cells that count for a pixel, None for all."""
    config = configured(SCALES, scale, None, None, changes)
    net = started("stcn", lambda pretrained: new_network(config, pretrained, affinity, read), init,
                  weights or config.weights)
    return STCN(net, policy, config.limit, aggregate, device, top_k)


def stcn_dot(device: str = "cpu", scale: str = "small", weights: str | None = None, **options: Any) -> STCN:
    """STCN whose affinity is STM's dot product, trained with it: the other side of the comparison."""
    own = "stcn-dot" if scale != "paper" else None
    return stcn(device, scale, weights or own, affinity=dot_affinity, **options)


def new_network(config: Config, pretrained: bool, affinity: Affinity = l2_affinity, read: Read = readout) -> Network:
    """A network whose new layers start alike in every run."""
    return seeded(lambda: Network(config, pretrained, affinity, read))


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 4400, batch: int = 2,
           size: tuple[int, int] = (192, 320), device: str = "cpu", affinity: Affinity = l2_affinity,
           start: str | None = "stm", **changes: Any) -> Recipe:
    """Training as STM's: what `vos-teach train stcn` runs. size: of the crops.

    start: weights of an STM whose query encoder and decoder it starts from; None: OSVOS's trunk alone (ImageNet's for
    other backbones than the default); changes: fields of Config.
    """
    config = replace(SCALES[scale], **changes)
    net, own = new_network(config, True, affinity).to(device), config.backbone == "lite0"
    if own and start is not None:
        for part, name in ((net.encoder, "encoder"), (net.decoder, "decoder"), (net.query_value, "query_value")):
            load_part(part, start, name)
    elif own:
        load_part(net.encoder, "osvos", "trunk")
    kind = getattr(affinity, "__name__", "own")
    return Recipe(net, lessons(net, crowded(sources), steps, batch, size, device),
                  groups(net, 2e-4, 1e-3, stm.SLOW[:1] + stm.SLOW[2:]), steps,
                  {"batch": batch, "size": size, "start": start, "backbone": config.backbone, "affinity": kind})


def recipe_dot(sources: Sequence[Source], **options: Any) -> Recipe:
    """The same training with the dot product."""
    return recipe(sources, affinity=dot_affinity, **options)
