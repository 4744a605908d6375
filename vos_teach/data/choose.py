"""What the words on the command line mean: --data and --sequences -> clips."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vos_teach.clip import Clip, VosError
from vos_teach.data import composite, davis, folder, toy


def davis_root() -> str:
    """The folder in VOS_TEACH_DAVIS, which 'davis' stands for. Raises VosError where it is not set."""
    root = os.environ.get("VOS_TEACH_DAVIS")
    if not root:
        raise VosError("--data davis needs VOS_TEACH_DAVIS, the folder that holds DAVIS's JPEGImages: set it")
    return root


def named(clips: Sequence[Clip], names: Sequence[str]) -> list[Clip]:
    """The clips of these names, in their order. Raises VosError for a name that no clip has."""
    have = {clip.name: clip for clip in clips}
    if missing := [name for name in names if name not in have]:
        raise VosError(f"there is no clip '{missing[0]}'; choose from: {', '.join(have)}")
    return [have[name] for name in names]


def clips(data: str, sequences: Sequence[str] | None = None, year: int | None = None) -> tuple[list[Clip], str, str]:
    """--data -> clips for testing, what they are in words, and the scale of the systems that fits them.

    data: "toy", "davis", a folder, or "composites" (of DAVIS where VOS_TEACH_DAVIS is set, else of toy clips).
    """
    real = data == "davis" or (data == "composites" and bool(os.environ.get("VOS_TEACH_DAVIS")))
    if real:
        found, what, scale = davis.read(davis_root(), year, "val", sequences or "present"), "DAVIS val", "small"
    elif data in ("toy", "composites"):
        found, what, scale = toy.suite(), "toy clips", "toy"
    else:
        found, what, scale = folder.read_many(data, year), Path(data).name, "small"
    if sequences:
        found = named(found, sequences)
    if data == "composites":
        single = [c for c in found if len(c.ids) == 1 and c.starts[c.ids[0]] == 0]
        found, what = composite.suite(single, len(single)), f"composites of two {what}"
    return found, what, scale
