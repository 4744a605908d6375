"""Lab 3: how warping backwards is judged, its gradient included."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, equals


def corners(x: float, y: float, h: int, w: int) -> list[tuple[int, int, float, float, float]]:
    """The four pixels around a place, those outside left out: row, column, weight, its slope along x and along y."""
    left, top = math.floor(x), math.floor(y)
    a, b = x - left, y - top
    four = [(top, left, (1 - a) * (1 - b), b - 1, a - 1), (top, left + 1, a * (1 - b), 1 - b, -a),
            (top + 1, left, (1 - a) * b, -b, 1 - a), (top + 1, left + 1, a * b, b, a)]
    return [one for one in four if 0 <= one[0] < h and 0 <= one[1] < w]


def warp_oracle(image: Tensor, flow: Tensor) -> np.ndarray:
    """Pixel by pixel: go where the flow points, and mix the four pixels around that place."""
    return _loop(image, flow)[0]


def along_flow_oracle(image: Tensor, flow: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The result, and the slope of its sum along the flow."""
    out, along, _ = _loop(image, flow)
    return out, along


def along_image_oracle(image: Tensor, flow: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The result, and the slope of its sum along the image: how often each pixel is fetched."""
    out, _, along = _loop(image, flow)
    return out, along


def _loop(image: Tensor, flow: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pictures, arrows = image.detach().double().numpy(), flow.detach().double().numpy()
    out, along_flow, along_image = (np.zeros_like(v) for v in (pictures, arrows, pictures))
    h, w = pictures.shape[-2:]
    for n in np.ndindex(pictures.shape[:-3]):
        for y in range(h):
            for x in range(w):
                for row, column, weight, dx, dy in corners(x + arrows[(*n, 0, y, x)], y + arrows[(*n, 1, y, x)], h, w):
                    found = pictures[(*n, slice(None), row, column)]
                    out[(*n, slice(None), y, x)] += weight * found
                    along_image[(*n, slice(None), row, column)] += weight
                    along_flow[(*n, 0, y, x)] += dx * found.sum()
                    along_flow[(*n, 1, y, x)] += dy * found.sum()
    return out, along_flow, along_image


def picture(rng: np.random.Generator, h: int, w: int, c: int = 2, batch: int | None = None) -> Tensor:
    """An image of noise, C,H,W or B,C,H,W in [0.1, 1]: nothing in it is 0, as what lies outside is."""
    shape = (c, h, w) if batch is None else (batch, c, h, w)
    return torch.tensor(rng.uniform(0.1, 1, shape), dtype=torch.float32)


def whole(rng: np.random.Generator, h: int = 9, w: int = 14, dx: int = 3, dy: int = -1) -> Call:
    """All pixels by whole numbers of pixels; the right half by one less along x."""
    flow = torch.tensor([dx, dy], dtype=torch.float32)[:, None, None].expand(2, h, w).clone()
    if dx:
        flow[0, :, w // 2 :] -= 1
    return picture(rng, h, w), flow


def between(rng: np.random.Generator, h: int = 8, w: int = 13, c: int = 2, batch: int | None = None,
            far: float = 2.6) -> Call:
    """Each pixel by its own way, up to `far` pixels, never near a whole number of them, outside too."""
    shape = (2, h, w) if batch is None else (batch, 2, h, w)
    steps = rng.integers(-math.floor(far), math.floor(far) + 1, shape) + rng.uniform(0.15, 0.85, shape)
    return picture(rng, h, w, c, batch), torch.tensor(steps, dtype=torch.float32)


def _warp(sign: int = 1, swap: bool = False, mode: str = "bilinear", pad: str = "zeros", scale: str = "right",
          sizes: bool = False, rows_first: bool = False) -> Callable[..., Tensor]:
    """A warp with one thing wrong."""

    def wrong(image: Tensor, flow: Tensor) -> Tensor:
        h, w = image.shape[-2:]
        f = sign * (flow.flip(-3) if swap else flow)
        y, x = (v.float() for v in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
        x, y = x + f[..., 0, :, :], y + f[..., 1, :, :]
        across, down = (h, w) if sizes else (w, h)
        aligned = scale == "aligned"
        if scale == "right":
            x, y = (2 * x + 1) / across - 1, (2 * y + 1) / down - 1
        elif scale == "pixels":
            pass
        elif scale == "half":  # made for align_corners=True, sampled without
            x, y = 2 * x / (across - 1) - 1, 2 * y / (down - 1) - 1
        elif aligned:  # made for align_corners=False, sampled with
            x, y = (2 * x + 1) / across - 1, (2 * y + 1) / down - 1
        else:  # neither
            x, y = 2 * x / across - 1, 2 * y / down - 1
        where = torch.stack([y, x] if rows_first else [x, y], -1)
        lead = image.shape[:-3]
        out = F.grid_sample(image.reshape(-1, *image.shape[-3:]), where.reshape(-1, h, w, 2), mode, pad, aligned)
        return out.reshape(*lead, *out.shape[-3:])

    return wrong


def _pushed(image: Tensor, flow: Tensor) -> Tensor:
    """Forwards: each pixel is thrown to where its arrow points."""
    out = torch.zeros_like(image)
    h, w = image.shape[-2:]
    for n in np.ndindex(image.shape[:-3]):
        for y in range(h):
            for x in range(w):
                tx, ty = x + round(float(flow[(*n, 0, y, x)])), y + round(float(flow[(*n, 1, y, x)]))
                if 0 <= tx < w and 0 <= ty < h:
                    out[(*n, slice(None), ty, tx)] = image[(*n, slice(None), y, x)]
    return out


def warp_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]], grad: int | None = None
              ) -> Case:
    """A case of `warp`; grad: 0 asks for the gradient along the image, 1 along the flow."""
    oracle = {None: warp_oracle, 0: along_image_oracle, 1: along_flow_oracle}[grad]
    return Case(name, calls, equals(oracle, hint, atol=1e-3), grad=grad)


WARP = Exercise(
    "lab3.warp",
    cases=(
        warp_case("whole pixels", "out(p) = image(p + flow(p)): an arrow (3, -1) FETCHES from 3 to the right and 1 up",
                  lambda rng: [whole(rng)]),
        warp_case("between pixels", "between pixels the four around are mixed; outside the image all is 0",
                  lambda rng: [between(rng)]),
        warp_case("a batch, each with its own flow", "image B,C,H,W goes with flow B,2,H,W, picture by picture",
                  lambda rng: [between(rng, 7, 11, 3, batch=2)]),
        warp_case("the gradient along the flow", "a small change of the flow must change the result: no rounding, all "
                  "in torch", lambda rng: [between(rng, 6, 10)], grad=1),
        warp_case("no motion", "where all flow is 0, the result is the image itself, to its border",
                  lambda rng: [whole(rng, 6, 11, 0, 0)]),
    ),
    hints=(
        "Fetch, do not throw: for every pixel p of the result, which place of the image does it come from? The grid of "
        "all p, plus the flow, is the list of those places.",
        "torch.meshgrid(torch.arange(h), torch.arange(w), indexing='ij') gives y and x; add flow[..., 1, :, :] and "
        "flow[..., 0, :, :]. F.grid_sample wants B,H,W,2 of (x, y), from -1 to 1.",
        "With align_corners=False, -1 and 1 are the outer edges of the outer pixels: x of 0 ... w-1 becomes "
        "(2 * x + 1) / w - 1, and y likewise with h. Give a single image a batch of one, and take it off again.",
    ),
    library="vos_teach.ops.warp:warp",
    suspects=(
        (_warp(sign=-1), "the sign is turned round: fetch at p + flow(p), not at p - flow(p)"),
        (_pushed, "that is forward warping: pixels are thrown, and holes stay. Fetch for each pixel of the RESULT"),
        (_warp(swap=True), "x and y of the flow are swapped: channel 0 is dx, along the columns; channel 1 is dy"),
        (_warp(rows_first=True), "grid_sample wants (x, y), columns first"),
        (_warp(mode="nearest"), "that is the nearest pixel: mix the four around, by bilinear sampling"),
        (_warp(pad="border"), "outside the image all is 0: the border must not be repeated (padding_mode='zeros')"),
        (_warp(sizes=True), "x is divided by the height and y by the width: the other way round"),
        (_warp(scale="half"), "the grid is made for align_corners=True but sampled with False: choose one for both"),
        (_warp(scale="aligned"), "the grid is made for align_corners=False but sampled with True: choose one for both"),
        (_warp(scale="neither"), "the grid is half a pixel off: with align_corners=False it is (2x + 1) / w - 1"),
        (_warp(scale="pixels"), "grid_sample does not count in pixels: it wants -1 at one edge and 1 at the other"),
    ),
)
