"""Stage 5's claims of the lecture about memory, put to the test. One training of each system: only clips are repeated.

memory    which frames are worth remembering: the first, first and last, these and every fifth; with the predicted masks
          in memory, and with the true ones, which tells what the network's own errors cost there. On toy clips whose
          object leaves and comes back, with three seeds, and on the clips that are given.
affinity  the dot product against the distance, STCN trained with either: J, F, and the share of memory ever read

How it is decided was fixed before anything had been measured. Memory counts, on a set of clips, if the mean over seeds
of J with all three kinds of frames is above that with the first alone, with what was predicted in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from vos_teach import bench, engine, registry, viz
from vos_teach.claims_common import kept, machine_of, working_height, write
from vos_teach.clip import Clip, VosError
from vos_teach.data import toy
from vos_teach.transformers.memory import share_read, true_masks

RULES = ("first", "first+last", "first+last+every")
MASKS = ("predicted", "true")  # in memory, of all frames but those whose mask was given
SEEDS, EACH, SIZE = (0, 1, 2), 4, (192, 320)
TOYS: dict[str, dict[str, Any]] = {  # knobs of toy clips whose object leaves and comes back
    "toy, back as it was": dict(length=40, out_of_view=True),
    "toy, back changed": dict(length=90, out_of_view=True, appearance_change=True),  # not as in frame 0, as mid-clip
}
MEASURES = ("J", "F", "J after", "F after")
AFFINITIES = ("stcn", "stcn-dot")
TOP = (1, 20)  # a cell is read if it is the nearest of any pixel of any frame; if it is among the 20 nearest
Make = Callable[..., Any]


def back_clips(seeds: Sequence[int] = SEEDS, each: int = EACH, size: tuple[int, int] = SIZE,
               toys: Mapping[str, dict] = TOYS) -> dict[str, dict[str, list[Clip]]]:
    """Set -> seed -> validation clips of one object that leaves and comes back."""
    return {name: {str(seed): [toy.clip(40_000 + 1000 * seed + i, split="val", size=size, name=f"{seed}-{i}", **knobs)
                               for i in range(each)] for seed in seeds} for name, knobs in toys.items()}


def last_return(clip: Clip, k: int) -> int | None:
    """The frame in which an object is shown again after it was gone for the last time; None: it never comes back."""
    shown, gone, back = False, False, None
    for t in range(clip.starts[k], len(clip)):
        if (mask := clip.masks[t]) is None:
            continue
        there = bool((mask == k).any())
        gone = gone or (shown and not there)
        if there and gone:
            back, gone = t, False
        shown = shown or there
    return back


def memory(clips: Sequence[Clip], out: str | Path, height: int | None = 240, systems: Sequence[str] = ("stcn",),
           seeds: Sequence[int] = SEEDS, each: int = EACH, size: tuple[int, int] = SIZE,
           toys: Mapping[str, dict] = TOYS, rules: Sequence[str] = RULES, scale: str = "small",
           make: Make = registry.make, version: Callable[..., str] = bench.code_version) -> dict:
    """Every rule with either kind of masks on every clip -> the figures; also memory.json, .md and .png in `out`.

    clips: real ones, besides the toy clips; may be none. A system with a rule on a clip is one run, kept in
    out/memory/. make, version: as registry.make and bench.code_version.
    """
    out = Path(out)
    sets = back_clips(seeds, each, size, toys) | ({"given clips": {"-": list(clips)}} if clips else {})
    prints = {(name, seed, c.name): bench.fingerprint(c) for name, by in sets.items() for seed, cs in by.items()
              for c in cs}
    rows: dict[str, dict] = {}
    todo = [(system, name) for system in systems for name in sets]
    for system, name in tqdm(todo, desc="memory", unit="set", disable=None):
        code = version(system, {})
        for masks, rule, seed in itertools.product(MASKS, rules, sets[name]):
            built, found = None, []
            for clip in sets[name][seed]:
                low = working_height(clip, height)
                if masks == "true" and any(clip.starts.values()):
                    continue  # see true_masks
                key = {"clip": prints[name, seed, clip.name], "height": low, "scale": scale, "rule": rule,
                       "masks": masks, "code": code}
                built = built or make(system, scale=scale, policy=rule)
                where = f"{system}-{name}-{masks}-{rule}-{seed}".replace(", ", "-").replace(" ", "-")
                one = kept(out / "memory" / where / f"{clip.name}.json", key,
                           partial(_objects, built, clip, low, masks == "true"))
                found += one["objects"].values()
            here = rows.setdefault(system, {}).setdefault(name, {}).setdefault(masks, {}).setdefault(rule, {})
            here[seed] = means(found)
        result = {"machine": bench.machine(), "height": height, "scale": scale, "seeds": list(seeds), "each": each,
                  "size": list(size), "clips": [c.name for c in clips], "rows": rows, "verdicts": verdicts(rows)}
        write(out, "memory", result, memory_table, draw_memory)
    return result


def _objects(system: Any, clip: Clip, height: int | None, truth: bool) -> dict:
    return {"objects": scored(system, clip, height, truth)}


def scored(system: Any, clip: Clip, height: int | None, truth: bool) -> dict[str, dict[str, float | None]]:
    """Object -> means of J and F over its frames, and over those after it came back for the last time (None: never)."""
    system.truth = true_masks(clip, height) if truth else None
    try:
        masks = engine.run(system, clip, 0, height).masks
    finally:
        system.truth = None
    pairs = [(k, k) for k in clip.ids]
    found = bench.compare(clip, masks, pairs, range(1, len(clip) - (not clip.last_counts)))
    out: dict[str, dict[str, float | None]] = {}
    for k in clip.ids:
        frames, j, f = (np.array(x) for x in found[k, k])
        back = last_return(clip, k)
        late = frames >= (len(clip) if back is None else back)
        out[str(k)] = {name: float(values[some].mean()) if some.any() else None
                       for name, values, some in zip(MEASURES, (j, f, j, f), (frames > 0, frames > 0, late, late),
                                                     strict=True)}
    return out


def means(objects: Sequence[dict]) -> dict[str, float | None]:
    """The mean of each measure over the objects that have it; None: nobody has."""
    out = {}
    for name in MEASURES:
        some = [o[name] for o in objects if o[name] is not None]
        out[name] = float(np.mean(some)) if some else None
    return out


def over_seeds(seeds: dict[str, dict], measure: str) -> float | None:
    """The mean over seeds; None where no seed has it."""
    some = [m[measure] for m in seeds.values() if m[measure] is not None]
    return float(np.mean(some)) if some else None


def verdicts(rows: dict) -> dict[str, dict[str, dict]]:
    """System -> set -> by how much all three kinds of frames are above the first alone, for each seed and in the mean;
    the same with true masks in memory; and what true masks are worth with all three kinds.
    """
    most, least = RULES[-1], RULES[0]
    said: dict[str, dict[str, dict]] = {}
    for system, sets in rows.items():
        for name, kinds in sets.items():
            lead: dict[str, dict[str, Any]] = {}
            for masks, rules in kinds.items():
                both = [s for s in rules.get(most, {}) if s in rules.get(least, {})]
                each = {s: rules[most][s]["J"] - rules[least][s]["J"] for s in both
                        if rules[most][s]["J"] is not None and rules[least][s]["J"] is not None}
                if each:
                    lead[masks] = {"mean": float(np.mean(list(each.values()))), "each": each}
            if MASKS[0] in lead:
                shared = [s for s in kinds[MASKS[0]][most] if s in kinds.get(MASKS[1], {}).get(most, {})]
                worth = [kinds[MASKS[1]][most][s]["J"] - kinds[MASKS[0]][most][s]["J"] for s in shared
                         if kinds[MASKS[1]][most][s]["J"] is not None]
                said.setdefault(system, {})[name] = {
                    "lead": lead, "holds": lead[MASKS[0]]["mean"] > 0,
                    "true masks are worth": float(np.mean(worth)) if worth else None}
    return said


def memory_table(result: dict) -> str:
    """The figures as Markdown."""
    lines = ["| system | clips | masks in memory | frames in memory | " + " | ".join(MEASURES) + " | J of each seed |",
             "|---|---|---|---|" + "---:|" * len(MEASURES) + "---|"]
    for system, sets in result["rows"].items():
        for name, kinds in sets.items():
            for masks, rules in kinds.items():
                for rule, seeds in rules.items():
                    cells = [_said(over_seeds(seeds, m)) for m in MEASURES]
                    lines.append(f"| {system} | {name} | {masks} | {rule} | " + " | ".join(cells) + " | "
                                 + ", ".join(_said(m["J"]) for m in seeds.values()) + " |")
    lines.append("")
    for system, sets in result["verdicts"].items():
        for name, v in sets.items():
            lead = "; ".join(f"{masks} masks {x['mean']:+.3f} ({', '.join(f'{y:+.3f}' for y in x['each'].values())})"
                             for masks, x in v["lead"].items())
            worth = v["true masks are worth"]
            lines.append(f"- {system}, {name}: J with first, last and every fifth beside the first alone: {lead}. "
                         f"Memory {'counts' if v['holds'] else 'does not count'}"
                         + (f"; true masks in memory are worth {worth:+.3f}." if worth is not None else "."))
    return "\n".join(lines) + (
        f"\n\nToy clips: {result['each']} for each of the seeds {', '.join(map(str, result['seeds']))}, "
        f"{result['size'][0]}x{result['size'][1]}; \"after\": the frames after the object came back for the last time. "
        "Another seed is other clips; the weights are those of one training. Given clips: "
        f"{len(result['clips'])}, height {result['height']}. Frames whose mask was given never leave the memory. "
        f"{machine_of(result)}\n")


def _said(x: float | None) -> str:
    return "-" if x is None else f"{x:.3f}"


def draw_memory(result: dict) -> Figure:
    """J of each seed, a column for each set and rule; full: predicted masks in memory, hollow: true ones."""
    columns = [(system, name, rule) for system, sets in result["rows"].items() for name, kinds in sets.items()
               for rule in kinds[MASKS[0]]]
    figure, axes = viz.axes_of(max(6, 0.95 * len(columns)), 3.8, "", "J")
    for i, (system, name, rule) in enumerate(columns):
        colour = viz.LINES[RULES.index(rule) % len(viz.LINES) if rule in RULES else -1]
        for masks, shift in zip(MASKS, (-0.15, 0.15), strict=True):
            j = [m["J"] for m in result["rows"][system][name].get(masks, {}).get(rule, {}).values()
                 if m["J"] is not None]
            if j:
                full = colour if masks == MASKS[0] else "none"
                axes.plot(np.full(len(j), i + shift), j, "o", markeredgecolor=colour, markerfacecolor=full,
                          markersize=6, label=f"{masks} masks in memory" if i == 0 else None)
                axes.plot([i + shift - 0.12, i + shift + 0.12], [np.mean(j)] * 2, color=colour, linewidth=2)
    several = len(result["rows"]) > 1
    axes.set_xticks(range(len(columns)), ["\n".join([rule, *name.split(", "), *([system] if several else [])])
                                          for system, name, rule in columns], fontsize=8)
    if columns:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def affinity(clips: Sequence[Clip], out: str | Path, height: int | None = 240, systems: Sequence[str] = AFFINITIES,
             rounds: int = 3, scale: str = "small", make: Make = registry.make,
             version: Callable[..., str] = bench.code_version) -> dict:
    """STCN with the distance and STCN with the dot product, each with the weights that were trained with it -> J, F,
    the share of memory that is ever read, seconds a frame; also affinity.json, .md and .png in `out`.

    A system on a clip is one run, kept in out/affinity/; so is a round of times, in which both take turns on the first
    clip. make, version: as registry.make and bench.code_version.
    """
    if not clips:
        raise VosError("there is no clip to compare on: check --data and --sequences")
    out = Path(out)
    rows: dict[str, dict[str, Any]] = {name: {"clips": {}} for name in systems}
    code = {name: version(name, {}) for name in systems}
    built = {name: make(name, scale=scale) for name in systems}
    low = working_height(clips[0], height)
    about = {"scale": scale, "code": code, "machine": bench.machine()}
    key = {**about, "clip": bench.fingerprint(clips[0]), "height": low}
    for clip in tqdm(clips, desc="affinity", unit="clip", disable=None):
        one: dict[str, Any] = {"clip": bench.fingerprint(clip), "height": working_height(clip, height), "scale": scale}
        for name in systems:
            rows[name]["clips"][clip.name] = {k: v for k, v in kept(
                out / "affinity" / name / f"{clip.name}.json", {**one, "code": code[name]},
                partial(_read, built[name], clip, one["height"])).items() if k != "key"}

    def turn() -> dict:
        return {"seconds": {name: engine.run(built[name], clips[0], 0, low).step_seconds for name in systems}}

    times = [kept(out / "affinity" / f"round-{i}.json", key, turn)["seconds"] for i in range(rounds)]
    for name, row in rows.items():
        of = list(row["clips"].values())
        for measure in "JF":
            row[measure] = float(np.mean([o[measure] for c in of for o in c["objects"]]))
        row["share"] = {str(k): float(np.mean([c["share"][str(k)] for c in of])) for k in TOP}
        row["s/frame"] = float(np.median([s for r in times for s in r[name]]))
    result = {"machine": bench.machine(), "height": height, "scale": scale, "rounds": rounds, "top": list(TOP),
              "timed on": clips[0].name, "rows": rows}
    write(out, "affinity", result, affinity_table, draw_affinity)
    return result


def _read(system: Any, clip: Clip, height: int | None) -> dict:
    """J and F of each object, and the share of memory that is ever read."""
    objects = bench.measure(system, clip, 0, height)["objects"].values()
    return {"objects": [{m: o[m] for m in "JF"} for o in objects],
            "share": {str(k): share_read(system, clip, height, k) for k in TOP}}


def affinity_table(result: dict) -> str:
    """The figures as Markdown."""
    lines = ["| system | J | F | " + " | ".join(f"read by a top {k}" for k in result["top"]) + " | s/frame |",
             "|---|---:|---:|" + "---:|" * len(result["top"]) + "---:|"]
    for name, row in result["rows"].items():
        shares = " | ".join(f"{row['share'][str(k)]:.1%}" for k in result["top"])
        lines.append(f"| {name} | {row['J']:.3f} | {row['F']:.3f} | {shares} | {row['s/frame']:.3f} |")
    clips = len(next(iter(result["rows"].values()))["clips"])
    return "\n".join(lines) + (
        f"\n\nEach with the weights trained with its own affinity, one training each. {clips} clips, height "
        f"{result['height']}; the share of the cells in memory that are ever among the nearest of any pixel, mean over "
        f"clips; times in turns on {result['timed on']}, medians of {result['rounds']} rounds. {machine_of(result)}\n")


def draw_affinity(result: dict) -> Figure:
    """The share of memory ever read, a column for each system and top; a point for each clip, a bar: the mean."""
    columns = [(k, name) for k in map(str, result["top"]) for name in result["rows"]]
    figure, axes = viz.axes_of(max(5, 1.5 * len(columns)), 3.4, "", "share of memory ever read")
    names = list(result["rows"])
    for i, (k, name) in enumerate(columns):
        share, colour = [c["share"][k] for c in result["rows"][name]["clips"].values()], viz.LINES[names.index(name)]
        axes.plot(np.full(len(share), i), share, "o", color=colour, markersize=6, alpha=0.6)
        axes.plot([i - 0.25, i + 0.25], [np.mean(share)] * 2, color=colour, linewidth=2)
    axes.set_xticks(range(len(columns)), [f"{name}\ntop {k}" for k, name in columns])
    axes.set_ylim(0, 1.02)
    return figure
