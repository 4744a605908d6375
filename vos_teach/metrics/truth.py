"""Where DAVIS and YouTube-VOS keep their ground truth, and which prediction files belong to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vos_teach.data import lists
from vos_teach.data.png import read_size
from vos_teach.errors import VosError as bad


@dataclass(frozen=True)
class Video:
    """One sequence to score: its annotated frames and the predictions for them, file by file."""

    name: str
    truth: tuple[Path, ...]
    pred: tuple[Path, ...]
    binary: bool  # DAVIS-2016: every value above 0 is object 1
    one_shot: bool
    skip_last: bool  # DAVIS's one-shot protocol leaves out the last frame
    temporal: bool = False


@dataclass(frozen=True)
class Truth:
    """A data set's ground truth. Each of `folders` (one per resolution) may hold a folder of masks per sequence."""

    layout: str  # "davis" or "youtube-vos"
    year: int | None
    split: str
    names: tuple[str, ...]
    folders: tuple[Path, ...]
    root: Path

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"DAVIS-{self.year}" if self.layout == "davis" else f"YouTube-VOS '{self.root.name}'"


def find_truth(root: Path, split: str, year: int | None, one_shot: bool) -> Truth:
    """The ground truth under `root`: DAVIS if it has ImageSets, else YouTube-VOS. VosError if it is neither."""
    if not root.is_dir():
        raise bad(f"data folder '{root}' does not exist")
    if (root / "ImageSets").is_dir():
        return _davis(root, split, year, one_shot)
    for folder in (root, root / split, root / {"val": "valid"}.get(split, split)):
        if (folder / "Annotations").is_dir():
            names = tuple(sorted(p.name for p in (folder / "Annotations").iterdir() if p.is_dir()))
            if not names:
                raise bad(f"'{folder / 'Annotations'}' has no sequences")
            return Truth("youtube-vos", None, split, names, (folder / "Annotations",), folder)
    raise bad(f"'{root}' is neither DAVIS (no ImageSets folder) nor YouTube-VOS (no Annotations folder)")


def find_video(truth: Truth, name: str, pred: Path, one_shot: bool, temporal: bool) -> Video:
    """The files of one sequence, checked: truth whole, every frame of it predicted, none too many, sizes alike."""
    folder = pred / name
    if not folder.is_dir():
        raise bad(f"'{pred}' has no folder '{name}'; name the sequences to score, or take those 'present'")
    given = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".png"}
    if not given:
        raise bad(f"folder '{folder}' has no PNG masks")
    masks = _masks(truth, name, next(iter(given.values())))
    frames = {p.stem: p for p in masks}
    if truth.layout == "davis":  # every frame is annotated, but for the test splits
        at = masks[0].parent
        pictures = sorted(p.stem for p in (truth.root / "JPEGImages" / at.parent.name / name).glob("*.jpg"))
        if lost := [stem for stem in pictures if stem not in frames]:
            raise bad(f"ground truth '{at}' lacks {len(lost)} of {len(pictures)} frames, first '{lost[0]}.png': "
                      "copy them; a test split, whose truth is secret, cannot be scored here")
    missing = [stem for stem in frames if stem not in given]
    if missing:
        raise bad(f"'{folder}' lacks {len(missing)} of {len(frames)} frames, first '{missing[0]}.png'")
    known = set(frames)
    if truth.layout == "youtube-vos":  # only some frames are annotated, but all may be predicted
        for root in (truth.root, truth.root.with_name(f"{truth.root.name}_all_frames")):
            known |= {p.stem for p in (root / "JPEGImages" / name).glob("*.jpg")}
    extra = [stem for stem in given if stem not in known]
    if extra:
        raise bad(f"'{folder}' has {len(extra)} frames more than the ground truth, first '{extra[0]}.png'")
    if truth.layout == "davis" and one_shot and len(frames) < 3:
        raise bad(f"sequence '{name}' has {len(frames)} frames; one-shot needs 3, as it leaves out first and last")
    return Video(
        name, tuple(frames.values()), tuple(given[stem] for stem in frames), truth.year == 2016, one_shot,
        skip_last=truth.layout == "davis" and one_shot, temporal=temporal,
    )


def choose(truth: Truth, pred: Path, sequences: str | Sequence[str] | None) -> tuple[str, ...]:
    """The sequences to score: the whole split, those named, or those 'present' in the prediction folder."""
    if not pred.is_dir():
        raise bad(f"prediction folder '{pred}' does not exist")
    there = sorted(p.name for p in pred.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not there:
        raise bad(f"prediction folder '{pred}' is empty: it needs a folder of PNG masks per sequence")
    if sequences is None or sequences == "present":
        chosen = tuple(there) if sequences == "present" else truth.names
        wanted = there
    else:
        chosen = tuple(dict.fromkeys([sequences] if isinstance(sequences, str) else sequences))
        wanted = list(chosen)
        if not wanted:
            raise bad("no sequences were asked for")
    for name in wanted:
        if name not in truth.names:
            raise bad(f"sequence '{name}' is not in split '{truth.split}' of {truth.title}")
    return chosen


def seen_categories(truth: Truth) -> set[str] | None:
    """YouTube-VOS: the categories of the training set's meta.json, where it lies in or beside the root."""
    for folder in (truth.root.parent / "train", truth.root / "train"):
        if folder != truth.root and (folder / "meta.json").is_file():
            return {c for objects in categories(folder).values() for c in objects.values()}
    return None


def categories(root: Path) -> dict[str, dict[int, str]]:
    """YouTube-VOS's meta.json: sequence -> object id -> category; empty where there is no such file."""
    path = root / "meta.json"
    if not path.is_file():
        return {}
    try:
        videos = json.loads(path.read_text())["videos"]
        return {
            name: {int(k): str(o["category"]) for k, o in video["objects"].items() if "category" in o}
            for name, video in videos.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise bad(f"'{path}' is not a YouTube-VOS meta.json (videos, name, objects, id, category)") from None


def _davis(root: Path, split: str, year: int | None, one_shot: bool) -> Truth:
    year = int(lists.find_year(root)) if year is None else year
    names = tuple(lists.sequence_names(root, str(year), split))
    base = root / "Annotations_unsupervised"
    if year == 2016 or one_shot or not base.is_dir():
        base = root / "Annotations"
    if not base.is_dir():
        raise bad(f"'{base}' does not exist")
    return Truth("davis", year, split, names, tuple(sorted(p for p in base.iterdir() if p.is_dir())), root)


def _masks(truth: Truth, name: str, like: Path) -> list[Path]:
    """The sequence's ground-truth files, at the resolution of the prediction `like`."""
    found = {}
    for folder in truth.folders:
        if masks := sorted((folder / name).glob("*.png")):
            found[folder.name] = masks
    if not found:
        raise bad(f"no ground truth for sequence '{name}' of {truth.title} under '{truth.folders[0].parent}'")
    sizes = {key: read_size(masks[0]) for key, masks in found.items()}
    size = read_size(like)
    fits = [key for key in found if sizes[key] == size]
    if not fits:
        have = ", ".join(f"{w}x{h}" for h, w in sorted(set(sizes.values())))
        raise bad(f"'{like}' is {size[1]}x{size[0]}, but the ground truth of '{name}' is {have}")
    return found["480p" if "480p" in fits else fits[0]]
