"""README's picture, and stage 0: the task and the measures."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from drawing import BLUE, RED, SKY, blank, figure, show, tile, tinted, toy_clip
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from vos_teach import bench, engine, registry, viz
from vos_teach.data import composite, toy
from vos_teach.metrics import boundary_f, decay, jaccard, recall
from vos_teach.metrics.measures import boundary, disk, radius


@figure
def osvos() -> np.ndarray:
    """README's picture: truth, the first mask kept, and OSVOS, over one toy clip."""
    clip = toy_clip("look-alike")
    results = {"truth": clip.masks}
    for name, options in {"copy-first": {}, "osvos": {"steps": 100}}.items():
        results[name] = engine.run(registry.make(name, scale="toy", **options), clip).masks
    return viz.contact_sheet(clip, results, n_frames=5, width=240)


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
