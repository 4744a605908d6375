"""To look at: `vos-teach demo` (systems on a few clips, a table, a page), `vos-teach segment` (a clip of yours)."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vos_teach import engine, viz
from vos_teach.bench import bench
from vos_teach.clip import Clip, VosError
from vos_teach.data.choose import named
from vos_teach.data.png import write_mask
from vos_teach.data.video import write_mp4
from vos_teach.report import report

SYSTEMS = ("copy-first", "copy-flow", "osvos")
STEPS = 40  # of OSVOS's fine-tuning, for each object
TOY = ("easy", "fast-motion", "re-entry", "look-alike", "two-objects")
REAL = ("blackswan", "dog", "drift-straight")  # of DAVIS's validation split: nearly still, turning, fast and growing


def choose(clips: Sequence[Clip], wanted: Sequence[str], sequences: Sequence[str] | None, n: int = 3) -> list[Clip]:
    """The clips named in `sequences`, else those of `wanted` that are there, else the first n."""
    if sequences:
        return named(clips, sequences)
    return named(clips, [s for s in wanted if s in {clip.name for clip in clips}]) or list(clips)[:n]


def demo(clips: Sequence[Clip], out: str | Path, data: str, systems: Sequence[str] = SYSTEMS, real: bool = False,
         options: dict[str, dict] | None = None, **more: Any) -> tuple[list[dict], Path]:
    """Bench the systems on the clips (kept results are used again) and write OUT/report.html -> (rows, its path).

    real: DAVIS at 240p instead of toy clips. more: as for `bench`.
    """
    out = Path(out)
    options = {"osvos": {"steps": STEPS}} if options is None else options
    rows = bench(systems, clips, out, save_masks=True, data=data, options=options,
                 scale="small" if real else "toy", height=240 if real else None, **more)
    found = json.loads((out / "bench.json").read_text())
    return rows, report(out / "report.html", clips, found, out / "masks", published=real)


def segment(segmenter: Any, clip: Clip, out: str | Path, seed: int = 0, height: int | None = None,
            on_frame: Callable[[int], None] | None = None) -> tuple[Path, Path]:
    """Run a system over a clip: palette PNGs OUT/CLIP/FRAME.png and a film OUT/CLIP.mp4 -> both paths.

    Frames are neither kept nor decoded ahead, so length costs no memory. Both get their names only when they are
    whole. Raises VosError where OUT cannot be written, the disk is full, or OUT/CLIP holds anything but masks.
    """
    out = Path(out)
    masks, film = out / clip.name, out / f"{clip.name}.mp4"
    if masks.exists() and (not masks.is_dir() or any(f.suffix != ".png" for f in masks.iterdir())):
        raise VosError(f"'{masks}' exists and holds more than masks: choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{clip.name}.", dir=out))
    except OSError as error:
        raise VosError(f"'{out}' cannot be written ({error.strerror}): choose another --out") from None

    def pictures() -> Iterator[np.ndarray]:
        for t, mask in enumerate(engine.stream(segmenter, clip, seed, height)):
            write_mask(folder / "masks" / f"{clip.frame_names[t]}.png", mask)
            if on_frame:
                on_frame(t)
            yield viz.overlay(clip.frames[t], mask)

    try:
        write_mp4(folder / film.name, pictures())
        if masks.exists():
            masks.rename(folder / "old")
        (folder / "masks").rename(masks)
        (folder / film.name).replace(film)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return masks, film
