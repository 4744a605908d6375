"""DAVIS-2016 and DAVIS-2017 (Perazzi et al., CVPR 2016; Pont-Tuset et al., arXiv:1704.00675) as clips.

    ROOT/JPEGImages/480p/bear/00000.jpg   ROOT/Annotations/480p/bear/00000.png   ROOT/ImageSets/2017/val.txt

The year decides what a mask says, never its values: in 2016 anything above 0 is object 1, in 2017 values are
ids and 255 is void. Frames and masks are decoded only when asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vos_teach.clip import Clip, VosError
from vos_teach.data.lists import find_year, sequence_names
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


def find_resolution(root: Path, name: str) -> str | None:
    """The folder of JPEGImages that has the sequence: 480p if it can be, else the first by name, or None."""
    there = sorted(f.parent.name for f in (root / "JPEGImages").glob(f"*/{name}") if f.is_dir())
    return "480p" if "480p" in there else next(iter(there), None)
