"""The submissions in a folder, as nbgrader, Canvas, Moodle or a human left them there. No file is opened."""

from __future__ import annotations

import os
import re
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path

from vos_teach.errors import VosError
from vos_teach.grading.reading import ARCHIVES, NOTEBOOKS, TEXTS

DEPTH = 4  # folders below a student's own
FILES = 200  # of one student: more are not looked at
_CANVAS = re.compile(r"(?P<who>[^_]+)(?P<late>_LATE)?_(?P<user>\d+)_(?P<file>\d+)_(?P<name>.+)")
_MOODLE = re.compile(r"(?P<who>.+)_(?P<user>\d+)_assignsubmission_(?:file|onlinetext)_?")
_LAB = re.compile(r"lab\d+[a-z]?")
_SKIPPED = {".ipynb_checkpoints", "__MACOSX", "__pycache__", "node_modules"}


def find(submissions: Path, lab: str) -> dict[str, list[Path]]:
    """student -> what may be the notebook: STUDENT/..., STUDENT/LAB/..., or files named for the student.

    A student's folder is listed even if it holds nothing. Links are listed but never followed; what they are is said
    where they are refused (`reading.read_bytes`). Raises VosError if there is no submission at all.
    """
    submissions = Path(submissions)
    try:
        entries = sorted(os.scandir(submissions), key=lambda e: e.name)
    except OSError as error:
        raise VosError(f"the submissions '{submissions}' cannot be read ({error.strerror or error}): give the folder "
                       "that holds them") from None
    raw: dict[str, list[Path]] = {}
    archives = []
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        path = submissions / entry.name
        if entry.is_dir(follow_symlinks=False):
            raw.setdefault(_folder(entry.name), []).extend(_inside(path, lab))
        elif entry.is_symlink() and not _wanted(entry.name):
            raw.setdefault(_folder(entry.name), []).append(path)
        elif _wanted(entry.name):
            who = _file(entry.name)
            if path.suffix.lower() in TEXTS and who == path.stem:
                continue  # a README, a script: whose it is cannot be told
            if path.suffix.lower() in ARCHIVES:
                archives.append(entry.name)
            raw.setdefault(who, []).append(path)
    if archives and all(p.suffix.lower() in ARCHIVES for paths in raw.values() for p in paths):
        raise VosError(f"'{submissions}' holds nothing but archives ('{archives[0]}'): unpack them first, and give the "
                       "folder that they make")
    if not raw:
        raise VosError(f"'{submissions}' holds no submission: it should have a folder or a notebook for each student")
    return {name: sorted(raw[who]) for who, name in _names(raw).items()}


def _folder(name: str) -> str:
    """The student of a folder: Moodle's 'First Last_123_assignsubmission_file_', or its name."""
    found = _MOODLE.fullmatch(name)
    return f"{found['who']}_{found['user']}" if found else name


def _file(name: str) -> str:
    """The student of a file: Canvas's 'lastfirst_123_456_name', or its name."""
    found = _CANVAS.fullmatch(name)
    return f"{found['who']}_{found['user']}" if found else Path(name).stem


def _wanted(name: str) -> bool:
    return Path(name).suffix.lower() in NOTEBOOKS + TEXTS + ARCHIVES and not name.startswith(".")


def _inside(folder: Path, lab: str) -> list[Path]:
    """What may be the notebook, under a student's folder; only what is in LAB, if there is such a folder."""
    own = folder / lab
    if os.path.isdir(own) and not os.path.islink(own):
        folder = own
    found = list(_walk(folder, lab, DEPTH))
    notebooks = [p for p in found if p.suffix.lower() in NOTEBOOKS]
    return (notebooks or found)[:FILES]


def _walk(folder: Path, lab: str, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError:
        return
    for entry in entries[: 50 * FILES]:
        if entry.is_dir(follow_symlinks=False):
            another = _LAB.fullmatch(entry.name) and entry.name != lab
            if depth and not another and entry.name not in _SKIPPED and not entry.name.startswith("."):
                yield from _walk(folder / entry.name, lab, depth - 1)
        elif _wanted(entry.name):
            yield folder / entry.name


def _names(raw: dict[str, list[Path]]) -> dict[str, str]:
    """Each student's name as it may stand in a path, in an address, and in a table; no two alike, in any case."""
    out: dict[str, str] = {}
    taken: set[str] = set()
    for who in sorted(raw):
        name = safe(who)
        if name.casefold() in taken:
            name = f"{name[:50]}-{zlib.crc32(who.encode('utf-8', 'surrogatepass')):08x}"
        taken.add(name.casefold())
        out[who] = name
    return out


def safe(who: str) -> str:
    """A name of letters, digits, and - _ . @ only, that no system takes for something else."""
    name = unicodedata.normalize("NFC", who)
    name = re.sub(r"[^\w.@-]+", "_", name).strip("._-")[:60]
    if not name or re.fullmatch(r"(?i)con|prn|aux|nul|com\d|lpt\d", name.partition(".")[0]):
        name = f"student-{name}-{zlib.crc32(who.encode('utf-8', 'surrogatepass')):08x}"
    return name
