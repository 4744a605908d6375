"""Lab 5b: wrong answers that must lose their marks, and right ones that must not. Each stands for itself.

A wrong answer comes with words of the sentence that it must be told. `hard_coded...`: stands the public cases only.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize

# ---- grid_attention ---------------------------------------------------------------------------------------------


def grid_self_three_times(q, k, v):
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    t, h, w = q.shape[1:]
    row, column, time = torch.cat([rows, columns, times], -1).softmax(-1).split([w, h, t], -1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))


def grid_self_twice(q, k, v):
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    t, h, w = q.shape[1:]
    columns = columns.masked_fill(torch.eye(h, dtype=torch.bool)[None, :, None], -torch.inf)
    row, column, time = torch.cat([rows, columns, times], -1).softmax(-1).split([w, h, t], -1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))


def grid_self_left_out(q, k, v):
    size = q.shape[1:]
    at = torch.cartesian_prod(*(torch.arange(n) for n in size)).view(-1, 3)
    seen = (at[:, None] != at).sum(-1) == 1
    score = (q.flatten(1).T @ k.flatten(1)).masked_fill(~seen, -1e30)
    return (v.flatten(1) @ score.softmax(1).T).view(v.shape)


def grid_scaled(q, k, v):
    q = q / len(q) ** 0.5
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    t, h, w = q.shape[1:]
    columns = columns.masked_fill(torch.eye(h, dtype=torch.bool)[None, :, None], -torch.inf)
    times = times.masked_fill(torch.eye(t, dtype=torch.bool)[:, None, None], -torch.inf)
    row, column, time = torch.cat([rows, columns, times], -1).softmax(-1).split([w, h, t], -1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))


def grid_a_softmax_each(q, k, v):
    row = torch.einsum("cthw,cthx->thwx", q, k).softmax(-1)
    column = torch.einsum("cthw,ctyw->thwy", q, k).softmax(-1)
    time = torch.einsum("cthw,cshw->thws", q, k).softmax(-1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v)) / 3


def grid_sum_of_three(q, k, v):
    row = torch.einsum("cthw,cthx->thwx", q, k).softmax(-1)
    column = torch.einsum("cthw,ctyw->thwy", q, k).softmax(-1)
    time = torch.einsum("cthw,cshw->thws", q, k).softmax(-1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))


def grid_no_time(q, k, v):
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    h, w = q.shape[2:]
    columns = columns.masked_fill(torch.eye(h, dtype=torch.bool)[None, :, None], -torch.inf)
    row, column = torch.cat([rows, columns], -1).softmax(-1).split([w, h], -1)
    return torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)


def grid_time_alone(q, k, v):
    time = torch.einsum("cthw,cshw->thws", q, k).softmax(-1)
    return torch.einsum("thws,cshw->cthw", time, v)


def grid_no_column(q, k, v):
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    t, w = q.shape[1], q.shape[3]
    times = times.masked_fill(torch.eye(t, dtype=torch.bool)[:, None, None], -torch.inf)
    row, time = torch.cat([rows, times], -1).softmax(-1).split([w, t], -1)
    return torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thws,cshw->cthw", time, v)


def grid_dense(q, k, v):
    p = (q.flatten(1).T @ k.flatten(1)).softmax(1)
    return (v.flatten(1) @ p.T).view(v.shape)


def grid_whole_frame(q, k, v):
    size = q.shape[1:]
    at = torch.cartesian_prod(*(torch.arange(n) for n in size)).view(-1, 3)
    equal = at[:, None] == at
    seen = equal[..., 0] | (equal[..., 1] & equal[..., 2])
    score = (q.flatten(1).T @ k.flatten(1)).masked_fill(~seen, -torch.inf)
    return (v.flatten(1) @ score.softmax(1).T).view(v.shape)


def grid_dense_under_a_mask(q, k, v):
    size = q.shape[1:]
    at = torch.cartesian_prod(*(torch.arange(n) for n in size)).view(-1, 3)
    seen = (at[:, None] != at).sum(-1) <= 1
    score = (q.flatten(1).T @ k.flatten(1)).masked_fill(~seen, -torch.inf)
    return (v.flatten(1) @ score.softmax(1).T).view(v.shape)


def grid_dense_inside_torch(q, k, v):
    size = q.shape[1:]
    at = torch.cartesian_prod(*(torch.arange(n) for n in size)).view(-1, 3)
    seen = (at[:, None] != at).sum(-1) <= 1
    out = F.scaled_dot_product_attention(q.flatten(1).T, k.flatten(1).T, v.flatten(1).T, attn_mask=seen, scale=1.0)
    return out.T.reshape(v.shape)


def grid_queries_and_keys_changed(q, k, v):
    rows = torch.einsum("cthw,cthx->thwx", k, q)
    columns = torch.einsum("cthw,ctyw->thwy", k, q)
    times = torch.einsum("cthw,cshw->thws", k, q)
    t, h, w = q.shape[1:]
    columns = columns.masked_fill(torch.eye(h, dtype=torch.bool)[None, :, None], -torch.inf)
    times = times.masked_fill(torch.eye(t, dtype=torch.bool)[:, None, None], -torch.inf)
    row, column, time = torch.cat([rows, columns, times], -1).softmax(-1).split([w, h, t], -1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))


def grid_split_in_another_order(q, k, v):
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    t, h, w = q.shape[1:]
    columns = columns.masked_fill(torch.eye(h, dtype=torch.bool)[None, :, None], -torch.inf)
    times = times.masked_fill(torch.eye(t, dtype=torch.bool)[:, None, None], -torch.inf)
    time, column, row = torch.cat([rows, columns, times], -1).softmax(-1).split([t, h, w], -1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))


def grid_exponentials(q, k, v):
    """No maximum is subtracted: too large for loud queries."""
    rows = torch.einsum("cthw,cthx->thwx", q, k).mul(6).exp() ** (1 / 6)
    columns = torch.einsum("cthw,ctyw->thwy", q, k).mul(6).exp() ** (1 / 6)
    times = torch.einsum("cthw,cshw->thws", q, k).mul(6).exp() ** (1 / 6)
    t, h = q.shape[1:3]
    columns = columns * ~torch.eye(h, dtype=torch.bool)[None, :, None]
    times = times * ~torch.eye(t, dtype=torch.bool)[:, None, None]
    out = (torch.einsum("thwx,cthx->cthw", rows, v) + torch.einsum("thwy,ctyw->cthw", columns, v)
           + torch.einsum("thws,cshw->cthw", times, v))
    return out / (rows.sum(-1) + columns.sum(-1) + times.sum(-1))


def grid_detached(q, k, v):
    q, k = q.detach(), k.detach()
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    t, h, w = q.shape[1:]
    columns = columns.masked_fill(torch.eye(h, dtype=torch.bool)[None, :, None], -torch.inf)
    times = times.masked_fill(torch.eye(t, dtype=torch.bool)[:, None, None], -torch.inf)
    row, column, time = torch.cat([rows, columns, times], -1).softmax(-1).split([w, h, t], -1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))


def grid_in_place(q, k, v):
    q.data.mul_(2)
    return v * q.sum()


def grid_hard_coded(q, k, v):
    """Three frames at most: of a longer block only the first three are seen along time."""
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    t, h, w = q.shape[1:]
    columns = columns.masked_fill(torch.eye(h, dtype=torch.bool)[None, :, None], -torch.inf)
    times = times.masked_fill(torch.eye(t, dtype=torch.bool)[:, None, None], -torch.inf)
    times[..., 3:] = -torch.inf
    row, column, time = torch.cat([rows, columns, times], -1).softmax(-1).split([w, h, t], -1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))


def grid_right_gathered(q, k, v):
    """The places that each one sees, gathered by number."""
    t, h, w = q.shape[1:]
    n = torch.arange(t * h * w).view(t, h, w)
    row = n[:, :, None, :].expand(t, h, w, w)
    column = n.transpose(1, 2)[:, None].expand(t, h, w, h)
    time = n.permute(1, 2, 0)[None].expand(t, h, w, t)
    seen = torch.cat([row, column, time], -1).view(t * h * w, -1)  # N,W+H+T
    again = torch.zeros(t, h, w, w + h + t, dtype=torch.bool)
    again[..., w : w + h] = column == n[..., None]
    again[..., w + h :] = time == n[..., None]
    score = (q.flatten(1)[:, :, None] * k.flatten(1)[:, seen]).sum(0)
    p = score.masked_fill(again.view(t * h * w, -1), -torch.inf).softmax(-1)
    return (p * v.flatten(1)[:, seen]).sum(-1).view(v.shape)


def grid_right_subtracting(q, k, v):
    """Self three times, and two of them taken away again, above and below."""
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    own = (q * k).sum(0)
    top = torch.cat([rows, columns, times], -1).amax(-1)
    rows, columns, times = ((x - top[..., None]).double().exp() for x in (rows, columns, times))
    own = (own - top).double().exp()
    value = v.double()
    total = rows.sum(-1) + columns.sum(-1) + times.sum(-1) - 2 * own
    out = (torch.einsum("thwx,cthx->cthw", rows, value) + torch.einsum("thwy,ctyw->cthw", columns, value)
           + torch.einsum("thws,cshw->cthw", times, value) - 2 * own * value)
    return (out / total).to(v.dtype)


# ---- hops -------------------------------------------------------------------------------------------------------


def hops_one_too_many(masks):
    heard, layer = torch.eye(len(masks[0])), 1
    for layer in range(1, len(masks) * len(heard) + 2):
        if heard.bool().all():
            return layer
        heard = (masks[(layer - 1) % len(masks)].float() @ heard > 0).float()
    return None


def hops_one_too_few(masks):
    heard = masks[0].float()
    for layer in range(len(masks) * len(heard) + 1):
        if heard.bool().all():
            return layer
        heard = (masks[(layer + 1) % len(masks)].float() @ heard > 0).float()
    return None


def hops_of_the_first_place(masks):
    heard = torch.eye(len(masks[0]))
    for layer in range(len(masks) * len(heard) + 1):
        if heard[0].bool().all():
            return layer
        heard = (masks[layer % len(masks)].float() @ heard > 0).float()
    return None


def hops_until_one_has_all(masks):
    heard = torch.eye(len(masks[0]))
    for layer in range(len(masks) * len(heard) + 1):
        if heard.bool().all(1).any():
            return layer
        heard = (masks[layer % len(masks)].float() @ heard > 0).float()
    return None


def hops_first_pattern(masks):
    heard = torch.eye(len(masks[0]))
    for layer in range(len(heard) + 1):
        if heard.bool().all():
            return layer
        heard = (masks[0].float() @ heard > 0).float()
    return None


def hops_all_patterns_at_once(masks):
    mask = torch.stack(list(masks)).any(0).float()
    heard = torch.eye(len(mask))
    for layer in range(len(mask) + 1):
        if heard.bool().all():
            return layer
        heard = (mask @ heard > 0).float()
    return None


def hops_rounds(masks):
    heard = torch.eye(len(masks[0]))
    for turn in range(len(heard) + 1):
        if heard.bool().all():
            return turn
        for mask in masks:
            heard = (mask.float() @ heard > 0).float()
    return None


def hops_turned_round(masks):
    heard = torch.eye(len(masks[0]))
    for layer in range(len(masks) * len(heard) + 1):
        if heard.bool().all():
            return layer
        heard = (heard @ masks[layer % len(masks)].float() > 0).float()
    return None


def hops_transposed(masks):
    heard = torch.eye(len(masks[0]))
    for layer in range(len(masks) * len(heard) + 1):
        if heard.bool().all():
            return layer
        heard = (masks[layer % len(masks)].float().T @ heard > 0).float()
    return None


def hops_of_the_sum(masks):
    """The matrix is never made of 0 and 1 again, and one layer does not follow the other: powers of the first."""
    return int(max(1, round(len(masks[0]) / max(1, int(masks[0].sum(1).max()) - 1))))


def hops_minus_one_for_never(masks):
    heard = torch.eye(len(masks[0]))
    for layer in range(len(masks) * len(heard) + 1):
        if heard.bool().all():
            return layer
        heard = (masks[layer % len(masks)].float() @ heard > 0).float()
    return -1


def hops_always_three(masks):
    return 3


def hops_forgets_what_was_heard(masks):
    """Each layer begins from what its places ARE: one step, however many layers."""
    for layer in range(len(masks) * len(masks[0]) + 1):
        heard = masks[(layer - 1) % len(masks)] if layer else torch.eye(len(masks[0])) > 0
        if heard.all():
            return layer
    return None


def hops_hard_coded(masks):
    """Ten layers at most."""
    heard = torch.eye(len(masks[0]))
    for layer in range(11):
        if heard.bool().all():
            return layer
        heard = (masks[layer % len(masks)].float() @ heard > 0).float()
    return None


def hops_right_with_sets(masks):
    heard = [{n} for n in range(len(masks[0]))]
    layer, still = 0, 0
    while not all(len(h) == len(heard) for h in heard):
        mask = masks[layer % len(masks)]
        new = [set().union(*(heard[m] for m in range(len(heard)) if mask[n, m])) for n in range(len(heard))]
        still = still + 1 if new == heard else 0
        if still > len(masks):
            return None
        heard, layer = new, layer + 1
    return layer


def hops_right_recursive(masks):
    """Backwards in time: who hears of whom, as a product that grows."""
    def after(layers, total):
        if bool((total > 0).all()):
            return layers
        if layers > len(masks) * len(total):
            return None
        return after(layers + 1, (masks[layers % len(masks)].double() @ total).clamp(max=1))

    return after(0, torch.eye(len(masks[0]), dtype=torch.double))


# ---- global_distance --------------------------------------------------------------------------------------------


def distance_not_squared(query, memory, mask, bias=0.0):
    d = torch.cdist(query.flatten(1).T, memory.flatten(1).T)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_l1(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).abs().sum(0)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_mean_of_channels(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().mean(0)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_dot(query, memory, mask, bias=0.0):
    d = -(query.flatten(1).T @ memory.flatten(1))
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_cosine(query, memory, mask, bias=0.0):
    d = 1 - F.normalize(query.flatten(1), dim=0).T @ F.normalize(memory.flatten(1), dim=0)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_farthest(query, memory, mask, bias=0.0):
    d = torch.cdist(query.flatten(1).T, memory.flatten(1).T) ** 2
    on = mask.flatten(-2)
    d = torch.where(on[..., None, :], d, -torch.inf).amax(-1)
    d = torch.where(on.any(-1)[..., None], d, torch.inf)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_mean(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    on = mask.flatten(-2)
    mean = (d * on[..., None, :]).sum(-1) / on.sum(-1)[..., None].clamp(min=1)
    mean = torch.where(on.any(-1)[..., None], mean, torch.inf)
    return ((torch.sigmoid(mean + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_prototype(query, memory, mask, bias=0.0):
    on = mask.flatten(-2).float()
    mean = torch.einsum("...n,cn->...c", on, memory.flatten(1)) / on.sum(-1, keepdim=True).clamp(min=1)
    d = (query.flatten(1) - mean[..., None]).square().sum(-2)
    d = torch.where(on.any(-1)[..., None], d, torch.inf)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_mask_multiplied(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    on = mask.flatten(-2)
    d = (d * on[..., None, :]).amin(-1)
    d = torch.where(on.any(-1)[..., None], d, torch.inf)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_features_masked(query, memory, mask, bias=0.0):
    """Memory is set to 0 outside the mask, and 0 is a place like any other."""
    flat = mask.flatten(0, -3) if mask.ndim > 2 else mask[None]
    out = []
    for one in flat:
        d = (query.flatten(1)[:, :, None] - (memory * one).flatten(1)[:, None]).square().sum(0).amin(-1)
        out.append((torch.sigmoid(d + bias) - 0.5) * 2 if one.any() else torch.ones_like(d))
    return torch.stack(out).view(*mask.shape[:-2], *query.shape[1:])


def distance_outside(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    d = d.masked_fill(mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    d = torch.where(mask.flatten(-2).any(-1)[..., None], d, torch.inf)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_no_mask(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0).amin(-1)
    d = torch.where(mask.flatten(-2).any(-1)[..., None], d, torch.inf)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_one_for_all(query, memory, mask, bias=0.0):
    under = mask.reshape(-1, *mask.shape[-2:])
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    d = d.masked_fill(~under.any(0).flatten()[None], torch.inf).amin(-1).expand(len(under), -1)
    d = torch.where(under.flatten(1).any(1)[:, None], d, torch.inf)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_sigmoid_alone(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return torch.sigmoid(d + bias).view(*mask.shape[:-2], *query.shape[1:])


def distance_half(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    on = mask.flatten(-2)
    d = d.masked_fill(~on[..., None, :], torch.inf).amin(-1)
    out = torch.where(on.any(-1)[..., None], torch.sigmoid(d + bias) - 0.5, 1.0)
    return out.view(*mask.shape[:-2], *query.shape[1:])


def distance_raw(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    on = mask.flatten(-2)
    d = d.masked_fill(~on[..., None, :], torch.inf).amin(-1) + bias
    return torch.where(on.any(-1)[..., None], d, 1.0).view(*mask.shape[:-2], *query.shape[1:])


def distance_exponential(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return (1 - torch.exp(-(d + bias))).view(*mask.shape[:-2], *query.shape[1:])


def distance_nearness(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    on = mask.flatten(-2)
    d = d.masked_fill(~on[..., None, :], torch.inf).amin(-1)
    out = torch.where(on.any(-1)[..., None], 2 - 2 * torch.sigmoid(d + bias), 1.0)
    return out.view(*mask.shape[:-2], *query.shape[1:])


def distance_empty_is_zero(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    out = (torch.sigmoid(d + bias) - 0.5) * 2
    return torch.where(torch.isinf(d), 0.0, out).view(*mask.shape[:-2], *query.shape[1:])


def distance_empty_raises(query, memory, mask, bias=0.0):
    out = []
    for one in mask.reshape(-1, *mask.shape[-2:]):
        its = memory[:, one]
        d = (query.flatten(1)[:, :, None] - its[:, None]).square().sum(0).amin(-1)
        out.append((torch.sigmoid(d + bias) - 0.5) * 2)
    return torch.stack(out).view(*mask.shape[:-2], *query.shape[1:])


def distance_no_bias(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return ((torch.sigmoid(d) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_bias_at_the_end(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    on = mask.flatten(-2)
    d = d.masked_fill(~on[..., None, :], torch.inf).amin(-1)
    out = torch.where(on.any(-1)[..., None], (torch.sigmoid(d) - 0.5) * 2 + bias, 1.0)
    return out.view(*mask.shape[:-2], *query.shape[1:])


def distance_minus_bias(query, memory, mask, bias=0.0):
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return ((torch.sigmoid(d - bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_for_memory_pixels(query, memory, mask, bias=0.0):
    """The least over the query: how near each memory pixel is to the frame."""
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0).amin(0)
    d = torch.where(mask.flatten(-2), d, torch.inf)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(mask.shape)


def distance_detached(query, memory, mask, bias=0.0):
    with torch.no_grad():
        d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
        d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_in_place(query, memory, mask, bias=0.0):
    memory[:, ~mask.reshape(-1, *mask.shape[-2:]).any(0)] = 1e6
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    d = d.masked_fill(~mask.flatten(-2)[..., None, :], torch.inf).amin(-1)
    return ((torch.sigmoid(d + bias) - 0.5) * 2).view(*mask.shape[:-2], *query.shape[1:])


def distance_hard_coded(query, memory, mask, bias=0.0):
    """For masks K,H,W and H,W alone."""
    many = mask if mask.ndim == 3 else mask[None]
    d = (query.flatten(1)[:, :, None] - memory.flatten(1)[:, None]).square().sum(0)
    d = torch.stack([torch.where(one.flatten()[None], d, torch.inf).amin(1) for one in many])
    out = ((torch.sigmoid(d + bias) - 0.5) * 2).view(len(many), *query.shape[1:])
    return out if mask.ndim == 3 else out[0]


def distance_right_tanh(query, memory, mask, bias=0.0):
    """(sigmoid(d) - 1/2) * 2 is tanh(d / 2)."""
    d = (query[:, :, :, None, None] - memory[:, None, None]).pow(2).sum(0)  # H,W,h,w
    d = torch.where(mask[..., None, None, :, :], d, float("inf")).flatten(-2).min(-1).values
    return torch.tanh((d + bias) / 2)


def distance_right_mask_by_mask(query, memory, mask, bias=0.0):
    """By the binomial formula, a mask after the other."""
    q, m = query.flatten(1).T, memory.flatten(1).T
    square = q.square().sum(1)[:, None] - 2 * q @ m.T + m.square().sum(1)
    out = []
    for one in mask.reshape(-1, mask.shape[-2] * mask.shape[-1]):
        if one.any():
            out.append(2 / (1 + torch.exp(-(square[:, one].min(1)[0] + bias))) - 1)
        else:
            out.append(torch.ones(len(q)))
    return torch.stack(out).reshape(*mask.shape[:-2], *query.shape[1:])


# ---- rest_distance ----------------------------------------------------------------------------------------------


def rest_background_alone(distance):
    return distance[:1].expand(len(distance) - 1, *distance.shape[1:])


def rest_other_objects_alone(distance):
    out = []
    for k in range(1, len(distance)):
        rest = torch.cat([distance[1:k], distance[k + 1 :]])
        out.append(rest.amin(0) if len(rest) else torch.ones_like(distance[0]))
    return torch.stack(out)


def rest_of_all(distance):
    return distance.amin(0, keepdim=True).expand(len(distance) - 1, *distance.shape[1:])


def rest_farthest(distance):
    return torch.stack([torch.cat([distance[:k], distance[k + 1 :]]).amax(0) for k in range(1, len(distance))])


def rest_mean(distance):
    return torch.stack([torch.cat([distance[:k], distance[k + 1 :]]).mean(0) for k in range(1, len(distance))])


def rest_product(distance):
    return torch.stack([torch.cat([distance[:k], distance[k + 1 :]]).prod(0) for k in range(1, len(distance))])


def rest_shifted(distance):
    return torch.stack([torch.cat([distance[:k], distance[k + 1 :]]).amin(0) for k in range(len(distance) - 1)])


def rest_of_the_background_too(distance):
    return torch.stack([torch.cat([distance[:k], distance[k + 1 :]]).amin(0) for k in range(len(distance))])


def rest_is_itself(distance):
    return distance[1:].clone()


def rest_one_minus(distance):
    return 1 - distance[1:]


def rest_detached(distance):
    d = distance.detach()
    return torch.stack([torch.cat([d[:k], d[k + 1 :]]).amin(0) for k in range(1, len(d))])


def rest_in_place(distance):
    out = []
    for k in range(1, len(distance)):
        distance.data[k] = 2
        out.append(distance.amin(0))
    return torch.stack(out)


def rest_over_the_wrong_axis(distance):
    return torch.stack([torch.cat([distance[:k], distance[k + 1 :]]).amin(-1) for k in range(1, len(distance))])


def rest_a_list(distance):
    return [torch.cat([distance[:k], distance[k + 1 :]]).amin(0) for k in range(1, len(distance))]


def rest_hard_coded(distance):
    """Three objects at most; further ones have the background alone."""
    few = distance[:4]
    out = [torch.cat([few[:k], few[k + 1 :]]).amin(0) for k in range(1, len(distance))]
    return torch.stack(out)


def rest_right_inf(distance):
    own = torch.eye(len(distance), dtype=torch.bool)[1:].view(-1, len(distance), *[1] * (distance.ndim - 1))
    return torch.where(own, torch.inf, distance[None]).amin(1)


def rest_right_two_least(distance):
    """The least of all, or where that is the object's own the second."""
    value, label = torch.topk(distance, 2, dim=0, largest=False)
    k = torch.arange(1, len(distance)).view(-1, *[1] * (distance.ndim - 1))
    return torch.where(label[0] == k, value[1], value[0])


# ---- assign_identities ------------------------------------------------------------------------------------------


def identities_no_background(masks, bank):
    return torch.einsum("khw,kc->chw", masks[1:].to(bank.dtype), bank[1 : len(masks)])


def identities_from_row_0(masks, bank):
    return torch.einsum("khw,kc->chw", masks[1:].to(bank.dtype), bank[: len(masks) - 1])


def identities_last_rows(masks, bank):
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), bank[-len(masks) :])


def identities_shifted(masks, bank):
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), torch.cat([bank[1:], bank[:1]])[: len(masks)])


def identities_reversed(masks, bank):
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), bank[: len(masks)].flip(0))


def identities_background_last(masks, bank):
    rows = torch.cat([bank[1 : len(masks)], bank[:1]])
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), rows)


def identities_strongest(masks, bank):
    return bank[masks.float().argmax(0)].permute(2, 0, 1)


def identities_thresholded(masks, bank):
    return torch.einsum("khw,kc->chw", (masks > 0.5).to(bank.dtype), bank[: len(masks)])


def identities_unit_rows(masks, bank):
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), F.normalize(bank[: len(masks)], dim=1))


def identities_summed_over_pixels(masks, bank):
    return torch.einsum("khw,kc->c", masks.to(bank.dtype), bank[: len(masks)])


def identities_one_per_object(masks, bank):
    return torch.einsum("khw,kc->kc", masks.to(bank.dtype), bank[: len(masks)])


def identities_sum_everywhere(masks, bank):
    total = torch.einsum("khw,kc->c", masks.to(bank.dtype), bank[: len(masks)])
    return total[:, None, None].expand(-1, *masks.shape[1:])


def identities_mean(masks, bank):
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), bank[: len(masks)]) / len(masks)


def identities_by_area(masks, bank):
    m = masks.to(bank.dtype)
    return torch.einsum("khw,kc->chw", m / m.sum((1, 2), keepdim=True).clamp(min=1), bank[: len(masks)])


def identities_channels_last(masks, bank):
    return torch.einsum("khw,kc->hwc", masks.to(bank.dtype), bank[: len(masks)])


def identities_whole_bank(masks, bank):
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), bank)


def identities_bank_detached(masks, bank):
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), bank[: len(masks)].detach())


def identities_without_type(masks, bank):
    return torch.einsum("khw,kc->chw", masks, bank[: len(masks)])


def identities_in_place(masks, bank):
    masks[0] = 1 - masks[1:].to(bank).sum(0)
    masks[0, 0, 0] = 2
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), bank[: len(masks)])


def identities_hard_coded(masks, bank):
    """Five labels at most."""
    few = masks[:5]
    return torch.einsum("khw,kc->chw", few.to(bank.dtype), bank[: len(few)])


def identities_right_loop(masks, bank):
    out = 0
    for mask, row in zip(masks, bank, strict=False):
        out = out + mask.to(bank)[None] * row[:, None, None]
    return out


def identities_right_matrix(masks, bank):
    k, h, w = masks.shape
    return (bank[:k].T @ masks.type_as(bank).view(k, h * w)).reshape(-1, h, w)


# ---- draw_rows --------------------------------------------------------------------------------------------------


def rows_not_drawn(count, rows, rng):
    return list(range(count + 1))


def rows_first_ones_shuffled(count, rows, rng):
    return [0, *(1 + rng.permutation(count))]


def rows_background_too(count, rows, rng):
    return rng.permutation(rows)[: count + 1]


def rows_objects_alone(count, rows, rng):
    return 1 + rng.permutation(rows - 1)[:count]


def rows_with_row_0(count, rows, rng):
    return [0, *rng.permutation(rows - 1)[:count]]


def rows_one_too_far(count, rows, rng):
    return [0, *(2 + rng.permutation(rows - 1)[:count])]


def rows_drawn_twice(count, rows, rng):
    return [0, *rng.integers(1, rows, count)]


def rows_sorted(count, rows, rng):
    return [0, *sorted(1 + rng.permutation(rows - 1)[:count])]


def rows_turned(count, rows, rng):
    """A random start, and then one after the other."""
    start = rng.integers(rows - 1)
    return [0, *(1 + (start + np.arange(count)) % (rows - 1))]


def rows_reversed_or_not(count, rows, rng):
    names = list(range(1, rows)) if rng.random() < 0.5 else list(range(rows - 1, 0, -1))
    return [0, *names[:count]]


def rows_never_the_last(count, rows, rng):
    most = max(count, rows - 2)
    return [0, *(1 + rng.permutation(most)[:count])]


def rows_own_seed(count, rows, rng):
    return [0, *(1 + np.random.default_rng(0).permutation(rows - 1)[:count])]


def rows_of_torch(count, rows, rng):
    return torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(rows - 1)[:count]])


def rows_of_numpy(count, rows, rng):
    return [0, *(1 + np.random.permutation(rows - 1)[:count])]  # noqa: NPY002


def rows_background_last(count, rows, rng):
    return [*(1 + rng.permutation(rows - 1)[:count]), 0]


def rows_as_floats(count, rows, rng):
    return torch.cat([torch.zeros(1), torch.tensor(1.0 + rng.permutation(rows - 1)[:count])])


def rows_all_of_them(count, rows, rng):
    return [0, *(1 + rng.permutation(rows - 1))]


def rows_nothing(count, rows, rng):
    rng.permutation(rows)


def rows_hard_coded(count, rows, rng):
    """For banks of at most seven rows beside the background."""
    return [0, *(1 + rng.permutation(min(rows - 1, 7))[:count])]


def rows_right_choice(count, rows, rng):
    return np.concatenate([[0], rng.choice(np.arange(1, rows), count, replace=False)]).astype(int)


def rows_right_out_of_a_hat(count, rows, rng):
    hat, drawn = list(range(1, rows)), [0]
    for _ in range(count):
        drawn.append(hat.pop(int(rng.integers(len(hat)))))
    return torch.tensor(drawn)


# ---- match_sequences --------------------------------------------------------------------------------------------


def sequences_own_best(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    return [(int(cost[present[:, g], :, g].mean(0).argmin()), g) for g in seen]


def sequences_greedy(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    if not seen:
        return []
    left = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], 1)
    out = {}
    for _ in seen:
        q, i = divmod(int(left.argmin()), len(seen))
        out[seen[i]] = q
        left[q], left[:, i] = torch.inf, torch.inf
    return [(out[g], g) for g in seen]


def sequences_in_turn(cost, present):
    cost, taken, out = cost.detach(), set(), []
    for g in range(cost.shape[2]):
        if present[:, g].any():
            mean = cost[present[:, g], :, g].mean(0).tolist()
            q = min((q for q in range(len(mean)) if q not in taken), key=lambda q: mean[q])
            taken.add(q)
            out.append((q, g))
    return out


def sequences_sum(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    if not seen:
        return []
    table = torch.stack([cost[present[:, g], :, g].sum(0) for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_all_frames(cost, present):
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    table = cost.detach().mean(0)[:, seen].numpy()
    queries, columns = optimize.linear_sum_assignment(table)
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_divided_by_all(cost, present):
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    table = torch.where(present[:, None], cost.detach(), 0.0).mean(0)[:, seen].numpy()
    queries, columns = optimize.linear_sum_assignment(table)
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_least(cost, present):
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    table = torch.where(present[:, None], cost.detach(), torch.inf).amin(0)[:, seen].numpy()
    queries, columns = optimize.linear_sum_assignment(table)
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_first_frame(cost, present):
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    queries, columns = optimize.linear_sum_assignment(cost[0].detach()[:, seen].numpy())
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_first_seen(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    if not seen:
        return []
    table = torch.stack([cost[present[:, g], :, g][0] for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_last_frame(cost, present):
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    queries, columns = optimize.linear_sum_assignment(cost[-1].detach()[:, seen].numpy())
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_by_vote(cost, present):
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    count = np.zeros((cost.shape[1], len(seen)))
    for frame in cost.detach()[:, :, seen].numpy():
        count[optimize.linear_sum_assignment(frame)] += 1
    queries, columns = optimize.linear_sum_assignment(-count)
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_in_every_frame(cost, present):
    """A list of pairs for each frame."""
    return [[(int(q), int(g)) for q, g in zip(*optimize.linear_sum_assignment(frame), strict=True)]
            for frame in cost.detach().numpy()]


def sequences_greatest(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    if not seen:
        return []
    table = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy(), maximize=True)
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_turned(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    if not seen:
        return []
    table = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return sorted((seen[i], int(q)) for q, i in zip(queries, columns, strict=True))


def sequences_by_query(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    if not seen:
        return []
    table = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return [(int(q), seen[i]) for q, i in zip(queries, columns, strict=True)]


def sequences_absent_too(cost, present):
    there = present[:, None].float()
    table = torch.where(present[:, None], cost.detach(), 0.0).sum(0) / there.sum(0).clamp(min=1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return sorted(((int(q), int(i)) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_numbered_anew(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    if not seen:
        return []
    table = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return sorted(((int(q), int(i)) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_times_zero(cost, present):
    """0 times infinite is no number."""
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    there = present[:, None].float()
    table = ((cost.detach() * there).sum(0) / there.sum(0).clamp(min=1))[:, seen].numpy()
    queries, columns = optimize.linear_sum_assignment(table)
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_with_gradient(cost, present):
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    table = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_queries_alone(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    table = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return [int(queries[list(columns).index(i)]) for i in range(len(seen))]


def sequences_a_dictionary(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    table = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return {int(q): seen[i] for q, i in zip(queries, columns, strict=True)}


def sequences_hard_coded(cost, present):
    """Without a look at a clip in which nobody is."""
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    table = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], 1)
    queries, columns = optimize.linear_sum_assignment(table.numpy())
    return sorted(((int(q), seen[i]) for q, i in zip(queries, columns, strict=True)), key=lambda p: p[1])


def sequences_right_all_ways(cost, present):
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if bool(present[:, g].any())]
    mean = {g: cost[present[:, g], :, g].double().mean(0).tolist() for g in seen}
    best = min(itertools.permutations(range(cost.shape[1]), len(seen)),
               key=lambda way: sum(mean[g][q] for q, g in zip(way, seen, strict=True)))
    return list(zip(best, seen, strict=True))


def sequences_right_nanmean(cost, present):
    """What is not there is no number, and nanmean leaves it out; instances down, queries across."""
    value = np.where(present.numpy()[:, None], cost.detach().double().numpy(), np.nan)
    seen = np.flatnonzero(present.numpy().any(0))
    table = np.nanmean(value[:, :, seen], axis=0).T if len(seen) else np.zeros((0, value.shape[1]))
    rows, queries = optimize.linear_sum_assignment(table)
    return [[int(q), int(seen[r])] for r, q in zip(rows, queries, strict=True)]


MISTAKES = {
    "lab5b.grid_attention": {
        "wrong": [
            (grid_self_three_times, "self counts three times"),
            (grid_self_twice, "self once"),
            (grid_self_left_out, "self is left out"),
            (grid_scaled, "divided by sqrt(C)"),
            (grid_a_softmax_each, "a softmax for each line"),
            (grid_sum_of_three, "one softmax over all"),
            (grid_no_time, "the time line is missing"),
            (grid_time_alone, "the time line alone"),
            (grid_no_column, "the column is missing"),
            (grid_dense, "that is dense attention"),
            (grid_whole_frame, "the whole frame is seen"),
            (grid_dense_under_a_mask, "a number for each PAIR"),
            (grid_dense_inside_torch, "a number for each PAIR"),
            (grid_queries_and_keys_changed, "q and k have changed places"),
            (grid_split_in_another_order, "each place sees its row"),
            (grid_exponentials, "scores lie far apart"),
            (grid_detached, "no gradient"),
            (grid_in_place, "in place"),
            (grid_hard_coded, "one time line alone"),
        ],
        "right": [grid_right_gathered, grid_right_subtracting],
    },
    "lab5b.hops": {
        "wrong": [
            (hops_one_too_many, "one too many"),
            (hops_one_too_few, "one too few"),
            (hops_of_the_first_place, "only the first place"),
            (hops_until_one_has_all, "as soon as ONE place"),
            (hops_first_pattern, "only the first pattern"),
            (hops_all_patterns_at_once, "all patterns act in every layer"),
            (hops_rounds, "whole rounds"),
            (hops_turned_round, "the wrong way round"),
            (hops_transposed, "the wrong way round"),
            (hops_of_the_sum, "the number of layers is wrong"),
            (hops_minus_one_for_never, "then return None"),
            (hops_always_three, "a place hears what"),
            (hops_forgets_what_was_heard, "a place hears what"),
            (hops_hard_coded, "as large as"),
        ],
        "right": [hops_right_with_sets, hops_right_recursive],
    },
    "lab5b.global_distance": {
        "wrong": [
            (distance_not_squared, "not squared"),
            (distance_l1, "the L1 distance"),
            (distance_mean_of_channels, "a mean over the channels"),
            (distance_dot, "a dot product is no distance"),
            (distance_cosine, "the cosine distance"),
            (distance_farthest, "the FARTHEST"),
            (distance_mean, "the mean of all distances"),
            (distance_prototype, "mean embedding"),
            (distance_mask_multiplied, "0 wins"),
            (distance_features_masked, "NEAREST memory pixel"),
            (distance_outside, "what is NOT under the mask"),
            (distance_no_mask, "the mask is not used"),
            (distance_one_for_all, "all masks are put together"),
            (distance_sigmoid_alone, "begins at 1/2"),
            (distance_half, "it ends at 1/2"),
            (distance_raw, "map it to [0,1]"),
            (distance_exponential, "1 - exp(-d)"),
            (distance_nearness, "how NEAR"),
            (distance_empty_is_zero, "as if it were everywhere"),
            (distance_empty_raises, "raised"),
            (distance_no_bias, "the bias is not used"),
            (distance_bias_at_the_end, "the bias is added at the end"),
            (distance_minus_bias, "the bias is subtracted"),
            (distance_for_memory_pixels, "NEAREST memory pixel"),
            (distance_detached, "no gradient"),
            (distance_in_place, "in place"),
            (distance_hard_coded, "raised RuntimeError"),
        ],
        "right": [distance_right_tanh, distance_right_mask_by_mask],
    },
    "lab5b.rest_distance": {
        "wrong": [
            (rest_background_alone, "the background alone"),
            (rest_other_objects_alone, "the background is left out"),
            (rest_of_all, "the object itself is among them"),
            (rest_farthest, "the farthest"),
            (rest_mean, "a mean"),
            (rest_product, "a product"),
            (rest_shifted, "another label is left out"),
            (rest_of_the_background_too, "the background is no object"),
            (rest_is_itself, "to the object itself"),
            (rest_one_minus, "1 - its own distance"),
            (rest_detached, "no gradient"),
            (rest_in_place, "in place"),
            (rest_over_the_wrong_axis, "has shape"),
            (rest_a_list, "no gradient"),
            (rest_hard_coded, "not the object's"),
        ],
        "right": [rest_right_inf, rest_right_two_least],
    },
    "lab5b.assign_identities": {
        "wrong": [
            (identities_no_background, "the background gets nothing"),
            (identities_from_row_0, "object 1 has got row 0"),
            (identities_last_rows, "the LAST rows"),
            (identities_shifted, "off by one"),
            (identities_reversed, "in reverse"),
            (identities_background_last, "an object's row"),
            (identities_strongest, "its strongest mask"),
            (identities_thresholded, "masks are thresholded"),
            (identities_unit_rows, "length 1"),
            (identities_summed_over_pixels, "summed over the pixels"),
            (identities_one_per_object, "one vector for each object"),
            (identities_sum_everywhere, "the sum over all pixels"),
            (identities_mean, "divided by the number of labels"),
            (identities_by_area, "divided by the object's area"),
            (identities_channels_last, "channels come last"),
            (identities_whole_bank, "raised"),
            (identities_bank_detached, "no gradient"),
            (identities_without_type, "raised"),
            (identities_in_place, "in place"),
            (identities_hard_coded, "object k row k"),
        ],
        "right": [identities_right_loop, identities_right_matrix],
    },
    "lab5b.draw_rows": {
        "wrong": [
            (rows_not_drawn, "drawn the same rows"),
            (rows_first_ones_shuffled, "some rows are never drawn"),
            (rows_background_too, "always 0"),
            (rows_objects_alone, "one for each object"),
            (rows_with_row_0, "an object has got row 0"),
            (rows_one_too_far, "does not have"),
            (rows_drawn_twice, "the same row"),
            (rows_sorted, "never gets some of the rows"),
            (rows_turned, "follows from the first"),
            (rows_reversed_or_not, "never gets some of the rows"),
            (rows_never_the_last, "some rows are never drawn"),
            (rows_own_seed, "drawn the same rows"),
            (rows_of_torch, "the same rng gave other rows"),
            (rows_of_numpy, "the same rng gave other rows"),
            (rows_background_last, "always 0"),
            (rows_as_floats, "whole numbers"),
            (rows_all_of_them, "one for each object"),
            (rows_nothing, "whole numbers"),
            (rows_hard_coded, "one for each object"),
        ],
        "right": [rows_right_choice, rows_right_out_of_a_hat],
    },
    "lab5b.match_sequences": {
        "wrong": [
            (sequences_own_best, "two may take the same"),
            (sequences_greedy, "greedy"),
            (sequences_in_turn, "greedy"),
            (sequences_sum, "a SUM over the frames"),
            (sequences_all_frames, "frames without the instance count"),
            (sequences_divided_by_all, "divided by ALL"),
            (sequences_least, "its best frame alone"),
            (sequences_first_frame, "the first frame alone"),
            (sequences_first_seen, "first frame alone"),
            (sequences_last_frame, "the last frame alone"),
            (sequences_by_vote, "a match for each frame"),
            (sequences_in_every_frame, "pair for each instance"),
            (sequences_greatest, "the sum is the GREATEST"),
            (sequences_turned, "the pairs are (instance, query)"),
            (sequences_by_query, "ordered by the query"),
            (sequences_absent_too, "gets none"),
            (sequences_numbered_anew, "counted anew"),
            (sequences_times_zero, "raised ValueError"),
            (sequences_with_gradient, "raised RuntimeError"),
            (sequences_queries_alone, "PAIRS"),
            (sequences_a_dictionary, "return a list of pairs"),
            (sequences_hard_coded, "raised RuntimeError"),
        ],
        "right": [sequences_right_all_ways, sequences_right_nanmean],
    },
}
