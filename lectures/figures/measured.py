"""Fills in what pages 3 to 5 say was measured: `python lectures/figures/measured.py [FOLDER ...]`, without any: runs/.

Looks through the folders for what `vos-teach bench` and `vos-teach claim` have written (bench.json, streams.json and so
on), keeps the figures in stage3.json to stage5.json beside this file, and writes them between the marks of the pages.
The newest run of a kind counts; what no run tells stays as it was kept. Says where each figure was found.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from vos_teach import registry
from vos_teach.data import toy
from vos_teach.data.flow import consistent, dis
from vos_teach.data.png import write_bytes
from vos_teach.ops.warp import warp

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import telling  # noqa: E402 (beside this file)
from drawing import kept_of  # noqa: E402
from telling import table  # noqa: E402

STEPS = 160  # of fine-tuning per sequence, as in the tables of stages 1 and 2
NAMES = {  # in the tables' order
    "s2s": "S2S", "rvos": "RVOS", "visual-memory": "Visual memory", "rvos-zero-shot": "RVOS, ten slots",
    "rvos-zero-shot-top": "RVOS, its clearest slot",
    "copy-flow": "copy-flow", "fusionseg-appearance": "FusionSeg, appearance alone",
    "fusionseg-motion": "FusionSeg, motion alone", "fusionseg": "FusionSeg", "maskrnn": "MaskRNN",
    "lucidtracker-one-stream": "LucidTracker, one stream", "lucidtracker": "LucidTracker, two streams",
    **telling.NAMES,
}
STAGE = {**dict.fromkeys(("s2s", "rvos", "visual-memory", "rvos-zero-shot", "rvos-zero-shot-top"), 4),
         **dict.fromkeys(telling.NAMES, 5)}  # the others: 3
ZERO_SHOT = ("fusionseg-appearance", "fusionseg-motion", "fusionseg", "visual-memory", "rvos-zero-shot",
             "rvos-zero-shot-top", "vistr", "vistr-top")
REAL = "12 of the 20 validation sequences of DAVIS-2016, 240p in, scored at 480p, seed 0, one CPU core, one run each"


# ---- finding

def newest(folders: Iterable[Path], name: str) -> list[Path]:
    """All files of that name, the newest last."""
    return sorted((p for folder in folders for p in folder.rglob(name)), key=lambda p: p.stat().st_mtime)


def benches(folders: list[Path], stage: int) -> dict[str, dict]:
    """Rows of benches on all 12 real sequences at 240p with seed 0, of a stage's systems: "systems" and "composites" by
    name and steps."""
    found: dict[str, dict] = {"systems": {}, "composites": {}}
    for path in newest(folders, "bench.json"):
        said = json.loads(path.read_text(encoding="utf-8"))
        for row in said["rows"]:
            name = row["system"]
            keys = [r["key"] for r in said["results"] if r["key"]["system"] == name]
            options = keys[0]["options"]
            if (name not in NAMES or STAGE.get(name, 3) != stage or row["clips"] != 12
                    or "DAVIS" not in said["data"] or said["height"] != 240
                    or said["seed"] != 0 or set(options) - {"steps", "weights"}):
                continue
            tuned = STAGE.get(name, 3) == 3 and name not in (*ZERO_SHOT, "copy-flow")
            steps = options.get("steps") if tuned else 0
            if steps not in (0, STEPS):
                continue
            kind = "composites" if keys[0]["composites"] else "systems"
            wanted = ("asked", "unasked") if kind == "composites" else ("J", "F")  # times: the claims, run in turns
            found[kind][f"{name} {steps}"] = {k: round(row[k], 3) for k in wanted}
            print(f"{kind}: {name}, {steps} steps: {path}")
    return found


CLAIMS = {4: ("borrowed", "recurrence", "growth", "speed", "categories"), 5: telling.CLAIMS}  # of stage 3: below


def claims(folders: list[Path], stage: int) -> dict[str, dict]:
    """A stage's claims as their commands wrote them, without what the page does not show."""
    found = {}
    if stage in CLAIMS:
        for name in CLAIMS[stage]:
            for path in newest(folders, f"{name}.json"):
                found[name] = {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items()
                               if k not in ("machine", "code", "clips")}
                print(f"{name}: {path}")
        return found
    for path in newest(folders, "streams.json"):
        said = json.loads(path.read_text(encoding="utf-8"))
        runs = {name: {"parameters": next(iter(r.values()))["parameters"],
                       "seconds": round(said["seconds"][name], 3),
                       "J": [round(x["J"], 3) for x in r.values()]} for name, r in said["runs"].items() if r}
        if len(said["clips"]) == 12 and runs:
            found["streams"] = {**{k: said[k] for k in ("steps", "frames", "margin", "verdicts")}, "runs": runs}
            print(f"streams: {path}")
    for path in newest(folders, "objects.json"):
        said = json.loads(path.read_text(encoding="utf-8"))
        if len(next(iter(said["passes"].values()))["seconds"]) == 5:
            found["objects"] = {k: said[k] for k in ("clip", "frames", "height", "passes")}
            print(f"objects: {path}")
    return found


def warping() -> dict[str, dict[str, float]]:
    """Grey levels between this frame and the next one fetched: exact flow, DIS's, none; off occlusions, mean of the
    toy clips; without noise and changes of light, and with them. Every third pair of frames."""
    found = {}
    for name, knobs in {"clean": dict(noise=0, light=0), "with noise and light": {}}.items():
        rows = []
        for clip in toy.suite(**knobs):
            for t in range(0, len(clip) - 1, 3):
                now, then, exact = clip.frames[t], clip.frames[t + 1], clip.forward_flow[t]
                seen = consistent(exact, clip.backward_flow[t])
                rows.append([np.abs(fetched(then, f) - now)[seen].mean() for f in
                             (exact, dis(now, then), np.zeros_like(exact))])
        found[name] = dict(zip(("exact", "DIS", "none"), np.mean(np.float64(rows), 0).round(1).tolist(), strict=True))
    return found


def fetched(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """An image H,W,3 warped backwards along flow H,W,2; float."""
    a, b = (torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))).float() for x in (image, flow))
    return warp(a, b).permute(1, 2, 0).numpy()


# ---- writing

def say_warping(found: dict) -> str:
    """Exact, DIS, none."""
    rows = [(name, *(f"{found[name][k]:.1f}" for k in ("exact", "DIS", "none"))) for name in found]
    return table("| toy clips | exact flow | DIS | not moved |", "|---|---:|---:|---:|", rows) + (
        "\n\n**Ours**: mean of 12 toy clips, seed 0, every third pair of frames.")


def say_systems(found: dict) -> str:
    """One row a system and budget; MaskTrack's of stage 2 beside stage 3's."""
    rows = []
    track = kept_of(2)["systems"]["masktrack"]
    for name, said in NAMES.items():
        for steps in (0, STEPS):
            if (row := found.get(f"{name} {steps}")) is not None:
                given = "nothing" if name in ZERO_SHOT else "mask"
                learns = "none" if not steps else f"{steps} steps"
                rows.append((said, given, f"{row['J']:.3f}", f"{row['F']:.3f}", learns))
        if name == "fusionseg" and not any(key.split()[0] in STAGE for key in found):
            j, f = (f"{track[k]:.3f}" for k in "JF")
            rows.append(("MaskTrack (stage 2)", "mask", j, f, f"{STEPS} steps"))
    return table("| system | given | J | F | online learning |", "|---|---|---:|---:|---|", rows) + (
        f"\n\n**Ours**: {REAL}.")


def say_composites(found: dict) -> str:
    """Asked and unasked J."""
    rows = [(NAMES[name], f"{steps} steps" if int(steps) else "none", f"{row['asked']:.3f}", f"{row['unasked']:.3f}")
            for name, steps, row in ((*key.split(" "), row) for key, row in found.items())]
    return table("| system | online learning | J, asked for | J, the other |", "|---|---|---:|---:|", rows) + (
        "\n\n**Ours**: composites of two DAVIS-2016 sequences, two objects, one of them asked for; seed 0.")


def say_streams(found: dict) -> str:
    """Parameters, time and J of each design, and the verdicts."""
    runs = found["runs"]
    rows = [(name, f"{r['parameters'] / 1e6:.2f} M", f"{r['seconds']:.3f}", f"{np.mean(r['J']):.3f}",
             f"{min(r['J']):.3f} to {max(r['J']):.3f}", str(len(r["J"]))) for name, r in runs.items()]
    lines = []
    for name, v in found["verdicts"].items():
        if v["low"] is not None:
            lines.append(f"- {name}: {v['mean']:+.3f}, 90 % interval {v['low']:+.3f} to {v['high']:+.3f}, "
                         f"{v['seeds']} seeds: **{v['verdict']}**")
    return table("| design | parameters | s/frame | mean J | lowest to highest | seeds |",
                 "|---|---:|---:|---:|---|---:|", rows) + (
        f"\n\n**Ours**: 12 sequences of DAVIS-2016 val, their first {found['frames']} frames, {found['steps']} steps "
        f"of training for each design, seed 0 and on, no fine-tuning; equivalent: within ±{found['margin']}, fixed "
        "beforehand.\n\n"
        + "\n".join(lines))


def say_objects(found: dict) -> str:
    """Seconds a frame against objects, and J."""
    kinds = {f"{streams}, {passes}": f"{streams}, {said}" for streams in ("one stream", "two streams")
             for passes, said in (("one", "N channels"), ("each", "N passes"))}
    passes = found["passes"]
    first = next(iter(passes.values()))
    counts, scored = list(first["seconds"]), [k for k in first if k.startswith("J")]
    rows = [(kinds[k], *(f"{s:.3f}" for s in row["seconds"].values()),
             *(f"{np.mean(list(row[name].values())):.3f}" for name in scored)) for k, row in passes.items()]
    return ("### N passes, or N channels: measured\n\n:::{figure} figures/objects_time.png\n:alt: Seconds a frame "
            "against the number of objects, 1 to 5, in four lines: for one and for two streams, N passes with one mask "
            "channel and a single pass with N channels; the table below has the figures.\n:::\n\n" + table(
        "| s/frame with objects | " + " | ".join(counts + scored) + " |",
        "|---|" + "---:|" * (len(counts) + len(scored)), rows) + (
        f"\n\n**Ours**: the clip {found['clip']} of YouTube-VOS, {found['frames']} frames, weights trained on "
        f"DAVIS-2016, seed 0, {found['height']}p, times: medians without fine-tuning; J: mean of all objects."))


def say_borrowed(found: dict) -> str:
    """Visual memory with flow, without it, and what flow costs."""
    rows = [(name, f"{r['J']:.3f}", f"{r['F']:.3f}", f"{r['s/frame']:.3f}", f"{r['s/frame of flow']:.3f}")
            for name, r in found["rows"].items()]
    return table("| visual memory with | J | F | s/frame | of which flow |", "|---|---:|---:|---:|---:|", rows) + (
        f"\n\n**Ours**: {REAL}. Its flow is DIS's, made for something else; *none* says that nothing moves.")


def say_recurrence(found: dict) -> str:
    """Mean and spread of S, T and ST, and the verdict."""
    rows, lines = [], []
    for task, v in found["verdicts"].items():
        for kind, mean in v["mean"].items():
            spread = v["spread"][kind]
            rows.append((task, kind, f"{mean:.3f}", "-" if spread is None else f"{spread:.3f}", str(v["seeds"])))
        lines.append(f"- {task}: ST is {v['lead']['S']:+.3f} beside S and {v['lead']['T']:+.3f} beside T: the claim "
                     f"**{'holds' if v['holds'] else 'does not hold'}**")
    head, rule = "| task | recurrence | J&F | spread | seeds |", "|---|---|---:|---:|---:|"
    return "### S, T, ST: measured\n\n" + table(head, rule, rows) + (
        f"\n\n**Ours**: RVOS at toy scale, {found['steps']} steps each, seed 0 and on, toy clips of two to four "
        "objects; spread: standard deviation over seeds.\n\n" + "\n".join(lines))


def say_growth(found: dict) -> str:
    """Seconds a frame against objects."""
    called = {"rvos": "RVOS", "s2s": "S2S, as published", "s2s:shared": "S2S, frame encoded once"}
    counts = list(next(iter(found["rows"].values()))["seconds"])
    rows = [(called.get(k, k), *(f"{s:.3f}" for s in r["seconds"].values())) for k, r in found["rows"].items()]
    return table("| s/frame with objects | " + " | ".join(counts) + " |", "|---|" + "---:|" * len(counts), rows) + (
        f"\n\n**Ours**: clip {found['clip']} of YouTube-VOS, {found['frames']} frames, {found['height']}p, weights "
        "trained on DAVIS-2016 and toy clips, seed 0, in turns, medians, CPU.")


def say_table(found: dict) -> str:
    """The lecture's table with our figures, those of two claims (`found`: both), and speed's figure."""
    speed, known = found["speed"], found.get("categories", {}).get("rows", {})
    called = {"osvos": "OSVOS", "masktrack": "MaskTrack", "onavos": "OnAVOS", "osmn": "OSMN", **NAMES}
    columns, rows = ("J seen", "J unseen", "F seen", "F unseen"), []
    for name in [*speed["systems"], *(k for k in known if k not in speed["systems"])]:
        timed = speed["systems"].get(name)
        cells = [f"{known[name][c]:.3f}" if name in known else "-" for c in columns]
        learns = "yes" if registry.spec(name).finetunes else "no"
        rows.append((called[name], learns, *cells, f"{timed['s/frame']:.3f}" if timed else "-"))
    head = "| | OL | " + " | ".join(columns) + " | s/frame |"
    return table(head, "|---|---|---:|---:|---:|---:|---:|", rows) + (
        "\n\n**Ours**. J and F: toy clips of categories that training has shown or not, seed 0; RVOS with its weights "
        f"for toy clips, the others with those for DAVIS. Time: {speed['frames']} frames of {speed['clip']}, "
        f"{speed['height']}p, CPU, {speed['seconds']:g} s of fine-tuning counted where there is any.\n\n"
        "### How many times as fast?\n\n:::{figure} figures/speed_ratio.png\n:alt: OSVOS's time a frame over that of "
        "OSMN, S2S and RVOS, against the seconds that OSVOS is fine-tuned for, 10 to 300, on logarithmic scales; a "
        f"grey band shows the published ratios, 70 to 200.\n**Ours**: {speed['clip']} of DAVIS-2016, seed 0, in "
        "turns.\n:::")


Says = dict[str, tuple[Callable[[dict], str], str]]  # mark -> how to say it, and what measures it
PAGES: dict[int, tuple[str, Says]] = {
    3: ("3_flow_propagation.md", {
        "warping": (say_warping, "python lectures/figures/measured.py"),
        "objects": (say_objects, "vos-teach claim objects --data YOUTUBEVOS"),
        "systems": (say_systems, "vos-teach bench fusionseg maskrnn lucidtracker --data davis --year 2016 --steps 160"),
        "composites": (say_composites,
                       "vos-teach bench maskrnn lucidtracker --data composites --year 2016 --steps 160"),
        "streams": (say_streams, "vos-teach claim streams --data davis --year 2016"),
    }),
    4: ("4_rnn.md", {
        "borrowed": (say_borrowed, "vos-teach claim borrowed --data davis --year 2016"),
        "recurrence": (say_recurrence, "vos-teach claim recurrence"),
        "growth": (say_growth, "vos-teach claim growth --data YOUTUBEVOS"),
        "table": (say_table, "vos-teach claim speed --data davis --year 2016"),
        "systems": (say_systems, "vos-teach bench s2s rvos visual-memory rvos-zero-shot-top --data davis --year 2016"),
        "composites": (say_composites, "vos-teach bench s2s rvos --data composites --year 2016"),
    }),
    5: ("5_transformers.md", {
        **telling.SAYS,
        "systems": (say_systems, "vos-teach bench stm stcn cfbi sstvos aot vistr --data davis --year 2016"),
        "composites": (say_composites, "vos-teach bench stm stcn cfbi sstvos aot --data composites --year 2016"),
    }),
}


def fill(text: str, kept: dict, stage: int) -> str:
    """A page's text with every mark's figures, or with the command that measures them."""
    page, says = PAGES[stage]
    known = {**kept, "table": {k: kept[k] for k in ("speed", "categories") if k in kept} if "speed" in kept else None}
    for mark, (say, command) in says.items():
        body = say(known[mark]) if known.get(mark) else f"Not measured yet: `{command}`."
        pattern = rf"(<!-- measured: {mark} -->\n).*?(<!-- /measured: {mark} -->)"
        text, n = re.subn(pattern, lambda m, body=body: f"{m[1]}{body}\n{m[2]}", text, flags=re.S)
        if n != 1:
            raise SystemExit(f"{page} has {n} places for what was measured of '{mark}': there must be one")
    return text


def main(folders: list[str]) -> None:
    """Find, keep, write."""
    where = [Path(f) for f in folders] or [HERE.parents[1] / "runs"]
    for stage, (page, _) in PAGES.items():
        kept = kept_of(stage)
        for kind, rows in benches(where, stage).items():
            together = {**kept.get(kind, {}), **rows}
            order = [f"{name} {steps}" for name in NAMES for steps in (0, STEPS)]
            kept[kind] = {key: together[key] for key in order if key in together}
        kept.update(claims(where, stage))
        if stage == 3:
            kept["warping"] = warping()
        write_bytes(HERE / f"stage{stage}.json", (json.dumps(kept, indent=1) + "\n").encode())
        path = HERE.parent / page
        write_bytes(path, fill(path.read_text(encoding="utf-8"), kept, stage).encode())
        drawn = {3: {"objects": "objects_time"}, 4: {"speed": "speed_ratio"}, 5: telling.DRAWN}.get(stage, {})
        if figures := [drawn[name] for name in kept if name in drawn]:
            import make  # beside this file

            make.main(figures)


if __name__ == "__main__":
    main(sys.argv[1:])
