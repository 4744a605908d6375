"""The student's own five seconds: load a video, paint masks on a few of its frames, save; every lab runs on it.

    mine = own.load("my_video.mp4")
    own.paint(mine, frames=[0, 20, 40], objects=2)      # brush, eraser, undo; or, without a browser:
    own.set_mask(0, mask)                               # H,W ids of frame 0
    own.save(lab)                                       # from now on lab.own is this clip, in every lab
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from vos_teach import viz
from vos_teach.clip import VOID, Clip, Lazy, VosError, resize_frame
from vos_teach.data import folder
from vos_teach.data.cast import Knobs, compose
from vos_teach.data.png import read_frame, write_mask
from vos_teach.data.scene import Scene
from vos_teach.data.sequence import picture_files, same_size
from vos_teach.lab import show
from vos_teach.lab.cases import plain
from vos_teach.lab.widgets import view

if TYPE_CHECKING:
    from vos_teach.lab.session import Lab

NAME, FRAMES, MASKS = "own", "JPEGImages/240p/own", "Annotations/240p/own"


def shipped(seed: int = 6) -> Clip:
    """The clip of who brings none: a toy clip of two objects that look alike, and both are asked for."""
    knobs = Knobs(length=24, size=(96, 160), split="val", objects=1, similar=1, distractors=0, camera_motion=True)
    layers = compose(np.random.default_rng([11, seed]), knobs)[0]
    twin = next(layer for layer in layers if not layer.object and not layer.ground)
    twin.object = 2  # `similar` makes copies that nobody asks for; here somebody does
    scene = Scene(layers, knobs.size, knobs.length, seed)
    return Clip("own (shipped)", Lazy(24, scene.frame), Lazy(24, scene.mask), (1, 2), knobs.size,
                forward_flow=Lazy(23, lambda t: scene.flow(t, t + 1)),
                backward_flow=Lazy(23, lambda t: scene.flow(t + 1, t)), attributes=frozenset({"look-alike"}))


def load(path: str | Path, length: int = 50, seconds: float = 5.0, height: int = 240) -> Clip:
    """A video file, or a folder of frames (with masks, as `data/folder.py` has them, or without) as a short clip.

    Of the first `seconds` at most `length` frames are kept, evenly spaced, with their shorter side at most `height`
    pixels. Without masks the clip has no objects yet: paint them. Raises VosError.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise VosError(f"'{path}' does not exist: give a video file, or a folder of frames")
    if length < 2:
        raise VosError(f"length={length}: a clip has at least 2 frames")
    if path.is_dir():
        try:
            return _shrink(folder.read(path).cut(0, length), height)
        except VosError:  # no masks yet; but where there are no frames either, that message is the right one
            if not any(f.suffix.lower() in (".jpg", ".jpeg", ".png") for f in path.iterdir()):
                raise
            frames = _folder(path, length, height)
    else:
        frames = _video(path, length, seconds, height)
    name = re.sub(r"\W+", "-", path.stem).strip("-") or NAME
    return Clip(name, frames, [None] * len(frames), (), frames[0].shape[:2])


def _folder(path: Path, length: int, height: int) -> list[np.ndarray]:
    files = picture_files(path)[:length]
    frames = [same_size(read_frame(f), read_frame(files[0]).shape[:2], f, files[0]) for f in files]
    return [_small(f, height) for f in frames]


def _video(path: Path, length: int, seconds: float, height: int) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    fps = fps if 1 <= fps <= 1000 else 25.0
    frames: list[np.ndarray] = []
    while len(frames) < max(2, round(seconds * fps)) and (got := capture.read())[0]:
        frames.append(_small(np.ascontiguousarray(got[1][..., ::-1]), height))
    capture.release()
    if len(frames) < 2:
        raise VosError(f"video '{path}' cannot be decoded: convert it to mp4 (H.264) or to a folder of frames")
    keep = np.unique(np.linspace(0, len(frames) - 1, min(length, len(frames))).round().astype(int))
    return [frames[t] for t in keep]


def _small(frame: np.ndarray, height: int) -> np.ndarray:
    h, w = frame.shape[:2]
    scale = height / min(h, w)
    return frame if scale >= 1 else resize_frame(frame, (round(h * scale), round(w * scale)))


def _shrink(clip: Clip, height: int) -> Clip:
    h, w = clip.size
    return clip if min(h, w) <= height else clip.resize(round(h * height / min(h, w)))


class Painting:
    """Masks being painted on some frames of a clip. A notebook shows the painter; code uses `set_mask` and `clip`."""

    def __init__(self, clip: Clip, frames: Sequence[int], objects: int = 2):
        frames = sorted({range(len(clip))[t] if -len(clip) <= t < len(clip) else _no_frame(clip, t) for t in frames})
        if not frames or not 1 <= objects <= 6:
            raise VosError("paint: give at least one frame, and 1 to 6 objects")
        self.source, self.frames, self.objects = clip, frames, objects
        self._masks = {}
        for t in frames:
            given = clip.masks[t]
            self._masks[t] = np.zeros(clip.size, np.uint8) if given is None else given.copy()
        self.widget: Any = None

    def set_mask(self, frame: int, mask: Any) -> None:
        """Give the mask of a frame: H,W ids 0..objects. Raises VosError for another size or other ids."""
        if frame not in self._masks:
            raise VosError(f"frame {frame} is not one of those to paint: {', '.join(map(str, self.frames))}")
        mask = plain(mask)
        if mask.shape != tuple(self.source.size):
            raise VosError(f"frame {frame}: the mask is {mask.shape}, the frame is {tuple(self.source.size)}")
        if mask.dtype.kind not in "biu" or not set(np.unique(mask)) <= {*range(self.objects + 1), VOID}:
            raise VosError(f"frame {frame}: a mask holds 0 for background and ids up to {self.objects}")
        self._masks[frame] = mask.astype(np.uint8)
        if self.widget is not None:
            self.widget.masks = [self._masks[t].tobytes() for t in self.frames]

    def mask(self, frame: int) -> np.ndarray:
        """H,W uint8: what is painted on a frame so far."""
        if frame not in self._masks:
            raise VosError(f"frame {frame} is not one of those to paint: {', '.join(map(str, self.frames))}")
        return self._masks[frame].copy()

    def clip(self) -> Clip:
        """The clip with these masks; an object starts where it is first painted. Raises VosError if none is."""
        starts: dict[int, int] = {}
        for t in self.frames:
            for k in np.unique(self._masks[t]):
                if 0 < k < VOID:
                    starts.setdefault(int(k), t)
        if not starts:
            raise VosError("nothing is painted yet: mark each object in the first frame at least")
        if min(starts.values()) > 0:
            raise VosError(f"nothing is painted on the first frame: systems start there (painted: frame "
                           f"{min(starts.values())})")
        masks = list(self.source.masks)
        for t in self.frames:  # a frame left empty was not annotated, unless something was there before it
            masks[t] = self._masks[t] if self._masks[t].any() or masks[t] is not None else None
        ids = tuple(sorted(starts))
        return replace(self.source, masks=masks, ids=ids, starts={k: starts[k] for k in ids}, categories={},
                       forward_flow=None, backward_flow=None)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> Any:
        from vos_teach.lab import painter

        if self.widget is None:
            self.widget = painter.make(self)
        if self.widget is None:
            return {"text/plain": "The painter needs the package anywidget (it comes with vos_teach[lab]); without "
                                  "it, give masks by own.set_mask(frame, mask)"}, {}
        painted = [viz.overlay(self.source.frames[t], self._masks[t]) for t in self.frames]
        data, about = show.bundle(show.images(painted, [f"frame {t}" for t in self.frames]))
        data.update(view(self.widget))
        return data, about


_current: Painting | None = None


def paint(clip: Clip, frames: Sequence[int] | int | None = None, objects: int = 2) -> Painting:
    """Show the mask painter for some frames (default: first, middle, last) of a clip; what is there already is kept."""
    global _current
    if frames is None:
        frames = np.linspace(0, len(clip) - 1, 3).round().astype(int).tolist()  # moments that `show.frames` shows too
    _current = Painting(clip, [frames] if isinstance(frames, int) else list(frames), objects)
    return _current


def set_mask(frame: int, mask: Any) -> None:
    """Give a frame's mask (H,W ids) to the painting begun last: what the painter does by hand, from code."""
    _begun().set_mask(frame, mask)


def mask(frame: int) -> np.ndarray:
    """H,W uint8: a frame's mask in the painting begun last."""
    return _begun().mask(frame)


def save(lab: Lab, painting: Painting | Clip | None = None) -> Clip:
    """Save the painting begun last (or another, or a clip with masks) as the student's own clip, for all labs.

    Written as a folder in DAVIS layout, lab.work/own, whole or not at all; one saved before is replaced.
    """
    done = painting or _begun()
    clip = done.clip() if isinstance(done, Painting) else done
    if not clip.ids:
        raise VosError(f"clip '{clip.name}' has no masks: paint them first")
    home, part = lab.work / NAME, None
    try:
        lab.work.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{NAME}.", dir=lab.work))
        (part / FRAMES).mkdir(parents=True)
        for t, (frame, painted) in enumerate(clip):
            _, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            (part / FRAMES / f"{t:05d}.jpg").write_bytes(jpeg.tobytes())
            if painted is not None:
                write_mask(part / MASKS / f"{t:05d}.png", painted)
        os.chmod(part, 0o755)
        before = lab.work / f".{NAME}-before"  # `read` looks here too: at no moment is there no clip
        if home.exists():
            shutil.rmtree(before, ignore_errors=True)
            os.replace(home, before)
        os.replace(part, home)
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        raise VosError(f"'{home}' cannot be written ({error.strerror}): free some space or choose another "
                       "folder by VOS_TEACH_WORK") from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    print(f"Saved - your clip: {len(clip)} frames, {len(clip.ids)} object{'s' if len(clip.ids) > 1 else ''}")
    return read(lab)


def read(lab: Lab) -> Clip:
    """The saved clip, or the shipped one. Of a clip painted by hand the last frame counts too: masks are few."""
    for home in (lab.work / NAME, lab.work / f".{NAME}-before"):
        if (home / FRAMES).is_dir():
            return replace(folder.read(home / FRAMES, year=2017), name=NAME, last_counts=True)
    return shipped()


def _begun() -> Painting:
    if _current is None:
        raise VosError("no painting was begun: call own.paint(clip) first")
    return _current


def _no_frame(clip: Clip, t: int) -> int:
    raise VosError(f"clip '{clip.name}' has no frame {t}: it has {len(clip)}")
