"""Claims of the lecture, put to the test. Each is one function that measures, writes its figures, and draws them.

finetuning: "Qualitative evolution of the fine tuning: results at 10 seconds and 1 minute per sequence" (OSVOS).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from vos_teach import bench, engine, registry, viz
from vos_teach.claims_common import kept, machine_of, working_height, write
from vos_teach.clip import Clip, VosError
from vos_teach.online_learning import osvos

STEPS = (0, 10, 20, 40, 80, 160, 320, 640)
LEVEL = 0.005  # a change of J smaller than this is called none


def finetuning(clips: Sequence[Clip], out: str | Path, height: int | None = 240, seed: int = 0,
               steps: Sequence[int] = STEPS, seconds: Sequence[float] = (10, 60), weights: str | None = None) -> dict:
    """How OSVOS's quality grows with its fine-tuning, per clip -> the figures; also finetuning.json, .md and .png.

    The curve: ONE fine-tuning of max(steps) steps, whose network is taken out at each of `steps` and applied to the
    whole clip. Beside it, fine-tunings of their own with each budget of `seconds`. J is the mean over objects. What
    an earlier run of the same code has finished is kept. Raises VosError for a clip with several objects.
    """
    out, rows = Path(out), {}
    options = {} if weights is None else {"weights": weights}
    for clip in tqdm(clips, desc="fine-tuning", unit="clip", disable=None):
        if len(clip.ids) != 1 or clip.starts[clip.ids[0]] != 0:
            raise VosError(f"clip '{clip.name}' does not have one object from frame 0 on: choose another")
        low = working_height(clip, height)
        key = {"clip": bench.fingerprint(clip), "height": low, "seed": seed, "steps": list(steps),
               "seconds": list(seconds), "code": bench.code_version("osvos", options)}
        path = out / "finetuning" / f"{clip.name}.json"

        def tuned(clip: Clip = clip, low: int | None = low) -> dict:
            found: dict = {"steps": _snapshots(clip, low, seed, steps, options), "seconds": {}}
            for budget in seconds:
                system = registry.make("osvos", seconds=budget, **options)
                found["seconds"][f"{budget:g}"] = _score(system, clip, low, seed) | {"steps": system.copies[0].steps}
            return found

        rows[clip.name] = kept(path, key, tuned)
    result = {"machine": bench.machine(), "height": height, "seed": seed, "clips": rows}
    write(out, "finetuning", result, table, draw)
    return result


def _snapshots(clip: Clip, height: int | None, seed: int, steps: Sequence[int], options: dict) -> dict[str, dict]:
    """Steps taken -> score of the network that fine-tuning has reached by then."""
    states: dict[int, osvos.Network] = {}

    def keep(step: int, net: osvos.Network) -> None:
        if step in steps and step not in states:
            states[step] = copy.deepcopy(net)

    system = registry.make("osvos", steps=max(steps), on_step=keep, **options)
    engine.run(system, clip.cut(0, 1), seed, height)
    still = osvos.Config(steps=0)
    return {str(step): _score(osvos.OSVOS(states[step], still), clip, height, seed) for step in sorted(states)}


def _score(system: osvos.OSVOS, clip: Clip, height: int | None, seed: int) -> dict[str, float]:
    measured = bench.measure(system, clip, seed, height)
    (one,) = measured["objects"].values()
    return {"J": one["J"], "F": one["F"]}


def table(result: dict) -> str:
    """The figures as Markdown: a row per clip, its best number of steps, and where longer did harm."""
    clips = result["clips"]
    some = next(iter(clips.values()))
    budgets = [*some["steps"], *(f"{s} s" for s in some["seconds"])]
    lines = ["| J after | " + " | ".join(f"{b} steps" if b.isdigit() else b for b in budgets) + " | best |",
             "|---|" + "---:|" * (len(budgets) + 1)]
    columns = []
    for name, row in clips.items():
        j = [v["J"] for v in (*row["steps"].values(), *row["seconds"].values())]
        columns.append(j)
        curve = {int(s): v["J"] for s, v in row["steps"].items()}
        lines.append(f"| {name} | " + " | ".join(f"{v:.3f}" for v in j) + f" | {max(curve, key=curve.__getitem__)} |")
    lines.append("| **mean** | " + " | ".join(f"**{v:.3f}**" for v in np.mean(columns, axis=0)) + " | |")
    falls = harmed(result)
    said = ", ".join(f"{name} ({fall:.3f} below its best, at {best} steps)" for name, (best, fall) in falls.items())
    return ("\n".join(lines) + f"\n\nLonger did harm on {len(falls)} of {len(clips)} clips: {said or 'none'}.\n\n"
            f"Height {result['height']}, seed {result['seed']}. {machine_of(result)}\n")


def harmed(result: dict) -> dict[str, tuple[int, float]]:
    """Clips whose J after the most steps is below the best by more than LEVEL: name -> (best steps, the fall)."""
    falls = {}
    for name, row in result["clips"].items():
        curve = {int(steps): v["J"] for steps, v in row["steps"].items()}
        best = max(curve, key=curve.__getitem__)
        fall = curve[best] - curve[max(curve)]
        if fall > LEVEL:
            falls[name] = (best, fall)
    return falls


def draw(result: dict) -> Figure:
    """J against fine-tuning steps (log scale, 0 apart): a line per clip, a mark where each time budget ended."""
    figure, axes = viz.axes_of(8, 4.6, "fine-tuning steps (log scale)", "mean J")
    ends = {}
    for i, (name, row) in enumerate(result["clips"].items()):
        style = {"color": viz.LINES[i % len(viz.LINES)], "linestyle": viz.DASHES[i % len(viz.DASHES)]}
        steps = [int(s) for s in row["steps"]]
        axes.plot(steps, [v["J"] for v in row["steps"].values()], label=name, linewidth=1.6, **style)
        for mark, (budget, v) in zip("os^D", row["seconds"].items(), strict=False):
            (ends[f"{budget} s"],) = axes.plot(v["steps"], v["J"], mark, color=style["color"], markersize=6)
    axes.set_xscale("symlog", linthresh=10, linscale=0.5)
    axes.set_xticks([int(s) for s in row["steps"]], list(row["steps"]))
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    clips = axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.6))
    axes.add_artist(clips)
    if ends:
        axes.legend(ends.values(), ends.keys(), frameon=False, loc="lower right", title="time budgets")
    return figure
