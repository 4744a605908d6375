"""What a system hands to `vos_teach.train.fit`: a network, a loss, learning rates, a number of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn


@dataclass
class Recipe:
    """One training. `loss(step, rng)` draws its own batch from `rng`, which depends on (seed, step) alone.

    groups: AdamW's parameter groups with their peak learning rates; steps: how many in all; about: what else decides
    the outcome (batch, crop, ...), so that a checkpoint of another training is told apart.
    """

    model: nn.Module
    loss: Callable[[int, np.random.Generator], Tensor]
    groups: list[dict]
    steps: int
    about: dict = field(default_factory=dict)
