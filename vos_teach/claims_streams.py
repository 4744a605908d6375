"""Stage 3's claims of the lecture, put to the test.

streams: "Which architecture do you think will perform better?" LucidTracker with one stream against two, without
fine-tuning per video (the lecture: 80.3 and 80.9), and which of them takes one more input more easily.
objects: N mask channels for N objects in one pass, against one pass per object.

What is compared, and how the verdict is reached, was fixed before anything had been measured: the constants below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor
from tqdm import tqdm

from vos_teach import bench, engine, registry, train, viz
from vos_teach.claims_common import content, kept, machine_of, working_height, write
from vos_teach.clip import VOID, Clip, Lazy, VosError
from vos_teach.data import davis, moments, toy
from vos_teach.data.choose import davis_root
from vos_teach.data.png import write_bytes
from vos_teach.data.sample import Source, crowded
from vos_teach.flow_propagation import lucidtracker as lucid
from vos_teach.online_learning import osvos
from vos_teach.weights import load_into, path_of

MARGIN = 0.02  # of mean J: a difference that is surely smaller is none
CONFIDENCE = 0.90  # of the interval that must lie within the margin: two one-sided tests at 5 % each
SEEDS, EXTRA_SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)
STEPS, BATCH, CROP, POOL, FRAMES = 300, 4, (160, 288), 800, 40  # a short training; frames of each clip that are scored
WAYS = {  # of several objects -> system, passes, in words
    f"{streams}, {passes}": (name, passes, f"{streams}, {said}")
    for streams, name in (("one stream", "lucidtracker-one-stream"), ("two streams", "lucidtracker"))
    for passes, said in (("one", "N channels, one pass"), ("each", "one pass each"))}
DESIGNS = {  # name -> streams, with the extra map
    "one stream": (1, False), "two streams": (2, False), "one stream + map": (1, True), "two streams + map": (2, True)}


CODE = [Path(__file__).parent / f"{name}.py" for name in (  # what a run's figures depend on most
    "flow_propagation/lucidtracker", "data/moments", "data/lucid", "nn/guided", "nn/head", "nn/backbone",
    "ops/streams")]


def semantics() -> Callable[[Tensor], Tensor]:
    """The extra map: how much a pixel looks like foreground to OSVOS's parent, which knows no mask; 3,H,W -> H,W."""
    net = osvos.parent_network("lite0", source="osvos").eval()

    @torch.no_grad()
    def look(frame: Tensor) -> Tensor:
        return torch.sigmoid(net(frame[None])[0])

    return look


def streams(clips: Sequence[Clip], sources: Sequence[Source], out: str | Path, height: int | None = 240,
            scale: str = "small", steps: int = STEPS, crop: tuple[int, int] = CROP, count: int = POOL,
            frames: int = FRAMES, seeds: Sequence[int] = SEEDS, extra_seeds: Sequence[int] = EXTRA_SEEDS) -> dict:
    """Train each design with each seed on the same examples, score it on the first `frames` of the clips without
    fine-tuning -> the figures; also streams.json, .md and .png in `out`.

    A design's training with one seed and its score are one run, kept in out/streams/; what is finished is not run
    again, and a training that was cut goes on. sources: training clips.
    """
    out, shown = Path(out), semantics()
    start = out / "streams" / "start.safetensors"  # all runs from the same weights, even if others ship meanwhile
    if not start.is_file():
        write_bytes(start, path_of("masktrack").read_bytes())
    pool = moments.Pool(crowded(sources, fours=0.3), count, lambda frame, flow: lucid.maps_of(frame, flow, shown))
    about = {"clips": [bench.fingerprint(c.cut(0, frames)) for c in clips], "height": height, "scale": scale,
             "steps": steps, "crop": list(crop), "pool": count, "frames": frames,
             "training": [[s.name, len(s.clips), s.share] for s in sources],
             "code": content(*CODE, start, path_of("osvos"))}
    # the plain designs of all seeds first: they decide the claim
    todo = [(name, seed) for extra, some in ((False, seeds), (True, extra_seeds)) for seed in some
            for name, design in DESIGNS.items() if design[1] == extra]
    runs: dict[str, dict[str, dict]] = {name: {} for name in DESIGNS}
    for name, seed in tqdm(todo, desc="streams", unit="run", disable=None):
        count_of, extra = DESIGNS[name]
        folder = out / "streams" / f"{name.replace(' + ', '-').replace(' ', '-')}-{seed}"
        key = {**about, "design": name, "seed": seed}

        def trained(name: str = name, seed: int = seed, count_of: int = count_of, extra: bool = extra,
                    folder: Path = folder) -> dict:
            recipe = lucid.recipe(sources, scale, steps, BATCH, crop, streams=count_of, pool=pool, start=start,
                                  extra=shown if extra else None)
            weights = train.fit(recipe, folder, seed, every=100, metadata={"code": about["code"], "design": name})
            load_into(recipe.model, weights)  # half precision, as anyone would use them
            return {"parameters": sum(p.numel() for p in recipe.model.parameters()),
                    **_score(recipe.model, clips, frames, height, scale, shown if extra else None)}

        found = kept(folder / "result.json", key, trained)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        runs[name][str(seed)] = {k: found[k] for k in ("J", "clips", "parameters")}
        result = {"machine": bench.machine(), **about, "margin": MARGIN, "runs": runs, "verdicts": verdicts(runs)}
        write(out, "streams", result, streams_table, draw_streams)
    result["seconds"] = _seconds({name: DESIGNS[name] for name in runs if runs[name]}, clips[0], height, scale, shown)
    write(out, "streams", result, streams_table, draw_streams)
    return result


def _seconds(designs: dict[str, tuple[int, bool]], clip: Clip, height: int | None, scale: str, extra: lucid.Extra
             ) -> dict[str, float]:
    """Seconds a frame of each design, which do not depend on its weights: all in turns, so that a machine that is busy
    with other things is so for all; the median of a round's frames, the fastest of five rounds.
    """
    config, low = lucid.configured(lucid.SCALES, scale, 0, None, {}), working_height(clip, height)
    nets = {name: lucid.new_network(config.backbone, False, n, config.slots, more)
            for name, (n, more) in designs.items()}
    found: dict[str, list[float]] = {name: [] for name in designs}
    for _ in range(5):
        for name, (_, more) in designs.items():
            system = lucid.LucidTracker(nets[name], config, extra=extra if more else None)
            found[name].append(float(np.median(engine.run(system, clip.cut(0, 8), 0, low).step_seconds)))
    return {name: min(rounds) for name, rounds in found.items()}


def training_clips(data: str, year: int | None = None) -> list[Source]:
    """The training split that goes with --data, and toy clips beside real ones. VosError for what has none."""
    if data == "toy":
        return [Source("toy", toy.training(60), 1.0)]
    real = davis.read(davis_root() if data == "davis" else data, year, "train", "present")
    return [Source("davis", real, 0.95), Source("toy", toy.training(200), 0.05)]


def _score(net: lucid.Network, clips: Sequence[Clip], frames: int, height: int | None, scale: str,
           extra: lucid.Extra | None) -> dict:
    """Mean J of the clips' first frames: over a clip's objects, then over clips."""
    config = lucid.configured(lucid.SCALES, scale, 0, None, {})
    system, found = lucid.LucidTracker(net, config, extra=extra), {}
    for clip in clips:
        short = clip.cut(0, frames)
        low = working_height(clip, height)
        result = engine.run(system, short, 0, low)
        pairs = [(k, k) for k in short.ids]
        seen = bench.compare(short, result.masks, pairs, range(1, len(short) - (not short.last_counts)), with_f=False)
        found[clip.name] = float(np.mean([np.mean(seen[p][1]) for p in pairs]))
    return {"J": float(np.mean(list(found.values()))), "clips": found}


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and CONFIDENCE interval of differences, one for each seed (Student's t); infinite for fewer than two."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -np.inf, np.inf
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    return mean, mean - reach, mean + reach


def verdict(low: float, high: float, margin: float = MARGIN) -> str:
    """Two one-sided tests: "equivalent" if the interval lies within the margin, "different" if wholly beyond it."""
    if -margin < low and high < margin:
        return "equivalent"
    return "different" if low >= margin or high <= -margin else "inconclusive"


def verdicts(runs: dict[str, dict[str, dict]]) -> dict[str, dict]:
    """What can be said so far: differences paired by seed, their interval, and the verdict."""
    def j(name: str, seed: str) -> float:
        return runs[name][seed]["J"]

    one, two, more, third = DESIGNS
    asked = {
        "two streams - one stream": ((one, two), lambda s: j(two, s) - j(one, s)),
        "the map's gain in one stream": ((one, more), lambda s: j(more, s) - j(one, s)),
        "the map's gain in two streams": ((two, third), lambda s: j(third, s) - j(two, s)),
        "gain in one - gain in two": ((one, two, more, third),
                                      lambda s: j(more, s) - j(one, s) - j(third, s) + j(two, s)),
    }
    said = {}
    for name, (needed, difference) in asked.items():
        common = sorted(set.intersection(*(set(runs[d]) for d in needed)))
        if common:
            mean, low, high = interval([difference(s) for s in common])
            said[name] = {"mean": mean, "low": None if np.isinf(low) else low, "high": None if np.isinf(high) else high,
                          "seeds": len(common), "verdict": verdict(low, high)}
    return said


def streams_table(result: dict) -> str:
    """The figures as Markdown."""
    lines = ["| design | parameters | s/frame | mean J | of each seed |", "|---|---:|---:|---:|---|"]
    for name, runs in result["runs"].items():
        if runs:
            j, some = [r["J"] for r in runs.values()], next(iter(runs.values()))
            seconds = f"{result['seconds'][name]:.3f}" if "seconds" in result else "-"
            lines.append(f"| {name} | {some['parameters'] / 1e6:.2f} M | "
                         f"{seconds} | {np.mean(j):.3f} | "
                         + ", ".join(f"{x:.3f}" for x in j) + " |")
    lines += ["", f"| difference of mean J | mean | {CONFIDENCE:.0%} interval | seeds | verdict |",
              "|---|---:|---:|---:|---|"]
    for name, v in result["verdicts"].items():
        span = "-" if v["low"] is None else f"{v['low']:+.3f} to {v['high']:+.3f}"
        lines.append(f"| {name} | {v['mean']:+.3f} | {span} | {v['seeds']} | {v['verdict']} |")
    return "\n".join(lines) + (
        f"\n\nEquivalent: the interval lies within {-result['margin']:+} to {result['margin']:+}, fixed beforehand; it "
        f"speaks of other seeds of this training, not of other clips. {result['steps']} steps of {BATCH} crops "
        f"{result['crop'][0]}x{result['crop'][1]} for every design, from MaskTrack's weights, no fine-tuning; "
        f"{len(result['clips'])} clips, the first {result['frames']} frames of each, height {result['height']}. The "
        f"map is OSVOS's parent's foreground probability, whose own parameters are not counted but whose time is. "
        f"{machine_of(result)}\n")


def draw_streams(result: dict) -> Figure:
    """Mean J of each run, a column for each design; a bar is the mean."""
    figure, axes = viz.axes_of(7, 3.4, "", "mean J")
    have = [name for name, runs in result["runs"].items() if runs]
    for i, name in enumerate(have):
        j = [r["J"] for r in result["runs"][name].values()]
        axes.plot(np.full(len(j), i), j, "o", color=viz.LINES[i], markersize=7, alpha=0.7)
        axes.plot([i - 0.25, i + 0.25], [np.mean(j)] * 2, color=viz.LINES[i], linewidth=2)
    axes.set_xticks(range(len(have)), have)
    axes.set_xlim(-0.6, max(len(have) - 0.4, 1))
    return figure


def objects(clip: Clip, out: str | Path, height: int | None = 240, steps: int = 160, repeats: int = 3,
            options: dict | None = None, scale: str = "small") -> dict:
    """One pass for N objects against one pass each, with one stream and with two, on a clip's first 1, 2, ... objects

    -> seconds a frame, and J of each object, with `steps` of fine-tuning; also objects.json, .md and .png. VosError for
    a clip with one object.
    """
    ids = [k for k in clip.ids if clip.starts[k] == 0]
    if len(ids) < 2:
        raise VosError(f"clip '{clip.name}' has fewer than two objects from its first frame on: choose another")
    low = working_height(clip, height)
    rows: dict[str, dict] = {kind: {"seconds": {}} for kind in WAYS}
    times: dict = {(kind, n): [] for kind in WAYS for n in range(1, len(ids) + 1)}

    def run(kind: str, some: Sequence[int], budget: int) -> engine.Result:
        name, passes, _ = WAYS[kind]
        system = registry.make(name, scale=scale, steps=budget, passes=passes, **(options or {}))
        return engine.run(system, some_of(clip, some), 0, low)

    for _ in tqdm(range(repeats), desc="objects", unit="round", disable=None):  # in turns: a busy machine is so for all
        for kind, n in times:
            times[kind, n] += run(kind, ids[:n], 0).step_seconds
    for (kind, n), seconds in times.items():
        rows[kind]["seconds"][str(n)] = float(np.median(seconds))
    for kind in rows:
        for budget in dict.fromkeys((0, steps)):
            scores = bench.score(some_of(clip, ids), run(kind, ids, budget).masks)
            rows[kind][f"J after {budget} steps"] = {k: v["J"] for k, v in scores.items()}
    result = {"machine": bench.machine(), "clip": clip.name, "frames": len(clip), "height": low or clip.size[0],
              "passes": rows}
    write(Path(out), "objects", result, objects_table, draw_objects)
    return result


def some_of(clip: Clip, ids: Sequence[int]) -> Clip:
    """The clip with these objects only; the others become background."""
    def mask(t: int) -> np.ndarray | None:
        m = clip.masks[t]
        return None if m is None else np.where(np.isin(m, [*ids, VOID]), m, 0).astype(np.uint8)

    return replace(clip, ids=tuple(ids), starts={k: clip.starts[k] for k in ids}, masks=Lazy(len(clip), mask))


def objects_table(result: dict) -> str:
    """The figures as Markdown."""
    passes = result["passes"]
    counts = list(next(iter(passes.values()))["seconds"])
    lines = ["| s/frame with objects | " + " | ".join(counts) + " |", "|---|" + "---:|" * len(counts)]
    for kind, row in passes.items():
        lines.append(f"| {WAYS[kind][2]} | " + " | ".join(f"{s:.3f}" for s in row["seconds"].values()) + " |")
    scored = [k for k in next(iter(passes.values())) if k.startswith("J")]
    ids = list(next(iter(passes.values()))[scored[0]])
    lines += ["", "| J of object | " + " | ".join(ids) + " | mean |", "|---|" + "---:|" * (len(ids) + 1)]
    for kind, row in passes.items():
        for name in scored:
            j = list(row[name].values())
            cells = [f"{x:.3f}" for x in [*j, float(np.mean(j))]]
            lines.append(f"| {WAYS[kind][2]}, {name.removeprefix('J ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + (f"\n\nClip {result['clip']}, {result['frames']} frames, height {result['height']}; "
                               f"times are medians without fine-tuning. {machine_of(result)}\n")


def draw_objects(result: dict) -> Figure:
    """Seconds a frame against the number of objects, a line for each way."""
    figure, axes = viz.axes_of(7, 3.4, "objects", "seconds a frame")
    for kind, row in result["passes"].items():
        name, passes, said = WAYS[kind]
        line, two = row["seconds"], name == "lucidtracker"
        axes.plot([int(n) for n in line], list(line.values()), marker="o" if passes == "one" else "s",
                  color=viz.LINES[two], ls=viz.DASHES[passes == "each"], label=said)
    axes.set_xticks([int(n) for n in line])
    axes.set_ylim(0, None)
    axes.legend(frameon=False)
    return figure
