"""OnAVOS: online adaptation (Voigtlaender & Leibe, BMVC 2017). OSVOS that goes on learning while it watches.

OSVOS knows frame 0 alone; when the object turns or the background changes, it is lost. OnAVOS takes the pixels of
each new frame of which it can be sure as further training data, before it answers for that frame:

    p      = network(frame t)
    target = 1 where p > 0.97;  0 farther than d from the eroded last mask (wins);  255, no opinion, elsewhere
    15 steps: every 5th on (frame t, target) with 0.05 of the loss, the others on (frame 0, its true mask)
    last mask = network'(frame t) > 1/2, and background where target is 0

Positives let appearance change, negatives take away what looks alike far off, and frame 0, mixed in, keeps both from
drifting. If nothing is left of the eroded last mask the object seems lost: this frame teaches nothing, nothing is cut
away, and the object may turn up anywhere. Order and constants are those of the paper's algorithm 1.

    loss = cross-entropy of the hardest quarter of the pixels, of the two-class logits [0, logit]

Kept: the selection rule, the mixing, the learning rate that is constant over frames with Adam's state carried along,
one network per object. Changed: the wide ResNet is OSVOS's network; erosion is by a disk of radius 15/480 of the
height (the authors' code: a square of side 15); the target is used as it lies, unaugmented. Dropped: ten augmented
answers averaged per frame, the CRF, objectness pre-training on PASCAL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vos_teach.clip import VosError
from vos_teach.data.augment import affine, to_image, to_tensors
from vos_teach.data.sample import Source, stills
from vos_teach.nn.online import configured
from vos_teach.nn.recipe import Recipe
from vos_teach.online_learning import osvos
from vos_teach.online_learning.osvos import Network, OneFrame, groups, new_network, parent_network
from vos_teach.ops.adapt import online_targets as library_targets
from vos_teach.ops.losses import bootstrapped_ce
from vos_teach.segmenter import OneObject

HARDEST = 0.25  # of the pixels


@dataclass(frozen=True)
class Config(osvos.Config):
    """OSVOS's, and what is done for each later frame; `steps` and `seconds` still bound frame 0's fine-tuning alone.

    weights: OSVOS's own parent for now. Both then start alike, and what differs is online adaptation alone;
    `vos-teach train onavos` trains one with the paper's loss, which `--weights` takes.
    """

    adapt_steps: int = 15  # a frame; 0: no learning, but far pixels are still cut off
    current_every: int = 5  # the first of every five is on the current frame
    current_weight: float = 0.05  # of the current frame's loss
    adapt_rate: float = 2e-5  # Adam, trunk; constant
    adapt_head_rate: float = 1e-4  # Adam, side outputs and fusion


SCALES = {
    # one step on the frame, four on frame 0: a third of the time
    "toy": Config(steps=60, rate=2e-4, head_rate=1e-3, adapt_steps=5),
    "small": Config(seconds=30.0),
    "paper": Config(backbone="vgg16", steps=50, rate=1e-5, head_rate=1e-4, weights=None),
}


def hardest(logit: Tensor, target: Tensor) -> Tensor:
    """The paper's loss for one logit per pixel: ...,H,W and 0, 1 or 255 (ignored) -> scalar."""
    logit, target = logit.reshape(-1, *logit.shape[-2:]), target.reshape(-1, *target.shape[-2:])
    return bootstrapped_ce(torch.stack([torch.zeros_like(logit), logit], 1), target.long(), HARDEST)


class Adapting(OneFrame):
    """OnAVOS for a single object: OSVOS's fine-tuning at `start`, then adapt and segment at each `step`.

    finetune_seconds counts frame 0's fine-tuning and all adaptation, which is online learning too: what remains of
    a frame's seconds is one forward pass. `targets` holds the last frame's training target, H,W, to look at.
    """

    task: Literal["one-shot"] = "one-shot"
    config: Config
    first: np.ndarray  # frame 0, H,W,3 uint8
    first_mask: np.ndarray  # H,W uint8
    last_mask: Tensor  # H,W bool
    rng: np.random.Generator
    optimizer: torch.optim.Optimizer
    targets: Tensor | None

    def __init__(self, parent: Network, config: Config, loss: Callable[[Tensor, Tensor], Tensor] = hardest,
                 device: str = "cpu", on_step: Callable[[int, Network], None] | None = None,
                 online_targets: Callable[..., Tensor] = library_targets):
        super().__init__(parent, config, loss, device, on_step)
        self.online_targets, self.targets = online_targets, None

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """See Segmenter; K must be 1."""
        result = super().start(frame, masks)
        self.targets = None
        if self.net is not None and masks is not None:
            self.first = to_image(frame)
            self.first_mask, self.last_mask = masks[0].cpu().numpy().astype(np.uint8), masks[0]
            self.rng = np.random.default_rng([self.seed, 1])
            rates = self.config.adapt_rate, self.config.adapt_head_rate
            self.optimizer = torch.optim.Adam(groups(self.net, *rates))
        return result

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """See Segmenter."""
        if self.net is None:
            return super().step(frame)
        begin = time.perf_counter()
        before = torch.sigmoid(self.net(frame[None])[0])  # H,W
        self.targets = self.online_targets(before, self.last_mask)
        if (self.targets != 255).any():
            self.adapt(frame)
            if frame.device.type == "cuda":
                torch.cuda.synchronize(frame.device)
        self.finetune_seconds += time.perf_counter() - begin
        p = torch.sigmoid(self.net(frame[None])[0])
        p = p.masked_fill(self.targets == 0, 0.0)
        self.last_mask = p > 0.5
        return torch.stack([1 - p, p])

    def adapt(self, frame: Tensor) -> None:
        """config.adapt_steps steps of learning, from this frame (3,H,W) and its target and from frame 0."""
        c, net = self.config, self.net
        assert net is not None and self.targets is not None
        net.train()
        loss: Callable[[Tensor, Tensor], Tensor]
        for i in range(c.adapt_steps):
            if i % c.current_every == 0:
                image, target, weight, loss = frame, self.targets, c.current_weight, hardest
            else:
                image, target = to_tensors(*affine(self.first, self.first_mask, self.rng))
                loss, weight = self.loss, 1.0
                if not target.any():  # rotated out of the frame
                    continue
            with torch.enable_grad():
                value = weight * loss(net(image[None].to(self.device)), target[None].to(self.device))
                self.optimizer.zero_grad(set_to_none=True)
                value.backward()
            self.optimizer.step()
        net.eval()


class OnAVOS(osvos.OSVOS):
    """OnAVOS for any number of objects: one network each, merged per pixel."""

    def __init__(self, parent: Network, config: Config, loss: Callable[[Tensor, Tensor], Tensor] = hardest,
                 device: str = "cpu", on_step: Callable[[int, Network], None] | None = None,
                 online_targets: Callable[..., Tensor] = library_targets):
        parent = parent.to(device).eval()
        OneObject.__init__(self, lambda: Adapting(parent, config, loss, device, on_step, online_targets))
        self.device, self.config = device, config


def onavos(device: str = "cpu", scale: str = "small", steps: int | None = None, seconds: float | None = None,
           init: str = "parent", weights: str | None = None, loss: Callable[[Tensor, Tensor], Tensor] = hardest,
           on_step: Callable[[int, Network], None] | None = None,
           online_targets: Callable[..., Tensor] = library_targets, **changes: Any) -> OnAVOS:
    """Build OnAVOS. steps, seconds: the budget of frame 0's fine-tuning alone; online_targets: the selection rule,
    (prob H,W, last_mask H,W) -> H,W of 0, 1, 255; loss: for frame 0; changes: fields of Config, for example
    adapt_steps=0 for no adaptation; the rest as in osvos.
    """
    config = configured(SCALES, scale, steps, seconds, changes)
    if config.adapt_steps < 0 or config.current_every < 1:
        raise VosError(f"adapt_steps is {config.adapt_steps} and current_every is {config.current_every}: they must be "
                       "at least 0 and 1")
    parent = parent_network(config.backbone, init, weights or config.weights)
    return OnAVOS(parent, config, loss, device, on_step, online_targets)


def recipe(sources: Sequence[Source], scale: str = "small", steps: int = 3000, batch: int = 4,
           size: tuple[int, int] = (224, 384), device: str = "cpu") -> Recipe:
    """What `vos-teach train onavos` runs: OSVOS's parent training with the bootstrapped loss."""
    net = new_network(SCALES[scale].backbone, pretrained=True).to(device)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        image, target = (x.to(device) for x in stills(sources, rng, batch, size))
        logit, sides = net(image, sides=True)
        return hardest(logit, target) + (1 - step / steps) * sum(hardest(side, target) for side in sides)

    return Recipe(net, loss, groups(net, 3e-4, 1e-3), steps, {"batch": batch, "size": size})
