"""Stage 4's claims about speed and about categories, and how time grows with the objects.

speed       seconds a frame of systems with and without online learning, fine-tuning counted, all in one run and in
            turns; and how often OSVOS's time holds another system's, against OSVOS's fine-tuning budget
categories  J and F on toy categories that training has shown, and on those that it has not
growth      seconds a frame against 1, 2, ... objects of one clip, and how well all of them are segmented
borrowed    what visual memory owes to flow, which a method made for something else finds: J, F and seconds without it
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from vos_teach import bench, engine, registry, viz
from vos_teach.claims_common import kept, machine_of, working_height, write
from vos_teach.claims_streams import some_of
from vos_teach.clip import Clip, VosError
from vos_teach.data import toy

SYSTEMS = ("osvos", "masktrack", "onavos", "osmn", "s2s", "rvos")  # the lecture's table, its rows in its order
BUDGETS = (10.0, 30.0, 60.0, 120.0, 300.0)  # seconds of OSVOS's fine-tuning
Named = Mapping[str, tuple[str, dict]]  # label -> (system, options of its builder)


def speed(clip: Clip, out: str | Path, height: int | None = 240, systems: Sequence[str] = SYSTEMS,
          seconds: float = 30.0, budgets: Sequence[float] = BUDGETS, rounds: int = 3, scale: str = "small") -> dict:
    """Every system on the whole clip, `rounds` times in turns, those that fine-tune for `seconds`; then OSVOS's
    fine-tuning alone, with each budget -> the figures (medians of the rounds); also speed.json, .md and .png.

    In turns, so that a machine that is busy with other things is so for all. VosError for a system that is not
    one-shot.
    """
    for name in systems:
        if registry.spec(name).task != "one-shot":
            raise VosError(f"'{name}' is not a one-shot system: the lecture's table is of those")
    low = working_height(clip, height)
    learns = {name: {"seconds": seconds} if registry.spec(name).finetunes else {} for name in systems}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    for _ in tqdm(range(rounds), desc="speed", unit="round", disable=None):
        for name in systems:
            found = engine.run(registry.make(name, scale=scale, **learns[name]), clip, 0, low)
            runs[name].append((found.start_seconds + sum(found.step_seconds), found.finetune_seconds))
    rows = {name: {"online": bool(learns[name]), "s/frame": float(np.median([a for a, _ in r])) / len(clip),
                   "s/frame after tuning": float(np.median([a - b for a, b in r])) / len(clip)}
            for name, r in runs.items()}
    tuned = {}
    for budget in budgets if "osvos" in systems else ():
        found = engine.run(registry.make("osvos", scale=scale, seconds=budget), clip.cut(0, 2), 0, low)
        tuned[f"{budget:g}"] = found.finetune_seconds / len(clip) + rows["osvos"]["s/frame after tuning"]
    result = {"machine": bench.machine(), "clip": clip.name, "frames": len(clip), "objects": len(clip.ids),
              "height": low or clip.size[0], "seconds": seconds, "rounds": rounds, "systems": rows,
              "osvos s/frame with a budget of": tuned}
    write(Path(out), "speed", result, speed_table, draw_speed)
    return result


def ratios(result: dict) -> dict[str, dict[str, float]]:
    """System without online learning -> budget of OSVOS in seconds -> OSVOS's time a frame over the system's."""
    rows, tuned = result["systems"], result["osvos s/frame with a budget of"]
    return {name: {budget: s / row["s/frame"] for budget, s in tuned.items()}
            for name, row in rows.items() if not row["online"]}


def speed_table(result: dict) -> str:
    """The figures as Markdown."""
    lines = ["| system | online learning | s/frame | s/frame after tuning |", "|---|---|---:|---:|"]
    lines += [f"| {name} | {'yes' if row['online'] else 'no'} | {row['s/frame']:.3f} | "
              f"{row['s/frame after tuning']:.3f} |" for name, row in result["systems"].items()]
    if found := ratios(result):
        budgets = list(next(iter(found.values())))
        lines += ["", "| OSVOS's time over that of | " + " | ".join(f"{b} s" for b in budgets) + " of fine-tuning |",
                  "|---|" + "---:|" * len(budgets)]
        lines += [f"| {name} | " + " | ".join(f"{x:.1f}" for x in row.values()) + " |" for name, row in found.items()]
    return "\n".join(lines) + (
        f"\n\nClip {result['clip']}, {result['frames']} frames, {result['objects']} object(s), height "
        f"{result['height']}; fine-tuning of {result['seconds']:g} s and the look at frame 0 counted; medians of "
        f"{result['rounds']} rounds. {machine_of(result)}\n")


def draw_speed(result: dict) -> Figure:
    """OSVOS's time over each system's, against OSVOS's budget; the published ratio is 70 to 200."""
    figure, axes = viz.axes_of(6.5, 3.4, "seconds of OSVOS's fine-tuning", "OSVOS's time / the system's")
    for i, (name, row) in enumerate(ratios(result).items()):
        axes.plot([float(b) for b in row], list(row.values()), viz.MARKS[i] + "-", color=viz.LINES[i], label=name)
    axes.axhspan(70, 200, color=viz.INK, alpha=0.12, lw=0, label="published")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def categories(systems: Sequence[str], out: str | Path, each: int = 8, options: dict[str, dict] | None = None,
               scale: str = "toy") -> dict:
    """Toy clips in pairs, of seen and of unseen categories and else of the same knobs -> J and F of either; also
    categories.json, .md and .png. options: as in `bench.bench`, where what is finished is kept.
    """
    hard = ({}, {"camera_motion": True}, {"deformation": True}, {"fast_motion": True})
    clips = [toy.clip(7000 + i, split="val", objects=2, unseen=new, name=f"{'unseen' if new else 'seen'}-{i}",
                      **hard[i % len(hard)]) for new in (False, True) for i in range(each)]
    bench.bench(systems, clips, Path(out) / "categories", scale=scale, options=options, data="toy clips, 2 objects")
    results = json.loads((Path(out) / "categories" / "bench.json").read_text(encoding="utf-8"))["results"]
    rows: dict[str, dict[str, float]] = {}
    for name in systems:
        for kind in ("seen", "unseen"):
            objects = [o for r in results if r["key"]["system"] == name and r["key"]["clip"].startswith(f"{kind}-")
                       for o in r["objects"].values()]
            for measure in "JF":
                values = [o[measure] for o in objects if o[measure] is not None]
                rows.setdefault(name, {})[f"{measure} {kind}"] = float(np.mean(values))
    result = {"machine": bench.machine(), "clips": each, "options": options or {}, "rows": rows}
    write(Path(out), "categories", result, categories_table, draw_categories)
    return result


def categories_table(result: dict) -> str:
    """The figures as Markdown."""
    columns = ("J seen", "J unseen", "F seen", "F unseen")
    lines = ["| system | " + " | ".join(columns) + " | J lost |", "|---|---:|---:|---:|---:|---:|"]
    lines += [f"| {name} | " + " | ".join(f"{row[c]:.3f}" for c in columns)
              + f" | {row['J seen'] - row['J unseen']:+.3f} |" for name, row in result["rows"].items()]
    return "\n".join(lines) + (f"\n\n{result['clips']} toy clips of two objects of seen categories and as many of "
                               f"unseen ones, seed 0. {machine_of(result)}\n")


def draw_categories(result: dict) -> Figure:
    """J on seen and on unseen categories, a column for each system."""
    figure, axes = viz.axes_of(max(5, 1.1 * len(result["rows"])), 3.2, "", "J")
    for i, (kind, mark) in enumerate((("seen", "o"), ("unseen", "s"))):
        axes.plot(range(len(result["rows"])), [row[f"J {kind}"] for row in result["rows"].values()], mark,
                  color=viz.LINES[i], markersize=9, label=f"{kind} categories")
    axes.set_xticks(range(len(result["rows"])), list(result["rows"]))
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    return figure


def growth(clip: Clip, systems: Named, out: str | Path, height: int | None = 240, repeats: int = 3,
           scale: str = "small") -> dict:
    """Each system on the clip's first 1, 2, ... objects -> median seconds a frame, and mean J&F with all of them; also
    growth.json, .md and .png. VosError for a clip with one object.
    """
    low = working_height(clip, height)
    rows = seconds_of_objects(clip, systems, low, repeats, scale)
    result = {"machine": bench.machine(), "clip": clip.name, "frames": len(clip), "height": low or clip.size[0],
              "repeats": repeats, "rows": rows}
    write(Path(out), "growth", result, growth_table, draw_growth)
    return result


def seconds_of_objects(clip: Clip, systems: Named, height: int | None, repeats: int, scale: str, what: str = "growth",
                       make: Callable[..., Any] = registry.make, folder: Path | None = None, key: dict | None = None
                       ) -> dict[str, dict]:
    """Rounds in turns (see `speed`) of each system on the clip's first 1, 2, ... objects -> label -> "seconds": median
    of a frame for each count, and "J&F" of all objects.

    folder: keeps finished rounds, of this key. VosError for a clip with one object from its first frame on.
    """
    ids = [k for k in clip.ids if clip.starts[k] == 0]
    if len(ids) < 2:
        raise VosError(f"clip '{clip.name}' has fewer than two objects from its first frame on: choose another")
    counts = [str(n) for n in range(1, len(ids) + 1)]

    def turn() -> dict:
        found: dict[str, dict] = {}
        for label, (name, options) in systems.items():
            row = found[label] = {"seconds": {}}
            for n in counts:
                run = engine.run(make(name, scale=scale, **options), some_of(clip, ids[: int(n)]), 0, height)
                row["seconds"][n] = run.step_seconds
            objects = bench.score(some_of(clip, ids), run.masks).values()  # at last those of all objects
            row["J&F"] = float(np.mean([[o["J"], o["F"]] for o in objects]))
        return found

    rounds = []
    for i in tqdm(range(repeats), desc=what, unit="round", disable=None):
        rounds.append(turn() if folder is None else kept(folder / f"round-{i}.json", key or {}, turn))
    return {label: {"seconds": {n: float(np.median(np.concatenate([r[label]["seconds"][n] for r in rounds])))
                                for n in counts}, "J&F": rounds[-1][label]["J&F"]} for label in systems}


def growth_table(result: dict) -> str:
    """The figures as Markdown."""
    counts = list(next(iter(result["rows"].values()))["seconds"])
    lines = ["| s/frame with objects | " + " | ".join(counts) + " | last / first | J&F of all |",
             "|---|" + "---:|" * (len(counts) + 2)]
    for label, row in result["rows"].items():
        s = list(row["seconds"].values())
        cells = [*(f"{x:.3f}" for x in s), f"{s[-1] / s[0]:.2f}", f"{row['J&F']:.3f}"]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + (f"\n\nClip {result['clip']}, {result['frames']} frames, height {result['height']}; "
                               f"medians over the frames of {result['repeats']} rounds. {machine_of(result)}\n")


def draw_growth(result: dict) -> Figure:
    """Seconds a frame against objects, a line for each system, its J&F beside its name."""
    figure, axes = viz.axes_of(7, 3.2, "objects", "seconds a frame")
    for i, (label, row) in enumerate(result["rows"].items()):
        axes.plot([int(n) for n in row["seconds"]], list(row["seconds"].values()), viz.MARKS[i % len(viz.MARKS)],
                  linestyle=viz.DASHES[i % len(viz.DASHES)], color=viz.LINES[i % len(viz.LINES)],
                  label=f"{label} (J&F {row['J&F']:.2f})")
    axes.set_xticks([int(n) for n in next(iter(result["rows"].values()))["seconds"]])
    axes.set_ylim(0, None)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def borrowed(clips: Sequence[Clip], out: str | Path, height: int | None = 240, scale: str = "small", seed: int = 0,
             options: dict | None = None) -> dict:
    """Visual memory with DIS's flow, and with flow that says that nothing moves -> means over objects of J and F, and
    seconds a frame; also borrowed.json and .md, and a plot.
    """
    rows: dict[str, dict[str, float]] = {}
    for label, flow in (("DIS", "dis"), ("none", _nothing_moves)):
        system = registry.make("visual-memory", scale=scale, flow=flow, **(options or {}))
        scores, spent, flowing, frames = [], 0.0, 0.0, 0
        for clip in tqdm(clips, desc=f"flow: {label}", unit="clip", disable=None):
            found = engine.run(system, clip, seed, working_height(clip, height))
            scores += [[o["J"], o["F"]] for o in bench.score(clip, found.masks, "zero-shot").values()]
            spent, frames = spent + found.start_seconds, frames + len(clip)
            flowing += system.flow_seconds
        j, f = np.mean(scores, 0)
        rows[label] = {"J": float(j), "F": float(f), "s/frame": spent / frames, "s/frame of flow": flowing / frames}
    result = {"machine": bench.machine(), "clips": len(clips), "seed": seed, "rows": rows}
    write(Path(out), "borrowed", result, borrowed_table, draw_borrowed)
    return result


def _nothing_moves(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A method for flow that sees none."""
    return np.zeros((*first.shape[:2], 2), np.float32)


def borrowed_table(result: dict) -> str:
    """The figures as Markdown."""
    lines = ["| flow | J | F | s/frame | of which flow |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {name} | {r['J']:.3f} | {r['F']:.3f} | {r['s/frame']:.3f} | {r['s/frame of flow']:.3f} |"
              for name, r in result["rows"].items()]
    return "\n".join(lines) + f"\n\n{result['clips']} clips, seed {result['seed']}. {machine_of(result)}\n"


def draw_borrowed(result: dict) -> Figure:
    """J against seconds a frame, with flow and without."""
    return viz.quality_time({f"flow: {name}": (r["s/frame"], r["J"]) for name, r in result["rows"].items()}, ylabel="J")
