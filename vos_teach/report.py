"""The HTML report: one file with everything inside, to open offline, print, or send to a friend."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from vos_teach import registry, viz
from vos_teach.bench import cells
from vos_teach.clip import Clip, Lazy
from vos_teach.data.png import read_mask, write_bytes
from vos_teach.data.video import write_mp4

ABOUT = {
    "copy-first": "Keeps the given mask where it was, for ever. It is right as long as nothing moves, so it fails "
                  "within a few frames; whoever does not beat it has learned nothing.",
    "copy-flow": "Pushes the mask along with the optical flow, the motion of every pixel from frame to frame. Small "
                 "errors add up, and what was hidden once is lost.",
    "mask-blind": "OSVOS's network before it has seen the given mask: it segments whatever stands out.",
    "osvos": "Learns before it looks: a network that knows objects in general is fine-tuned on the one marked frame "
             "for some steps, then segments each frame on its own. It cannot drift and finds the object again when it "
             "comes back, but has no idea of motion: look-alikes fool it. Most of its time goes into the fine-tuning.",
}
# facts of the paper (Caelles et al., CVPR 2017; DAVIS-2016 validation), shown as published, never as ours
PUBLISHED = {"OSVOS": (9.0, (0.798 + 0.806) / 2)}


def report(path: str | Path, clips: Sequence[Clip], bench: Mapping, masks: str | Path, published: bool = False,
           title: str = "Video object segmentation: a first look") -> Path:
    """Write the report of a bench.

    bench: what bench.json holds; masks: its folder of masks (SYSTEM/CLIP/FRAME.png). published: also draw the
    paper's figures into the plot, labelled as such (makes sense on DAVIS only).
    """
    rows, systems = bench["rows"], [row["system"] for row in bench["rows"]]
    head, body = cells(rows)
    points = {r["system"]: (max(r["seconds"], 1e-4), r["J&F"]) for r in rows if r.get("J&F") is not None}
    plot_alt = "Quality against time: " + "; ".join(f"{n}: J&F {q:.2f} at {s:.2g} s a frame"
                                                    for n, (s, q) in points.items())
    page = Environment(loader=PackageLoader("vos_teach", "assets"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True).get_template("report.html.j2")
    html = page.render(
        title=title, rows=rows, head=head, body=body, best=_best(head, body), data=bench["data"], seed=bench["seed"],
        machine=f"{bench['machine']['cores']} cores, {bench['machine']['threads']} threads, "
                f"torch {bench['machine']['torch']}",
        about=[(s, ABOUT.get(s) or registry.spec(s).what) for s in systems if s in ABOUT or s in registry.names()],
        plot=viz.svg(viz.quality_time(points, PUBLISHED if published else None), "plot"), plot_alt=plot_alt,
        published=published, clips=[_clip(clip, systems, bench, Path(masks)) for clip in clips],
    )
    write_bytes(path, html.encode())
    return Path(path)


def _clip(clip: Clip, systems: Sequence[str], bench: Mapping, masks: Path) -> dict:
    """What the page shows of one clip."""
    def answer(system: str) -> Lazy:
        return Lazy(len(clip), lambda t: read_mask(masks / system / clip.name / f"{clip.frame_names[t]}.png"))

    answers = {s: answer(s) for s in systems}
    scores = {r["key"]["system"]: r["objects"] for r in bench["results"] if r["key"]["clip"] == clip.name}
    lines = {s: _curve(objects, len(clip)) for s, objects in scores.items()}
    means = ", ".join(f"{s} {np.nanmean(line):.2f}" for s, line in lines.items() if not np.isnan(line).all())
    with tempfile.TemporaryDirectory() as folder:
        film = write_mp4(Path(folder) / "film.mp4", viz.panels(clip, answers), fps=12, crf=27).read_bytes()
    poster = next(iter(viz.panels(clip.cut(len(clip) // 2), {s: a[len(clip) // 2 :] for s, a in answers.items()})))
    return {
        "name": clip.name, "attributes": ", ".join(sorted(clip.attributes)), "objects": len(clip.ids),
        "film": _uri(film, "video/mp4"), "poster": _uri(viz.encode(poster, "JPEG"), "image/jpeg"),
        "sheet": _uri(viz.encode(viz.contact_sheet(clip, answers), "JPEG"), "image/jpeg"),
        "sheet_alt": f"Clip {clip.name}: the truth and the answers of {', '.join(systems)} at five moments. "
                     f"Mean J: {means}",
        "curve": viz.svg(viz.curves(lines), f"curve-{clip.name}"), "curve_alt": f"J over time. Mean J: {means}",
    }


def _curve(objects: Mapping[str, Mapping], frames: int) -> np.ndarray:
    """J of every frame, mean over the objects that are scored in it; NaN where none is."""
    table = np.full((len(objects), frames), np.nan)
    for row, o in zip(table, objects.values(), strict=True):
        row[o["frames"]] = o["curve"]
    count = (~np.isnan(table)).sum(0)
    return np.where(count > 0, np.nansum(table, 0) / np.maximum(count, 1), np.nan)


def _best(head: Sequence[str], body: Sequence[Sequence[str]]) -> set[tuple[int, int]]:
    """(row, column) of the best cells of the quality columns."""
    best = set()
    for c, name in enumerate(head):
        if name in ("J", "F", "J&F"):
            column = [float(line[c]) if line[c] != "-" else -1.0 for line in body]
            best |= {(r, c) for r, value in enumerate(column) if value == max(column)}
    return best


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
