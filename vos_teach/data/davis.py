"""DAVIS-2016 and DAVIS-2017 (Perazzi et al., CVPR 2016; Pont-Tuset et al., arXiv:1704.00675) as clips.

    ROOT/JPEGImages/480p/bear/00000.jpg    ROOT/Annotations/480p/bear/00000.png    ROOT/ImageSets/2017/val.txt

The year decides what a mask says, never its values: in 2016 anything above 0 is object 1, in 2017 values are ids and
255 is void. Frames and masks are decoded only when asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vos_teach.clip import VOID, Clip, Lazy, VosError
from vos_teach.data.png import read_frame, read_mask, read_size

FRAMES = (".jpg", ".jpeg", ".png")


def read(
    root: str | Path, year: int | str | None = None, split: str = "val", sequences: Sequence[str] | str | None = None,
    resolution: str | None = None, unsupervised: bool = False,
) -> list[Clip]:
    """The clips of a split, in the order of its list.

    year          2016 or 2017; found by itself where ImageSets knows only one
    sequences     names, "present" for those of the split that are there, or None: all, and a missing one is an error
    resolution    a folder's name ("480p", "1080p", "Full-Resolution"); None: 480p, else the one there is, per sequence
    unsupervised  take Annotations_unsupervised (DAVIS-2019, zero-shot) instead of Annotations

    In the test splits masks that are not there are None; elsewhere every frame must have one. Raises VosError.
    """
    root = Path(root)
    annotations = "Annotations_unsupervised" if unsupervised else "Annotations"
    for folder in ("JPEGImages", annotations):
        if not (root / folder).is_dir():
            raise VosError(f"'{root}' is not a DAVIS folder: it has no folder {folder} (expected {folder}/480p/<sequence>)")
    year = find_year(root) if year is None else str(year)
    clips = []
    for name in sequence_names(root, year, split, sequences):
        size = resolution or find_resolution(root, name)
        if sequences == "present" and not (
            size and (root / "JPEGImages" / size / name).is_dir() and (root / annotations / size / name).is_dir()
        ):
            continue
        if size is None:
            raise VosError(
                f"sequence '{name}' of the {split} split is not in '{root / 'JPEGImages'}': "
                "fetch it (vos-teach data davis) or ask for the sequences that are present"
            )
        frames, masks = root / "JPEGImages" / size / name, root / annotations / size / name
        clips.append(read_sequence(frames, masks, year == "2016", partial=split.startswith("test")))
    if not clips:
        raise VosError(f"'{root}' holds no sequence of the {split} split of DAVIS-{year}: fetch some (vos-teach data davis)")
    return clips


def find_year(root: Path) -> str:
    """The only year ImageSets knows. The original DAVIS-2016 files its lists by resolution: ImageSets/480p/val.txt."""
    folders = [f.name for f in (root / "ImageSets").glob("*") if f.is_dir()]
    years = {f for f in folders if re.fullmatch(r"20\d\d", f)} | {"2016" for f in folders if re.fullmatch(r"\d+p", f)}
    if len(years) == 1:
        return years.pop()
    if not years:
        raise VosError(f"'{root}' has no ImageSets/<year>/<split>.txt, so the year is unknown: put the official lists there")
    raise VosError(f"'{root}' has lists for {' and '.join(sorted(years))}: say which year is meant (--year)")


def sequence_names(root: Path, year: str, split: str, sequences: Sequence[str] | str | None) -> list[str]:
    """The names in the split's list, or those asked for, which must be in it."""
    lists = [root / "ImageSets" / year / f"{split}.txt"]
    if year == "2016":
        lists += [root / "ImageSets" / r / f"{split}.txt" for r in ("480p", "1080p")]
    path = next((p for p in lists if p.is_file()), None)
    if path is None:
        raise VosError(f"the list '{lists[0]}' is missing: check the year and the split, or put the official list there")
    known = list(dict.fromkeys(_name(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()))
    if not known:
        raise VosError(f"the list '{path}' is empty: put the official list there")
    if sequences is None or sequences == "present":
        return known
    wanted = [sequences] if isinstance(sequences, str) else list(sequences)
    for name in wanted:
        if name not in known:
            raise VosError(f"sequence '{name}' is not in '{path}', which lists {len(known)} from '{known[0]}' to '{known[-1]}'")
    return wanted


def _name(line: str) -> str:
    """'bear' from 'bear', and from '/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png' (1st release)."""
    first = line.split()[0]
    return first.split("/")[-2] if "/" in first else first


def find_resolution(root: Path, name: str) -> str | None:
    """The folder of JPEGImages to take for a sequence: 480p if it is there, else the first by name; None if in none."""
    there = sorted(f.parent.name for f in (root / "JPEGImages").glob(f"*/{name}") if f.is_dir())
    return "480p" if "480p" in there else (there[0] if there else None)


def frame_files(folder: Path, suffixes: tuple[str, ...] = FRAMES) -> list[Path]:
    """The pictures of a folder by name. Raises VosError if there is no folder, or nothing in it."""
    if not folder.is_dir():
        raise VosError(f"folder '{folder}' is missing")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))
    if not files:
        raise VosError(f"folder '{folder}' is empty: expected {' or '.join(suffixes)} files")
    return files


def read_sequence(frame_dir: Path, mask_dir: Path, binary: bool, partial: bool = False) -> Clip:
    """One sequence. binary: anything above 0 is object 1 (DAVIS-2016). partial: masks may be missing after the first."""
    name = frame_dir.name
    frames, masks = frame_files(frame_dir), {f.stem: f for f in frame_files(mask_dir, (".png",))}
    stems = [f.stem for f in frames]
    for stem in stems[:1] if partial else stems:
        if stem not in masks:
            raise VosError(f"sequence '{name}' has frame '{stem}' but no mask '{mask_dir / (stem + '.png')}'")
    if extra := sorted(set(masks) - set(stems)):
        raise VosError(f"sequence '{name}' has a mask '{masks[extra[0]]}' but no such frame in '{frame_dir}'")
    size = read_size(frames[0])

    def frame(t: int) -> np.ndarray:
        return same_size(read_frame(frames[t]), size, frames[t], frames[0])

    def mask(t: int) -> np.ndarray | None:
        if stems[t] not in masks:
            return None
        ids = same_size(read_mask(masks[stems[t]]), size, masks[stems[t]], frames[0])
        return (ids > 0).astype(np.uint8) if binary else ids

    ids = (1,) if binary else tuple(int(k) for k in np.unique(mask(0)) if 0 < k < VOID)
    return Clip(name, Lazy(len(frames), frame), Lazy(len(frames), mask), ids, size, frame_names=tuple(stems))


def same_size(picture: np.ndarray, size: tuple[int, int], path: Path, first: Path) -> np.ndarray:
    """The picture, if it is as large as the clip's first frame; else VosError."""
    if picture.shape[:2] != size:
        (h, w), (height, width) = picture.shape[:2], size
        raise VosError(f"'{path}' is {w}x{h} but '{first}' is {width}x{height}: all of a clip must have one size")
    return picture
