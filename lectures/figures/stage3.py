"""Stage 3: flow."""

from __future__ import annotations

import numpy as np
import torch
from drawing import (
    BLUE,
    GOLD,
    GREEN,
    PINK,
    RED,
    arrow,
    blank,
    box,
    canvas,
    fetched,
    figure,
    grid,
    kept,
    show,
    tile,
    tinted,
    toy_clip,
)
from matplotlib.figure import Figure

from vos_teach import viz
from vos_teach.data.flow import colours, consistent, dis
from vos_teach.metrics import jaccard
from vos_teach.ops.warp import warp

# ---- stage 3: flow

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
    """Seconds a frame against the number of objects, as measured."""
    made, axes = viz.axes_of(7, 2.6, "objects", "seconds a frame")
    for kind, row in kept(3, "objects")["passes"].items():
        streams, passes = kind.split(", ")
        seconds, alone = row["seconds"], passes == "each"
        axes.plot([int(n) for n in seconds], list(seconds.values()), marker="o" if streams == "one stream" else "s",
                  ms=7, lw=2.5, color=RED if alone else BLUE, ls=viz.DASHES[alone],
                  label=f"{'N passes' if alone else 'N channels'}, {streams}")
    axes.set_xticks([int(n) for n in seconds])
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=13, loc="center left", bbox_to_anchor=(1, 0.5))
    return made
