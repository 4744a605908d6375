"""`cost.measure`: what a call costs, in seconds of the processor and in bytes that it holds at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from vos_teach.lab.check import silence


@dataclass(frozen=True)
class Cost:
    """seconds: of processor time, the least of all calls; MiB: the most that PyTorch held beyond what came in."""

    seconds: float
    MiB: float


@torch.no_grad()
def measure(function: Callable[..., Any], *inputs: Any, repeats: int = 3) -> Cost:
    """Call a function of tensors a few times, on one thread. What others do on this machine meanwhile hardly counts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        held = peak(function, *inputs)  # also warms up
        best = math.inf
        for _ in range(repeats):
            begin = time.process_time()
            function(*inputs)
            best = min(best, time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    return Cost(best, held)


def peak(function: Callable[..., Any], *inputs: Any) -> float:
    """MiB that PyTorch's allocator held at most during one call, beyond what it held before: counted, not sampled."""
    from torch.profiler import ProfilerActivity, profile

    with silence(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:  # it talks on stderr
        result = function(*inputs)
    del result
    events = [(e.start_ns(), e.nbytes()) for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        held += size
        most = max(most, held)
    return most / 2**20
