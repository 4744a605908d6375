"""Systems on clips: quality, time, memory. Every finished (system, clip) is kept, so a bench that was cut goes on.

Quality is DAVIS's: J and F per frame -> mean per object -> mean over OBJECTS. One-shot: an object counts from the
frame after the one it is given in, and the last frame is left out (not so in YouTube-VOS: `Clip.last_counts`);
zero-shot: all frames, proposals matched to the truth once a clip. "Asked minus unasked" is ours: see `measure_asked`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from vos_teach import engine, registry
from vos_teach.clip import VOID, Clip, Lazy, VosError
from vos_teach.data.png import write_bytes, write_mask
from vos_teach.metrics import boundary_f, jaccard, match_proposals, temporal_stability
from vos_teach.metrics.sequence import MAX_PROPOSALS
from vos_teach.weights import SHIPPED, path_of

PACKAGE = Path(__file__).parent


def bench(systems: Sequence[str], clips: Sequence[Clip], out: str | Path, seed: int = 0, height: int | None = None,
          temporal: bool = False, composites: bool = False, save_masks: bool = False, device: str = "cpu",
          scale: str = "small", options: dict[str, dict] | None = None, data: str = "", progress: bool = True,
          make: Callable[..., Any] = registry.make, version: Callable[..., str] | None = None) -> list[dict]:
    """Run every system on every clip -> one row per system; writes bench.json and bench.md into `out`.

    options: system -> keyword arguments of its builder. Results lie in out/results/SYSTEM/CLIP-KEY.json; KEY stands
    for the system, its options, the clip's content, seed, height, machine, weights and code, so one that any change
    made stale is never reused. save_masks: also out/masks/SYSTEM/CLIP/FRAME.png. make, version: as registry.make
    and code_version.
    """
    out, options, version = Path(out), options or {}, version or code_version
    names = [clip.name for clip in clips]
    if not names:
        raise VosError("there is no clip to run: check --data and --sequences")
    if twice := {n for n in names if names.count(n) > 1}:
        raise VosError(f"two clips are called '{min(twice)}': give them different names")
    if bare := [clip.name for clip in clips if not clip.ids]:
        raise VosError(f"clip '{bare[0]}' has no object to score: leave it out, with --sequences")
    registry.check_scale(scale)
    write_bytes(out / ".gitignore", b"*\n")  # results are not source; and: is the folder writable, before hours of work
    results: list[dict] = []
    about = machine(device)
    prints = [fingerprint(clip) for clip in clips]
    bar = tqdm(total=len(systems) * len(clips), disable=None if progress else True, unit="clip", leave=False)
    for system in systems:
        chosen = options.get(system, {})
        code, built = version(system, chosen), None
        for clip, print_ in zip(clips, prints, strict=True):
            key = {"system": system, "options": chosen, "scale": scale, "device": device, "clip": clip.name,
                   "clip_content": print_, "seed": seed, "height": height, "temporal": temporal,
                   "composites": composites, "code": code, "machine": about}
            path = out / "results" / system / f"{clip.name}-{_hash(json.dumps(key, sort_keys=True))}.json"
            masks = out / "masks" / system / clip.name if save_masks and not composites else None
            bar.set_description(f"{system} on {clip.name}")
            result = _kept(path, key, masks, len(clip))
            if result is None:
                built = built or make(system, device=device, scale=scale, **chosen)
                run = measure_asked if composites else measure
                result = {"key": key, **run(built, clip, seed, height, temporal, masks, _teller(bar, len(clip)))}
                write_bytes(path, json.dumps(result, indent=1).encode())
                for old in path.parent.glob(f"{clip.name}-" + "[0-9a-f]" * 16 + ".json"):
                    if masks and old != path:  # its masks have just been overwritten
                        old.unlink()
            else:
                result["reused"] = True
            results.append(result)
            bar.update()
    bar.close()
    rows = [summary(system, [r for r in results if r["key"]["system"] == system]) for system in systems]
    report = {"data": data, "machine": about, "seed": seed, "height": height, "rows": rows, "results": results}
    write_bytes(out / "bench.json", json.dumps(report, indent=1).encode())
    write_bytes(out / "bench.md", markdown(rows, about, data, height, seed).encode())
    return rows


def measure(segmenter: Any, clip: Clip, seed: int = 0, height: int | None = None, temporal: bool = False,
            masks: Path | None = None, on_frame: Callable | None = None) -> dict:
    """One system on one clip: scores of every object, and what the run cost (seconds, MiB)."""
    result = engine.run(segmenter, clip, seed, height, on_frame)
    if masks is not None:
        for name, mask in zip(clip.frame_names, result.masks, strict=True):
            write_mask(masks / f"{name}.png", mask)
    return {"objects": score(clip, result.masks, segmenter.task, temporal), **_costs(result)}


def measure_asked(segmenter: Any, clip: Clip, seed: int = 0, height: int | None = None, temporal: bool = False,
                  masks: Path | None = None, on_frame: Callable | None = None) -> dict:
    """Does the system follow the mask it is given? Each object is asked for alone, in a run of its own.

    Per object: `asked`, J of the answer with that object, and `unasked`, the mean J of the same answer with each
    of the other objects. A system that segments whatever stands out has both alike.
    """
    objects, costs = {}, []
    for k in clip.ids:
        only = replace(clip, ids=(k,), starts={k: clip.starts[k]}, masks=_only(clip, k))
        result = engine.run(segmenter, only, seed, height, on_frame)
        pairs = [(i, k) for i in clip.ids]
        found = compare(clip, result.masks, pairs, _span(clip)[clip.starts[k] :], with_f=False)
        j = {i: _number(found[i, k][1]) for i in clip.ids}
        others = [j[i] for i in clip.ids if i != k]
        objects[str(k)] = {"asked": j[k], "unasked": _number(others)}
        costs.append(_costs(result))
    both = {name: sum(c[name] for c in costs) for name in costs[0]}
    return {"objects": objects, **both, "peak_memory": max(c["peak_memory"] for c in costs)}


def score(clip: Clip, masks: Sequence[np.ndarray], task: str = "one-shot", temporal: bool = False) -> dict[str, dict]:
    """T label maps against the clip's truth -> id -> {"J", "F", ("T",) "frames", "curve": J of each frame}."""
    void = None
    if task == "zero-shot":
        shown = sorted(set().union(*(np.unique(m).tolist() for m in masks)) - {0, VOID})
        if len(shown) > MAX_PROPOSALS:
            raise VosError(f"the answer to '{clip.name}' has {len(shown)} proposals; at most {MAX_PROPOSALS} count")
        shown += [i for i in range(1, 255) if i not in shown][: max(0, len(clip.ids) - len(shown))]  # empty ones
        pairs, span, void = [(k, p) for k in clip.ids for p in shown], range(len(clip)), VOID
    else:
        pairs, span = [(k, k) for k in clip.ids], _span(clip)
    found = compare(clip, masks, pairs, span, void)
    if task == "zero-shot":
        fit = [[np.mean(found[k, p][1:]) for p in shown] for k in clip.ids]
        pairs = [(clip.ids[g], shown[p]) for g, p in match_proposals(fit)]
    out = {}
    for k, p in pairs:
        first, (frames, j, f) = clip.starts[k], found[k, p]
        out[str(k)] = {"J": _number(j), "F": _number(f), "frames": frames, "curve": j}
        if temporal:  # frames 0 ... n-3 are paired with the next
            span = [masks[t] == p for t in range(first, len(clip) - 1)]
            out[str(k)]["T"] = _number(temporal_stability(np.stack(span))) if len(span) > 1 else None
    return out


def compare(clip: Clip, masks: Sequence, pairs: Sequence[tuple[int, int]], span: range, void: int | None = None,
            with_f: bool = True) -> dict[tuple[int, int], tuple[list, list, list]]:
    """(k, p) -> (frames, J of each, F of each) of the answer's object p against the truth's object k.

    Frames are those of `span` that are annotated and, unless void is given (zero-shot), later than k's start.
    """
    found: dict = {pair: ([], [], []) for pair in pairs}
    for t in span:
        pred, truth = masks[t], clip.masks[t]
        if truth is None:
            continue
        hole = None if void is None else truth == void
        for (k, p), (frames, j, f) in found.items():
            if void is None and t <= clip.starts[k]:
                continue
            frames.append(t)
            j.append(float(jaccard(pred == p, truth == k, hole)[0]))
            if with_f:
                f.append(float(boundary_f(pred == p, truth == k, hole)[0]))
    return found


def _span(clip: Clip) -> range:
    """The frames that count, one-shot: not the first, and the last where the clip's data set says so."""
    return range(1, len(clip) - (not clip.last_counts))


def _only(clip: Clip, k: int) -> Lazy:
    """The clip's masks with every object but k turned into background."""
    def make(t: int) -> np.ndarray | None:
        mask = clip.masks[t]
        return None if mask is None else np.where((mask == k) | (mask == VOID), mask, 0).astype(np.uint8)

    return Lazy(len(clip), make)


def _costs(result: engine.Result) -> dict[str, float]:
    seconds = result.start_seconds + sum(result.step_seconds)
    return {"frames": len(result.masks), "seconds": seconds, "finetune_seconds": result.finetune_seconds,
            "peak_memory": result.peak_memory}


def summary(system: str, results: Sequence[dict]) -> dict:
    """The row of one system: measures as means over all OBJECTS of all clips; times over all frames."""
    objects = [o for r in results for o in r["objects"].values()]
    frames, seconds, tuned = (sum(r[n] for r in results) for n in ("frames", "seconds", "finetune_seconds"))
    row = {"system": system, "clips": len(results), "objects": len(objects)}
    row |= {m: _number([o[m] for o in objects]) for m in ("J", "F", "T", "asked", "unasked") if m in objects[0]}
    if "J" in row:
        row["J&F"] = None if row["J"] is None or row["F"] is None else (row["J"] + row["F"]) / 2
    if "asked" in row and row["asked"] is not None and row["unasked"] is not None:
        row["asked-unasked"] = row["asked"] - row["unasked"]
    row |= {"seconds": seconds / frames, "seconds_without_finetuning": max(0.0, seconds - tuned) / frames}
    return row | {"peak_memory": max(r["peak_memory"] for r in results),
                  "reused": sum("reused" in r for r in results)}


COLUMNS = {  # row's name -> (heading, digits)
    "system": ("system", None), "J&F": ("J&F", 3), "J": ("J", 3), "F": ("F", 3), "T": ("T", 3),
    "asked": ("asked J", 3), "unasked": ("unasked J", 3), "asked-unasked": ("asked - unasked", 3),
    "seconds": ("s/frame", 3), "seconds_without_finetuning": ("s/frame after tuning", 3),
    "peak_memory": ("peak MiB", 0), "objects": ("objects", 0), "clips": ("clips", 0),
}


def cells(rows: Sequence[dict]) -> tuple[list[str], list[list[str]]]:
    """Rows as text: headings, and a list of cells per row; columns that no row has are left out."""
    used = [c for c in COLUMNS if any(c in row for row in rows)]

    def text(value: Any, digits: int | None) -> str:
        if value is None or digits is None:
            return value or "-"
        return f"<{10**-digits}" if 0 < value < 10**-digits / 2 else f"{round(value, digits) + 0.0:.{digits}f}"

    return [COLUMNS[c][0] for c in used], [[text(row.get(c), COLUMNS[c][1]) for c in used] for row in rows]


def markdown(rows: Sequence[dict], about: dict, data: str, height: int | None, seed: int) -> str:
    """The table as Markdown, with what must be known to read it."""
    head, body = cells(rows)
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    where = ", ".join(f"{k} {v}" for k, v in about.items())
    return f"{table}\n\nData: {data or 'as given'}; height {height or 'of the clips'}; seed {seed}. Machine: {where}.\n"


def machine(device: str = "cpu") -> dict[str, Any]:
    """What of the machine matters to the times; neither its name nor its paths."""
    about = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "processor": platform.machine(),
             "python": platform.python_version(), "torch": torch.__version__,
             **{name: metadata.version(name) for name in ("opencv-python-headless", "timm")}}
    return about | ({"gpu": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {})


def fingerprint(clip: Clip) -> str:
    """A clip's content in 16 hex digits: its shape, its objects, and every frame and mask."""
    head = repr((len(clip), clip.size, clip.ids, sorted(clip.starts.items()), clip.frame_names, clip.last_counts))
    parts = (x[t] for t in range(len(clip)) for x in (clip.frames, clip.masks))
    return _hash(head, *(b"" if p is None else hashlib.sha256(np.ascontiguousarray(p)).digest() for p in parts))


def code_version(system: str, options: dict | None = None) -> str:
    """A hash of all the code and weights that a system's figures depend on: what its module, the engine and this one
    import of this package, the shipped weights that this code names, and a weights file given as an option.
    """
    todo = [registry.spec(system).build.split(":")[0], "vos_teach.bench"]
    sources: dict[str, bytes] = {"vos_teach.registry": repr(registry.spec(system).build).encode()}  # its line only
    while todo:
        name = todo.pop()
        path = PACKAGE.parent.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in sources or not path.is_file():
            continue
        sources[name] = path.read_bytes()
        for node in ast.walk(ast.parse(sources[name])):
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                found = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            todo += [n for n in found if n.startswith("vos_teach.")]
    code = b"".join(sources[name] for name in sorted(sources))
    weights = [p for p in sorted(SHIPPED.glob("*.safetensors")) if f'"{p.stem}"'.encode() in code]
    if given := (options or {}).get("weights"):
        weights.append(path_of(given))
    return _hash(code, *(p.read_bytes() for p in weights))


def _hash(*parts: bytes | str) -> str:
    h = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        h.update(len(part).to_bytes(8, "little") + part)
    return h.hexdigest()[:16]


def _kept(path: Path, key: dict, masks: Path | None, frames: int) -> dict | None:
    """The result of an earlier run with the very same key, whole and with its masks; else None."""
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if result.get("key") != json.loads(json.dumps(key)):
        return None
    return None if masks is not None and len(list(masks.glob("*.png"))) != frames else result


def _teller(bar: tqdm, frames: int) -> Callable[[int, np.ndarray], None]:
    return lambda t, _: bar.set_postfix_str(f"frame {t + 1}/{frames}", refresh=False)


def _number(values: Sequence[float | None] | np.ndarray) -> float | None:
    """The mean of what is a number; None (JSON knows no NaN) if nothing is."""
    array = np.array([np.nan if v is None else v for v in values], np.float64)
    return None if np.isnan(array).all() else float(np.nanmean(array))
