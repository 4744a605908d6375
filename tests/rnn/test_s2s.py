"""S2S: the state alone carries the object, through time; frames encoded once or per object; clips that grow."""

import inspect

import numpy as np
import pytest
import torch

from vos_teach import engine
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.ops.convrnn import ConvLSTMCell
from vos_teach.rnn import s2s as S

TINY = S.Config("tiny", (8, 16), None)


def tiny(cell=ConvLSTMCell):
    return S.new_network(TINY, False, cell).eval()


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=6, objects=2, split="val")


def probabilities(system, clip, masks=None):
    masks = clip.objects(0) if masks is None else masks
    return [system.start(clip.frame(0), masks)] + [system.step(clip.frame(t)) for t in range(1, len(clip))]


def test_the_state_alone_carries_the_object(clip):
    """Two objects, two states; exchanged, each goes on as the other would have: there is no other memory."""
    one, two = (S.OneSequence(tiny(), S.Encoding(tiny(), False)) for _ in range(2))
    one.start(clip.frame(0), clip.objects(0, [1]))
    two.start(clip.frame(0), clip.objects(0, [2]))
    kept = one.state, two.state
    straight = [x.step(clip.frame(1)) for x in (one, two)]
    two.state, one.state = kept
    crossed = [x.step(clip.frame(1)) for x in (two, one)]
    assert torch.equal(straight[0], crossed[0]) and torch.equal(straight[1], crossed[1])
    assert not torch.equal(straight[0], straight[1])
    assert list(inspect.signature(S.Network.step).parameters) == ["self", "features", "state", "like"]


def test_mask_and_frame_0_both_reach_the_state(clip):
    net = tiny()
    with torch.no_grad():
        frame, mask = clip.frame(0)[None], clip.objects(0, [1])
        states = [net.start(frame, mask), net.start(frame, clip.objects(0, [2])), net.start(1 - frame, mask)]
    for level, stride in enumerate((8, 16)):
        h, c = states[0][level]
        assert h.shape == c.shape == (1, TINY.hidden[level], clip.size[0] // stride, clip.size[1] // stride)
        assert h.abs().max() <= 1 and not torch.equal(h, c)
        for other in states[1:]:
            assert not torch.allclose(h, other[level][0]) and not torch.allclose(c, other[level][1])


def test_the_loss_of_the_last_frame_reaches_what_the_initializer_wrote():
    """Through time: no gradient is cut between frame 0's mask and a prediction five frames later."""
    net = tiny().train()
    frames, state, mask = torch.rand(6, 1, 3, 32, 48), None, torch.zeros(1, 32, 48)
    mask[:, 8:20, 10:30] = 1
    mask.requires_grad_()
    state = net.start(frames[0], mask)
    for frame in frames[1:]:
        logit, state = net.step(net.encode(frame), state, frame)
    logit.square().sum().backward()
    assert mask.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in net.initializer.write.parameters())


def by_hand(net, frames, target, ahead):
    """One clip, one object, a frame at a time: the loss that `unroll` is to give."""
    state, logits = net.start(frames[:1], target[:1]), []
    for t in range(1, len(frames)):
        logit, state = net.step(net.encode(frames[t : t + 1]), state, frames[:1])
        logits.append(logit[0])
    return torch.stack([S.objective(x, y) for x, y in zip(logits[ahead:], target[1 + ahead :], strict=True)])


@pytest.mark.parametrize("ahead", [0, 2])
def test_unroll_follows_every_object_of_every_clip(ahead):
    net = tiny()
    frames, labels = torch.rand(2, 5, 3, 32, 48), torch.zeros(2, 5, 32, 48, dtype=torch.long)
    labels[0, :, 4:20, 4:20], labels[1, :, 10:30, 2:12], labels[1, :, 3:15, 20:40] = 1, 1, 2
    with torch.no_grad():
        rows = [(0, 1), (1, 1), (1, 2)]
        hand = torch.stack([by_hand(net, frames[b], (labels[b] == k).float(), ahead) for b, k in rows])
        got = S.unroll(net, frames, labels, torch.tensor([1, 2]), ahead)
        assert torch.allclose(got, hand.mean(), atol=1e-5)
        first = S.unroll(net, frames, labels, torch.tensor([1, 2]), ahead, objects=1)
        assert torch.allclose(first, hand[:2].mean(), atol=1e-5)


def test_the_gradients_of_a_whole_clip_are_those_of_the_loop():
    net = tiny().train()
    frames, labels = torch.rand(1, 5, 3, 32, 48), torch.ones(1, 5, 32, 48, dtype=torch.long)
    labels[..., :20] = 0
    S.unroll(net, frames, labels, torch.tensor([1])).backward()
    got = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    by_hand(net, frames[0], labels[0].float(), 0).mean().backward()
    for name, p in net.named_parameters():
        assert (p.grad is None) == (name not in got)
        assert p.grad is None or torch.allclose(p.grad, got[name], atol=1e-5)


def test_frames_that_are_run_through_leave_no_gradient_with_the_initializer():
    net, frames, labels = tiny().train(), torch.rand(1, 5, 3, 32, 48), torch.ones(1, 5, 32, 48, dtype=torch.long)
    S.unroll(net, frames, labels, torch.tensor([1]), ahead=2).backward()
    assert net.initializer.write[0].weight.grad is None and net.fine.conv.weight.grad.abs().sum() > 0
    S.unroll(net, frames, labels, torch.tensor([1])).backward()
    assert net.initializer.write[0].weight.grad.abs().sum() > 0


def test_sharing_the_encoder_changes_only_how_often_a_frame_is_encoded(clip):
    results, counts = [], []
    for shared in (False, True):
        net, count = tiny(), []
        net.encoder.register_forward_hook(lambda *_, count=count: count.append(1))
        results.append(probabilities(S.S2S(net, shared), clip))
        counts.append(len(count))
    assert counts == [2 * (len(clip) - 1), len(clip) - 1]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_shared_encoder_forgets_the_last_frame(clip):
    """Equal content in a new tensor, or the same frames again, give the same: nothing is taken for another frame."""
    system = S.S2S(tiny(), shared=True)
    assert all(torch.equal(a, b) for a, b in zip(probabilities(system, clip), probabilities(system, clip), strict=True))
    system.start(clip.frame(0), clip.objects(0))
    first, second = system.step(clip.frame(1)), system.step(clip.frame(3))
    assert not torch.equal(first, second)


def test_a_students_cell_runs_inside(clip):
    calls = []

    class Own(ConvLSTMCell):
        def forward(self, x, state=None):
            calls.append(x.shape)
            return super().forward(x, state)

    own, library = (S.S2S(tiny(cell)) for cell in (Own, ConvLSTMCell))
    assert all(torch.equal(a, b) for a, b in zip(probabilities(own, clip), probabilities(library, clip), strict=True))
    assert len(calls) == 2 * 2 * (len(clip) - 1)  # levels, objects, frames


def test_clips_grow_from_3_frames_to_8():
    lengths = [S.length_at(step, 1000) for step in range(1000)]
    assert lengths[:200] == [3] * 200 and lengths[-200:] == [8] * 200 and lengths == sorted(lengths)
    assert set(lengths) == set(range(3, 9))


def test_the_recipe_asks_for_longer_clips_as_it_goes_on(monkeypatch):
    asked, real = [], S.windows
    monkeypatch.setattr(S, "windows", lambda *args: asked.append(args[-1]) or real(*args))
    recipe = S.recipe([Source("toy", [toy.clip(1, length=5, objects=2)], 1.0)], steps=100, batch=1, size=(96, 160),
                      backbone="tiny", hidden=(8, 16))
    for step in (0, 50, 96, 97, 98):
        again = [recipe.loss(step, np.random.default_rng([0, step])) for _ in range(2)]
        assert torch.isfinite(again[0]) and torch.equal(*again), "a step's batch depends on seed and step alone"
    assert asked[0] == 3 and 5 <= asked[2] <= 6 and min(asked[4:]) >= 8 and 8 < max(asked[4:]) <= 8 + S.AHEAD


def test_the_trunks_start_from_those_that_ship_and_the_file_will_fit():
    recipe = S.recipe([Source("toy", [toy.clip(1, length=4, objects=2)], 1.0)])
    from vos_teach import weights

    net, tracked, parent = recipe.model, weights.load("masktrack"), weights.load("osvos")
    assert torch.equal(net.initializer.trunk.stages[0][0].weight, tracked["trunk.stages.0.0.weight"])
    assert torch.equal(net.encoder.stages[0][0].weight, parent["trunk.stages.0.0.weight"])
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 3.9e6
    with pytest.raises(VosError, match="no 'trunk' that fits"):
        weights.load_part(net.encoder, "masktrack", "trunk")


@pytest.mark.slow
def test_a_few_steps_teach_it_to_go_where_the_mask_was():
    """Two objects of one toy clip: after little training each mask's prediction is nearer to its own object."""
    sources = [Source("toy", [toy.clip(s, length=6, objects=2, distractors=0) for s in range(3)], 1.0)]
    recipe = S.recipe(sources, steps=60, batch=4, size=(96, 160))
    optimizer = torch.optim.AdamW(recipe.groups)
    for step in range(30):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clip, system = sources[0].clips[0], S.S2S(recipe.model)
    said = probabilities(system, clip)[3].argmax(0)
    truth = [m for m in clip.objects(3)]
    iou = [[float((said == k + 1).logical_and(m).sum() / (said == k + 1).logical_or(m).sum()) for m in truth]
           for k in range(2)]
    assert iou[0][0] > iou[0][1] + 0.2 and iou[1][1] > iou[1][0] + 0.2, iou


def test_the_engine_runs_it_and_an_empty_mask_asks_for_nothing(clip):
    result = engine.run(S.S2S(tiny()), clip)
    assert len(result.masks) == len(clip)
    one = S.S2S(tiny())
    one.start(clip.frame(0), torch.zeros(1, *clip.size, dtype=torch.bool))
    assert (one.step(clip.frame(1)).argmax(0) == 0).all()


def test_bad_options_are_told_in_a_sentence():
    with pytest.raises(VosError, match="ships no weights"):
        S.s2s(scale="paper")
    with pytest.raises(VosError, match="choose from: trained, imagenet"):
        S.s2s(init="nothing")
    with pytest.raises(VosError, match="choose from: toy, small, paper"):
        S.s2s(scale="huge")
