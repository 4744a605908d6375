"""VisTR: a query is one instance through the clip, matched once; boxes, masks over time, windows stitched."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vos_teach import engine, weights
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.assign import match_sequences
from vos_teach.ops.boxes import boxes_of
from vos_teach.ops.losses import mask_loss
from vos_teach.transformers import vistr as V
from vos_teach.transformers import vistr_training as T

TINY = V.Config("tiny", queries=3, width=24, heads=2, layers=2, window=4, shared=2, weights=None)
SIZE = (32, 48)


def tiny():
    net = V.new_network(TINY, False).eval()
    with torch.no_grad():
        for layer in (net.there, net.shift, net.mask[-1]):  # they start as zeros
            torch.nn.init.normal_(layer.weight, std=0.3)
    return net


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=9, objects=2, split="val")


@pytest.fixture(scope="module")
def frames(clip):
    return [clip.frame(t) for t in range(len(clip))]


def batch(length=4):
    """Two random clips; the second's object 2 is away in frames 1 and 2."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(2, length, 3, *SIZE, generator=generator), torch.zeros(2, length, *SIZE).long()
    labels[0, :, 4:20, 4:20], labels[1, :, 10:30, 2:12], labels[1, [0, 3], 3:15, 20:40] = 1, 1, 2
    return images, labels


# ---- boxes

def loop_giou(a, b):
    inter = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return inter / union - (hull - union) / hull


def test_generalised_iou_is_the_formula():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 1, (40, 2, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.01, 1, (40, 2, 2))], -1)
    got = T.generalised_iou(*torch.tensor(boxes).unbind(1))
    assert np.allclose(got, [loop_giou(a, b) for a, b in boxes], atol=1e-9)
    one = torch.tensor([0.0, 0, 1, 1])
    assert T.generalised_iou(one, one) == 1 and T.generalised_iou(one, one + 2) == pytest.approx(2 / 9 - 1)
    apart = torch.tensor([2.0, 2, 3, 3], requires_grad=True)
    T.generalised_iou(one, apart).backward()
    assert (apart.grad[:2] < 0).all(), "boxes that do not touch are drawn together"
    assert torch.isfinite(T.generalised_iou(torch.zeros(4), torch.zeros(4)))


def test_a_box_is_where_the_map_lies():
    """A map that is 1 on a rectangle: its box exactly; the correction moves and stretches it."""
    p = torch.zeros(2, 12, 20)
    p[0, 3:9, 5:15], p[1, 11, 19] = 1, 1
    got = V.spread(p, torch.zeros(2, 4))
    box, _ = boxes_of(p)
    assert torch.allclose(T.corners(got) * torch.tensor([20, 12, 20, 12.0]), box, atol=1e-4)
    moved = V.spread(p, torch.tensor([[0.2, 0, math.log(2), 0]] * 2))
    assert torch.allclose(moved[0] - got[0], torch.tensor([0.5 * math.tanh(0.2), 0, got[0, 2], 0]), atol=1e-5)
    assert torch.isfinite(V.spread(torch.zeros(1, 4, 4), torch.zeros(1, 4))).all()


def test_instances_are_what_the_labels_show():
    _, labels = batch()
    labels[1, 0, 0, 0] = 255
    masks, present, box = T.instances(labels[1])
    assert torch.equal(masks[1], (labels[1] == 2).float())
    assert present.T.tolist() == [[True] * 4, [True, False, False, True]]
    assert torch.allclose(box[0, 0], torch.tensor([7 / 48, 20 / 32, 10 / 48, 20 / 32]))
    assert T.instances(torch.zeros(4, *SIZE).long())[0].shape == (0, 4, *SIZE)


def test_more_instances_than_queries_the_largest_count():
    labels = torch.zeros(2, 8, 10).long()
    labels[0, 0, :3], labels[1, 1, :4], labels[:, 3, :6], labels[:, 5, :2], labels[1, 7, 0] = 4, 2, 7, 9, 255
    assert torch.equal(T.largest(labels, 4), labels) and torch.equal(T.largest(labels, 9), labels)
    assert T.largest(labels, 2).unique().tolist() == [0, 2, 7, 255], "of two alike the first"
    assert torch.equal(T.largest(labels, 3), torch.where(labels == 4, 0, labels))
    images, many = torch.rand(1, 4, 3, *SIZE), torch.zeros(1, 4, *SIZE).long()
    for k in range(5):  # three queries
        many[:, :, 4 : 6 + k, 8 * k : 8 * k + 6] = k + 1
    same = torch.where(many > 2, many, 0)
    net = tiny()
    assert torch.equal(T.sequence_loss(net, images, many, match_sequences),
                       T.sequence_loss(net, images, same, match_sequences))


def test_the_cost_is_class_1_box_5_giou_2():
    score, box, target = torch.randn(3, 4), torch.rand(3, 4, 4) / 2 + 0.2, torch.rand(3, 2, 4) / 2 + 0.2
    got = T.cost(score, box, target)
    for t in range(3):
        for q in range(4):
            for g in range(2):
                a, b = (T.corners(x).tolist() for x in (box[t, q], target[t, g]))
                hand = -1 / (1 + math.exp(-score[t, q])) + 5 * float((box[t, q] - target[t, g]).abs().sum())
                assert got[t, q, g] == pytest.approx(hand - 2 * loop_giou(a, b), abs=1e-5)


# ---- matching once a clip

def test_matching_is_asked_once_a_clip_and_holds_in_every_frame():
    net, (images, labels) = tiny(), batch()
    calls = []

    def watched(cost, present):
        calls.append((cost.shape, present.tolist()))
        b = len(calls) - 1
        last = T.cost(answer.scores[b], answer.boxes[-1][b], T.instances(labels[b])[2])
        assert torch.allclose(cost, last, atol=1e-4), "by what the last layer says"
        return match_sequences(cost, present)

    with torch.no_grad():
        answer, _ = net(images)
        T.sequence_loss(net, images, labels, watched)
    both, one = [True, True], [True, False]
    assert [c[0] for c in calls] == [(4, 3, 1), (4, 3, 2)] and calls[1][1] == [both, one, one, both]


def by_hand(net, images, labels, match):
    """One clip at a time, one frame at a time."""
    entropy, rows = [], {0: [], 1: [], "mask": []}
    for b in range(len(images)):
        answer, draw = net(images[b : b + 1])
        masks, present, target = T.instances(labels[b])
        pairs = match(T.cost(answer.scores[0], answer.boxes[-1][0], target), present)
        owner = dict(pairs)
        for t in range(images.shape[1]):
            for q in range(3):
                x = torch.sigmoid(answer.scores[0, t, q])
                if q not in owner:
                    entropy.append(-0.5 * (1 - x).log())
                elif present[t, owner[q]]:
                    entropy.append(-x.log())
                else:
                    entropy.append(torch.tensor(0.0))
        for q, g in pairs:
            drawn = draw([(0, q)])[0]
            for t in present[:, g].nonzero()[:, 0].tolist():
                for i in range(2):
                    box, goal = answer.boxes[i][0, t, q], target[t, g]
                    giou = loop_giou(T.corners(box).tolist(), T.corners(goal).tolist())
                    small = F.adaptive_avg_pool2d(masks[g, t][None], (2, 3))[0]
                    rows[i].append(5 * (box - goal).abs().sum() + 2 * (1 - giou)
                                   + mask_loss(answer.coarse[i][0, t, q], small))
                rows["mask"].append(mask_loss(drawn[t], masks[g, t]))
    mean = {k: torch.stack(v).mean() for k, v in rows.items()}
    return torch.stack(entropy).mean() + (mean[0] + mean[1]) / 2 + 2 * mean["mask"]


@pytest.mark.parametrize("order", [[(0, 0), (2, 1)], [(1, 0), (0, 1)]])
def test_the_loss_is_the_loop(order):
    net, (images, labels) = tiny(), batch()

    def told(cost, present):
        return order[: present.shape[1]]

    with torch.no_grad():
        assert torch.allclose(T.sequence_loss(net, images, labels, told), by_hand(net, images, labels, told), atol=1e-4)


def test_frames_without_the_instance_teach_nothing_about_it():
    """What a matched query says where its instance is away has no gradient, in box, mask and score."""
    net, (images, labels) = tiny(), batch()
    answer, draw = net(images[1:])
    for x in (answer.scores, answer.boxes[-1], answer.coarse[-1]):
        x.retain_grad()
    drawn = []

    def watched(chosen):
        drawn.append(draw(chosen))
        drawn[0].retain_grad()
        return drawn[0]

    T.sequence_loss(lambda _: (answer, watched), images[1:], labels[1:], lambda *_: [(0, 0), (2, 1)]).backward()
    for t in range(4):
        away = t in (1, 2)
        assert (answer.boxes[-1].grad[0, t, 2].abs().sum() == 0) == away
        assert (answer.scores.grad[0, t, 2] == 0) == away
        assert (drawn[0].grad[1, t].abs().sum() == 0) == away
        assert answer.scores.grad[0, t, 1] > 0, "nobody there: always said"
        assert answer.boxes[-1].grad[0, t, 1].abs().sum() == 0


def test_a_clip_without_instances_teaches_that_nobody_is_there():
    net, (images, labels) = tiny().train(), batch()
    loss = T.sequence_loss(net, images, torch.zeros_like(labels), match_sequences)
    loss.backward()
    assert torch.isfinite(loss) and net.there.weight.grad.abs().sum() > 0


# ---- the network

def test_every_frame_is_decided_with_all_others():
    """Full attention: a change in the last frame reaches the first frame's scores and masks."""
    net, (images, _) = tiny(), batch()
    other = images.clone()
    other[:, 3] = 1 - other[:, 3]
    with torch.no_grad():
        (a, draw_a), (b, draw_b) = net(images), net(other)
        assert (a.scores[:, 0] != b.scores[:, 0]).all()
        looked = [[x.unflatten(0, (2, 4)) for x in net.look(i.flatten(0, 1))] for i in (images, other)]
        memory = [net.ponder(deep, out)[1] for deep, _, out in looked]  # B,T,C,h,w
        assert (memory[0] != memory[1]).flatten(2).any(2).all(), "and its places in memory"
        assert not torch.equal(draw_a([(0, 1)])[0, 0], draw_b([(0, 1)])[0, 0])


def test_queries_differ_and_a_query_is_the_same_in_every_frame():
    """Time enters as a sine alone: with all frames alike and that sine taken away, a query says the same everywhere."""
    net = tiny()
    images = torch.rand(1, 1, 3, *SIZE).expand(-1, 4, -1, -1, -1)
    with torch.no_grad():
        answer, _ = net(images)
        first, last = answer.scores[0, [0, 3]]
        assert first.unique().numel() == 3 and not torch.allclose(first, last)
        real = V.sine_positions

        def timeless(shape, channels):
            place = real(shape, channels).clone()
            place[: channels // 3] = 0
            return place

        V.sine_positions = timeless
        try:
            same, _ = net(images)
        finally:
            V.sine_positions = real
    assert torch.allclose(same.scores[0, 0], same.scores[0, 3], atol=1e-5)
    assert same.scores[0, 0].unique().numel() == 3


def test_the_mask_head_convolves_over_frames():
    """A pixel decoder's change in one frame reaches its neighbours' masks, three convolutions far and no farther."""
    net = tiny()
    with torch.no_grad():
        deep, pixels, out = (x[None] for x in net.look(torch.rand(1, 3, *SIZE).expand(9, -1, -1, -1)))
        answer = V.Answer(torch.zeros(1, 9, 3), [], [torch.zeros(1, 9, 3, 2, 3)], torch.zeros(1, 9, 3, 2, 2, 3))
        base = net.draw(answer, deep, pixels, out, [(0, 1)])
        other = pixels.clone()
        other[:, 0] += 1
        changed = (net.draw(answer, deep, other, out, [(0, 1)]) - base).flatten(2).abs().amax(2)[0] > 1e-7
    assert changed.tolist() == [True] * 4 + [False] * 5


def test_masks_of_chosen_queries_are_those_of_all(frames):
    net = tiny()
    with torch.no_grad():
        answer, draw = net(torch.stack([torch.stack(frames[:4]), torch.stack(frames[4:8])]))
        everything = draw([(b, n) for b in range(2) for n in range(3)])
        some = draw([(1, 2), (0, 1)])
    assert torch.allclose(some, everything[[5, 1]], atol=1e-4) and everything.shape == (6, 4, *frames[0].shape[1:])
    assert answer.coarse[-1].shape == (2, 4, 3, 6, 10) and answer.boxes[-1].shape == (2, 4, 3, 4)


def test_before_any_training_each_query_draws_what_stands_out(frames):
    recipe = V.recipe([Source("toy", [toy.clip(1, length=8, objects=2)], 1.0)])
    net = recipe.model.eval()
    for part in ("decoder.last.weight", "score.weight", "trunk.stages.1.0.conv_pw.weight"):
        assert torch.equal(net.state_dict()[part], weights.load("fusionseg")[f"appearance.{part}"])
    with torch.no_grad():
        _, _, out = net.look(frames[0][None])
        _, draw = net(torch.stack(frames[:6])[None])
        drawn = draw([(0, 0), (0, 4)])[:, 0]
    stands = F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)[0, 0]
    for one in drawn:
        assert torch.corrcoef(torch.stack([one.flatten(), stands.flatten()]))[0, 1] > 0.8
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 3.9e6


# ---- whole clips

@pytest.mark.parametrize("length", [1, 2, 4, 5, 6, 7, 8, 9, 23])
def test_windows_leave_no_frame_out(length):
    got = V.spans(length, 4, 2)
    assert got[0][0] == 0 and got[-1][1] == length and all(b - a == min(4, length) for a, b in got)
    assert all(p[0] < a and p[1] - a >= 2 for p, (a, _) in pairwise(got))
    assert len(got) == 1 if length <= 4 else len(got) == math.ceil((length - 4) / 2) + 1


class Scripted(torch.nn.Module):
    """Two things in boxes of their own; in every second window the queries have changed places."""

    window = 4

    def __init__(self, scores=(0.9, 0.8, 0.2), swap=True):
        super().__init__()
        self.said, self.swap, self.calls, self.looked = scores, swap, 0, 0

    def look(self, frames):
        self.looked += 1
        return (frames[:, :1],) * 3

    def ponder(self, deep, out):
        self.order = [1, 0, 2] if self.swap and self.calls % 2 else [0, 1, 2]
        self.calls += 1
        scores = torch.logit(torch.tensor(self.said))[self.order].expand(1, deep.shape[1], 3)
        return V.Answer(scores, [], [], torch.zeros(1)), deep

    def draw(self, answer, memory, pixels, out, chosen):
        masks = torch.full((3, pixels.shape[1], *pixels.shape[-2:]), -9.0)
        masks[0, :, 2:12, 2:12], masks[1, :, 20:30, 20:40], masks[2, :, 2:12, 2:14] = 9, 9, 9
        return masks[self.order]


@pytest.mark.parametrize("length", [3, 4, 5, 9, 12])
def test_identities_go_on_from_window_to_window(length):
    net = Scripted()
    system = V.VisTR(net, shared=2)
    result = system.segment([torch.zeros(3, *SIZE)] * length)
    assert result.shape == (length, 4, *SIZE) and net.looked == length, "each frame is looked at once"
    said = result.argmax(1)
    for t in range(length):
        assert (said[t, 2:12, 2:12] == 1).all() and (said[t, 20:30, 20:40] == 2).all()
    assert system.scores == pytest.approx([0.9, 0.8, 0.2], abs=1e-5)
    assert not result[:, 3].gt(1e-6).any(), "who is not there has an empty plane"


def test_the_greatest_score_comes_first_and_alone_if_asked():
    result = V.VisTR(Scripted((0.6, 0.9, 0.2)), shared=2).segment([torch.zeros(3, *SIZE)] * 6)
    assert (result[:, 1, 20:30, 20:40] > 0.9).all() and (result[:, 2, 2:12, 2:12] > 0.9).all()
    best = V.VisTR(Scripted((0.6, 0.9, 0.2)), shared=2, best=True).segment([torch.zeros(3, *SIZE)] * 6)
    assert best.shape == (6, 2, *SIZE) and torch.allclose(best[:, 1], result[:, 1], atol=1e-5)
    none = V.VisTR(Scripted((0.1, 0.3, 0.2)), shared=2).segment([torch.zeros(3, *SIZE)])
    assert (none[:, 1, 20:30, 20:40] > 0.9).all() and not none[:, 2:].gt(1e-6).any(), "the first is always given"


def test_a_students_matching_runs_inside(frames):
    calls = []

    def mine(cost, present):
        calls.append(cost.shape)
        return match_sequences(cost, present)

    net = tiny()
    theirs, library = V.VisTR(net, 2, match=mine).segment(frames), V.VisTR(net, 2).segment(frames)
    assert torch.equal(theirs, library) and calls == [(2, 3, 3), (2, 3, 3), (3, 3, 3)]


def test_shared_frames_are_averaged(frames):
    """Six frames in two windows: frames 2 and 3 are the mean of what both windows say."""
    net, six, every = tiny(), frames[:6], [(0, n) for n in range(3)]
    with torch.no_grad():
        early, late = (torch.sigmoid(net(torch.stack(six[a : a + 4])[None])[1](every)) for a in (0, 2))
    result = V.VisTR(net, 2, best=True, match=lambda *_: [(n, n) for n in range(3)]).segment(six)

    def differs(t, p):  # from the best query's plane, whichever query that is
        return min(float((soft_aggregate(x[None]) - result[t]).abs().max()) for x in p)

    assert differs(0, early[:, 0]) < 1e-5 and differs(5, late[:, 3]) < 1e-5
    assert differs(2, (early[:, 2] + late[:, 0]) / 2) < 1e-5 < differs(2, early[:, 2])


def test_the_engine_runs_it(clip):
    result = engine.run(V.VisTR(tiny(), 2), clip, height=64)
    assert len(result.masks) == len(clip) and set(np.unique(np.stack(list(result.masks)))) <= {0, 1, 2, 3}


def test_the_recipe_and_its_gradients():
    source = Source("toy", [toy.clip(s, length=8, objects=2) for s in range(2)], 1.0)
    calls = []
    recipe = V.recipe([source], steps=9, batch=1, size=(96, 160), backbone="tiny", queries=3, width=24, heads=2,
                      window=4, shared=2, match=lambda *a: calls.append(1) or match_sequences(*a))
    loss = recipe.loss(3, np.random.default_rng([0, 3]))
    assert len(calls) == 1 and torch.equal(loss, recipe.loss(3, np.random.default_rng([0, 3])))
    for layer in (recipe.model.shift, recipe.model.mask[-1]):
        torch.nn.init.normal_(layer.weight, std=0.1)
    recipe.loss(3, np.random.default_rng([0, 3])).backward()
    still = {n for n, p in recipe.model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    assert {n for n in still if "bias" not in n} == set()


@pytest.mark.slow
def test_a_few_steps_bring_boxes_and_masks_nearer():
    """On two toy clips: the loss of the last steps is well below that of the first."""
    source = Source("toy", [toy.clip(s, length=8, objects=1, distractors=0) for s in range(2)], 1.0)
    recipe = V.recipe([source], steps=1000, batch=1, size=(96, 160))
    optimizer, losses = torch.optim.AdamW(recipe.groups), []
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(50):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 50)
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(recipe.model.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10]), losses


def test_bad_options_are_told_in_a_sentence():
    with pytest.raises(VosError, match="ships no weights"):
        V.vistr(scale="paper")
    with pytest.raises(VosError, match="choose from: trained, imagenet"):
        V.vistr(init="nothing")
    with pytest.raises(VosError, match="from 1 to 5"):
        V.vistr(init="imagenet", shared=6)
    with pytest.raises(VosError, match="at least 1"):
        V.vistr(init="imagenet", queries=0)
