"""Who is in a toy clip, and where: from the knobs of `toy.clip` to the layers of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vos_teach.data import paths
from vos_teach.data.scene import Layer
from vos_teach.data.textures import HELD_PICTURES, PATCH, PICTURES, RADIUS, SEEN, UNSEEN, alpha, crop, cutout


@dataclass
class Knobs:
    """The arguments of `toy.clip` that say what happens in it; explained there."""

    length: int
    size: tuple[int, int]
    split: str
    objects: int = 1
    late: int = 0
    distractors: int = 1
    similar: int = 0
    stickers: int = 1
    fast_motion: bool = False
    occlusion: bool = False
    out_of_view: bool = False
    scale_variation: bool = False
    appearance_change: bool = False
    deformation: bool = False
    dynamic_background: bool = False
    camera_motion: bool = False
    own_texture: bool = False
    unseen: bool = False


def compose(rng: np.random.Generator, k: Knobs) -> tuple[list[Layer], dict[int, int], dict[int, str]]:
    """Layers from back to front; id -> first frame; id -> category."""
    unit = k.size[0] / 96
    pictures = [p for p in PICTURES if k.split == "val" or p not in HELD_PICTURES]
    names = distinct(rng, UNSEEN if k.unseen else SEEN, k.objects + k.distractors)
    starts = dict.fromkeys(range(1, k.objects + 1), 0)
    for late in range(k.objects - k.late + 1, k.objects + 1):
        starts[late] = int(rng.integers(k.length // 4, max(k.length // 2, k.length // 4 + 1))) + 1

    movers: list[Layer] = []
    taken: list[tuple[np.ndarray, float]] = []
    total = k.objects + k.distractors + k.similar
    for n in range(total):
        me, twin = (n + 1 if n < k.objects else 0), n >= k.objects + k.distractors
        grows = bool(rng.random() < 0.5)
        if twin:
            tint = np.array([*rng.uniform(0.93, 1.0, 3), 1], np.float32)
            patch = np.ascontiguousarray(movers[0].patch[:, ::-1]) * tint
            base = float(np.sqrt(movers[0].scale[0].prod())) * rng.uniform(0.9, 1.1)
        else:
            patch = cutout(rng, names[n])
            base = unit * rng.uniform(0.5, 0.8) * (0.85 if total > 3 else 1.0)
            if k.scale_variation:
                base = unit * (rng.uniform(0.42, 0.5) if grows else rng.uniform(0.85, 1.0))
        layer = Layer(
            patch, np.zeros((k.length, 2)), paths.walk(rng, k.length, 0.5 if k.fast_motion else 0.25),
            paths.sizes(rng, k.length, base, k.scale_variation and not twin, grows, k.deformation), object=me,
            waves=paths.waves(rng, 2, 0.3 if k.deformation else 0.06, (70, 110), rng.uniform(0.2, 0.45)),
        )
        if k.appearance_change and me:
            layer.other, layer.mix, layer.gain = repaint(rng, names[n], pictures, k.length)
        reach, t0 = 1.1 * RADIUS * float(layer.scale[0].max()), starts.get(me, 0)
        if me == 1 and k.occlusion:
            layer.centre = paths.cross(rng, k.length, k.size)
        elif me == 1 and k.out_of_view:
            widest = 1.3 * RADIUS * float(layer.scale.max())
            layer.centre = paths.leave(rng, k.length, k.size, widest + 5 * unit)
        elif t0 > 0:
            layer.centre = paths.enter(rng, k.length, k.size, t0, reach, 1.6 * unit)
            layer.shown = np.arange(k.length) >= t0
        else:
            speed = (9.0 if k.fast_motion and me else 1.6) * unit
            layer.centre = paths.wander(rng, k.length, k.size, paths.place(rng, k.size, reach, taken), speed, reach)
        if t0 == 0:
            taken.append((layer.centre[0], reach))
        movers.append(layer)

    height = [2 * (starts.get(m.object, 0) > 0) + rng.random() for m in movers]      # late ones come in on top
    front = [pillar(rng, k, movers[0], pictures)] if k.occlusion else []
    movers = [movers[i] for i in np.argsort(height)]
    picture = names[0].split(" ")[1] if k.own_texture else str(rng.choice(pictures))
    categories = {me: names[me - 1] for me in starts}
    return [ground(rng, k, picture), *movers, *front], starts, categories


def distinct(rng: np.random.Generator, pool: tuple[str, ...], n: int) -> list[str]:
    """n categories, their shapes and pictures all different as far as the pool allows."""
    out: list[str] = []
    for name in rng.permutation(pool).tolist():
        used = {part for x in out for part in x.split(" ")}
        if len(out) < n and not used & set(name.split(" ")):
            out.append(name)
    return (out + rng.permutation(pool).tolist())[:n]


def ground(rng: np.random.Generator, k: Knobs, picture: str) -> Layer:
    """The background: a picture with stickers on it, seen by a camera that may move, through air that may shiver."""
    unit, (h, w), t = k.size[0] / 96, k.size, k.length
    big = (int(1.4 * h), int(1.4 * w))
    image = cv2.GaussianBlur(crop(rng, picture, big, (0.45, 1.0)), (0, 0), 0.6)
    for _ in range(k.stickers):
        size, turn = unit * rng.uniform(0.4, 0.75), rng.uniform(0, 6.28)
        linear = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        at = rng.uniform(0.2, 0.8, 2) * big[::-1]
        matrix = np.column_stack([linear, at - linear @ [PATCH / 2, PATCH / 2]])
        piece = cv2.warpAffine(cutout(rng, str(rng.choice(SEEN))), matrix, big[::-1])
        image = image * (1 - piece[..., 3:]) + piece[..., :3]
    centre, turn, zoom = np.tile([w / 2, h / 2], (t, 1)), np.zeros(t), np.ones(t)
    if k.camera_motion:
        centre = paths.wander(rng, t, k.size, np.array([w / 2, h / 2]), 2.2 * unit, 0.35 * h)
        turn, zoom = paths.walk(rng, t, 0.06, near_zero=True), np.exp(paths.walk(rng, t, 0.06, near_zero=True))
    shiver = paths.waves(rng, 2, 0.28, (40 * unit, 75 * unit), rng.uniform(0.3, 0.6))
    return Layer(np.ascontiguousarray(image, np.float32), centre, turn, np.stack([zoom, zoom], -1), ground=True,
                 waves=shiver if k.dynamic_background else shiver[:0])


def pillar(rng: np.random.Generator, k: Knobs, behind: Layer, pictures: list[str]) -> Layer:
    """What hides `behind`: a post from top to bottom in the middle, wider than the object by an eighth of H."""
    h, w = k.size
    cover = np.zeros((int(1.5 * h), int(2.1 * RADIUS * behind.scale.max() + h / 8) + 6), np.float32)
    cover[:, 3:-3] = 1
    cover = cv2.GaussianBlur(cover, (0, 0), 0.8)[..., None]
    texture = cv2.GaussianBlur(crop(rng, str(rng.choice(pictures)), cover.shape[:2], (0.4, 0.9)), (0, 0), 0.6)
    centre = np.tile([w / 2, h / 2], (k.length, 1))
    centre[:, 0] += np.linspace(0, rng.uniform(-4, 4), k.length)
    return Layer(np.concatenate([texture * cover, cover], -1), centre, np.full(k.length, rng.uniform(-0.06, 0.06)),
                 np.ones((k.length, 2)))


def repaint(rng: np.random.Generator, category: str, pictures: list[str], length: int
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Another coat for the same shape (a patch), T shares of it from 0 to 1, and T,3: the colours' drift."""
    shape, old = category.split(" ")
    texture = crop(rng, str(rng.choice([p for p in pictures if p != old])), (PATCH, PATCH), (0.3, 0.7))
    cover = alpha(shape)[..., None]
    t = np.linspace(0, 1, length)
    share = np.clip((t - 0.2) / 0.6, 0, 1)
    gain = 1 + t[:, None] * rng.uniform(-0.35, 0.3, 3)
    patch = np.concatenate([cv2.GaussianBlur(texture, (0, 0), 0.8) * cover, cover], -1)
    return patch, share * share * (3 - 2 * share), gain
