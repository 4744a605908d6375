"""Backward bilinear warping."""

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """out(p) = image(p + flow(p)), bilinear; image ...,C,H,W, flow ...,2,H,W in pixels (dx, dy); 0 outside."""
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h, device=flow.device), torch.arange(w, device=flow.device), indexing="ij")
    # grid_sample counts from -1 to 1 between the outer edges of the outer pixels (align_corners=False)
    gx = (2 * (x + flow[..., 0, :, :]) + 1) / w - 1  # ...,H,W
    gy = (2 * (y + flow[..., 1, :, :]) + 1) / h - 1
    grid = torch.stack([gx, gy], dim=-1)  # ...,H,W,2
    lead = torch.broadcast_shapes(image.shape[:-3], grid.shape[:-3])
    image = image.expand(*lead, *image.shape[-3:]).reshape(-1, *image.shape[-3:])
    grid = grid.expand(*lead, *grid.shape[-3:]).reshape(-1, *grid.shape[-3:])
    out = F.grid_sample(image, grid.to(image.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
    return out.reshape(*lead, *out.shape[-3:])
