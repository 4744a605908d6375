"""DAVIS-2016 and DAVIS-2017 (Perazzi et al., CVPR 2016; Pont-Tuset et al., arXiv:1704.00675) as clips.

    ROOT/JPEGImages/480p/bear/00000.jpg   ROOT/Annotations/480p/bear/00000.png   ROOT/ImageSets/2017/val.txt

The year decides what a mask says, never its values: in 2016 anything above 0 is object 1, in 2017 values are
ids and 255 is void. Frames and masks are decoded only when asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vos_teach.clip import Clip, VosError
from vos_teach.data.sequence import read_meta, read_sequence


def read(
    root: str | Path, year: int | str | None = None, split: str = "val",
    sequences: Sequence[str] | str | None = None, resolution: str | None = None, unsupervised: bool = False,
) -> list[Clip]:
    """The clips of a split, in the order of its list.

    year          2016 or 2017; found by itself where ImageSets knows only one
    sequences     names; "present": those of the split that are there; None: all, a missing one is an error
    resolution    a folder's name ("480p", "Full-Resolution"); None: 480p, else the one there is, per sequence
    unsupervised  take Annotations_unsupervised (DAVIS-2019, zero-shot), where objects may come late

    In the test splits masks that are not there are None; elsewhere every frame must have one. All objects are
    in the first mask, or meta.json (in YouTube-VOS's form) says where they start. Raises VosError.
    """
    root = Path(root)
    annotations = "Annotations_unsupervised" if unsupervised else "Annotations"
    for folder in ("JPEGImages", annotations):
        if not (root / folder).is_dir():
            raise VosError(f"'{root}' is not a DAVIS folder: there is no {folder}/480p/<sequence> in it")
    year = find_year(root) if year is None else str(year)
    meta, clips = read_meta(root), []
    for name in sequence_names(root, year, split, sequences):
        size = resolution or find_resolution(root, name)
        frames, masks = root / "JPEGImages" / str(size) / name, root / annotations / str(size) / name
        if sequences == "present" and not (frames.is_dir() and masks.is_dir()):
            continue
        if size is None or not frames.is_dir():
            raise VosError(
                f"sequence '{name}' of the {split} split is not in '{root / 'JPEGImages' / (resolution or '')}': "
                "fetch it (vos-teach data davis) or ask only for the sequences that are present"
            )
        clips.append(read_sequence(
            frames, masks, binary=year == "2016", complete=not split.startswith("test"), scan=unsupervised,
            objects=None if unsupervised else meta.get(name),
        ))
    if not clips:
        raise VosError(f"'{root}' has no sequence of the {split} split of DAVIS-{year}: see `vos-teach data davis`")
    return clips


def find_year(root: Path) -> str:
    """The only year ImageSets knows. The first release (2016) files its lists by resolution: 480p/val.txt."""
    folders = [f.name for f in (root / "ImageSets").glob("*") if f.is_dir()]
    years = {"2016" if re.fullmatch(r"\d{3,4}p", f) else f for f in folders if re.fullmatch(r"20\d\d|\d{3,4}p", f)}
    if len(years) == 1:
        return years.pop()
    if not years:
        raise VosError(f"'{root}' has no ImageSets/<year>/<split>.txt: put the official lists of sequences there")
    raise VosError(f"'{root}' has lists for {' and '.join(sorted(years))}: say which year is meant (--year)")


def sequence_names(root: Path, year: str, split: str, sequences: Sequence[str] | str | None = None) -> list[str]:
    """The names in the split's list, or those asked for, which must be in it."""
    lists = [root / "ImageSets" / year / f"{split}.txt"]
    if year == "2016":
        lists += [root / "ImageSets" / r / f"{split}.txt" for r in ("480p", "1080p")]
    path = next((p for p in lists if p.is_file()), None)
    if path is None:
        raise VosError(f"the list '{lists[0]}' is missing: check year and split, or put the official list there")
    lines = path.read_text(encoding="utf-8").splitlines()
    known = list(dict.fromkeys(_name(line) for line in lines if line.strip()))
    if not known:
        raise VosError(f"the list '{path}' is empty: put the official list there")
    if sequences is None or sequences == "present":
        return known
    wanted = [sequences] if isinstance(sequences, str) else list(sequences)
    for name in wanted:
        if name not in known:
            raise VosError(f"sequence '{name}' is not in '{path}', whose {len(known)} begin with '{known[0]}'")
    return wanted


def _name(line: str) -> str:
    """'bear' of 'bear' and, in the first release, '/JPEGImages/480p/bear/00000.jpg /Annotations/...'."""
    first = line.split()[0]
    return first.split("/")[-2] if "/" in first else first


def find_resolution(root: Path, name: str) -> str | None:
    """The folder of JPEGImages that has the sequence: 480p if it can be, else the first by name, or None."""
    there = sorted(f.parent.name for f in (root / "JPEGImages").glob(f"*/{name}") if f.is_dir())
    return "480p" if "480p" in there else next(iter(there), None)
