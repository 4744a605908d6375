"""Stage 5's claims of the lecture about time, put to the test; whatever is compared takes turns in one run.

identities  one pass for each object and a merge ("post-ensemble") against all objects in one pass (AOT, "associating"):
            seconds a frame of 1, 2, ... objects, how much they grow, the part of each object, and J&F beside
backbone    STCN with one object against its backbone alone, and with all objects of a clip against STM

Fixed before anything had been measured: AOT's time may grow by GROWTH from the first to the last count; STM's is a
straight line if LINEAR of its variance over the counts is explained by one; STCN may take TIMES of its backbone's time
with one object, and SHARE of STM's with all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

from vos_teach import bench, engine, registry, viz
from vos_teach.claims_common import kept, machine_of, working_height, write
from vos_teach.claims_recurrence import fitting
from vos_teach.claims_speed import Named, draw_growth, seconds_of_objects
from vos_teach.claims_streams import some_of
from vos_teach.clip import Clip, VosError
from vos_teach.data import toy
from vos_teach.segmenter import given

GROWTH, LINEAR, TIMES, SHARE = 0.30, 0.95, 2.5, 0.7
NAMED: dict[str, tuple[str, dict]] = {
    "AOT": ("aot", {}), "AOT, a pass for each": ("aot", {"passes": "each"}), "STM": ("stm", {}), "STCN": ("stcn", {}),
    "CFBI": ("cfbi", {})}


def crowd(count: int = 5, length: int = 30, size: tuple[int, int] = (240, 432)) -> Clip:
    """A validation clip with so many objects, all of them there from the start. VosError where there is no room."""
    found = fitting(lambda seed: toy.clip(60_000 + seed, split="val", length=length, size=size, objects=count,
                                          distractors=0, name=f"toy-{count}-objects"), 1)
    if not found:
        raise VosError(f"no toy clip of {size[0]}x{size[1]} has room for {count} objects: ask for fewer")
    return found[0]


def identities(clip: Clip, out: str | Path, height: int | None = 240, systems: Named = NAMED, repeats: int = 3,
               scale: str = "small", make: Callable[..., Any] = registry.make,
               version: Callable[..., str] = bench.code_version) -> dict:
    """Each system on the clip's first 1, 2, ... objects, in turns -> the figures; also identities.json, .md and .png.

    A finished round is kept in out/identities/. VosError for a clip with one object. make, version: as registry.make
    and bench.code_version.
    """
    out, low = Path(out), working_height(clip, height)
    key = {"clip": bench.fingerprint(clip), "height": low, "scale": scale, "machine": bench.machine(),
           "systems": {label: [name, options, version(name, options)] for label, (name, options) in systems.items()}}
    rows = seconds_of_objects(clip, systems, low, repeats, scale, "identities", make, out / "identities", key)
    for row in rows.values():
        row |= line({int(n): s for n, s in row["seconds"].items()})
    result = {"machine": bench.machine(), "clip": clip.name, "frames": len(clip), "height": low or clip.size[0],
              "repeats": repeats, "rows": rows}
    write(out, "identities", result, identities_table, draw_growth)
    return result


def line(seconds: Mapping[int, float]) -> dict[str, float]:
    """Objects -> seconds: the growth from the fewest to the most, and the straight line through them (least squares).

    grows: 0.3 is 30 %; frame: seconds of no object; object: of one more; explained: share of the variance, R squared.
    """
    n, s = np.array(list(seconds)), np.array(list(seconds.values()))
    slope, start = np.polyfit(n, s, 1)
    rest, all_ = ((s - start - slope * n) ** 2).sum(), ((s - s.mean()) ** 2).sum()
    return {"grows": float(s[-1] / s[0] - 1), "frame": float(start), "object": float(slope),
            "explained": float(1 - rest / all_) if all_ > 1e-12 * (s @ s) else 1.0}  # nothing varies: nothing is left


def identities_table(result: dict) -> str:
    """The figures as Markdown."""
    counts = list(next(iter(result["rows"].values()))["seconds"])
    lines = ["| s/frame with objects | " + " | ".join(counts) + " | grows by | one more object | J&F of all |",
             "|---|" + "---:|" * (len(counts) + 3)]
    for label, row in result["rows"].items():
        cells = [*(f"{x:.3f}" for x in row["seconds"].values()), f"{row['grows']:+.0%}", f"{row['object']:+.4f}",
                 f"{row['J&F']:.3f}"]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines.append("")
    for label, row in result["rows"].items():
        lines.append(f"- {label}: {row['frame']:.4f} s for the frame and {row['object']:.4f} s for each object; that "
                     f"line explains {row['explained']:.1%} of the variance.")
    said = verdicts(result["rows"])
    lines += ["", *(f"{text}: {'holds' if holds else 'does not hold'}." for text, holds in said.items())]
    return "\n".join(lines) + (
        f"\n\nClip {result['clip']}, {result['frames']} frames, height {result['height']}; medians over the frames of "
        f"{result['repeats']} rounds in turns; the look at frame 0 is not counted. {machine_of(result)}\n")


def verdicts(rows: dict) -> dict[str, bool]:
    """What was to be shown -> whether it was, for the systems that were run."""
    said = {}
    if "AOT" in rows:
        said[f"AOT's time grows by at most {GROWTH:.0%}"] = rows["AOT"]["grows"] <= GROWTH
    if "STM" in rows:
        said["STM's time is a straight line in the objects"] = rows["STM"]["explained"] >= LINEAR
    return said


class Alone:
    """A backbone as a system: it looks at every frame, and says nothing new."""

    task, causal, seed = "one-shot", True, 0

    def __init__(self, encoder: nn.Module):
        self.encoder = encoder

    def start(self, frame: Tensor, masks: Tensor | None = None) -> Tensor:
        """The masks that were given."""
        assert masks is not None, "the engine gives a one-shot system its masks"
        self.said = given(masks)
        return self.said

    @torch.no_grad()
    def step(self, frame: Tensor, new: Tensor | None = None) -> Tensor:
        """The same again, after one pass of the encoder."""
        self.encoder(frame[None])
        return self.said


def backbone(clip: Clip, out: str | Path, height: int | None = 240, rounds: int = 5, scale: str = "small",
             make: Callable[..., Any] = registry.make, version: Callable[..., str] = bench.code_version) -> dict:
    """STCN with the clip's first object and its backbone alone; STCN and STM with all its objects -> seconds a frame
    and the two ratios; also backbone.json, .md and .png in `out`.

    All four take turns at every frame; of each frame the fastest of the rounds counts, and the mean is over frames. A
    finished round is kept in out/backbone/. VosError for a clip with one object. make, version: as registry.make and
    bench.code_version.
    """
    ids = [k for k in clip.ids if clip.starts[k] == 0]
    if len(ids) < 2:
        raise VosError(f"clip '{clip.name}' has fewer than two objects from its first frame on: choose another")
    out, low, count = Path(out), working_height(clip, height), len(ids)
    one, all_ = some_of(clip, ids[:1]), some_of(clip, ids)
    stcn = make("stcn", scale=scale)
    runs = {"STCN, 1 object": (stcn, one), "its backbone alone": (Alone(stcn.net.encoder), one),
            f"STCN, {count} objects": (make("stcn", scale=scale), all_),
            f"STM, {count} objects": (make("stm", scale=scale), all_)}
    key = {"clip": bench.fingerprint(clip), "height": low, "scale": scale, "machine": bench.machine(),
           "code": [version(name, {}) for name in ("stcn", "stm")]}
    found = [kept(out / "backbone" / f"round-{i}.json", key, lambda: {"seconds": abreast(runs, low)})["seconds"]
             for i in tqdm(range(rounds), desc="backbone", unit="round", disable=None)]
    seconds = {label: float(np.mean(np.min([f[label] for f in found], axis=0))) for label in runs}
    first, trunk, new, old = seconds.values()
    result = {"machine": bench.machine(), "clip": clip.name, "frames": len(clip), "objects": count,
              "height": low or clip.size[0], "rounds": rounds, "seconds": seconds,
              "ratios": {"STCN / backbone": first / trunk, "STCN / STM": new / old},
              "limits": {"STCN / backbone": TIMES, "STCN / STM": SHARE}}
    write(out, "backbone", result, backbone_table, draw_backbone)
    return result


def abreast(runs: Mapping[str, tuple[Any, Clip]], height: int | None) -> dict[str, list[float]]:
    """Systems on clips of one length, each of them a frame, then each the next: label -> seconds of every frame but 0.

    A system may stand there once only. So whatever else the machine does, it does to all of them alike.
    """
    lines = {label: engine.Timeline(torch.device("cpu")) for label in runs}
    streams = [engine.stream(system, clip, 0, height, lines[label]) for label, (system, clip) in runs.items()]
    for _ in zip(*streams, strict=True):
        pass
    return {label: line.steps for label, line in lines.items()}


def backbone_table(result: dict) -> str:
    """The figures as Markdown."""
    lines = ["| | s/frame |", "|---|---:|", *(f"| {k} | {s:.4f} |" for k, s in result["seconds"].items()), ""]
    for name, ratio in result["ratios"].items():
        limit = result["limits"][name]
        lines.append(f"{name}: {ratio:.2f}; at most {limit:g} was claimed, which "
                     f"{'holds' if ratio <= limit else 'does not hold'}.")
        lines.append("")
    return "\n".join(lines) + (
        f"Clip {result['clip']}, {result['frames']} frames, height {result['height']}; in turns at every frame, the "
        f"fastest of {result['rounds']} rounds, mean over frames. {machine_of(result)}\n")


def draw_backbone(result: dict) -> Figure:
    """Seconds a frame, a bar for each."""
    figure, axes = viz.axes_of(6.5, 2.6, "seconds a frame", "")
    names = list(result["seconds"])
    axes.barh(names[::-1], [result["seconds"][n] for n in names[::-1]], color=viz.LINES[0], height=0.55)
    for i, name in enumerate(names[::-1]):
        axes.annotate(f"{result['seconds'][name]:.3f}", (result["seconds"][name], i), xytext=(5, 0),
                      textcoords="offset points", va="center", color=viz.INK)
    axes.margins(x=0.12)
    return figure
