"""CFBI: both distances against the slow loop, the gate, the joint loss, training through time, what it remembers."""

import numpy as np
import oracles.lookup as oracle
import pytest
import torch
import torch.nn.functional as F

from vos_teach import engine, weights
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.ops.matching import global_distance, local_distance
from vos_teach.transformers import cfbi as C

TINY = C.Config("tiny", 8, (1, 3), None)


def tiny(**operators):
    return C.new_network(TINY, False, *(operators.get(k, d) for k, d in (
        ("global_match", global_distance), ("local_match", local_distance), ("background", True)))).eval()


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_hot(labels, count):
    return F.one_hot(labels, count + 1).movedim(-1, 0).float()


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=6, objects=2, split="val")


def probabilities(system, clip):
    return [system.start(clip.frame(0), clip.objects(0))] + [system.step(clip.frame(t)) for t in range(1, len(clip))]


def test_distances_are_those_of_the_loop_and_background_is_the_least_of_all_other_labels():
    net = tiny()
    with torch.no_grad():
        net.bias.copy_(torch.tensor([0.3, -0.2]))
        now, far, near = (rand(8, 5, 6, seed=s) for s in range(3))
        first, last = (torch.randint(0, 4, (5, 6), generator=torch.Generator().manual_seed(s)) for s in (3, 4))
        last[last == 2] = 0  # object 2 is lost
        maps, _ = net.match(now, ([(far, one_hot(first, 3).bool())], [(near, one_hot(last, 3).bool())]))
    assert maps.shape == (3, 6, 5, 6)
    for k in (1, 2, 3):
        for i, window in enumerate((None, *TINY.windows)):
            memory, labels = (far, first) if window is None else (near, last)
            fore = oracle.distance(now.numpy(), memory.numpy(), (labels == k).numpy(), 0.3, window)
            back = np.min([oracle.distance(now.numpy(), memory.numpy(), (labels == x).numpy(), -0.2, window)
                           for x in range(4) if x != k], axis=0)
            np.testing.assert_allclose(maps[k - 1, 2 * i], fore, atol=1e-5, rtol=1e-5)
            np.testing.assert_allclose(maps[k - 1, 2 * i + 1], back, atol=1e-5, rtol=1e-5)
    assert (maps[1, 2::2] == 1).all(), "an object that is lost is near to nothing of the last frame"


def test_a_look_alike_is_told_by_the_background_alone():
    """Two equal things, one of them asked for: as near to the object, but nothing tells them apart but the rest."""
    e, labels = torch.zeros(8, 4, 10), torch.zeros(4, 10, dtype=torch.long)
    e[0, 1:3, 1:3] = e[0, 1:3, 7:9] = 2.0
    labels[1:3, 1:3] = 1
    seen = e, one_hot(labels, 1).bool()
    twin = e.clone()
    twin[1, 1:3, 7:9] = 0.5  # not quite equal, as nothing is
    with torch.no_grad():
        for background in (True, False):
            maps, _ = tiny(background=background).match(twin, ([(twin, seen[1])], []))
            at, other = maps[0, :, 1, 1], maps[0, :, 1, 7]
            assert at[0] == 0 and other[0] < 0.15, "both are near to the object"
            if background:
                assert at[1] > other[1] == 0, "the other is nearer to itself"
            else:
                assert (maps[0, 1::2] == 1).all(), "nothing but the object is looked at"


def test_means_and_the_gate():
    e, labels = rand(8, 3, 4), torch.tensor([[0, 0, 1, 1], [0, 2, 1, 1], [0, 2, 2, 0]])
    got = C.means(e, one_hot(labels, 3).bool())
    assert got.shape == (3, 16)
    for k in (1, 2):
        assert torch.allclose(got[k - 1], torch.cat([e[:, labels == k].mean(1), e[:, labels != k].mean(1)]), atol=1e-5)
    assert (got[2, :8] == 0).all() and torch.allclose(got[2, 8:], e.flatten(1).mean(1), atol=1e-5)

    net, heard = tiny().decoder, []
    net.blocks[0].register_forward_hook(lambda _, x, __: heard.append(x[0]))
    x, edges, mask = rand(2, 64, 4, 6), [rand(2, 16, 16, 24), rand(2, 24, 8, 12)], torch.ones(2, 1, 32, 48)
    with torch.no_grad():
        net(x, rand(2, 32, seed=1), edges, mask)
        net.gates[0].bias[5] = 20.0
        net.gates[0].bias[6] = -20.0
        net(x, rand(2, 32, seed=1), edges, mask)
    assert torch.equal(heard[0], x), "before training 1 + tanh(0) changes nothing"
    assert torch.allclose(heard[1][:, 5], 2 * x[:, 5]) and (heard[1][:, 6] == 0).all()
    assert torch.equal(heard[1][:, 7:], x[:, 7:])


def test_a_frame_to_match_with_gives_each_cell_one_label_and_loses_no_object():
    labels = torch.zeros(32, 48, dtype=torch.long)
    labels[:16, :24], labels[20, 40] = 1, 2  # object 2 is a pixel
    _, cells = C.memory(rand(8, 4, 6), one_hot(labels, 3))
    assert (cells.sum(0) == 1).all()
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[:2, :3] = True
    assert torch.equal(cells[1], expected) and cells[2].sum() == 1 and cells[2, 2, 5] and not cells[3].any()


def scene():
    """Two clips with one and two objects, one of which is gone at the end."""
    frames, labels = torch.rand(2, 5, 3, 32, 48), torch.zeros(2, 5, 32, 48, dtype=torch.long)
    labels[0, :, 4:20, 4:20], labels[1, :, 10:30, 2:14], labels[1, :3, 3:15, 20:40] = 1, 1, 2
    labels[0, 3, :4] = 255
    return frames, labels, torch.tensor([1, 2])


def test_clips_together_are_the_clips_alone():
    net, (frames, labels, counts) = tiny(), scene()
    with torch.no_grad():
        e = net.encode(frames[:, 0])
        masks = [one_hot(x, n) for x, n in zip(labels[:, 0], counts.tolist(), strict=True)]
        seen = [([C.memory(*pair)], []) for pair in zip(e[-1], masks, strict=True)]
        now = net.encode(frames[:, 1])
        both = net.look(now, seen, masks)
        assert [x.shape[0] for x in both] == [1, 2]
        for b in range(2):
            (alone,) = net.look([f[b : b + 1] for f in now], seen[b : b + 1], masks[b : b + 1])
            assert torch.allclose(alone, both[b], atol=1e-5)


def by_hand(net, frames, labels, count, own, ahead):
    """One clip, a frame at a time: the losses that `unroll` is to give the mean of."""
    features, masks, losses = net.encode(frames[:1]), one_hot(labels[0], count), []
    first = last = C.memory(features[-1][0], masks)
    for t in range(1, len(frames)):
        features = net.encode(frames[t : t + 1])
        (logits,) = net.look(features, [([first], [last])], [masks])
        if t > ahead:
            losses.append(C.objective(logits, labels[t]))
        masks = one_hot(soft_aggregate(torch.sigmoid(logits)).argmax(0) if own else labels[t] % 255, count)
        last = C.memory(features[-1][0], masks)
    return losses


@pytest.mark.parametrize(("own", "ahead"), [(True, 0), (False, 0), (True, 2)])
def test_unroll_follows_all_objects_of_all_clips(own, ahead):
    net, (frames, labels, counts) = tiny(), scene()
    with torch.no_grad():
        hand = [x for b, n in enumerate(counts.tolist()) for x in by_hand(net, frames[b], labels[b], n, own, ahead)]
        assert torch.allclose(C.unroll(net, frames, labels, counts, own, ahead), torch.stack(hand).mean(), atol=1e-5)


def test_the_gradients_of_a_whole_clip_are_those_of_the_loop():
    net, (frames, labels, _) = tiny().train(), scene()
    C.unroll(net, frames[1:], labels[1:], torch.tensor([2])).backward()
    got = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    torch.stack(by_hand(net, frames[1], labels[1], 2, True, 0)).mean().backward()
    for name, p in net.named_parameters():
        assert (p.grad is None) == (name not in got)
        assert p.grad is None or torch.allclose(p.grad, got[name], atol=1e-4), name
    assert got["pyramid.embed.weight"].abs().sum() > 0 and (got["bias"] != 0).all()


def test_frames_that_are_run_through_cost_no_gradient():
    net, (frames, labels, counts), graphs = tiny().train(), scene(), []
    net.decoder.register_forward_hook(lambda _, __, out: graphs.append(out.requires_grad))
    C.unroll(net, frames, labels, counts, ahead=2).backward()
    assert graphs == [False, False, True, True]


def test_more_objects_than_are_followed_are_background():
    net = tiny()
    frames, labels = torch.rand(1, 2, 3, 32, 48), torch.zeros(1, 2, 32, 48, dtype=torch.long)
    for k in range(4):
        labels[..., 8 * k : 8 * k + 6, 4:20] = k + 1
    with torch.no_grad():
        less = torch.where(labels == 4, 0, labels)
        found = [C.unroll(net, frames, x, torch.tensor([n])) for x, n in ((labels, 4), (less, 3))]
    assert torch.equal(*found)


def test_the_loss_is_joint_ignores_void_and_does_not_praise_what_is_absent():
    logits, target = rand(2, 8, 8).requires_grad_(), torch.zeros(8, 8, dtype=torch.long)
    target[:4], target[6] = 1, 255  # object 2 is not there
    C.objective(logits, target).backward()
    assert (logits.grad[:, 6] == 0).all() and (logits.grad[0, :4] < 0).any()
    p = soft_aggregate(torch.sigmoid(logits.detach()))
    hard = -p.log().gather(0, (target * (target < 255))[None])[0][target < 255]
    counts = target < 255
    jaccard = (p[1] * (target == 1)).sum() / ((p[1] * counts) + (target == 1) - p[1] * (target == 1)).sum()
    by_thought = hard.topk(14).values.mean() + 1 - jaccard  # a quarter of 56
    assert torch.allclose(C.objective(logits.detach(), target), by_thought, atol=1e-5)
    wrong = torch.stack([logits.detach()[0] - 3, logits.detach()[0] + 3])  # object 2 where object 1 should be
    assert C.objective(wrong, target) > C.objective(wrong.flip(0), target)


def test_a_students_operators_run_inside(clip):
    asked = []

    def own_global(query, memory, mask, bias=0.0):
        asked.append("global")
        return global_distance(query, memory, mask, float(bias))

    def own_local(query, memory, mask, windows, bias=0.0):
        asked.append(tuple(windows))
        return local_distance(query, memory, mask, windows, float(bias))

    operators = {"global_match": own_global, "local_match": own_local}
    results = [probabilities(C.CFBI(tiny(**o)), clip) for o in ({}, operators)]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert sorted(set(map(str, asked))) == ["(1, 3)", "global"] and len(asked) == 4 * (len(clip) - 1)


def test_what_appears_later_is_matched_with_the_frame_it_appeared_in(clip):
    system, (a, b) = C.CFBI(tiny()), clip.objects(0)
    system.start(clip.frame(0), a[None])
    system.step(clip.frame(1), b[None])
    ((_, first), (e, labels)), ((same, estimate),) = system.past
    assert not first[2].any() and not labels[:2].any(), "of a later frame only what was given is taken"
    assert torch.equal(labels[2], C.memory(e, one_hot(b.long(), 1))[1][1]) and labels[2].any()
    assert same is e and torch.equal(estimate[2], labels[2]) and (estimate.sum(0) == 1).all()
    both = C.joined(system.past[0])
    assert both[0].shape[1:] == both[1].shape[1:] == (2 * clip.size[0] // 8, clip.size[1] // 8) and len(both[1]) == 3
    assert system.step(clip.frame(2)).shape[0] == 3


def test_an_object_lost_while_another_appears_is_no_background_for_ever(clip):
    """What stood at its place in that frame was an estimate: it may not be near to what is not the object."""
    net, (a, b) = tiny(), clip.objects(0)
    system = C.CFBI(net)
    system.start(clip.frame(0), a[None])
    lost = b[None] | a[None]  # the new mask takes all of the old one's pixels
    system.step(clip.frame(0), lost)
    features = net.encode(clip.frame(0)[None])
    maps, _ = net.match(features[-1][0], (system.past[0], []))
    rest = maps[0, 1]  # global distance of object 1 to what is not it
    e, labels = system.past[0][1]
    assert labels[2].any() and not labels[:2].any()
    own = C.memory(e, one_hot(a.long(), 1))[1][1] & ~labels[2]
    assert (rest[own] > 0).all()


def test_memory_does_not_grow_and_the_engine_runs_it(clip):
    system = C.CFBI(tiny())
    result = engine.run(system, clip)
    assert len(result.masks) == len(clip) and [len(part) for part in system.past] == [1, 1]
    system.start(clip.frame(0), torch.zeros(1, *clip.size, dtype=torch.bool))
    assert (system.step(clip.frame(1)).argmax(0) == 0).all(), "an empty mask asks for nothing"


@pytest.mark.slow
def test_the_recipe(monkeypatch):
    source, asked, real = [Source("toy", [toy.clip(1, length=5, objects=2)], 1.0)], [], C.unroll
    monkeypatch.setattr(C, "unroll", lambda net, *a: asked.append((net.background, *a[3:])) or real(net, *a))
    counts, plain = set(), C.asked
    monkeypatch.setattr(C, "asked", lambda *a: counts.add(int((out := plain(*a))[1])) or out)
    recipe = C.recipe(source, steps=40, batch=1, size=(48, 80), backbone="tiny", embedding=8, windows=(1, 3))
    for step in range(40):
        again = [recipe.loss(step, np.random.default_rng([0, step])) for _ in range(2 if step == 30 else 1)]
        assert torch.isfinite(again[0]) and torch.equal(again[0], again[-1]), "a batch depends on seed and step alone"
    assert [own for _, own, _ in asked[:5]] == [False] * 4 + [True] and not any(n for *_, n in asked[:20])
    assert {n for *_, n in asked[20:]} == set(range(C.AHEAD + 1))
    assert 1 <= sum(not background for background, *_ in asked) <= 14
    assert counts == {1, 2}, "of two objects sometimes one is not asked for"


def test_the_trunk_starts_from_the_parent_and_the_file_will_fit():
    net = C.recipe([Source("toy", [toy.clip(1, length=4, objects=2)], 1.0)]).model
    assert torch.equal(net.trunk.stages[1][0].conv_pw.weight, weights.load("osvos")["trunk.stages.1.0.conv_pw.weight"])
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 3.9e6


@pytest.mark.acceptance  # a minute each
def test_a_few_steps_teach_it_which_object_is_which():
    sources = [Source("toy", [toy.clip(s, length=6, objects=2, distractors=0) for s in range(3)], 1.0)]
    recipe = C.recipe(sources, steps=200, batch=2, size=(96, 160))
    optimizer = torch.optim.AdamW(recipe.groups)
    for step in range(20):
        optimizer.zero_grad()
        recipe.loss(step, np.random.default_rng([0, step])).backward()
        optimizer.step()
    recipe.model.background = True
    clip, system = sources[0].clips[0], C.CFBI(recipe.model)
    said = probabilities(system, clip)[3].argmax(0)
    iou = [[float((said == k + 1).logical_and(m).sum() / (said == k + 1).logical_or(m).sum())
            for m in clip.objects(3)] for k in range(2)]
    assert iou[0][0] > iou[0][1] + 0.2 and iou[1][1] > iou[1][0] + 0.2, iou


def test_bad_options_are_told_in_a_sentence():
    with pytest.raises(VosError, match="ships no weights"):
        C.cfbi(scale="paper")
    with pytest.raises(VosError, match="choose from: trained, imagenet"):
        C.cfbi(init="nothing")
    with pytest.raises(VosError, match="choose from: toy, small, paper"):
        C.cfbi(scale="huge")
