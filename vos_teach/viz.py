"""Pictures: masks over frames, contact sheets, quality over time, quality against speed.

matplotlib is used through its objects only (no pyplot): no global state, and no screen needed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from PIL import Image, ImageDraw, ImageFont

from vos_teach.clip import VOID, Clip
from vos_teach.data.png import PALETTE, write_bytes

INK = "#3a3f44"  # text and axes; `svg` turns it into the page's own colour
# Okabe & Ito's colours (2008), told apart by colour-blind readers too; markers and dashes say the same again
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00")
MARKS = "osD^vPX"
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), "-", (0, (5, 1.5)), (0, (1.5, 1.2)))


def overlay(frame: np.ndarray, mask: np.ndarray | None, alpha: float = 0.45) -> np.ndarray:
    """Tint each object of `mask` (H,W ids) over `frame` (H,W,3 uint8) and draw its contour inside it.

    Pixels of background are returned as they were; `alpha` 0..1 is the strength of the tint; void is grey.
    """
    if mask is None:
        return frame.copy()
    inside = mask > 0
    vivid = np.minimum(PALETTE.astype(int) * 2, 255)  # in files id 1 is (128, 0, 0): too dark here
    vivid[VOID] = 160
    out = frame.copy()
    out[inside] = np.rint(frame[inside] * (1 - alpha) + vivid[mask[inside]] * alpha).astype(np.uint8)
    radius = max(1, round(mask.shape[0] / 240))
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    inner = cv2.erode(mask, kernel, borderType=cv2.BORDER_REPLICATE) == cv2.dilate(mask, kernel)
    edge = inside & ~inner
    out[edge] = vivid[mask[edge]]
    return out


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)


def label(image: np.ndarray, text: str) -> np.ndarray:
    """The image (H,W,3 uint8) with a line of text on a dark strip above it."""
    height = max(18, round(image.shape[1] / 12))
    strip = Image.new("RGB", (image.shape[1], height), (28, 31, 34))
    size = max(10, int(height * 0.62))
    ImageDraw.Draw(strip).text((height // 4, height / 2), text, (240, 240, 240), _font(size), anchor="lm")
    return np.concatenate([np.asarray(strip), image])


def _fit(image: np.ndarray, width: int) -> np.ndarray:
    """Resize to a width, aspect kept: by area when shrinking, else bicubic."""
    if image.shape[1] == width:
        return image
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    shrink = width < image.shape[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)


def contact_sheet(clip: Clip, results: Mapping[str, Sequence[np.ndarray | None]], n_frames: int = 5,
                  width: int = 240) -> np.ndarray:
    """Moments of the clip side by side: the truth on the first row, then one row per result -> H,W,3 uint8.

    results: name -> T masks. Each picture is `width` pixels wide; moments run from the first to the last frame.
    """
    moments = np.unique(np.linspace(0, len(clip) - 1, n_frames).round().astype(int))
    rows = {"truth": clip.masks, **results}
    gap, lines = 4, []
    for name, masks in rows.items():
        cells = []
        for t in moments:
            cell = _fit(overlay(clip.frames[t], masks[t]), width)
            cells += [label(cell, f"{name} · frame {t}" if t == moments[0] else f"frame {t}")]
        lines.append(np.concatenate([np.pad(c, ((0, gap), (0, gap), (0, 0))) for c in cells], 1))
    return np.concatenate(lines)[:-gap, :-gap]


def panels(clip: Clip, results: Mapping[str, Sequence[np.ndarray | None]],
           width: int = 320) -> Iterator[np.ndarray]:
    """Frames of a video, one at a time: the truth and every result on a grid of two columns."""
    rows = {"truth": clip.masks, **results}
    for t in range(len(clip)):
        cells = [label(_fit(overlay(clip.frames[t], m[t]), width), name) for name, m in rows.items()]
        cells += [np.zeros_like(cells[0])] * (len(cells) % 2)
        yield np.concatenate([np.concatenate(cells[i : i + 2], 1) for i in range(0, len(cells), 2)])


def axes_of(width: float, height: float, xlabel: str, ylabel: str) -> tuple[Figure, matplotlib.axes.Axes]:
    """An empty figure in the house style: width, height in inches."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.tick_params(colors=INK, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.grid(color=INK, alpha=0.15, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def curves(values: Mapping[str, Sequence[float] | np.ndarray], first: int = 0, ylabel: str = "J",
           title: str = "", width: float = 7.0, xlabel: str = "frame") -> Figure:
    """A measure over time: name -> a value (0..1) per frame, frames counted from `first`; NaN is a gap."""
    figure, axes = axes_of(width, 2.6, xlabel, ylabel)
    for i, (name, line) in enumerate(values.items()):
        style = {"color": LINES[i % len(LINES)], "linestyle": DASHES[i % len(DASHES)], "linewidth": 2}
        axes.plot(np.arange(first, first + len(line)), line, label=name, **style)
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if title:
        axes.set_title(title, color=INK, fontsize="medium", loc="left")
    if values:
        legend = axes.legend(frameon=False, labelcolor=INK, loc="center left", bbox_to_anchor=(1.0, 0.5))
        legend.set_in_layout(True)
    return figure


def quality_time(points: Mapping[str, tuple[float, float]],
                 published: Mapping[str, tuple[float, float]] | None = None,
                 ylabel: str = "mean J&F", width: float = 7.0) -> Figure:
    """The lecture's plot: name -> (seconds a frame, quality); time on a log scale, so left and up is better.

    `published`: figures of the papers, drawn hollow and labelled as such: other machine, other data.
    """
    xlabel = "seconds a frame, fine-tuning counted (log scale; further left is faster)"
    figure, axes = axes_of(width, 3.6, xlabel, ylabel)
    axes.set_xscale("log")
    for i, (name, (seconds, quality)) in enumerate(points.items()):
        axes.plot(seconds, quality, MARKS[i % len(MARKS)], color=LINES[i % len(LINES)], markersize=10)
        _tag(axes, name, seconds, quality)
    for name, (seconds, quality) in (published or {}).items():
        axes.plot(seconds, quality, "o", markerfacecolor="none", markeredgecolor=INK, markersize=9)
        _tag(axes, f"{name} (published)", seconds, quality)
    seconds = [s for s, _ in [*points.values(), *(published or {}).values()]] or [1.0]
    axes.set_xlim(min(seconds) / 3, max(seconds) * 6)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    return figure


def _tag(axes: matplotlib.axes.Axes, name: str, x: float, y: float) -> None:
    axes.annotate(name, (x, y), xytext=(9, 0), textcoords="offset points", va="center", color=INK)


def svg(figure: Figure, name: str = "figure") -> str:
    """The figure as an <svg> element to put into a page: text stays text, ink takes the page's text colour.

    `name` goes into the element's internal ids: give each figure of a page its own.
    """
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        bare = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=bare)
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r'\bid="(figure|axes|line2d|text|patch|matplotlib|xtick|ytick|legend|Path)[^"]*"', "", text)
    return text.replace(INK, "currentColor").strip()


def image(figure: Figure) -> np.ndarray:
    """The figure as H,W,3 uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def encode(array: np.ndarray, kind: str = "PNG") -> bytes:
    """An image H,W,3 or H,W uint8 as the bytes of a PNG or JPEG file."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, optimize=True, **({"quality": 88} if kind == "JPEG" else {}))
    return out.getvalue()


def save(path: str | Path, picture: Figure | np.ndarray) -> Path:
    """Save a figure (.png, .svg, .pdf) or an image array (.png, .jpg), whole or not at all."""
    path = Path(path)
    if not isinstance(picture, Figure):
        kind = "JPEG" if path.suffix.lower() in {".jpg", ".jpeg"} else "PNG"
        write_bytes(path, encode(np.asarray(picture), kind))
        return path
    out = io.BytesIO()
    picture.savefig(out, format=path.suffix.lstrip(".") or "png")
    write_bytes(path, out.getvalue())
    return path
