"""The score card: what the student's runs reached, kept from lab to lab in score_card.json."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_teach import viz
from vos_teach.errors import VosError
from vos_teach.lab import show as pictures
from vos_teach.lab.cases import plain
from vos_teach.lab.folder import load_json, save_json

if TYPE_CHECKING:
    from vos_teach.clip import Clip
    from vos_teach.lab.session import Lab

COLUMNS = ("J", "F", "T", "seconds_per_frame")
TITLES = {"J": "J", "F": "F", "T": "T", "seconds_per_frame": "s/frame"}


def add(lab: Lab, system: str, clip: str | Clip | None = None, J: Any = None, F: Any = None, T: Any = None,
        seconds_per_frame: float | None = None) -> None:
    """Write a line: one system on one clip (a name or a Clip; None: over the lab's clips). A newer run replaces it.

    J, F, T: a number, or one per frame (their mean is kept, NaN left out). T: lower is steadier.
    """
    values = {name: _mean(name, v) for name, v in zip(COLUMNS, (J, F, T, seconds_per_frame), strict=True)}
    if all(v is None for v in values.values()):
        raise VosError(f"score card: nothing was measured of '{system}': give J, F, T or seconds_per_frame")
    row = {"lab": lab.name, "system": system, "clip": getattr(clip, "name", clip), "scale": lab.scale, **values}
    same = ("system", "clip", "scale")
    old = [r for r in rows(lab) if any(r.get(k) != row[k] for k in same)]
    save_json(lab.work / "score_card.json", {"rows": [*old, row]})


def rows(lab: Lab) -> list[dict[str, Any]]:
    """All lines so far, of all labs, oldest first."""
    found = load_json(lab.work / "score_card.json").get("rows", [])
    return [row for row in found if isinstance(row, dict) and "system" in row]


def show(lab: Lab, published: dict[str, tuple[float, float]] | None = None) -> Card:
    """The table, and quality against seconds a frame of the runs that have both.

    published: name -> (seconds a frame, quality), drawn hollow: papers' figures, on other machines and other data.
    """
    return Card(rows(lab), published)


class Card:
    """What `show` returns. A notebook shows `table` and `figure`; `rows` are the lines."""

    def __init__(self, rows: list[dict[str, Any]], published: dict[str, tuple[float, float]] | None = None):
        self.rows = rows
        points = self._points()
        self.figure = None
        if points or published:
            words = "; ".join(f"{name}: {s:.3g} s a frame, quality {q:.2f}" for name, (s, q) in points.items())
            self.figure = pictures.described(viz.quality_time(points, published, "quality: mean of J and F"),
                                             f"Quality against seconds a frame. {words}")

    def _points(self) -> dict[str, tuple[float, float]]:
        """name -> (seconds a frame, mean of J and F, or of the one there is), each the mean over the clips."""
        scales = {row.get("scale") for row in self.rows}
        by_name: dict[str, list[tuple[float, float]]] = {}
        for row in self.rows:
            quality = [row[k] for k in ("J", "F") if row.get(k) is not None]
            if quality and row.get("seconds_per_frame"):
                name = row["system"] if len(scales) == 1 else f"{row['system']} ({row.get('scale')})"
                by_name.setdefault(name, []).append((row["seconds_per_frame"], float(np.mean(quality))))
        return {name: (float(np.mean([s for s, _ in p])), float(np.mean([q for _, q in p])))
                for name, p in by_name.items()}

    def cells(self) -> list[list[str]]:
        """The table's text: a heading, then a line per row."""
        words = ("lab", "system", "clip", "scale")
        body = [[str(r.get(k) or "") for k in words] + [_text(k, r.get(k)) for k in COLUMNS] for r in self.rows]
        return [[*words, *TITLES.values()], *body]

    @property
    def table(self) -> str:
        """The table in HTML."""
        head, *body = self.cells()
        lines = ["<table><caption>Score card</caption><thead><tr>", *(f'<th scope="col">{c}</th>' for c in head)]
        lines += ["</tr></thead><tbody>"]
        for line in body:
            lines += ["<tr>", *(f"<td>{pictures.escape(c)}</td>" for c in line), "</tr>"]
        return "".join([*lines, "</tbody></table>"])

    def __repr__(self) -> str:
        text = self.cells()
        wide = [max(len(line[i]) for line in text) for i in range(len(text[0]))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, wide, strict=True)).rstrip() for line in text)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not self.rows:
            print("The score card is empty so far.")
            return
        display({"text/html": self.table, "text/plain": repr(self)}, raw=True)
        if self.figure is not None:
            display(self.figure)


def _mean(name: str, value: Any) -> float | None:
    if value is None:
        return None
    numbers = np.atleast_1d(plain(value))
    if numbers.dtype.kind not in "biuf":
        raise VosError(f"score card: {name}={value!r} is no number")
    if not np.isfinite(numbers).any():
        return None
    mean = float(np.nanmean(np.where(np.isfinite(numbers), numbers, math.nan)))
    if name != "T" and (mean < 0 or (name in "JF" and mean > 1)):
        raise VosError(f"score card: {name}={mean:.3g} cannot be: J and F lie between 0 and 1, times are not negative")
    return mean


def _text(name: str, value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if name == "seconds_per_frame" else f"{value:.3f}"
