"""Pictures for notebooks: each function returns a matplotlib figure that a notebook shows once, with a description.

No pyplot is involved, so nothing is left open and nothing is shown twice. `viz` has what the rest of the house draws.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vos_teach import viz
from vos_teach.clip import VOID, Clip, resize_mask
from vos_teach.data.video import write_mp4
from vos_teach.errors import VosError
from vos_teach.lab.cases import plain
from vos_teach.metrics import measures

HITS, MISSES, FALSE, OTHER = "#009E73", "#0072B2", "#E69F00", "#CC79A7"  # Okabe & Ito: told apart by everyone
DPI = 110
Masks = Sequence[Any]


def frames(clip: Clip, masks: Masks | Mapping[str, Masks] | None = None, every: int | None = None,
           title: str = "", width: int = 200, columns: int = 5) -> Figure:
    """A contact sheet: frames with their masks drawn over them.

    masks   T masks (H,W ids, or None for no mask), or name -> T masks for a row each; default: the clip's own
    every   show each `every`-th frame, in rows of `columns`; default: `columns` moments from first to last
    """
    rows = {"": clip.masks if masks is None else masks} if not isinstance(masks, Mapping) else dict(masks)
    for name, row in rows.items():
        if len(row) != len(clip):
            raise VosError(f"{name or 'masks'}: {len(row)} masks for {len(clip)} frames of clip '{clip.name}'")
    if every is None:
        moments = np.unique(np.linspace(0, len(clip) - 1, columns).round().astype(int))
    else:
        moments = np.arange(0, len(clip), max(1, int(every)))
    lines = []
    for start in range(0, len(moments), columns):
        for name, row in rows.items():
            cells = []
            for t in moments[start : start + columns]:
                picture = _over(clip.frames[t], row[t], width)
                first = name and t == moments[start]
                cells.append(viz.label(picture, f"{name}, frame {t}" if first else f"frame {t}"))
            cells += [np.full_like(cells[0], 255)] * (min(columns, len(moments)) - len(cells))
            lines.append(_row(cells))
    names = f" by {', '.join(rows)}" if any(rows) else ""
    return _sheet(np.concatenate(lines)[4:, 4:], title,
                  f"Frames {', '.join(map(str, moments))} of clip {clip.name} with masks{names} drawn over them")


def pair(a: Any, b: Any, titles: Sequence[str] = ("", ""), title: str = "", height: int = 240) -> Figure:
    """Two images side by side: H,W,3 uint8, or H,W ids, booleans, or floats (drawn from 0 to 1, or stretched)."""
    return images([a, b], titles, title, height)


def images(pictures: Sequence[Any], titles: Sequence[str] = (), title: str = "", height: int = 240) -> Figure:
    """Several images in a row, at one height."""
    cells = []
    for i, picture in enumerate(pictures):
        cell = _rgb(picture)
        cell = _fit(cell, max(1, round(cell.shape[1] * height / cell.shape[0])))
        cells.append(viz.label(cell, titles[i]) if any(titles) and i < len(titles) else cell)
    top = max(c.shape[0] for c in cells)
    cells = [np.pad(c, ((0, top - c.shape[0]), (0, 0), (0, 0)), constant_values=255) for c in cells]
    return _sheet(_row(cells)[4:, 4:], title, f"Images side by side: {'; '.join(t for t in titles if t) or title}")


def curves(values: Mapping[str, Any], title: str = "", ylabel: str = "J", first: int = 0,
           xlabel: str = "frame") -> Figure:
    """A measure over time: name -> one value per frame (or whatever xlabel says), counted from `first`. NaN is a gap.
    """
    lines = {name: np.atleast_1d(plain(v)).astype(float).ravel() for name, v in values.items()}
    figure = viz.curves(lines, first, ylabel, title, xlabel=xlabel)
    top = np.nanmax([np.nanmax(v) for v in lines.values() if np.isfinite(v).any()] or [1.0])
    if top > 1.02:
        figure.axes[0].set_ylim(-0.02 * top, 1.05 * top)
    means = "; ".join(f"{name}: mean {np.nanmean(v):.3f}" for name, v in lines.items() if np.isfinite(v).any())
    return described(figure, f"{title or ylabel} over {xlabel}s. {ylabel}: {means}")


def difference(pred: Any, truth: Any, frame: np.ndarray | None = None, title: str = "", height: int = 260) -> Figure:
    """Where two masks (H,W booleans or ids) agree and where not: hits, misses, false alarms; with a legend.

    A pixel given to another object is drawn as such. Void (255 in the truth) is left alone. frame: H,W,3 beneath.
    """
    pred, truth = _ids(pred), _ids(truth)
    if pred.shape != truth.shape:
        raise VosError(f"the masks differ in size: {pred.shape} and {truth.shape}")
    valid = truth != VOID
    parts = {
        "hit": (HITS, valid & (pred == truth) & (truth > 0)),
        "miss": (MISSES, valid & (truth > 0) & (pred == 0)),
        "false alarm": (FALSE, valid & (pred > 0) & (truth == 0)),
        "other object": (OTHER, valid & (pred > 0) & (truth > 0) & (pred != truth)),
    }
    if not parts["other object"][1].any():
        del parts["other object"]
    grey = np.full((*truth.shape, 3), 235, np.uint8) if frame is None else _grey(frame)
    out = grey.copy()
    for colour, where in parts.values():
        out[where] = 0.2 * grey[where] + 0.8 * np.array(_bytes(colour))
    said = ", ".join(f"{name} {int(where.sum())} pixels" for name, (_, where) in parts.items())
    figure = _sheet(_fit(out, round(out.shape[1] * height / out.shape[0])), title,
                    f"{title or 'Difference of a mask and the truth'}: {said}", below=0.3)
    return _key(figure, {f"{name} ({int(where.sum())} px)": colour for name, (colour, where) in parts.items()})


def mask_boundary(mask: Any, radius: int | None = None, other: Any = None, title: str = "",
                  height: int = 300) -> Figure:
    """A mask's boundary and the band of `radius` pixels in which another boundary still counts as met.

    radius: default is DAVIS's, 0.8 % of the diagonal, rounded up. other: a second mask; its boundary is drawn too, in
    one colour where it is inside the band and in another where it is outside.
    """
    mask = (_ids(mask) > 0).astype(np.uint8)
    if radius is None:
        radius = measures.radius(mask.shape)
    line = measures.boundary(mask)
    band = cv2.dilate(line, measures.disk(radius)) > 0
    out = np.where(mask[..., None] > 0, 225, 255).astype(np.uint8).repeat(3, -1)
    parts = {f"within {radius} px": ("#BFE3F5", band), "boundary": (viz.INK, line > 0)}
    if other is not None:
        theirs = measures.boundary((_ids(other) > 0).astype(np.uint8)) > 0
        parts["other, met"] = (HITS, theirs & band)
        parts["not met"] = ("#D55E00", theirs & ~band)
    for colour, where in parts.values():
        out[where] = _bytes(colour)
    said = ", ".join(f"{name}: {int(where.sum())} pixels" for name, (_, where) in parts.items())
    figure = _sheet(_fit(out, round(out.shape[1] * height / out.shape[0])), title, f"Boundary of a mask. {said}",
                    below=0.3)
    return _key(figure, {name: colour for name, (colour, _) in parts.items()})


class Film:
    """A small video inside the notebook's output."""

    def __init__(self, data: bytes, width: int, alt: str):
        self.data, self.width, self.alt = data, width, alt

    def _repr_html_(self) -> str:
        source = f"data:video/mp4;base64,{base64.b64encode(self.data).decode()}"
        return (f'<video controls loop muted playsinline width="{self.width}" aria-label="{escape(self.alt)}" '
                f'src="{source}">{escape(self.alt)}</video>')

    def __repr__(self) -> str:
        return f"{self.alt} ({len(self.data) / 1000:.0f} kB of video)"


def animation(clip: Clip, masks: Masks | Mapping[str, Masks] | None = None, fps: float = 10, width: int = 320) -> Film:
    """The clip as a film with masks over it (name -> T masks: side by side), embedded in the notebook."""
    rows = {"": clip.masks if masks is None else masks} if not isinstance(masks, Mapping) else dict(masks)

    def picture(t: int) -> np.ndarray:
        cells = [_over(clip.frames[t], row[t], width) for row in rows.values()]
        cells = [viz.label(c, name) if any(rows) else c for c, name in zip(cells, rows, strict=True)]
        return np.concatenate(cells, 1)

    with tempfile.TemporaryDirectory() as folder:
        path = write_mp4(Path(folder) / "film.mp4", (picture(t) for t in range(len(clip))), fps, crf=28)
        data = path.read_bytes()
    names = f" by {', '.join(rows)}" if any(rows) else ""
    return Film(data, width * len(rows), f"Film of clip {clip.name}, {len(clip)} frames, with masks{names}")


def described(figure: Figure, alt: str) -> Figure:
    """The figure, ready for a notebook: shown once, as PNG, with `alt` for those who cannot see it."""
    figure.alt = alt  # type: ignore[attr-defined]
    figure._repr_mimebundle_ = lambda include=None, exclude=None, **_: bundle(figure)  # type: ignore[attr-defined]
    return figure


def bundle(figure: Figure) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a notebook stores of a figure: the PNG, its description, and its size on the page."""
    alt = getattr(figure, "alt", "A figure")
    width, height = (round(v) for v in figure.get_size_inches() * figure.dpi)
    return ({"image/png": base64.b64encode(png(figure)).decode(), "text/plain": alt},
            {"image/png": {"width": width, "height": height, "alt": alt}})


def png(figure: Figure | np.ndarray) -> bytes:
    """A figure (or an image) as the bytes of a PNG; its size does not depend on what is drawn."""
    if not isinstance(figure, Figure):
        return viz.encode(_rgb(figure))
    return viz.encode(viz.image(figure))


def _sheet(image: np.ndarray, title: str, alt: str, below: float = 0.0) -> Figure:
    """An image, pixel for pixel, as a figure; a title above, `below` inches free beneath it."""
    height, width = image.shape[:2]
    above = 0.3 if title else 0.0
    tall = height / DPI + above + below
    figure = Figure(figsize=(width / DPI, tall), dpi=DPI, layout="none")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, below / tall, 1, height / DPI / tall))
    axes.imshow(image, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    if title:
        figure.text(0.002, 1 - 0.09 / tall, title, va="top", ha="left", color=viz.INK, fontsize="medium")
    return described(figure, f"{title}. {alt}" if title and title not in alt else alt)


def _key(figure: Figure, colours: Mapping[str, str]) -> Figure:
    """A legend beneath the image: what each colour stands for."""
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False, fontsize="small",
                  handlelength=1.0, columnspacing=1.2, borderaxespad=0.1)
    return figure


def _row(cells: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.pad(c, ((4, 0), (4, 0), (0, 0)), constant_values=255) for c in cells], 1)


def _over(frame: np.ndarray, mask: Any, width: int) -> np.ndarray:
    """A frame at a width with its mask drawn over it; the frame is enlarged smoothly, ids stay ids."""
    size = (max(1, round(frame.shape[0] * width / frame.shape[1])), width)
    ids = _ids(mask)
    big = size[0] > frame.shape[0]
    frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_CUBIC if big else cv2.INTER_AREA)
    return viz.overlay(frame, None if ids is None else resize_mask(ids, size))


def _fit(image: np.ndarray, width: int) -> np.ndarray:
    """To a width, aspect kept; enlarged by repeating pixels, so that one can count them."""
    if image.shape[1] == width:
        return image
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_NEAREST)


def _ids(mask: Any) -> Any:
    """A mask of whatever kind as H,W uint8 ids; None stays None; floats count from 0.5 on; 1,H,W loses its 1."""
    if mask is None:
        return None
    mask = plain(mask)
    if mask.ndim == 3 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.ndim != 2:
        raise VosError(f"a mask is H,W, not an array of shape {mask.shape}")
    return (mask > 0.5 if mask.dtype.kind == "f" else mask).astype(np.uint8)


def _rgb(image: Any) -> np.ndarray:
    """An image of whatever kind as H,W,3 uint8."""
    image = plain(image)
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[-1] not in (1, 3):
        image = image.transpose(1, 2, 0)  # as the networks have it
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[-1] == 3:
        if image.dtype.kind == "f":
            image = (image.clip(0, 1) * 255).round()
        return np.ascontiguousarray(image.astype(np.uint8))
    if image.ndim != 2:
        raise VosError(f"an image is H,W or H,W,3, not an array of shape {image.shape}")
    if image.dtype.kind in "iu" and image.size and image.max() > 1:  # ids
        return viz.overlay(np.full((*image.shape, 3), 40, np.uint8), image.astype(np.uint8), alpha=1.0)
    image = np.nan_to_num(image.astype(float))
    low, high = (0.0, 1.0) if not image.size or (image.min() >= 0 and image.max() <= 1) else (image.min(), image.max())
    grey = ((image - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
    return grey[..., None].repeat(3, -1)


def _grey(frame: np.ndarray) -> np.ndarray:
    """The frame in light grey, so that colours over it are read without doubt."""
    grey = cv2.cvtColor(_rgb(frame), cv2.COLOR_RGB2GRAY).astype(float)
    return (90 + grey * 0.6).astype(np.uint8)[..., None].repeat(3, -1)


def _bytes(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
