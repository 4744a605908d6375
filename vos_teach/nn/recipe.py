"""What a system hands to `vos_teach.train.fit`: a network, a loss, learning rates, a number of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn


@dataclass
class Recipe:
    """One training. `loss(step, rng)` draws its own batch from `rng`, which depends on (seed, step) alone.

    groups: Adam's parameter groups with their peak learning rates; steps: how many in all.
    """

    model: nn.Module
    loss: Callable[[int, np.random.Generator], Tensor]
    groups: list[dict]
    steps: int
