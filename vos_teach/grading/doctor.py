"""`vos-teach doctor`: what grading and the labs need, tried out here."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

Line = tuple[str, str, str]  # what, how it is, what to do about it ("" if nothing)


def look() -> Iterator[Line]:
    """What works here, a line each, as soon as it is known."""
    good = (3, 10) <= sys.version_info[:2] <= (3, 13)
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.release()}", (
        "" if good else "3.10 to 3.13 are tested: make an environment with one of them")
    for name, extra in (("torch", ""), ("nbgrader", "grading"), ("jupyterlab", "lab"), ("distributed", "grading")):
        yield _package(name, extra)
    yield from _sandboxes()
    yield _davis()
    yield _ffmpeg()
    yield from _room()


def _package(name: str, extra: str) -> Line:
    try:
        return name, version(name), ""
    except PackageNotFoundError:
        return name, "missing", f"pip install 'vos_teach[{extra}]'" if extra else f"pip install {name}"


def _sandboxes() -> Iterator[Line]:
    try:
        from vos_teach.grading.sandbox import LEVELS, choose, probe
    except ImportError as error:  # without the extra
        yield "sandbox", f"cannot be tried: {error}", "pip install 'vos_teach[grading]'"
        return
    for level in LEVELS:
        why = probe(level)
        name, shown = f"  {level}", "works"
        if level == "none":
            shown = "works, and keeps nothing from anything: only for notebooks that you would run yourself"
        yield name, shown if why is None else f"no: {why}", ""
    try:
        yield "sandbox", f"'auto' takes {choose('auto')}", ""
    except Exception as error:  # VosError: its sentence says how to go on
        yield "sandbox", "'auto' finds none", str(error)


def _davis() -> Line:
    where = os.environ.get("VOS_TEACH_DAVIS")
    if not where:
        return "DAVIS", "not set: the labs' toy clips need no data", "or set VOS_TEACH_DAVIS=DIR; see vos-teach data"
    years = [year for year in ("2016", "2017") if (Path(where) / "ImageSets" / year).is_dir()]
    if (Path(where) / "JPEGImages").is_dir():
        return "DAVIS", f"{where}, lists of {' and '.join(years) or 'no year'}", ""
    return "DAVIS", f"'{where}' has no JPEGImages/", "let VOS_TEACH_DAVIS name the folder that holds it"


def _ffmpeg() -> Line:
    try:
        import imageio_ffmpeg

        return "ffmpeg", imageio_ffmpeg.get_ffmpeg_exe(), ""
    except Exception as error:
        return "ffmpeg", f"not found ({error})", "pip install imageio-ffmpeg, for videos in and out"


def _room() -> Iterator[Line]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield "disk", f"{free:.1f} GB free here", "" if free > 2 else "a class of 200 needs about 2 GB"
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield "processors", str(cpus), ""
    if (whole := _memory()) is not None:
        fit = max(1, int(whole / 3.5))
        yield "memory", f"{whole:.1f} GB", "" if fit >= cpus else f"use --jobs {fit}: each job may take 3 GB"


def _memory() -> float | None:
    """GB of this machine, or of the container that it is; None where nobody says."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return min(whole, int(limit) / 2**30) if limit.isdigit() else whole
