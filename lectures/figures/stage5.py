"""Stage 5: memory and transformers. What needs no trained network is computed by the package's own operators."""

from __future__ import annotations

import cv2
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
    figure,
    grid,
    kept,
    show,
    tile,
    toy_clip,
)
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from vos_teach import claims_sparse, claims_speed, viz
from vos_teach.ops.affinity import dot_affinity, l2_affinity
from vos_teach.ops.identify import assign_identities
from vos_teach.ops.matching import global_distance
from vos_teach.transformers import memory

GREY = "#555555"
CELL = 8  # pixels of a cell whose mean colour is its key


def words(axes, x: float, y: float, text: str, colour: str = "#222222", size: float = 13, **more) -> None:
    """Text in the middle of (x, y)."""
    axes.text(x, y, text, fontsize=size, color=colour, ha="center", va="center", **more)


def keys(frame: np.ndarray) -> torch.Tensor:
    """The mean colour of each cell, H,W,3 uint8 -> 3,h,w: the simplest keys there are."""
    h, w = frame.shape[0] // CELL, frame.shape[1] // CELL
    small = cv2.resize(frame[: h * CELL, : w * CELL], (w, h), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small.transpose(2, 0, 1)).float() / 255


@figure
def stm_network() -> Figure:
    """STM: frames and masks are written into memory; a new frame reads."""
    made, axes = canvas(12.6, 5.0, 0.84)
    for i, (x, name) in enumerate(((0.75, "0"), (2.0, "5"), (3.25, "t-1"))):
        box(axes, x, 4.4, 0.95, 0.8, f"frame {name}\n+ masks", GREY, 11)
        arrow(axes, (x, 3.97), (x, 3.75))
        box(axes, x, 2.55, 0.95, 1.1, "key\nvalue", (BLUE, GREEN, PINK)[i], 12)
    axes.add_patch(Rectangle((0.1, 1.85), 3.8, 1.45, fill=False, edgecolor=viz.INK, lw=1.5, ls="--"))
    box(axes, 2.0, 3.55, 3.7, 0.3, "memory encoder", GOLD, 12)
    words(axes, 2.0, 1.6, "memory: T x H x W places", size=12.5)
    box(axes, 0.9, 0.55, 1.2, 0.8, "frame t", GREY, 13)
    box(axes, 3.0, 0.55, 1.8, 0.8, "query\nencoder", BLUE, 12.5)
    arrow(axes, (1.52, 0.55), (2.07, 0.55))
    box(axes, 5.6, 0.55, 1.2, 0.8, "key\nvalue", BLUE, 12.5)
    arrow(axes, (3.92, 0.55), (4.97, 0.55))
    box(axes, 6.1, 2.6, 2.6, 1.3, "affinity\nk(memory) . k(query)\nsoftmax over memory", RED, 12)
    arrow(axes, (3.95, 2.75), (4.75, 2.75))
    arrow(axes, (5.6, 0.98), (5.6, 1.92), BLUE)
    box(axes, 8.85, 2.6, 1.7, 0.9, "read:\nmean of values", RED, 12)
    arrow(axes, (7.42, 2.6), (7.97, 2.6), RED)
    box(axes, 11.2, 2.6, 1.6, 0.9, "decoder", GREEN, 13)
    arrow(axes, (9.72, 2.6), (10.37, 2.6), RED)
    axes.plot([6.22, 11.2], [0.55, 0.55], color=BLUE, lw=2)
    arrow(axes, (11.2, 0.55), (11.2, 2.12), BLUE)
    words(axes, 8.9, 0.85, "its value, and finer maps", BLUE, 12)
    arrow(axes, (11.2, 3.07), (11.2, 3.8))
    words(axes, 11.2, 4.05, "mask t")
    arrow(axes, (10.6, 4.2), (3.85, 4.5), GREY, connectionstyle="arc3,rad=0.08", ls="--")
    words(axes, 7.6, 4.75, "written into memory only after it has been predicted", GREY, 12)
    return made


@figure
def looks() -> np.ndarray:
    """Where two pixels of a frame look in three frames of memory, with nothing but colours as keys."""
    clip, held, t = toy_clip("occlusion"), (0, 4, 15), 19
    frames = [clip.frames[s] for s in held]
    found = torch.stack([keys(f) for f in frames], 1)  # 3,T,h,w
    shape, now = found.shape[1:], keys(clip.frames[t])
    affinity = l2_affinity(60 * found.flatten(1), 60 * now.flatten(1))  # N,M; the factor: a temperature
    ys, xs = np.nonzero(clip.masks[t] == 1)
    inside = int(np.argmin(np.hypot(ys - ys.mean(), xs - xs.mean())))
    cells = []
    for y, x, colour, name in ((ys[inside], xs[inside], (255, 220, 0), "on the object"),
                               (10, 12, (0, 220, 255), "beside it")):
        marked = clip.frames[t].copy()
        cv2.circle(marked, (int(x), int(y)), 5, colour, 2)
        cells.append(tile(marked, f"frame {t}, a pixel {name}"))
        weight = affinity[:, int(y) // CELL * shape[2] + int(x) // CELL].view(shape).numpy()
        for s, frame, one in zip(held, frames, weight, strict=True):
            heat = cv2.resize((one / weight.max()) ** 0.5, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            dark = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) * 0.45
            lit = dark * (1 - heat[..., None]) + np.float32(colour) * heat[..., None]
            cells.append(tile(lit.astype(np.uint8), f"frame {s}: {one.sum():.0%}"))
    return grid(*cells, columns=4)


def played(rule: str, limit: int | None, length: int) -> list[tuple[int, ...]]:
    """The frames that a bank holds while frames 1, 2, ... are segmented; only frame 0's mask was given."""
    bank, out = memory.Bank(memory.chosen(rule), limit), []
    for t in range(length):
        if t:
            out.append(bank.times)
        if bank.wants(t, t == 0):
            bank.add(memory.Entry(t, *(torch.zeros(1, 1, 1),) * 4, given=t == 0))
        else:
            bank.tidy(t)
    return out


@figure
def memory_rules() -> Figure:
    """Which frames each rule holds while frame t is segmented."""
    made = blank(11, 3.4)
    panels = made.subplots(1, 3, sharey=True)
    for axes, (name, rule, limit) in zip(panels, (
            ("first and last", "first+last", None), ("first, last, every 5th (STM)", "first+last+every", None),
            ("first, every 5th, at most 4 (STCN)", "first+every", 4)), strict=True):
        for t, held in enumerate(played(rule, limit, 41), 1):
            axes.plot([t] * len(held), held, "s", color=BLUE, markersize=3.2)
        axes.set_title(name, fontsize=12, color=viz.INK)
        axes.set_xlabel("frame t that is segmented", fontsize=12, color=viz.INK)
        axes.grid(color=viz.INK, alpha=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("frames in memory", fontsize=12, color=viz.INK)
    return made


@figure
def dot_and_distance() -> Figure:
    """Which of six keys a query looks at most, over the plane of queries: dot product and distance."""
    at = np.array([[1.0, 0.3], [0.2, 1.0], [-0.9, 0.5], [-0.5, -0.9], [0.7, -0.8], [2.6, 2.1]])  # the last one is long
    mk, side = torch.from_numpy(at.T).float(), np.linspace(-2.2, 3.2, 270)
    x, y = np.meshgrid(side, side)
    qk = torch.from_numpy(np.stack([x.ravel(), y.ravel()])).float()
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (*viz.LINES[:1], *viz.LINES[2:6], RED)])
    made = blank(9.6, 4.4)
    panels = made.subplots(1, 2)
    kinds = (("dot product", dot_affinity), ("negative squared distance", l2_affinity))
    for axes, (name, operator) in zip(panels, kinds, strict=True):
        best = operator(mk, qk).argmax(0).view(x.shape).numpy()
        near = (np.abs(x) < 1.3) & (np.abs(y) < 1.3)
        show(axes, (colours[best] * 0.45 + 255 * 0.55).astype(np.uint8), name, origin="lower",
             extent=(side[0], side[-1], side[0], side[-1]))
        for i, (kx, ky) in enumerate(at):
            axes.plot([0, kx], [0, ky], color=viz.INK, lw=0.8, alpha=0.5)
            axes.plot(kx, ky, "o", color=colours[i] / 255, markeredgecolor="black", markersize=9)
        axes.add_patch(Rectangle((-1.3, -1.3), 2.6, 2.6, fill=False, ls="--", edgecolor=viz.INK))
        axes.set_xlabel(f"of the dashed square the long key takes {(best == 5)[near].mean():.0%}", fontsize=12.5,
                        color=viz.INK)
    return made


@figure
def one_affinity() -> Figure:
    """STM: an affinity for each object; STCN: one for all."""
    made, axes = canvas(12.4, 4.3, 0.84)
    for left, title, count in ((0.2, "STM: keys are of frame and mask", 3), (6.6, "STCN: keys are of the frame", 1)):
        words(axes, left + 2.8, 4.1, title, size=14)
        for k in range(3):
            y = 3.3 - 1.15 * k
            colour = (BLUE, RED, GREEN)[k]
            if count == 3:
                box(axes, left + 0.75, y, 1.3, 0.75, f"key,\nobject {k + 1}", colour, 11.5)
                box(axes, left + 2.6, y, 1.4, 0.75, "affinity\nN x M", colour, 12)
                arrow(axes, (left + 1.43, y), (left + 1.87, y), colour)
            arrow(axes, (left + 3.35, y if count == 3 else 2.15 + 0.2 * (1 - k)), (left + 3.97, y), colour)
            box(axes, left + 4.75, y, 1.45, 0.75, f"x value,\nobject {k + 1}", colour, 11.5)
        if count == 1:
            box(axes, left + 0.75, 2.15, 1.3, 0.85, "key", GREY, 13)
            box(axes, left + 2.6, 2.15, 1.4, 0.95, "affinity\nN x M", GREY, 13)
            arrow(axes, (left + 1.43, 2.15), (left + 1.87, 2.15))
    words(axes, 3.0, 0.25, "three encoder passes and three affinities a frame", size=12.5)
    words(axes, 9.4, 0.25, "one affinity; the key of frame t is reused when t is stored", size=12.5)
    return made


@figure
def look_alike() -> Figure:
    """A twin of nearly the object's colour: near to the object, but nearer to what is not the object."""
    rng, size = np.random.default_rng(0), (60, 110)
    y, x = np.mgrid[: size[0], : size[1]]

    def frame(a: tuple[int, int], b: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        image = np.full((*size, 3), (0.35, 0.55, 0.35))
        object_, twin = (np.hypot(y - c[0], x - c[1]) < 15 for c in (a, b))
        image[twin], image[object_] = (0.82, 0.5, 0.2), (0.85, 0.3, 0.2)
        return (image + rng.normal(0, 0.025, image.shape)).clip(0, 1), object_

    first, mask = frame((30, 26), (28, 84))
    now, _ = frame((28, 40), (32, 90))
    e0, e1 = (torch.from_numpy(f.transpose(2, 0, 1)).float() * 6 for f in (first, now))
    both = torch.from_numpy(np.stack([mask, ~mask]))
    fore, back = (d.numpy() for d in global_distance(e1, e0, both))
    made = blank(11, 4.2)
    panels = made.subplots(2, 3).ravel()
    shown = first.copy()
    shown[cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0] = (1, 1, 0)
    show(panels[0], shown, "frame 0 and its mask")
    show(panels[1], now, "frame t: object and look-alike")
    show(panels[2], 1 - fore, "near to the object (bright)", cmap="gray", vmin=0, vmax=1)
    show(panels[3], 1 - back, "near to what is not the object", cmap="gray", vmin=0, vmax=1)
    show(panels[4], fore < 0.5, "foreground alone: nearer than 1/2", cmap="gray", vmin=0, vmax=1)
    show(panels[5], fore < back, "both: nearer to the object", cmap="gray", vmin=0, vmax=1)
    return made


@figure
def sparse_reach() -> Figure:
    """What one place has heard of after one to four layers of each pattern."""
    return claims_sparse.draw_reach()


@figure
def sparse_cost() -> Figure:
    """Seconds and memory of sparse attention and of dense, as measured."""
    return claims_sparse.draw(kept(5, "sparse"))


@figure
def post_ensemble() -> Figure:
    """(a) a pass for each object and a merge; (b) all objects in one pass."""
    made, axes = canvas(12.4, 4.2, 0.84)
    words(axes, 2.9, 4.0, "(a) post-ensemble", size=14)
    box(axes, 0.7, 2.1, 1.1, 0.8, "frame", GREY, 13)
    for k, colour in enumerate((BLUE, RED, GREEN)):
        y = 3.2 - 1.1 * k
        arrow(axes, (1.27, 2.1 + 0.12 * (1 - k)), (1.87, y), colour)
        box(axes, 2.75, y, 1.65, 0.8, f"network,\nobject {k + 1}", colour, 12)
        arrow(axes, (3.6, y), (4.3, 2.1 + 0.2 * (1 - k)), colour)
    box(axes, 4.9, 2.1, 1.1, 1.1, "merge", GREY, 13)
    words(axes, 2.9, 0.35, "N objects, N passes; none knows of the others", size=12.5)
    words(axes, 9.4, 4.0, "(b) associating objects", size=14)
    box(axes, 7.0, 2.1, 1.1, 0.8, "frame", GREY, 13)
    for k, colour in enumerate((BLUE, RED, GREEN)):
        box(axes, 7.0 + 0.65 * k - 0.65, 3.3, 0.5, 0.5, str(k + 1), colour, 12)
    arrow(axes, (7.4, 2.98), (8.28, 2.45))
    words(axes, 8.75, 3.3, "identities", size=12.5)
    arrow(axes, (7.58, 2.1), (8.3, 2.1))
    box(axes, 9.3, 2.1, 1.9, 1.1, "one network", GOLD, 13)
    for k, colour in enumerate((BLUE, RED, GREEN)):
        arrow(axes, (10.27, 2.1 + 0.2 * (1 - k)), (11.1, 3.0 - 0.9 * k), colour)
        words(axes, 11.6, 3.0 - 0.9 * k, f"mask {k + 1}", colour, 12.5)
    words(axes, 9.4, 0.35, "N objects, one pass; all are seen together", size=12.5)
    return made


@figure
def identity_map() -> Figure:
    """Masks of three objects, a bank of vectors, and the map of identities: one picture whatever the count."""
    size = (60, 100)
    y, x = np.mgrid[: size[0], : size[1]]
    masks = np.stack([np.hypot(y - 24, x - 24) < 14, (abs(y - 36) < 15) & (abs(x - 56) < 9),
                      np.hypot((y - 24) * 1.5, x - 82) < 13])
    masks = np.concatenate([~masks.any(0, keepdims=True), masks])
    colours = [(240, 240, 235), *(tuple(int(c[i : i + 2], 16) for i in (1, 3, 5))
                                  for c in (BLUE, RED, GREEN, PINK, GOLD))]
    rows = np.array(colours, np.uint8)  # a bank whose vectors are colours, so that identities can be seen
    made = blank(11, 2.6)
    panels = made.subplots(1, 4, width_ratios=(0.55, 1.2, 0.55, 1.2))
    for i, chosen in enumerate(((0, 1, 2, 3), (0, 4, 1, 5))):
        show(panels[2 * i], rows[:, None].repeat(3, 1), "the bank")
        for k, r in enumerate(chosen):
            panels[2 * i].text(1, r, str(k) if k else "ground", ha="center", va="center", fontsize=11,
                               color="white" if k else "#222222", weight="bold")
        ident = assign_identities(torch.from_numpy(masks).float(), torch.from_numpy(rows[list(chosen)]).float() / 255)
        show(panels[2 * i + 1], ident.permute(1, 2, 0).numpy(), ("identities", "drawn anew: another clip")[i])
        for k, (cy, cx) in enumerate(((24, 24), (36, 56), (24, 82))):
            panels[2 * i + 1].text(cx, cy, str(k + 1), ha="center", va="center", fontsize=12, color="white",
                                   weight="bold")
    return made


@figure
def identities_time() -> Figure:
    """Seconds a frame against objects, as measured."""
    return claims_speed.draw_growth(kept(5, "identities"))


@figure
def vistr_network() -> Figure:
    """VisTR: a clip as one sequence; query n is the same instance in every frame."""
    made, axes = canvas(12.6, 4.6, 0.84)
    for t in range(3):
        box(axes, 0.75 + 0.15 * t, 3.3 - 0.25 * t, 1.0, 0.75, "", GREY)
    words(axes, 0.9, 2.05, "clip, T frames", size=12.5)
    box(axes, 3.1, 3.0, 1.8, 1.0, "backbone,\n3-D positions", BLUE, 12.5)
    arrow(axes, (1.65, 3.0), (2.17, 3.0))
    box(axes, 5.6, 3.0, 1.8, 1.0, "encoder:\nall with all", RED, 12.5)
    arrow(axes, (4.02, 3.0), (4.67, 3.0), BLUE)
    box(axes, 8.1, 3.0, 1.7, 1.0, "decoder", RED, 13)
    arrow(axes, (6.52, 3.0), (7.22, 3.0), RED)
    for n, colour in enumerate((GOLD, PINK, GREEN)):
        for t in range(3):
            axes.add_patch(Circle((7.5 + 0.6 * t, 1.55 - 0.45 * n), 0.17, facecolor=colour, edgecolor=viz.INK))
            axes.add_patch(Rectangle((10.35 + 0.72 * t, 3.5 - 0.62 * n), 0.62, 0.46, facecolor="white",
                                     edgecolor=viz.INK))
            if n < 2:
                where = (10.5 + 0.72 * t + 0.12 * (t if n else 2 - t), 3.73 - 0.62 * n)
                axes.add_patch(Circle(where, 0.12, facecolor=colour))
        words(axes, 12.52, 3.73 - 0.62 * n, ("1", "2", "-")[n], colour, 14, weight="bold")
    arrow(axes, (8.1, 1.8), (8.1, 2.45))
    words(axes, 5.75, 1.1, "T x N queries:\na row is one instance,\na column one frame", size=12.5)
    arrow(axes, (8.98, 3.0), (10.2, 3.0), RED)
    words(axes, 9.6, 3.35, "3-D mask\nhead", size=11.5)
    words(axes, 11.4, 1.55, "one sequence of masks\nfor each row; matched\nonce for the clip", size=12.5)
    return made


@figure
def open_book() -> Figure:
    """What is carried from frame to frame, and how much: a state of fixed size, and memories that grow."""
    made = blank(9.6, 3.2)
    axes = made.subplots()
    t, cells = np.arange(1, 101), 15 * 27
    axes.plot(t, np.full(len(t), 1.0), color=RED, lw=2.5, drawstyle="steps-post", label="a recurrent state (stage 4)")
    for rule, limit, colour, dash, name in (("first+last+every", None, BLUE, 1, "first, last, every 5th"),
                                            ("first+every", 8, GREEN, 3, "first, every 5th, at most 8 frames")):
        held = [len(chosen) for chosen in played(rule, limit, 101)]
        axes.plot(t, held, color=colour, lw=2.5, ls=viz.DASHES[dash], drawstyle="steps-post", label=name)
    axes.set_yticks(range(0, 25, 5))
    axes.set_xlabel("frame t", fontsize=12, color=viz.INK)
    axes.set_ylabel(f"maps of {cells} places\nheld for one object", fontsize=12, color=viz.INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=viz.INK, alpha=0.15)
    axes.legend(frameon=False, fontsize=12)
    return made


