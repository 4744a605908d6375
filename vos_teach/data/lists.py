"""DAVIS's lists of sequences, ImageSets/<year>/<split>.txt, for its reader and for `evaluate` (which loads no torch).

The first release (2016) files its lists by resolution, ImageSets/480p/val.txt, and names two files in each line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vos_teach.errors import VosError


def find_year(root: Path) -> str:
    """The only year ImageSets knows, "2016" or "2017"; VosError if it knows both or none."""
    folders = [f.name for f in (root / "ImageSets").glob("*") if f.is_dir()]
    years = {"2017" if f == "2017" else "2016" for f in folders if re.fullmatch(r"2016|2017|\d{3,4}p", f)}
    if len(years) == 1:
        return years.pop()
    if not years:
        raise VosError(f"'{root}' has no ImageSets/<year>/<split>.txt: put the official lists of sequences there")
    raise VosError(f"'{root}' has lists for 2016 and 2017: say which year is meant (--year)")


def find_split(root: Path, year: str) -> str:
    """val, or the only other list that there is of the year."""
    splits = {path.stem for folder in _folders(root, year) for path in folder.glob("*.txt")}
    return splits.pop() if len(splits) == 1 else "val"


def sequence_names(root: Path, year: str, split: str, sequences: Sequence[str] | str | None = None) -> list[str]:
    """The names in the split's list, or those asked for, which must be in it."""
    lists = [folder / f"{split}.txt" for folder in _folders(root, year)]
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


def _folders(root: Path, year: str) -> list[Path]:
    return [root / "ImageSets" / name for name in ((year, "480p", "1080p") if year == "2016" else (year,))]


def _name(line: str) -> str:
    """'bear' of 'bear' and, in the first release, '/JPEGImages/480p/bear/00000.jpg /Annotations/...'."""
    first = line.split()[0]
    return first.split("/")[-2] if "/" in first else first
