"""The last film: ten years of VOS on one clip. All systems side by side, and the score card at its end.

    takes = [film.Take("OSVOS", 2017, masks, J=0.71, F=0.66, seconds=3.2), ...]
    film.export(lab, lab.own, takes)          # writes ten_years.mp4 into the student's folder, and shows it
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from vos_teach import viz
from vos_teach.clip import resize_frame, resize_mask
from vos_teach.data.video import write_mp4
from vos_teach.errors import VosError
from vos_teach.lab import show
from vos_teach.lab.cases import plain

if TYPE_CHECKING:
    from vos_teach.clip import Clip
    from vos_teach.lab.session import Lab

PAPER, LINE, DPI = (250, 250, 248), 26, 110  # the card's colour, the height of a line on it


@dataclass(frozen=True)
class Take:
    """One system on the clip. masks: T of H,W ids, or None for no mask; J, F, seconds: of this run, where known."""

    name: str
    year: int
    masks: Sequence[Any]
    J: float | None = None
    F: float | None = None
    seconds: float | None = None

    def caption(self) -> str:
        """One line: the year, the name, what was measured."""
        said = [f"{self.year} {self.name}"]
        said += [f"{word} {value:.2f}" for word, value in (("J", self.J), ("F", self.F)) if _number(value)]
        return "  ".join([*said, f"{self.seconds:.2g} s"] if _number(self.seconds) else said)


def export(lab: Lab, clip: Clip, takes: Sequence[Take], path: str | Path | None = None, fps: float = 8.0,
           width: int = 240, columns: int = 3, hold: float = 4.0) -> Saved:
    """Write the film, H.264: the clip with each take's masks, by year, in a grid; then the score card for `hold` s.

    path: default is ten_years.mp4 in lab.work. width: of one picture. The first picture has no system: the clip with
    the masks that are known. Raises VosError for no takes, two of a name, or masks that do not fit the clip.
    """
    takes = _sorted(clip, takes)
    if width < 64 or columns < 1 or fps <= 0 or hold < 0:
        raise VosError("the film needs pictures at least 64 wide, a column, and times above 0")
    path = Path(path) if path is not None else lab.work / "ten_years.mp4"
    write_mp4(path, pictures(clip, takes, width, columns, round(hold * fps)), fps, crf=25)
    names = ", ".join(take.name for take in takes)
    return Saved(path, width * min(columns, len(takes) + 1),
                 f"Film of clip {clip.name}, {len(clip)} frames, side by side: {names}; then their score card")


class Saved(show.Film):
    """A film that lies in a file; a notebook shows it, too."""

    def __init__(self, path: Path, width: int, alt: str):
        super().__init__(path.read_bytes(), width, alt)
        self.path = path


def pictures(clip: Clip, takes: Sequence[Take], width: int, columns: int, card: int) -> Iterator[np.ndarray]:
    """The film's frames, H,W,3 uint8, one at a time: len(clip) of them, then `card` times the score card."""
    height = max(1, round(clip.size[0] * width / clip.size[1]))
    rows = {"the clip": clip.masks, **{take.caption(): take.masks for take in takes}}
    columns = min(columns, len(rows))
    sheet = np.zeros((1, 1, 3), np.uint8)
    for t in range(len(clip)):
        frame = resize_frame(clip.frames[t], (height, width))
        cells = [_tag(viz.overlay(frame, _mask(masks[t], (height, width))), said) for said, masks in rows.items()]
        cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
        sheet = np.concatenate([np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)])
        yield sheet
    if card:
        last = score_card(takes, sheet.shape[:2])
        for _ in range(card):
            yield last


def score_card(takes: Sequence[Take], size: tuple[int, int]) -> np.ndarray:
    """The figures of all takes as an image of this size: a line each, and quality against time where there is room."""
    out = np.full((*size, 3), PAPER, np.uint8)
    head = ["", "", "J", "F", "s a frame"]
    lines = [[str(t.year), t.name, _text(t.J, "{:.3f}"), _text(t.F, "{:.3f}"), _text(t.seconds, "{:.3g}")]
             for t in takes]
    text = _lettering([head, *lines])
    points = {t.name: (float(t.seconds), float(np.mean([v for v in (t.J, t.F) if v is not None and _number(v)])))
              for t in takes if t.seconds and _number(t.seconds) and (_number(t.J) or _number(t.F))}
    beside, below = size[1] - text.shape[1], size[0] - text.shape[0]
    side = bool(points) and beside >= 320
    _paste(out, text, (0, 0), (text.shape[1] if side else size[1], size[0]))
    if side:
        _paste(out, _plot(points, beside, min(size[0], beside)), (text.shape[1], 0), (beside, size[0]))
    elif points and below >= 240 and size[1] >= 320:
        _paste(out, _plot(points, size[1], min(below, size[1])), (0, text.shape[0]), (size[1], below))
    return out


def _plot(points: Mapping[str, tuple[float, float]], width: int, height: int) -> np.ndarray:
    """Quality against time, as wide as this, or as wide as its letters need."""
    figure = viz.quality_time(points, None, "quality: mean of J and F")
    figure.set_size_inches(max(4.2, width / DPI), max(2.4, height / DPI))
    return viz.image(figure)


def _paste(out: np.ndarray, image: np.ndarray, at: tuple[int, int], room: tuple[int, int]) -> None:
    """Put an image at x, y of `out`, made smaller if it does not fit into width, height."""
    scale = min(1.0, room[0] / image.shape[1], room[1] / image.shape[0])
    if scale < 1:
        size = max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    out[at[1] : at[1] + image.shape[0], at[0] : at[0] + image.shape[1]] = image


def _lettering(lines: Sequence[Sequence[str]]) -> np.ndarray:
    """A table as an image: the first two columns to the left, numbers to the right."""
    from PIL import Image, ImageDraw

    font = viz._font(15)
    wide = [max(int(font.getlength(line[i])) for line in lines) + 18 for i in range(len(lines[0]))]
    sheet = Image.new("RGB", (sum(wide) + 18, LINE * (len(lines) + 1)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for n, line in enumerate(lines):
        left = 12
        for i, word in enumerate(line):
            anchor, x = ("lm", left) if i < 2 else ("rm", left + wide[i] - 8)
            pen.text((x, LINE * (n + 1)), word, (58, 63, 68), font, anchor=anchor)
            left += wide[i]
    return np.asarray(sheet)


def _tag(image: np.ndarray, said: str) -> np.ndarray:
    """A picture with its caption above, in letters that fit."""
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (image.shape[1], 20), (28, 31, 34))
    size = next((s for s in range(12, 6, -1) if viz._font(s).getlength(said) <= image.shape[1] - 8), 6)
    ImageDraw.Draw(strip).text((4, 10), said, (240, 240, 240), viz._font(size), anchor="lm")
    return np.concatenate([np.asarray(strip), image])


def _mask(mask: Any, size: tuple[int, int]) -> np.ndarray | None:
    return None if mask is None else resize_mask(np.asarray(plain(mask)).astype(np.uint8), size)


def _sorted(clip: Clip, takes: Sequence[Take]) -> list[Take]:
    """By year; VosError for what cannot be shown."""
    if not takes:
        raise VosError("the film has no takes: give at least one system's masks")
    names = [take.name for take in takes]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise VosError(f"the film has two takes called '{twice}': give each a name of its own")
    for take in takes:
        if len(take.masks) != len(clip):
            raise VosError(f"{take.name}: {len(take.masks)} masks for {len(clip)} frames of clip '{clip.name}'")
        for mask in take.masks:
            if mask is not None and plain(mask).shape != tuple(clip.size):
                raise VosError(f"{take.name}: a mask is {plain(mask).shape}, the clip's frames are {tuple(clip.size)}")
    return sorted(takes, key=lambda take: take.year)


def _number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _text(value: float | None, form: str) -> str:
    return form.format(value) if _number(value) else "-"
