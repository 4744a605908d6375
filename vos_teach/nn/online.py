"""Online learning's loop: a network trained in place for so many steps or seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from vos_teach.clip import VosError


class Budgeted(Protocol):
    """A configuration with a budget for fine-tuning, whichever ends first."""

    @property
    def steps(self) -> int | None:
        """At most so many steps."""

    @property
    def seconds(self) -> float | None:
        """At most so many seconds."""


AnyConfig = TypeVar("AnyConfig", bound=Any)
Net = TypeVar("Net", bound=nn.Module)


def tune(net: Net, groups: list[dict], loss: Callable[[], Tensor | None], budget: Budgeted,
         on_step: Callable[[int, Net], None] | None = None) -> int:
    """Train `net` with Adam until the budget is spent; the learning rates fall linearly to a tenth over it.

    loss(): of a newly drawn example; None if that one teaches nothing: it counts as a step all the same.
    on_step(steps taken so far, net) is called before each step and at the end. Returns the number of steps taken.
    Raises VosError without a budget.
    """
    if budget.steps is None and budget.seconds is None:
        raise VosError("fine-tuning needs a budget: give steps or seconds")
    begin, step = time.perf_counter(), 0
    optimizer = torch.optim.Adam(groups)
    rates = [group["lr"] for group in optimizer.param_groups]
    net.train()
    while True:
        if on_step is not None:
            on_step(step, net)
        spent = max(step / budget.steps if budget.steps is not None and budget.steps > 0 else 0.0,
                    (time.perf_counter() - begin) / budget.seconds if budget.seconds else 0.0)
        if spent >= 1 or budget.steps == 0 or budget.seconds == 0:
            return step
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - 0.9 * spent)
        with torch.enable_grad():
            value = loss()
            if value is not None:
                optimizer.zero_grad(set_to_none=True)
                value.backward()
        if value is not None:
            optimizer.step()
        step += 1


def configured(scales: Mapping[str, AnyConfig], scale: str, steps: int | None, seconds: float | None,
               changes: dict[str, Any]) -> AnyConfig:
    """A scale's configuration with the fine-tuning budget (if any is given, it replaces the scale's) and changes."""
    if scale not in scales:
        raise VosError(f"there is no scale '{scale}'; choose from: {', '.join(scales)}")
    if steps is not None or seconds is not None:
        changes = changes | {"steps": steps, "seconds": seconds}
    return replace(scales[scale], **changes)
