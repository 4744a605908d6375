"""Stage 2: mask propagation."""

from __future__ import annotations

import json

import numpy as np
from drawing import BLUE, GREEN, HERE, PUBLISHED, RED, arrow, box, canvas, figure, tile, tinted, toy_clip
from matplotlib.figure import Figure

from vos_teach import engine, registry, viz
from vos_teach.data.augment import corrupt
from vos_teach.data.flow import colours
from vos_teach.data.lucid import Dreamer
from vos_teach.metrics import jaccard


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
