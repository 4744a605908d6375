"""Lab 2: wrong answers that must lose their marks, and right ones that must not. Each stands for itself.

A wrong answer comes with words of the sentence that it must be told. `hard_coded...`: stands the public cases only.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from scipy import ndimage

from vos_teach.data.augment import affine, to_tensors

# ---- track ----------------------------------------------------------------------------------------------------


def track_probabilities(network, frames, mask):
    hint, masks = mask.float(), [mask]
    for frame in frames[1:]:
        hint = torch.sigmoid(network(frame[None], hint[None])[0])
        masks.append(hint > 0.5)
    return masks


def track_logits(network, frames, mask):
    hint, masks = mask.float(), [mask]
    for frame in frames[1:]:
        hint = network(frame[None], hint[None])[0]
        masks.append(hint > 0)
    return masks


def track_first_mask(network, frames, mask):
    masks = [mask]
    for frame in frames[1:]:
        masks.append(network(frame[None], mask[None])[0] > 0)
    return masks


def track_old_frame(network, frames, mask):
    hint, masks = mask, [mask]
    for frame in frames[:-1]:
        found = network(frame[None], hint[None])[0] > 0
        masks.append(found)
        if found.any():
            hint = found
    return masks


def track_lost_for_ever(network, frames, mask):
    masks = [mask]
    for frame in frames[1:]:
        masks.append(network(frame[None], masks[-1][None])[0] > 0)
    return masks


def track_shows_the_last(network, frames, mask):
    masks = [mask]
    for frame in frames[1:]:
        found = network(frame[None], masks[-1][None])[0] > 0
        masks.append(found if found.any() else masks[-1])
    return masks


def track_half_of_a_logit(network, frames, mask):
    hint, masks = mask, [mask]
    for frame in frames[1:]:
        found = network(frame[None], hint[None])[0] > 0.5
        masks.append(found)
        if found.any():
            hint = found
    return masks


def track_without_the_first(network, frames, mask):
    hint, masks = mask, []
    for frame in frames[1:]:
        found = network(frame[None], hint[None])[0] > 0
        masks.append(found)
        if found.any():
            hint = found
    return masks


def track_soft(network, frames, mask):
    hint, masks = mask, [mask]
    for frame in frames[1:]:
        p = torch.sigmoid(network(frame[None], hint[None])[0])
        masks.append(p)
        if (p > 0.5).any():
            hint = p > 0.5
    return masks


def track_grows(network, frames, mask):
    masks = [mask]
    for frame in frames[1:]:
        masks.append(masks[-1] | (network(frame[None], masks[-1][None])[0] > 0))
    return masks


def track_in_place(network, frames, mask):
    masks = [mask.clone()]
    for frame in frames[1:]:
        found = network(frame[None], mask[None])[0] > 0
        if found.any():
            mask[:] = found
        masks.append(found)
    return masks


def track_all_one(network, frames, mask):
    hint, masks = mask.clone(), [mask]
    for frame in frames[1:]:
        found = network(frame[None], hint[None])[0] > 0
        if found.any():
            hint[:] = found
        masks.append(hint if found.any() else found)
    return masks


def track_no_batch(network, frames, mask):
    hint, masks = mask, [mask]
    for frame in frames[1:]:
        hint = network(frame, hint) > 0
        masks.append(hint)
    return masks


def track_hard_coded(network, frames, mask):
    """The object may be lost once: then it gives up."""
    hint, masks, lost = mask, [mask], 0
    for frame in frames[1:]:
        found = network(frame[None], hint[None])[0] > 0
        if masks[-1].any() and not found.any():
            lost += 1
        masks.append(found if lost < 2 else found & False)
        if found.any():
            hint = found
    return masks


def track_right_stacked(network, frames, mask):
    """With probabilities, by number, without gradients."""
    with torch.no_grad():
        out, last = [mask.clone()], mask.bool()
        for t in range(1, len(frames)):
            p = torch.sigmoid(network(frames[t].unsqueeze(0), last.unsqueeze(0).float())).squeeze(0)
            now = p > 0.5
            out.append(now)
            last = now if bool(now.any()) else last
    return out


def track_right_recursion(network, frames, mask):
    """A recursion, literally; the masks are 0 and 1."""
    def rest(hint, todo):
        if not todo:
            return []
        found = network(todo[0][None], hint[None])[0].gt(0)
        return [found.long(), *rest(found if found.sum() else hint, todo[1:])]

    return [mask.long(), *rest(mask, list(frames[1:]))]


# ---- thin_plate_spline ----------------------------------------------------------------------------------------


def tps_rows_first(src, dst, points):
    def u(r):
        return torch.where(r > 0, r * r * torch.log(r.clamp_min(1e-12)), 0.0)

    n, p = len(src), points.flip(-1)
    plane = torch.cat([torch.ones(n, 1, dtype=src.dtype), src], 1)
    left = torch.cat([torch.cat([u(torch.cdist(src, src)), plane], 1),
                      torch.cat([plane.T, torch.zeros(3, 3, dtype=src.dtype)], 1)])
    w = torch.linalg.solve(left, torch.cat([dst, torch.zeros(3, 2, dtype=src.dtype)]))
    return u(torch.cdist(p, src)) @ w[:n] + w[n] + p @ w[n + 1 :]


def tps_result_swapped(src, dst, points):
    def u(r):
        return torch.where(r > 0, r * r * torch.log(r.clamp_min(1e-12)), 0.0)

    n = len(src)
    plane = torch.cat([torch.ones(n, 1, dtype=src.dtype), src], 1)
    left = torch.cat([torch.cat([u(torch.cdist(src, src)), plane], 1),
                      torch.cat([plane.T, torch.zeros(3, 3, dtype=src.dtype)], 1)])
    w = torch.linalg.solve(left, torch.cat([dst, torch.zeros(3, 2, dtype=src.dtype)]))
    return (u(torch.cdist(points, src)) @ w[:n] + w[n] + points @ w[n + 1 :]).flip(-1)


def tps_backwards(src, dst, points):
    def u(r):
        return torch.where(r > 0, r * r * torch.log(r.clamp_min(1e-12)), 0.0)

    src, dst = dst, src
    n = len(src)
    plane = torch.cat([torch.ones(n, 1, dtype=src.dtype), src], 1)
    left = torch.cat([torch.cat([u(torch.cdist(src, src)), plane], 1),
                      torch.cat([plane.T, torch.zeros(3, 3, dtype=src.dtype)], 1)])
    w = torch.linalg.solve(left, torch.cat([dst, torch.zeros(3, 2, dtype=src.dtype)]))
    return u(torch.cdist(points, src)) @ w[:n] + w[n] + points @ w[n + 1 :]


def tps_log_of_zero(src, dst, points):
    def u(r):
        return r * r * torch.log(r)

    n = len(src)
    plane = torch.cat([torch.ones(n, 1, dtype=src.dtype), src], 1)
    left = torch.cat([torch.cat([u(torch.cdist(src, src)), plane], 1),
                      torch.cat([plane.T, torch.zeros(3, 3, dtype=src.dtype)], 1)])
    w = torch.linalg.solve(left, torch.cat([dst, torch.zeros(3, 2, dtype=src.dtype)]))
    return u(torch.cdist(points, src)) @ w[:n] + w[n] + points @ w[n + 1 :]


def tps_r_log_r(src, dst, points):
    def u(r):
        return torch.where(r > 0, r * torch.log(r.clamp_min(1e-12)), 0.0)

    n = len(src)
    plane = torch.cat([torch.ones(n, 1, dtype=src.dtype), src], 1)
    left = torch.cat([torch.cat([u(torch.cdist(src, src)), plane], 1),
                      torch.cat([plane.T, torch.zeros(3, 3, dtype=src.dtype)], 1)])
    w = torch.linalg.solve(left, torch.cat([dst, torch.zeros(3, 2, dtype=src.dtype)]))
    return u(torch.cdist(points, src)) @ w[:n] + w[n] + points @ w[n + 1 :]


def tps_no_affine_part(src, dst, points):
    def u(r):
        return torch.where(r > 0, r * r * torch.log(r.clamp_min(1e-12)), 0.0)

    return u(torch.cdist(points, src)) @ torch.linalg.solve(u(torch.cdist(src, src)), dst)


def tps_affine_only(src, dst, points):
    one = torch.ones(len(src), 1, dtype=src.dtype)
    matrix = torch.linalg.lstsq(torch.cat([src, one], 1), dst).solution
    return torch.cat([points, torch.ones(len(points), 1, dtype=src.dtype)], 1) @ matrix


def tps_displacement(src, dst, points):
    def u(r):
        return torch.where(r > 0, r * r * torch.log(r.clamp_min(1e-12)), 0.0)

    n = len(src)
    plane = torch.cat([torch.ones(n, 1, dtype=src.dtype), src], 1)
    left = torch.cat([torch.cat([u(torch.cdist(src, src)), plane], 1),
                      torch.cat([plane.T, torch.zeros(3, 3, dtype=src.dtype)], 1)])
    w = torch.linalg.solve(left, torch.cat([dst, torch.zeros(3, 2, dtype=src.dtype)]))
    return u(torch.cdist(points, src)) @ w[:n] + w[n] + points @ w[n + 1 :] - points


def tps_with_the_nearest(src, dst, points):
    return points + (dst - src)[torch.cdist(points, src).argmin(1)]


def tps_softened(src, dst, points):
    def u(r):
        return torch.where(r > 0, r * r * torch.log(r.clamp_min(1e-12)), 0.0)

    n = len(src)
    plane = torch.cat([torch.ones(n, 1, dtype=src.dtype), src], 1)
    k = u(torch.cdist(src, src)) + 100 * torch.eye(n, dtype=src.dtype)
    left = torch.cat([torch.cat([k, plane], 1), torch.cat([plane.T, torch.zeros(3, 3, dtype=src.dtype)], 1)])
    w = torch.linalg.solve(left, torch.cat([dst, torch.zeros(3, 2, dtype=src.dtype)]))
    return u(torch.cdist(points, src)) @ w[:n] + w[n] + points @ w[n + 1 :]


def tps_in_place(src, dst, points):
    def u(r):
        return torch.where(r > 0, r * r * torch.log(r.clamp_min(1e-12)), 0.0)

    middle = src.mean(0)
    src -= middle
    points = points - middle
    n = len(src)
    plane = torch.cat([torch.ones(n, 1, dtype=src.dtype), src], 1)
    left = torch.cat([torch.cat([u(torch.cdist(src, src)), plane], 1),
                      torch.cat([plane.T, torch.zeros(3, 3, dtype=src.dtype)], 1)])
    w = torch.linalg.solve(left, torch.cat([dst, torch.zeros(3, 2, dtype=src.dtype)]))
    return u(torch.cdist(points, src)) @ w[:n] + w[n] + points @ w[n + 1 :]


def tps_hard_coded(src, dst, points):
    """Of the first five control points, however many there are."""
    def u(r):
        return torch.where(r > 0, r * r * torch.log(r.clamp_min(1e-12)), 0.0)

    src, dst = src[[0, 1, 2, 3 % len(src), 4 % len(src)]], dst[[0, 1, 2, 3 % len(src), 4 % len(src)]]
    plane = torch.cat([torch.ones(5, 1, dtype=src.dtype), src], 1)
    left = torch.cat([torch.cat([u(torch.cdist(src, src)), plane], 1),
                      torch.cat([plane.T, torch.zeros(3, 3, dtype=src.dtype)], 1)])
    w = torch.linalg.lstsq(left, torch.cat([dst, torch.zeros(3, 2, dtype=src.dtype)])).solution
    return u(torch.cdist(points, src)) @ w[:5] + w[5] + points @ w[6:]


def tps_right_square(src, dst, points):
    """With log r^2, twice the kernel, in units of its own; numpy does the algebra."""
    s, d, p = (np.asarray(v, np.float64) for v in (src, dst, points))
    middle, size = s.mean(0), np.ptp(s)
    s, p = (s - middle) / size, (p - middle) / size

    def u(a, b):
        r2 = ((a[:, None] - b[None]) ** 2).sum(-1)
        return r2 * np.log(np.where(r2 > 0, r2, 1))

    def one(x):
        return np.concatenate([np.ones((len(x), 1)), x], 1)

    left = np.block([[u(s, s), one(s)], [one(s).T, np.zeros((3, 3))]])
    w = np.linalg.solve(left, np.concatenate([d, np.zeros((3, 2))]))
    return torch.from_numpy(np.concatenate([u(p, s), one(p)], 1) @ w)


def tps_right_displacements(src, dst, points):
    """The spline of the displacements, added to the points."""
    def u(a, b):
        r = (a[:, None] - b[None]).norm(dim=-1)
        return torch.special.xlogy(r * r, r.clamp_min(1e-300))

    n = len(src)
    left = src.new_zeros(n + 3, n + 3)
    left[:n, :n] = u(src, src)
    left[:n, n] = left[n, :n] = 1
    left[:n, n + 1 :] = src
    left[n + 1 :, :n] = src.T
    right = torch.zeros_like(left[:, :2])
    right[:n] = dst - src
    w = torch.linalg.inv(left) @ right
    return points + u(points, src) @ w[:n] + w[n] + points @ w[n + 1 :]


# ---- spoil ----------------------------------------------------------------------------------------------------


def spoil_swapped(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    low, high = np.array([y.min(), x.min()]), np.array([y.max(), x.max()])  # rows first
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (high - low + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_of_the_frame(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (w, h)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_about_the_corner(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    move = rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), move]), (w, h), flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_not_dilated(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    return cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                          flags=cv2.INTER_NEAREST)


def spoil_eroded(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.erode(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_square(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, np.ones((2 * r + 1, 2 * r + 1), np.uint8))


def spoil_diameter(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(3, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (r, r)))


def spoil_one_number(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift) * np.array([np.ptp(x) + 1, np.ptp(y) + 1])
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_to_the_right(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(0, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_only_larger(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(0, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_rolled(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), centre - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    dx, dy = np.rint(rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)).astype(int)
    out = np.roll(out, (dy, dx), (0, 1))
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_blended(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask.astype(np.float32), np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h))
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_turned_round(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (h, w),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_never_empty(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_frame_instead_of_empty(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return np.ones_like(mask)
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_in_place(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    mask[:] = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                             flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_own_seed(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    rng = np.random.default_rng(0)
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_no_seed(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + np.random.uniform(-scale, scale)  # noqa: NPY002
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + np.random.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)  # noqa: NPY002
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(thick * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_hard_coded(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    """Never thicker than the paper has it."""
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return mask.copy()
    h, w = mask.shape
    zoom = 1 + rng.uniform(-scale, scale)
    centre = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    goal = centre + rng.uniform(-shift, shift, 2) * (np.ptp(x) + 1, np.ptp(y) + 1)
    out = cv2.warpAffine(mask, np.column_stack([zoom * np.eye(2), goal - zoom * centre]), (w, h),
                         flags=cv2.INTER_NEAREST)
    r = max(1, round(5 / 480 * h))
    return cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))


def spoil_right_by_index(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    """Backwards, pixel by pixel: where would each come from? Each axis zooms for itself; dilation by distance."""
    if not mask.any():
        return np.zeros_like(mask)
    h, w = mask.shape
    out = np.zeros((h, w), bool)
    ys, xs = np.nonzero(mask)
    middle = np.array([ys.min() + ys.max(), xs.min() + xs.max()]) / 2
    size = np.array([ys.max() - ys.min() + 1, xs.max() - xs.min() + 1])
    zoom = 1 + rng.uniform(-scale, scale, 2)
    goal = middle + rng.uniform(-shift, shift, 2) * size
    y = np.rint((np.arange(h) - goal[0]) / zoom[0] + middle[0]).astype(int)
    x = np.rint((np.arange(w) - goal[1]) / zoom[1] + middle[1]).astype(int)
    fine = ((y >= 0) & (y < h))[:, None] & ((x >= 0) & (x < w))[None]
    out = mask[y.clip(0, h - 1)][:, x.clip(0, w - 1)].astype(bool) & fine
    if not out.any():
        return out
    return ndimage.distance_transform_edt(~out) <= max(1, round(thick * h))


def spoil_right_scipy(mask, rng, scale=0.05, shift=0.1, thick=5 / 480):
    """scipy's affine map, rows first throughout, and a disk drawn by hand."""
    if mask.sum() == 0:
        return mask.copy()
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    low, high = np.array([rows[0], columns[0]]), np.array([rows[-1], columns[-1]])
    zoom, move = rng.uniform(1 - scale, 1 + scale), (2 * rng.random(2) - 1) * shift * (high - low + 1)
    centre = (low + high) / 2
    out = ndimage.affine_transform(mask, np.eye(2) / zoom, centre - (centre + move) / zoom, order=0)
    r = max(1, round(thick * len(mask)))
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    return ndimage.binary_dilation(out, x * x + y * y <= r * r).astype(np.uint8)


# ---- training_pair --------------------------------------------------------------------------------------------


def pair_target_spoiled(frame, mask, rng, spoil):
    frame, mask = affine(frame, mask, rng)
    image, target = to_tensors(frame, spoil(mask, rng))
    return image, target, target


def pair_target_spoiled_again(frame, mask, rng, spoil):
    frame, mask = affine(frame, mask, rng)
    image, target = to_tensors(frame, spoil(mask, rng))
    return image, torch.from_numpy(spoil(mask, rng)), target


def pair_perfect(frame, mask, rng, spoil):
    image, target = to_tensors(*affine(frame, mask, rng))
    return image, target.clone(), target


def pair_0_to_255(frame, mask, rng, spoil):
    frame, mask = affine(frame, mask, rng)
    image = torch.from_numpy(frame.transpose(2, 0, 1).copy()).float()
    return image, torch.from_numpy(spoil(mask, rng)), torch.from_numpy(mask)


def pair_channels_last(frame, mask, rng, spoil):
    frame, mask = affine(frame, mask, rng)
    return torch.from_numpy(frame).float() / 255, torch.from_numpy(spoil(mask, rng)), torch.from_numpy(mask)


def pair_swapped(frame, mask, rng, spoil):
    frame, mask = affine(frame, mask, rng)
    image, target = to_tensors(frame, mask)
    return image, target, torch.from_numpy(spoil(mask, rng))


def pair_frame_moves_alone(frame, mask, rng, spoil):
    moved, _ = affine(frame, mask, rng)
    image, target = to_tensors(moved, mask)
    return image, torch.from_numpy(spoil(mask, rng)), target


def pair_two_draws(frame, mask, rng, spoil):
    image, target = to_tensors(affine(frame, mask, rng)[0], affine(frame, mask, rng)[1])
    return image, torch.from_numpy(spoil(mask, rng)), target


def pair_spoiled_before(frame, mask, rng, spoil):
    last = spoil(mask, rng)
    image, target = to_tensors(*affine(frame, mask, rng))
    return image, torch.from_numpy(last), target


def pair_own_seed(frame, mask, rng, spoil):
    rng = np.random.default_rng(0)
    frame, mask = affine(frame, mask, rng)
    image, target = to_tensors(frame, mask)
    return image, torch.from_numpy(spoil(mask, rng)), target


def pair_no_seed(frame, mask, rng, spoil):
    rng = np.random.default_rng()
    frame, mask = affine(frame, mask, rng)
    image, target = to_tensors(frame, mask)
    return image, torch.from_numpy(spoil(mask, rng)), target


def pair_in_place(frame, mask, rng, spoil):
    image, target = to_tensors(frame, mask.copy())
    mask[:] = spoil(mask, rng)
    return image, torch.from_numpy(mask), target


def pair_dictionary(frame, mask, rng, spoil):
    frame, mask = affine(frame, mask, rng)
    image, target = to_tensors(frame, mask)
    return {"image": image, "last": torch.from_numpy(spoil(mask, rng)), "target": target}


def pair_hard_coded(frame, mask, rng, spoil):
    """As large as the public ones."""
    frame, mask = affine(frame, mask, rng, size=(64, 88))
    image, target = to_tensors(frame, mask)
    return image, torch.from_numpy(spoil(mask, rng)), target


def pair_right_still(frame, mask, rng, spoil):
    """Nothing moves but the last mask."""
    x = torch.tensor(frame.astype(np.float32) / 255).movedim(-1, 0)
    return x, torch.tensor(spoil(mask, rng)).bool(), torch.tensor(mask).bool()


def pair_right_moved_after(frame, mask, rng, spoil):
    """Spoiled first, then all three moved by the same numbers."""
    last = spoil(mask, rng)
    state = rng.bit_generator.state
    moved, target = affine(frame, mask, rng)
    rng.bit_generator.state = state
    _, last = affine(frame, last, rng)
    image, target = to_tensors(moved, target)
    return image, torch.from_numpy(last).long(), target


# ---- dream ----------------------------------------------------------------------------------------------------


def dream_reversed(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = mask[y[keep], x[keep]]
    flow[mask > 0] = (-dx, -dy)
    return second, new, flow


def dream_flow_at_the_goal(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = mask[y[keep], x[keep]]
    flow[new > 0] = (dx, dy)
    return second, new, flow


def dream_flow_rows_first(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = mask[y[keep], x[keep]]
    flow[mask > 0] = (dy, dx)
    return second, new, flow


def dream_shift_swapped(background, frame, mask, shift):
    dy, dx = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = mask[y[keep], x[keep]]
    flow[mask > 0] = (dx, dy)
    return second, new, flow


def dream_rolled(background, frame, mask, shift):
    dx, dy = shift
    moved, new = np.roll(frame, (dy, dx), (0, 1)), np.roll(mask, (dy, dx), (0, 1))
    second, flow = np.where(new[..., None] > 0, moved, background), np.zeros((*mask.shape, 2), np.float32)
    flow[mask > 0] = (dx, dy)
    return second, new, flow


def dream_background_moves(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask == 0)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = mask[y[keep], x[keep]]
    flow[mask > 0] = (dx, dy)
    return second, new, flow


def dream_two_of_them(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    second, new, flow = frame.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = mask[y[keep], x[keep]]
    flow[mask > 0] = (dx, dy)
    return second, new, flow


def dream_mask_stays(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    second, flow = background.copy(), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    flow[mask > 0] = (dx, dy)
    return second, mask.copy(), flow


def dream_all_flows(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = mask[y[keep], x[keep]]
    flow[:] = (dx, dy)
    return second, new, flow


def dream_in_place(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    new, flow = np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    background[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = mask[y[keep], x[keep]]
    flow[mask > 0] = (dx, dy)
    return background, new, flow


def dream_ids_lost(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = 1
    flow[mask > 0] = (dx, dy)
    return second, new, flow


def dream_falls_off(background, frame, mask, shift):
    dx, dy = shift
    y, x = np.nonzero(mask)
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((*mask.shape, 2), np.float32)
    second[y + dy, x + dx] = frame[y, x]
    new[y + dy, x + dx] = mask[y, x]
    flow[mask > 0] = (dx, dy)
    return second, new, flow


def dream_only_visible_flow(background, frame, mask, shift):
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
    y, x = y[keep], x[keep]
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y + dy, x + dx] = frame[y, x]
    new[y + dy, x + dx] = mask[y, x]
    flow[y, x] = (dx, dy)
    return second, new, flow


def dream_hard_coded(background, frame, mask, shift):
    """Drops what leaves on the right and at the bottom, as in the public cases."""
    dx, dy = shift
    h, w = mask.shape
    y, x = np.nonzero(mask)
    keep = (y + dy < h) & (x + dx < w)
    second, new, flow = background.copy(), np.zeros_like(mask), np.zeros((h, w, 2), np.float32)
    second[y[keep] + dy, x[keep] + dx] = frame[y[keep], x[keep]]
    new[y[keep] + dy, x[keep] + dx] = mask[y[keep], x[keep]]
    flow[mask > 0] = (dx, dy)
    return second, new, flow


def dream_right_padded(background, frame, mask, shift):
    """A wide frame of zeros around, rolled, and cut again."""
    dx, dy = (int(v) for v in shift)
    h, w = mask.shape
    wide = np.pad(mask, ((h, h), (w, w)))
    far = np.pad(frame, ((h, h), (w, w), (0, 0)))
    if abs(dx) >= w or abs(dy) >= h:
        new = np.zeros_like(mask)
        moved = background
    else:
        new = np.roll(wide, (dy, dx), (0, 1))[h : 2 * h, w : 2 * w]
        moved = np.roll(far, (dy, dx), (0, 1))[h : 2 * h, w : 2 * w]
    flow = np.stack([np.where(mask > 0, dx, 0), np.where(mask > 0, dy, 0)], -1).astype(np.float32)
    return np.where(new[..., None] > 0, moved, background), new, flow


def dream_right_warp(background, frame, mask, shift):
    """OpenCV moves frame and mask by whole pixels."""
    h, w = mask.shape
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    moved = cv2.warpAffine(frame, matrix, (w, h), flags=cv2.INTER_NEAREST)
    new = cv2.warpAffine(mask, matrix, (w, h), flags=cv2.INTER_NEAREST)
    second = background.copy()
    second[new > 0] = moved[new > 0]
    return second, new, (mask > 0)[..., None] * np.array(shift, np.float64)


MISTAKES = {
    "lab2.track": {
        "wrong": [
            (track_probabilities, "probabilities are fed back"),
            (track_logits, "logits are fed back"),
            (track_first_mask, "the first mask goes in at every frame"),
            (track_old_frame, "the NEW frame"),
            (track_lost_for_ever, "lost for ever"),
            (track_shows_the_last, "the last mask is only the next hint"),
            (track_half_of_a_logit, "0.5 is a threshold for probabilities"),
            (track_without_the_first, "the given mask is missing"),
            (track_soft, "these are probabilities"),
            (track_grows, "added to the one before"),
            (track_in_place, "in place"),
            (track_all_one, "the masks are wrong"),
            (track_no_batch, "it raised ValueError"),
            (track_hard_coded, "the last mask that was found"),
        ],
        "right": [track_right_stacked, track_right_recursion],
    },
    "lab2.thin_plate_spline": {
        "wrong": [
            (tps_rows_first, "x and y are swapped in points"),
            (tps_result_swapped, "x and y of the result are swapped"),
            (tps_backwards, "src to dst"),
            (tps_log_of_zero, "U is 0 where r is 0"),
            (tps_r_log_r, "the kernel is r log r"),
            (tps_no_affine_part, "the affine part is missing"),
            (tps_affine_only, "the bends are missing"),
            (tps_displacement, "return where they are"),
            (tps_with_the_nearest, "where the spline takes them"),
            (tps_softened, "exactly on its goal"),
            (tps_in_place, "in place"),
            (tps_hard_coded, "exactly on its goal"),
        ],
        "right": [tps_right_square, tps_right_displacements],
    },
    "lab2.spoil": {
        "wrong": [
            (spoil_swapped, "x and y are swapped"),
            (spoil_of_the_frame, "not of the frame's"),
            (spoil_about_the_corner, "about the object's own middle"),
            (spoil_not_dilated, "nothing is dilated"),
            (spoil_eroded, "not eroded"),
            (spoil_square, "by a DISK"),
            (spoil_diameter, "does not grow far enough"),
            (spoil_one_number, "x and y move together"),
            (spoil_to_the_right, "always moves to the same side"),
            (spoil_only_larger, "both grow and shrink"),
            (spoil_rolled, "np.roll"),
            (spoil_blended, "nearest neighbour"),
            (spoil_turned_round, "(width, height)"),
            (spoil_never_empty, "it raised ValueError"),
            (spoil_frame_instead_of_empty, "an empty mask stays empty"),
            (spoil_in_place, "in place"),
            (spoil_own_seed, "every draw gave the same mask"),
            (spoil_no_seed, "the same rng gave two different masks"),
            (spoil_hard_coded, "does not grow far enough"),
        ],
        "right": [spoil_right_by_index, spoil_right_scipy],
    },
    "lab2.training_pair": {
        "wrong": [
            (pair_target_spoiled, "the target is spoiled too"),
            (pair_target_spoiled_again, "the target is spoiled too"),
            (pair_perfect, "learns to copy it"),
            (pair_0_to_255, "in [0, 1]"),
            (pair_channels_last, "channels first"),
            (pair_swapped, "last mask and target are swapped"),
            (pair_frame_moves_alone, "by ONE call of affine"),
            (pair_two_draws, "by ONE call of affine"),
            (pair_spoiled_before, "AFTER it has moved"),
            (pair_own_seed, "every draw gave the same pair"),
            (pair_no_seed, "the same rng gave two different pairs"),
            (pair_in_place, "in place"),
            (pair_dictionary, "return three tensors"),
            (pair_hard_coded, "the image is 3,H,W"),
        ],
        "right": [pair_right_still, pair_right_moved_after],
    },
    "lab2.dream": {
        "wrong": [
            (dream_reversed, "the flow is reversed"),
            (dream_flow_at_the_goal, "the flow belongs to the first frame"),
            (dream_flow_rows_first, "the flow is (dy, dx)"),
            (dream_shift_swapped, "x and y of the shift are swapped"),
            (dream_rolled, "comes back on the other side"),
            (dream_background_moves, "background and object are swapped"),
            (dream_two_of_them, "still in its old place"),
            (dream_mask_stays, "the mask has not moved"),
            (dream_all_flows, "only the object moves"),
            (dream_in_place, "in place"),
            (dream_ids_lost, "object 2 stays object 2"),
            (dream_falls_off, "it raised IndexError"),
            (dream_only_visible_flow, "its flow is known all the same"),
            (dream_hard_coded, "comes back on the other side"),
        ],
        "right": [dream_right_padded, dream_right_warp],
    },
}
