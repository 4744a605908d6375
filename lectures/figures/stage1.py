"""Stage 1: online learning."""

from __future__ import annotations

import json

import numpy as np
import torch
from drawing import BLUE, GOLD, GREEN, HERE, PINK, PUBLISHED, RED, arrow, blank, box, canvas, figure, show, toy_clip
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from vos_teach import claims, registry, viz
from vos_teach.data import toy
from vos_teach.ops.adapt import online_targets
from vos_teach.ops.modulate import mask_gaussian

# ---- stage 1: diagrams

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
