"""Toy clips: small videos made by a formula, so that everything about them is known exactly.

Cut-outs of real pictures move over another picture. Knobs are named after DAVIS's attributes (Perazzi et al., CVPR
2016, table 1); each makes one family of systems fail. Three things keep a network from winning cheaply: things that
nobody asks for move in the same way (`distractors`, `similar`), things that look pasted stand still (`stickers`), and
the ground can move or be of the object's own picture. Edges are soft, and light, lens and sensor act on everything.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from vos_teach.clip import Clip, Lazy, VosError
from vos_teach.data.scene import Layer, Scene
from vos_teach.data.textures import (HELD_PICTURES, PATCH, PICTURES, RADIUS, SEEN, UNSEEN, alpha, crop, cutout)

SPLITS = {"train": 0, "val": 1}
ATTRIBUTES = {  # knob -> the attribute it stands for
    "fast_motion": "fast-motion", "occlusion": "occlusion", "out_of_view": "out-of-view",
    "scale_variation": "scale-variation", "appearance_change": "appearance-change", "deformation": "deformation",
    "dynamic_background": "dynamic-background", "camera_motion": "camera-shake", "similar": "look-alike",
    "own_texture": "background-clutter",
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


def clip(seed: int, *, length: int = 20, size: tuple[int, int] = (96, 160), objects: int = 1, split: str = "train",
         fast_motion: bool = False, occlusion: bool = False, out_of_view: bool = False,
         scale_variation: bool = False, appearance_change: bool = False, deformation: bool = False,
         similar: int = 0, dynamic_background: bool = False, camera_motion: bool = False,
         own_texture: bool = False, late: int = 0, distractors: int = 1, stickers: int = 1, unseen: bool = False,
         noise: float = 1.5, light: float = 0.05, name: str | None = None) -> Clip:
    """One toy clip, the same for the same arguments. Frames, masks and flow are drawn when asked for.

    seed, split         the clip; equal seeds of different splits have nothing in common
    length, size        T frames of (H, W); objects, distances and speeds grow with H
    objects, late       objects to segment, ids 1..objects; the last `late` of them come in later (`Clip.starts`)
    occlusion           object 1 passes behind something wide enough to hide it
    out_of_view         object 1 leaves the frame, stays away for about a fifth of the clip, and comes back
    similar             copies of object 1 that nobody asks for;   distractors: other moving things
    stickers            cut-outs that belong to the ground;   own_texture: the ground is of object 1's picture
    unseen              categories of UNSEEN instead of SEEN (validation only)
    noise, light        sensor noise in grey levels; share by which the light changes
    """
    if split not in SPLITS:
        raise VosError(f"unknown split '{split}': choose train or val")
    if unseen and split == "train":
        raise VosError("unseen categories are held out of training: use split='val'")
    if not 0 <= late < objects:
        raise VosError(f"late={late} with objects={objects}: at least one object must be there from the start")
    if length < 2 or min(size) < 48 or not 1 <= objects <= 6:
        raise VosError(f"a toy clip needs 2 frames, 48 pixels a side and 1 to 6 objects, not {length}, {size}, {objects}")
    if (occlusion or out_of_view) and length < 12:
        raise VosError(f"length={length}: occlusion and out_of_view need at least 12 frames")
    knobs = dict(locals())
    for attempt in range(40):                                       # nearly always the first
        rng = np.random.default_rng([SPLITS[split], seed, attempt])
        layers, starts, categories = _compose(rng, **knobs)
        wobble = 1 + light * np.sin(0.25 * np.arange(length)[:, None] + rng.uniform(0, 6.28, 3) * [1, 0.15, 0.15])
        scene = Scene(layers, size, length, int(rng.integers(2**31)), noise, 0.5, wobble if light else None)
        if all(_visible(scene, k, t) for k, t in starts.items()):
            break
    else:
        raise VosError(f"no room for {objects} objects and {distractors + similar} others: ask for fewer")
    return Clip(
        name=name or f"toy-{split}-{seed}", size=size, ids=tuple(range(1, objects + 1)), starts=starts,
        frames=Lazy(length, scene.frame), masks=Lazy(length, scene.mask),
        forward_flow=Lazy(length - 1, lambda t: scene.flow(t, t + 1)),
        backward_flow=Lazy(length - 1, lambda t: scene.flow(t + 1, t)),
        attributes=frozenset(v for k, v in ATTRIBUTES.items() if knobs[k]), categories=categories,
    )


def training(n: int, seed: int = 0, **knobs: Any) -> list[Clip]:
    """n training clips with random knobs, categories of SEEN only; `knobs` fixes some of them (`clip`'s names)."""
    out = []
    for i in range(n):
        rng = np.random.default_rng([7, seed, i])
        k: dict[str, Any] = {
            name: bool(rng.random() < p) for name, p in dict(
                fast_motion=0.2, occlusion=0.15, out_of_view=0.1, scale_variation=0.3, appearance_change=0.2,
                deformation=0.4, dynamic_background=0.3, camera_motion=0.5, own_texture=0.2).items()}
        k.update(objects=int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])), similar=int(rng.random() < 0.3),
                 distractors=int(rng.integers(0, 3)), stickers=int(rng.integers(0, 4)))
        k["late"] = int(k["objects"] > 1 and rng.random() < 0.25)
        if knobs.get("length", 20) < 12:
            k.update(occlusion=False, out_of_view=False)
        if knobs.get("objects", k["objects"]) <= k["late"]:
            k["late"] = 0
        out.append(clip(1_000_000 * seed + i, split="train", **{**k, "name": f"toy-train-{seed}-{i:04d}", **knobs}))
    return out


def suite(**knobs: Any) -> list[Clip]:
    """The benchmark: twelve validation clips, each named after what is hard in it. Always the same."""
    return [clip(i, split="val", name=name, **{**k, **knobs}) for i, (name, k) in enumerate(SUITE.items())]


def _visible(scene: Scene, k: int, t: int) -> bool:
    """Whether object k covers at least half of its area, and 1.2 % of the frame, in frame t."""
    seen = int((scene.mask(t) == k).sum())
    layer = next(x for x in scene.layers if x.object == k)
    whole = float(layer.patch[..., 3].sum()) * float(layer.scale[t].prod())
    return seen >= 0.5 * whole and seen >= 0.012 * scene.size[0] * scene.size[1]


# ---- what is where: rng and knobs -> layers ----------------------------------------------------------------------


def _compose(rng: np.random.Generator, *, length: int, size: tuple[int, int], objects: int, split: str, late: int,
             similar: int, distractors: int, stickers: int, unseen: bool, occlusion: bool, out_of_view: bool,
             scale_variation: bool, fast_motion: bool, appearance_change: bool, deformation: bool,
             own_texture: bool, camera_motion: bool, dynamic_background: bool, **_: Any
             ) -> tuple[list[Layer], dict[int, int], dict[int, str]]:
    """Layers from back to front, the objects' first frames, and their categories."""
    unit, (h, w) = size[0] / 96, size
    pool = UNSEEN if unseen else SEEN
    pictures = [p for p in PICTURES if split == "val" or p not in HELD_PICTURES]
    names = _distinct(rng, pool, objects + distractors)
    categories = {k + 1: names[k] for k in range(objects)}
    starts = {k: (0 if k <= objects - late else int(rng.integers(length // 4, length // 2)) + 1) for k in categories}

    movers: list[Layer] = []
    places: list[tuple[np.ndarray, float]] = []
    for n in range(objects + distractors + similar):
        k = n + 1 if n < objects else 0
        twin = n >= objects + distractors
        size_n = unit * rng.uniform(0.5, 0.8) * (0.85 if objects + distractors + similar > 3 else 1.0)
        if twin:
            patch = np.ascontiguousarray(movers[0].patch[:, ::-1]) * np.float32([*rng.uniform(0.93, 1.0, 3), 1])
            size_n = float(np.sqrt(movers[0].scale[0].prod())) * rng.uniform(0.9, 1.1)
        else:
            patch = cutout(rng, names[n])
        grow = rng.random() < 0.5
        if scale_variation and not twin:
            size_n = unit * (rng.uniform(0.42, 0.5) if grow else rng.uniform(0.85, 1.0))
        layer = Layer(patch, np.zeros((length, 2)), _walk(rng, length, 0.5 if fast_motion else 0.25),
                      _sizes(rng, length, size_n, scale_variation and k > 0, grow, deformation), object=k)
        layer.waves = _waves(rng, 2, 0.3 if deformation else 0.06, (70, 110), rng.uniform(0.2, 0.45))
        if appearance_change and k > 0:
            layer.other, layer.mix, layer.gain = _repaint(rng, names[n], pictures, length)
        reach = 1.1 * RADIUS * float(layer.scale[0].max())
        t0 = starts.get(k, 0)
        if k == 1 and occlusion:
            layer.centre = _pass(rng, length, size)
        elif k == 1 and out_of_view:
            layer.centre = _leave(rng, length, size, 1.3 * RADIUS * float(layer.scale.max()) + 5 * unit)
        elif t0 > 0:
            layer.centre = _enter(rng, length, size, t0, reach, unit)
            layer.shown = np.arange(length) >= t0
        else:
            place = _place(rng, size, reach, places)
            layer.centre = _wander(rng, length, size, place, (9.0 if fast_motion and k else 1.6) * unit, reach)
        if t0 == 0:
            places.append((layer.centre[0], reach))
        movers.append(layer)

    rank = [(2 if starts.get(x.object, 0) else 0) + rng.random() for x in movers]     # late ones come in on top
    movers = [movers[i] for i in np.argsort(rank)]
    ground = _ground(rng, names[0].split(" ")[1] if own_texture else str(rng.choice(pictures)), size, stickers, SEEN,
                     length, camera_motion, dynamic_background)
    front = [_pillar(rng, size, length, next(x for x in movers if x.object == 1), pictures)] if occlusion else []
    return [ground, *movers, *front], starts, categories


def _distinct(rng: np.random.Generator, pool: tuple[str, ...], n: int) -> list[str]:
    """n categories, shapes and pictures all different as far as the pool allows."""
    out: list[str] = []
    for name in rng.permutation(pool).tolist():
        used = {part for x in out for part in x.split(" ")}
        if len(out) < n and not used & set(name.split(" ")):
            out.append(name)
    return (out + rng.permutation(pool).tolist())[:n]


def _ground(rng: np.random.Generator, picture: str, size: tuple[int, int], stickers: int, pool: tuple[str, ...],
            length: int, moves: bool, ripples: bool) -> Layer:
    """The background: a picture with stickers on it, seen by a camera that may move."""
    unit, (h, w) = size[0] / 96, size
    big = (int(1.4 * h), int(1.4 * w))
    image = crop(rng, picture, big, (0.45, 1.0))
    for _ in range(stickers):
        s, a = unit * rng.uniform(0.4, 0.75), rng.uniform(0, 6.28)
        at = rng.uniform([0.2 * big[1], 0.2 * big[0]], [0.8 * big[1], 0.8 * big[0]])
        turn = s * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        matrix = np.column_stack([turn, at - turn @ [PATCH / 2, PATCH / 2]])
        piece = cv2.warpAffine(cutout(rng, str(rng.choice(pool))), matrix, big[::-1])
        image = image * (1 - piece[..., 3:]) + piece[..., :3]
    still = np.zeros((length, 1))
    pan = np.array([w, h]) / 2 + np.tile(still, 2)
    turn, zoom = still[:, 0], 1 + still[:, 0]
    if moves:
        pan = _wander(rng, length, size, np.array([w, h]) / 2, 2.2 * unit, 0.35 * h)
        turn, zoom = _walk(rng, length, 0.06, flat=True), np.exp(_walk(rng, length, 0.06, flat=True))
    patch = np.ascontiguousarray(np.dstack([image, np.ones(big, np.float32)]).astype(np.float32))
    waves = _waves(rng, 2, 0.28, (40 * unit, 75 * unit), rng.uniform(0.3, 0.6)) if ripples else _waves(rng, 0, 0, (1, 1), 0)
    return Layer(patch, pan, turn, np.stack([zoom, zoom], -1), waves, ground=True)


def _pillar(rng: np.random.Generator, size: tuple[int, int], length: int, behind: Layer, pictures: list[str]) -> Layer:
    """What hides `behind`: a post from top to bottom in the middle, wider than the object by an eighth of H."""
    h, w = size
    wide = int(2.1 * RADIUS * behind.scale.max() + h / 8)
    cover = np.zeros((int(1.5 * h), wide + 6), np.float32)
    cover[:, 3:-3] = 1
    cover = cv2.GaussianBlur(cover, (0, 0), 0.8)[..., None]
    texture = crop(rng, str(rng.choice(pictures)), cover.shape[:2], (0.4, 0.9))
    centre = np.array([w, h]) / 2 + np.stack([np.linspace(0, rng.uniform(-4, 4), length), np.zeros(length)], -1)
    return Layer(np.concatenate([texture * cover, cover], -1), centre, np.full(length, rng.uniform(-0.06, 0.06)),
                 np.ones((length, 2)))


def _repaint(rng: np.random.Generator, category: str, pictures: list[str], length: int
             ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Another coat for the same shape, the share of it, and a drift of the colours: what changes an appearance."""
    shape, old = category.split(" ")
    texture = crop(rng, str(rng.choice([p for p in pictures if p != old])), (PATCH, PATCH), (0.3, 0.7))
    cover = alpha(shape)[..., None]
    t = np.linspace(0, 1, length)
    mix = np.clip((t - 0.2) / 0.6, 0, 1)
    gain = 1 + t[:, None] * rng.uniform(-0.35, 0.3, 3)
    return np.concatenate([cv2.GaussianBlur(texture, (0, 0), 0.8) * cover, cover], -1), mix * mix * (3 - 2 * mix), gain


# ---- how things move: all smooth, one value (or x, y) a frame ------------------------------------------------------


def _knots(length: int, every: float = 7) -> np.ndarray:
    return np.linspace(0, max(length - 1, 1), max(3, round(length / every) + 1))


def _walk(rng: np.random.Generator, length: int, step: float, flat: bool = False) -> np.ndarray:
    """A smooth random walk, `step` radians (or whatever) a knot; flat: it keeps near 0."""
    t = _knots(length)
    x = rng.uniform(-step, step, len(t)) * 1.5 if flat else rng.uniform(0, 6.28) + np.cumsum(rng.normal(0, step, len(t)))
    return CubicSpline(t, x)(np.arange(length))


def _wander(rng: np.random.Generator, length: int, size: tuple[int, int], start: np.ndarray, speed: float,
            reach: float) -> np.ndarray:
    """A path from `start`, about `speed` pixels a frame, that keeps the centre `reach` away from the frame's edge."""
    low = np.full(2, 0.8 * reach)
    high = np.maximum(np.array(size[::-1]) - low, low + 1)
    t = _knots(length)
    points = [np.asarray(start, float)]
    for gap in np.diff(t):
        aims = rng.uniform(0, 6.28, 24)
        aims = points[-1] + gap * speed * rng.uniform(0.8, 1.2) * np.stack([np.cos(aims), np.sin(aims)], -1)
        out = np.maximum(low - aims, 0).sum(-1) + np.maximum(aims - high, 0).sum(-1)
        points.append(np.clip(aims[int(np.argmin(out))], low, high))
    return CubicSpline(t, np.array(points))(np.arange(length))


def _place(rng: np.random.Generator, size: tuple[int, int], reach: float, places: list) -> np.ndarray:
    """A place for a thing of radius `reach`, as far from the others as 30 tries find."""
    tries = rng.uniform([reach, reach], np.maximum(np.array(size[::-1]) - reach, reach + 1), (30, 2))
    room = [min([np.hypot(*(p - q)) - reach - r for q, r in places], default=0.0) for p in tries]
    good = [i for i, x in enumerate(room) if x >= 0]
    return tries[good[0] if good else int(np.argmax(room))]


def _pass(rng: np.random.Generator, length: int, size: tuple[int, int]) -> np.ndarray:
    """From one side to the other, through the middle (and back, in a long clip)."""
    h, w = size
    period = min(length - 1, 30)
    x = np.interp(np.arange(length) % (2 * period), [0, period, 2 * period], [-0.33, 0.33, -0.33]) * rng.choice([-1, 1])
    y = h * (0.5 + 0.12 * np.sin(np.arange(length) * 0.2 + rng.uniform(0, 6.28)))
    return np.stack([w * (0.5 + x), y], -1)


def _leave(rng: np.random.Generator, length: int, size: tuple[int, int], reach: float) -> np.ndarray:
    """Out at one side and in again at another height of it; away for about a fifth of the clip."""
    h, w = size
    period = length - 1 if length <= 40 else 30
    phase = (np.arange(length) % period) / period if length > 40 else np.arange(length) / period
    y1, y2 = rng.permutation([0.3, 0.7]) * h
    at = [0, 0.15, 0.37, 0.47, 0.6, 0.82, 1]
    x = PchipInterpolator(at, np.array([0.62 * w, 0.7 * w, w + reach, w + 1.1 * reach, w + reach, 0.7 * w, 0.62 * w]))(phase)
    y = PchipInterpolator(at, np.array([y1, y1, y1, (y1 + y2) / 2, y2, y2, y1]))(phase)
    return np.stack([x if rng.random() < 0.5 else w - 1 - x, y], -1)


def _enter(rng: np.random.Generator, length: int, size: tuple[int, int], t0: int, reach: float, unit: float
           ) -> np.ndarray:
    """In frame t0 mostly inside the left or right edge; before that, nowhere; after it, a wander."""
    h, w = size
    side = rng.random() < 0.5
    start = np.array([0.5 * reach if side else w - 0.5 * reach, rng.uniform(reach, max(h - reach, reach + 1))])
    after = _wander(rng, max(length - t0, 2), size, start + [(1.2 if side else -1.2) * reach, 0], 1.6 * unit, reach)
    after = after + (start - after[0]) * np.exp(-np.arange(len(after)) / 2.5)[:, None]
    return np.concatenate([np.tile(start, (t0, 1)), after])[:length]


def _sizes(rng: np.random.Generator, length: int, base: float, varies: bool, grow: bool, pulses: bool) -> np.ndarray:
    """T,2 scales: an aspect of the instance's own, a little breathing, or growing (shrinking) 2.3 times and back."""
    t = np.arange(length)
    log = _walk(rng, length, 0.03, flat=True)
    if varies:
        log = log + (1 if grow else -1) * np.log(2.3) * (1 - np.cos(2 * np.pi * t / (1.4 * min(length, 40)))) / 2
    aspect = rng.uniform(-0.12, 0.12) + (0.2 * np.sin(0.4 * t + rng.uniform(0, 6.28)) if pulses else 0)
    return base * np.exp(np.stack([log + aspect, log - aspect], -1))


def _waves(rng: np.random.Generator, n: int, slope: float, wavelength: tuple[float, float], speed: float) -> np.ndarray:
    """n waves (see scene.Layer), each of the given slope |a||w|, wavelengths in canonical pixels."""
    out = np.zeros((n, 6))
    for k in range(n):
        length, way, side = rng.uniform(*wavelength), rng.uniform(0, 6.28), rng.uniform(0, 6.28)
        a, w = slope * length / 6.2832, 6.2832 / length
        out[k] = (a * np.cos(side), a * np.sin(side), w * np.cos(way), w * np.sin(way), rng.uniform(0, 6.28),
                  speed * rng.choice([-1, 1]))
    return out
