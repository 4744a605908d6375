"""AOT: identities in and out of one bank, two memories, one pass for all objects or one each, shuffled in training."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vos_teach import engine, weights
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.metrics import jaccard
from vos_teach.ops.identify import assign_identities
from vos_teach.ops.losses import bootstrapped_ce, soft_iou
from vos_teach.transformers import aot as A
from vos_teach.transformers import aot_training as T

TINY = A.Config("tiny", width=(16, 32), blocks=1, heads=2, window=3, every=2, room=2, weights=None)
SIZE = (64, 96)


def tiny(**changes):
    return A.new_network(A.replace(TINY, **changes), False).eval()


def system(passes="one", every=2, room=2, **changes):
    return A.AOT(tiny(**changes), every, room, passes)


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=6, objects=3, split="val")


def play(s, clip, ids=None, length=None):
    first = s.start(clip.frame(0), clip.objects(0, ids))
    return [first, *(s.step(clip.frame(t)) for t in range(1, length or len(clip)))]


def batch(counts=(1, 2), length=4):
    """Two random clips with one object and two, at places of their own."""
    generator = torch.Generator().manual_seed(0)
    frames, labels = torch.rand(2, length, 3, *SIZE, generator=generator), torch.zeros(2, length, *SIZE).long()
    labels[0, :, 8:40, 8:40], labels[1, :, 20:60, 4:24], labels[1, :, 6:30, 40:80] = 1, 1, 2
    return frames, labels, torch.tensor(counts)


def test_the_key_operator_is_asked_once_a_frame_for_all_objects(clip):
    calls = []

    def own(masks, bank):
        calls.append((masks.shape[0], bank.shape))
        assert torch.allclose(masks.sum(0), torch.ones(masks.shape[1:])), "each pixel belongs to one"
        return assign_identities(masks, bank)

    s = A.AOT(A.new_network(TINY, False, own))
    theirs, library = play(s, clip), play(A.AOT(tiny()), clip)
    assert all(torch.equal(a, b) for a, b in zip(theirs, library, strict=True))
    assert calls == [(4, (4, A.IDENTITY))] * len(clip)


def test_which_object_has_which_row_decides_who_is_who():
    """Rows exchanged in memory and in the output together change nothing but the order; in one of them, everything."""
    net, frame = tiny(), torch.rand(1, 3, *SIZE)
    masks = torch.zeros(1, 3, *SIZE)
    masks[:, 1, 8:40, 8:40] = 1
    masks[:, 2, 8:40, 56:80] = 1
    masks[:, 0] = 1 - masks[:, 1:].sum(1)
    with torch.no_grad():
        features = net.encode(frame)

        def said(masks, rows, read):
            idents = net.identities(masks, net.bank[rows][None])
            *_, now = net.propagate(features, [], [], None, idents)
            moment = net.remember(now, idents)
            fine, deep, _ = net.propagate(features, [moment], [], moment)
            return net.decide(features, fine, deep, net.bank[read][None])[0]

        plain = said(masks, [0, 4, 7], [0, 4, 7])
        assert torch.allclose(said(masks[:, [0, 2, 1]], [0, 7, 4], [0, 7, 4]), plain[[0, 2, 1]], atol=1e-5)
        assert torch.allclose(said(masks, [0, 4, 7], [0, 7, 4]), plain[[0, 2, 1]], atol=1e-5)
        assert not torch.allclose(said(masks, [0, 7, 4], [0, 4, 7]), plain, atol=0.1)


def test_before_any_training_it_repeats_the_last_mask():
    clip = toy.clip(3, length=2, split="val")
    s = A.AOT(A.new_network(A.Config(weights=None), True))
    s.start(clip.frame(0), clip.objects(0))
    found = s.step(clip.frame(0)).argmax(0).numpy() == 1
    assert jaccard(found, clip.masks[0] == 1)[0] > 0.5


def test_the_value_is_mixed_with_the_identity_and_the_key_is_not():
    block = tiny().blocks[0]
    torch.nn.init.normal_(block.mix.weight)  # it starts as a copy
    now, ident = (torch.randn(1, 6, 32), torch.randn(1, 6, 32)), torch.randn(1, 32, 2, 3)
    key, value = block.remember(now, ident)
    assert torch.equal(key, now[0])
    together = now[1] + ident.flatten(2).transpose(1, 2)
    assert torch.allclose(value, together @ block.mix.weight.T + block.mix.bias, atol=1e-5)


def test_the_first_frame_is_its_own_memory():
    """With an identity given, a block does what it would do with that very frame as both memories."""
    block, x, ident = tiny().blocks[0], torch.randn(1, 32, 4, 6), torch.randn(1, 32, 4, 6)
    with torch.no_grad():
        out, now = block(x, None, None, ident)
        own = block.remember(now, ident)
        again, _ = block(x, own, own)
        other, _ = block(x, own, block.remember(now, -ident))
    assert torch.allclose(out, again, atol=1e-6) and not torch.allclose(out, other, atol=1e-3)


def test_long_memory_is_frame_0_and_every_nth_within_its_room(clip):
    s, times = system(), []
    s.start(clip.frame(0), clip.objects(0))
    for t in range(1, 10):
        s.step(clip.frame(t % 6))
        times.append(s.times)
    assert times[:6] == [(0,), (0, 2), (0, 2), (0, 2, 4), (0, 2, 4), (0, 4, 6)] and times[-1] == (0, 6, 8)
    s = system(every=0)
    play(s, clip)
    assert s.times == (0,)


def test_what_is_let_go_is_no_longer_read(clip):
    """Changing the moment of frame 0 changes the answer; one that has been dropped cannot."""
    s = system(room=1)
    play(s, clip, length=5)
    first, kept = s.groups[0].shown[0][1], s.groups[0].seen
    assert [t for t, _ in kept] == [4]
    with torch.no_grad():
        features = s.net.encode(clip.frame(5)[None])
        base = s.look(s.groups[0], features)
        s.groups[0].shown = [(0, [(k, -v) for k, v in first])]
        assert not torch.allclose(base, s.look(s.groups[0], features), atol=1e-4)
        s.groups[0].shown, s.groups[0].seen = [(0, first)], [(4, [(k, -v) for k, v in kept[0][1]])]
        assert not torch.allclose(base, s.look(s.groups[0], features), atol=1e-4)


def test_short_memory_is_the_last_frame_nearby():
    """Of the last frame only the window counts; what long-term memory holds counts wherever it is."""
    net = tiny()
    block = net.blocks[-1]
    assert block.own is None
    with torch.no_grad():
        x, ident = torch.randn(1, 16, 8, 12), torch.randn(1, 16, 8, 12)
        _, now = block(x, None, None, ident)
        memory = block.remember(now, ident)
        far = [m.clone() for m in memory]
        far[1][:, -1] += 100  # the last place, bottom right
        block.feed.layers[-1].weight.zero_()
        block.feed.layers[-1].bias.zero_()
        base = block(x, memory, memory)[0]
        short, long = ((block(x, *pair)[0] - base).abs().amax(1)[0] > 1e-5 for pair in ((memory, far), (far, memory)))
    assert short[-2:, -2:].all() and short.sum() == 4 and long.all()


def test_unused_identities_are_out_of_the_softmax(clip):
    """An object that nobody asked for is exactly nowhere, and the others share all of the probability."""
    s, masks = system(), clip.objects(0)
    masks[1] = False
    s.start(clip.frame(0), masks)
    p = s.step(clip.frame(1))
    assert not p[2].any() and torch.allclose(p.sum(0), torch.ones(clip.size), atol=1e-5)


def test_each_object_by_itself_merged_is_the_other_way(clip):
    """passes="each" asks the network once for each object: one object alone is the same in both ways."""
    one, each = system(), system("each")
    a, b = play(one, clip, clip.ids[:1]), play(each, clip, clip.ids[:1])
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(a, b, strict=True))
    a, b = play(one, clip), play(each, clip)
    assert len(one.groups) == 1 and len(each.groups) == 3 and b[1].shape == a[1].shape
    assert not torch.allclose(a[1], b[1], atol=1e-3)
    turned = play(system("each"), clip, clip.ids[::-1])
    for x, y in zip(b, turned, strict=True):
        assert torch.allclose(x, y[[0, 3, 2, 1]], atol=1e-4), "with one pass each the order does not matter"


def test_one_pass_however_many_objects(clip, monkeypatch):
    for passes, count in (("one", 1), ("each", 3)):
        s, calls = system(passes), []
        real = s.net.propagate
        monkeypatch.setattr(s.net, "propagate", lambda *a, real=real, calls=calls: calls.append(1) or real(*a))
        s.start(clip.frame(0), clip.objects(0))
        calls.clear()
        s.step(clip.frame(1))
        assert len(calls) == count


def test_more_objects_than_the_bank_take_a_second_pass(clip):
    s = system(objects=2)
    results = play(s, clip)
    assert [len(g.asked) for g in s.groups] == [2, 1] and all(len(r) == 4 for r in results)
    assert all(torch.allclose(r.sum(0), torch.ones(clip.size), atol=1e-5) for r in results)
    with pytest.raises(VosError, match="more than the 2"):
        s.net.identities(torch.zeros(1, 4, *SIZE), torch.zeros(1, 3, A.IDENTITY))


def test_late_objects_join_and_their_frame_stays_in_memory(clip):
    s = system()
    s.start(clip.frame(0), clip.objects(0, clip.ids[:1]))
    s.step(clip.frame(1), clip.objects(1, clip.ids[1:]))
    for t in range(2, 6):
        last = s.step(clip.frame(t))
    assert len(last) == 4 and len(s.groups) == 1 and [t for t, _ in s.groups[0].shown] == [0, 1]


def test_a_late_objects_frame_stays_for_its_own_pass_alone(clip):
    s = system("each")
    s.start(clip.frame(0), clip.objects(0, clip.ids[:1]))
    for t, k in enumerate(clip.ids[1:], 1):
        s.step(clip.frame(t), clip.objects(t, (k,)))
    assert [[t for t, _ in g.shown] for g in s.groups] == [[0], [1], [2]]
    assert [[t for t, _ in g.seen] for g in s.groups] == [[2], [2], []], "for the others it is one of every second"


def test_a_pixel_looks_where_the_keys_are_alike(clip):
    s = system()
    play(s, clip, length=4)
    frame = clip.frame(4)[:, :90, :150]  # not a multiple of 16
    s = system()
    s.start(clip.frame(0)[:, :96, :160], clip.objects(0)[:, :96, :160])
    s.step(clip.frame(1))
    s.step(clip.frame(2))
    frame = clip.frame(3)
    looks = s.looks(frame, (37, 101))
    assert looks.shape == (2, *clip.size) and s.times == (0, 2)
    assert torch.allclose(looks.sum(), torch.tensor(1.0), atol=1e-5) and looks.min() >= 0
    # by hand: the same place's key against all keys of memory
    block, group = s.net.blocks[0], s.groups[0]
    with torch.no_grad():
        *_, now = s.net.propagate(s.net.encode(frame[None]), *group.moments(), group.last)
        q = now[0][0][0, 37 // 16 * 10 + 101 // 16].view(block.heads, -1)
        k = torch.cat([m[0][0][0] for part in group.moments() for m in part]).view(-1, block.heads, q.shape[1])
        p = torch.softmax(torch.einsum("hc,nhc->hn", q, k) / math.sqrt(q.shape[1]), 1).mean(0).view(2, 6, 10)
    assert torch.allclose(F.avg_pool2d(looks, 16) * 256, p, atol=1e-5)
    before = s.step(frame)
    assert torch.isfinite(before).all()


def test_looking_is_told_what_it_cannot(clip):
    s = system()
    with pytest.raises(VosError, match="start the system"):
        s.looks(clip.frame(0), (0, 0))
    s.start(clip.frame(0), clip.objects(0))
    with pytest.raises(VosError, match="outside the frame"):
        s.looks(clip.frame(1), (96, 0))
    with pytest.raises(VosError, match="choose one from 0 to 0"):
        s.looks(clip.frame(1), (0, 0), block=1)
    assert s.looks(clip.frame(1), (95, 159)).shape == (1, *clip.size)


def test_the_loss_is_half_hardest_pixels_half_jaccard():
    logits, target = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    target[1][target[1] == 2] = 0
    target[0, 0, 0] = 255
    there = torch.tensor([[True, True], [True, False]])
    rows = []
    for b, n in enumerate((2, 1)):
        x, y = logits[b : b + 1, : n + 1], target[b : b + 1]
        p = torch.softmax(x, 1)[0] * (y != 255)
        rows.append((bootstrapped_ce(x, y, 0.3), [1 - soft_iou(p[k], (y[0] == k).float()) for k in range(1, n + 1)]))
    hand = 0.5 * (rows[0][0] + rows[1][0]) / 2 + 0.5 * torch.stack(rows[0][1] + rows[1][1]).mean()
    assert torch.allclose(T.objective(logits, target, there, 0.3), hand, atol=1e-6)
    target[target > 0] = 0  # nothing is shown: no praise for empty masks
    parts = ((logits[:1], target[:1]), (logits[1:, :2], target[1:]))
    only = torch.stack([bootstrapped_ce(x, y, 0.3) for x, y in parts])
    assert torch.allclose(T.objective(logits, target, there, 0.3), 0.5 * only.mean(), atol=1e-6)


@pytest.mark.parametrize("own", [False, True])
def test_unroll_is_the_system_with_labels_in_memory(own, monkeypatch):
    """Clip by clip and frame by frame: the same answers as the system gives, if rows are as the system has them."""
    net, (frames, labels, counts) = tiny(), batch(length=5)
    said = []
    monkeypatch.setattr(T, "objective", lambda logits, *_: said.append(logits) or logits.sum())
    with torch.no_grad():
        T.unroll(net, frames, labels, counts, torch.tensor([[0, 1, 2]] * 2), own=own)
        for b, n in enumerate(counts.tolist()):
            s = A.AOT(net, every=2)
            s.start(frames[b, 0], torch.stack([labels[b, 0] == k + 1 for k in range(n)]))
            for t in range(1, 5):
                p = s.step(frames[b, t])
                same = torch.allclose(torch.softmax(said[t - 1][b, : n + 1], 0), p, atol=1e-4)
                assert same == (own or t == 1 or same)
                if own:
                    assert same, (b, t)
    assert own or not torch.allclose(torch.softmax(said[3][1], 0), p, atol=1e-4), "true masks in memory are others"


def test_rows_are_drawn_anew_and_the_background_keeps_its_own():
    rng = np.random.default_rng(0)
    rows = T.shuffled(10, 3, 400, rng)
    assert rows.shape == (400, 4) and not rows[:, 0].any() and rows[:, 1:].min() == 1
    assert all(len(set(r.tolist())) == 4 for r in rows)
    assert (torch.bincount(rows[:, 1], minlength=11)[1:] > 20).all(), "every row serves every slot"


def test_the_gradient_reaches_bank_memory_and_trunk():
    net, (frames, labels, counts) = tiny().train(), batch()
    T.unroll(net, frames, labels, counts, torch.tensor([[0, 3, 5]] * 2)).backward()
    assert net.bank.grad[[0, 3, 5]].abs().sum(1).min() > 0 and not net.bank.grad[[1, 2, 4]].any()
    missing = {n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    assert {n for n in missing if "trunk" not in n} == set()
    assert net.trunk.stages[1][0].weight.grad.abs().sum() > 0


def test_the_recipes_lessons(monkeypatch):
    assert [T.lesson(s, 100)[0] for s in (0, 30, 31, 60, 61, 99)] == [3, 3, 4, 4, 5, 5]
    assert T.lesson(0, 100)[1] == 1 and T.lesson(25, 100)[1] == pytest.approx(0.575)
    assert T.lesson(50, 100)[1] == pytest.approx(T.HARDEST) and T.lesson(99, 100)[1] == T.HARDEST
    asked, real = [], T.unroll

    def watched(*args, own):
        asked.append((args[1].shape[1], args[4].tolist(), own))
        return real(*args, own=own)

    monkeypatch.setattr(T, "unroll", watched)
    source = [Source("toy", [toy.clip(1, length=8, objects=2)], 1.0)]
    recipe = A.recipe(source, steps=100, batch=1, backbone="tiny", width=(16, 32), blocks=1, heads=2, window=3)
    for step in (0, 14, 15, 61):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
    assert torch.equal(loss, recipe.loss(61, np.random.default_rng([0, 61]))), "a batch depends on seed and step alone"
    assert [a[2] for a in asked[:4]] == [False, False, True, True] and [a[0] for a in asked[:4]] == [3, 3, 3, 5]
    assert len({str(a[1]) for a in asked}) > 2, "identities are shuffled"


def test_the_trunk_starts_from_osvoss_parent_and_the_file_will_fit():
    net = A.recipe([Source("toy", [toy.clip(1, length=4, objects=2)], 1.0)]).model
    assert torch.equal(net.trunk.stages[1][0].conv_pw.weight, weights.load("osvos")["trunk.stages.1.0.conv_pw.weight"])
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 3.9e6


def test_the_engine_runs_it(clip):
    result = engine.run(system(), clip, height=64)
    assert len(result.masks) == len(clip) and set(np.unique(np.stack(list(result.masks)))) <= {0, *clip.ids}


def test_bad_options_are_told_in_a_sentence():
    with pytest.raises(VosError, match="ships no weights"):
        A.aot(scale="paper")
    with pytest.raises(VosError, match="choose from: trained, imagenet"):
        A.aot(init="nothing")
    with pytest.raises(VosError, match="choose from: one, each"):
        A.aot(init="imagenet", passes="two")
    with pytest.raises(VosError, match="room is -1"):
        A.aot(init="imagenet", room=-1)


@pytest.mark.acceptance  # a minute each
def test_a_few_steps_teach_it_to_tell_two_objects_apart():
    """Two objects of toy clips: after little training each answer is nearer to its own object."""
    sources = [Source("toy", [toy.clip(s, length=8, objects=2, distractors=0) for s in range(3)], 1.0)]
    recipe = A.recipe(sources, steps=1000, batch=2, size=(96, 160))
    optimizer = torch.optim.AdamW(recipe.groups)
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(40):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 100)
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(recipe.model.parameters(), 5.0)
        optimizer.step()
    gains = []
    for clip in sources[0].clips:
        said, truth = play(A.AOT(recipe.model), clip)[3].argmax(0).numpy(), clip.masks[3]
        iou = [[float(jaccard(said == k, truth == i)[0]) for i in clip.ids] for k in clip.ids]
        gains += [iou[0][0] - iou[0][1], iou[1][1] - iou[1][0]]
    assert np.mean(gains) > 0.25, gains
