"""OSVOS: the network's algebra, the fine-tuning loop, one network per object."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vos_teach import engine, registry
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source, stills
from vos_teach.metrics import jaccard
from vos_teach.online_learning import osvos as O

TINY = O.Config(backbone="tiny", steps=4)


def tiny():
    return O.new_network("tiny", False)


def test_fusing_before_upsampling_equals_the_papers_order():
    """The paper upsamples 16 channels, concatenates, then applies the 1x1 convolution."""
    net, x = tiny(), torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        maps = [conv(f) for conv, f in zip(net.prepare, net.trunk(x), strict=True)]
        ups = [F.interpolate(m, (32, 48), mode="bilinear", align_corners=False) for m in maps]
        assert torch.allclose(net(x), net.fuse(torch.cat(ups, 1))[:, 0], atol=1e-5)


def test_side_outputs_are_one_per_stage_and_leave_the_logit_alone():
    net, x = tiny(), torch.rand(1, 3, 32, 48)
    logit, sides = net(x, sides=True)
    assert torch.equal(logit, net(x)) and len(sides) == 4 and all(s.shape == (1, 32, 48) for s in sides)


def test_finetuning_takes_the_steps_it_was_given_and_leaves_the_parent_alone():
    parent, clip = tiny(), toy.clip(1, length=2, split="val")
    before = {k: v.clone() for k, v in parent.state_dict().items()}
    one = O.OneFrame(parent, TINY)
    one.start(clip.frame(0), clip.objects(0))
    assert one.steps == 4 and one.finetune_seconds > 0
    assert all(torch.equal(v, before[k]) for k, v in parent.state_dict().items())
    assert any(not torch.equal(v, before[k]) for k, v in one.net.state_dict().items())


def test_seconds_are_a_budget_too():
    clip = toy.clip(1, length=2, split="val")
    one = O.OneFrame(tiny(), replace(TINY, steps=None, seconds=0.5))
    one.start(clip.frame(0), clip.objects(0))
    assert one.steps > 0 and 0.4 < one.finetune_seconds < 5


def test_a_budget_must_be_given():
    with pytest.raises(VosError, match="steps or seconds"):
        O.finetune(tiny(), np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.uint8), np.random.default_rng(0),
                   replace(TINY, steps=None))


def test_finetuning_fits_the_first_frame():
    clip = toy.clip(3, length=2, split="val")
    net, frame, mask = O.new_network("lite0", True), clip.frames[0], (clip.masks[0] == 1).astype(np.uint8)
    O.finetune(net, frame, mask, np.random.default_rng(0), replace(TINY, backbone="lite0", steps=25))
    with torch.no_grad():
        pred = net(clip.frame(0)[None])[0] > 0
    assert jaccard(pred[None].numpy(), mask[None] > 0)[0] > 0.6


def test_a_students_loss_is_the_one_that_is_used():
    calls = []

    def mine(logits, target):
        calls.append((tuple(logits.shape), target.dtype))
        return (logits**2).mean()

    clip = toy.clip(1, length=2, split="val")
    system = O.OSVOS(tiny(), TINY, loss=mine)
    engine.run(system, clip)
    assert len(calls) == 4 and calls[0][0] == (1, *clip.size)


def test_objects_get_networks_of_their_own():
    clip = toy.clip(2, length=3, objects=2, split="val")
    system = O.OSVOS(tiny(), TINY)
    engine.run(system, clip)
    a, b = (copy.net.state_dict() for copy in system.copies)
    assert any(not torch.equal(a[k], b[k]) for k in a)


def test_an_empty_mask_is_not_learnt_from():
    one = O.OneFrame(tiny(), TINY)
    one.start(torch.rand(3, 32, 32), torch.zeros(1, 32, 32, dtype=torch.bool))
    assert one.steps == 0 and one.net is None


def test_the_shipped_parent_tuned_a_little_beats_copying_the_first_mask():
    clip = toy.suite()[0]
    score = {}
    for name, options in (("copy-first", {}), ("osvos", {"steps": 25})):
        masks = engine.run(registry.make(name, scale="toy", **options), clip).masks
        score[name] = np.mean([jaccard([masks[t] == 1], [clip.masks[t] == 1])[0] for t in range(1, len(clip) - 1)])
    assert score["osvos"] > score["copy-first"] + 0.1, score


def test_mask_blind_gives_the_same_answer_whatever_is_asked():
    clip = toy.clip(4, length=2, objects=2, split="val")
    blind = registry.make("mask-blind")
    frames, out = [clip.frame(0), clip.frame(1)], []
    for k in clip.ids:
        blind.start(frames[0], clip.objects(0, [k]))
        out.append(blind.step(frames[1]))
    assert torch.equal(*out)


@pytest.mark.parametrize("bad", [{"scale": "huge"}, {"init": "magic"}, {"weights": "no/such.file"}, {"scale": "paper"}])
def test_bad_options_are_said_in_a_sentence(bad):
    with pytest.raises(VosError):
        registry.make("osvos", **bad)


def test_unknown_options_are_refused_by_name():
    with pytest.raises(VosError, match="stepz"):
        registry.make("osvos", stepz=3)


def test_parent_batches_come_from_one_source_and_hold_an_object():
    sources = [Source("toy", toy.training(3), 1.0)]
    rng = np.random.default_rng(0)
    image, target = stills(sources, rng, 1, (224, 384))
    assert image.shape[1:] == (3, 96, 160) and len(image) == 224 * 384 // (96 * 160)
    assert target.any((1, 2)).all() and set(target.unique().tolist()) == {0, 1}
    assert torch.equal(image, stills(sources, np.random.default_rng(0), 1, (224, 384))[0]), "the seed decides"
