"""The protocols: DAVIS one-shot and zero-shot, and YouTube-VOS. From folders of PNGs to a dictionary of figures.

One-shot (semi-supervised): an object counts from the frame after the one its mask is given in; DAVIS also leaves
out the last frame; DAVIS-2017's 255 is background. Zero-shot (unsupervised): all frames count, 255 is void, at
most 20 proposals, matched to the objects by the Hungarian algorithm on the mean over time of (J+F)/2; surplus
proposals cost nothing. The global figure is the mean over objects, not over sequences. Objects are the ids that
occur in the ground truth, so a gap in the ids is no object. Zero-shot YouTube-VOS follows DAVIS's rules on the
annotated frames. The official tool counts only the objects of frame 0, ours also those that come later (one-shot:
from the frame after); so where Annotations_unsupervised has late objects, the two may differ.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vos_teach.errors import VosError as bad
from vos_teach.metrics.measures import decay, recall
from vos_teach.metrics.sequence import score_video
from vos_teach.metrics.truth import Truth, Video, categories, choose, find_truth, find_video, seen_categories

TASKS = ("one-shot", "zero-shot")
# forked workers start at once, and run nothing but NumPy and single-threaded OpenCV
START = "fork" if sys.platform == "linux" else "spawn"


def evaluate(
    pred: str | Path, davis: str | Path, task: str, split: str = "val", year: int | None = None,
    sequences: str | Sequence[str] | None = None, temporal: bool = False, processes: int | None = None,
    unseen: Sequence[str] | None = None, progress: bool = False,
) -> dict[str, Any]:
    """Score a folder of predictions, PRED/SEQUENCE/FRAME.png, against DAVIS or YouTube-VOS.

    davis       the data set's root: DAVIS has ImageSets/ there, YouTube-VOS Annotations/ (or SPLIT/Annotations/)
    task        "one-shot" or "zero-shot"
    year        2016 or 2017; found from ImageSets/ where only one of them is there
    sequences   None: the whole split; names; or "present": those of the prediction folder, said on stderr
    temporal    also T (slow)
    processes   default: one per CPU
    unseen      YouTube-VOS: the unseen categories; default: those not in the training set's meta.json, where it
                lies in train/ beside the root. Neither known: no seen/unseen figures.
    Returns {"task", "layout", "year", "split", "objects", "J&F", "J": {"mean", "recall", "decay", "per_object"},
    "F": likewise, "T" if asked for, "sequences": name -> {"frames", "J", "F", "objects": id -> details}}; details
    have per-frame values. YouTube-VOS adds J_seen, J_unseen, F_seen, F_unseen and their mean, overall.
    Raises VosError for any missing, damaged or unfitting input, rather than score what is left.
    """
    pred, davis = Path(pred), Path(davis)
    if task not in TASKS:
        raise bad(f"task '{task}' does not exist; there is {' and '.join(TASKS)}")
    if year not in (None, 2016, 2017):
        raise bad(f"there is no DAVIS-{year}; year is 2016 or 2017")
    if processes is not None and processes < 1:
        raise bad(f"processes must be at least 1, not {processes}")
    truth = find_truth(davis, split, year, task == "one-shot")
    names = choose(truth, pred, sequences)
    if sequences == "present":
        print(
            f"NOTE: scoring only the {len(names)} sequences present in '{pred}', of {len(truth.names)} in "
            f"split '{split}' of {truth.title}: {', '.join(names)}", file=sys.stderr,
        )
    videos = [find_video(truth, name, pred, task == "one-shot", temporal) for name in names]
    scores = _run(videos, processes or _cpus(), progress)
    for name, s in scores.items():
        if s["unscored"]:
            print(f"NOTE: not scored, as no frame follows the one they are given in: objects {s['unscored']} of "
                  f"'{name}'", file=sys.stderr)
    result: dict[str, Any] = {"task": task, "layout": truth.layout, "year": truth.year, "split": split}
    result |= summary(scores)
    if truth.layout == "youtube-vos":
        result |= _by_category(truth, scores, unseen)
    result["sequences"] = {
        name: {"frames": s["frames"]}
        | {m: _mean(o[m]["mean"] for o in s["objects"].values()) for m in _measures(s)}
        | {"objects": s["objects"]}
        for name, s in scores.items()
    }
    return result


def summary(scores: dict[str, dict]) -> dict[str, Any]:
    """The global figures, each the mean over objects; adds statistics to every object's per-frame values."""
    objects = {f"{name}_{k}": o for name, s in scores.items() for k, o in s["objects"].items()}
    if not objects:
        raise bad("the ground truth has no object to score")
    result: dict[str, Any] = {"objects": len(objects)}
    for measure in _measures(next(s for s in scores.values() if s["objects"])):
        for o in objects.values():
            values = np.array(o[measure]["values"], np.float64)
            o[measure]["mean"] = _mean(values)
            if measure != "T":
                o[measure] |= {"recall": recall(values), "decay": decay(values)}
        keys = ("mean",) if measure == "T" else ("mean", "recall", "decay")
        result[measure] = {key: _mean(o[measure][key] for o in objects.values()) for key in keys}
        result[measure]["per_object"] = {name: o[measure]["mean"] for name, o in objects.items()}
    result["J&F"] = (result["J"]["mean"] + result["F"]["mean"]) / 2
    return result


def _by_category(truth: Truth, scores: dict[str, dict], unseen: Sequence[str] | None) -> dict[str, float]:
    """YouTube-VOS: J and F over the objects of seen and of unseen categories, and the mean of the four."""
    seen = seen_categories(truth)
    if unseen is None and seen is None:
        return {}
    meta, groups = categories(truth.root), {"seen": [], "unseen": []}  # type: ignore[var-annotated]
    for name, s in scores.items():
        for k, o in s["objects"].items():
            category = meta.get(name, {}).get(int(k))
            if category is None:
                raise bad(f"'{truth.root / 'meta.json'}' gives no category for object {k} of '{name}', "
                          "so seen and unseen cannot be told apart")
            o["category"] = category
            new = category in unseen if unseen is not None else category not in (seen or ())
            groups["unseen" if new else "seen"].append(o)
    figures = {f"{m}_{g}": _mean(o[m]["mean"] for o in members)
               for m in ("J", "F") for g, members in groups.items() if members}
    return figures | ({"overall": float(np.mean(list(figures.values())))} if len(figures) == 4 else {})


def _run(videos: list[Video], processes: int, progress: bool) -> dict[str, dict]:
    """Score the videos, the longest first, so that no process is left with much to do at the end."""
    from tqdm import tqdm

    done: dict[str, dict] = {}
    order = sorted(videos, key=lambda v: -len(v.truth))
    with tqdm(total=len(order), desc="evaluate", unit="sequence", disable=not progress) as bar:
        if min(processes, len(order)) == 1:
            for video in order:
                done[video.name] = score_video(video)
                bar.update()
            return {v.name: done[v.name] for v in videos}
        # The processes are the parallelism. A forked worker must not inherit OpenCV's threads: it would wait for
        # them for ever; so they are ended here, before the fork.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        pool = ProcessPoolExecutor(min(processes, len(order)), mp_context=get_context(START),
                                   initializer=None if START == "fork" else _one_thread)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
                jobs = {pool.submit(score_video, video): video.name for video in order}
            for job in as_completed(jobs):
                done[jobs[job]] = job.result()
                bar.update()
        except BrokenProcessPool:
            raise bad("a worker process died (out of memory?), so nothing was scored; "
                      "try again with --processes 1") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            cv2.setNumThreads(threads)
    return {v.name: done[v.name] for v in videos}


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _cpus() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _measures(score: dict) -> list[str]:
    return [m for m in ("J", "F", "T") if m in next(iter(score["objects"].values()), {})]


def _mean(values: Any) -> float:
    values = np.array(list(values), np.float64)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
