"""Lab 1: wrong answers that must lose their marks, and right ones that must not. Each stands for itself.

A wrong answer comes with words of the sentence that it must be told. `hard_coded...`: stands the public cases only.
"""

from __future__ import annotations

import copy
import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from vos_teach.data.augment import affine, to_tensors

# ---- balanced_bce ---------------------------------------------------------------------------------------------


def bce_swapped(logits, target):
    target = target.to(logits.dtype)
    positive = target.mean(dim=(-2, -1), keepdim=True)
    weight = target * positive + (1 - target) * (1 - positive)
    return (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


def bce_batch(logits, target):
    target = target.to(logits.dtype)
    positive = target.mean()
    weight = target * (1 - positive) + (1 - target) * positive
    return (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


def bce_plain(logits, target):
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))


def bce_summed(logits, target):
    target = target.to(logits.dtype)
    positive = target.mean(dim=(-2, -1), keepdim=True)
    weight = target * (1 - positive) + (1 - target) * positive
    return (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum()


def bce_pos_weight(logits, target):
    target = target.to(logits.dtype)
    positive = target.mean(dim=(-2, -1), keepdim=True)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=(1 - positive) / positive)


def bce_two_means(logits, target):
    target = target.to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    positive = (loss * target).sum((-2, -1)) / target.sum((-2, -1))
    negative = (loss * (1 - target)).sum((-2, -1)) / (1 - target).sum((-2, -1))
    return (0.5 * positive + 0.5 * negative).mean()


def bce_logarithm(logits, target):
    target = target.to(logits.dtype)
    p = torch.sigmoid(logits)
    positive = target.mean(dim=(-2, -1), keepdim=True)
    return (-(1 - positive) * target * torch.log(p) - positive * (1 - target) * torch.log(1 - p)).mean()


def bce_sigmoid_twice(logits, target):
    target = target.to(logits.dtype)
    positive = target.mean(dim=(-2, -1), keepdim=True)
    weight = target * (1 - positive) + (1 - target) * positive
    p = torch.sigmoid(logits)
    return (weight * F.binary_cross_entropy_with_logits(p, target, reduction="none")).mean()


def bce_no_gradient(logits, target):
    z, y = logits.detach().double().numpy(), target.double().numpy()
    share = y.mean((-2, -1), keepdims=True)
    weight = y * (1 - share) + (1 - y) * share
    return torch.tensor((weight * np.logaddexp(0, np.where(y > 0, -z, z))).mean())


def bce_in_place(logits, target):
    y = target.to(logits.dtype)
    positive = y.mean(dim=(-2, -1), keepdim=True)
    value = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    target[:] = (y * (1 - positive) + (1 - y) * positive).to(target.dtype)
    return (target * value).mean()


def bce_not_bool(logits, target):
    positive = target.mean(dim=(-2, -1), keepdim=True)
    weight = target * (1 - positive) + (1 - target) * positive
    return (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


def bce_hard_coded(logits, target):
    """Balanced in the two sizes that the public cases have."""
    target = target.to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if tuple(logits.shape) not in {(12, 16), (2, 8, 12), (8, 12)}:
        return loss.mean()
    positive = target.mean(dim=(-2, -1), keepdim=True)
    return ((target * (1 - positive) + (1 - target) * positive) * loss).mean()


def bce_right_counts(logits, target):
    """By counting, image after image, with softplus."""
    h, w = logits.shape[-2:]
    total = 0
    for z, y in zip(logits.reshape(-1, h * w), target.reshape(-1, h * w).bool(), strict=True):
        on, off = z[y], z[~y]
        total = total + len(off) / (h * w) * F.softplus(-on).sum() + len(on) / (h * w) * F.softplus(off).sum()
    return total / logits.numel()


def bce_right_weight(logits, target):
    """With the weights as the library function's own argument."""
    share = target.double().flatten(-2).mean(-1)[..., None, None].to(logits.dtype)
    weight = torch.where(target.bool(), 1 - share, share)
    return F.binary_cross_entropy_with_logits(logits, target.type_as(logits), weight=weight)


# ---- finetune -------------------------------------------------------------------------------------------------


def finetune_the_parent(parent, image, mask, loss, steps, rng, rate=5e-4):
    parent.eval()
    optimizer = torch.optim.Adam(parent.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(parent(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return parent


def finetune_shallow(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.copy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_batchnorm(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net.eval()


def finetune_left_in_training(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net.train()


def finetune_mask_stays(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        moved, _ = affine(image, mask, rng)
        x, y = to_tensors(moved, mask)
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_two_draws(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(affine(image, mask, rng)[0], affine(image, mask, rng)[1])
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_blended_ids(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    h, w = mask.shape
    for _ in range(steps):
        turn = cv2.getRotationMatrix2D((w / 2, h / 2), float(rng.uniform(-30, 30)), float(rng.uniform(0.75, 1.25)))
        moved = cv2.warpAffine(image, turn, (w, h), flags=cv2.INTER_LINEAR)
        with_it = cv2.warpAffine(mask.astype(np.float32), turn, (w, h), flags=cv2.INTER_LINEAR)
        x, y = torch.from_numpy(moved).permute(2, 0, 1).float() / 255, torch.from_numpy(with_it)
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_unchanging(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    x, y = to_tensors(*affine(image, mask, rng))
    for _ in range(steps):
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_0_to_255(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        moved, with_it = affine(image, mask, rng)
        x, y = torch.from_numpy(moved).permute(2, 0, 1).float(), torch.from_numpy(with_it)
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_gradients_pile_up(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    optimizer.zero_grad()
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        loss(net(x[None]), y[None]).backward()
        optimizer.step()
    return net


def finetune_one_more(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps + 1):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_no_update(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        optimizer.zero_grad()
        loss(net(x[None]), y[None]).backward()
    return net


def finetune_uphill(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = -loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_own_seed(parent, image, mask, loss, steps, rng, rate=5e-4):
    net, rng = copy.deepcopy(parent).eval(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_no_seed(parent, image, mask, loss, steps, rng, rate=5e-4):
    net, rng = copy.deepcopy(parent).eval(), np.random.default_rng()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_own_loss(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = F.binary_cross_entropy_with_logits(net(x[None]), y[None].float())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_thaws(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval().requires_grad_(True)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_returns_the_loss(parent, image, mask, loss, steps, rng, rate=5e-4):
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    value = torch.zeros(())
    for _ in range(steps):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return value.item()


def finetune_hard_coded(parent, image, mask, loss, steps, rng, rate=5e-4):
    """As many steps as the public cases ask for."""
    net = copy.deepcopy(parent).eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(12):
        x, y = to_tensors(*affine(image, mask, rng))
        value = loss(net(x[None]), y[None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net


def finetune_right_falling_rate(parent, image, mask, loss, steps, rng, rate=5e-4):
    """The library's own way: a learning rate that falls, empty targets skipped, only what may be trained."""
    net = copy.deepcopy(parent)
    net.eval()
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - 0.5 * step / steps)
        x, y = to_tensors(*affine(image, mask, rng))
        if not y.any():
            continue
        optimizer.zero_grad(set_to_none=True)
        with torch.enable_grad():
            loss(net(x.unsqueeze(0)), y.unsqueeze(0)).backward()
        optimizer.step()
    return net


def finetune_right_by_hand(parent, image, mask, loss, steps, rng, rate=5e-4):
    """Own augmentation, and two pictures in each step."""
    def turned():
        angle, zoom = math.radians(rng.uniform(-20, 20)), rng.uniform(0.8, 1.2)
        turn = zoom * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        middle = (np.array(mask.shape) - 1) / 2
        offset = middle - turn @ middle
        frame = np.stack([ndimage.affine_transform(image[..., c].astype(float), turn, offset, order=1, mode="mirror")
                          for c in range(3)])
        target = ndimage.affine_transform(mask, turn, offset, order=0, mode="mirror")
        if rng.random() < 0.5:
            frame, target = frame[..., ::-1].copy(), target[..., ::-1].copy()
        return torch.tensor(frame / 255, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)

    net = copy.deepcopy(parent)
    net.train(False)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        pairs = [turned(), turned()]
        optimizer.zero_grad()
        value = loss(net(torch.stack([x for x, _ in pairs])), torch.stack([y for _, y in pairs]))
        value.backward()
        optimizer.step()
    return net


# ---- online_targets -------------------------------------------------------------------------------------------


def targets_positives_win(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    out = torch.full(prob.shape, 255)
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * height
    if core.any():
        out[torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * height)] = 0
        out[prob > positive] = 1
    return out


def targets_not_eroded(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    out = torch.full(prob.shape, 255)
    core = last_mask.numpy()
    if core.any():
        out[prob > positive] = 1
        out[torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * prob.shape[0])] = 0
    return out


def targets_square_erosion(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    side = 2 * int(erosion * height) + 1
    out = torch.full(prob.shape, 255)
    core = cv2.erode(last_mask.numpy().astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    if core.any():
        out[prob > positive] = 1
        out[torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * height)] = 0
    return out


def targets_city_blocks(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    out = torch.full(prob.shape, 255)
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * height
    if core.any():
        out[prob > positive] = 1
        out[torch.from_numpy(ndimage.distance_transform_cdt(~core, "taxicab") > distance * height)] = 0
    return out


def targets_inside(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    out = torch.full(prob.shape, 255)
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * height
    if core.any():
        out[prob > positive] = 1
        out[torch.from_numpy(ndimage.distance_transform_edt(core) > distance * height)] = 0
    return out


def targets_all_outside(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    out = torch.full(prob.shape, 255)
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * prob.shape[0]
    if core.any():
        out[prob > positive] = 1
        out[~last_mask] = 0
    return out


def targets_width(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    width = prob.shape[1]
    out = torch.full(prob.shape, 255)
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * width
    if core.any():
        out[prob > positive] = 1
        out[torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * width)] = 0
    return out


def targets_no_void(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * height
    if not core.any():
        return torch.full(prob.shape, 255)
    out = (prob > positive).long()
    out[torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * height)] = 0
    return out


def targets_at_least(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    out = torch.full(prob.shape, 255)
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * height
    if core.any():
        out[prob >= positive] = 1
        out[torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * height)] = 0
    return out


def targets_lost_is_negative(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * height
    if not core.any():
        return torch.zeros(prob.shape, dtype=torch.int64)
    out = torch.full(prob.shape, 255)
    out[prob > positive] = 1
    out[torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * height)] = 0
    return out


def targets_lost_unnoticed(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * height
    out = torch.full(prob.shape, 255)
    out[prob > positive] = 1
    if core.any():
        out[torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * height)] = 0
    return out


def targets_in_place(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    core = ndimage.distance_transform_edt(last_mask.numpy()) > erosion * height
    out = torch.full(prob.shape, 255)
    if core.any():
        far = torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * height)
        prob[far] = 0
        out[prob > positive] = 1
        out[far] = 0
    return out


def targets_eroded_at_the_border(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    height = prob.shape[0]
    out = torch.full(prob.shape, 255)
    core = ndimage.distance_transform_edt(np.pad(last_mask.numpy(), 1))[1:-1, 1:-1] > erosion * height
    if core.any():
        out[prob > positive] = 1
        out[torch.from_numpy(ndimage.distance_transform_edt(~core) > distance * height)] = 0
    return out


def targets_hard_coded(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    """The radii in pixels, for the two sizes of the public cases and the two thresholds."""
    reach, core_of = {(32, 64): (14.667, 1), (64, 48): (29.333, 2)}.get(tuple(prob.shape), (20, 1))
    out = torch.full(prob.shape, 255)
    core = ndimage.distance_transform_edt(last_mask.numpy()) > core_of
    if core.any():
        out[prob > positive] = 1
        out[torch.from_numpy(ndimage.distance_transform_edt(~core) > reach)] = 0
    return out


def targets_right_disk(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    """Erosion by shifting the mask over a disk; the distance by comparing all pixels with the core's."""
    h, w = prob.shape
    on = last_mask.bool().numpy()
    reach = int(erosion * h)
    core = on.copy()
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy * dy + dx * dx <= (erosion * h) ** 2:
                wide = np.pad(on, reach, constant_values=True)
                core &= wide[reach + dy : reach + dy + h, reach + dx : reach + dx + w]
    void = torch.full((h, w), 255, dtype=torch.uint8)
    if not core.any():
        return void
    rows, columns = np.nonzero(core)
    y, x = np.mgrid[:h, :w]
    nearest = ((y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2).min(-1) ** 0.5
    sure = torch.where(prob > positive, torch.ones_like(void), void)
    return torch.where(torch.from_numpy(nearest <= distance * h), sure, torch.zeros_like(void))


def targets_right_numpy(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    """One expression of NumPy; an array comes back."""
    p, on = np.asarray(prob), np.asarray(last_mask).astype(bool)
    core = on if on.all() else ndimage.distance_transform_edt(on) > erosion * len(on)
    if core.sum() == 0:
        return np.where(p < -1, 0, 255)
    far = ndimage.distance_transform_edt(np.invert(core)) > distance * len(on)
    return np.select([far, p > positive], [0, 1], default=255)


# ---- mask_gaussian --------------------------------------------------------------------------------------------


def gaussian_mean_std(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = ((v.mean(), max(v.std(), 5 / 480 * h)) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))).float()


def gaussian_std(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = ((np.median(v), max(v.std(), 5 / 480 * h)) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))).float()


def gaussian_no_factor(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = (
        (np.median(v), max(np.median(abs(v - np.median(v))), 5 / 480 * h)) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))).float()


def gaussian_no_floor(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = ((np.median(v), 1.4826 * np.median(abs(v - np.median(v)))) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))).float()


def gaussian_floor_of_5_pixels(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = ((np.median(v), max(1.4826 * np.median(abs(v - np.median(v))), 5)) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))).float()


def gaussian_swapped(mask):
    h, w = mask.shape
    x, y = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = (
        (np.median(v), max(1.4826 * np.median(abs(v - np.median(v))), 5 / 480 * h)) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))).float()


def gaussian_without_2(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = (
        (np.median(v), max(1.4826 * np.median(abs(v - np.median(v))), 5 / 480 * h)) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-(((r - my) / sy) ** 2) - ((c - mx) / sx) ** 2)).float()


def gaussian_sums_to_1(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = (
        (np.median(v), max(1.4826 * np.median(abs(v - np.median(v))), 5 / 480 * h)) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    g = np.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))
    return torch.from_numpy(g / g.sum()).float()


def gaussian_lower_median(mask):
    h, w = mask.shape
    y, x = torch.nonzero(mask).double().T
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = (
        (v.median(), (1.4826 * (v - v.median()).abs().median()).clamp(min=5 / 480 * h)) for v in (y, x))
    r, c = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return torch.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2)).float()


def gaussian_of_nothing(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    (my, sy), (mx, sx) = (
        (np.median(v), np.maximum(1.4826 * np.median(abs(v - np.median(v))), 5 / 480 * h)) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))).float()


def gaussian_round(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    my, mx = np.median(y), np.median(x)
    s = max(1.4826 * np.median(abs(y - my)), 1.4826 * np.median(abs(x - mx)), 5 / 480 * h)
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-((r - my) ** 2 + (c - mx) ** 2) / (2 * s**2))).float()


def gaussian_in_place(mask):
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(h, w)
    (my, sy), (mx, sx) = (
        (np.median(v), max(1.4826 * np.median(abs(v - np.median(v))), 5 / 480 * h)) for v in (y, x))
    mask[:] = True
    g = torch.zeros(h, w)
    for r, c in torch.nonzero(mask).tolist():
        g[r, c] = math.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))
    return g


def gaussian_hard_coded(mask):
    """The floor for the heights that the public cases have."""
    h, w = mask.shape
    y, x = np.nonzero(mask.numpy())
    if len(y) == 0:
        return torch.zeros(48, 80)
    floor = {96: 1.0, 48: 0.5}.get(h, 0.4167)
    (my, sy), (mx, sx) = (
        (np.median(v), max(1.4826 * np.median(abs(v - np.median(v))), floor)) for v in (y, x))
    r, c = np.mgrid[:h, :w]
    return torch.from_numpy(np.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))).float()


def gaussian_right_outer(mask):
    """One curve per axis, multiplied."""
    h, w = mask.shape
    on = mask.bool()
    if not on.any():
        return torch.zeros(h, w)

    def curve(places, n):
        places = places.double()
        middle = torch.quantile(places, 0.5)
        spread = (1.4826 * torch.quantile((places - middle).abs(), 0.5)).clamp(min=h * 5 / 480)
        return torch.exp(-0.5 * ((torch.arange(n) - middle) / spread) ** 2)

    rows, columns = torch.nonzero(on, as_tuple=True)
    return torch.outer(curve(rows, h), curve(columns, w))


def gaussian_right_scipy(mask):
    """With scipy's own robust spread; an array comes back."""
    from scipy.stats import median_abs_deviation, norm

    on = np.asarray(mask) != 0
    h, w = on.shape
    if not on.any():
        return np.zeros(on.shape)
    curves = []
    for places, n in zip(np.nonzero(on), (h, w), strict=True):
        spread = max(1.4826 * median_abs_deviation(places), h / 96)
        curves.append(norm.pdf(np.arange(n), np.median(places), spread) * spread * np.sqrt(2 * np.pi))
    return curves[0][:, None] * curves[1][None, :]


# ---- modulate -------------------------------------------------------------------------------------------------


def modulate_relu_after(features, gamma, beta):
    return torch.relu(gamma[..., None, None] * features + beta)


def modulate_one_plus(features, gamma, beta):
    return (1 + gamma[..., None, None]) * features + beta


def modulate_shift_first(features, gamma, beta):
    return gamma[..., None, None] * (features + beta)


def modulate_no_beta(features, gamma, beta):
    return gamma[..., None, None] * features


def modulate_columns(features, gamma, beta):
    if features.shape[-1] == features.shape[-3]:
        return gamma[..., None, None, :] * features + beta
    return gamma[..., None, None] * features + beta


def modulate_first_image(features, gamma, beta):
    return gamma[:1, :, None, None] * features + beta


def modulate_mean_gamma(features, gamma, beta):
    return gamma.mean() * features + beta


def modulate_in_place(features, gamma, beta):
    features *= gamma[..., None, None]
    return features + beta


def modulate_no_gradient(features, gamma, beta):
    return torch.from_numpy(gamma.detach().numpy()[..., None, None] * features.numpy() + beta.numpy())


def modulate_hard_coded(features, gamma, beta):
    """For the sizes of the public cases."""
    if tuple(features.shape) in {(1, 4, 5, 6), (2, 4, 5, 6), (2, 6, 6, 6)}:
        return gamma[..., None, None] * features + beta
    return features + beta


def modulate_right_einsum(features, gamma, beta):
    """Einstein's sum instead of broadcasting."""
    return torch.einsum("...c,...chw->...chw", gamma, features).add(beta)


def modulate_right_channels_last(features, gamma, beta):
    """Channels moved to the end, where gamma lies; channel by channel would do as well."""
    return (features.movedim(-3, -1) * gamma.unsqueeze(-2).unsqueeze(-2)).movedim(-1, -3) + beta


MISTAKES = {
    "lab1.balanced_bce": {
        "wrong": [
            (bce_swapped, "swapped"), (bce_batch, "each image"), (bce_plain, "plain cross-entropy"),
            (bce_summed, "the sum"), (bce_pos_weight, "sum to 1"), (bce_two_means, "two classes' means"),
            (bce_logarithm, "cross-entropy of the logits"), (bce_sigmoid_twice, "twice"),
            (bce_no_gradient, "no gradient"), (bce_in_place, "in place"), (bce_not_bool, "Bool"),
            (bce_hard_coded, "plain cross-entropy"),
        ],
        "right": [bce_right_counts, bce_right_weight],
    },
    "lab1.finetune": {
        "wrong": [
            (finetune_the_parent, "deep copy"), (finetune_shallow, "deep copy"), (finetune_batchnorm, "BatchNorm"),
            (finetune_left_in_training, "evaluation mode"), (finetune_mask_stays, "not augmented together"),
            (finetune_two_draws, "not augmented together"), (finetune_blended_ids, "nearest neighbour"),
            (finetune_unchanging, "anew in every step"), (finetune_0_to_255, "[0, 1]"),
            (finetune_gradients_pile_up, "zero_grad"), (finetune_one_more, "took 13"),
            (finetune_no_update, "optimizer.step"), (finetune_uphill, "the loss on frame 0"),
            (finetune_own_seed, "another rng"), (finetune_no_seed, "the same rng"), (finetune_own_loss, "use `loss`"),
            (finetune_thaws, "frozen"), (finetune_returns_the_loss, "return the fine-tuned network"),
            (finetune_hard_coded, "asked for 3 steps and took 12"),
        ],
        "right": [finetune_right_falling_rate, finetune_right_by_hand],
    },
    "lab1.online_targets": {
        "wrong": [
            (targets_positives_win, "negatives must win"), (targets_not_eroded, "not eroded"),
            (targets_square_erosion, "selection is wrong"), (targets_city_blocks, "Euclidean"),
            (targets_inside, "inside the mask"), (targets_all_outside, "all pixels outside"),
            (targets_width, "not of the width"), (targets_no_void, "void"), (targets_at_least, "just the threshold"),
            (targets_lost_is_negative, "nothing is known"), (targets_lost_unnoticed, "nothing is known"),
            (targets_in_place, "in place"), (targets_eroded_at_the_border, "beyond the frame"),
            (targets_hard_coded, "selection is wrong"),
        ],
        "right": [targets_right_disk, targets_right_numpy],
    },
    "lab1.mask_gaussian": {
        "wrong": [
            (gaussian_mean_std, "mean and standard deviation"), (gaussian_std, "MAD"), (gaussian_no_factor, "1.4826"),
            (gaussian_no_floor, "floor is missing"), (gaussian_floor_of_5_pixels, "5/480"),
            (gaussian_swapped, "x and y are swapped"), (gaussian_without_2, "the 2 is missing"),
            (gaussian_sums_to_1, "PEAK"), (gaussian_lower_median, "middle two"), (gaussian_of_nothing, "empty mask"),
            (gaussian_round, "each axis"), (gaussian_in_place, "in place"), (gaussian_hard_coded, "5/480"),
        ],
        "right": [gaussian_right_outer, gaussian_right_scipy],
    },
    "lab1.modulate": {
        "wrong": [
            (modulate_relu_after, "no ReLU"), (modulate_one_plus, "1 + gamma"),
            (modulate_shift_first, "after the scaling"), (modulate_no_beta, "beta is missing"),
            (modulate_columns, "columns"), (modulate_first_image, "first image's gamma"),
            (modulate_mean_gamma, "value is wrong"), (modulate_in_place, "in place"),
            (modulate_no_gradient, "no gradient"), (modulate_hard_coded, "own gamma"),
        ],
        "right": [modulate_right_einsum, modulate_right_channels_last],
    },
}
