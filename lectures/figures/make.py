"""Makes the figures of README and lectures: `python lectures/figures/make.py [NAME ...]`; no name makes them all.

Pictures show toy clips only: DAVIS's frames must not be committed. Curves may come from real sequences; each figure
says from which. The numbers that a figure shows are measured when it is made, with seed 0.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from vos_teach import bench, claims, engine, registry, viz
from vos_teach.data import composite, toy
from vos_teach.data.augment import corrupt
from vos_teach.data.flow import colours, consistent, dis
from vos_teach.data.lucid import Dreamer
from vos_teach.metrics import boundary_f, decay, jaccard, recall
from vos_teach.metrics.measures import boundary, disk, radius
from vos_teach.ops.adapt import online_targets
from vos_teach.ops.modulate import mask_gaussian
from vos_teach.ops.warp import warp

HERE = Path(__file__).parent
PUBLISHED = HERE.parents[1] / "vos_teach" / "assets" / "davis2016_published.json"
BLUE, RED, GREEN, PINK, GOLD, SKY, _ = viz.LINES
PHOTOS = ("task", "asked", "masktrack_example", "lucid_pair", "flow_colours", "flow_kinds", "warping", "consistency")
MAKERS: dict[str, Callable[[], Figure | np.ndarray]] = {}


def figure(maker: Callable[[], Figure | np.ndarray]) -> Callable[[], Figure | np.ndarray]:
    """Register a function whose name is the figure's."""
    MAKERS[maker.__name__] = maker
    return maker


def blank(width: float, height: float) -> Figure:
    """An empty figure: width, height in inches."""
    made = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(made)
    return made


def show(axes, image: np.ndarray, title: str = "", **options) -> None:
    """An image without ticks, its pixels visible as squares."""
    axes.imshow(image, interpolation="nearest", **options)
    axes.set_xticks([])
    axes.set_yticks([])
    if title:
        axes.set_title(title, fontsize=12, color=viz.INK)


def toy_clip(name: str):
    """One clip of the fixed toy benchmark."""
    return {clip.name: clip for clip in toy.suite()}[name]


# ---- README

@figure
def osvos() -> np.ndarray:
    """README's picture: truth, the first mask kept, and OSVOS, over one toy clip."""
    clip = toy_clip("look-alike")
    results = {"truth": clip.masks}
    for name, options in {"copy-first": {}, "osvos": {"steps": 100}}.items():
        results[name] = engine.run(registry.make(name, scale="toy", **options), clip).masks
    return viz.contact_sheet(clip, results, n_frames=5, width=240)


# ---- stage 0

@figure
def task() -> np.ndarray:
    """What is given and what is wanted, one-shot and zero-shot, on one toy clip."""
    clip = toy_clip("unseen")
    one, moments = clip.ids[0], (0, 6, 12, 18)
    rows = []
    for kind in ("one-shot", "zero-shot"):
        given = np.where(clip.masks[0] == one, one, 0).astype(np.uint8) if kind == "one-shot" else None
        cells = [tile(tinted(clip.frames[0], given),
                      f"{kind}: given {'frame and mask' if given is not None else 'frames alone'}")]
        for t in moments[1:]:
            mask = clip.masks[t] if given is None else np.where(clip.masks[t] == one, one, 0).astype(np.uint8)
            cells.append(tile(tinted(clip.frames[t], mask), f"wanted in frame {t}"))
        rows.append(np.concatenate([np.pad(c, ((0, 6), (0, 6), (0, 0)), constant_values=255) for c in cells], 1))
    return np.concatenate(rows)[:-6, :-6]


def tinted(frame: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The house's overlay, but object 1 yellow and object 2 blue: told apart by colour-blind readers too."""
    return viz.overlay(frame, None if mask is None else np.array([0, 3, 4, *range(3, 256)], np.uint8)[mask], 0.6)


def tile(image: np.ndarray, text: str, width: int = 330) -> np.ndarray:
    """A labelled picture of the given width."""
    height = round(width * image.shape[0] / image.shape[1])
    return viz.label(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), text)


@figure
def boundary_band() -> Figure:
    """A boundary map, the band of its tolerance, and which pixels of a shifted mask's boundary fall inside."""
    clip = toy_clip("easy")
    truth = (clip.masks[0] == clip.ids[0]).astype(np.uint8)
    pred = cv2.dilate(cv2.warpAffine(truth, np.float32([[1, 0, 2], [0, 1, 1]]), truth.shape[::-1]),
                      np.ones((2, 2), np.uint8))
    r = radius(truth.shape)
    ys, xs = np.nonzero(truth | pred)
    box = np.s_[max(ys.min() - 6, 0) : ys.max() + 7, max(xs.min() - 6, 0) : xs.max() + 7]
    edge, other = boundary(truth), boundary(pred)
    band = cv2.dilate(edge, disk(r))
    made = blank(11, 3.9)
    axes = made.subplots(1, 3)
    show(axes[0], (truth + 2 * edge)[box], "the true mask and its boundary map",
         cmap=ListedColormap(["white", "#cfe3f2", BLUE, BLUE]), vmin=0, vmax=3)
    show(axes[1], (band + edge)[box], f"dilated by a disk of radius {r}: the band",
         cmap=ListedColormap(["white", "#bcd8ec", BLUE]), vmin=0, vmax=2)
    kind = band + np.where(other > 0, np.where(band > 0, 1, 3), 0).astype(np.uint8)
    precision = float((other & band).sum() / other.sum())
    show(axes[2], kind[box], f"a prediction's boundary: precision {precision:.2f}",
         cmap=ListedColormap(["white", "#dceaf5", BLUE, RED]), vmin=0, vmax=3)
    for a in axes:
        a.set_frame_on(True)
    made.text(0.01, -0.02, "blue: within the band; orange: outside it", fontsize=11, color=viz.INK, va="top")
    return made


@figure
def j_and_f() -> Figure:
    """Two predictions on which J and F disagree, and both measures against a shift, at DAVIS's 480x854."""
    h, w = 480, 854
    thin = np.zeros((h, w), np.uint8)
    for k in range(6):
        cv2.ellipse(thin, (427, 240), (190, 170), 0, k * 60, k * 60 + 360, 1, 9)
        end = (int(427 + 190 * np.cos(k * np.pi / 3)), int(240 + 170 * np.sin(k * np.pi / 3)))
        cv2.line(thin, (427, 240), end, 1, 7)
    wide = np.zeros((h, w), np.uint8)
    cv2.circle(wide, (427, 240), 175, 1, -1)
    angle = np.linspace(0, 2 * np.pi, 800, endpoint=False)
    rim = 175 + 15 * np.sign(np.sin(36 * angle))
    ragged = np.zeros((h, w), np.uint8)
    cv2.fillPoly(ragged, [np.stack([427 + rim * np.cos(angle), 240 + rim * np.sin(angle)], 1).astype(np.int32)], 1)
    made = blank(12, 3.8)
    axes = made.subplots(1, 3, width_ratios=(1, 1, 1.15))
    colours = ListedColormap(["white", RED, SKY, "#444444"])  # nothing, only predicted, only true, both
    moved = shift(thin, 7)
    for a, pred, truth, what in ((axes[0], moved, thin, "thin, 7 px beside"),
                                 (axes[1], ragged, wide, "wide, with a ragged rim")):
        j, f = jaccard(pred, truth)[0], boundary_f(pred, truth)[0]
        show(a, (pred + 2 * truth)[40:440, 200:654], f"{what}\nJ {j:.2f}    F {f:.2f}", cmap=colours, vmin=0, vmax=3)
    steps = np.arange(0, 21)
    for truth, name, dash in ((thin, "thin", (0, (5, 1.5))), (wide, "wide", "-")):
        pairs = [(shift(truth, n), truth) for n in steps]
        axes[2].plot(steps, [jaccard(*p)[0] for p in pairs], color=BLUE, linestyle=dash, lw=2.2, label=f"J, {name}")
        axes[2].plot(steps, [boundary_f(*p)[0] for p in pairs], color=RED, linestyle=dash, lw=2.2, label=f"F, {name}")
    axes[2].axvline(radius((h, w)), color=viz.INK, lw=1, ls=":")
    axes[2].text(radius((h, w)) + 0.4, 0.04, "tolerance: 8 px", fontsize=11, color=viz.INK)
    axes[2].set_xticks(range(0, 21, 4))
    axes[2].set_xlabel("the mask is shifted by ... pixels", fontsize=12)
    axes[2].set_ylim(0, 1.03)
    axes[2].legend(frameon=False, fontsize=11, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[2].spines[["top", "right"]].set_visible(False)
    return made


def shift(mask: np.ndarray, n: int) -> np.ndarray:
    """The mask n pixels to the right."""
    return np.pad(mask, ((0, 0), (n, 0)))[:, : mask.shape[1]]


@figure
def statistics() -> Figure:
    """Mean, recall and decay read off two curves of J: copy-first and copy-flow on one toy clip."""
    clip = toy_clip("deformation")
    made = blank(11, 4)
    axes = made.subplots(1, 2, sharey=True)
    for a, system, colour in zip(axes, ("copy-first", "copy-flow"), (RED, BLUE), strict=True):
        score = bench.score(clip, engine.run(registry.make(system, scale="toy"), clip).masks)[str(clip.ids[0])]
        frames, j = np.array(score["frames"]), np.array(score["curve"])
        a.plot(frames, j, color=colour, lw=2.4, marker="o", ms=4)
        a.axhline(0.5, color=viz.INK, lw=1, ls="--")
        a.text(frames[-1], 0.515, "0.5", ha="right", color=viz.INK, fontsize=11)
        edges = (np.round(np.linspace(1, len(j), 5) + 1e-10) - 1).astype(int)
        for low, high in ((edges[0], edges[1]), (edges[3], edges[4])):
            level = j[low : high + 1].mean()
            a.axvspan(frames[low] - 0.4, frames[high] + 0.4, color=SKY, alpha=0.25, lw=0)
            a.plot([frames[low], frames[high]], [level, level], color=viz.INK, lw=3)
        a.set_title(f"{system}: mean {j.mean():.2f}, recall {recall(j):.2f}, decay {decay(j):.2f}", fontsize=12.5,
                    color=viz.INK)
        a.set_xlabel("frame (the first and the last are left out)", fontsize=12)
        a.set_ylim(0, 1)
        a.set_xticks(range(1, len(clip), 3))
        a.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("J", fontsize=13)
    return made


@figure
def asked() -> np.ndarray:
    """Does the mask matter? A composite of two toy clips: either object asked for, and nobody listening."""
    single = [c for c in toy.suite() if len(c.ids) == 1]
    clip = composite.suite(single, 4)[3]
    answers = {"truth": (clip.masks, "two objects, 1 and 2")}
    for k in clip.ids:
        answers[f"osvos, asked for {k}"] = answer(clip, k, "osvos", steps=60)
    answers["mask-blind"] = answer(clip, clip.ids[0], "mask-blind")  # the same whoever is asked for
    columns = []
    for name, (masks, said) in answers.items():
        cells = [tile(tinted(clip.frames[t], masks[t]), text) for t, text in ((1, name), (16, said))]
        columns.append(np.concatenate([np.pad(c, ((0, 6), (0, 6), (0, 0)), constant_values=255) for c in cells]))
    return np.concatenate(columns, 1)[:-6, :-6]


def answer(clip, k: int, system: str, **options) -> tuple[list[np.ndarray], str]:
    """A system's masks for object k of a clip of two, and its J on either."""
    only = replace(clip, ids=(k,), starts={k: 0}, masks=bench._only(clip, k))
    masks = list(engine.run(registry.make(system, scale="toy", **options), only).masks)
    found = bench.compare(clip, masks, [(i, k) for i in clip.ids], range(1, len(clip) - 1), with_f=False)
    one, two = (float(np.mean(found[i, k][1])) for i in clip.ids)
    return masks, f"J {one:.2f} on 1, {two:.2f} on 2"


# ---- stage 1: diagrams

def box(axes, x: float, y: float, w: float, h: float, text: str, colour: str, size: float = 12) -> None:
    """A rounded box with text, its centre at (x, y)."""
    axes.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0.02,rounding_size=0.06",
                                  facecolor=colour + "26", edgecolor=colour, lw=2))
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color="#222222", linespacing=1.35)


def arrow(axes, a: tuple[float, float], b: tuple[float, float], colour: str = viz.INK, **more) -> None:
    """An arrow from a to b."""
    axes.add_patch(FancyArrowPatch(a, b, arrowstyle="-|>", mutation_scale=18, lw=2, color=colour, shrinkA=0,
                                   shrinkB=0, **more))


def canvas(width: float, height: float, zoom: float = 1.0):
    """A figure whose axes are its inches. zoom: below 1 it is drawn smaller, so that its text is larger beside it."""
    made = blank(width * zoom, height * zoom)
    axes = made.add_subplot()
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    return made, axes


@figure
def three_trainings() -> Figure:
    """OSVOS: base, parent and test network; what each is trained on and what it then knows."""
    made, axes = canvas(12, 4.3)
    steps = (
        (BLUE, "base network", "ImageNet:\n1.3 million labelled photos", "what edges, textures\nand things look like"),
        (GREEN, "parent network", "DAVIS's training videos:\nall masks, offline, once",
         "what an object that\nstands out looks like"),
        (RED, "test network", "frame 0 of THIS video,\nONE mask, online", "what THIS object\nlooks like"),
    )
    for i, (colour, name, data, knows) in enumerate(steps):
        x = 2 + 4 * i
        axes.text(x, 4.0, data, ha="center", va="center", fontsize=12, color="#222222")
        arrow(axes, (x, 3.6), (x, 2.95), colour)
        box(axes, x, 2.5, 2.6, 0.8, name, colour, 15)
        axes.text(x, 1.55, knows, ha="center", va="center", fontsize=12.5, color=viz.INK, style="italic")
        if i < 2:
            arrow(axes, (x + 1.36, 2.5), (x + 2.64, 2.5))
            axes.text(x + 2, 2.68, "weights", ha="center", fontsize=11, color=viz.INK)
    axes.plot([8.15, 8.15], [0.75, 4.25], color=viz.INK, lw=1, ls=":")
    axes.text(8.0, 0.9, "offline, once for ever", ha="right", fontsize=12, color=viz.INK)
    axes.text(8.3, 0.9, "online, once per object and video", ha="left", fontsize=12, color=RED)
    axes.text(10, 0.3, "then every frame by itself: nothing is carried from frame to frame", ha="center", fontsize=11,
              color=viz.INK)
    return made


@figure
def osmn_network() -> Figure:
    """OSMN: two modulators steer one segmentation network."""
    made, axes = canvas(12, 4.6)
    box(axes, 1.5, 2.3, 1.9, 0.8, "frame t", "#555555", 14)
    for i, x in enumerate((4.4, 6.6, 8.8)):
        box(axes, x, 2.3, 1.5, 0.8, f"stage {i + 2}\n$\\gamma\\,\\mathrm{{relu}}(\\cdot)+\\beta$", BLUE, 12)
    box(axes, 11, 2.3, 1.3, 0.8, "mask t", "#555555", 14)
    for a, b in ((2.5, 3.6), (5.2, 5.8), (7.4, 8.0), (9.6, 10.3)):
        arrow(axes, (a, 2.3), (b, 2.3))
    box(axes, 2.4, 4.1, 3.6, 0.75, "frame 0, cropped to the mask", RED, 13)
    box(axes, 6.6, 4.1, 3.2, 0.75, "visual modulator", RED, 14)
    arrow(axes, (4.25, 4.1), (4.95, 4.1), RED)
    axes.text(8.4, 4.25, r"$\gamma$: one number a channel,", fontsize=12.5, color=RED, va="center")
    axes.text(8.4, 3.9, "ONCE a video: which object", fontsize=12.5, color=RED, va="center")
    box(axes, 2.4, 0.5, 3.6, 0.75, "Gaussian around mask t-1", GREEN, 13)
    box(axes, 6.6, 0.5, 3.2, 0.75, "spatial modulator", GREEN, 14)
    arrow(axes, (4.25, 0.5), (4.95, 0.5), GREEN)
    axes.text(8.4, 0.65, r"$\beta$: one number a pixel,", fontsize=12.5, color=GREEN, va="center")
    axes.text(8.4, 0.3, "every frame: where to look", fontsize=12.5, color=GREEN, va="center")
    for x in (4.4, 6.6, 8.8):
        start = min(max(x, 5.3), 7.9)
        arrow(axes, (start, 3.7), (x, 2.75), RED)
        arrow(axes, (start, 0.9), (x, 1.85), GREEN)
    return made


# ---- stage 1: measured and published curves

@figure
def finetuning() -> Figure:
    """J against fine-tuning: from finetuning.json beside this file (`vos-teach claim finetuning --out`), else toy."""
    kept = HERE / "finetuning.json"
    if kept.is_file():
        result = json.loads(kept.read_text(encoding="utf-8"))
    else:
        names = ("easy", "occlusion", "look-alike", "appearance")
        out = HERE.parents[1] / "runs" / "lectures-finetuning"
        result = claims.finetuning([toy_clip(n) for n in names], out, steps=(0, 10, 20, 40, 80, 160), seconds=(2, 10))
    clips = result["clips"].values()
    steps = [int(n) for n in next(iter(clips))["steps"]]
    made, axes = viz.axes_of(9, 4.4, "fine-tuning steps on frame 0 (log scale)", "mean J of a clip")
    curves = np.array([[row["steps"][str(n)]["J"] for n in steps] for row in clips])
    axes.plot(steps, curves.T, color="#999999", lw=1)
    axes.plot([], [], color="#999999", lw=1, label=f"each of {len(curves)} clips")
    axes.plot(steps, curves.mean(0), color=BLUE, lw=3, marker="o", ms=6, label="their mean")
    for budget, mark, colour in zip(next(iter(clips))["seconds"], "sD^", (RED, GREEN, PINK), strict=False):
        taken, j = np.mean([[row["seconds"][budget][k] for k in ("steps", "J")] for row in clips], 0)
        axes.plot(taken, j, mark, color=colour, ms=12, label=f"budget of {budget} s: J {j:.2f}, {taken:.0f} steps")
    axes.set_xscale("symlog", linthresh=10, linscale=0.5)
    axes.set_xticks(steps, [str(n) for n in steps])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=12, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.xaxis.label.set_size(13)
    axes.yaxis.label.set_size(13)
    return made


@figure
def temporal() -> Figure:
    """Published T and J per frame of OSVOS and MaskTrack on one sequence of DAVIS-2016."""
    table = json.loads(PUBLISHED.read_text(encoding="utf-8"))["systems"]
    name = "dog"
    made = blank(10, 4.4)
    axes = made.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for i, (system, said) in enumerate((("osvos", "OSVOS"), ("masktrack", "MaskTrack"))):
        scores = table[system]
        t = np.array(scores["T"]["curves"][name], float)  # null, where a mask was empty, becomes NaN: a gap
        style = {"color": (RED, BLUE)[i], "linestyle": viz.DASHES[1 - i], "lw": 2}
        axes[0].plot(np.arange(len(t)), t, label=f"{said}, mean T {np.nanmean(t):.2f}", **style)
        j = np.array(scores["J"]["curves"][name], float)
        axes[1].plot(np.arange(1, len(j) + 1), j, label=f"{said}, mean J {j.mean():.2f}", **style)
    axes[0].set_ylabel("T (lower: steadier)", fontsize=13)
    axes[1].set_ylabel("J", fontsize=13)
    axes[1].set_ylim(0, 1)
    axes[1].set_xlabel(f"frame of {name} (DAVIS-2016; published results of both systems)", fontsize=13)
    for a in axes:
        a.legend(frameon=False, fontsize=13, loc="center left", bbox_to_anchor=(1, 0.5))
        a.tick_params(labelsize=12)
        a.spines[["top", "right"]].set_visible(False)
    return made


LECTURE = {  # the RVOS paper's table on YouTube-VOS: J seen, J unseen, F seen, F unseen, seconds a frame
    "OSVOS": (59.8, 54.2, 60.5, 60.7, 10), "MaskTrack": (59.9, 45.0, 59.5, 47.9, 12),
    "OnAVOS": (60.1, 46.6, 62.7, 51.4, 13), "S2S w/o OL": (66.7, 48.2, 65.5, 50.3, 0.16),
    "OSMN": (60.0, 40.6, 60.1, 44.0, 0.14), "RVOS-Mask-ST+": (63.6, 45.5, 67.2, 51.0, 0.044),
}


@figure
def quality_time() -> Figure:
    """The lecture's plot: mean of the four YouTube-VOS measures against seconds a frame, as published."""
    made, axes = viz.axes_of(9, 4.2, "seconds a frame (log scale; further left is faster)",
                             "mean of J and F, seen and unseen (%)")
    offsets = {"OSVOS": (9, 2), "MaskTrack": (9, -9), "OnAVOS": (9, 3), "RVOS-Mask-ST+": (9, -14)}
    for name, (*quality, seconds) in LECTURE.items():
        online = seconds > 1
        axes.plot(seconds, np.mean(quality), "s" if online else "o", ms=12, color=RED if online else BLUE)
        axes.annotate(name, (seconds, np.mean(quality)), xytext=offsets.get(name, (9, 0)), va="center",
                      textcoords="offset points", fontsize=13, color="#222222")
    axes.set_xscale("log")
    axes.set_xlim(0.02, 60)
    axes.set_ylim(48, 62)
    axes.plot([], [], "s", color=RED, ms=10, label="online learning")
    axes.plot([], [], "o", color=BLUE, ms=10, label="none")
    axes.legend(frameon=False, fontsize=13, loc="lower left")
    axes.xaxis.label.set_size(13)
    axes.yaxis.label.set_size(13)
    axes.tick_params(labelsize=12)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    return made


# ---- stage 1: operators at work

@figure
def onavos_targets() -> Figure:
    """OnAVOS's selection on one toy frame: the probability, the last mask eroded, and the resulting target."""
    clip, t = toy.clip(42, split="val", similar=2, distractors=0), 4
    truth = clip.masks[t] == clip.ids[0]
    system = registry.make("osvos", scale="toy", steps=25)  # few: after more steps it is fooled less
    prob = probability(system, clip, t)
    last = torch.from_numpy((clip.masks[t - 1] == clip.ids[0]).copy())
    target = online_targets(prob, last).numpy()
    made = blank(12, 3.0)
    axes = made.subplots(1, 4)
    show(axes[0], clip.frames[t], f"frame {t}: which one was asked for?")
    axes[0].contour(truth, [0.5], colors=[GOLD], linewidths=2)
    show(axes[1], prob.numpy(), "probability", cmap="cividis", vmin=0, vmax=1)
    naive = np.where(prob.numpy() > 0.97, 1, 0)
    show(axes[2], naive, "p > 0.97 alone", cmap=ListedColormap(["white", BLUE]), vmin=0, vmax=1)
    show(axes[3], np.select([target == 1, target == 0], [2, 0], 1), "positive, negative, void",
         cmap=ListedColormap([RED, "#e3e3e3", BLUE]), vmin=0, vmax=2)
    return made


def probability(system, clip, t: int) -> torch.Tensor:
    """What a one-object system says of frame t, when it has seen frame 0 and the frames between: H,W."""
    system.seed = 0
    system.start(clip.frame(0), clip.objects(0, clip.ids[:1]))
    for now in range(1, t + 1):
        prob = system.step(clip.frame(now))[1]
    return prob


@figure
def osmn_gaussian() -> Figure:
    """A mask with a stray blob: median and MAD, as OSMN takes them, against mean and standard deviation."""
    clip = toy_clip("easy")
    mask = clip.masks[8] == clip.ids[0]
    stray = mask.copy()
    stray[6:14, 4:14] = True
    made = blank(12, 2.9)
    axes = made.subplots(1, 3)
    ys, xs = np.nonzero(stray)
    yy, xx = np.mgrid[: stray.shape[0], : stray.shape[1]]
    moments = np.exp(-0.5 * (((yy - ys.mean()) / ys.std()) ** 2 + ((xx - xs.mean()) / xs.std()) ** 2))
    show(axes[0], clip.frames[8], "the last mask, with a stray blob")
    axes[0].contour(stray, [0.5], colors=[GOLD], linewidths=2)
    for a, bump, what in ((axes[1], mask_gaussian(torch.from_numpy(stray)).numpy(), "median and 1.4826 MAD (OSMN)"),
                          (axes[2], moments, "mean and standard deviation")):
        show(a, bump, what, cmap="cividis", vmin=0, vmax=1)
        a.contour(mask, [0.5], colors=["white"], linewidths=1.5)
    return made


# ---- stage 2

@figure
def masktrack_network() -> Figure:
    """MaskTrack: frame and last mask in, mask out, and back."""
    made, axes = canvas(10, 3.2)
    box(axes, 1.7, 2.3, 2.6, 0.7, "frame t: 3 channels", "#555555", 14)
    box(axes, 1.7, 0.9, 2.6, 0.7, "mask t-1: 1 channel", GREEN, 14)
    box(axes, 5.4, 1.6, 2.2, 0.9, "network", BLUE, 15)
    box(axes, 8.7, 1.6, 1.6, 0.7, "mask t", GREEN, 14)
    arrow(axes, (3.05, 2.3), (4.25, 1.8))
    arrow(axes, (3.05, 0.9), (4.25, 1.4))
    arrow(axes, (6.55, 1.6), (7.85, 1.6))
    arrow(axes, (8.7, 1.2), (1.7, 0.5), GREEN, connectionstyle="angle3,angleA=-90,angleB=0")
    axes.text(5.4, 0.28, "t + 1", fontsize=13, color=GREEN, ha="center")
    return made


@figure
def masktrack_example() -> np.ndarray:
    """One training example's target, and three spoiled masks that could be its input."""
    clip = toy_clip("easy")
    frame, mask = clip.frames[6], (clip.masks[6] == clip.ids[0]).astype(np.uint8)
    cells = [tile(tinted(frame, mask), "target")]
    for seed, said in ((1, "input"), (2, "or"), (5, "or")):
        cells.append(tile(tinted(frame, corrupt(mask, np.random.default_rng(seed)) * 2), said))
    return np.concatenate([np.pad(c, ((0, 0), (0, 6), (0, 0)), constant_values=255) for c in cells], 1)[:, :-6]


@figure
def lucid_pair() -> np.ndarray:
    """A frame, its background, two dreamed frames, their flow."""
    clip = toy_clip("two-objects")
    dreamer = Dreamer(clip.frames[0], clip.masks[0])
    dream = dreamer.pair(np.random.default_rng(3))
    cells = [tile(clip.frames[0], "frame 0"), tile(dreamer.background, "inpainted"),
             tile(tinted(dream.first, dream.first_mask), "dream, first"),
             tile(tinted(dream.second, dream.second_mask), "dream, second"), tile(colours(dream.flow), "flow")]
    return np.concatenate([np.pad(c, ((0, 0), (0, 6), (0, 0)), constant_values=255) for c in cells], 1)[:, :-6]


@figure
def drift() -> Figure:
    """J over time where the object leaves and comes back: frame by frame against a recursion."""
    clip = toy_clip("re-entry")
    k = clip.ids[0]
    made, axes = viz.axes_of(9, 3.6, "frame", "J")
    away = [t for t in range(len(clip)) if not (clip.masks[t] == k).any()]
    if away:
        axes.axvspan(away[0] - 0.5, away[-1] + 0.5, color="#dddddd")
    styles = zip((RED, BLUE, GREEN), viz.DASHES, (("osvos", {"steps": 60}), ("masktrack", {"steps": 60}),
                                                  ("masktrack-offline", {})), strict=False)
    for colour, dash, (name, options) in styles:
        masks = engine.run(registry.make(name, scale="toy", **options), clip).masks
        j = [np.nan if t in away else float(jaccard((masks[t] == k)[None], (clip.masks[t] == k)[None])[0])
             for t in range(1, len(clip))]
        axes.plot(range(1, len(clip)), j, label=name, color=colour, linestyle=dash, lw=2.5)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=13, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.xaxis.label.set_size(13)
    axes.yaxis.label.set_size(13)
    return made


@figure
def t_against_j() -> Figure:
    """Temporal instability against J: published means over sequences, and ours from stage2.json beside this file."""
    table = json.loads(PUBLISHED.read_text(encoding="utf-8"))["systems"]
    made, axes = viz.axes_of(8, 4.2, "mean J", "mean T (lower: steadier)")
    for name, said, colour in (("osvos", "OSVOS", RED), ("masktrack", "MaskTrack", BLUE)):
        j, t = (np.mean([np.nanmean(np.array(curve, float)) for curve in table[name][m]["curves"].values()])
                for m in ("J", "T"))
        axes.plot(j, t, "o", color=colour, ms=13, label=f"{said}, published")
    kept = HERE / "stage2.json"
    if kept.is_file():
        for name, row in json.loads(kept.read_text(encoding="utf-8"))["systems"].items():
            if "T" in row:
                colour = RED if name == "osvos" else BLUE
                axes.plot(row["J"], row["T"], "s" if "offline" not in name else "^", color=colour, ms=12, mfc="none",
                          mew=2.5, label=f"{name}, ours")
    axes.set_xlim(0.5, 0.9)
    axes.set_ylim(0, 0.8)
    axes.legend(frameon=False, fontsize=13, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.xaxis.label.set_size(13)
    axes.yaxis.label.set_size(13)
    return made


# ---- stage 3: flow

def row(*cells: np.ndarray) -> np.ndarray:
    """Pictures of one height side by side, with white between them."""
    return np.concatenate([np.pad(c, ((0, 0), (0, 6), (0, 0)), constant_values=255) for c in cells], 1)[:, :-6]


def grid(*cells: np.ndarray, columns: int = 3) -> np.ndarray:
    """Pictures of one size in rows, with white between them and where the last row ends early."""
    cells += (np.full_like(cells[0], 255),) * (-len(cells) % columns)
    rows = [np.pad(row(*cells[i : i + columns]), ((0, 6), (0, 0), (0, 0)), constant_values=255)
            for i in range(0, len(cells), columns)]
    return np.concatenate(rows)[:-6]


def fetched(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """An image H,W,3 uint8 warped backwards along flow H,W,2."""
    first, second = (torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))).float() for x in (image, flow))
    return warp(first, second).permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


@figure
def flow_colours() -> np.ndarray:
    """Two frames, the exact flow between them, DIS's, and the key to its colours."""
    clip, t = toy_clip("fast-motion"), 4
    h, w = clip.size
    y, x = np.mgrid[:h, :w].astype(np.float32)
    key = np.stack([x - w / 2, y - h / 2], -1)
    key[np.linalg.norm(key, axis=-1) > 0.46 * h] = 0
    exact = clip.forward_flow[t]
    return grid(tile(clip.frames[t], f"frame {t}"), tile(clip.frames[t + 1], f"frame {t + 1}"),
                tile(colours(key), "key: hue is direction"), tile(colours(exact), "exact flow"),
                tile(colours(dis(clip.frames[t], clip.frames[t + 1])), "DIS"))


@figure
def flow_kinds() -> np.ndarray:
    """What flow shows: an object that moves, another that moves as well, and a camera that moves."""
    above, below = [], []
    for name, t, said in (("easy", 6, "the object moves"), ("look-alike", 6, "others move as well"),
                          ("two-objects", 10, "the camera moves")):
        clip = toy_clip(name)
        above.append(tile(tinted(clip.frames[t], clip.masks[t]), said))
        below.append(tile(colours(clip.forward_flow[t]), "exact flow"))
    return grid(*above, *below)


@figure
def warping() -> np.ndarray:
    """Backward against forward warping of one toy frame, and what is left over."""
    clip, t = toy_clip("fast-motion"), 4
    first, second, flow = clip.frames[t], clip.frames[t + 1], clip.forward_flow[t]
    h, w = clip.size
    back = fetched(second, flow)
    off = np.abs(back.astype(int) - first).mean(-1)
    thrown, y, x = np.zeros_like(first), *np.mgrid[:h, :w]
    ty, tx = np.rint(y + flow[..., 1]).astype(int), np.rint(x + flow[..., 0]).astype(int)
    inside = (ty >= 0) & (ty < h) & (tx >= 0) & (tx < w)
    thrown[ty[inside], tx[inside]] = first[inside]
    grey = np.repeat((255 - np.clip(4 * off, 0, 255)).astype(np.uint8)[..., None], 3, -1)
    return grid(tile(first, f"frame {t}"), tile(second, f"frame {t + 1}"), tile(thrown, f"frame {t} thrown"),
                tile(back, f"frame {t + 1} fetched"), tile(grey, f"... against frame {t}"))


@figure
def aperture() -> Figure:
    """Three windows, and how well each motion explains what is seen in them: Lucas and Kanade's sum of squares."""
    n, move = 41, np.array([1.2, -0.8])
    y, x = np.mgrid[:n, :n] - n // 2
    kinds = {
        "flat: any motion will do": lambda x, y: 0.5 + 0 * x,
        "an edge: only across it": lambda x, y: 1 / (1 + np.exp(-(x + 0.6 * y) / 1.5)),
        "a corner: one motion": lambda x, y: 1 / (1 + np.exp(-(x + 0.6 * y) / 1.5)) / (1 + np.exp((0.8 * x - y) / 1.5)),
    }
    made = blank(11, 4.6)
    axes = made.subplots(2, 3, height_ratios=(1, 1.25))
    dx, dy = np.meshgrid(np.linspace(-3, 3, 121), np.linspace(-3, 3, 121))
    hole = x**2 + y**2 < (n // 2) ** 2
    for (said, draw), (top, below) in zip(kinds.items(), axes.T, strict=True):
        first, second = draw(x, y), draw(x - move[0], y - move[1])
        iy, ix = np.gradient(first)
        it = second - first
        a = [float((p * q)[hole].sum()) for p, q in ((ix, ix), (ix, iy), (iy, iy), (ix, it), (iy, it), (it, it))]
        error = a[0] * dx**2 + 2 * a[1] * dx * dy + a[2] * dy**2 + 2 * a[3] * dx + 2 * a[4] * dy + a[5]
        show(top, np.where(hole, first, np.nan), said, cmap="gray", vmin=0, vmax=1)
        top.set_frame_on(False)
        below.imshow(error, cmap="cividis", extent=(-3, 3, 3, -3), vmin=0, vmax=max(error.max(), 1e-3))
        below.plot(*move, "x", color="white", ms=13, mew=3)
        below.set_xlabel("dx", fontsize=12)
        below.set_ylabel("dy", fontsize=12)
    return made


@figure
def consistency() -> np.ndarray:
    """There and back: pixels of one frame that are hidden in the next, by the check on exact flow and on DIS."""
    clip, t = toy_clip("fast-motion"), 4
    a, b = clip.frames[t], clip.frames[t + 1]
    hidden = ~consistent(clip.forward_flow[t], clip.backward_flow[t])
    found = ~consistent(dis(a, b), dis(b, a))
    return grid(tile(a, f"frame {t}"), tile(b, f"frame {t + 1}"),
                tile(viz.overlay(a, hidden.astype(np.uint8), 0.75), "exact flow: not home"),
                tile(viz.overlay(a, found.astype(np.uint8), 0.75), "DIS: not home"), columns=2)


@figure
def flow_drift() -> Figure:
    """J of the first mask carried along by flow alone: DIS's, exact, and exact with what is not home left out."""
    made = blank(11.5, 3.9)
    axes = made.subplots(1, 2, sharey=True)
    for a, name in zip(axes, ("easy", "occlusion"), strict=True):
        clip = toy_clip(name)
        k, n = clip.ids[0], len(clip)
        true = [clip.masks[t] == k for t in range(n)]
        seen = [t for t in range(n) if true[t].sum() >= 0.25 * true[0].sum()]
        for away in set(range(1, n)) - set(seen):
            a.axvspan(away - 0.5, away + 0.5, color="#dddddd", lw=0)
        for i, (said, exact, check) in enumerate((("DIS", False, False), ("exact flow", True, False),
                                                  ("exact flow, checked", True, True))):
            mask, j = torch.from_numpy(true[0][None].astype(np.float32)), []
            for t in range(1, n):
                now, last = clip.frames[t], clip.frames[t - 1]
                back = clip.backward_flow[t - 1] if exact else dis(now, last)
                mask = warp(mask, torch.from_numpy(np.ascontiguousarray(back.transpose(2, 0, 1))))
                if check:
                    mask = mask * torch.from_numpy(consistent(back, clip.forward_flow[t - 1]))
                j.append(float(jaccard(mask.numpy() > 0.5, true[t][None])[0]) if t in seen else np.nan)
            a.plot(range(1, n), j, color=(RED, BLUE, GREEN)[i], linestyle=viz.DASHES[i], lw=2.5, label=said)
        a.set_title(f"toy clip \"{name}\"", fontsize=13, color=viz.INK)
        a.set_xlabel("frame", fontsize=13)
        a.set_xticks(range(1, n, 3))
        a.set_ylim(0, 1)
        a.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("J", fontsize=13)
    axes[1].legend(frameon=False, fontsize=13, loc="center left", bbox_to_anchor=(1, 0.5), title="carried by")
    return made


# ---- stage 3: diagrams

@figure
def fusionseg_network() -> Figure:
    """FusionSeg: two streams and a fusion that is learnt."""
    made, axes = canvas(12.4, 4.2, 0.84)
    for y, colour, data, stream, letter in ((3.3, BLUE, "frame t", "appearance stream", "A"),
                                            (0.9, RED, "flow t to t+1,\nas a colour picture", "motion stream", "M")):
        box(axes, 1.35, y, 2.3, 0.95, data, "#555555", 13)
        box(axes, 4.3, y, 2.5, 0.95, stream, colour, 14)
        arrow(axes, (2.55, y), (3.0, y))
        arrow(axes, (5.6, y), (6.5, y), colour)
        axes.text(6.75, y, f"${letter}$", fontsize=17, color=colour, ha="center", va="center")
    axes.text(4.3, 2.1, "each gives two logits a pixel:\nbackground, object", fontsize=11.5, color=viz.INK, ha="center",
              va="center", style="italic")
    for y, colour, text in ((3.3, BLUE, "branch on $A$"), (2.1, GREEN, "branch on $[A, M]$"),
                            (0.9, RED, "branch on $M$")):
        box(axes, 8.5, y, 2.1, 0.75, text, colour, 13)
        arrow(axes, (9.6, y), (10.25, 2.1 + 0.25 * (y - 2.1)))
    arrow(axes, (7.0, 3.3), (7.4, 3.3), BLUE)
    arrow(axes, (7.0, 0.9), (7.4, 0.9), RED)
    arrow(axes, (6.9, 3.05), (7.4, 2.25), BLUE)
    arrow(axes, (6.9, 1.15), (7.4, 1.95), RED)
    box(axes, 10.75, 2.1, 0.95, 1.0, "combine", GREEN, 11)
    arrow(axes, (11.25, 2.1), (11.5, 2.1))
    box(axes, 11.93, 2.1, 0.75, 1.0, "3x3\nconv", GREEN, 12)
    arrow(axes, (11.93, 1.58), (11.93, 1.05))
    axes.text(11.93, 0.85, "mask t", fontsize=13, ha="center", va="center", color="#222222")
    axes.text(10.4, 3.3, "learnt: which stream\nto believe, and where", fontsize=11.5, color=GREEN, ha="left",
              va="center")
    return made


@figure
def maskrnn_cell() -> Figure:
    """MaskRNN, one object, one frame: warp, two nets, sum, gate by the box."""
    made, axes = canvas(12.6, 4.3, 0.84)
    box(axes, 0.95, 2.15, 1.5, 0.8, "mask t-1", GREEN, 14)
    box(axes, 2.95, 2.15, 1.3, 0.8, "warp", GOLD, 14)
    arrow(axes, (1.73, 2.15), (2.27, 2.15), GREEN)
    box(axes, 2.95, 0.55, 1.9, 0.75, "flow t to t-1", "#555555", 13)
    arrow(axes, (2.95, 0.95), (2.95, 1.72))
    for y, colour, net, data in ((3.3, BLUE, "appearance net", "frame t"),
                                 (1.0, RED, "flow net", "|flow|, both ways")):
        box(axes, 6.2, y, 2.35, 0.95, f"{net}\n+ {data}", colour, 13)
        arrow(axes, (3.63, 2.15), (5.0, y - 0.15 * np.sign(y - 2.15)), GREEN)
        arrow(axes, (7.4, y - 0.15 * np.sign(y - 2.15)), (8.05, 2.15 + 0.12 * np.sign(y - 2.15)), colour)
    axes.text(4.95, 2.15, "warped mask", fontsize=12, color=GREEN, ha="center", va="center")
    box(axes, 8.3, 2.15, 0.4, 0.45, "+", "#555555", 16)
    arrow(axes, (8.53, 2.15), (9.3, 2.15))
    box(axes, 9.95, 2.15, 1.2, 0.8, "gate:\n0 outside", GOLD, 12.5)
    arrow(axes, (10.58, 2.15), (11.05, 2.15), GREEN)
    box(axes, 11.75, 2.15, 1.3, 0.8, "mask t", GREEN, 14)
    box(axes, 9.95, 3.75, 2.3, 0.75, "localisation net", PINK, 13)
    arrow(axes, (9.95, 3.35), (9.95, 2.6), PINK)
    arrow(axes, (7.4, 3.5), (8.77, 3.65), BLUE)
    axes.text(10.1, 2.98, "box, enlarged", fontsize=12, color=PINK, va="center")
    arrow(axes, (2.95, 2.57), (8.77, 4.0), PINK, connectionstyle="angle,angleA=90,angleB=0,rad=12")
    axes.text(9.9, 0.9, "the same for every object;\nthen, per pixel, the largest wins", fontsize=12, color=viz.INK,
              ha="center", va="center", style="italic")
    return made


@figure
def maskrnn_unrolled() -> Figure:
    """MaskRNN unrolled over three frames: what is passed on is the mask, and the gradient comes back along it."""
    made, axes = canvas(12.4, 3.6, 0.84)
    for i in range(4):
        x = 0.9 + 3.4 * i
        box(axes, x, 2.1, 1.2, 0.75, f"mask {i}", GREEN, 14)
        if i == 3:
            break
        box(axes, x + 1.7, 2.1, 1.35, 1.15, "warp,\nsegment,\ngate", BLUE, 12.5)
        arrow(axes, (x + 0.63, 2.1), (x + 1.0, 2.1), GREEN)
        arrow(axes, (x + 2.4, 2.1), (x + 2.77, 2.1), GREEN)
        axes.text(x + 1.7, 0.75, f"frame {i + 1},\nflow", fontsize=12.5, ha="center", va="center", color="#222222")
        arrow(axes, (x + 1.7, 1.08), (x + 1.7, 1.5))
        axes.text(x + 3.4, 3.2, f"loss {i + 1}", fontsize=12.5, ha="center", va="center", color=RED)
        arrow(axes, (x + 3.4, 2.5), (x + 3.4, 3.0), RED)
    axes.text(0.9, 2.68, "given", fontsize=12, ha="center", color=viz.INK, style="italic")
    arrow(axes, (11.1, 0.32), (0.9, 0.32), RED, linestyle="--")
    axes.text(6, 0.1, "the gradient of every loss runs back through all earlier frames: warping is differentiable",
              fontsize=12, ha="center", va="center", color=RED)
    return made


@figure
def lucid_streams() -> Figure:
    """LucidTracker: two streams against one, and where an extra input channel would go."""
    made, axes = canvas(12.6, 4.4, 0.84)
    axes.text(2.9, 4.2, "two streams", fontsize=15, ha="center", color="#222222", weight="bold")
    for y, colour, data in ((3.2, BLUE, "frame t\n+ warped mask"), (1.7, RED, "|flow|\n+ warped mask")):
        box(axes, 1.1, y, 1.9, 0.95, data, "#555555", 13)
        box(axes, 3.45, y, 1.6, 0.95, "network", colour, 14)
        arrow(axes, (2.08, y), (2.62, y))
        arrow(axes, (4.28, y), (4.85, 2.45 + 0.1 * np.sign(y - 2.45)), colour)
    box(axes, 5.3, 2.45, 0.85, 0.7, "mean", GOLD, 13)
    axes.text(5.3, 1.85, "mask t", fontsize=13, ha="center", va="center", color="#222222")
    axes.plot([6.3, 6.3], [0.2, 4.3], color=viz.INK, lw=1, ls=":")
    axes.text(9.5, 4.2, "one stream", fontsize=15, ha="center", color="#222222", weight="bold")
    box(axes, 7.75, 2.45, 2.1, 1.3, "frame t\n+ |flow|\n+ warped mask", "#555555", 13)
    box(axes, 10.2, 2.45, 1.6, 0.95, "network", BLUE, 14)
    arrow(axes, (8.83, 2.45), (9.37, 2.45))
    arrow(axes, (11.03, 2.45), (11.5, 2.45), BLUE)
    axes.text(12.0, 2.45, "mask t", fontsize=13, ha="center", va="center", color="#222222")
    axes.text(2.9, 0.62, "an extra input (semantics, say):\ninto which stream? or a third network?", fontsize=12.5,
              ha="center", va="center", color=PINK)
    axes.text(9.5, 0.62, "an extra input (semantics, say):\none more channel", fontsize=12.5, ha="center", va="center",
              color=PINK)
    return made


@figure
def mask_channels() -> Figure:
    """N passes with one mask channel against one pass with N."""
    made, axes = canvas(12.6, 4.0, 0.84)
    axes.text(2.9, 3.8, "N passes", fontsize=15, ha="center", color="#222222", weight="bold")
    for i, (y, colour) in enumerate(((3.1, BLUE), (2.1, RED), (1.1, GREEN))):
        box(axes, 1.15, y, 1.9, 0.66, f"frame, mask {i + 1}", colour, 12.5)
        box(axes, 3.4, y, 1.5, 0.66, "network", "#555555", 13)
        arrow(axes, (2.13, y), (2.62, y), colour)
        arrow(axes, (4.18, y), (4.78, 2.1 + 0.12 * (y - 2.1)), colour)
    box(axes, 5.3, 2.1, 0.95, 0.8, "merge", GOLD, 13)
    axes.text(3.4, 0.4, "N times the time; each pass knows one object", fontsize=12.5, ha="center", color=viz.INK,
              style="italic")
    axes.plot([6.5, 6.5], [0.2, 3.9], color=viz.INK, lw=1, ls=":")
    axes.text(9.6, 3.8, "N channels", fontsize=15, ha="center", color="#222222", weight="bold")
    for i, (y, colour) in enumerate(((2.9, "#555555"), (2.36, BLUE), (1.82, RED), (1.28, GREEN))):
        box(axes, 7.75, y, 1.7, 0.36, "frame" if i == 0 else f"mask {i}", colour, 12.5)
        axes.text(11.55, y, ("background", "object 1", "object 2", "object 3")[i], fontsize=13, ha="left", va="center",
                  color=("#555555", BLUE, RED, GREEN)[i])
    box(axes, 9.75, 2.1, 1.4, 1.95, "network", "#555555", 13.5)
    arrow(axes, (8.65, 2.1), (9.0, 2.1))
    arrow(axes, (10.5, 2.1), (10.9, 2.1))
    axes.plot([11.1, 11.1], [1.15, 3.05], color=GOLD, lw=5)
    axes.text(11.1, 3.2, "softmax over all", fontsize=12, ha="center", color="#8a6d00")
    axes.text(9.75, 0.4, "one pass; the objects compete for every pixel", fontsize=12.5, ha="center", color=viz.INK,
              style="italic")
    return made


@figure
def objects_time() -> Figure:
    """Seconds a frame against the number of objects, from stage3.json beside this file."""
    kept = json.loads((HERE / "stage3.json").read_text(encoding="utf-8"))
    if "objects" not in kept:
        raise LookupError("vos-teach claim objects, then measured.py")
    made, axes = viz.axes_of(7, 2.6, "objects", "seconds a frame")
    for kind, said, colour, dash in (("each", "N passes", RED, viz.DASHES[1]),
                                     ("one", "N channels", BLUE, viz.DASHES[0])):
        seconds = kept["objects"]["passes"][kind]["seconds"]
        axes.plot([int(n) for n in seconds], list(seconds.values()), marker="o", ms=7, lw=2.5, color=colour, ls=dash,
                  label=said)
    axes.set_xticks([int(n) for n in seconds])
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=13, loc="center left", bbox_to_anchor=(1, 0.5))
    return made


def pixels(made: Figure) -> np.ndarray:
    """A drawing as an image, cut to what is drawn: constrained layout knows nothing of titles above images."""
    out = io.BytesIO()
    made.savefig(out, format="png", bbox_inches="tight", pad_inches=0.08)
    return np.asarray(Image.open(out).convert("RGB"))


def main(names: list[str]) -> None:
    """Make the named figures, or all: photographs as JPEG, drawings as PNG."""
    if unknown := set(names) - set(MAKERS):
        raise SystemExit(f"there is no figure {', '.join(sorted(unknown))}; choose from: {', '.join(MAKERS)}")
    for name in names or MAKERS:
        try:
            made = MAKERS[name]()
        except LookupError as error:
            print(f"{name}: not measured yet ({error})")
            continue
        suffix = ".jpg" if name in PHOTOS else ".png"
        print(viz.save(HERE / f"{name}{suffix}", pixels(made) if isinstance(made, Figure) else made), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
