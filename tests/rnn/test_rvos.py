"""RVOS: who hears whom in the grid of objects and frames; what S and T cut; matching once; the stop; both tasks."""

import numpy as np
import pytest
import torch

from vos_teach import engine, weights
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.data.windows import windows
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.assign import match_instances
from vos_teach.ops.convrnn import ConvLSTMCell
from vos_teach.ops.losses import soft_iou
from vos_teach.rnn import rvos as R

TINY = R.Config("tiny", (8, 8, 16), None)
SIZE = (32, 48)


def tiny(recurrence="ST", cell=ConvLSTMCell, recur=R.space_time):
    net = R.new_network(TINY, False, recurrence, cell, recur).eval()
    with torch.no_grad():
        net.stop.weight.zero_()
        net.stop.bias.fill_(5.0)  # there is always another object
    return net


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=6, objects=2, split="val")


def play(system, clip, masks=None):
    masks = clip.objects(0) if masks is None and system.task == "one-shot" else masks
    return [system.start(clip.frame(0), masks)] + [system.step(clip.frame(t)) for t in range(1, len(clip))]


def batch(counts=(1, 2), length=4):
    """Two random clips with one object and two, at places of their own."""
    generator = torch.Generator().manual_seed(0)
    frames, labels = torch.rand(2, length, 3, *SIZE, generator=generator), torch.zeros(2, length, *SIZE).long()
    labels[0, :, 4:20, 4:20], labels[1, :, 10:30, 2:12], labels[1, :, 3:15, 20:40] = 1, 1, 2
    return frames, labels, torch.tensor(counts)


def test_one_level_by_hand():
    """One pixel, one channel: i, f, o, g of a sum whose weights are known."""
    cell = ConvLSTMCell(2, 1, 1)  # inputs: x and h of the last frame
    with torch.no_grad():
        cell.conv.weight[:, :, 0, 0] = torch.tensor([[1., 2, 3], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
        cell.conv.bias.zero_()
    x, h, c, time = 0.3, -0.2, 0.7, 0.5
    one = [torch.full((1, 1, 1, 1), v) for v in (x, h, c, time)]
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    i, f, o = sigmoid(x + 2 * time + 3 * h), sigmoid(time), sigmoid(h)
    new = f * c + i * np.tanh(x + time + h)
    got = R.space_time(cell, one[0], (one[1], one[2]), one[3])
    assert np.allclose([v.item() for v in got], [o * np.tanh(new), new], atol=1e-6)


@pytest.mark.parametrize("recurrence", ["S", "T", "ST"])
@pytest.mark.parametrize("task", R.TASKS)
def test_the_grid_every_object_hears_its_neighbours(recurrence, task):
    """Three objects, three frames: space is (h, c) of the object before, time is h in the frame before, else zeros."""
    calls = {}

    def watched(cell, x, space, time):
        out = R.space_time(cell, x, space, time)
        calls.setdefault(x.shape[-1], []).append((space, time, out))
        return out

    net, past, frames = tiny(recurrence, recur=watched), [None] * 3, torch.rand(3, 1, 3, *SIZE)
    with torch.no_grad():
        for t in range(3):
            masks = None if task == "zero-shot" else [torch.rand(1, *SIZE) for _ in range(3)]
            _, _, past = net.look(net.encode(frames[t]), masks, past)
    assert sorted(calls) == [3, 6, 12]  # widths of 48 pixels at strides 16, 8 and 4
    for row in calls.values():
        for n, (space, time, _) in enumerate(row):
            t, i = divmod(n, 3)
            hears = i > 0 and ("S" in recurrence or (task == "zero-shot" and t == 0))
            if hears:
                assert all(torch.equal(a, b) for a, b in zip(space, row[n - 1][2], strict=True))
            else:
                assert not space[0].any() and not space[1].any()
            if t > 0 and "T" in recurrence:
                assert torch.equal(time, row[n - 3][2][0])
            else:
                assert not time.any()


def test_zero_shot_slots_without_a_first_look_at_each_other_would_be_one(clip):
    """What the exception for "T" is for."""
    net = tiny("T")
    with torch.no_grad():
        features = net.encode(clip.frame(0)[None])
        logits, _, past = net.look(features, None, [None] * 3)
        again, _, _ = net.look(features, None, past)
        cut, _, _ = net.look(features, None, [[torch.zeros_like(h) for h in past[0]]] * 3)  # a past: no look aside
    for found in (logits, again):
        assert not torch.allclose(found[:, 0], found[:, 1]) and not torch.allclose(found[:, 1], found[:, 2])
    assert torch.equal(cut[:, 0], cut[:, 1]) and torch.equal(cut[:, 1], cut[:, 2])


@pytest.mark.parametrize("recurrence, others, same", [("S", True, False), ("T", False, True), ("ST", True, True)])
def test_how_far_the_gradient_reaches(recurrence, others, same):
    """From object 2 in the last frame: to object 1's mask in this frame, and to its own in the first."""
    net = tiny(recurrence)
    masks = torch.rand(3, 2, 1, *SIZE, requires_grad=True)  # frames, objects
    past = [None, None]
    for t in range(3):
        logits, _, past = net.look(net.encode(torch.rand(1, 3, *SIZE)), list(masks[t]), past)
    logits[:, 1].square().sum().backward()
    assert (masks.grad[2, 0].abs().sum() > 0) == others
    assert (masks.grad[0, 1].abs().sum() > 0) == same
    assert masks.grad[2, 1].abs().sum() > 0
    assert (masks.grad[0, 0].abs().sum() > 0) == (others and same)


def test_a_mask_that_is_not_known_is_neither_full_nor_empty():
    net = tiny()
    with torch.no_grad():
        features = net.encode(torch.rand(1, 3, *SIZE))
        unknown, half = (net.look(features, m, [None])[0] for m in (None, [torch.full((1, *SIZE), 0.5)]))
        empty, full = (net.look(features, [torch.full((1, *SIZE), v)], [None])[0] for v in (0.0, 1.0))
    assert torch.equal(unknown, half)
    assert not torch.allclose(unknown, empty) and not torch.allclose(unknown, full)


@pytest.mark.parametrize("task", R.TASKS)
def test_a_frame_is_encoded_once_however_many_objects(task, clip):
    net, count = tiny(), []
    net.trunk.register_forward_hook(lambda *_: count.append(1))
    play(R.RVOS(net, task, slots=4), clip)
    assert len(count) == len(clip)


@pytest.mark.parametrize("kind, withhold", [("ST", 0), ("ST", 1), ("ST", 2), ("ST", 3), ("T", 2), ("S", 2)])
def test_one_shot_is_the_recursion_by_hand(clip, kind, withhold):
    """Every withhold-th frame has no masks, never one of the first two, and none where there is no past to ask."""
    net, past = tiny(kind), [None, None]
    got = play(R.RVOS(net, withhold=withhold), clip)
    masks = clip.objects(0).float()
    with torch.no_grad():
        for t in range(len(clip)):
            known = t not in {0: (), 1: range(2, 9), 2: (2, 4, 6), 3: (3, 6)}[withhold] or kind == "S"
            last = [m[None] for m in masks] if known else None
            logits, _, past = net.look(net.encode(clip.frame(t)[None]), last, past)
            if t:
                masks = soft_aggregate(torch.sigmoid(logits[0]))[1:]
            assert torch.allclose(got[t][1:], masks, atol=1e-6), t
            assert got[t].shape == (3, *clip.size)


def test_late_objects_come_after_the_others_and_do_not_change_them(clip):
    """Space goes one way: who comes later is not heard by who was there, except through the pixels that it takes."""
    net = tiny()
    alone, both = R.RVOS(net), R.RVOS(net)
    first, late = clip.objects(0, [1]), clip.objects(2, [2])
    for system in (alone, both):
        system.start(clip.frame(0), first)
        system.step(clip.frame(1))
    one, two = alone.step(clip.frame(2)), both.step(clip.frame(2), late)
    assert two.shape[0] == 3 and torch.allclose(two[2][late[0]], torch.ones(int(late.sum())), atol=1e-5)
    assert torch.allclose(one[1][~late[0]], two[1][~late[0]], atol=1e-5) and len(both.past) == 2
    assert all(torch.equal(a, b) for a, b in zip(alone.past[0], both.past[0], strict=True))
    assert both.step(clip.frame(3)).shape[0] == 3


def test_masks_given_in_a_frame_that_would_have_none_are_heard(clip):
    told, deaf = (R.RVOS(tiny(), withhold=2) for _ in range(2))
    for system in (told, deaf):
        system.start(clip.frame(0), clip.objects(0, [1]))
        system.step(clip.frame(1))
    a, b = told.step(clip.frame(2), clip.objects(2, [2])), deaf.step(clip.frame(2))
    assert len(a) == 3 and not torch.allclose(told.past[0][0], deaf.past[0][0]) and len(b) == 2


def test_a_given_mask_beats_who_claims_everything(clip):
    net = tiny()
    with torch.no_grad():
        net.score.bias.fill_(30.0)
    system, late = R.RVOS(net), clip.objects(1, [2])
    system.start(clip.frame(0), clip.objects(0, [1]))
    result = system.step(clip.frame(1), late)
    assert (result[2][late[0]] > 0.99).all() and (result[1][~late[0]] > 0.99).all()


def test_an_empty_mask_asks_for_nothing_and_the_next_is_still_followed(clip):
    system = R.RVOS(tiny())
    masks = torch.stack([torch.zeros(clip.size, dtype=torch.bool), clip.objects(0, [2])[0]])
    system.start(clip.frame(0), masks)
    result = system.step(clip.frame(1))
    assert result[1].max() < 1e-5 and result[2].max() > 0.1


class Told(torch.nn.Module):
    """A stop that says what it is told, object after object."""

    def __init__(self, *scores):
        super().__init__()
        self.scores, self.asked = scores, 0

    def forward(self, x):
        self.asked += 1
        return torch.full((len(x), 1), float(self.scores[self.asked - 1]))


def test_it_stops_when_no_object_is_left(clip):
    net = tiny()
    net.stop = Told(2.0, 3.0, -1.0, 9.0)
    system = R.RVOS(net, "zero-shot", slots=6)
    first = system.start(clip.frame(0))
    assert net.stop.asked == 3, "after the stop nothing is computed"
    assert np.allclose(system.scores, torch.sigmoid(torch.tensor([2.0, 3.0])))
    net.stop = Told(*[-9.0] * 20)  # no more stops: the number of objects is that of the first frame
    for result in [first] + [system.step(clip.frame(t)) for t in range(1, 4)]:
        assert result.shape == (7, *clip.size) and not result[3:].any()
        assert result[1].any() and result[2].any()
        assert torch.allclose(result.sum(0), torch.ones(clip.size), atol=1e-5)


def test_where_nothing_is_found_the_next_frame_is_looked_at_anew(clip):
    net = tiny()
    net.stop = Told(-1.0, 1.0, -1.0)
    system = R.RVOS(net, "zero-shot", slots=3)
    first, second = system.start(clip.frame(0)), system.step(clip.frame(1))
    assert torch.equal(first[0], torch.ones(clip.size)) and len(first) == len(second) == 4
    assert second[1].any() and not second[2:].any()


def test_the_best_slot_alone(clip):
    """Only the slot of the greatest score is given back, as if alone; the others are still there for it to hear."""
    net, past = tiny(), [None] * 3
    with torch.no_grad():
        own = []
        for t in range(3):
            logits, _, past = net.look(net.encode(clip.frame(t)[None]), None, past)
            own.append(soft_aggregate(torch.sigmoid(logits[0, 1:2])))
    net.stop = Told(0.5, 2.0, 1.0, *[0.0] * 20)
    got = play(R.RVOS(net, "zero-shot", slots=3, best=True), clip.cut(0, 3))
    assert all(len(g) == 2 and torch.allclose(g, o, atol=1e-6) for g, o in zip(got, own, strict=True))


def spy(net, monkeypatch):
    """The masks that `look` is given, frame after frame."""
    seen, real = [], net.look
    monkeypatch.setattr(net, "look", lambda f, masks, *rest: seen.append(masks) or real(f, masks, *rest))
    return seen


@pytest.mark.parametrize("inferred", [False, True])
def test_first_the_true_masks_then_the_inferred(inferred, monkeypatch):
    net, (frames, labels, counts) = tiny(), batch()
    labels[:, 2:] = labels[:, 2:].flip(-1)  # the objects move
    seen = spy(net, monkeypatch)
    R.unroll(net, frames, labels, counts, "one-shot", inferred)
    given = [torch.stack(list(m), 1) for m in seen]
    truth = torch.stack([labels == 1, labels == 2], 2).float()
    assert torch.equal(given[0], truth[:, 0]) and torch.equal(given[1], truth[:, 0])
    for t in (2, 3):
        assert torch.equal(given[t], truth[:, t - 1]) != inferred
        assert not given[t].requires_grad and given[t].min() >= 0 and given[t].max() <= 1


def test_matching_happens_once_a_clip_among_the_first_slots_and_stays():
    """Whatever the matching says counts for every frame: swapping it is swapping the clip's labels."""
    net, (frames, labels, counts) = tiny(), batch(length=3)
    calls = []

    def match(order):
        def chosen(pred, target):
            calls.append((pred.shape, target.shape))
            return torch.tensor(order[: len(target)])
        return chosen

    swapped = labels.clone()
    swapped[1][labels[1] == 1], swapped[1][labels[1] == 2] = 2, 1
    with torch.no_grad():
        one = R.unroll(net, frames, labels, counts, "zero-shot", match=match([0, 1]))
        assert calls == [((1, *SIZE), (1, *SIZE)), ((2, *SIZE), (2, *SIZE))], "n slots for n objects, frame 0 only"
        order = lambda pred, target: torch.tensor([1, 0]) if len(target) == 2 else torch.tensor([0])  # noqa: E731
        other = R.unroll(net, frames, swapped, counts, "zero-shot", match=order)
        wrong = R.unroll(net, frames, labels, counts, "zero-shot", match=order)
    assert torch.allclose(one, other, atol=1e-6) and not torch.allclose(one, wrong, atol=1e-4)


def test_an_order_of_three_is_not_its_inverse(monkeypatch):
    """result[i] is the slot of object i: with three objects a cycle tells the two directions apart."""
    net, frames, said = tiny(), torch.rand(1, 2, 3, *SIZE), torch.randn(1, 4, *SIZE)
    monkeypatch.setattr(net, "look", lambda *_: (said, torch.zeros(1, 4), [None] * 4))
    labels = torch.zeros(1, 2, *SIZE).long()
    labels[..., :10], labels[..., 15:28], labels[..., 30:] = 1, 2, 3
    renamed = torch.tensor([0, 2, 3, 1])[labels]  # object i is slot i + 1, and so on round
    cycle, back, plain = (
        R.unroll(net, frames, which, torch.tensor([3]), "zero-shot", match=lambda *_, order=order: torch.tensor(order))
        for which, order in ((labels, [1, 2, 0]), (labels, [2, 0, 1]), (renamed, [0, 1, 2])))
    assert torch.allclose(cycle, plain, atol=1e-6) and not torch.allclose(back, plain, atol=1e-4)


def by_hand(net, frames, masks, task, inferred, ahead):
    """One clip, its objects N,T,H,W: each frame's entropy and 1 - soft IoU of each object, and the stop's loss."""
    n, past, known, rows, stop = len(masks), [None] * (len(masks) + (task == "zero-shot")), None, [], 0
    for t in range(len(frames)):
        known = masks[:, max(0, t - 1)] if t < 2 or not inferred else known
        feed = None if task == "zero-shot" else [m[None] for m in known]
        logits, scores, past = net.look(net.encode(frames[t : t + 1]), feed, past)
        p = torch.sigmoid(logits[0, :n])
        known = soft_aggregate(p)[1:]
        if t == 0 and task == "zero-shot":
            slots = match_instances(p, masks[:, 0])
            masks = masks[torch.argsort(slots)]
            yes = torch.sigmoid(scores[0])
            stop = -(yes[:n].log().sum() + (1 - yes[n]).log()) / (n + 1)
        if t > ahead or (t == 0 and task == "zero-shot" and ahead == 0):
            y = masks[:, t]
            entropy = -(y * p.clamp_min(1e-9).log() + (1 - y) * (1 - p).clamp_min(1e-9).log()).mean((1, 2))
            rows.append(entropy + 1 - soft_iou(p, y))
    return torch.stack(rows), stop if ahead == 0 else 0


@pytest.mark.parametrize("task", R.TASKS)
@pytest.mark.parametrize("ahead", [0, 2])
def test_unroll_is_the_loop(task, ahead):
    net, (frames, labels, _) = tiny(), batch()
    masks = torch.stack([labels[1] == 1, labels[1] == 2]).float()
    with torch.no_grad():
        rows, stop = by_hand(net, frames[1], masks, task, True, ahead)
        got = R.unroll(net, frames[1:], labels[1:], torch.tensor([2]), task, True, ahead)
    assert torch.allclose(got, rows.mean() + stop, atol=1e-5)


def test_slots_without_an_object_do_not_count():
    """A clip of one object beside a clip of two: its second slot is neither praised nor blamed."""
    net, (frames, labels, counts) = tiny(), batch()
    with torch.no_grad():
        masks = [torch.stack([labels[b] == k + 1 for k in range(n)]).float() for b, n in enumerate((1, 2))]
        hand = [by_hand(net, frames[b], masks[b], "one-shot", True, 0)[0] for b in range(2)]
        got = R.unroll(net, frames, labels, counts, "one-shot")
    assert torch.allclose(got, torch.cat(hand, 1).mean(1).mean(), atol=1e-5)


def test_the_objective_does_not_praise_empty_masks():
    """soft IoU of nothing with nothing is 1: absent slots and frames without the object must not be paid for it."""
    logit, target = torch.full((1, 3, *SIZE), -9.0), torch.zeros(1, 3, *SIZE)
    target[0, 0, :10] = 1
    there = torch.tensor([[True, True, False]])  # the second is away in this frame, the third is no object
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logit[:, :2], target[:, :2])
    iou = soft_iou(torch.sigmoid(logit[0, 0]), target[0, 0])
    assert torch.allclose(R.objective(logit, target, there), entropy + 1 - iou)
    logit[0, 2] = 9.0
    assert torch.allclose(R.objective(logit, target, there), entropy + 1 - iou)
    logit[0, 1] = 9.0
    assert R.objective(logit, target, there) > entropy + 1 - iou + 1, "an object seen where there is none costs"


def test_frames_run_through_leave_no_gradient_and_the_others_do():
    net, (frames, labels, counts) = tiny().train(), batch(length=5)
    for task in R.TASKS:
        for ahead in (0, 3):
            net.zero_grad()
            R.unroll(net, frames, labels, counts, task, ahead=ahead).backward()
            assert net.cells[0].conv.weight.grad.abs().sum() > 0 and net.trunk.stages[1][0].weight.grad.abs().sum() > 0
            stop = net.stop.bias.grad
            assert (stop is not None and stop.abs().sum() > 0) == (task == "zero-shot" and ahead == 0)


def test_a_students_cell_and_recurrence_run_inside(clip):
    calls = []

    class Own(ConvLSTMCell):
        def forward(self, x, state=None):
            calls.append("cell")
            return super().forward(x, state)

    def own(cell, x, space, time):
        calls.append("recur")
        return cell(torch.cat([x, time], 1), space)

    theirs, library = (play(R.RVOS(net), clip) for net in (tiny("ST", Own, own), tiny()))
    assert all(torch.equal(a, b) for a, b in zip(theirs, library, strict=True))
    assert calls == ["recur", "cell"] * (3 * 2 * len(clip))  # levels, objects, frames


def test_the_recipe_teaches_both_tasks_and_its_stages(monkeypatch):
    asked, real = [], R.unroll
    monkeypatch.setattr(R, "unroll", lambda *a: asked.append((a[1].shape[1], *a[4:7], a[9], a[3].tolist())) or real(*a))
    source = [Source("toy", [toy.clip(1, length=5, objects=2)], 1.0)]
    recipe = R.recipe(source, steps=100, batch=1, size=(96, 160), backbone="tiny", hidden=(8, 8, 16))
    for step in (0, 19, 20, 39, *range(40, 60)):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
    assert torch.equal(loss, recipe.loss(59, np.random.default_rng([0, 59]))), "a batch depends on seed and step alone"
    asked.pop()
    assert {a[1] for a in asked} == set(R.TASKS)
    assert [a[2] for a in asked[:3]] == [False, False, True] and all(a[3] == 0 for a in asked[:4])
    late = [a[3] for a in asked[4:]]
    assert 0 in late and R.AHEAD / 2 < max(late) <= R.AHEAD and all(a[0] == R.LENGTH + a[3] for a in asked)
    hidden = [a[4] for a in asked]
    assert not any(any(h) for h in hidden[:2]) and all(len(h) == a[0] for h, a in zip(hidden, asked, strict=True))
    assert 0.1 < np.concatenate(hidden[2:]).mean() < 0.4, "a quarter of the masks is withheld"
    assert {str(a[5]) for a in asked if a[1] == "one-shot"} == {"[1]", "[2]"}, "what is not asked for is background"
    assert {str(a[5]) for a in asked if a[1] == "zero-shot"} == {"[2]"}
    only = R.recipe(source, steps=9, batch=1, size=(96, 160), tasks=("zero-shot",), backbone="tiny", hidden=(8, 8, 16))
    asked.clear()
    for step in range(5):
        only.loss(step, np.random.default_rng(step))
    assert {a[1] for a in asked} == {"zero-shot"}


def test_the_students_matching_and_iou_reach_the_loss():
    calls = []

    def iou(pred, target):
        calls.append("iou")
        return soft_iou(pred, target)

    recipe = R.recipe([Source("toy", [toy.clip(1, length=5, objects=2)], 1.0)], steps=9, batch=1, size=(96, 160),
                      tasks=("zero-shot",), iou=iou, match=lambda *a: calls.append("match") or match_instances(*a),
                      backbone="tiny", hidden=(8, 8, 16))
    recipe.loss(0, np.random.default_rng(0))
    assert calls == ["match"] + ["iou"] * R.LENGTH


def test_a_withheld_mask_is_unknown_and_never_one_of_the_first_two(monkeypatch):
    net, seen = tiny(), []
    real = net.look
    monkeypatch.setattr(net, "look", lambda f, masks, *a: seen.append(masks is None) or real(f, masks, *a))
    clip = toy.clip(1, length=5, objects=2)
    drawn = windows([Source("toy", [clip], 1.0)], np.random.default_rng(0), 1, (96, 160), 5)
    R.unroll(net, drawn.frames, drawn.labels, drawn.counts, "one-shot", hidden=[True, True, False, True, False])
    assert seen == [False, False, False, True, False]


def test_the_trunk_is_osvoss_parents_and_stays_so_and_the_file_will_fit():
    net = R.recipe([Source("toy", [toy.clip(1, length=4, objects=2)], 1.0)]).model
    assert torch.equal(net.trunk.stages[1][0].conv_pw.weight, weights.load("osvos")["trunk.stages.1.0.conv_pw.weight"])
    assert not any(p.requires_grad for p in net.trunk.parameters())
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 3.9e6
    count = {r: sum(p.numel() for p in R.new_network(TINY, False, r).parameters()) for r in R.RECURRENCES}
    assert len(set(count.values())) == 1, "S, T and ST differ in what is cut, not in size"


@pytest.mark.slow
def test_a_few_steps_teach_it_to_go_where_the_mask_was():
    """Two objects of one toy clip: after little training each mask's prediction is nearer to its own object."""
    sources = [Source("toy", [toy.clip(s, length=6, objects=2, distractors=0) for s in range(3)], 1.0)]
    recipe = R.recipe(sources, steps=1000, batch=1, size=(96, 160), tasks=("one-shot",))
    optimizer = torch.optim.AdamW(recipe.groups)
    for step in range(40):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(recipe.model.parameters(), 5.0)
        optimizer.step()
    clip, system = sources[0].clips[0], R.RVOS(recipe.model)
    said, truth = play(system, clip)[3].argmax(0), list(clip.objects(3))
    iou = [[float((said == k + 1).logical_and(m).sum() / (said == k + 1).logical_or(m).sum()) for m in truth]
           for k in range(2)]
    assert iou[0][0] > iou[0][1] + 0.2 and iou[1][1] > iou[1][0] + 0.2, iou


def test_a_new_network_hears_its_mask():
    """Before any training: the mask changes a new state more than another frame does; cells of any make are taken."""
    class Parts(torch.nn.Module):  # a student's, with a convolution for each gate
        def __init__(self, inputs, hidden, kernel):
            super().__init__()
            self.gates = torch.nn.ModuleList(
                torch.nn.Conv2d(inputs + hidden, hidden, kernel, padding=kernel // 2) for _ in range(4))

    net = tiny()
    with torch.no_grad():
        features, other = (net.encode(torch.rand(1, 3, *SIZE)) for _ in range(2))
        full, empty = torch.ones(1, 1, *SIZE), -torch.ones(1, 1, *SIZE)
        h, by_mask, by_frame = (net.object(f, m, None, None)[0][0] for f, m in (
            (features, full), (features, empty), (other, full)))
    assert (h - by_mask).abs().mean() > 2 * (h - by_frame).abs().mean()
    assert tiny(cell=Parts).cells[0].gates[3].weight.shape[0] == 8


def test_the_engine_runs_both_tasks(clip):
    for task in R.TASKS:
        result = engine.run(R.RVOS(tiny(), task, slots=3), clip, height=64)
        assert len(result.masks) == len(clip) and set(np.unique(np.stack(list(result.masks)))) <= {0, 1, 2, 3}


def test_bad_options_are_told_in_a_sentence():
    for build in (R.rvos, R.zero_shot):
        with pytest.raises(VosError, match="ships no weights"):
            build(scale="paper")
        with pytest.raises(VosError, match="choose from: trained, imagenet"):
            build(init="nothing")
        with pytest.raises(VosError, match="choose from: toy, small, paper"):
            build(scale="huge")
        with pytest.raises(VosError, match="choose from: S, T, ST"):
            build(init="imagenet", recurrence="TS")
    with pytest.raises(VosError, match="at least 1"):
        R.zero_shot(slots=0)
    with pytest.raises(VosError, match="0, never, or more"):
        R.rvos(withhold=-1)
