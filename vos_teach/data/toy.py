"""Toy clips: small videos made by a formula, so that everything about them is known exactly.

Cut-outs of real pictures move over another picture. The knobs are named after DAVIS's attributes (Perazzi et al.,
CVPR 2016, table 1), and each makes one family of systems fail. Three things keep a network from winning cheaply:
things that nobody asks for move in the same way (`distractors`, `similar`), things that look pasted stand still
(`stickers`), and the ground can move, or be of the object's own picture. Edges are soft; light, lens and sensor act
on everything alike.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vos_teach.clip import Clip, Lazy, VosError
from vos_teach.data.cast import Knobs, compose
from vos_teach.data.png import write_mask
from vos_teach.data.scene import Scene
from vos_teach.data.textures import SEEN, UNSEEN

__all__ = ["ATTRIBUTES", "SEEN", "SUITE", "UNSEEN", "clip", "split", "suite", "training", "write"]

SPLITS = {"train": 0, "val": 1}
ATTRIBUTES = {  # knob -> the attribute that it stands for
    "fast_motion": "fast-motion", "occlusion": "occlusion", "out_of_view": "out-of-view",
    "scale_variation": "scale-variation", "appearance_change": "appearance-change",
    "deformation": "deformation", "dynamic_background": "dynamic-background", "camera_motion": "camera-shake",
    "similar": "look-alike", "own_texture": "background-clutter",
}
SUITE: dict[str, dict[str, Any]] = {  # the fixed benchmark: name -> knobs
    "easy": dict(distractors=0),
    "fast-motion": dict(fast_motion=True),
    "occlusion": dict(occlusion=True),
    "re-entry": dict(out_of_view=True),
    "scale": dict(scale_variation=True),
    "appearance": dict(appearance_change=True),
    "deformation": dict(deformation=True),
    "look-alike": dict(similar=2, distractors=0),
    "background": dict(dynamic_background=True, camera_motion=True, own_texture=True, stickers=3),
    "two-objects": dict(objects=2, camera_motion=True),
    "late-object": dict(objects=2, late=1),
    "unseen": dict(objects=2, unseen=True, deformation=True, camera_motion=True),
}
CHANCES = dict(  # of each knob in training
    fast_motion=0.2, occlusion=0.15, out_of_view=0.1, scale_variation=0.3, appearance_change=0.2,
    deformation=0.4, dynamic_background=0.3, camera_motion=0.5, own_texture=0.2,
)


def clip(seed: int, *, length: int = 20, size: tuple[int, int] = (96, 160), split: str = "train", noise: float = 1.5,
         light: float = 0.05, name: str | None = None, **knobs: Any) -> Clip:
    """One toy clip, the same for the same arguments. Frames, masks and flow are drawn when asked for.

    seed, split         which clip; equal seeds of different splits have nothing in common
    length, size        T frames of (H, W); objects, distances and speeds grow with H
    noise, light        the sensor's noise in grey levels; the share by which the light changes

    Knobs, with their defaults:
    objects=1, late=0   objects to segment, ids 1..objects; the last `late` of them come in later (`Clip.starts`)
    fast_motion         objects move about 9 pixels a frame instead of 1.6
    occlusion           object 1 passes behind something wide enough to hide it
    out_of_view         object 1 leaves the frame, stays away for about a fifth of the clip, and comes back
    scale_variation     2.3 times larger (or smaller) and back;   deformation: waves and pulses of the shape
    appearance_change   objects turn into another picture, and their colours drift
    similar=0           copies of object 1 that nobody asks for;   distractors=1: other moving things
    stickers=1          cut-outs that belong to the ground;   own_texture: the ground is of object 1's picture
    dynamic_background  the ground shivers;   camera_motion: pan, roll and zoom
    unseen              categories of UNSEEN instead of SEEN (split="val" only)

    Frame 0 shows at least half of every object that is not late. Raises VosError for what cannot be made.
    """
    if unknown := sorted(set(knobs) - set(Knobs.__dataclass_fields__)):
        raise VosError(f"toy clips have no knob '{unknown[0]}': choose from {', '.join(Knobs.__dataclass_fields__)}")
    k = Knobs(length=length, size=tuple(size), split=split, **knobs)
    if split not in SPLITS:
        raise VosError(f"unknown split '{split}': choose train or val")
    if k.unseen and split == "train":
        raise VosError("unseen categories are held out of training: use split='val'")
    if not 1 <= k.objects <= 6 or not 0 <= k.late < k.objects:
        raise VosError(f"objects={k.objects}, late={k.late}: 1 to 6 objects, and one of them there from the start")
    if length < 2 or min(size) < 48:
        raise VosError(f"length={length}, size={size}: a toy clip needs 2 frames and 48 pixels a side")
    if (k.occlusion or k.out_of_view) and length < 12:
        raise VosError(f"length={length}: occlusion and out_of_view need at least 12 frames")
    if k.late and length < 4:
        raise VosError(f"length={length}: a late object needs at least 4 frames")
    if k.occlusion and k.out_of_view:
        raise VosError("occlusion and out_of_view both steer object 1: choose one of them")
    for attempt in range(40):                                           # the first or second usually does
        rng = np.random.default_rng([SPLITS[split], int(seed), attempt])
        layers, starts, categories = compose(rng, k)
        swing = 0.25 * np.arange(length)[:, None] + rng.uniform(0, 6.28) + rng.uniform(0, 0.8, 3)
        scene = Scene(layers, k.size, length, int(rng.integers(2**31)), noise, 0.5,
                      1 + light * np.sin(swing) if light else None)
        if all(_visible(scene, n, t) for n, t in starts.items()):
            break
    else:
        raise VosError(f"no room for {k.objects} objects and {k.distractors + k.similar} others: ask for fewer")
    return Clip(
        name=name or f"toy-{split}-{seed}", size=k.size, ids=tuple(starts), starts=starts, categories=categories,
        frames=Lazy(length, scene.frame), masks=Lazy(length, scene.mask),
        forward_flow=Lazy(length - 1, lambda t: scene.flow(t, t + 1)),
        backward_flow=Lazy(length - 1, lambda t: scene.flow(t + 1, t)),
        attributes=frozenset(attribute for knob, attribute in ATTRIBUTES.items() if getattr(k, knob)),
    )


def training(n: int, seed: int = 0, **knobs: Any) -> list[Clip]:
    """n training clips with random knobs, categories of SEEN only; `knobs` fixes some (`clip`'s names)."""
    return [clip(1_000_000 * seed + i, **_chance(np.random.default_rng([7, seed, i]), knobs),
                 name=f"toy-train-{seed}-{i:04d}") for i in range(n)]


def suite(seed: int = 0, **knobs: Any) -> list[Clip]:
    """The benchmark: twelve validation clips, each named after what is hard in it. Seed 0 is the fixed one."""
    return [clip(1000 * seed + i, split="val", name=name, **{**k, **knobs})
            for i, (name, k) in enumerate(SUITE.items())]


def split(name: str, n: int | None = None, seed: int = 0) -> list[Clip]:
    """What `vos-teach toy` writes: n of `training` (60) or the first n of `suite` (all 12)."""
    if name not in SPLITS:
        raise VosError(f"unknown split '{name}': choose train or val")
    if name == "train":
        return training(60 if n is None else n, seed)
    if n is not None and n > len(SUITE):
        raise VosError(f"the val split has {len(SUITE)} clips, not {n}: ask for fewer, or for another --seed")
    return suite(seed)[:n]


def write(clips: Sequence[Clip], out: str | Path, split: str = "val") -> Path:
    """Clips -> a folder in DAVIS-2017 layout, whole or not at all: frames as JPEG of quality 95, palette masks.

    The resolution's folder is named after the height ("96p"). DAVIS gives all masks in frame 0 and knows no
    categories, so both are told by a meta.json in YouTube-VOS's form, which `davis.read` reads: per object its
    category and the frames that show it, the first of which is where it starts. Raises VosError if `out` exists
    and is not empty.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VosError(f"'{out}' exists and is not empty: choose another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise VosError(f"'{out}' cannot be made ({error.strerror}): choose another folder") from None
    videos: dict[str, Any] = {}
    try:
        for c in clips:
            seen: dict[int, list[str]] = {k: [] for k in c.ids}
            folders = [part / kind / f"{c.size[0]}p" / c.name for kind in ("JPEGImages", "Annotations")]
            folders[0].mkdir(parents=True)
            for t, (stem, (frame, mask)) in enumerate(zip(c.frame_names, c, strict=True)):
                _, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
                (folders[0] / f"{stem}.jpg").write_bytes(jpeg.tobytes())
                write_mask(folders[1] / f"{stem}.png", mask)
                for k in c.ids:
                    if t == c.starts[k] or (t > c.starts[k] and (mask == k).any()):
                        seen[k].append(stem)
            named = {k: {"category": c.categories[k]} if k in c.categories else {} for k in c.ids}
            videos[c.name] = {"objects": {str(k): {**named[k], "frames": seen[k]} for k in c.ids}}
        (part / "meta.json").write_text(json.dumps({"videos": videos}, indent=1), encoding="utf-8")
        lists = part / "ImageSets" / "2017"
        lists.mkdir(parents=True)
        (lists / f"{split}.txt").write_text("".join(f"{c.name}\n" for c in clips), encoding="utf-8")
        os.chmod(part, 0o755)
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    except OSError as error:
        raise VosError(f"'{out}' cannot be written ({error.strerror}): free some space or choose another") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _chance(rng: np.random.Generator, fixed: dict[str, Any]) -> dict[str, Any]:
    """Random knobs, with some fixed, that can be had together."""
    k: dict[str, Any] = {knob: bool(rng.random() < p) for knob, p in CHANCES.items()}
    k["objects"], k["late"] = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])), int(rng.random() < 0.25)
    k["similar"], k["distractors"], k["stickers"] = (int(rng.integers(0, top)) for top in (2, 3, 4))
    chosen = {**k, **fixed}
    length = chosen.get("length", 20)
    if "late" not in fixed and (chosen["objects"] < 2 or length < 4):
        chosen["late"] = 0
    for knob, other in (("out_of_view", "occlusion"), ("occlusion", "out_of_view")):
        if knob not in fixed and (length < 12 or chosen[other]):
            chosen[knob] = False
    return chosen


def _visible(scene: Scene, me: int, t: int) -> bool:
    """Whether object `me` shows at least half of its area, and 1.2 % of the frame, in frame t."""
    seen = int((scene.mask(t) == me).sum())
    layer = next(x for x in scene.layers if x.object == me)
    whole = float(layer.patch[..., 3].sum()) * float(layer.scale[t].prod())
    return seen >= 0.5 * whole and seen >= 0.012 * scene.size[0] * scene.size[1]
