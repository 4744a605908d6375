"""How measured.py says what stage 5's claims have found, and what all stages' tables are written with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def table(head: str, rule: str, rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    return "\n".join([head, rule, *("| " + " | ".join(cells) + " |" for cells in rows)])


def number(x: float | None, digits: int = 3) -> str:
    """A measure, or a dash."""
    return "-" if x is None else f"{x:.{digits}f}"


def say_memory(found: dict) -> str:
    """J of each rule on each set of clips, with predicted and with true masks; the verdicts of all systems."""
    called = {"first": "first", "first+last": "first and last", "first+last+every": "first, last, every 5th"}
    (system, sets), rows = next(iter(found["rows"].items())), []
    for name, kinds in sets.items():
        for rule in kinds["predicted"]:
            cells = []
            for masks in ("predicted", "true"):
                seeds = kinds.get(masks, {}).get(rule, {}).values()
                for measure in ("J", "J after"):
                    some = [m[measure] for m in seeds if m[measure] is not None]
                    cells.append(number(float(np.mean(some)) if some else None))
            rows.append((_set(name), called.get(rule, rule), *cells))
    lines = []
    for who, verdicts in found["verdicts"].items():
        for name, v in verdicts.items():
            lead = v["lead"]["predicted"]
            gains = list(lead["each"].values())
            each = ", ".join(f"{x:+.3f}" for x in gains)
            above = f", above with {sum(x > 0 for x in gains)} of {len(gains)} seeds" if len(gains) > 1 else ""
            lines.append(f"- {NAMES.get(who, who)}, {_set(name)}: all three beside the first alone "
                         f"{lead['mean']:+.3f} ({each}): memory "
                         f"**{'counts' if v['holds'] else 'does not count'}**{above}")
    seeds = ", ".join(str(s) for s in found["seeds"])
    return table("| clips | frames in memory | J | after | true masks: J | after |", "|---|---|---:|---:|---:|---:|",
                 rows) + (
        f"\n\n**Ours**: {NAMES.get(system, system)}; {found['each']} toy clips for each seed, seed {seeds}; after: "
        "frames after the object came back for the last time. At most eight frames in memory. Other seeds are other "
        "clips, the weights are of one training.\n\n### Does memory count?\n\nFixed before anything was measured: it "
        "does if all three kinds of frames beat the first alone in J, in the mean over seeds.\n\n" + "\n".join(lines))


def _set(name: str) -> str:
    """A set of clips as the page calls it."""
    return "DAVIS-2016" if name == "given clips" else name


def say_affinity(found: dict) -> str:
    """J, F, shares and time of either affinity."""
    called = {"stcn": "distance (STCN)", "stcn-dot": "dot product"}
    tops = [str(k) for k in found["top"]]
    rows = [(called.get(k, k), number(r["J"]), number(r["F"]), *(f"{r['share'][t]:.1%}" for t in tops),
             number(r["s/frame"])) for k, r in found["rows"].items()]
    clips = len(next(iter(found["rows"].values()))["clips"])
    return table("| | J | F | " + " | ".join(f"read, top {t}" for t in tops) + " | s/frame |",
                 "|---|---:|---:|" + "---:|" * len(tops) + "---:|", rows) + (
        f"\n\n**Ours**: {clips} sequences of DAVIS-2016, {found['height']}p, seed 0; each trained with its own "
        "affinity, one training each. Read: the share of cells in memory that are ever the nearest, or among the 20 "
        "nearest, of any pixel.")


def say_identities(found: dict) -> str:
    """Seconds a frame against objects, how much they grow, and J&F."""
    counts = list(next(iter(found["rows"].values()))["seconds"])
    rows = [(k, *(number(s) for s in r["seconds"].values()), f"{r['grows']:+.0%}", f"{r['object']:.4f}",
             number(r["J&F"])) for k, r in found["rows"].items()]
    lines = "; ".join(f"{k} {r['explained']:.0%}" for k, r in found["rows"].items())
    return (":::{figure} figures/identities_time.png\n:alt: Seconds a frame against the "
            f"number of objects, {counts[0]} to {counts[-1]}, a line for each of {', '.join(found['rows'])}, with the "
            "mean J&F of all objects beside each name; the table on the next slide has the figures.\n:::\n\n"
            "### The same in figures\n\n" + table(
        "| s/frame with objects | " + " | ".join(counts) + " | grows | s an object | J&F |",
        "|---|" + "---:|" * (len(counts) + 3), rows) + (
        f"\n\n**Ours**: clip {found['clip']}, {found['frames']} frames, {found['height']}p, weights trained on "
        f"DAVIS-2016 and toy clips, seed 0, CPU, in turns, medians. A straight line explains of the variance: "
        f"{lines}."))


def say_sparse(found: dict) -> str:
    """Exponents of time and memory, the factor at the target, and layers until all have heard of all."""
    kinds = list(next(iter(found["exponents"].values())))
    rows = [(axis, *(f"{number(e['seconds'], 2)}, {number(e['MiB'], 2)}" for e in row.values()))
            for axis, row in found["exponents"].items()]
    target, block = ("x".join(map(str, found[k])) for k in ("target", "block"))
    cheaper, fused = found["cheaper"], found["than fused"]
    hops = "; ".join(f"{name} {r['hops'] or 'never'}" for name, r in found["patterns"].items())
    return (":::{figure} figures/sparse_cost.png\n:alt: Six plots on logarithmic scales: "
            "seconds above and memory below, against the number of frames, of rows and of columns, each with a line "
            "for dense, fused, grid, strided and local attention; the table on the next slide has the slopes.\n:::\n\n"
            "### Its exponents\n\n" + table(
        "| time, memory grow with | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds), rows) + (
        f"\n\nAt {target} grid attention takes **1/{cheaper['seconds']:.1f}** of dense attention's time and "
        f"1/{cheaper['MiB']:.1f} of its memory. Layers until every place of a block of {block} has heard of every "
        f"other: {hops}. *Fused* is dense attention as PyTorch computes it, never holding all scores: grid takes "
        f"1/{fused['seconds']:.1f} of its time, and {1 / max(fused['MiB'], 1e-9):.1f} times its memory.\n\n"
        f"**Ours**: random maps, at the target as large as features of DAVIS at 240p and stride 8, {found['channels']} "
        "channels, seed 0, one thread, in turns."))


def say_backbone(found: dict) -> str:
    """Seconds a frame, and the two ratios."""
    rows = [(k, number(s, 4)) for k, s in found["seconds"].items()]
    ratios = "; ".join(f"{k} **{r:.2f}** (at most {found['limits'][k]:g} was asked for)"
                       for k, r in found["ratios"].items())
    return table("| | s/frame |", "|---|---:|", rows) + (
        f"\n\n{ratios}.\n\n**Ours**: clip {found['clip']}, {found['frames']} frames, {found['height']}p, weights "
        "trained on DAVIS-2016 and toy clips, seed 0, CPU, in turns at every frame.")


CLAIMS = ("memory", "affinity", "identities", "sparse", "backbone")
DRAWN = {"identities": "identities_time", "sparse": "sparse_cost"}  # claim -> the figure that its slide shows
SAYS = {
    "affinity": (say_affinity, "vos-teach claim affinity --data davis --year 2016"),
    "memory": (say_memory, "vos-teach claim memory --data davis --year 2016"),
    "backbone": (say_backbone, "vos-teach claim backbone"),
    "sparse": (say_sparse, "vos-teach claim sparse"),
    "identities": (say_identities, "vos-teach claim identities"),
}
NAMES = {"stm": "STM", "stcn": "STCN", "stcn-dot": "STCN with the dot product", "cfbi": "CFBI", "sstvos": "SSTVOS",
         "aot": "AOT", "vistr": "VisTR", "vistr-top": "VisTR, its first query alone"}
