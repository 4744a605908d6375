"""One folder of frames and one of masks -> a lazily decoded Clip. What all readers of data sets share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vos_teach.clip import VOID, Clip, Lazy, VosError
from vos_teach.data.png import read_frame, read_mask, read_size

FRAMES = (".jpg", ".jpeg", ".png")


def read_sequence(
    frames: Path, masks: Path, binary: bool = False, complete: bool = True, scan: bool = False,
    objects: Mapping[int, tuple[str, list[str]]] | None = None, name: str | None = None,
    suffixes: tuple[str, ...] = FRAMES,
) -> Clip:
    """The clip of two folders whose files share their stems. Raises VosError, naming the file.

    binary    anything above 0 is object 1 (DAVIS-2016); else values are ids, and 255 is void
    complete  every frame must have a mask; else those without one are None
    scan      decode all masks to find the objects and where each starts; else the first mask has them all
    objects   id -> (category, stems of its frames), from meta.json: then no mask is decoded beforehand
    suffixes  of the frames' files, where frames and masks share a folder
    """
    name = name or frames.name
    pictures = picture_files(frames, suffixes)
    files = {f.stem: f for f in picture_files(masks, (".png",))}
    stems = [f.stem for f in pictures]
    if len(set(stems)) < len(stems):
        raise VosError(f"folder '{frames}' has two frames of one name: keep either the JPEG or the PNG files")
    if complete and (missing := [s for s in stems if s not in files]):
        raise VosError(f"sequence '{name}' has frame '{missing[0]}' but no mask '{masks / (missing[0] + '.png')}'")
    if extra := sorted(set(files) - set(stems)):
        raise VosError(f"sequence '{name}' has mask '{files[extra[0]]}' but no such frame in '{frames}'")
    size, annotated = read_size(pictures[0]), [t for t, s in enumerate(stems) if s in files]

    def frame(t: int) -> np.ndarray:
        return same_size(read_frame(pictures[t]), size, pictures[t], pictures[0])

    def ids_of(t: int) -> np.ndarray | None:
        if stems[t] not in files:
            return None
        mask = same_size(read_mask(files[stems[t]]), size, files[stems[t]], pictures[0])
        return (mask > 0).astype(np.uint8) if binary else mask

    starts, categories = {}, {}
    if binary:
        starts = {1: annotated[0]}
    elif objects is not None:
        for k, (category, seen) in objects.items():
            when = [stems.index(s) for s in seen if s in stems] if seen else annotated[:1]
            if not when:
                raise VosError(f"sequence '{name}' has none of the frames in which meta.json sees object {k}")
            starts[k] = min(when)
            categories.update({k: category} if category else {})
    else:
        for t in annotated if scan else annotated[:1]:
            for k in np.unique(ids_of(t)):
                if 0 < k < VOID:
                    starts.setdefault(int(k), t)
    known = np.zeros(256, bool)
    known[[0, VOID, *starts]] = True

    def mask(t: int) -> np.ndarray | None:
        ids = ids_of(t)
        if ids is not None and not known[ids].all():
            raise VosError(
                f"mask '{files[stems[t]]}' has object {ids[~known[ids]][0]}, which is not in the first mask: "
                "say where it starts in a meta.json like YouTube-VOS's beside JPEGImages, or correct the mask"
            )
        return ids

    return Clip(
        name, Lazy(len(stems), frame), Lazy(len(stems), mask), tuple(sorted(starts)), size, starts=starts,
        frame_names=tuple(stems), categories=categories,
    )


def picture_files(folder: Path, suffixes: tuple[str, ...] = FRAMES) -> list[Path]:
    """The pictures in a folder, by name. Raises VosError if there is no folder or nothing in it."""
    if not folder.is_dir():
        raise VosError(f"folder '{folder}' is missing")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))
    if not files:
        raise VosError(f"folder '{folder}' is empty: expected {' or '.join(suffixes)} files in it")
    return files


def same_size(picture: np.ndarray, size: tuple[int, int], path: Path, first: Path) -> np.ndarray:
    """The picture, if it is as large as the clip's first frame; else VosError."""
    if picture.shape[:2] != size:
        ours, theirs = (f"{w}x{h}" for h, w in (picture.shape[:2], size))
        raise VosError(f"'{path}' is {ours} but '{first}' is {theirs}: all pictures of a clip must have one size")
    return picture


def read_meta(root: Path) -> dict[str, dict[int, tuple[str, list[str]]]]:
    """meta.json, if there is one: sequence -> object id -> (category, stems of the frames that it is in)."""
    path = root / "meta.json"
    if not path.is_file():
        return {}
    try:
        videos: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["videos"]
        return {
            name: {int(k): (o.get("category", ""), o.get("frames", [])) for k, o in video["objects"].items()}
            for name, video in videos.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise VosError(f"'{path}' is not YouTube-VOS's meta.json (videos, name, objects, id): correct it") from None
