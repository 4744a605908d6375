"""Lab 5b: how CFBI's two distances are judged: to the nearest pixel of an object, and to all that is not the object."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, equals

# ---- global_distance --------------------------------------------------------------------------------------------


def distance_oracle(query: Tensor, memory: Tensor, mask: Tensor, bias: Any = 0.0) -> np.ndarray:
    """Pixel by pixel: the least squared distance to any memory pixel under the mask, then the map to [0,1]."""
    q, m, on, b = query.detach().double().numpy(), memory.double().numpy(), mask.numpy(), float(bias)
    out = np.ones((*on.shape[:-2], *q.shape[1:]))
    for lead in np.ndindex(on.shape[:-2]):
        places = np.argwhere(on[lead])
        if len(places) == 0:
            continue
        for y, x in np.ndindex(*q.shape[1:]):
            d = min(((q[:, y, x] - m[:, i, j]) ** 2).sum() for i, j in places)
            out[(*lead, y, x)] = (1 / (1 + math.exp(-(d + b))) - 0.5) * 2
    return out


def along_query_oracle(query: Tensor, memory: Tensor, mask: Tensor, bias: Any = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The result, and the slope of its sum along the query: through the nearest pixel of each mask."""
    q, m, on, b = query.detach().double().numpy(), memory.double().numpy(), mask.numpy(), float(bias)
    slope = np.zeros_like(q)
    for lead in np.ndindex(on.shape[:-2]):
        places = np.argwhere(on[lead])
        for y, x in np.ndindex(*q.shape[1:]) if len(places) else ():
            gaps = np.array([q[:, y, x] - m[:, i, j] for i, j in places])
            nearest = gaps[(gaps**2).sum(1).argmin()]
            s = 1 / (1 + math.exp(-((nearest**2).sum() + b)))
            slope[:, y, x] += 2 * s * (1 - s) * 2 * nearest
    return distance_oracle(query, memory, mask, bias), slope


def scene(rng: np.random.Generator, h: int = 4, w: int = 5, lead: Sequence[int] = (2,), c: int = 4,
          memory: tuple[int, int] | None = None, empty: bool = False, bias: Any = None, far: float = 0.0,
          share: float = 0.4) -> Call:
    """Embeddings of a frame and of memory, and masks of what is there. memory: its h,w, where it has another size;
    empty: the first mask has no pixel; bias: the fourth argument; far: how far off what is not under a mask lies."""
    th, tw = memory or (h, w)
    q, m = rng.normal(size=(c, h, w)) * 0.6, rng.normal(size=(c, th, tw)) * 0.6
    on = rng.random((*lead, th, tw)) < share
    for at in np.ndindex(*lead):
        on[(*at, rng.integers(th), rng.integers(tw))] = True
    if not lead:
        on[rng.integers(th), rng.integers(tw)] = True
    if empty:
        on[(0,) * len(lead)] = False
    m = m + far * ~on.any(tuple(range(len(lead)))) if far else m
    call = tuple(torch.tensor(x, dtype=torch.float32) for x in (q, m))
    return (*call, torch.tensor(on), *([] if bias is None else [bias]))


def apart(rng: np.random.Generator, h: int = 4, w: int = 6, c: int = 3) -> Call:
    """Two masks; each pixel of the frame has one that is close, and pixels under no mask are closer still."""
    q, m, on, _ = (*scene(rng, h, w, (2,), c), None)
    m = m.clone()
    free = ~on.any(0)
    m[:, free] = q[:, free] + 0.01  # outside all masks: what the frame itself looks like
    return q, m, on


def distance_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], grad: bool = False
                  ) -> Case:
    """A case of `global_distance`; grad: the slope along the query, too."""
    if grad:
        return Case(name, calls, equals(along_query_oracle, hint, 1e-4, 1e-3), grad=0)
    return Case(name, calls, equals(distance_oracle, hint, 1e-4, 1e-4))


def _distance(how: str = "", power: int = 2, mapped: str = "", least: str = "min", bias: str = "in",
              empty: float = 1.0, where: str = "under") -> Callable[..., Tensor]:
    """A distance with one thing wrong."""

    def wrong(query: Tensor, memory: Tensor, mask: Tensor, b: Any = 0.0) -> Tensor:
        h, w = query.shape[1:]
        q, m, on = query.flatten(1), memory.flatten(1), mask.flatten(-2)
        gap = q[:, :, None] - m[:, None]  # C,M,N
        d = {1: gap.abs().sum(0), 2: gap.square().sum(0), 3: gap.square().sum(0).sqrt(), 4: gap.square().mean(0)}[power]
        if how == "product":
            d = -(q.T @ m)
        if how == "cosine":
            d = 1 - torch.cosine_similarity(q[:, :, None], m[:, None], dim=0)
        on = {"under": on, "outside": ~on, "all": torch.ones_like(on), "any": on.flatten(0, -2).any(0).expand_as(on)
              if on.ndim > 1 else on}[where]
        d = d.expand(*on.shape[:-1], *d.shape)  # ...,M,N
        if least == "min":
            d = d.masked_fill(~on[..., None, :], torch.inf).amin(-1)
        elif least == "max":
            d = d.masked_fill(~on[..., None, :], -torch.inf).amax(-1)
        elif least == "mean":
            d = (d * on[..., None, :]).sum(-1) / on.sum(-1)[..., None]
        elif least == "zeroed":
            d = (d * on[..., None, :]).amin(-1)
        elif least == "prototype":
            mean = (m * on[..., None, :]).sum(-1) / on.sum(-1)[..., None]  # ...,C
            d = (q - mean[..., None]).square().sum(-2)
        d = d.view(*on.shape[:-1], h, w)
        d = {"in": d + b, "none": d, "scaled": d * (1 + b), "minus": d - b, "out": d}[bias]
        said = {"": (torch.sigmoid(d) - 0.5) * 2, "sigmoid": torch.sigmoid(d), "half": torch.sigmoid(d) - 0.5,
                "raw": d, "exp": 1 - torch.exp(-d), "near": 1 - (torch.sigmoid(d) - 0.5) * 2}[mapped]
        said = said + b if bias == "out" else said
        return torch.where(on.any(-1)[..., None, None], said, torch.tensor(empty))

    return wrong


GLOBAL_DISTANCE = Exercise(
    "lab5b.global_distance",
    cases=(
        distance_case("two masks", "(sigmoid(d) - 1/2) * 2 of the squared distance to the NEAREST memory pixel under "
                      "each mask", lambda rng: [scene(rng)]),
        distance_case("a mask alone, in a smaller memory", "mask H,W gives H,W; memory may have another size than the "
                      "frame", lambda rng: [scene(rng, 3, 5, (), memory=(2, 4))]),
        distance_case("nearer ones outside", "only pixels UNDER the mask count, however near others are",
                      lambda rng: [apart(rng)]),
        distance_case("an empty mask among others", "nothing is near where there is nothing: 1 for an empty mask",
                      lambda rng: [scene(rng, lead=(3,), empty=True)]),
        distance_case("with a bias", "the bias is added to the squared distance, before the sigmoid",
                      lambda rng: [scene(rng, bias=0.7), scene(rng, bias=torch.tensor(-0.4))]),
        distance_case("the gradient along the query", "the gradient is wrong: it goes through the nearest pixel",
                      lambda rng: [scene(rng, 3, 3, empty=True)], grad=True),
    ),
    hints=(
        "All distances first, once for all masks: M query pixels by N memory pixels. What has to become of the columns "
        "that are not under a mask, so that a minimum never takes them?",
        "q, m = query.flatten(1), memory.flatten(1); d = (q[:, :, None] - m[:, None]).square().sum(0) is M,N. For all "
        "masks: d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf), then amin(-1).",
        "(torch.sigmoid(nearest + bias) - 0.5) * 2, as ...,H,W. sigmoid(inf) is 1, so an empty mask gives 1, unless "
        "something else was done to it.",
    ),
    library="vos_teach.ops.matching:global_distance",
    relatives=("vos_teach.ops.matching:local_distance", "vos_teach.ops.matching:mapped"),
    suspects=(
        (_distance(power=3), "the distance is not squared: no root here"),
        (_distance(power=1), "that is the L1 distance: sum the SQUARES of the differences"),
        (_distance(power=4), "a mean over the channels: it is their sum"),
        (_distance("product"), "a dot product is no distance: |q - m|^2"),
        (_distance("cosine"), "that is the cosine distance: |q - m|^2 is asked for"),
        (_distance(least="max"), "the FARTHEST pixel is taken: it is the nearest one"),
        (_distance(least="mean"), "the mean of all distances: it is the least of them, one near pixel is enough"),
        (_distance(least="prototype"), "the distance to the mask's mean embedding: it is that to its nearest PIXEL"),
        (_distance(least="zeroed"), "what is outside the mask counts as distance 0, and 0 wins: make it infinite"),
        (_distance(where="outside"), "that is the distance to what is NOT under the mask"),
        (_distance(where="all"), "the mask is not used: all memory pixels count"),
        (_distance(where="any"), "all masks are put together: each has a distance of its own"),
        (_distance(mapped="sigmoid"), "a sigmoid alone begins at 1/2: (sigmoid(d) - 1/2) * 2 begins at 0"),
        (_distance(mapped="half"), "it ends at 1/2: (sigmoid(d) - 1/2) * 2"),
        (_distance(mapped="raw"), "the distance itself: map it to [0,1] by (sigmoid(d) - 1/2) * 2"),
        (_distance(mapped="exp"), "1 - exp(-d): the map is (sigmoid(d) - 1/2) * 2"),
        (_distance(mapped="near"), "that is how NEAR it is: 0 is for the same, 1 for far away"),
        (_distance(empty=0.0), "an empty mask gives 0, as if it were everywhere: nothing is near, so 1"),
        (_distance(bias="none"), "the bias is not used"),
        (_distance(bias="out"), "the bias is added at the end: it belongs to d, before the sigmoid"),
        (_distance(bias="minus"), "the bias is subtracted: d + b"),
    ),
)

# ---- rest_distance ----------------------------------------------------------------------------------------------


def rest_oracle(distance: Tensor) -> np.ndarray:
    """Object by object: the least of all labels but its own."""
    d = distance.detach().double().numpy()
    return np.stack([np.min([d[label] for label in range(len(d)) if label != k], axis=0) for k in range(1, len(d))])


def along_distance_oracle(distance: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The result, and the slope of its sum: 1 for each time that a label is somebody's nearest rest."""
    d = distance.detach().double().numpy()
    slope = np.zeros_like(d)
    for k in range(1, len(d)):
        for at in np.ndindex(d.shape[1:]):
            label = min((n for n in range(len(d)) if n != k), key=lambda n: d[(n, *at)])
            slope[(label, *at)] += 1
    return rest_oracle(distance), slope


def tables(rng: np.random.Generator, objects: int = 3, shape: Sequence[int] = (4, 6), gone: int | None = None) -> Call:
    """Distances to the background and to so many objects. gone: a label that is nowhere, so at distance 1."""
    d = rng.uniform(0, 0.95, (objects + 1, *shape))
    if gone is not None:
        d[gone] = 1
    return (torch.tensor(d, dtype=torch.float32),)


def rest_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], grad: bool = False) -> Case:
    """A case of `rest_distance`; grad: its gradient, too."""
    return Case(name, calls, equals(along_distance_oracle if grad else rest_oracle, hint), grad=0 if grad else None)


def _rest(how: str) -> Callable[[Tensor], Tensor]:
    """A rest with one thing wrong."""

    def wrong(distance: Tensor) -> Tensor:
        objects = range(1, len(distance))
        parts = {k: torch.cat([distance[:k], distance[k + 1 :]]) for k in objects}
        if how == "background":
            return distance[:1].expand_as(distance[1:])
        if how == "objects":
            return torch.stack([torch.cat([distance[1:k], distance[k + 1 :]]).amin(0) for k in objects])
        if how == "all":
            return distance.amin(0).expand_as(distance[1:])
        if how == "max":
            return torch.stack([p.amax(0) for p in parts.values()])
        if how == "mean":
            return torch.stack([p.mean(0) for p in parts.values()])
        if how == "product":
            return torch.stack([p.prod(0) for p in parts.values()])
        if how == "shifted":
            return torch.stack([torch.cat([distance[: k - 1], distance[k:]]).amin(0) for k in objects])
        if how == "too many":
            return torch.stack([torch.cat([distance[:k], distance[k + 1 :]]).amin(0) for k in range(len(distance))])
        if how == "own":
            return distance[1:]
        return 1 - distance[1:]

    return wrong


REST_DISTANCE = Exercise(
    "lab5b.rest_distance",
    cases=(
        rest_case("three objects", "the least distance to all labels that are not the object's: background and OTHER "
                  "objects", lambda rng: [tables(rng)]),
        rest_case("one object", "a single object: all that is not it is the background", lambda rng: [tables(rng, 1)]),
        rest_case("several windows", "whatever axes come after the labels stay as they are",
                  lambda rng: [tables(rng, 2, (3, 2, 5))]),
        rest_case("the gradient", "the gradient goes to the label that is the nearest", lambda rng: [tables(rng, 2)],
                  grad=True),
    ),
    hints=(
        "For object k, which of the K+1 planes say something about what is NOT object k? A minimum over those.",
        "torch.cat([distance[:k], distance[k + 1:]]) are all labels but k, and amin(0) is the nearest of them. Objects "
        "are the labels 1..K.",
        "return torch.stack([torch.cat([distance[:k], distance[k + 1:]]).amin(0) for k in range(1, len(distance))])",
    ),
    library="vos_teach.transformers.cfbi:others",
    suspects=(
        (_rest("background"), "the background alone: the OTHER objects are not this object either"),
        (_rest("objects"), "the background is left out: it is a label, too, the first"),
        (_rest("all"), "the object itself is among them: leave out its own label"),
        (_rest("max"), "the farthest of them: the nearest counts"),
        (_rest("mean"), "a mean: the nearest of them counts"),
        (_rest("product"), "a product: the nearest of them counts, the minimum"),
        (_rest("shifted"), "another label is left out: object k is label k, as label 0 is the background"),
        (_rest("too many"), "the background is no object: K results, for labels 1 to K"),
        (_rest("own"), "that is the distance to the object itself: the rest is asked for"),
        (_rest("one minus"), "1 - its own distance: how far the object is says nothing of how near the rest is"),
    ),
)
