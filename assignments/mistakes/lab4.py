"""Lab 4: wrong answers that must lose their marks, and right ones that must not. Each stands for itself.

A wrong answer comes with words of the sentence that it must be told. `hard_coded...`: stands the public cases only.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize

# ---- convlstm -------------------------------------------------------------------------------------------------


def lstm_torch_order(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, g, o = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_gates_swapped(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = i.sigmoid() * c + f.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_keep_and_show_swapped(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, o, f, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_h_first(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([h, x], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_all_sigmoids(x, h, c, weight, bias):
    a = torch.sigmoid(F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2))
    i, f, o, g = a.chunk(4, 1)
    c = f * c + i * g
    return o * c.tanh(), c


def lstm_all_tanh(x, h, c, weight, bias):
    a = torch.tanh(F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2))
    i, f, o, g = a.chunk(4, 1)
    c = f * c + i * g
    return o * c.tanh(), c


def lstm_candidate_raw(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g
    return o.sigmoid() * c.tanh(), c


def lstm_candidate_relu(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.relu()
    return o.sigmoid() * c.tanh(), c


def lstm_shows_c(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c, c


def lstm_shows_the_old(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    return o.sigmoid() * c.tanh(), f.sigmoid() * c + i.sigmoid() * g.tanh()


def lstm_forgets(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, _, o, g = a.chunk(4, 1)
    c = i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_like_a_gru(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, _, o, g = a.chunk(4, 1)
    c = (1 - i.sigmoid()) * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_keeps_all(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, _, o, g = a.chunk(4, 1)
    c = c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_without_bias(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_forget_bias_again(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = (f + 1).sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_pair_turned(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return c, o.sigmoid() * c.tanh()


def lstm_only_h(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh()


def lstm_without_padding(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_padding_of_one(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=1)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_border_repeated(x, h, c, weight, bias):
    r = weight.shape[-1] // 2
    a = F.conv2d(F.pad(torch.cat([x, h], 1), (r, r, r, r), mode="replicate"), weight, bias)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_state_cut(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h.detach()], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c.detach() + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_no_grad(x, h, c, weight, bias):
    with torch.no_grad():
        a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
        i, f, o, g = a.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


def lstm_in_place(x, h, c, weight, bias):
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, o, g = a.chunk(4, 1)
    c = c.data
    c *= f.sigmoid()
    c += i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_hard_coded(x, h, c, weight, bias):
    """Gates that never open or shut quite: within what the public cases reach."""
    a = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=max(1, weight.shape[-1] // 2))
    i, f, o, g = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_right_two_convolutions(x, h, c, weight, bias):
    """x and h by themselves, then the sum; gates by slices."""
    n, d, pad = x.shape[1], c.shape[1], weight.shape[-1] // 2
    a = F.conv2d(x, weight[:, :n], bias, padding=pad) + F.conv2d(h, weight[:, n:], padding=pad)
    gates = 1 / (1 + torch.exp(-a[:, : 3 * d]))
    new = gates[:, d : 2 * d] * c + gates[:, :d] * torch.tanh(a[:, 3 * d :])
    return [gates[:, 2 * d :] * torch.tanh(new), new]


def lstm_right_unfolded(x, h, c, weight, bias):
    """Without conv2d: all patches, times the weights."""
    k = weight.shape[-1]
    patches = F.unfold(torch.cat((x, h), dim=1), k, padding=(k - 1) // 2)  # B,(C+D)kk,HW
    a = weight.flatten(1) @ patches + bias[:, None]
    a = a.view(len(x), 4, c.shape[1], *c.shape[2:])
    c = a[:, 1].sigmoid() * c + a[:, 0].sigmoid() * (2 * torch.sigmoid(2 * a[:, 3]) - 1)
    return a[:, 2].sigmoid() * c.tanh(), c


# ---- unroll ---------------------------------------------------------------------------------------------------


def unroll_not_carried(network, frames, given):
    state, out = network.start(frames[:1], given[0][None]), [given[0].float()]
    for frame, mask in zip(frames[1:], given[1:], strict=True):
        if mask is not None:
            state = network.start(frame[None], mask[None])
            out.append(mask.float())
        else:
            logits, _ = network.step(frame[None], state)
            out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_from_masks(network, frames, given):
    out = [given[0].float()]
    for t in range(1, len(frames)):
        if given[t] is not None:
            out.append(given[t].float())
            continue
        state = network.start(frames[t - 1 : t], (out[-1] > 0.5)[None])
        out.append(network.step(frames[t : t + 1], state)[0][0].sigmoid())
    return torch.stack(out)


def unroll_never_reset(network, frames, given):
    state, out = network.start(frames[:1], given[0][None]), [given[0].float()]
    for frame, mask in zip(frames[1:], given[1:], strict=True):
        logits, state = network.step(frame[None], state)
        out.append(mask.float() if mask is not None else torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_mask_unseen(network, frames, given):
    state, out = network.start(frames[:1], given[0][None]), [given[0].float()]
    for frame in frames[1:]:
        logits, state = network.step(frame[None], state)
        out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_steps_where_given(network, frames, given):
    out = []
    for frame, mask in zip(frames, given, strict=True):
        if mask is not None:
            state = network.start(frame[None], mask[None])
        logits, state = network.step(frame[None], state)
        out.append(mask.float() if mask is not None else torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_given_is_estimated(network, frames, given):
    out = []
    for frame, mask in zip(frames, given, strict=True):
        if mask is not None:
            state = network.start(frame[None], mask[None])
            out.append(network.step(frame[None], state)[0][0].sigmoid())
        else:
            logits, state = network.step(frame[None], state)
            out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_logits(network, frames, given):
    out = []
    for frame, mask in zip(frames, given, strict=True):
        if mask is not None:
            state = network.start(frame[None], mask[None])
            out.append(mask.float())
        else:
            logits, state = network.step(frame[None], state)
            out.append(logits[0])
    return torch.stack(out)


def unroll_hard(network, frames, given):
    out = []
    for frame, mask in zip(frames, given, strict=True):
        if mask is not None:
            state = network.start(frame[None], mask[None])
            out.append(mask.float())
        else:
            logits, state = network.step(frame[None], state)
            out.append((logits[0] > 0).float())
    return torch.stack(out)


def unroll_frame_late(network, frames, given):
    out = []
    for t in range(len(frames)):
        if given[t] is not None:
            state = network.start(frames[t][None], given[t][None])
            out.append(given[t].float())
        else:
            logits, state = network.step(frames[t - 1][None], state)
            out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_detached(network, frames, given):
    out = []
    for frame, mask in zip(frames, given, strict=True):
        if mask is not None:
            state = network.start(frame[None], mask[None])
            out.append(mask.float())
        else:
            logits, state = network.step(frame[None], tuple(s.detach() for s in state))
            out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


@torch.no_grad()
def unroll_no_grad(network, frames, given):
    out = []
    for frame, mask in zip(frames, given, strict=True):
        if mask is not None:
            state = network.start(frame[None], mask[None])
            out.append(mask.float())
        else:
            logits, state = network.step(frame[None], state)
            out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_remembers_the_last_clip(network, frames, given, memory={}):  # noqa: B006
    """Its state lives in a default argument: frame 0 of the next clip finds it."""
    out = []
    for t, (frame, mask) in enumerate(zip(frames, given, strict=True)):
        if mask is not None and (t > 0 or "state" not in memory or memory["state"][0].shape[1:] != mask.shape):
            memory["state"] = network.start(frame[None], mask[None])
        if mask is not None:
            out.append(mask.float())
        else:
            logits, memory["state"] = network.step(frame[None], memory["state"])
            out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_uses_up_the_masks(network, frames, given):
    out = []
    for frame in frames:
        mask = given.pop(0)
        if mask is not None:
            state = network.start(frame[None], mask[None])
            out.append(mask.float())
        else:
            logits, state = network.step(frame[None], state)
            out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_without_frame_0(network, frames, given):
    state, out = network.start(frames[:1], given[0][None]), []
    for frame, mask in zip(frames[1:], given[1:], strict=True):
        if mask is not None:
            state = network.start(frame[None], mask[None])
            out.append(mask.float())
        else:
            logits, state = network.step(frame[None], state)
            out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_without_batches(network, frames, given):
    out = []
    for frame, mask in zip(frames, given, strict=True):
        if mask is not None:
            state = network.start(frame, mask)
            out.append(mask.float())
        else:
            logits, state = network.step(frame, state)
            out.append(torch.sigmoid(logits))
    return torch.stack(out)


def unroll_hard_coded(network, frames, given):
    """One more mask at most."""
    later = [t for t in range(1, len(given)) if given[t] is not None][:1]
    out = []
    for t, frame in enumerate(frames):
        if t == 0 or t in later:
            state = network.start(frame[None], given[t][None])
            out.append(given[t].float())
        else:
            logits, state = network.step(frame[None], state)
            out.append(torch.sigmoid(logits[0]))
    return torch.stack(out)


def unroll_right_spans(network, frames, given):
    """Span after span, each from a mask that is given."""
    starts = [t for t, mask in enumerate(given) if mask is not None]
    pieces = []
    for first, last in itertools.pairwise([*starts, len(given)]):
        state = network.start(frames[first].unsqueeze(0), given[first].unsqueeze(0))
        pieces.append(given[first].to(frames)[None])
        for t in range(first + 1, last):
            logits, state = network.step(frames[t].unsqueeze(0), state)
            pieces.append(logits.sigmoid())
    return torch.cat(pieces)


def unroll_right_recursive(network, frames, given):
    """The last frame's answer, behind those of the frames before it."""
    def until(t):
        if t < 0:
            return [], None
        answers, state = until(t - 1)
        if given[t] is None:
            logits, state = network.step(frames[t : t + 1], state)
            return [*answers, 1 / (1 + torch.exp(-logits[0]))], state
        return [*answers, 1.0 * given[t]], network.start(frames[t : t + 1], given[t][None])

    return torch.stack(until(len(frames) - 1)[0])


# ---- find_objects ---------------------------------------------------------------------------------------------


def find_no_state(look, features, most=10, until=0.5):
    masks = []
    for _ in range(most):
        logits, score, _ = look(features, None)
        if torch.sigmoid(score) < until:
            break
        masks.append(torch.sigmoid(logits))
    return masks


def find_first_state(look, features, most=10, until=0.5):
    masks, before = [], None
    for _ in range(most):
        logits, score, state = look(features, before)
        if before is None:
            before = state
        if torch.sigmoid(score) < until:
            break
        masks.append(torch.sigmoid(logits))
    return masks


def find_masks_handed_on(look, features, most=10, until=0.5):
    masks, before = [], None
    for _ in range(most):
        logits, score, _ = look(features, before)
        if torch.sigmoid(score) < until:
            break
        masks.append(torch.sigmoid(logits))
        before = masks[-1]
    return masks


def find_counts_the_stop(look, features, most=10, until=0.5):
    masks, before = [], None
    for _ in range(most):
        logits, score, before = look(features, before)
        masks.append(torch.sigmoid(logits))
        if torch.sigmoid(score) < until:
            break
    return masks


def find_skips(look, features, most=10, until=0.5):
    masks, before = [], None
    for _ in range(most):
        logits, score, before = look(features, before)
        if torch.sigmoid(score) >= until:
            masks.append(torch.sigmoid(logits))
    return masks


def find_never_stops(look, features, most=10, until=0.5):
    masks, before = [], None
    for _ in range(most):
        logits, _, before = look(features, before)
        masks.append(torch.sigmoid(logits))
    return masks


def find_logit_for_probability(look, features, most=10, until=0.5):
    masks, before = [], None
    for _ in range(most):
        logits, score, before = look(features, before)
        if score < until:
            break
        masks.append(torch.sigmoid(logits))
    return masks


def find_always_half(look, features, most=10, until=0.5):
    masks, before = [], None
    for _ in range(most):
        logits, score, before = look(features, before)
        if score < 0:
            break
        masks.append(torch.sigmoid(logits))
    return masks


def find_logits(look, features, most=10, until=0.5):
    masks, before = [], None
    for _ in range(most):
        logits, score, before = look(features, before)
        if torch.sigmoid(score) < until:
            break
        masks.append(logits)
    return masks


def find_hard(look, features, most=10, until=0.5):
    masks, before = [], None
    for _ in range(most):
        logits, score, before = look(features, before)
        if torch.sigmoid(score) < until:
            break
        masks.append(logits > 0)
    return masks


def find_without_an_end(look, features, most=10, until=0.5):
    masks, before = [], None
    while True:
        logits, score, before = look(features, before)
        if torch.sigmoid(score) < until:
            return masks
        masks.append(torch.sigmoid(logits))


def find_one_more(look, features, most=10, until=0.5):
    masks, before = [], None
    while len(masks) <= most:
        logits, score, before = look(features, before)
        if torch.sigmoid(score) < until:
            break
        masks.append(torch.sigmoid(logits))
    return masks


def find_at_least_one(look, features, most=10, until=0.5):
    """The first object is taken for granted."""
    logits, _, before = look(features, None)
    masks = [torch.sigmoid(logits)]
    while len(masks) < most:
        logits, score, before = look(features, before)
        if torch.sigmoid(score) < until:
            break
        masks.append(torch.sigmoid(logits))
    return masks


def find_largest_first(look, features, most=10, until=0.5):
    """In the order of their size."""
    masks, before = [], None
    for _ in range(most):
        logits, score, before = look(features, before)
        if torch.sigmoid(score) < until:
            break
        masks.append(torch.sigmoid(logits))
    return sorted(masks, key=lambda m: float(m.mean()))


def find_softmax(look, features, most=10, until=0.5):
    """No pixel is promised twice: nobody has asked for that."""
    masks, before = [], None
    for _ in range(most):
        logits, score, before = look(features, before)
        if torch.sigmoid(score) < until:
            break
        masks.append(logits)
    return list(torch.softmax(torch.stack(masks), 0)) if masks else []


def find_hard_coded(look, features, most=10, until=0.5):
    """Never more than five."""
    masks, before = [], None
    for _ in range(min(most, 5)):
        logits, score, before = look(features, before)
        if torch.sigmoid(score) < until:
            break
        masks.append(torch.sigmoid(logits))
    return masks


def find_right_recursive(look, features, most=10, until=0.5, before=None):
    """This object, and what is found after it."""
    if most == 0:
        return []
    logits, score, state = look(features, before)
    if float(score.sigmoid()) < until:
        return []
    return [logits.sigmoid(), *find_right_recursive(look, features, most - 1, until, state)]


def find_right_bound_on_the_logit(look, features, most=10, until=0.5):
    """The bound as a logit; a while loop."""
    least = np.log(until / (1 - until))
    found = []
    logits, score, state = look(features, None)
    while len(found) < most and score.item() >= least:
        found.append(1 / (1 + torch.exp(-logits)))
        if len(found) < most:
            logits, score, state = look(features, state)
    return tuple(found)


# ---- soft_iou -------------------------------------------------------------------------------------------------


def iou_union_as_sum(pred, target):
    t = target.to(pred)
    both, total = (pred * t).sum((-2, -1)), (pred + t).sum((-2, -1))
    return torch.where(total == 0, 1.0, both / torch.where(total == 0, 1.0, total))


def iou_dice(pred, target):
    t = target.to(pred)
    both, total = (pred * t).sum((-2, -1)), (pred + t).sum((-2, -1))
    return torch.where(total == 0, 1.0, 2 * both / torch.where(total == 0, 1.0, total))


def iou_one_sum(pred, target):
    t = target.to(pred)
    return (pred * t).sum() / (pred + t - pred * t).sum()


def iou_mean_over_masks(pred, target):
    t = target.to(pred)
    return ((pred * t).sum((-2, -1)) / (pred + t - pred * t).sum((-2, -1))).mean()


def iou_pixel_ratios(pred, target):
    t = target.to(pred)
    return (pred * t / (pred + t - pred * t).clamp(min=1e-12)).mean((-2, -1))


def iou_min_max(pred, target):
    t = target.to(pred)
    both, either = torch.minimum(pred, t).sum((-2, -1)), torch.maximum(pred, t).sum((-2, -1))
    return torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))


def iou_as_loss(pred, target):
    t = target.to(pred)
    both, either = (pred * t).sum((-2, -1)), (pred + t - pred * t).sum((-2, -1))
    return 1 - torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))


def iou_thresholded(pred, target):
    p, t = (pred > 0.5).float(), target.float()
    both, either = (p * t).sum((-2, -1)), (p + t - p * t).sum((-2, -1))
    return torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))


def iou_nan(pred, target):
    t = target.to(pred)
    return (pred * t).sum((-2, -1)) / (pred + t - pred * t).sum((-2, -1))


def iou_empty_is_zero(pred, target):
    t = target.to(pred)
    return (pred * t).sum((-2, -1)) / (pred + t - pred * t).sum((-2, -1)).clamp(min=1e-6)


def iou_smoothed_by_one(pred, target):
    t = target.to(pred)
    return ((pred * t).sum((-2, -1)) + 1) / ((pred + t - pred * t).sum((-2, -1)) + 1)


def iou_two_epsilons(pred, target):
    t = target.to(pred)
    return ((pred * t).sum((-2, -1)) + 1e-7) / ((pred + t - pred * t).sum((-2, -1)) + 1e-7)


def iou_where_too_late(pred, target):
    t = target.to(pred)
    both, either = (pred * t).sum((-2, -1)), (pred + t - pred * t).sum((-2, -1))
    return torch.where(either == 0, 1.0, both / either)


def iou_flattened_from_1(pred, target):
    """Right for B,H,W alone."""
    p, t = pred.flatten(1), target.to(pred).flatten(1)
    both, either = (p * t).sum(1), (p + t - p * t).sum(1)
    return torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))


def iou_in_place(pred, target):
    t = target.float()
    both = (pred * t).sum((-2, -1))
    p = pred.detach()
    p += t - p * t
    either = p.sum((-2, -1))
    return torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))


def iou_numpy(pred, target):
    p, t = pred.detach().numpy(), target.float().numpy()
    both, either = (p * t).sum((-2, -1)), (p + t - p * t).sum((-2, -1))
    return torch.as_tensor(np.where(either == 0, 1, both / np.where(either == 0, 1, either)))


def iou_hard_coded(pred, target):
    """One axis before the last two at most."""
    if pred.dim() == 2:
        pred, target, one = pred[None], target[None], True
    else:
        one = False
    t = target.to(pred)
    both, either = (pred * t).flatten(1).sum(1), (pred + t - pred * t).flatten(1).sum(1)
    out = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return out[0] if one else out


def iou_right_areas(pred, target):
    """Both areas minus what they share; empty ones by masked_fill."""
    target = target.type_as(pred)
    both = torch.einsum("...hw,...hw->...", pred, target)
    either = pred.sum(-1).sum(-1) + target.sum(-1).sum(-1) - both
    empty = either <= 0
    return (both + empty) / either.masked_fill(empty, 1.0)


def iou_right_complement(pred, target):
    """OR is not (not p and not t)."""
    p, t = pred.flatten(-2), target.flatten(-2).float()
    either = (1 - (1 - p) * (1 - t)).sum(-1)
    nothing = (p + t).amax(-1) == 0
    safe = either + nothing.float()
    ratio = (p * t).sum(-1) / safe
    return torch.where(nothing, torch.ones_like(ratio), ratio)


# ---- match_instances ------------------------------------------------------------------------------------------


def match_least(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return torch.as_tensor(optimize.linear_sum_assignment(iou.numpy())[1])


def match_own_best(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return iou.argmax(1)


def match_greedy(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    out = torch.zeros(len(t), dtype=torch.int64)
    for _ in range(len(t)):
        row, slot = divmod(int(iou.argmax()), iou.shape[1])
        out[row] = slot
        iou[row], iou[:, slot] = -1, -1
    return out


def match_in_turn(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    out = []
    for row in iou:
        free = [s for s in range(len(row)) if s not in out]
        out.append(max(free, key=lambda s, row=row: float(row[s])))
    return torch.tensor(out)


def match_object_of_each_slot(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    rows, slots = optimize.linear_sum_assignment(iou.numpy(), maximize=True)
    out = torch.full((len(p),), -1)
    out[torch.as_tensor(slots)] = torch.as_tensor(rows)
    return out


def match_turned_round(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return torch.as_tensor(np.argsort(optimize.linear_sum_assignment(iou.numpy(), maximize=True)[1]))


def match_rows(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return torch.as_tensor(optimize.linear_sum_assignment(iou.numpy(), maximize=True)[0])


def match_thresholded(pred, target):
    p, t = (pred.detach() > 0.5).float(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return torch.as_tensor(optimize.linear_sum_assignment(iou.numpy(), maximize=True)[1])


def match_by_overlap(pred, target):
    both = torch.einsum("nhw,phw->np", target.float(), pred.detach())
    return torch.as_tensor(optimize.linear_sum_assignment(both.numpy(), maximize=True)[1])


def match_empty_is_zero(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    return torch.as_tensor(optimize.linear_sum_assignment((both / either.clamp(min=1e-6)).numpy(), maximize=True)[1])


def match_nan(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    return torch.as_tensor(optimize.linear_sum_assignment((both / either).numpy(), maximize=True)[1])


def match_with_gradient(pred, target):
    t = target.float()
    both = torch.einsum("nhw,phw->np", t, pred)
    either = t.sum((1, 2))[:, None] + pred.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return torch.as_tensor(optimize.linear_sum_assignment(iou.numpy(), maximize=True)[1])


def match_pairs(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return list(zip(*optimize.linear_sum_assignment(iou.numpy(), maximize=True), strict=True))


def match_floats(pred, target):
    p, t = pred.detach(), target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return torch.Tensor(optimize.linear_sum_assignment(iou.numpy(), maximize=True)[1])


def match_first_slots(pred, target):
    """The first n slots alone: that is what RVOS hands in, not what this function is asked."""
    p, t = pred.detach()[: len(target)], target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    return torch.as_tensor(optimize.linear_sum_assignment(iou.numpy(), maximize=True)[1])


def match_hard_coded(pred, target):
    """All ways are tried, of four slots."""
    p, t = pred.detach()[:4], target.float()
    both = torch.einsum("nhw,phw->np", t, p)
    either = t.sum((1, 2))[:, None] + p.sum((1, 2)) - both
    iou = torch.where(either == 0, 1.0, both / torch.where(either == 0, 1.0, either))
    ways = list(itertools.permutations(range(len(p)), len(t)))
    return torch.tensor(max(ways, key=lambda way: sum(float(iou[k, s]) for k, s in enumerate(way))))


def match_right_all_ways(pred, target):
    """Every way is tried."""
    p, t = pred.detach().double(), target.double()

    def iou(a, b):
        either = (a + b - a * b).sum()
        return float((a * b).sum() / either) if either > 0 else 1.0

    table = [[iou(a, b) for a in p] for b in t]
    best = max(itertools.permutations(range(len(p)), len(t)), key=lambda way: sum(r[s] for r, s in zip(table, way,
                                                                                                       strict=True)))
    return torch.tensor(best, dtype=torch.int64)


def match_right_costs(pred, target):
    """Costs, slots down: then put in the order of the objects."""
    with torch.no_grad():
        p, t = pred.flatten(1)[:, None], target.flatten(1)[None].to(pred.dtype)
        both, either = (p * t).sum(-1), (p + t - p * t).sum(-1)
        cost = 1 - torch.where(either > 0, both / either.clamp(min=1e-12), torch.ones_like(both))
    slots, objects = optimize.linear_sum_assignment(cost.numpy())
    return torch.from_numpy(slots[np.argsort(objects)].astype(np.int64))


# ---- space_time -----------------------------------------------------------------------------------------------


def level_time_first(cell, x, space, time):
    return cell(torch.cat([time, x], 1), space)


def level_past_as_state(cell, x, space, time):
    return cell(torch.cat([x, time], 1), (time, space[1]))


def level_places_changed(cell, x, space, time):
    return cell(torch.cat([x, space[0]], 1), (time, space[1]))


def level_space_twice(cell, x, space, time):
    return cell(torch.cat([x, space[0]], 1), space)


def level_no_time(cell, x, space, time):
    return cell(torch.cat([x, torch.zeros_like(time)], 1), space)


def level_no_space(cell, x, space, time):
    empty = torch.zeros_like(time)
    return cell(torch.cat([x, time], 1), (empty, empty))


def level_no_cell_state(cell, x, space, time):
    return cell(torch.cat([x, time], 1), (space[0], torch.zeros_like(time)))


def level_averaged(cell, x, space, time):
    h = (space[0] + time) / 2
    return cell(torch.cat([x, time], 1), (h, space[1]))


def level_added(cell, x, space, time):
    return cell(torch.cat([x, time], 1), (space[0] + time, space[1]))


def level_pair_turned(cell, x, space, time):
    return cell(torch.cat([x, time], 1), (space[1], space[0]))


def level_result_turned(cell, x, space, time):
    h, c = cell(torch.cat([x, time], 1), space)
    return c, h


def level_only_h(cell, x, space, time):
    return cell(torch.cat([x, time], 1), space)[0]


def level_past_detached(cell, x, space, time):
    return cell(torch.cat([x, time.detach()], 1), space)


def level_without_stacking(cell, x, space, time):
    return cell(x, space)


def level_stacked_in_the_batch(cell, x, space, time):
    return cell(torch.cat([x, time], 0), space)


def level_in_place(cell, x, space, time):
    h, c = space
    h = h.data
    h += time
    return cell(torch.cat([x, time], 1), (h, c))


def level_hard_coded(cell, x, space, time):
    """A past of two clips at most."""
    past = torch.zeros_like(time)
    past[:2] = time[:2]
    return cell(torch.cat([x, past], 1), space)


def level_right_padded(cell, x, space, time):
    """Both into a larger tensor."""
    n = x.shape[1]
    both = F.pad(x, (0, 0, 0, 0, 0, time.shape[1])) + F.pad(time, (0, 0, 0, 0, n, 0))
    h, c = space
    return cell(both, (h, c))


def level_right_by_clip(cell, x, space, time):
    """Clip after clip."""
    states = [cell(torch.cat([a, t])[None], (h[None], c[None]))
              for a, h, c, t in zip(x, *space, time, strict=True)]
    return torch.cat([h for h, _ in states]), torch.cat([c for _, c in states])


MISTAKES = {
    "lab4.convlstm": {
        "wrong": [
            (lstm_torch_order, "i, f, g, o"),
            (lstm_gates_swapped, "i and f are swapped"),
            (lstm_keep_and_show_swapped, "f and o are swapped"),
            (lstm_h_first, "h comes before x"),
            (lstm_all_sigmoids, "g goes through a sigmoid"),
            (lstm_all_tanh, "the gates go through a tanh"),
            (lstm_candidate_raw, "g is used as it is"),
            (lstm_candidate_relu, "g goes through a ReLU"),
            (lstm_shows_c, "h = o c"),
            (lstm_shows_the_old, "the OLD c"),
            (lstm_forgets, "the old c is dropped"),
            (lstm_like_a_gru, "as in a GRU"),
            (lstm_keeps_all, "the old c is kept whole"),
            (lstm_without_bias, "the bias is missing"),
            (lstm_forget_bias_again, "1 is added to f"),
            (lstm_pair_turned, "the pair is (c, h)"),
            (lstm_only_h, "return a pair of tensors"),
            (lstm_without_padding, "raised RuntimeError"),
            (lstm_padding_of_one, "raised RuntimeError"),
            (lstm_border_repeated, "the new state is wrong"),
            (lstm_state_cut, "no gradient flows back to some"),
            (lstm_no_grad, "no gradient flows back"),
            (lstm_in_place, "in place"),
            (lstm_hard_coded, "raised RuntimeError"),
        ],
        "right": [lstm_right_two_convolutions, lstm_right_unfolded],
    },
    "lab4.unroll": {
        "wrong": [
            (unroll_not_carried, "the state of the first frame"),
            (unroll_from_masks, "that is mask propagation"),
            (unroll_never_reset, "written anew from it"),
            (unroll_mask_unseen, "a mask that is given is the answer"),
            (unroll_steps_where_given, "there is no step"),
            (unroll_given_is_estimated, "it IS the answer"),
            (unroll_logits, "these are logits"),
            (unroll_hard, "these are hard masks"),
            (unroll_frame_late, "the frame before"),
            (unroll_detached, "the states are detached"),
            (unroll_no_grad, "no gradient flows back"),
            (unroll_remembers_the_last_clip, "wrong"),
            (unroll_uses_up_the_masks, "in place"),
            (unroll_without_frame_0, "has shape"),
            (unroll_without_batches, "raised ValueError"),
            (unroll_hard_coded, "each time"),
        ],
        "right": [unroll_right_spans, unroll_right_recursive],
    },
    "lab4.find_objects": {
        "wrong": [
            (find_no_state, "begins from nothing"),
            (find_first_state, "the FIRST object's state"),
            (find_masks_handed_on, "raised ValueError"),
            (find_counts_the_stop, "stop BEFORE it"),
            (find_skips, "after a low score"),
            (find_never_stops, "never stops"),
            (find_logit_for_probability, "compared with a probability"),
            (find_always_half, "stops at 0.5"),
            (find_logits, "these are logits"),
            (find_hard, "these are hard masks"),
            (find_without_an_end, "there is no end"),
            (find_one_more, "one more than `most`"),
            (find_at_least_one, "stop BEFORE it"),
            (find_largest_first, "the masks are wrong"),
            (find_softmax, "the masks are wrong"),
            (find_hard_coded, "a wrong number of objects"),
        ],
        "right": [find_right_recursive, find_right_bound_on_the_logit],
    },
    "lab4.soft_iou": {
        "wrong": [
            (iou_union_as_sum, "counts what both share twice"),
            (iou_dice, "Dice"),
            (iou_one_sum, "all masks are put in one sum"),
            (iou_mean_over_masks, "the mean of all masks"),
            (iou_pixel_ratios, "a ratio for each pixel"),
            (iou_min_max, "minimum and maximum"),
            (iou_as_loss, "the loss"),
            (iou_thresholded, "thresholded"),
            (iou_nan, "they agree, so 1"),
            (iou_empty_is_zero, "two empty masks give 0"),
            (iou_smoothed_by_one, "the 1 added"),
            (iou_two_epsilons, "1 / epsilon"),
            (iou_where_too_late, "BEFORE dividing"),
            (iou_flattened_from_1, "H,W alone"),
            (iou_in_place, "in place"),
            (iou_numpy, "no gradient"),
            (iou_hard_coded, "whatever stands before"),
        ],
        "right": [iou_right_areas, iou_right_complement],
    },
    "lab4.match_instances": {
        "wrong": [
            (match_least, "the sum is the LEAST"),
            (match_own_best, "two may take the same"),
            (match_greedy, "greedy"),
            (match_in_turn, "greedy"),
            (match_object_of_each_slot, "the object of each slot"),
            (match_turned_round, "the other way round"),
            (match_rows, "these are the rows"),
            (match_thresholded, "thresholded"),
            (match_by_overlap, "the overlap alone"),
            (match_empty_is_zero, "1, not 0"),
            (match_nan, "raised ValueError"),
            (match_with_gradient, "raised RuntimeError"),
            (match_pairs, "return a tensor of whole numbers"),
            (match_floats, "whole numbers"),
            (match_first_slots, "only the first n slots"),
            (match_hard_coded, "raised ValueError"),
        ],
        "right": [match_right_all_ways, match_right_costs],
    },
    "lab4.space_time": {
        "wrong": [
            (level_time_first, "time comes before x"),
            (level_past_as_state, "the past is the cell's h"),
            (level_places_changed, "changed places"),
            (level_space_twice, "the neighbour's h is stacked"),
            (level_no_time, "the past is not heard"),
            (level_no_space, "the object before is not heard"),
            (level_no_cell_state, "the neighbour's c is dropped"),
            (level_averaged, "averaged into one h"),
            (level_added, "added into one h"),
            (level_pair_turned, "the wrong way round"),
            (level_result_turned, "the pair is (c, h)"),
            (level_only_h, "return a pair of tensors"),
            (level_past_detached, "no gradient flows back to some"),
            (level_without_stacking, "raised ValueError"),
            (level_stacked_in_the_batch, "raised RuntimeError"),
            (level_in_place, "in place"),
            (level_hard_coded, "each clip of a batch"),
        ],
        "right": [level_right_padded, level_right_by_clip],
    },
}
