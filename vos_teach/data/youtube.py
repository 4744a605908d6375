"""YouTube-VOS (Xu et al., arXiv:1809.03327) as clips.

    ROOT/JPEGImages/003234408d/00005.jpg   ROOT/Annotations/003234408d/00005.png   ROOT/meta.json

Every 5th frame is annotated; frames are either just those, or all of them (`all_frames`), and then the masks
between are None. Objects may appear late: the first mask of each is where it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from vos_teach.clip import Clip, VosError
from vos_teach.data.sequence import read_meta, read_sequence


def read(root: str | Path, sequences: Sequence[str] | str | None = None) -> list[Clip]:
    """The clips of a folder such as train/ or valid/, by name.

    sequences   names, or None or "present": all that are there
    Starts and categories come from meta.json; without it, all masks of a clip are decoded once to find the
    objects. Raises VosError.
    """
    root = Path(root)
    for folder in ("JPEGImages", "Annotations"):
        if not (root / folder).is_dir():
            raise VosError(f"'{root}' is not a YouTube-VOS folder: there is no {folder}/<video> in it")
    meta, there = read_meta(root), sorted(f.name for f in (root / "JPEGImages").iterdir() if f.is_dir())
    if not there:
        raise VosError(f"'{root / 'JPEGImages'}' is empty: expected a folder of frames for each video")
    if sequences is None or sequences == "present":
        wanted = there
    else:
        wanted = [sequences] if isinstance(sequences, str) else list(sequences)
    clips = []
    for name in wanted:
        if name not in there:
            raise VosError(f"video '{name}' is not in '{root / 'JPEGImages'}': check its name")
        clip = read_sequence(root / "JPEGImages" / name, root / "Annotations" / name, complete=False, scan=True,
                             objects=meta.get(name))
        clips.append(replace(clip, last_counts=True))
    return clips


def train_categories(root: str | Path) -> frozenset[str]:
    """The categories in the meta.json of the training folder: those that are "seen"."""
    meta = read_meta(Path(root))
    if not meta:
        raise VosError(f"'{Path(root) / 'meta.json'}' is missing: it tells which categories are seen in training")
    return frozenset(category for video in meta.values() for category, _ in video.values() if category)


def seen_unseen(
    clips: Iterable[Clip], seen: Iterable[str]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The objects (clip name, id) whose category is among `seen`, and the others. Raises VosError without one."""
    seen, parts = set(seen), ([], [])
    for clip in clips:
        for k in clip.ids:
            if k not in clip.categories:
                raise VosError(f"object {k} of clip '{clip.name}' has no category: its meta.json is needed")
            parts[clip.categories[k] not in seen].append((clip.name, k))
    return parts
