"""STM: what each encoder sees, what memory holds, that the look is the formula's, training with own predictions."""

from dataclasses import replace

import numpy as np
import oracles.lookup as oracle
import pytest
import torch

from vos_teach import engine, weights
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.ops.affinity import dot_affinity, readout
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.transformers import memory_training as T
from vos_teach.transformers import stm as S

TINY = S.Config("tiny", "tiny", 8, 8, 8, weights=None)


def tiny(affinity=dot_affinity, read=readout):
    net = S.new_network(TINY, False, affinity, read).eval()
    with torch.no_grad():
        net.query_key.weight *= 20  # else a network that knows nothing looks everywhere alike
        net.memory_key.weight *= 20
    return net


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=8, objects=2, split="val")


def play(system, clip, masks=None):
    masks = clip.objects(0) if masks is None else masks
    return [system.start(clip.frame(0), masks)] + [system.step(clip.frame(t)) for t in range(1, len(clip))]


def batch(counts=(1, 2), length=4):
    """Two random clips with one object and two: frames, masks, rows."""
    generator = torch.Generator().manual_seed(0)
    frames, rows = torch.rand(2, length, 3, 32, 48, generator=generator), torch.tensor([0, 1, 1])
    truth = torch.zeros(3, length, 32, 48)
    truth[0, :, 4:20, 4:20], truth[1, :, 10:30, 2:12], truth[2, :, 3:15, 20:40] = 1, 1, 1
    return frames, truth, rows


def test_keys_and_values_hear_frame_mask_and_the_others():
    net, frame, rows = tiny(), torch.rand(1, 3, 32, 48), torch.zeros(1, dtype=torch.long)
    mask, none = torch.zeros(1, 32, 48), torch.zeros(1, 32, 48)
    mask[:, 8:24, 10:30] = 1
    with torch.no_grad():
        seen, other = net.query(frame), net.query(1 - frame)
        key, value = net.write(frame, mask, none, rows, seen)
        assert key.shape == (1, 8, 2, 3) and value.shape == (1, 8, 2, 3)
        for changed in (net.write(frame, none, none, rows, seen), net.write(frame, mask, mask, rows, seen),
                        net.write(1 - frame, mask, none, rows, other)):
            assert not torch.allclose(key, changed[0]) and not torch.allclose(value, changed[1])
        area = mask.reshape(1, 2, 16, 3, 16).mean((2, 4))
        assert torch.allclose(value[:, 6], 2 * area - 1) and (value[:, 7] == -1).all()


def test_objects_of_a_frame_share_what_stands_before_the_masks():
    net, frame = tiny(), torch.rand(2, 3, 32, 48)
    masks, rows = torch.rand(3, 32, 48), torch.tensor([0, 0, 1])
    with torch.no_grad():
        seen = net.query(frame)
        together = net.write(frame, masks, 1 - masks, rows, seen)
        for r, b in enumerate(rows.tolist()):
            one = net.write(frame[b : b + 1], masks[r : r + 1], 1 - masks[r : r + 1], torch.tensor([0]),
                            seen.part(slice(b, b + 1)))
            assert all(torch.allclose(x[r], y[0], atol=1e-5) for x, y in zip(together, one, strict=True))


def test_one_look_is_the_formula_for_each_object():
    """Every object's own keys and values, by the slow oracle; then the decoder."""
    net = tiny()
    mk, mv = torch.randn(2, 8, 12), torch.randn(2, 8, 12)
    with torch.no_grad():
        seen = net.query(torch.rand(1, 3, 32, 48))
        logits = net.segment([(mk, mv)], seen, torch.tensor([0, 0]))
        q = seen.key[0].flatten(1).double().numpy()
        read = np.stack([mv[k].double().numpy() @ oracle.affinity(mk[k].double().numpy(), q, "dot") for k in range(2)])
        by_hand = net.decoder(torch.from_numpy(read).float().reshape(2, 8, 2, 3), seen.value, seen.skips,
                              torch.tensor([0, 0]))
    assert logits.shape == (2, 32, 48) and torch.allclose(logits, by_hand, atol=1e-5)


def test_a_network_without_training_already_hands_the_mask_on(clip):
    """What is read of the mask is a coarse mask, and untrained keys of good features match: asked beats unasked."""
    system = S.stm(init="imagenet")
    for asked, other in ((1, 2), (2, 1)):
        system.start(clip.frame(0), clip.objects(0, [asked]))
        p = system.step(clip.frame(1))[1]
        mine, its = (p[m].mean() for m in clip.objects(1, [asked, other]))
        assert mine > its + 0.3


def test_frames_of_a_batch_do_not_mix():
    net, rows = tiny(), torch.tensor([0, 1, 1])
    memory = [(torch.randn(n, 8, 12), torch.randn(n, 8, 12)) for n in (1, 2)]
    with torch.no_grad():
        seen = net.query(torch.rand(2, 3, 32, 48))
        both = net.segment(memory, seen, rows)
        alone = [net.segment([memory[b]], seen.part(slice(b, b + 1)), torch.zeros(b + 1).long()) for b in range(2)]
    assert torch.allclose(both, torch.cat(alone), atol=1e-5)


def test_memory_holds_frame_0_every_fifth_and_the_one_before(clip):
    longer = toy.clip(2, length=13, objects=1, split="val")
    system, held = S.STM(tiny()), []
    system.start(longer.frame(0), longer.objects(0))
    for t in range(1, 13):
        held.append(system.bank.times)
        system.step(longer.frame(t))
    assert held[0] == (0,) and held[4] == (0, 4) and held[6] == (0, 5, 6) and held[11] == (0, 5, 10, 11)


def test_what_was_predicted_is_remembered_and_what_is_remembered_is_read(clip):
    system = S.STM(tiny())
    results = play(system, clip)
    last = system.bank.entries[-1]
    assert last.t == 7 and torch.equal(last.masks, results[7][1:]) and torch.equal(last.frame, clip.frame(7))
    with torch.no_grad():
        net = system.net
        seen, rows = net.query(last.frame[None]), torch.zeros(2).long()
        key, value = net.write(last.frame[None], last.masks, last.masks.flip(0), rows, seen)
    assert torch.allclose(key, last.key, atol=1e-5) and torch.allclose(value, last.value, atol=1e-5)
    told = S.STM(tiny())
    told.truth = clip.objects
    others = play(told, clip)
    assert torch.equal(results[1], others[1]) and not torch.allclose(results[3], others[3])
    assert torch.equal(told.bank.entries[-1].masks, clip.objects(7).float())


def test_a_clip_by_hand(clip):
    """Two frames, from the network's own parts."""
    net = tiny()
    system, masks = S.STM(net), clip.objects(0)
    system.start(clip.frame(0), masks)
    got = system.step(clip.frame(1))
    with torch.no_grad():
        rows, m = torch.zeros(2).long(), masks.float()
        first = net.query(clip.frame(0)[None])
        key, value = net.write(clip.frame(0)[None], m, m.flip(0), rows, first)
        logits = net.segment([(key.flatten(2), value.flatten(2))], net.query(clip.frame(1)[None]), rows)
    assert torch.allclose(got, soft_aggregate(torch.sigmoid(logits)), atol=1e-5)


def test_a_late_object_was_nowhere_in_the_frames_before(clip):
    system = S.STM(tiny(), policy="first+last")
    system.start(clip.frame(0), clip.objects(0, [1]))
    system.step(clip.frame(1))
    before = system.bank.entries[0].value.clone()
    system.step(clip.frame(2), clip.objects(2, [2]))
    assert system.bank.times == (0, 2)
    old, now = system.bank.entries
    assert now.given and old.value.shape[0] == 2 and torch.equal(old.value[:1], before)
    assert (old.value[1, -2] == -1).all(), "not there"
    assert (old.value[1, -1] > -1).any(), "but the other one was"
    for t in (3, 4):
        assert len(system.step(clip.frame(t))) == 3
    assert system.bank.times == (0, 2, 4), "a frame in which a mask was given stays"


def test_a_mask_that_is_given_beats_every_estimate(clip):
    net = tiny()
    with torch.no_grad():
        net.decoder.score.bias += 100  # sure that all is the first object's
    system, late = S.STM(net), clip.objects(2, [2])
    system.start(clip.frame(0), clip.objects(0, [1]))
    system.step(clip.frame(1))
    result = system.step(clip.frame(2), late)
    assert (result[2][late[0]] > 0.99).all() and (result[1][~late[0]] > 0.99).all()


def test_an_empty_mask_beside_a_full_one_changes_nothing_for_it(clip):
    masks = torch.cat([clip.objects(0, [1]), torch.zeros(1, *clip.size, dtype=torch.bool)])
    both, one = play(S.STM(tiny()), clip, masks), play(S.STM(tiny()), clip, masks[:1])
    for a, b in zip(both, one, strict=True):
        assert torch.allclose(a[:2], b, atol=1e-4) and a[2].max() < 1e-4


def test_students_operators_run_inside(clip):
    calls = []

    def own(mk, qk):
        calls.append(mk.shape)
        return dot_affinity(mk, qk)

    def uniform(mk, qk):
        return torch.full((*mk.shape[:-2], mk.shape[-1], qk.shape[-1]), 1 / mk.shape[-1])

    plain = play(S.STM(tiny()), clip)
    assert all(torch.equal(a, b) for a, b in zip(plain, play(S.STM(tiny(own)), clip), strict=True))
    assert calls[0] == (2, 8, 60) and calls[6] == (2, 8, 180)
    assert not torch.allclose(plain[1], play(S.STM(tiny(uniform)), clip)[1])
    hard = play(S.STM(tiny(), aggregate=lambda p: torch.cat([1 - p.amax(0, keepdim=True), p])), clip)
    assert not torch.allclose(plain[1], hard[1])
    own_rule = play(S.STM(tiny(), policy=lambda t: [0]), clip)
    assert all(torch.equal(a, b) for a, b in zip(own_rule, play(S.STM(tiny(), policy="first"), clip), strict=True))


# ---- training

def by_hand(net, frames, truth, memory):
    """One clip, a frame at a time: the loss that `unroll` is to give for it, frame by frame, and the predictions."""
    written, losses, masks, rows = [], [], truth[:, 0], torch.zeros(len(truth)).long()
    for t in range(1, frames.shape[1]):
        before = frames[:, t - 1]
        total = masks.sum(0, keepdim=True)
        written.append(net.write(before, masks, total - masks, rows, net.query(before)))
        key, value = (torch.cat([written[s][i].flatten(2) for s in memory[t - 1]], -1) for i in range(2))
        logits = net.segment([(key, value)], net.query(frames[:, t]), rows)
        masks = soft_aggregate(torch.sigmoid(logits))[1:].detach()
        losses.append((logits, soft_aggregate(torch.sigmoid(logits))[1:]))
    return losses


@pytest.mark.parametrize("memory", [[[0], [0, 1], [0, 1, 2]], [[0], [0], [0, 2]]])
def test_unroll_follows_every_object_of_every_clip_with_its_own_predictions_in_memory(memory):
    net = tiny()
    frames, truth, rows = batch()
    with torch.no_grad():
        got = T.unroll(net, frames, truth, rows, memory)
        hand = [by_hand(net, frames[b : b + 1], truth[rows == b], memory) for b in range(2)]
        expected = torch.stack([T.objective(torch.cat([hand[b][t][0] for b in range(2)]),
                                            torch.cat([hand[b][t][1] for b in range(2)]), truth[:, t + 1])
                                for t in range(3)]).mean()
        assert torch.allclose(got, expected, atol=1e-5)
        other = truth.clone()
        other[:, 1] = 1 - other[:, 1]  # another truth in the middle
        changed = T.unroll(net, frames, other, rows, memory) - got
        middle = T.objective(*(torch.cat([hand[b][0][i] for b in range(2)]) for i in range(2)), other[:, 1])
        first = T.objective(*(torch.cat([hand[b][0][i] for b in range(2)]) for i in range(2)), truth[:, 1])
    assert torch.allclose(changed, (middle - first) / 3, atol=1e-5), "the truth of frame 1 reached a later frame"


def test_the_loss_reaches_both_encoders_and_not_the_frozen_stage():
    net = tiny().train()
    T.unroll(net, *batch(), [[0], [0, 1], [0, 1, 2]]).backward()
    for part in (net.writer.masks, net.memory_key, net.memory_value, net.query_key, net.query_value, net.decoder.score,
                 net.encoder.stages[1], net.writer.trunk.stages[3]):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert all(p.grad is None for p in net.encoder.stages[0].parameters())


def test_what_is_not_shown_counts_by_cross_entropy_alone():
    logits, truth = torch.randn(3, 4, 4), torch.zeros(3, 4, 4)
    truth[0, 1] = 1
    merged = torch.sigmoid(logits)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
    both, either = (merged[0] * truth[0]).sum(), (merged[0] + truth[0] - merged[0] * truth[0]).sum()
    assert torch.isclose(T.objective(logits, merged, truth), entropy + 1 - both / either)
    assert torch.isclose(T.objective(logits[1:], merged[1:], truth[1:]),
                         torch.nn.functional.softplus(logits[1:]).mean())


@pytest.mark.slow
def test_the_small_network_starts_from_osvos_and_its_file_will_fit():
    """Alike pixels are alike in both encoders from the first step on: without masks both give the same keys."""
    recipe = S.recipe([Source("toy", [toy.clip(1, length=4, objects=2)], 1.0)])
    net, parent = recipe.model, weights.load("osvos")
    for trunk in (net.encoder, net.writer.trunk):
        assert torch.equal(trunk.stages[3][0][0].conv_dw.weight, parent["trunk.stages.3.0.0.conv_dw.weight"])
    assert net.writer.trunk.stages[0] is net.encoder.stages[0]
    assert not any(p.requires_grad for p in net.encoder.stages[0].parameters())
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 3.9e6
    frame, none = torch.rand(1, 3, 64, 96), torch.zeros(1, 64, 96)
    with torch.no_grad():
        seen = net.query(frame)
        key, _ = net.write(frame, none, none, torch.tensor([0]), seen)
    assert torch.allclose(key, seen.key, atol=1e-3)
    rated = {id(p): group["lr"] for group in recipe.groups for p in group["params"]}
    assert rated[id(net.query_key.weight)] == rated[id(net.memory_key.weight)] == 2e-4
    assert rated[id(net.writer.masks.weight)] == rated[id(net.decoder.score.weight)] == 1e-3
    trained = {id(p) for p in net.parameters() if p.requires_grad}
    assert trained <= rated.keys()


def test_a_step_depends_on_seed_and_step_alone_and_stills_come_first(monkeypatch):
    asked = []
    for name in ("windows", "stills_clips"):
        real = getattr(T, name)
        monkeypatch.setattr(T, name, lambda *a, real=real, name=name: asked.append((name, *a[4:])) or real(*a))
    sources = [Source("toy", [toy.clip(s, length=5, objects=2) for s in (1, 2)], 1.0)]
    small = dict(backbone="tiny", writer="tiny", key=8, value=8, query=8)
    recipe = S.recipe(sources, steps=100, batch=1, size=(96, 160), **small)
    for step in (0, 40, 90):
        again = [recipe.loss(step, np.random.default_rng([0, step])) for _ in range(2)]
        assert torch.isfinite(again[0]) and torch.equal(*again)
    assert asked[::2] == [("stills_clips", 3), ("windows", 3, 4), ("windows", 4, T.NEAR)]


@pytest.mark.acceptance  # a minute each
def test_a_few_steps_teach_it_which_object_is_asked_for():
    """Two objects of toy clips: after little training each one's mask is nearer to its own object than to the other."""
    sources = [Source("toy", [toy.clip(s, length=6, objects=2, distractors=0) for s in range(3)], 1.0)]
    recipe = S.recipe(sources, steps=40, batch=2, size=(96, 160))
    optimizer = torch.optim.AdamW(recipe.groups)
    for step in range(40):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clip = sources[0].clips[0]
    for asked, unasked in ((1, 2), (2, 1)):
        said = play(S.STM(recipe.model), clip, clip.objects(0, [asked]))[3].argmax(0) == 1
        iou = [float((said & m).sum() / (said | m).sum()) for m in clip.objects(3, [asked, unasked])]
        assert iou[0] > iou[1] + 0.2, iou


def test_the_engine_runs_it_and_an_empty_mask_asks_for_nothing(clip):
    assert len(engine.run(S.STM(tiny()), clip, height=64).masks) == len(clip)
    system = S.STM(tiny())
    system.start(clip.frame(0), torch.zeros(1, *clip.size, dtype=torch.bool))
    assert (system.step(clip.frame(1)).argmax(0) == 0).all()


def test_bad_options_are_told_in_a_sentence():
    with pytest.raises(VosError, match="ships no weights"):
        S.stm(scale="paper")
    with pytest.raises(VosError, match="choose from: trained, imagenet"):
        S.stm(init="nothing")
    with pytest.raises(VosError, match="choose from: toy, small, paper"):
        S.stm(scale="huge")
    with pytest.raises(VosError, match="policy is 'newest'"):
        S.stm(init="imagenet", policy="newest", backbone="tiny", writer="tiny")


def test_two_decoders_one_interface():
    """The paper's, small: stride 4, a score for each of background and foreground."""
    config = replace(TINY, widths=(12, 8, 8), backbone="resnet18", writer="resnet18", kernel=3)
    net = S.new_network(config, False).eval()
    system = S.STM(net)
    frame, mask = torch.rand(3, 64, 96), torch.zeros(1, 64, 96, dtype=torch.bool)
    mask[:, 10:40, 10:60] = True
    system.start(frame, mask)
    result = system.step(frame)
    assert result.shape == (2, 64, 96) and torch.allclose(result.sum(0), torch.ones(64, 96), atol=1e-5)
    assert net.decoder.score.weight.shape[0] == 2 and system.bank.entries[0].value.shape == (1, 8, 4, 6)
