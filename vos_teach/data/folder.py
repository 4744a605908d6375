"""Any video of one's own: a folder of frames, or a video file, with the first mask beside it.

    CLIP/frames/*.jpg + CLIP/masks/00000.png       (or JPEGImages + Annotations; or both kinds in CLIP itself)
    DAVIS/JPEGImages/480p/bear                     (its masks are found in DAVIS/Annotations/480p/bear)
    clip.mp4 + clip.png
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vos_teach.clip import VOID, Clip, VosError
from vos_teach.data import davis, lists, youtube
from vos_teach.data.png import read_mask
from vos_teach.data.sequence import FRAMES, picture_files, read_sequence, same_size

PAIRS = (("JPEGImages", "Annotations"), ("frames", "masks"), ("images", "masks"))
HOW = "expected frames/*.jpg and masks/<first frame's name>.png in it"


def read(path: str | Path, year: int | str | None = None) -> Clip:
    """One clip. Masks that are not there are None; the first frame, or a later one for late objects, has one.

    Where no data set's year says what 255 means and the masks hold nothing but 0 and 255, 255 is object 1.
    Raises VosError if there are no frames, no masks, or several clips.
    """
    path = Path(path)
    if path.is_file():
        return read_video(path)
    if not path.is_dir():
        raise VosError(f"'{path}' does not exist: give a folder with frames and a first mask")
    path = path.resolve()
    for frames, masks in PAIRS:
        if (path / frames).is_dir():
            if inside := sorted(f.name for f in (path / frames).iterdir() if f.is_dir()):
                raise VosError(f"'{path}' is a data set: give one sequence, '{_example(path / frames / inside[0])}'")
            if not (path / masks).is_dir():
                raise VosError(f"'{path / frames}' has no masks beside it: put the first frame's in '{path / masks}'")
            return _clip(path / frames, path / masks, year, path.name)
    kinds = {f.suffix.lower() for f in path.iterdir() if f.is_file()}
    for parent in list(path.parents)[:2]:  # .../JPEGImages/480p/bear -> .../Annotations/480p/bear
        if parent.name == "JPEGImages" and kinds & set(FRAMES):
            masks = parent.parent / "Annotations" / path.relative_to(parent)
            return _clip(path, masks, year or _year(parent.parent), path.name)
    if kinds & {".jpg", ".jpeg"}:  # JPEG frames and PNG masks in one folder
        if ".png" not in kinds:
            raise VosError(f"'{path}' has frames but no mask: put the first frame's there as <its name>.png")
        return _clip(path, path, year, path.name)
    if inside := sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith(".")):
        raise VosError(f"'{path}' has no frames, only folders: give one of them, such as '{inside[0]}' ({HOW})")
    raise VosError(f"folder '{path}' has no frames: {HOW}")


def _clip(frames: Path, masks: Path, year: int | str | None, name: str) -> Clip:
    binary = str(year) == "2016"
    if year is None and masks.is_dir():
        values = {int(v) for f in picture_files(masks, (".png",)) for v in np.unique(read_mask(f))}
        binary = values <= {0, VOID}
    if frames == masks:
        clip = read_sequence(frames, masks, binary, complete=False, scan=True, name=name, suffixes=FRAMES[:2])
    else:
        clip = read_sequence(frames, masks, binary, complete=False, scan=True, name=name)
    return _with_objects(clip, masks)


def _with_objects(clip: Clip, where: Path) -> Clip:
    if not clip.ids or all(m is None or not m.any() for m in clip.masks):
        raise VosError(f"'{where}' marks no object: paint each with its id (1, 2, ...) in a palette or grey PNG")
    return clip


def _year(root: Path) -> str | None:
    """2016 only where no other year's list is there; None where there are no lists."""
    try:
        return lists.find_year(root)
    except VosError:
        return "2017" if (root / "ImageSets").is_dir() else None


def _example(folder: Path) -> Path:
    inside = sorted(f for f in folder.iterdir() if f.is_dir())
    return inside[0] if inside else folder


def read_video(path: Path) -> Clip:
    """A video file (any that OpenCV opens) and its first mask, of the same stem. All frames are kept in memory."""
    mask_file = path.with_suffix(".png")
    if not mask_file.is_file():
        raise VosError(f"video '{path}' has no first mask: put one beside it as '{mask_file}'")
    capture, frames = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        frames.append(np.ascontiguousarray(got[1][..., ::-1]))
    capture.release()
    if not frames:
        raise VosError(f"video '{path}' cannot be decoded: convert it to mp4 or to a folder of frames")
    size = frames[0].shape[:2]
    mask = same_size(read_mask(mask_file), size, mask_file, path)
    if set(np.unique(mask)) <= {0, VOID}:
        mask = (mask > 0).astype(np.uint8)
    ids = tuple(int(k) for k in np.unique(mask) if 0 < k < VOID)
    return _with_objects(Clip(path.stem, frames, [mask] + [None] * (len(frames) - 1), ids, size), mask_file)


def read_many(root: str | Path, year: int | str | None = None) -> list[Clip]:
    """All clips that are there of a folder in DAVIS layout (of val, or the only split it has) or YouTube-VOS layout."""
    root = Path(root)
    top = root / "JPEGImages"
    if not top.is_dir():
        raise VosError(f"'{root}' is neither in DAVIS nor in YouTube-VOS layout: there is no JPEGImages in it")
    if any(f.is_dir() for d in top.iterdir() if d.is_dir() for f in d.iterdir()):
        year = lists.find_year(root) if year is None else str(year)
        return davis.read(root, year, lists.find_split(root, year), "present")
    return youtube.read(root)
