"""Stage 5's claim of the lecture, put to the test: attention over space and time becomes affordable when it is sparse.

sparse: seconds and memory of dense, grid, strided and local attention against T, H and W; the exponents; and how many
layers each pattern needs until every place has heard of every other one. The claim holds if, at T x H x W = 8 x 30 x 54
(eight frames of 240p at stride 8), grid attention takes at most a fifth of dense attention's time, measured in turns on
one thread. "Dense" holds all scores, as the formula is written; "fused" is dense attention as PyTorch computes it, a
few rows of scores at a time: as many products, next to no memory.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from vos_teach import bench, viz
from vos_teach.claims_common import machine_of, write
from vos_teach.engine import PeakMemory
from vos_teach.ops.attention import grid_attention
from vos_teach.ops.sparse import (
    REACH,
    STRIDE,
    Triple,
    dense_attention,
    grid_mask,
    hops,
    local_attention,
    local_mask,
    strided_attention,
    strided_mask,
)

CHANNELS, FACTOR = 32, 5.0  # of q, k and v; how much cheaper grid attention must be
TARGET, BASE = (8, 30, 54), (4, 30, 54)
AXES = {"T": (1, 2, 4, 8), "H": (8, 15, 30, 60), "W": (14, 27, 54, 108)}  # one grows, the others are BASE's


def fused_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Dense attention by PyTorch's own function: q, k C,T,H,W, v Cv,T,H,W -> like v."""
    rows = (x.flatten(1).T[None, None].contiguous() for x in (q, k, v))  # 1,1,N,C; else scores are held after all
    return F.scaled_dot_product_attention(*rows, scale=1.0)[0, 0].T.reshape(v.shape)


KINDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "dense": dense_attention, "fused": fused_attention, "grid": grid_attention, "strided": strided_attention,
    "local": local_attention}
LAYERS: dict[str, tuple] = {  # patterns of a transformer's layers, in turns: operators, masks
    "grid": ((grid_attention,), (grid_mask,)),
    "strided and local": ((strided_attention, local_attention), (strided_mask, local_mask)),
    "strided": ((strided_attention,), (strided_mask,)), "local": ((local_attention,), (local_mask,))}
BLOCK, SHOWN = (3, 12, 20), 4  # the block all of whose places are looked at for hops; layers that are drawn


def sparse(out: str | Path, axes: Mapping[str, Sequence[int]] = AXES, base: Triple = BASE, target: Triple = TARGET,
           channels: int = CHANNELS, repeats: int = 5, block: Triple = BLOCK) -> dict:
    """Measure -> the figures; also sparse.json, .md and .png, and sparse_reach.png, in `out`."""
    out = Path(out)
    sizes = list(dict.fromkeys([at(base, axis, n) for axis, values in axes.items() for n in values] + [target]))
    sizes.sort(key=math.prod)
    context = multiprocessing.get_context("spawn")
    # memory in a process of its own; there, the C library gives back what is freed, so that each case starts alike
    own = mock.patch.dict(os.environ, MALLOC_MMAP_THRESHOLD_="65536", OMP_NUM_THREADS="1")
    with own, ProcessPoolExecutor(1, context) as pool:
        memory = pool.submit(memories, sizes, channels).result()
    found = {name(size): {kind: {"seconds": seconds, "MiB": memory[name(size)][kind], "scores": scores(kind, size)}
                          for kind, seconds in times(size, channels, repeats).items()}
             for size in tqdm(sizes, desc="sparse", unit="size", disable=None)}
    series = {axis: {str(n): name(at(base, axis, n)) for n in values} for axis, values in axes.items()}
    there = found[name(target)]
    cheaper, fused = ({what: there[kind][what] / max(there["grid"][what], 1e-9) for what in ("seconds", "MiB")}
                      for kind in ("dense", "fused"))
    reach = {pattern: {"hops": hops([mask(block) for mask in masks]), "heard": spread(operators, target)}
             for pattern, (operators, masks) in LAYERS.items()}
    result = {"machine": bench.machine(), "channels": channels, "base": list(base), "target": list(target),
              "reach": list(REACH), "stride": list(STRIDE), "repeats": repeats, "sizes": found, "series": series,
              "exponents": exponents(found, series), "cheaper": cheaper, "than fused": fused, "factor": FACTOR,
              "holds": cheaper["seconds"] >= FACTOR, "block": list(block), "patterns": reach}
    write(out, "sparse", result, table, draw)
    viz.save(out / "sparse_reach.png", draw_reach())
    return result


def at(base: Triple, axis: str, n: int) -> Triple:
    """`base` with n along T, H or W."""
    t, h, w = (n if a == axis else old for a, old in zip("THW", base, strict=True))
    return t, h, w


def name(size: Triple) -> str:
    """T,H,W as the files write it."""
    return "x".join(map(str, size))


def inputs(size: Triple, channels: int) -> list[Tensor]:
    """q, k and v, always the same: C,T,H,W each; scores have variance 1."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(channels, *size, generator=generator) for _ in range(3))
    return [q / channels**0.5, k, v]


@torch.no_grad()
def times(size: Triple, channels: int, repeats: int) -> dict[str, float]:
    """Seconds of processor time of each kind on one thread, the least of `repeats`.

    In turns: a busy machine is so for all; and what others run meanwhile is not counted, but for the caches they share.
    """
    (q, k, v), threads = inputs(size, channels), torch.get_num_threads()
    best = dict.fromkeys(KINDS, math.inf)
    torch.set_num_threads(1)
    try:
        for _ in range(repeats):
            for kind, attention in KINDS.items():
                begin = time.process_time()
                attention(q, k, v)
                best[kind] = min(best[kind], time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    return best


@torch.no_grad()
def memories(sizes: Sequence[Triple], channels: int, seconds: float = 0.25) -> dict[str, dict[str, float]]:
    """Peak MiB of each size and kind beyond its inputs; run again and again for `seconds`, as peaks are sampled."""
    found: dict[str, dict[str, float]] = {}
    for kind, attention in KINDS.items():
        for size in [sizes[0], *sizes]:  # the first time, libraries set themselves up: not counted
            q, k, v = inputs(size, channels)
            begin = time.perf_counter()
            with PeakMemory(torch.device("cpu")) as memory:
                while True:
                    attention(q, k, v)
                    if time.perf_counter() - begin > seconds:
                        break
            found.setdefault(name(size), {})[kind] = memory.peak
    return found


def scores(kind: str, size: Triple) -> int:
    """How many products q.k there are, counted: what time and memory should follow."""
    n = math.prod(size)
    strided = math.prod(-(-a // s) for a, s in zip(size, STRIDE, strict=True))  # places of one residue
    local = math.prod(2 * min(r, a - 1) + 1 for a, r in zip(size, REACH, strict=True))
    return {"dense": n * n, "fused": n * n, "grid": n * sum(size), "strided": strided**2 * math.prod(STRIDE),
            "local": n * local}[kind]


def exponents(found: dict, series: dict) -> dict:
    """axis -> kind -> {seconds, MiB, scores}: the slope of a straight line through the logarithms (least squares)."""
    def slope(names: dict[str, str], kind: str, what: str) -> float | None:
        x, y = [int(n) for n in names], [found[size][kind][what] for size in names.values()]
        if len(x) < 2 or min(y) <= 0:  # memory too small to be seen
            return None
        return float(np.polyfit(np.log(x), np.log(y), 1)[0])

    return {axis: {kind: {what: slope(names, kind, what) for what in ("seconds", "MiB", "scores")} for kind in KINDS}
            for axis, names in series.items()}


def spread(operators: Sequence[Callable], size: Triple, layers: int = SHOWN) -> list[float]:
    """The share of places that the middle one has heard of after 1, 2, ... layers, as the operators themselves say."""
    return [float(heard.mean()) for heard in heard_of(operators, size, layers)]


@torch.no_grad()
def heard_of(operators: Sequence[Callable], size: Triple, layers: int) -> list[np.ndarray]:
    """T,H,W of 0 and 1 after each layer: what the middle place has heard of.

    Patterns are symmetric: whom it hears of is who would hear of it, were the layers run backwards.
    """
    q, v = torch.zeros(1, *size), torch.zeros(1, *size)
    v[(0, *(n // 2 for n in size))] = 1.0
    out = []
    for layer in range(1, layers + 1):
        x = v
        for i in range(layer)[::-1]:  # the middle listens in the last layer
            x = (operators[i % len(operators)](q, q, x) > 0).to(v)
        out.append(x[0].numpy())
    return out


def table(result: dict) -> str:
    """The figures as Markdown."""
    sizes = result["sizes"]
    lines = ["| T x H x W | places | " + " | ".join(f"{k}, ms" for k in KINDS) + " | "
             + " | ".join(f"{k}, MiB" for k in KINDS) + " |", "|---|---:|" + "---:|" * (2 * len(KINDS))]
    for size, row in sizes.items():
        lines.append(f"| {size} | {math.prod(map(int, size.split('x')))} | "
                     + " | ".join(f"{row[k]['seconds'] * 1000:.1f}" for k in KINDS) + " | "
                     + " | ".join(f"{row[k]['MiB']:.1f}" for k in KINDS) + " |")
    lines += ["", "| exponent of | " + " | ".join(f"{k}: time, memory (scores)" for k in KINDS) + " |",
              "|---|" + "---:|" * len(KINDS)]

    def said(x: float | None) -> str:
        return "-" if x is None else f"{x:.2f}"

    for axis, kinds in result["exponents"].items():
        lines.append(f"| {axis} | " + " | ".join(f"{said(e['seconds'])}, {said(e['MiB'])} ({said(e['scores'])})"
                                                 for e in kinds.values()) + " |")
    lines += ["", "| layers | until all have heard of all | "
              + " | ".join(f"after {i}" for i in range(1, SHOWN + 1)) + " |", "|---|---:|" + "---:|" * SHOWN]
    for pattern, r in result["patterns"].items():
        lines.append(f"| {pattern} | {r['hops'] or 'never'} | " + " | ".join(f"{x:.1%}" for x in r["heard"]) + " |")
    cheaper, fused = result["cheaper"], result["than fused"]
    block, base, target = (name(tuple(result[what])) for what in ("block", "base", "target"))
    return "\n".join(lines) + (
        f"\n\nAt {target} grid attention takes 1/{cheaper['seconds']:.1f} of dense attention's time and "
        f"1/{cheaper['MiB']:.1f} of its memory. The claim (at most 1/{result['factor']:g} of the time) "
        f"{'holds' if result['holds'] else 'does not hold'}. Of the fused one's: 1/{fused['seconds']:.1f} of the time, "
        f"{1 / max(fused['MiB'], 1e-9):.1f} times the memory.\n\n"
        f"{result['channels']} channels, forward, one head. Time: of the processor, one thread, the least of "
        f"{result['repeats']} calls in turns; memory: peak beyond the inputs. Exponents: along one axis, the others as "
        f"in {base}; in brackets those of the number of scores. Strided: multiples of {tuple(result['stride'])} "
        f"away in T, H, W; local: at most {tuple(result['reach'])} away. Layers until all have heard of all: for every "
        f"place of a block of {block}; shares: of {target}, as its middle hears. {machine_of(result)}\n")


def draw(result: dict) -> Figure:
    """Time and memory along each axis, on log scales: a line per kind."""
    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 3, sharex="col", sharey="row")
    for column, (axis, names) in enumerate(result["series"].items()):
        for row, (what, label) in enumerate((("seconds", "seconds"), ("MiB", "peak MiB"))):
            panel = panels[row, column]
            for i, kind in enumerate(KINDS):
                points = [(int(n), y) for n, size in names.items() if (y := result["sizes"][size][kind][what]) > 0]
                if points:
                    panel.plot(*zip(*points, strict=True), viz.MARKS[i], linestyle=viz.DASHES[i], color=viz.LINES[i],
                               label=kind, linewidth=1.8, markersize=5)
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_xticks([int(n) for n in names], list(names))
            panel.minorticks_off()
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(color=viz.INK, alpha=0.15, linewidth=0.7)
            panel.tick_params(colors=viz.INK)
            if column == 0:
                panel.set_ylabel(label, color=viz.INK)
            if row == 1:
                fixed = ", ".join(f"{a} {n}" for a, n in zip("THW", result["base"], strict=True) if a != axis)
                panel.set_xlabel(f"{axis} ({fixed})", color=viz.INK)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(KINDS),
                  frameon=False, labelcolor=viz.INK)
    return figure


def draw_reach(size: Triple = (3, 24, 40), layers: int = SHOWN) -> Figure:
    """What the middle place has heard of after 1, 2, ... layers: a row per pattern, T frames side by side."""
    figure = Figure(figsize=(11, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(LAYERS), layers)
    for row, (pattern, (operators, _)) in enumerate(LAYERS.items()):
        for column, heard in enumerate(heard_of(operators, size, layers)):
            frames = np.pad(heard, ((0, 0), (1, 1), (1, 1)), constant_values=0.4)
            panel = panels[row, column]
            panel.imshow(np.concatenate(list(frames), 1), cmap="Blues", vmin=0, vmax=1.2, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            if row == 0:
                panel.set_title(f"{column + 1} layer{'s' * (column > 0)}", color=viz.INK, fontsize="medium")
            if column == 0:
                panel.set_ylabel(pattern.replace(" and ", "\n+ "), color=viz.INK, rotation=0, ha="right", va="center")
    return figure
