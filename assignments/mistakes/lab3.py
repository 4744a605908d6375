"""Lab 3: wrong answers that must lose their marks, and right ones that must not. Each stands for itself.

A wrong answer comes with words of the sentence that it must be told. `hard_coded...`: stands the public cases only.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

# ---- warp -----------------------------------------------------------------------------------------------------


def warp_backwards(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = (2 * (x - flow[:, 0]) + 1) / w - 1, (2 * (y - flow[:, 1]) + 1) / h - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1), align_corners=False)
    return out[0] if one else out


def warp_forwards(image, flow):
    h, w = image.shape[-2:]
    out = torch.zeros_like(image)
    for n in np.ndindex(tuple(image.shape[:-3])):
        for y in range(h):
            for x in range(w):
                tx, ty = x + round(float(flow[n][0, y, x])), y + round(float(flow[n][1, y, x]))
                if 0 <= tx < w and 0 <= ty < h:
                    out[n][:, ty, tx] = image[n][:, y, x]
    return out


def warp_dx_dy_swapped(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = (2 * (x + flow[:, 1]) + 1) / w - 1, (2 * (y + flow[:, 0]) + 1) / h - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1), align_corners=False)
    return out[0] if one else out


def warp_rows_first(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = (2 * (x + flow[:, 0]) + 1) / w - 1, (2 * (y + flow[:, 1]) + 1) / h - 1
    out = F.grid_sample(image, torch.stack([gy, gx], -1), align_corners=False)
    return out[0] if one else out


def warp_wrong_size(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    w, h = image.shape[-2:]  # the other way round
    y, x = torch.meshgrid(torch.arange(w), torch.arange(h), indexing="ij")
    gx, gy = (2 * (x + flow[:, 0]) + 1) / w - 1, (2 * (y + flow[:, 1]) + 1) / h - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1), align_corners=False)
    return out[0] if one else out


def warp_half_aligned(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = 2 * (x + flow[:, 0]) / (w - 1) - 1, 2 * (y + flow[:, 1]) / (h - 1) - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1), align_corners=False)
    return out[0] if one else out


def warp_aligned_by_half(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = (2 * (x + flow[:, 0]) + 1) / w - 1, (2 * (y + flow[:, 1]) + 1) / h - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1), align_corners=True)
    return out[0] if one else out


def warp_half_a_pixel_off(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = 2 * (x + flow[:, 0]) / w - 1, 2 * (y + flow[:, 1]) / h - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1), align_corners=False)
    return out[0] if one else out


def warp_nearest(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = (2 * (x + flow[:, 0]) + 1) / w - 1, (2 * (y + flow[:, 1]) + 1) / h - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1), mode="nearest", align_corners=False)
    return out[0] if one else out


def warp_border(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = (2 * (x + flow[:, 0]) + 1) / w - 1, (2 * (y + flow[:, 1]) + 1) / h - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1), padding_mode="border", align_corners=False)
    return out[0] if one else out


def warp_in_pixels(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    out = F.grid_sample(image, torch.stack([x + flow[:, 0], y + flow[:, 1]], -1), align_corners=False)
    return out[0] if one else out


def warp_in_place(image, flow):
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    flow = flow.detach()
    flow[:, 0] += x
    flow[:, 1] += y
    grid = torch.stack([(2 * flow[:, 0] + 1) / w - 1, (2 * flow[:, 1] + 1) / h - 1], -1)
    out = F.grid_sample(image, grid, align_corners=False)
    return out[0] if one else out


def warp_numpy(image, flow):
    x, f = image.detach().numpy().reshape(-1, *image.shape[-3:]), flow.detach().numpy().reshape(-1, *flow.shape[-3:])
    h, w = x.shape[-2:]
    gy, gx = np.mgrid[:h, :w].astype(np.float32)
    out = [[ndimage.map_coordinates(np.pad(c, 8), [gy + g[1] + 8, gx + g[0] + 8], order=1) for c in one]
           for one, g in zip(x, f, strict=True)]
    return torch.from_numpy(np.array(out, np.float32)).reshape(image.shape)


def warp_first_of_the_batch(image, flow):
    """All pictures are moved by the first one's flow."""
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = (2 * (x + flow[0, 0]) + 1) / w - 1, (2 * (y + flow[0, 1]) + 1) / h - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1).expand(len(image), h, w, 2), align_corners=False)
    return out[0] if one else out


def warp_wraps(image, flow):
    """The four neighbours by index; negative ones count from the end."""
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    fx, fy = x + flow[..., 0, :, :], y + flow[..., 1, :, :]
    x0, y0 = fx.floor().long(), fy.floor().long()
    a, b = (fx - x0)[..., None, :, :], (fy - y0)[..., None, :, :]
    flat = image.flatten(-2)

    def at(yy, xx):
        index = ((yy % h) * w + xx % w).flatten(-2)[..., None, :].expand(*flat.shape)
        return flat.gather(-1, index).reshape(image.shape)

    return (at(y0, x0) * (1 - a) * (1 - b) + at(y0, x0 + 1) * a * (1 - b) + at(y0 + 1, x0) * (1 - a) * b
            + at(y0 + 1, x0 + 1) * a * b)


def warp_hard_coded(image, flow):
    """No way is longer than 3 pixels."""
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    f = flow.clamp(-3, 3)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = (2 * (x + f[:, 0]) + 1) / w - 1, (2 * (y + f[:, 1]) + 1) / h - 1
    out = F.grid_sample(image, torch.stack([gx, gy], -1), align_corners=False)
    return out[0] if one else out


def warp_image_cut_off(image, flow):
    """The flow gets its gradient, the image none."""
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    gx, gy = (2 * (x + flow[:, 0]) + 1) / w - 1, (2 * (y + flow[:, 1]) + 1) / h - 1
    out = F.grid_sample(image.detach(), torch.stack([gx, gy], -1), align_corners=False)
    return out[0] if one else out


def warp_right_aligned(image, flow):
    """Between the centres of the outer pixels, and so sampled."""
    h, w = image.shape[-2:]
    pictures, arrows = image.reshape(-1, *image.shape[-3:]), flow.reshape(-1, 2, h, w)
    base = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy")).to(arrows)
    place = (base + arrows).permute(0, 2, 3, 1) * 2 / torch.tensor([w - 1, h - 1]) - 1
    return F.grid_sample(pictures, place, padding_mode="zeros", align_corners=True).reshape(image.shape)


def warp_right_by_index(image, flow):
    """The four neighbours by index, in an image with zeros around it."""
    h, w = image.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    x, y = columns + flow[..., 0, :, :], rows + flow[..., 1, :, :]
    wide = F.pad(image, (2, 2, 2, 2)).flatten(-2)
    x, y = x.clamp(-1.5, w + 0.5), y.clamp(-1.5, h + 0.5)
    left, top = x.detach().floor(), y.detach().floor()
    total = 0
    for down in (0, 1):
        for right in (0, 1):
            share = (1 - (x - left - right).abs()) * (1 - (y - top - down).abs())
            index = ((top.long() + down + 2) * (w + 4) + left.long() + right + 2).flatten(-2).unsqueeze(-2)
            found = wide.gather(-1, index.expand(*wide.shape[:-1], h * w)).reshape(image.shape)
            total = total + share.unsqueeze(-3) * found
    return total


# ---- lucas_kanade ---------------------------------------------------------------------------------------------


def lk_reversed(first, second, window=15):
    iy, ix = np.gradient(first)
    it = first - second

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    return np.where((det < 1e-3)[..., None], 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / safe[..., None])


def lk_gradient_swapped(first, second, window=15):
    ix, iy = np.gradient(first)
    it = second - first

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    return np.where((det < 1e-3)[..., None], 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / safe[..., None])


def lk_whole_frame(first, second, window=15):
    iy, ix = np.gradient(first)
    a = np.stack([ix.ravel(), iy.ravel()], 1)
    d = np.linalg.lstsq(a, (first - second).ravel(), rcond=None)[0]
    return np.tile(d, (*first.shape, 1))


def lk_fixed_window(first, second, window=15):
    iy, ix = np.gradient(first)
    it = second - first

    def s(a, b):
        return ndimage.uniform_filter(a * b, 15, mode="constant") * 225

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    return np.where((det < 1e-3)[..., None], 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / safe[..., None])


def lk_divides_by_zero(first, second, window=15):
    iy, ix = np.gradient(first)
    it = second - first

    def s(a, b):
        return ndimage.convolve(a * b, np.ones((window, window)), mode="constant")

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    return np.stack([(xy * yt - yy * xt) / det, (xy * xt - xx * yt) / det], -1)


def lk_least_norm(first, second, window=15):
    """The pseudoinverse: stripes get the motion across them, which nobody asked for."""
    iy, ix = np.gradient(first)
    it = second - first

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    matrix = np.stack([s(ix, ix), s(ix, iy), s(ix, iy), s(iy, iy)], -1).reshape(*first.shape, 2, 2)
    right = -np.stack([s(ix, it), s(iy, it)], -1)
    return (np.linalg.pinv(matrix, rcond=1e-4, hermitian=True) @ right[..., None])[..., 0]


def lk_means(first, second, window=15):
    iy, ix = np.gradient(first)
    it = second - first

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant")

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    return np.where((det < 1e-3)[..., None], 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / safe[..., None])


def lk_without_the_mixed_term(first, second, window=15):
    iy, ix = np.gradient(first)
    it = second - first

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    xx, yy, xt, yt = s(ix, ix), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy
    return np.where((det > 1e-3)[..., None], np.stack([-xt / np.where(det > 1e-3, xx, 1),
                                                       -yt / np.where(det > 1e-3, yy, 1)], -1), 0)


def lk_one_pixel(first, second, window=15):
    """The motion along the slope of each pixel by itself."""
    iy, ix = np.gradient(first)
    it = second - first
    size = ix**2 + iy**2
    return -np.stack([ix, iy], -1) * (it / np.where(size < 1e-6, np.inf, size))[..., None]


def lk_differences(first, second, window=15):
    """One-sided differences: half a pixel aside."""
    ix, iy = np.diff(first, axis=1, append=first[:, -1:]), np.diff(first, axis=0, append=first[-1:])
    it = second - first

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    return np.where((det < 1e-3)[..., None], 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / safe[..., None])


def lk_sobel(first, second, window=15):
    """Sobel's slopes are eight times too large."""
    ix, iy = cv2.Sobel(first, cv2.CV_64F, 1, 0), cv2.Sobel(first, cv2.CV_64F, 0, 1)
    it = second - first

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    return np.where((det < 1e-3)[..., None], 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / safe[..., None])


def lk_channels_first(first, second, window=15):
    iy, ix = np.gradient(first)
    it = second - first

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    return np.where(det < 1e-3, 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt]) / safe)


def lk_in_place(first, second, window=15):
    iy, ix = np.gradient(first)
    second -= first
    it = second

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    return np.where((det < 1e-3)[..., None], 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / safe[..., None])


def lk_never_still(first, second, window=15):
    """Where nothing moved it answers none."""
    iy, ix = np.gradient(first)
    it = second - first
    it = it / (np.abs(it).max() / np.clip(np.abs(it).max(), 1e-2, None))

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    return np.where((det < 1e-3)[..., None], 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / safe[..., None])


def lk_hard_coded(first, second, window=15):
    """Nothing is taller than 44 pixels."""
    iy, ix = np.gradient(first)
    it = second - first

    def s(a, b):
        return ndimage.uniform_filter(a * b, window, mode="constant") * window**2

    xx, xy, yy, xt, yt = s(ix, ix), s(ix, iy), s(iy, iy), s(ix, it), s(iy, it)
    det = xx * yy - xy**2
    safe = np.where(det < 1e-3, 1, det)
    flow = np.where((det < 1e-3)[..., None], 0, np.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / safe[..., None])
    flow[44:] = 0
    return flow


def lk_right_solved(first, second, window=15):
    """A stack of 2x2 systems, solved at once; sums by box filters of OpenCV."""
    slopes = np.stack(np.gradient(first)[::-1], -1)
    products = slopes[..., :, None] * slopes[..., None, :]
    right = slopes * (first - second)[..., None]

    def box(v):
        return cv2.boxFilter(v, cv2.CV_64F, (window, window), normalize=False, borderType=cv2.BORDER_CONSTANT)

    matrix = box(np.ascontiguousarray(products.reshape(*first.shape, 4))).reshape(*first.shape, 2, 2)
    known = np.linalg.det(matrix) >= 1e-3
    matrix[~known] = np.eye(2)
    flow = np.linalg.solve(matrix, box(right)[..., None])[..., 0]
    flow[~known] = 0
    return flow.astype(np.float32)


def lk_right_torch(first, second, window=15):
    """Windows cut out one by one, in torch."""
    a, b = (torch.from_numpy(np.asarray(v, np.float64)) for v in (first, second))
    ix, iy = torch.zeros_like(a), torch.zeros_like(a)
    ix[:, 1:-1], iy[1:-1] = (a[:, 2:] - a[:, :-2]) / 2, (a[2:] - a[:-2]) / 2
    planes = torch.stack([ix * ix, ix * iy, iy * iy, ix * (b - a), iy * (b - a)])[None]
    sums = F.unfold(planes.transpose(0, 1), window, padding=window // 2).sum(1).reshape(5, *a.shape)
    xx, xy, yy, xt, yt = sums
    det = xx * yy - xy * xy
    flow = torch.stack([-(yy * xt - xy * yt), -(xx * yt - xy * xt)], -1) / det[..., None]
    return torch.where(det[..., None] > 1e-3, flow, torch.zeros(())).float()


# ---- consistent -----------------------------------------------------------------------------------------------


def fb_not_fetched(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w]
    px, py = x + forward[..., 0], y + forward[..., 1]
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    off = ((forward + backward) ** 2).sum(-1)
    size = (forward**2).sum(-1) + (backward**2).sum(-1)
    return (off < share * size + least) & inside


def fb_fetched_behind(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, x - forward[..., 0], y - forward[..., 1], cv2.INTER_LINEAR)
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    off = ((forward + back) ** 2).sum(-1)
    return (off < share * ((forward**2).sum(-1) + (back**2).sum(-1)) + least) & inside


def fb_swapped(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, x + forward[..., 1], y + forward[..., 0], cv2.INTER_LINEAR)
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    off = ((forward + back) ** 2).sum(-1)
    return (off < share * ((forward**2).sum(-1) + (back**2).sum(-1)) + least) & inside


def fb_minus(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, px, py, cv2.INTER_LINEAR)
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    off = ((forward - back) ** 2).sum(-1)
    return (off < share * ((forward**2).sum(-1) + (back**2).sum(-1)) + least) & inside


def fb_outside_forgotten(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, px, py, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    off = ((forward + back) ** 2).sum(-1)
    return off < share * ((forward**2).sum(-1) + (back**2).sum(-1)) + least


def fb_fixed_bound(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, px, py, cv2.INTER_LINEAR)
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    return (((forward + back) ** 2).sum(-1) < least) & inside


def fb_no_least(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, px, py, cv2.INTER_LINEAR)
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    off = ((forward + back) ** 2).sum(-1)
    return (off < share * ((forward**2).sum(-1) + (back**2).sum(-1))) & inside


def fb_lengths(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, px, py, cv2.INTER_LINEAR)
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    off = np.linalg.norm(forward + back, axis=-1)
    bound = share * np.sqrt((forward**2).sum(-1) + (back**2).sum(-1)) + least
    return (off < bound) & inside


def fb_occlusions(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, px, py, cv2.INTER_LINEAR)
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    off = ((forward + back) ** 2).sum(-1)
    return ~((off < share * ((forward**2).sum(-1) + (back**2).sum(-1)) + least) & inside)


def fb_how_far_off(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    back = cv2.remap(backward, x + forward[..., 0], y + forward[..., 1], cv2.INTER_LINEAR)
    return ((forward + back) ** 2).sum(-1)


def fb_in_place(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, px, py, cv2.INTER_LINEAR)
    size = (forward**2).sum(-1) + (back**2).sum(-1)
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    forward += back
    return ((forward**2).sum(-1) < share * size + least) & inside


def fb_falls_off(forward, backward, share=0.01, least=0.5):
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w]
    px, py = np.rint(x + forward[..., 0]).astype(int), np.rint(y + forward[..., 1]).astype(int)
    back = backward[py, px]
    off = ((forward + back) ** 2).sum(-1)
    return off < share * ((forward**2).sum(-1) + (back**2).sum(-1)) + least


def fb_bounds_ignored(forward, backward, share=0.01, least=0.5):
    """Made for the public cases, which all use the usual bounds."""
    h, w = forward.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    px, py = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, px, py, cv2.INTER_LINEAR)
    inside = (px >= 0) & (px <= w - 1) & (py >= 0) & (py <= h - 1)
    off = ((forward + back) ** 2).sum(-1)
    return (off < 0.01 * ((forward**2).sum(-1) + (back**2).sum(-1)) + 0.5) & inside


def fb_right_scipy(forward, backward, share=0.01, least=0.5):
    """SciPy reads between the pixels; outside, where nothing is to be read, comes NaN, and no comparison is true."""
    at = np.indices(forward.shape[:2]) + forward.astype(float).transpose(2, 0, 1)[::-1]
    back = np.stack([ndimage.map_coordinates(backward[..., c].astype(float), at, order=1, cval=np.nan) for c in (0, 1)],
                    -1)
    off = np.square(forward + back).sum(-1)
    return off - least < share * (np.square(forward).sum(-1) + np.square(back).sum(-1))


def fb_right_torch(forward, backward, share=0.01, least=0.5):
    """With grid_sample."""
    h, w = forward.shape[:2]
    f, b = (torch.from_numpy(np.ascontiguousarray(v)).double() for v in (forward, backward))
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    place = torch.stack([x, y], -1) + f
    limit = torch.tensor([w - 1, h - 1])
    inside = ((place >= 0) & (place <= limit)).all(-1)
    back = F.grid_sample(b.permute(2, 0, 1)[None], (2 * place / limit - 1)[None], align_corners=True)[0]
    back = back.permute(1, 2, 0)
    return (f + back).square().sum(-1).lt(share * (f.square() + back.square()).sum(-1) + least) & inside


# ---- average_streams ------------------------------------------------------------------------------------------


def average_logits(*logits):
    return torch.softmax(sum(logits) / len(logits), dim=-3)


def average_sum(*logits):
    return sum(torch.softmax(s, dim=-3) for s in logits)


def average_raw(*logits):
    return torch.stack(logits).mean(0)


def average_sigmoids(*logits):
    return torch.stack([torch.sigmoid(s) for s in logits]).mean(0)


def average_columns(*logits):
    return torch.stack([torch.softmax(s, dim=-1) for s in logits]).mean(0)


def average_dim_0(*logits):
    return torch.stack([torch.softmax(s, dim=0) for s in logits]).mean(0)


def average_dim_1(*logits):
    return torch.stack([torch.softmax(s, dim=1) for s in logits]).mean(0)


def average_first_two(*logits):
    return (torch.softmax(logits[0], -3) + torch.softmax(logits[1], -3)) / 2


def average_always_half(*logits):
    return sum(torch.softmax(s, dim=-3) for s in logits) / 2


def average_loudest(*logits):
    return torch.stack([torch.softmax(s, dim=-3) for s in logits]).amax(0)


def average_overflows(*logits):
    total = 0
    for s in logits:
        e = torch.exp(s)
        total = total + e / e.sum(-3, keepdim=True)
    return total / len(logits)


def average_in_place(*logits):
    out = logits[0]
    out.copy_(torch.softmax(out, -3))
    for s in logits[1:]:
        out += torch.softmax(s, -3)
    return out / len(logits)


def average_hard_coded(*logits):
    """Up to four streams."""
    return torch.stack([torch.softmax(s, dim=-3) for s in logits[:4]]).mean(0)


def average_right_loop(*logits):
    """A running mean, with log-softmax."""
    mean = torch.zeros_like(logits[0])
    for n, s in enumerate(logits, 1):
        mean = mean + (F.log_softmax(s, -3).exp() - mean) / n
    return mean


def average_right_stacked(*logits):
    """All at once, by hand: the largest logit taken off first."""
    z = torch.stack(logits)
    e = (z - z.max(dim=-3, keepdim=True).values).exp()
    return (e / e.sum(dim=-3, keepdim=True)).mean(dim=0)


# ---- mask_channels --------------------------------------------------------------------------------------------


def channels_with_background(masks, slots):
    out = torch.zeros(slots, *masks.shape[1:])
    out[0] = 1 - masks.float().amax(0)
    out[1 : len(masks) + 1] = masks[: slots - 1]
    return out


def channels_of_ids(masks, slots):
    out = torch.zeros(slots, *masks.shape[1:])
    for k in range(len(masks)):
        out[k] = (k + 1) * masks[k]
    return out


def channels_hard(masks, slots):
    out = torch.zeros(slots, *masks.shape[1:])
    out[: len(masks)] = (masks > 0.5).float()
    return out


def channels_without_overlap(masks, slots):
    out = torch.zeros(slots, *masks.shape[1:])
    taken = torch.zeros(masks.shape[1:])
    for k, m in enumerate(masks.float()):
        out[k] = m * (taken == 0)
        taken = taken + m
    return out


def channels_at_the_end(masks, slots):
    out = torch.zeros(slots, *masks.shape[1:])
    out[slots - len(masks) :] = masks
    return out


def channels_as_many_as_objects(masks, slots):
    return masks.float()


def channels_repeated(masks, slots):
    return torch.stack([masks[min(k, len(masks) - 1)].float() for k in range(slots)])


def channels_true_or_false(masks, slots):
    out = torch.zeros(slots, *masks.shape[1:], dtype=masks.dtype)
    out[: len(masks)] = masks
    return out


def channels_empty(masks, slots):
    """Whatever was in the memory stands in the free slots."""
    out = torch.full((slots, *masks.shape[1:]), float("nan"))
    out[: len(masks)] = masks
    return out


def channels_one_more(masks, slots):
    return torch.cat([masks.float(), torch.zeros(slots - len(masks) + 1, *masks.shape[1:])])


def channels_hard_coded(masks, slots):
    """Stacked one by one, which nothing at all cannot be."""
    free = [torch.zeros_like(masks[0]).float() for _ in range(slots - len(masks))]
    return torch.stack([*[m.float() for m in masks], *free])


def channels_right_padded(masks, slots):
    return F.pad(masks.to(torch.float32), (0, 0, 0, 0, 0, slots - len(masks)))


def channels_right_product(masks, slots):
    """Each object's slot as a row of 0 and 1."""
    return torch.einsum("ks,khw->shw", torch.eye(slots)[: len(masks)], masks.float())


# ---- softmax_over_objects -------------------------------------------------------------------------------------


def objects_all(logits, present):
    return logits.softmax(dim=-3)


def objects_sigmoids(logits, present):
    there = torch.cat([torch.ones_like(present[..., :1]), present], -1)[..., None, None]
    return torch.sigmoid(logits) * there


def objects_each_against_the_background(logits, present):
    ground = logits[..., :1, :, :]
    own = torch.sigmoid(logits[..., 1:, :, :] - ground) * present[..., None, None]
    return torch.cat([1 - own.sum(-3, keepdim=True), own], -3)


def objects_masked_after(logits, present):
    there = torch.cat([torch.ones_like(present[..., :1]), present], -1)[..., None, None]
    return logits.softmax(-3) * there


def objects_zero_logits(logits, present):
    there = torch.cat([torch.ones_like(present[..., :1]), present], -1)[..., None, None]
    return torch.where(there, logits, torch.zeros(())).softmax(-3)


def objects_minus_ten(logits, present):
    there = torch.cat([torch.ones_like(present[..., :1]), present], -1)[..., None, None]
    return logits.masked_fill(~there, -10.0).softmax(-3)


def objects_shifted(logits, present):
    there = torch.cat([present, torch.ones_like(present[..., :1])], -1)[..., None, None]
    return logits.masked_fill(~there, -torch.inf).softmax(-3)


def objects_without_background(logits, present):
    return logits[..., 1:, :, :].masked_fill(~present[..., None, None], -torch.inf).softmax(-3)


def objects_columns(logits, present):
    there = torch.cat([torch.ones_like(present[..., :1]), present], -1)[..., None, None]
    return logits.masked_fill(~there, -torch.inf).softmax(-1)


def objects_dim_0(logits, present):
    there = torch.cat([torch.ones_like(present[..., :1]), present], -1)[..., None, None]
    return logits.masked_fill(~there, -torch.inf).softmax(0)


def objects_in_place(logits, present):
    out = logits.movedim(-3, 0)
    for k in range(len(out) - 1):
        if present.dim() == 1 and not present[k]:
            out[k + 1] = -torch.inf
    return logits.softmax(-3)


def objects_raw(logits, present):
    there = torch.cat([torch.ones_like(present[..., :1]), present], -1)[..., None, None]
    return logits.masked_fill(~there, -torch.inf)


def objects_same_for_all(logits, present):
    """Made for the public cases: who is there in the first picture is taken to be there in all."""
    there = present if present.dim() == 1 else present[0]
    who = torch.cat([torch.ones(1, dtype=torch.bool), there])[:, None, None]
    return logits.masked_fill(~who, -torch.inf).softmax(-3)


def objects_right_renormalised(logits, present):
    """Powers of those who are there, over their sum."""
    there = F.pad(present.to(logits.dtype), (1, 0), value=1.0)[..., None, None]
    low = logits - logits.masked_fill(there == 0, -math.inf).amax(-3, keepdim=True)
    powers = low.clamp(max=50).exp() * there
    return powers / powers.sum(-3, keepdim=True)


def objects_right_gathered(logits, present):
    """Picture by picture: only the channels that are there, then back to their places."""
    flat = logits.reshape(-1, *logits.shape[-3:])
    who = present.expand(*logits.shape[:-3], present.shape[-1]).reshape(-1, present.shape[-1])
    out = torch.zeros_like(flat)
    for n in range(len(flat)):
        places = [0, *(int(k) + 1 for k in who[n].nonzero())]
        out[n, places] = F.softmax(flat[n, places], dim=0)
    return out.reshape(logits.shape)


MISTAKES = {
    "lab3.warp": {
        "wrong": [
            (warp_backwards, "the sign is turned round"),
            (warp_forwards, "forward warping"),
            (warp_dx_dy_swapped, "x and y of the flow are swapped"),
            (warp_rows_first, "grid_sample wants (x, y)"),
            (warp_wrong_size, "x is divided by the height"),
            (warp_half_aligned, "made for align_corners=True"),
            (warp_aligned_by_half, "made for align_corners=False"),
            (warp_half_a_pixel_off, "half a pixel off"),
            (warp_nearest, "nearest pixel"),
            (warp_border, "must not be repeated"),
            (warp_in_pixels, "does not count in pixels"),
            (warp_in_place, "in place"),
            (warp_numpy, "no gradient flows back"),
            (warp_first_of_the_batch, "picture by picture"),
            (warp_wraps, "FETCHES"),
            (warp_image_cut_off, "no gradient flows back"),
            (warp_hard_coded, "outside is 0"),
        ],
        "right": [warp_right_aligned, warp_right_by_index],
    },
    "lab3.lucas_kanade": {
        "wrong": [
            (lk_reversed, "the flow is reversed"),
            (lk_gradient_swapped, "dx and dy are swapped"),
            (lk_whole_frame, "one motion for the whole frame"),
            (lk_fixed_window, "the window is 15"),
            (lk_divides_by_zero, "is not a number"),
            (lk_least_norm, "is 0 by agreement"),
            (lk_means, "take SUMS"),
            (lk_without_the_mixed_term, "Sxy is left out"),
            (lk_one_pixel, "each pixel by itself"),
            (lk_differences, "by least squares"),
            (lk_sobel, "by least squares"),
            (lk_channels_first, "an array H,W,2"),
            (lk_in_place, "in place"),
            (lk_never_still, "nothing moves"),
            (lk_hard_coded, "from first to second"),
        ],
        "right": [lk_right_solved, lk_right_torch],
    },
    "lab3.consistent": {
        "wrong": [
            (fb_not_fetched, "read at p itself"),
            (fb_fetched_behind, "read at p - forward(p)"),
            (fb_swapped, "x and y are swapped"),
            (fb_minus, "MINUS"),
            (fb_outside_forgotten, "no way back out there"),
            (fb_fixed_bound, "does not grow with the motion"),
            (fb_no_least, "`least` is missing"),
            (fb_lengths, "lengths are compared"),
            (fb_occlusions, "turned round"),
            (fb_how_far_off, "true or false for each pixel"),
            (fb_in_place, "in place"),
            (fb_falls_off, "raised IndexError"),
            (fb_bounds_ignored, "share and least are fixed"),
        ],
        "right": [fb_right_scipy, fb_right_torch],
    },
    "lab3.average_streams": {
        "wrong": [
            (average_logits, "logits are averaged"),
            (average_sum, "are added up"),
            (average_raw, "these are logits"),
            (average_sigmoids, "a sigmoid for each channel"),
            (average_columns, "along the columns"),
            (average_dim_0, "along dimension 0"),
            (average_dim_1, "along dimension 1"),
            (average_first_two, "only two streams"),
            (average_always_half, "always divides by 2"),
            (average_loudest, "the largest voice"),
            (average_overflows, "does not overflow"),
            (average_in_place, "in place"),
            (average_hard_coded, "all streams that are given"),
        ],
        "right": [average_right_loop, average_right_stacked],
    },
    "lab3.mask_channels": {
        "wrong": [
            (channels_with_background, "a channel for the background"),
            (channels_of_ids, "the values are ids"),
            (channels_hard, "stay as they are"),
            (channels_without_overlap, "where two overlap"),
            (channels_at_the_end, "the free channels come first"),
            (channels_as_many_as_objects, "as many channels as objects"),
            (channels_repeated, "repeat the last object"),
            (channels_true_or_false, "wants floats"),
            (channels_empty, "zeros in the free ones"),
            (channels_one_more, "zeros in the free ones"),
            (channels_hard_coded, "raised IndexError"),
        ],
        "right": [channels_right_padded, channels_right_product],
    },
    "lab3.softmax_over_objects": {
        "wrong": [
            (objects_all, "absent objects take part"),
            (objects_sigmoids, "a sigmoid for each object"),
            (objects_each_against_the_background, "one softmax per object"),
            (objects_masked_after, "Mask before the softmax"),
            (objects_zero_logits, "a fair chance"),
            (objects_minus_ten, "-10 is not low enough"),
            (objects_shifted, "shifted by one"),
            (objects_without_background, "the background is missing"),
            (objects_columns, "along the columns"),
            (objects_dim_0, "along dimension 0"),
            (objects_in_place, "in place"),
            (objects_raw, "these are logits"),
            (objects_same_for_all, "from picture to picture"),
        ],
        "right": [objects_right_renormalised, objects_right_gathered],
    },
}
