"""What the claims have in common: how their figures are written, and what their records are keyed by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from vos_teach import viz
from vos_teach.clip import Clip
from vos_teach.data.png import write_bytes


def write(out: Path, name: str, result: dict, table: Callable[[dict], str], draw: Callable[[dict], Figure]) -> None:
    """NAME.json, .md and .png, of what has been measured so far."""
    write_bytes(out / f"{name}.json", json.dumps(result, indent=1).encode())
    write_bytes(out / f"{name}.md", table(result).encode())
    viz.save(out / f"{name}.png", draw(result))


def machine_of(result: dict) -> str:
    """The machine of a result, as a sentence."""
    return "Machine: " + ", ".join(f"{k} {v}" for k, v in result["machine"].items()) + "."


def content(*paths: Path) -> str:
    """A hash of files: of the code that a record depends on most."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def working_height(clip: Clip, height: int | None) -> int | None:
    """The height to work at; None, the clip's own, where that is no more than what is asked for."""
    return None if height is None or clip.size[0] <= height else height


def kept(path: Path, key: dict, make: Callable[[], dict]) -> dict:
    """What an earlier run with the very same key has left in `path`; else what make() finds, written down whole."""
    key = json.loads(json.dumps(key))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if found.get("key") != key:
        found = {"key": key, **make()}
        write_bytes(path, json.dumps(found, indent=1).encode())
    return found
