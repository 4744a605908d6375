"""OnAVOS: what it learns from, when it does not, and that frame 0 is kept in the mixture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vos_teach import engine, registry
from vos_teach.clip import Clip, VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.online_learning import onavos as A
from vos_teach.online_learning import osvos as O
from vos_teach.ops.losses import balanced_bce, bootstrapped_ce

TINY = A.Config(backbone="tiny", steps=2, adapt_steps=6, current_every=5)


def tiny():
    return O.new_network("tiny", False)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return toy.clip(3, length=4, split="val")


def begun(clip, config=TINY, **options):
    one = A.Adapting(tiny(), config, **options)
    one.start(clip.frame(0), clip.objects(0)[:1])
    return one


def state(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_the_loss_of_one_logit_is_that_of_two_classes():
    logit, target = torch.randn(2, 5, 7).double(), torch.tensor([0, 1, 255])[torch.randint(0, 3, (2, 5, 7))]
    p = torch.sigmoid(logit)
    slow = torch.where(target == 1, -p.log(), -(1 - p).log())
    hard = [slow[b][target[b] != 255].sort(descending=True).values for b in range(2)]
    mean = sum(h[: -(-len(h) // 4)].mean() for h in hard) / 2
    assert torch.isclose(A.hardest(logit, target), mean)
    assert torch.isclose(A.hardest(logit[0], target[0]), hard[0][: -(-len(hard[0]) // 4)].mean())


def test_adaptation_learns_from_the_frame_and_starts_from_osvos(clip):
    one, plain = begun(clip, loss=balanced_bce), O.OneFrame(tiny(), TINY)
    plain.start(clip.frame(0), clip.objects(0)[:1])
    before = state(one.net)
    assert same(before, state(plain.net)), "frame 0 is learnt as in OSVOS, draw for draw"
    one.step(clip.frame(1))
    assert not same(before, state(one.net))


def test_the_mixture_of_frames_and_the_weight_of_the_current_one(clip, monkeypatch):
    """6 steps: the current frame, as it lies, at steps 0 and 5; frame 0, changed at random, at the others."""
    seen = []
    one = begun(clip, loss=lambda z, y: seen.append(("first", y.clone())) or balanced_bce(z, y))
    monkeypatch.setattr(A, "hardest", lambda z, y: seen.append(("now", y.clone())) or z.mean())
    seen.clear()
    one.step(clip.frame(1))
    assert [who for who, _ in seen] == ["now", "first", "first", "first", "first", "now"]
    assert torch.equal(seen[0][1][0], one.targets) and not torch.equal(seen[1][1], seen[2][1])
    assert set(seen[1][1].unique().tolist()) == {0, 1}


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_weight_scales_the_current_frames_gradient(clip, weight):
    """With one step, on the current frame alone; Adam hides a gradient's size, so the gradient itself is looked at."""
    one = begun(clip, replace(TINY, adapt_steps=1, current_weight=weight))
    full = begun(clip, replace(TINY, adapt_steps=1, current_weight=1.0))
    for each in (one, full):
        each.step(clip.frame(1))
    for mine, whole in zip(one.net.parameters(), full.net.parameters(), strict=True):
        if whole.grad is not None:
            assert torch.allclose(mine.grad, weight * whole.grad, atol=1e-7)


def test_the_target_comes_from_the_network_before_and_the_answer_from_after(clip):
    calls = []

    def mine(prob, last_mask):
        calls.append((prob.clone(), last_mask.clone()))
        target = torch.full(prob.shape, 255)
        target[:, :50] = 0
        target[:, 100:] = 1
        return target

    one = begun(clip, online_targets=mine)
    with torch.no_grad():
        before = torch.sigmoid(one.net(clip.frame(1)[None])[0])
    first = one.step(clip.frame(1))[1]
    with torch.no_grad():
        after = torch.sigmoid(one.net(clip.frame(1)[None])[0])
    assert torch.equal(calls[0][0], before) and torch.equal(calls[0][1], clip.objects(0)[0])
    assert not first[:, :50].any(), "negatives are cut away"
    assert torch.allclose(first[:, 50:], after[:, 50:], atol=1e-6) and not torch.allclose(before, after, atol=1e-4)
    one.step(clip.frame(2))
    assert torch.equal(calls[1][1], first > 0.5), "the last mask is the last answer, already cut"


def test_a_lost_object_teaches_nothing_and_may_come_back(clip):
    one = begun(clip)
    one.last_mask = torch.zeros(clip.size, dtype=torch.bool)
    before = state(one.net)
    with torch.no_grad():
        p = torch.sigmoid(one.net(clip.frame(1)[None])[0])
    assert torch.equal(one.step(clip.frame(1))[1], p), "nothing is cut away"
    assert same(before, state(one.net)) and torch.equal(one.last_mask, p > 0.5)


def test_far_answers_are_cut_even_without_learning(clip):
    one = begun(clip, replace(TINY, adapt_steps=0))
    before = state(one.net)
    one.last_mask = torch.zeros(clip.size, dtype=torch.bool)
    one.last_mask[:16, :16] = True
    p = one.step(clip.frame(1))[1]
    assert same(before, state(one.net)) and not p[:, 80:].any() and p[:16, :16].all()


def test_adaptation_is_counted_as_finetuning(clip):
    one = begun(clip)
    tuned = one.finetune_seconds
    one.step(clip.frame(1))
    assert one.finetune_seconds > tuned and one.steps == 2, "the steps of frame 0's budget alone"
    system = A.OnAVOS(tiny(), TINY)
    result = engine.run(system, clip)
    assert 0 < result.finetune_seconds <= result.start_seconds + sum(result.step_seconds)
    assert result.finetune_seconds > system.copies[0].finetune_seconds or len(clip.ids) == 1


def test_neither_the_parent_nor_the_inputs_are_changed(clip):
    parent = tiny()
    before, frame, masks = state(parent), clip.frame(0), clip.objects(0)[:1]
    kept = frame.clone(), masks.clone()
    one = A.Adapting(parent, TINY)
    one.start(frame, masks)
    one.step(clip.frame(1))
    assert same(before, state(parent)) and torch.equal(frame, kept[0]) and torch.equal(masks, kept[1])


def test_the_seed_decides_what_is_drawn_while_adapting(clip):
    nets = []
    for seed in (0, 0, 1):
        one = A.Adapting(tiny(), replace(TINY, steps=0))
        one.seed = seed
        one.start(clip.frame(0), clip.objects(0)[:1])
        one.step(clip.frame(1))
        nets.append(state(one.net))
    assert same(nets[0], nets[1]) and not same(nets[0], nets[2])


def test_a_students_rule_reaches_the_system_by_the_registry(clip):
    calls = []

    def mine(prob, last_mask):
        calls.append(prob.shape)
        return torch.full(prob.shape, 255)

    system = registry.make("onavos", scale="toy", steps=1, online_targets=mine)
    engine.run(system, clip.cut(0, 3))
    assert calls == [clip.size] * 2


def test_the_recipe_trains_with_the_bootstrapped_loss():
    made = A.recipe([Source("toy", toy.training(3), 1.0)], steps=10, batch=1, size=(96, 160))
    whole, late = (made.loss(step, np.random.default_rng(0)) for step in (0, 10))
    assert late.requires_grad and 0 < late < whole, "the side outputs fade"
    image, target = A.stills([Source("toy", toy.training(3), 1.0)], np.random.default_rng(0), 1, (96, 160))
    with torch.no_grad():
        logit = made.model(image)
    two = torch.stack([torch.zeros_like(logit), logit], 1)
    assert torch.isclose(late, bootstrapped_ce(two, target, 0.25), atol=1e-5)


@pytest.mark.parametrize("bad", [{"scale": "huge"}, {"adapt_steps": -1}, {"current_every": 0}, {"weights": "no.file"}])
def test_bad_options_are_said_in_a_sentence(bad):
    with pytest.raises(VosError):
        registry.make("onavos", **bad)


