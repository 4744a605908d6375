"""Boxes around masks, how they change, and what lies in them. ...,4: left, top, right, bottom, pixels' outer edges."""

import torch
from torch import Tensor


def boxes_of(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Soft masks B,H,W -> boxes B,4 (left, top, right, bottom; pixels' outer edges) of what is over 1/2, and B bool:
    is there anything? Where not, the box is the whole frame.
    """
    on, (h, w) = mask.detach() > 0.5, mask.shape[-2:]
    columns, rows = on.any(1).float(), on.any(2).float()  # B,W and B,H; argmax: the first of the largest
    box = [columns.argmax(1), rows.argmax(1), w - columns.flip(1).argmax(1), h - rows.flip(1).argmax(1)]
    return torch.stack(box, 1).float(), on.flatten(1).any(1)


def deltas_between(box: Tensor, goal: Tensor) -> Tensor:
    """What turns one box into another, ...,4 each: shift of the centre in sizes of `box`, log of the growth; x, y."""
    size, wanted = box[..., 2:] - box[..., :2], goal[..., 2:] - goal[..., :2]
    shift = (goal[..., :2] + goal[..., 2:] - box[..., :2] - box[..., 2:]) / 2
    return torch.cat([shift / size, (wanted / size).log()], -1)


def refine(box: Tensor, deltas: Tensor, larger: float = 1.0) -> Tensor:
    """The inverse: refine(box, deltas_between(box, goal)) is goal; then `larger` times the size, about its centre."""
    size = box[..., 2:] - box[..., :2]
    centre = (box[..., :2] + box[..., 2:]) / 2 + size * deltas[..., :2]
    half = size * deltas[..., 2:].exp() * larger / 2
    return torch.cat([centre - half, centre + half], -1)


def inside(box: Tensor, size: tuple[int, int]) -> Tensor:
    """The gate: boxes B,4 -> B,H,W, 1 where a pixel's centre is in the box, else 0."""
    left, top, right, bottom = box[..., None, None].unbind(1)  # B,1,1
    x = torch.arange(size[1], device=box.device) + 0.5
    y = torch.arange(size[0], device=box.device)[:, None] + 0.5
    return ((x >= left) & (x < right) & (y >= top) & (y < bottom)).float()
