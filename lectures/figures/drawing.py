"""What the figures of README and lectures are drawn with."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from vos_teach import viz
from vos_teach.data import toy
from vos_teach.ops.warp import warp

HERE = Path(__file__).parent
PUBLISHED = HERE.parents[1] / "vos_teach" / "assets" / "davis2016_published.json"
BLUE, RED, GREEN, PINK, GOLD, SKY, _ = viz.LINES
PHOTOS = ("task", "asked", "masktrack_example", "lucid_pair", "flow_colours", "flow_kinds", "warping", "consistency",
          "looks")
MAKERS: dict[str, Callable[[], Figure | np.ndarray]] = {}


def figure(maker: Callable[[], Figure | np.ndarray]) -> Callable[[], Figure | np.ndarray]:
    """Register a function whose name is the figure's."""
    MAKERS[maker.__name__] = maker
    return maker


def kept_of(stage: int) -> dict[str, Any]:
    """What is kept of a stage's figures, see measured.py."""
    path = HERE / f"stage{stage}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def kept(stage: int, claim: str) -> dict[str, Any]:
    """What was measured of a claim; LookupError where nothing was."""
    if claim not in (found := kept_of(stage)):
        raise LookupError(f"vos-teach claim {claim}, then measured.py")
    return found[claim]


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


def tinted(frame: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The house's overlay, but object 1 yellow and object 2 blue: told apart by colour-blind readers too."""
    return viz.overlay(frame, None if mask is None else np.array([0, 3, 4, *range(3, 256)], np.uint8)[mask], 0.6)


def tile(image: np.ndarray, text: str, width: int = 330) -> np.ndarray:
    """A labelled picture of the given width."""
    height = round(width * image.shape[0] / image.shape[1])
    return viz.label(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), text)


def box(axes, x: float, y: float, w: float, h: float, text: str, colour: str, size: float = 12) -> None:
    """A rounded box with text, its centre at (x, y)."""
    axes.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0.02,rounding_size=0.06",
                                  facecolor=colour + "26", edgecolor=colour, lw=2))
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color="#222222", linespacing=1.35)


def arrow(axes, a: tuple[float, float], b: tuple[float, float], colour: str = viz.INK, **more) -> None:
    """An arrow from a to b."""
    axes.add_patch(FancyArrowPatch(a, b, arrowstyle="-|>", mutation_scale=18, color=colour, shrinkA=0, shrinkB=0,
                                   **{"lw": 2, **more}))


def canvas(width: float, height: float, zoom: float = 1.0):
    """A figure whose axes are its inches. zoom: below 1 it is drawn smaller, so that its text is larger beside it."""
    made = blank(width * zoom, height * zoom)
    axes = made.add_subplot()
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    return made, axes


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


def pixels(made: Figure) -> np.ndarray:
    """A drawing as an image, cut to what is drawn: constrained layout knows nothing of titles above images."""
    out = io.BytesIO()
    made.savefig(out, format="png", bbox_inches="tight", pad_inches=0.08)
    return np.asarray(Image.open(out).convert("RGB"))
