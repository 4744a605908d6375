"""STCN: keys that know no masks, one affinity for all objects, by distance, the top_k alone; bounded; both trained."""

import time

import numpy as np
import oracles.lookup as oracle
import pytest
import torch

from vos_teach import engine, weights
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.ops.affinity import dot_affinity, l2_affinity, readout
from vos_teach.transformers import memory_training as T
from vos_teach.transformers import stcn as S
from vos_teach.transformers import stm

TINY = stm.Config("tiny", "light", 8, 8, 8, weights=None)


def tiny(affinity=l2_affinity, read=readout):
    net = S.new_network(TINY, False, affinity, read).eval()
    with torch.no_grad():
        net.query_key.weight *= 50  # else a network that knows nothing looks everywhere alike
    return net


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=8, objects=2, split="val")


def play(system, clip, masks=None):
    masks = clip.objects(0) if masks is None else masks
    return [system.start(clip.frame(0), masks)] + [system.step(clip.frame(t)) for t in range(1, len(clip))]


def test_keys_are_of_the_frame_and_values_of_the_masks_too():
    net, frame, rows = tiny(), torch.rand(1, 3, 32, 48), torch.tensor([0, 0])
    masks, none = torch.rand(2, 32, 48), torch.zeros(2, 32, 48)
    with torch.no_grad():
        seen = net.query(frame)
        key, value = net.write(frame, masks, none, rows, seen)
        assert torch.equal(key, seen.key) and value.shape == (2, 8, 2, 3)
        assert not torch.allclose(value[0], value[1])
        for changed in (net.write(frame, masks, masks, rows, seen),
                        net.write(1 - frame, masks, none, rows, net.query(1 - frame)),
                        net.write(frame, masks, none, rows, seen._replace(deep=seen.deep + 1))):
            assert not torch.allclose(value, changed[1])
    assert not hasattr(net, "memory_key")


def test_one_affinity_serves_all_objects(clip):
    """N x M once a frame, whatever K; STM's is K x N x M."""
    for count in (1, 2):
        shapes = []

        def own(mk, qk, shapes=shapes):
            out = l2_affinity(mk, qk)
            shapes.append(tuple(out.shape))
            return out

        play(S.STCN(tiny(own)), clip, clip.objects(0)[:count])
        assert shapes == [(60, 60)] * 5 + [(120, 60)] * 2


@pytest.mark.parametrize("kind, affinity", [("l2", l2_affinity), ("dot", dot_affinity)])
def test_one_look_is_the_formula_of_the_top_k(kind, affinity):
    net = S.STCN(tiny(affinity), top_k=5).net
    mk, mv = torch.randn(8, 12), torch.randn(3, 8, 12)
    with torch.no_grad():
        seen = net.query(torch.rand(1, 3, 32, 48))
        logits = net.segment([(mk, mv)], seen, torch.tensor([0, 0, 0]))
        a = oracle.affinity(mk.double().numpy(), seen.key[0].flatten(1).double().numpy(), kind, 5)
        read = torch.from_numpy(mv.double().numpy() @ a).float().reshape(3, 8, 2, 3)
        by_hand = net.decoder(read, seen.value, seen.skips, torch.tensor([0, 0, 0]))
    assert torch.allclose(logits, by_hand, atol=1e-5)


def test_a_students_own_top_k_is_asked_for(clip):
    calls = []

    def own(mk, qk, top_k=None):
        calls.append(top_k)
        return l2_affinity(mk, qk, top_k)

    own_results, plain = play(S.STCN(tiny(own)), clip), play(S.STCN(tiny()), clip)
    assert set(calls) == {20} and all(torch.equal(a, b) for a, b in zip(own_results, plain, strict=True))
    bare = play(S.STCN(tiny(lambda mk, qk: l2_affinity(mk, qk))), clip)  # without: the strongest are kept for it
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(bare, plain, strict=True))
    assert not torch.allclose(play(S.STCN(tiny(), top_k=None), clip)[3], plain[3])


def test_every_fifth_frame_and_never_the_one_before(clip):
    longer = toy.clip(2, length=13, objects=1, split="val")
    system, held = S.STCN(tiny()), []
    system.start(longer.frame(0), longer.objects(0))
    for t in range(1, 13):
        held.append(system.bank.times)
        system.step(longer.frame(t))
    assert held[4] == (0,) and held[5] == (0, 5) and held[11] == (0, 5, 10)


def test_memory_is_bounded_but_at_the_papers_scale():
    for module, build, writer, bound in ((S, S.stcn, "light", 8), (S.stm, S.stm.stm, "tiny", 16)):
        options = {"init": "imagenet", "backbone": "tiny", "writer": writer}
        assert build(**options).limit == bound and module.SCALES["paper"].limit is None
        assert build(**options, limit=None).limit is None


def test_a_long_video_costs_no_more_than_a_short_one(clip):
    system = S.STCN(tiny(), policy="first+every", limit=3)
    system.start(clip.frame(0), clip.objects(0))
    sizes = []
    for t in range(1, 60):
        system.step(clip.frame(t % len(clip)))
        sizes.append(system.bank.read()[0].shape[-1])
    assert max(sizes) == 3 * 60 and system.bank.times == (0, 50, 55)


def test_a_frame_is_encoded_once_and_written_only_when_it_is_kept(clip):
    net, counts = tiny(), {"encoder": 0, "writer": 0}
    for name in counts:
        getattr(net, name).register_forward_hook(lambda *_, name=name: counts.update({name: counts[name] + 1}))
    play(S.STCN(net), clip)
    assert counts == {"encoder": len(clip), "writer": 2}


def test_a_late_object_was_nowhere_in_the_frames_before(clip):
    system = S.STCN(tiny())
    system.start(clip.frame(0), clip.objects(0, [1]))
    system.step(clip.frame(1))
    before = system.bank.entries[0]
    key, value = before.key.clone(), before.value.clone()
    system.step(clip.frame(2), clip.objects(2, [2]))
    old, now = system.bank.entries
    assert system.bank.times == (0, 2) and torch.equal(old.key, key) and torch.equal(old.value[:1], value)
    assert (old.value[1, -2] == -1).all() and (old.value[1, -1] > -1).any() and now.value.shape[0] == 2
    assert len(system.step(clip.frame(3))) == 3


def test_unroll_by_hand():
    """Keys of a clip's frames, values of each of its objects; one affinity a frame."""
    shapes = []

    def own(mk, qk):
        shapes.append(tuple(mk.shape))
        return l2_affinity(mk, qk)

    net = tiny(own).train()
    frames, rows = torch.rand(2, 3, 3, 32, 48), torch.tensor([0, 1, 1])
    truth = torch.zeros(3, 3, 32, 48)
    truth[0, :, 4:20, 4:20], truth[1, :, 10:30, 2:12], truth[2, :, 3:15, 20:40] = 1, 1, 1
    got = T.unroll(net, frames, truth, rows, [[0], [0, 1]])
    assert shapes == [(8, 6)] * 2 + [(8, 12)] * 2
    masks = truth[1:, 0]
    with torch.no_grad():  # the second clip
        written, parts = [], []
        for t in (1, 2):
            before, zero = frames[1:, t - 1], torch.zeros(2).long()
            written.append(net.write(before, masks, masks.flip(0), zero, net.query(before)))
            bank = (torch.cat([k[0].flatten(1) for k, _ in written], -1),
                    torch.cat([v.flatten(2) for _, v in written], -1))
            parts.append(net.segment([bank], net.query(frames[1:, t]), zero))
            masks = T.soft_aggregate(torch.sigmoid(parts[-1]))[1:]
        alone = T.unroll(net, frames[1:], truth[1:], torch.tensor([0, 0]), [[0], [0, 1]])
        hand = torch.stack([T.objective(x, T.soft_aggregate(torch.sigmoid(x))[1:], truth[1:, t + 1])
                            for t, x in enumerate(parts)]).mean()
    assert torch.allclose(alone, hand, atol=1e-5) and torch.isfinite(got)
    got.backward()
    for part in (net.query_key, net.fuse, net.writer.masks, net.writer.trunk.stages[1], net.decoder.score):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_dot_and_distance_are_trained_alike_and_each_with_its_own():
    sources = [Source("toy", [toy.clip(s, length=5, objects=2) for s in (1, 2)], 1.0)]
    small = dict(steps=100, batch=1, size=(96, 160), backbone="tiny", key=8, value=8, query=8)
    one, other = S.recipe(sources, **small), S.recipe_dot(sources, **small)
    assert one.model.affinity is l2_affinity and other.model.affinity is dot_affinity
    assert one.model.top_k is None, "all of memory counts in training"
    assert all(torch.equal(a, b) for a, b in zip(one.model.state_dict().values(), other.model.state_dict().values(),
                                                 strict=True))
    assert [g["lr"] for g in one.groups] == [g["lr"] for g in other.groups] and one.about != other.about
    with torch.no_grad():
        for r in (one, other):
            r.model.query_key.weight *= 50
    losses = [r.loss(50, np.random.default_rng([0, 50])) for r in (one, one, other)]
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])


@pytest.mark.slow
def test_the_small_network_starts_from_stm_and_its_file_will_fit(tmp_path):
    source = [Source("toy", [toy.clip(1, length=4, objects=2)], 1.0)]
    older = stm.new_network(stm.SCALES["small"], False)
    with torch.no_grad():
        older.decoder.score.bias.fill_(0.5)
    weights.save(older, tmp_path / "stm.safetensors")
    net = S.recipe(source, start=str(tmp_path / "stm.safetensors")).model
    assert net.decoder.score.bias.item() == 0.5 and net.encoder.stages[0] is net.writer.trunk.stages[0]
    assert torch.allclose(net.encoder.stages[3][0][0].conv_dw.weight, older.encoder.stages[3][0][0].conv_dw.weight,
                          atol=1e-3)
    parent = S.recipe(source, start=None).model
    assert torch.equal(parent.encoder.stages[3][0][0].conv_dw.weight,
                       weights.load("osvos")["trunk.stages.3.0.0.conv_dw.weight"])
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 3.9e6


@pytest.mark.acceptance  # a minute each
@pytest.mark.parametrize("affinity", [l2_affinity, dot_affinity])
def test_a_few_steps_teach_it_which_object_is_asked_for(affinity):
    """Two objects of toy clips: after little training each one's mask is nearer to its own object than to the other."""
    sources = [Source("toy", [toy.clip(s, length=6, objects=2, distractors=0) for s in range(3)], 1.0)]
    recipe = S.recipe(sources, steps=40, batch=2, size=(96, 160), start=None, affinity=affinity)
    optimizer = torch.optim.AdamW(recipe.groups)
    for step in range(40):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clip = sources[0].clips[0]
    for asked, unasked in ((1, 2), (2, 1)):
        said = play(S.STCN(recipe.model), clip, clip.objects(0, [asked]))[3].argmax(0) == 1
        iou = [float((said & m).sum() / (said | m).sum()) for m in clip.objects(3, [asked, unasked])]
        assert iou[0] > iou[1] + 0.2, iou


def timed(systems, frames, masks, repeats=5):
    """Seconds a frame of each system on a clip. In turns, frame by frame; of each the quickest of some repeats."""
    took = np.full((repeats, len(frames) - 1, len(systems)), np.inf)
    for r in range(repeats):
        for system in systems:
            system.start(frames[0], masks)
        for t, frame in enumerate(frames[1:]):
            for i, system in enumerate(systems):
                begin = time.perf_counter()
                system.step(frame)
                took[r, t, i] = time.perf_counter() - begin
    return took.min(0).mean(0)


@pytest.mark.acceptance
def test_what_it_costs():
    """At 240 lines, 60 frames, one run: at most 0.7 of STM's time with 5 objects, 2.5 times the backbone's with 1."""
    nets = [S.stcn(init="imagenet"), stm.stm(init="imagenet")]
    frames = torch.rand(60, 3, 240, 432)
    masks = torch.zeros(5, 240, 432, dtype=torch.bool)
    for k in range(5):
        masks[k, 40 * k : 40 * k + 40, 60 * k + 20 : 60 * k + 90] = True
    new, old = timed(nets, frames, masks)
    print(f"5 objects: STCN {new:.4f} s, STM {old:.4f} s")
    assert new <= 0.7 * old, (new, old)
    encoder = nets[0].net.encoder

    class Alone:
        def start(self, *_):
            pass

        def step(self, frame):
            with torch.no_grad():
                encoder(frame[None])

    new, trunk = timed([nets[0], Alone()], frames, masks[:1])
    print(f"1 object: STCN {new:.4f} s, backbone {trunk:.4f} s")
    assert new <= 2.5 * trunk, (new, trunk)


def test_the_engine_runs_it_and_an_empty_mask_asks_for_nothing(clip):
    assert len(engine.run(S.STCN(tiny()), clip, height=64).masks) == len(clip)
    system = S.STCN(tiny())
    system.start(clip.frame(0), torch.zeros(1, *clip.size, dtype=torch.bool))
    assert (system.step(clip.frame(1)).argmax(0) == 0).all()


def test_bad_options_are_told_in_a_sentence():
    for build in (S.stcn, S.stcn_dot):
        with pytest.raises(VosError, match="ships no weights"):
            build(scale="paper")
        with pytest.raises(VosError, match="choose from: trained, imagenet"):
            build(init="nothing")
    with pytest.raises(VosError, match="limit is 0"):
        S.stcn(init="imagenet", limit=0, backbone="tiny")
