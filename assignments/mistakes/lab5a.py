"""Lab 5a: wrong answers that must lose their marks, and right ones that must not. Each stands for itself.

A wrong answer comes with words of the sentence that it must be told. `hard_coded...`: stands the public cases only.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

# ---- dot_affinity ---------------------------------------------------------------------------------------------


def dot_over_questions(mk, qk):
    return torch.softmax(mk.transpose(-1, -2) @ qk / math.sqrt(mk.shape[-2]), dim=-1)


def dot_over_all(mk, qk):
    s = mk.transpose(-1, -2) @ qk / math.sqrt(mk.shape[-2])
    return torch.softmax(s.flatten(-2), dim=-1).view_as(s)


def dot_turned(mk, qk):
    return torch.softmax(qk.transpose(-1, -2) @ mk / math.sqrt(mk.shape[-2]), dim=-1)


def dot_without_scale(mk, qk):
    return torch.softmax(mk.transpose(-1, -2) @ qk, dim=-2)


def dot_by_c(mk, qk):
    return torch.softmax(mk.transpose(-1, -2) @ qk / mk.shape[-2], dim=-2)


def dot_by_root_of_n(mk, qk):
    return torch.softmax(mk.transpose(-1, -2) @ qk / mk.shape[-1] ** 0.5, dim=-2)


def dot_times_root(mk, qk):
    return torch.softmax(mk.transpose(-1, -2) @ qk * mk.shape[-2] ** 0.5, dim=-2)


def dot_negative(mk, qk):
    return torch.softmax(-mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5, dim=-2)


def dot_cosine(mk, qk):
    mk, qk = F.normalize(mk, dim=-2), F.normalize(qk, dim=-2)
    return torch.softmax(mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5, dim=-2)


def dot_distance(mk, qk):
    d = (mk[..., :, None] - qk[..., None, :]).square().sum(-3)
    return torch.softmax(-d / mk.shape[-2] ** 0.5, dim=-2)


def dot_scores(mk, qk):
    return mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5


def dot_logarithm(mk, qk):
    return F.log_softmax(mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5, dim=-2)


def dot_sigmoid(mk, qk):
    return torch.sigmoid(mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5)


def dot_hard(mk, qk):
    s = mk.transpose(-1, -2) @ qk
    return (s == s.amax(-2, keepdim=True)).to(mk)


def dot_overflows(mk, qk):
    e = torch.exp(mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5)
    return e / e.sum(-2, keepdim=True)


def dot_one_maximum(mk, qk):
    s = mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5
    e = torch.exp(s - s.max())
    return e / e.sum(-2, keepdim=True)


def dot_flat_only(mk, qk):
    return torch.softmax(mk.T @ qk / mk.shape[0] ** 0.5, dim=0)


def dot_channels_in_front(mk, qk):
    return torch.softmax(mk.transpose(-1, -2) @ qk / mk.shape[0] ** 0.5, dim=-2)


def dot_keys_transposed(mk, qk):
    return torch.softmax(mk @ qk.transpose(-1, -2) / mk.shape[-2] ** 0.5, dim=-2)


def dot_in_place(mk, qk):
    mk /= mk.shape[-2] ** 0.5
    return torch.softmax(mk.transpose(-1, -2) @ qk, dim=-2)


def dot_no_grad(mk, qk):
    with torch.no_grad():
        return torch.softmax(mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5, dim=-2)


def dot_memory_detached(mk, qk):
    return torch.softmax(mk.detach().transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5, dim=-2)


def dot_hard_coded(mk, qk):
    """The root of 4 channels, as in the public cases."""
    return torch.softmax(mk.transpose(-1, -2) @ qk / 2, dim=-2)


def dot_right_by_hand(mk, qk):
    s = torch.einsum("...cn,...cm->...nm", mk, qk) * mk.shape[-2] ** -0.5
    e = torch.exp(s - s.max(dim=-2, keepdim=True).values)
    return e / e.sum(dim=-2, keepdim=True)


def dot_right_from_the_questions(mk, qk):
    c = mk.size(-2)
    s = torch.matmul((qk / c**0.25).mT, mk / c**0.25)  # ...,M,N
    return torch.exp(F.log_softmax(s, -1)).mT


# ---- readout --------------------------------------------------------------------------------------------------


def read_turned(affinity, mv):
    return mv @ affinity.transpose(-1, -2)


def read_rows(affinity, mv):
    return mv @ (affinity / affinity.sum(-1, keepdim=True))


def read_softmax_again(affinity, mv):
    return mv @ affinity.softmax(-2)


def read_channels_last(affinity, mv):
    return affinity.transpose(-1, -2) @ mv.transpose(-1, -2)


def read_mean(affinity, mv):
    return mv @ affinity / mv.shape[-1]


def read_best_alone(affinity, mv):
    best = affinity.argmax(-2)
    return mv[..., best]


def read_without_weights(affinity, mv):
    return mv.mean(-1, keepdim=True) + 0 * (mv @ affinity)


def read_sum_of_objects(affinity, mv):
    read = mv @ affinity
    return read.sum(0) if mv.dim() == 3 else read


def read_first_object(affinity, mv):
    return mv[:1] @ affinity if mv.dim() == 3 else mv @ affinity


def read_the_other_way(affinity, mv):
    return affinity @ mv


def read_detached(affinity, mv):
    return mv @ affinity.detach()


def read_numpy(affinity, mv):
    return torch.as_tensor(np.matmul(mv.detach().numpy(), affinity.detach().numpy()))


def read_in_place(affinity, mv):
    affinity.data /= affinity.data.sum(-1, keepdim=True)
    return mv @ affinity


def read_objects_flattened(affinity, mv):
    return (mv.flatten(0, -2) @ affinity).unflatten(0, mv.shape[1:-1] + mv.shape[:1]) if mv.dim() > 2 else mv @ affinity


def read_hard_coded(affinity, mv):
    """One affinity without dimensions before it, as in the public cases."""
    return torch.einsum("nm,...cn->...cm", affinity, mv)


def read_right_einsum(affinity, mv):
    return torch.einsum("...nm,...cn->...cm", affinity, mv)


def read_right_place_by_place(affinity, mv):
    total = 0
    for i in range(mv.shape[-1]):
        total = total + mv[..., :, i, None] * affinity[..., None, i, :]
    return total


# ---- look_up --------------------------------------------------------------------------------------------------


def look_last_frame(affinity, memory, qk):
    key, value = memory[-1]
    return (value.flatten(2) @ affinity(key.flatten(1), qk.flatten(1))).view(*value.shape[:2], *qk.shape[1:])


def look_first_frame(affinity, memory, qk):
    key, value = memory[0]
    return (value.flatten(2) @ affinity(key.flatten(1), qk.flatten(1))).view(*value.shape[:2], *qk.shape[1:])


def look_frame_by_frame(affinity, memory, qk):
    read = [value.flatten(2) @ affinity(key.flatten(1), qk.flatten(1)) for key, value in memory]
    return torch.stack(read).mean(0).unflatten(-1, qk.shape[1:])


def look_object_by_object(affinity, memory, qk):
    mk = torch.cat([key.flatten(1) for key, _ in memory], 1)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return torch.stack([v @ affinity(mk, qk.flatten(1)) for v in mv]).unflatten(-1, qk.shape[1:])


def look_keys_reversed(affinity, memory, qk):
    mk = torch.cat([key.flatten(1) for key, _ in reversed(memory)], 1)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:])


def look_keys_turned(affinity, memory, qk):
    mk = torch.cat([key.permute(0, 2, 1).flatten(1) for key, _ in memory], 1)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:])


def look_values_turned(affinity, memory, qk):
    mk = torch.cat([key.flatten(1) for key, _ in memory], 1)
    mv = torch.cat([value.transpose(2, 3).flatten(2) for _, value in memory], 2)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:])


def look_stacked(affinity, memory, qk):
    mk = torch.stack([key for key, _ in memory]).reshape(qk.shape[0], -1)
    mv = torch.stack([value for _, value in memory])
    mv = mv.reshape(*mv.shape[1:3], -1)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:])


def look_values_stacked(affinity, memory, qk):
    mk = torch.cat([key.flatten(1) for key, _ in memory], 1)
    mv = torch.stack([value for _, value in memory])
    mv = mv.reshape(*mv.shape[1:3], -1)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:])


def look_keys_stacked(affinity, memory, qk):
    mk = torch.stack([key for key, _ in memory]).view(qk.shape[0], -1)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:])


def look_values_interleaved(affinity, memory, qk):
    mk = torch.cat([key.flatten(1) for key, _ in memory], 1)
    mv = torch.stack([value.flatten(2) for _, value in memory], -1).flatten(2)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:])


def look_result_turned(affinity, memory, qk):
    mk = torch.cat([key.flatten(1) for key, _ in memory], 1)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, (qk.shape[2], qk.shape[1])).transpose(-1, -2)


def look_first_object(affinity, memory, qk):
    mk = torch.cat([key.flatten(1) for key, _ in memory], 1)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return (mv[:1] @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:]).repeat(len(mv), 1, 1, 1)


def look_left_flat(affinity, memory, qk):
    mk = torch.cat([key.flatten(1) for key, _ in memory], 1)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return mv @ affinity(mk, qk.flatten(1))


def look_frames_along_channels(affinity, memory, qk):
    mk = torch.cat([key.flatten(1) for key, _ in memory], 0)
    mv = torch.cat([value.flatten(2) for _, value in memory], 1)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:])


def look_remembers_the_question(affinity, memory, qk):
    memory.append((qk, memory[-1][1]))
    mk = torch.cat([key.flatten(1) for key, _ in memory], 1)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, qk.shape[1:])


def look_normalised_keys(affinity, memory, qk):
    mk = F.normalize(torch.cat([key.flatten(1) for key, _ in memory], 1), dim=0)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return (mv @ affinity(mk, F.normalize(qk.flatten(1), dim=0))).unflatten(-1, qk.shape[1:])


def look_hard_coded(affinity, memory, qk):
    """The question's map is as large as memory's, as in the public cases."""
    mk = torch.cat([key.flatten(1) for key, _ in memory], 1)
    mv = torch.cat([value.flatten(2) for _, value in memory], 2)
    return (mv @ affinity(mk, qk.flatten(1))).unflatten(-1, memory[0][0].shape[1:])


def look_right_other_order(affinity, memory, qk):
    """Any order will do, if it is the same for keys and values: here columns first, newest first."""
    newest = memory[::-1]
    mk = torch.cat([key.mT.flatten(1) for key, _ in newest], -1)
    mv = torch.cat([value.mT.flatten(-2) for _, value in newest], -1)
    weights = affinity(mk, qk.reshape(qk.shape[0], -1))
    return torch.einsum("kcn,nm->kcm", mv, weights).reshape(*mv.shape[:2], *qk.shape[1:])


def look_right_stack(affinity, memory, qk):
    keys, values = zip(*memory, strict=True)
    mk = torch.stack(keys, 1).flatten(1)  # C,T,h,w -> C,N
    mv = torch.stack(values, 2).flatten(2)
    h, w = qk.shape[1:]
    read = torch.tensordot(mv, affinity(mk, qk.flatten(1)), dims=([2], [0]))
    return read.view(len(mv), -1, h, w)


# ---- remember -------------------------------------------------------------------------------------------------


def remember_the_present(t, last=True, every=5, limit=None):
    held = sorted({0, *([t] if last else []), *(range(0, t, every) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_up_to_now(t, last=True, every=5, limit=None):
    held = sorted({0, *([t - 1] if last else []), *(range(0, t + 1, every) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_twice(t, last=True, every=5, limit=None):
    held = [0, *(range(every, t, every) if every else []), *([t - 1] if last else [])]
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_unordered(t, last=True, every=5, limit=None):
    held = [t - 1] if last else []
    held += [s for s in (range(0, t, every) if every else [0]) if s not in held]
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_without_the_first(t, last=True, every=5, limit=None):
    held = sorted({*([t - 1] if last else []), *(range(0, t, every) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_counts_back(t, last=True, every=5, limit=None):
    held = sorted({0, *([t - 1] if last else []), *(range(t - every, 0, -every) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_from_one(t, last=True, every=5, limit=None):
    held = sorted({0, *([t - 1] if last else []), *(range(1, t, every) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_recent(t, last=True, every=5, limit=None):
    held = sorted({0, *([t - 1] if last else []), *(range(max(0, t - every), t) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_forgets_the_first(t, last=True, every=5, limit=None):
    held = sorted({0, *([t - 1] if last else []), *(range(0, t, every) if every else [])})
    return held if limit is None else held[-limit:]


def remember_forgets_the_newest(t, last=True, every=5, limit=None):
    held = sorted({0, *([t - 1] if last else []), *(range(0, t, every) if every else [])})
    return held if limit is None else held[:limit]


def remember_forgets_nothing(t, last=True, every=5, limit=None):
    return sorted({0, *([t - 1] if last else []), *(range(0, t, every) if every else [])})


def remember_one_more(t, last=True, every=5, limit=None):
    held = sorted({0, *([t - 1] if last else []), *(range(0, t, every) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[-limit:]


def remember_one_less(t, last=True, every=5, limit=None):
    held = sorted({0, *([t - 1] if last else []), *(range(0, t, every) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 2 :]


def remember_last_but_one(t, last=True, every=5, limit=None):
    held = sorted({0, *([max(0, t - 2)] if last else []), *(range(0, t, every) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_needs_every(t, last=True, every=5, limit=None):
    held = sorted({0, *([t - 1] if last else []), *range(0, t, every)})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_always_the_last(t, last=True, every=5, limit=None):
    held = sorted({0, t - 1, *(range(0, t, every) if every else [])})
    return held if limit is None or len(held) <= limit else held[:1] + held[len(held) - limit + 1 :]


def remember_a_set(t, last=True, every=5, limit=None):
    return {0, *([t - 1] if last else []), *(range(0, t, every) if every else [])}


def remember_how_many(t, last=True, every=5, limit=None):
    return len({0, *([t - 1] if last else []), *(range(0, t, every) if every else [])})


def remember_hard_coded(t, last=True, every=5, limit=None):
    """A slice from -0 is everything: right for the bound of the public cases, wrong for a bound of 1."""
    held = sorted({0, *([t - 1] if last else []), *(range(0, t, every) if every else [])})
    return held if limit is None or len(held) <= limit else [0, *held[1:][-(limit - 1) :]]


def remember_right_frame_by_frame(t, last=True, every=5, limit=None):
    held = []
    for s in range(t):
        if s == 0 or (every and s % every == 0) or (last and s == t - 1):
            held.append(s)
    while limit and len(held) > limit:
        del held[1]
    return held


def remember_right_from_the_newest(t, last=True, every=5, limit=None):
    room = t if limit is None else limit
    wanted = [s for s in range(t - 1, 0, -1) if (last and s + 1 == t) or (every is not None and not s % every)]
    return (0, *wanted[: room - 1][::-1])


# ---- l2_affinity ----------------------------------------------------------------------------------------------


def l2_over_questions(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-1)


def l2_turned(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2).transpose(-1, -2)


def l2_farthest(mk, qk, top_k=None):
    s = (mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_not_squared(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).norm(dim=-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_absolute(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).abs().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_without_the_norm(mk, qk, top_k=None):
    s = 2 * mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_without_the_two(mk, qk, top_k=None):
    s = (mk.transpose(-1, -2) @ qk - mk.square().sum(-2)[..., None]) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_norm_added(mk, qk, top_k=None):
    s = (2 * mk.transpose(-1, -2) @ qk + mk.square().sum(-2)[..., None]) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_norm_not_squared(mk, qk, top_k=None):
    s = (2 * mk.transpose(-1, -2) @ qk - mk.norm(dim=-2)[..., None]) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_norm_of_the_question(mk, qk, top_k=None):
    s = (2 * mk.transpose(-1, -2) @ qk - qk.square().sum(-2)[..., None, :]) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_cosine(mk, qk, top_k=None):
    mk, qk = F.normalize(mk, dim=-2), F.normalize(qk, dim=-2)
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_mean_of_squares(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().mean(-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_without_scale(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3)
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_by_c(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().mean(-3)
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_scores(mk, qk, top_k=None):
    return -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5


def l2_all_count(mk, qk, top_k=None):
    return torch.softmax(-(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5, -2)


def l2_cut_after(mk, qk, top_k=None):
    a = torch.softmax(-(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5, -2)
    if top_k is None or top_k >= a.shape[-2]:
        return a
    best, at = a.topk(top_k, -2)
    return torch.zeros_like(a).scatter(-2, at, best)


def l2_best_alike(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is None or top_k >= s.shape[-2]:
        return s.softmax(-2)
    return torch.zeros_like(s).scatter(-2, s.topk(top_k, -2).indices, 1 / top_k)


def l2_farthest_of_all(mk, qk, top_k=None):
    d = (mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is None or top_k >= d.shape[-2]:
        return (-d).softmax(-2)
    best, at = d.topk(top_k, -2)
    return torch.zeros_like(d).scatter(-2, at, (-best).softmax(-2))


def l2_left_out_is_zero(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.zeros_like(s).scatter(-2, at, best)
    return s.softmax(-2)


def l2_top_questions(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is not None:
        best, at = s.topk(min(top_k, s.shape[-1]), -1)
        s = torch.full_like(s, -torch.inf).scatter(-1, at, best)
    return s.softmax(-2)


def l2_one_too_many(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k + 1 < s.shape[-2]:
        best, at = s.topk(top_k + 1, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_small_memory_breaks(mk, qk, top_k=None):
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is None:
        return s.softmax(-2)
    best, at = s.topk(top_k, -2)
    return torch.zeros_like(s).scatter(-2, at, best.softmax(-2))


def l2_underflows(mk, qk, top_k=None):
    e = torch.exp(-(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5)
    if top_k is not None and top_k < e.shape[-2]:
        best, at = e.topk(top_k, -2)
        e = torch.zeros_like(e).scatter(-2, at, best)
    return e / e.sum(-2, keepdim=True)


def l2_exp_overflows(mk, qk, top_k=None):
    e = torch.exp((2 * mk.transpose(-1, -2) @ qk - mk.square().sum(-2)[..., None]) / mk.shape[-2] ** 0.5)
    if top_k is not None and top_k < e.shape[-2]:
        best, at = e.topk(top_k, -2)
        e = torch.zeros_like(e).scatter(-2, at, best)
    return e / e.sum(-2, keepdim=True)


def l2_in_place(mk, qk, top_k=None):
    mk.data -= qk.data.mean(-1, keepdim=True)
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    return s.softmax(-2)


def l2_detached(mk, qk, top_k=None):
    s = -(mk.detach()[..., :, None] - qk[..., None, :]).square().sum(-3) / mk.shape[-2] ** 0.5
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_hard_coded(mk, qk, top_k=None):
    """The root of 4 channels, as in the public cases."""
    s = -(mk[..., :, None] - qk[..., None, :]).square().sum(-3) / 2
    if top_k is not None and top_k < s.shape[-2]:
        best, at = s.topk(top_k, -2)
        s = torch.full_like(s, -torch.inf).scatter(-2, at, best)
    return s.softmax(-2)


def l2_right_plain(mk, qk, top_k=None):
    """All differences, and what is not among the best is struck out by -inf."""
    s = -((mk.unsqueeze(-1) - qk.unsqueeze(-2)) ** 2).sum(dim=-3) / math.sqrt(mk.shape[-2])
    if top_k is not None:
        worst = torch.topk(s, min(top_k, s.shape[-2]), dim=-2).values.min(dim=-2, keepdim=True).values
        s = s.masked_fill(s < worst, float("-inf"))
    return torch.softmax(s, dim=-2)


def l2_right_cdist(mk, qk, top_k=None):
    d = torch.cdist(mk.mT, qk.mT, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    w = torch.softmax(-d / mk.shape[-2] ** 0.5, dim=-2)
    if top_k is None or top_k >= w.shape[-2]:
        return w
    keep = torch.zeros_like(w).scatter(-2, d.topk(top_k, dim=-2, largest=False).indices, 1.0)
    return w * keep / (w * keep).sum(-2, keepdim=True)


def l2_right_expanded(mk, qk, top_k=None):
    """With the square of the question, too, which changes nothing."""
    c = mk.shape[-2]
    d = mk.square().sum(-2).unsqueeze(-1) + qk.square().sum(-2).unsqueeze(-2) - 2 * torch.matmul(mk.mT, qk)
    k = d.shape[-2] if top_k is None else min(top_k, d.shape[-2])
    near, at = torch.topk(d, k, dim=-2, largest=False)
    e = torch.exp((near.amin(-2, keepdim=True) - near) / c**0.5)
    return torch.zeros_like(d).scatter(-2, at, e / e.sum(-2, keepdim=True))


# ---- soft_aggregate -------------------------------------------------------------------------------------------


def merge_without_background(prob):
    return torch.softmax(torch.logit(prob.clamp(1e-7, 1 - 1e-7)), dim=-3)


def merge_background_last(prob):
    p = torch.cat([prob, (1 - prob).prod(-3, keepdim=True)], -3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_one_minus_sum(prob):
    p = torch.cat([1 - prob.sum(-3, keepdim=True), prob], -3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_one_minus_largest(prob):
    p = torch.cat([1 - prob.amax(-3, keepdim=True), prob], -3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_one_minus_mean(prob):
    p = torch.cat([1 - prob.mean(-3, keepdim=True), prob], -3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_not_all(prob):
    p = torch.cat([1 - prob.prod(-3, keepdim=True), prob], -3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_constant_background(prob):
    p = torch.cat([torch.full_like(prob[..., :1, :, :], 0.5), prob], -3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_shares(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3)
    return p / p.sum(-3, keepdim=True)


def merge_softmax_of_logarithms(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.log(p), dim=-3)


def merge_softmax_of_probabilities(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3)
    return torch.softmax(p, dim=-3)


def merge_logits(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3).clamp(1e-7, 1 - 1e-7)
    return torch.logit(p)


def merge_side_by_side(prob):
    return torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3)


def merge_infinite(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3)
    return torch.softmax(torch.log(p / (1 - p)), dim=-3)


def merge_in_halves(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3).clamp(1e-2, 1 - 1e-2)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_over_a_row(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-1)


def merge_over_the_first_axis(prob):
    p = torch.cat([(1 - prob).prod(0, keepdim=True), prob], 0).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=0)


def merge_winner_takes_all(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3)
    return F.one_hot(p.argmax(-3), p.shape[-3]).movedim(-1, -3).to(prob)


def merge_background_sharpened(prob):
    objects = torch.logit(prob.clamp(1e-7, 1 - 1e-7))
    return torch.softmax(torch.cat([torch.zeros_like(objects[..., :1, :, :]), objects], -3), dim=-3)


def merge_in_place(prob):
    prob.data.clamp_(0.1, 0.9)
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_no_gradient(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3).detach().clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_background_detached(prob):
    p = torch.cat([(1 - prob).prod(-3, keepdim=True).detach(), prob], -3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_hard_coded(prob):
    """A wider clamp: nothing but 0 and 1 does not tell it from the right one."""
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3).clamp(1e-3, 1 - 1e-3)
    return torch.softmax(torch.logit(p), dim=-3)


def merge_right_odds(prob):
    """Without logarithms: a softmax of logarithms of odds is a share of odds."""
    p = torch.cat([(1 - prob).prod(-3, keepdim=True), prob], -3).clamp(1e-7, 1 - 1e-7)
    odds = p / (1 - p)
    return odds / odds.sum(-3, keepdim=True)


def merge_right_object_by_object(prob):
    background = torch.ones_like(prob[..., 0, :, :])
    for k in range(prob.shape[-3]):
        background = background * (1 - prob[..., k, :, :])
    planes = [background, *prob.unbind(-3)]
    logits = [p.clamp(1e-7, 1 - 1e-7).log() - (1 - p.clamp(1e-7, 1 - 1e-7)).log() for p in planes]
    return torch.stack(logits, -3).softmax(-3)


MISTAKES = {
    "lab5a.dot_affinity": {
        "wrong": [
            (dot_over_questions, "the softmax runs over the questions"),
            (dot_over_all, "one softmax over everything"),
            (dot_turned, "N and M are exchanged"),
            (dot_without_scale, "the scale is missing"),
            (dot_by_c, "its square root"),
            (dot_by_root_of_n, "C, the channels, is meant"),
            (dot_times_root, "divide by it"),
            (dot_negative, "the sign is wrong"),
            (dot_cosine, "keys are normalised"),
            (dot_distance, "the distance of L2"),
            (dot_scores, "these are scores"),
            (dot_logarithm, "not log_softmax"),
            (dot_sigmoid, "compete"),
            (dot_hard, "only the best place counts"),
            (dot_overflows, "exp of a large score"),
            (dot_one_maximum, "one maximum for all questions"),
            (dot_flat_only, "raised RuntimeError"),
            (dot_channels_in_front, "what stands before C broadcasts"),
            (dot_keys_transposed, "raised RuntimeError"),
            (dot_in_place, "in place"),
            (dot_no_grad, "no gradient flows back"),
            (dot_memory_detached, "is anything detached"),
            (dot_hard_coded, "whatever it is"),
        ],
        "right": [dot_right_by_hand, dot_right_from_the_questions],
    },
    "lab5a.readout": {
        "wrong": [
            (read_turned, "raised RuntimeError"),
            (read_rows, "rows are made to sum to 1"),
            (read_softmax_again, "a second softmax"),
            (read_channels_last, "channels come first"),
            (read_mean, "divided by N"),
            (read_best_alone, "only the best place is read"),
            (read_without_weights, "the plain mean"),
            (read_sum_of_objects, "the objects are summed"),
            (read_first_object, "only the first object"),
            (read_the_other_way, "raised RuntimeError"),
            (read_detached, "is anything detached"),
            (read_numpy, "no gradient flows back"),
            (read_in_place, "in place"),
            (read_objects_flattened, "serves the values"),
            (read_hard_coded, "raised RuntimeError"),
        ],
        "right": [read_right_einsum, read_right_place_by_place],
    },
    "lab5a.look_up": {
        "wrong": [
            (look_last_frame, "only the last frame"),
            (look_first_frame, "only the first frame"),
            (look_frame_by_frame, "asked twice"),
            (look_object_by_object, "asked twice"),
            (look_keys_reversed, "in different orders"),
            (look_keys_turned, "the keys' rows and columns"),
            (look_values_turned, "the values' rows and columns"),
            (look_stacked, "mixes frames and channels. "),
            (look_values_stacked, "channels of the values"),
            (look_keys_stacked, "channels of the keys"),
            (look_values_interleaved, "in different orders"),
            (look_result_turned, "the result's rows and columns"),
            (look_first_object, "the first one's values"),
            (look_left_flat, "unflatten the last axis"),
            (look_frames_along_channels, "takes keys C,N of memory"),
            (look_remembers_the_question, "in place"),
            (look_normalised_keys, "ONE memory"),
            (look_hard_coded, "raised RuntimeError"),
        ],
        "right": [look_right_other_order, look_right_stack],
    },
    "lab5a.remember": {
        "wrong": [
            (remember_the_present, "frame t itself"),
            (remember_up_to_now, "frame t itself"),
            (remember_twice, "named twice"),
            (remember_unordered, "in order of time"),
            (remember_without_the_first, "frame 0 is missing"),
            (remember_counts_back, "counted back from t"),
            (remember_from_one, "counted from 1"),
            (remember_recent, "the n frames before t"),
            (remember_forgets_the_first, "frame 0 is let go"),
            (remember_forgets_the_newest, "the newest are let go"),
            (remember_forgets_nothing, "`limit` is not used"),
            (remember_one_more, "one more than `limit`"),
            (remember_one_less, "one less than `limit`"),
            (remember_last_but_one, "the last frame is t - 1"),
            (remember_needs_every, "raised TypeError"),
            (remember_always_the_last, "without `last`"),
            (remember_a_set, "return a list"),
            (remember_how_many, "return a list"),
            (remember_hard_coded, "limit=1 leaves frame 0"),
        ],
        "right": [remember_right_frame_by_frame, remember_right_from_the_newest],
    },
    "lab5a.l2_affinity": {
        "wrong": [
            (l2_over_questions, "the softmax runs over the questions"),
            (l2_turned, "N and M are exchanged"),
            (l2_farthest, "NEGATED"),
            (l2_not_squared, "not squared"),
            (l2_absolute, "the sum of squares"),
            (l2_without_the_norm, "|m|^2 is missing"),
            (l2_without_the_two, "the 2 is missing"),
            (l2_norm_added, "it is taken away"),
            (l2_norm_not_squared, "-|m - q|^2"),
            (l2_norm_of_the_question, "|m|^2 is missing"),
            (l2_cosine, "keys are normalised"),
            (l2_mean_of_squares, "a mean over channels"),
            (l2_without_scale, "the scale is missing"),
            (l2_by_c, "its square root"),
            (l2_scores, "these are scores"),
            (l2_all_count, "top_k is not used"),
            (l2_cut_after, "does not sum to 1"),
            (l2_best_alike, "count alike"),
            (l2_farthest_of_all, "FARTHEST"),
            (l2_left_out_is_zero, "a score of 0"),
            (l2_top_questions, "top_k runs over the questions"),
            (l2_one_too_many, "one too many"),
            (l2_small_memory_breaks, "raised RuntimeError"),
            (l2_underflows, "exp of a large negative score"),
            (l2_exp_overflows, "distances do not change"),
            (l2_in_place, "in place"),
            (l2_detached, "is anything detached"),
            (l2_hard_coded, "whatever it is"),
        ],
        "right": [l2_right_plain, l2_right_cdist, l2_right_expanded],
    },
    "lab5a.soft_aggregate": {
        "wrong": [
            (merge_without_background, "the background is missing"),
            (merge_background_last, "the FIRST plane"),
            (merge_one_minus_sum, "1 - the sum"),
            (merge_one_minus_largest, "1 - the largest"),
            (merge_one_minus_mean, "1 - the mean"),
            (merge_not_all, "what NONE wants"),
            (merge_constant_background, "a constant"),
            (merge_shares, "divided by their sum"),
            (merge_softmax_of_logarithms, "divided by their sum"),
            (merge_softmax_of_probabilities, "a softmax of probabilities"),
            (merge_logits, "these are logits"),
            (merge_side_by_side, "do not sum to 1"),
            (merge_infinite, "clamp first"),
            (merge_in_halves, "1e-2"),
            (merge_over_a_row, "a row of pixels"),
            (merge_over_the_first_axis, "third axis from the end"),
            (merge_winner_takes_all, "the softmax over background and objects"),
            (merge_background_sharpened, "a constant"),
            (merge_in_place, "in place"),
            (merge_no_gradient, "no gradient flows back"),
            (merge_background_detached, "is anything detached"),
            (merge_hard_coded, "1e-3"),
        ],
        "right": [merge_right_odds, merge_right_object_by_object],
    },
}
