"""Where submissions are judged: on a few processes of this machine, or on the workers of a dask.distributed cluster.

Both run `work`, and both give each result away as soon as it is there. A job holds all that its record depends on.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from vos_teach.errors import VosError

TRIES = 2  # a submission whose worker dies so often is held for a human
ERROR = "error"  # the key of a result that is no record but the sentence of a VosError
JUDGING = ("collect", "context", "harmless", "judge", "match", "prepare", "reading", "records", "sandbox", "suspicious",
           "travelled")  # of grading/: what marks depend on
_here: dict[str, Any] = {}  # of this process: its sandbox, and what the hidden cases were when they were read


@cache
def package() -> str:
    """A hash of the package's code and data, as far as marks depend on it; taken once in a process."""
    root, known = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in (".pyc", ".part")):
        parts = path.relative_to(root).parts
        if parts[0] in ("cli.py", "demo.py", "claims.py", "bench.py") or (
                parts[0] == "grading" and parts[1].removesuffix(".py") not in JUDGING):
            continue
        known.update("/".join(parts).encode() + b"\0" + path.read_bytes() + b"\0")
    return known.hexdigest()[:16]


def hidden_cases(folder: Path, lab: str) -> str:
    """A hash of the modules of hidden cases of a lab. Raises VosError if there are none."""
    files = sorted(p for p in folder.glob("*.py") if p.stem == lab or not p.stem.startswith("lab")
                   or p.stem.startswith(f"{lab}_"))
    if lab not in [p.stem for p in files]:
        raise VosError(f"'{folder}' has no {lab}.py: without hidden cases nothing can be graded; --course is the "
                       "folder that holds hidden/ and source/")
    return hashlib.sha256(b"\0".join(p.name.encode() + b"\0" + p.read_bytes() for p in files)).hexdigest()[:16]


def work(job: dict[str, Any], elsewhere: bool = False) -> dict[str, Any]:
    """Judge one submission: its record as plain data, or {"error": sentence} if the grader cannot go on.

    elsewhere: on a machine of which it must be seen that it has the same code and hidden cases.
    """
    try:
        if elsewhere and (package() != job["inputs"]["package"]
                          or hidden_cases(Path(job["hidden"]), job["lab"]) != job["inputs"]["hidden cases"]):
            raise VosError(f"the worker on {platform.node()} has another vos_teach or other hidden cases than the "
                           "grader: install the same, and let it see the course's folder under the same path")
        return _work(job)
    except VosError as error:
        return {ERROR: str(error)}


def _work(job: dict[str, Any]) -> dict[str, Any]:
    from vos_teach.grading.judge import Asked, judge
    from vos_teach.grading.records import prepared_from

    hidden = Path(job["hidden"])
    now = hidden_cases(hidden, job["lab"])
    if _here.get("hidden", now) != now:  # corrected while this worker lives on: read them again
        for name in [n for n in sys.modules if n.startswith("_vos_teach_hidden_")]:
            del sys.modules[name]
    _here["hidden"] = now
    record = judge(prepared_from(job["prepared"]), _box(job["level"], job["limits"]), job["seed"], hidden,
                   [Asked(**part) for part in job["parts"]], job["key"])
    record.inputs = job["inputs"]
    return asdict(record)


def _box(level: str, limits: dict[str, Any]) -> Any:
    """This process's sandbox, started once."""
    from vos_teach.grading.sandbox import Box, Limits

    wanted = json.dumps([level, limits], sort_keys=True)
    if _here.get("wanted") != wanted:
        close()
        _here["box"] = Box(level, Limits(**limits)).__enter__()
        _here["wanted"] = wanted
        if "end" not in _here:
            _here["end"] = Finalize(None, close, exitpriority=10)  # also at the end of a cluster's worker
    return _here["box"]


def close() -> None:
    """End this process's sandbox, if it has one."""
    _here.pop("wanted", None)
    if (box := _here.pop("box", None)) is not None:
        with suppress(Exception):
            box.__exit__(None, None, None)


# ---- this machine

class _Worker:
    """A process that judges one submission at a time. Each has a pipe of its own, so that its death harms nobody."""

    def __init__(self, context: Any, scratch: str):
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, scratch), name="vos_teach worker")
        self.process.start()
        theirs.close()
        self.job: int | None = None
        self.ready, self.until = False, time.monotonic() + 300

    def end(self) -> None:
        """Kill it; its sandbox dies with it."""
        self.process.kill()  # what it leaves in its scratch is removed with that
        self.process.join()
        self.pipe.close()


def _serve(pipe: Any, scratch: str) -> None:
    """A worker's life: jobs in, results out, until the grader is gone."""
    tempfile.tempdir = scratch
    with suppress(ValueError):  # a Ctrl-C is for the grader, which then ends us
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_orphan, args=(parent, scratch), daemon=True).start()
    _alone()
    with suppress(EOFError, OSError):
        pipe.send("ready")
        while True:
            pipe.send(work(pipe.recv()))
    close()


def _orphan(parent: Any, scratch: str) -> None:
    """Wait for the grader's end, however it comes, and end as well."""
    wait([parent.sentinel])
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def _alone() -> None:
    """One thread for each worker: there are others beside it, and sums must not depend on how many."""
    import torch

    torch.set_num_threads(1)


def warm() -> Any:
    """The context that workers come from. On Linux a server that has everything imported and forks them: it starts
    here, and is soon ready."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing.forkserver import ensure_running

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vos_teach.grading.preload"])
    ensure_running()
    return context


def local(jobs: Sequence[dict[str, Any]], processes: int, scratch: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Judge on `processes` processes: (number of the job, record), as they come; None: its workers died, TRIES times.

    scratch: a folder for their temporary files, which is theirs alone and goes with them. Raises VosError if workers
    do not even start. Whoever stops listening ends them all.
    """
    context = warm()
    todo, tries = deque(range(len(jobs))), [0] * len(jobs)
    scratch.mkdir(parents=True, exist_ok=True)
    workers = [_Worker(context, str(scratch)) for _ in range(min(processes, len(jobs)))]
    unready = 0
    try:
        while todo or any(w.job is not None for w in workers):
            for w in workers:
                if w.ready and w.job is None and todo:
                    w.job = todo.popleft()
                    w.until = time.monotonic() + jobs[w.job]["seconds"]
                    with suppress(OSError):  # it is dead: seen below
                        w.pipe.send(jobs[w.job])
            heard = wait([w.pipe for w in workers if w.job is not None or not w.ready], timeout=5)
            for i, w in enumerate(workers):
                if w.pipe in heard:
                    try:
                        said = w.pipe.recv()
                    except (EOFError, OSError):
                        pass
                    else:
                        if not w.ready:
                            w.ready = True
                        else:
                            done, w.job = w.job, None
                            yield done, said  # type: ignore[misc]
                        continue
                elif time.monotonic() < w.until or (w.job is None and w.ready):
                    continue
                lost = w.job
                w.end()
                workers[i] = _Worker(context, str(scratch))
                if lost is None:
                    if (unready := unready + 1) > 5:
                        raise VosError("worker processes end before they are ready: run vos-teach doctor")
                    continue
                tries[lost] += 1
                if tries[lost] < TRIES:
                    todo.append(lost)  # type: ignore[arg-type]
                else:
                    yield lost, None  # type: ignore[misc]
    finally:
        for w in workers:
            w.end()
        shutil.rmtree(scratch, ignore_errors=True)


# ---- a cluster

_runner = ThreadPoolExecutor(1, "vos_teach")  # a sandbox lives no longer than the thread that started it


def remote(job: dict[str, Any]) -> dict[str, Any]:
    """`work` in a process of dask's, one at a time however many threads it has."""
    return _runner.submit(lambda: (_alone(), work(job, elsewhere=True))[1]).result()


def cluster(jobs: Sequence[dict[str, Any]], address: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Judge on the workers of the dask scheduler at that address: as `local` does. Raises VosError."""
    try:
        from distributed import Client, as_completed
        from distributed.scheduler import KilledWorker
    except ModuleNotFoundError:
        raise VosError("distributed is missing: pip install 'vos_teach[grading]'") from None
    try:
        client = Client(address, timeout=30, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise VosError(f"no dask scheduler answers at '{address}' ({error or 'no answer in 30 s'})") from None
    with client:
        run = hashlib.sha256(os.urandom(16)).hexdigest()[:8]
        futures = {client.submit(remote, job, key=f"vos_teach-{run}-{i}", pure=False): i for i, job in enumerate(jobs)}
        try:
            for future in as_completed(list(futures), loop=client.loop):
                i = futures[future]
                try:
                    yield i, future.result()
                except KilledWorker:
                    yield i, None
                except (ModuleNotFoundError, AttributeError) as error:
                    raise VosError(f"the workers at '{address}' have no such vos_teach as here: {error}") from None
                future.release()
        finally:
            with suppress(Exception):
                client.cancel(list(futures))
