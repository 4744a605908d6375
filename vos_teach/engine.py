"""The one inference loop: every system, every clip, every command goes through `stream`."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vos_teach.clip import Clip, Lazy, VosError
from vos_teach.segmenter import WholeClip, given

STRIDE = 16  # frames are padded to multiples of the coarsest stride in the course


@dataclass
class Result:
    """What a run leaves: label maps (compressed; decoded on access), and what they cost."""

    clip: str
    masks: Sequence[np.ndarray] = ()
    start_seconds: float = 0.0
    finetune_seconds: float = 0.0
    step_seconds: list[float] = field(default_factory=list)
    peak_memory: float = 0.0


class Timeline:
    """Costs of a run in progress: start (s), one entry per later frame (s), and the peak memory (MiB)."""

    def __init__(self, device: torch.device):
        self.device, self.start, self.steps, self.finetune = device, 0.0, [], 0.0  # type: ignore[var-annotated]

    def clock(self) -> float:
        """Seconds, after everything queued on the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # kernels are only queued
        return time.perf_counter()


def stream(segmenter, clip: Clip, seed: int = 0, height: int | None = None,
           timeline: Timeline | None = None) -> Iterator[np.ndarray]:
    """Run a system over a clip, frame by frame: yields T label maps, H,W uint8 with the clip's own ids.

    height: the system works at this height (aspect kept); its probabilities are resized back, then argmax is
    taken at the clip's size. In a zero-shot system's maps the ids are its slots, 1..K. Nothing of past frames is
    kept here: memory does not grow with the clip.
    """
    if segmenter.task == "one-shot" and not clip.ids:
        raise VosError(f"clip '{clip.name}' has no annotated object; '{segmenter.task}' systems need a first mask")
    device = torch.device(getattr(segmenter, "device", "cpu"))
    timeline = timeline or Timeline(device)
    small = clip if height is None else clip.resize(height)
    pad = _padding(small.size)

    def frame(t: int) -> Tensor:
        return F.pad(small.frame(t)[None], pad, mode="replicate")[0].to(device)  # 3,Hp,Wp

    def masks(t: int, ids: Sequence[int]) -> Tensor:
        # replicated like the frame: or an object at the border would be taught that its own pixels are background
        return F.pad(small.objects(t, ids)[None].float(), pad, mode="replicate")[0].bool().to(device)  # K,Hp,Wp

    if not segmenter.causal:
        late = [k for k in clip.ids if clip.starts[k] > 0]
        if segmenter.task == "one-shot" and late:
            raise VosError(f"clip '{clip.name}': object {late[0]} appears after frame 0, which a system that needs "
                           f"the whole clip at once cannot take; cut the clip or choose a causal system")
        segmenter = WholeClip(segmenter, Lazy(len(clip), frame))
    segmenter.seed = seed
    one_shot = segmenter.task == "one-shot"
    known: list[int] = []  # the id of each slot
    started = False
    for t in range(len(clip)):
        new = [k for k in clip.ids if clip.starts[k] == t] if one_shot else []
        image = frame(t)
        before = timeline.clock()
        if not started and (new or not one_shot):
            prob = segmenter.start(image, masks(t, new) if one_shot else None)
            timeline.start = timeline.clock() - before
            started = True
        elif not started:  # no object has appeared yet: all is background
            prob = torch.ones(1, *image.shape[-2:], device=device)
            timeline.steps.append(0.0)
        else:
            prob = segmenter.step(image, masks(t, new) if new else None)
            timeline.steps.append(timeline.clock() - before)
        known += new
        timeline.finetune = float(getattr(segmenter, "finetune_seconds", 0.0))
        if one_shot and len(prob) != len(known) + 1:
            raise ValueError(f"the system returned {len(prob)} planes for {len(known)} objects and the background")
        prob = prob[:, : small.size[0], : small.size[1]]  # padding off again
        if small.size != clip.size:
            prob = F.interpolate(prob[None], clip.size, mode="bilinear", align_corners=False)[0]
        if prob.device.type == "cpu":  # NumPy is several times faster at this than PyTorch, there
            slots = prob.detach().numpy().argmax(0).astype(np.uint8)
        else:
            slots = prob.argmax(0).to("cpu", torch.uint8).numpy()
        table = np.array([0, *known] if one_shot else range(len(prob)), np.uint8)
        labels = table[slots]
        if new:  # what was given is returned intact, at full size
            truth = given(clip.objects(t, new)).argmax(0).numpy()
            labels = np.where(truth > 0, np.array([0, *new], np.uint8)[truth], labels)
            if t == 0 or len(known) == len(new):
                labels = np.array([0, *new], np.uint8)[truth]
        yield labels


def run(segmenter, clip: Clip, seed: int = 0, height: int | None = None, on_frame=None) -> Result:
    """Run a system over a clip and keep the label maps (compressed). `on_frame(t, labels)` is called after each."""
    timeline = Timeline(torch.device(getattr(segmenter, "device", "cpu")))
    packed: list[bytes] = []
    with PeakMemory(timeline.device) as memory:
        for t, labels in enumerate(stream(segmenter, clip, seed, height, timeline)):
            packed.append(zlib.compress(labels.tobytes(), 1))
            if on_frame is not None:
                on_frame(t, labels)
    masks = Lazy(len(packed), lambda t: np.frombuffer(zlib.decompress(packed[t]), np.uint8).reshape(clip.size))
    return Result(clip.name, masks, timeline.start, timeline.finetune, timeline.steps, memory.peak)


def _padding(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """F.pad's (left, right, top, bottom) that brings H,W up to multiples of STRIDE; right and bottom only."""
    return (0, -size[1] % STRIDE, 0, -size[0] % STRIDE)


class PeakMemory:
    """Peak memory of a block in MiB: CUDA's own figure, or by how much this process grew, sampled 50 times a second.

    On a CPU what the process held before (the libraries, the network) is not counted, nor is memory that an earlier
    run left with the allocator: the figure of the first run in a process is the fairest.
    """

    def __init__(self, device: torch.device):
        self.device, self.peak, self.before = device, 0.0, 0.0

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = self.before = resident()
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.peak = max(self.peak, resident())

    def __exit__(self, *_) -> None:
        self.done.set()
        self.thread.join()
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            self.peak = max(self.peak, resident()) - self.before


def resident() -> float:
    """This process's resident memory in MiB (0 where the system does not tell)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:  # macOS, Windows: the peak so far, where Python knows it
        try:
            import resource
            import sys

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
        except ImportError:
            return 0.0
