"""OSMN: modulation starts as the identity, the look is taken once, the place follows the last mask."""

import numpy as np
import pytest
import torch

from vos_teach import engine, registry
from vos_teach.clip import Clip, VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source, crowded, pairs
from vos_teach.metrics import jaccard
from vos_teach.online_learning import osmn as M
from vos_teach.ops.modulate import mask_gaussian


def tiny():
    return M.new_network("tiny", False)


def awake(net):
    """The same network, with modulators that say something."""
    with torch.no_grad():
        for layer in (*net.visual, *net.spatial):
            layer.weight.normal_(0, 0.5)
    return net


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=4, objects=2, split="val")


def test_modulation_is_the_identity_at_the_start(clip):
    net, frame = tiny(), clip.frame(1)[None]
    a, b = (net.look(clip.frame(0)[None], clip.objects(0, [k])) for k in clip.ids)
    assert all(torch.equal(g, torch.ones_like(g)) for g in (*a, *b)), "gamma = 1 whatever is shown"
    places = [mask_gaussian(clip.objects(0, [k])) for k in clip.ids]
    assert torch.equal(net(frame, a, places[0]), net(frame, b, places[1])), "beta = 0 wherever it was"


def test_both_modulators_change_the_answer_once_they_have_learnt(clip):
    net, frame = awake(tiny()), clip.frame(1)[None]
    a, b = (net.look(clip.frame(0)[None], clip.objects(0, [k])) for k in clip.ids)
    p, q = (mask_gaussian(clip.objects(0, [k])) for k in clip.ids)
    answer = net(frame, a, p)
    assert not torch.allclose(answer, net(frame, b, p)) and not torch.allclose(answer, net(frame, a, q))


def test_gradients_reach_both_modulators_through_the_identity(clip):
    net = tiny()
    gamma = net.look(clip.frame(0)[None], clip.objects(0, [1]))
    net(clip.frame(1)[None], gamma, mask_gaussian(clip.objects(0, [1]))).square().mean().backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in (*net.visual, *net.spatial))


def test_the_crop_shows_the_object_alone_and_keeps_its_shape():
    frame, mask, grey = torch.rand(3, 40, 60), torch.zeros(40, 60, dtype=torch.bool), torch.full((3, 1, 1), 0.5)
    mask[5:15, 20:40] = True  # twice as wide as high
    mask[8, 30] = False
    seen = M.crop(frame, mask, grey, 20)
    expected = grey.expand(3, 20, 20).clone()
    expected[:, 5:15] = torch.where(mask, frame, grey)[:, 5:15, 20:40]  # resized by 1: copied
    assert torch.allclose(seen, expected, atol=1e-5)
    frame[:, ~mask] = 0  # what is not object is not looked at
    assert torch.equal(M.crop(frame, mask, grey, 20), seen)


def test_the_look_is_taken_once_a_video_and_the_place_every_frame(clip):
    net, places = awake(tiny()), []
    looks, look = [], net.look
    net.look = lambda *a: looks.append(1) or look(*a)

    def mine(mask):
        places.append(mask)
        return mask_gaussian(mask)

    with torch.no_grad():
        net.score.bias.fill_(100.0)  # finds everything
    system = M.OSMN(net, gaussian=mine)
    engine.run(system, clip)
    assert len(looks) == len(clip.ids)
    assert len(places) == len(clip.ids) * len(clip) and places[0].dtype == torch.bool, "a student's own runs inside"
    assert torch.equal(places[0], clip.objects(0)[0]) and places[-1].all(), "the last mask, as it was predicted"


def test_while_nothing_is_found_the_last_place_stays(clip):
    net = awake(tiny())
    with torch.no_grad():
        net.score.bias.fill_(-100.0)  # finds nothing
    one = M.OneModulated(net)
    one.start(clip.frame(0), clip.objects(0, [1]))
    before = one.place.clone()
    assert not one.step(clip.frame(1))[1].gt(0.5).any() and torch.equal(one.place, before) and before.any()


def test_disturbed_masks_are_seeded_and_mostly_near():
    mask = torch.zeros(200, 60, 80, dtype=torch.long)
    mask[:, 20:40, 30:60] = 1
    one = M.disturb(mask, np.random.default_rng(0))
    assert torch.equal(one, M.disturb(mask, np.random.default_rng(0))) and one.dtype == torch.bool
    overlap = (one & mask.bool()).sum((1, 2)) / mask.sum((1, 2))
    assert 0.5 < (overlap > 0.6).float().mean() < 0.9 and (~one.any(2).any(1)).any() and one.all(2).all(1).any()


def test_pairs_show_one_object_of_one_clip_and_move_its_masks_alike():
    sources, rng = [Source("toy", toy.training(6), 1.0)], np.random.default_rng(0)
    drawn = pairs(sources, rng, 1, (224, 384))
    n = 224 * 384 // (96 * 160)
    assert drawn.reference.shape == drawn.image.shape == (n, 3, 96, 160)
    assert drawn.given.any((1, 2)).all() and drawn.target.any((1, 2)).all()
    for mask in (drawn.given, drawn.target, drawn.previous):
        assert mask.shape == (n, 96, 160) and set(mask.unique().tolist()) <= {0, 1}
    both = (drawn.target & drawn.previous).sum((1, 2)) / drawn.target.sum((1, 2))
    assert both.median() > 0.5, "target and previous lie in neighbouring frames, and were moved by the same map"
    again = pairs(sources, np.random.default_rng(0), 1, (224, 384))
    assert all(torch.equal(getattr(drawn, k), getattr(again, k)) for k in vars(drawn)), "the seed decides"


def test_pairs_ask_for_each_object_equally_often():
    mask = np.zeros((96, 160), np.uint8)
    mask[20:30, 20:30], mask[40:80, 80:120] = 1, 2  # of 100 and of 1,600 pixels
    clip = Clip("two", [np.zeros((96, 160, 3), np.uint8)] * 2, [mask] * 2, (1, 2), mask.shape)
    rng = np.random.default_rng(0)
    given = torch.cat([pairs([Source("two", [clip], 1.0)], rng, 32, clip.size).given for _ in range(4)])
    assert 0.3 < (given.sum((1, 2)) < 400).float().mean() < 0.7


def test_composites_are_made_where_clips_show_one_object():
    one = [toy.clip(i, length=3, objects=1, split="train") for i in range(3)]
    out = crowded([Source("single", one, 0.8), Source("toy", [toy.clip(1, length=3, objects=2)], 0.2)], times=2)
    assert [(s.name, s.share) for s in out] == [("single", 0.4), ("single+", 0.4), ("toy", 0.2)]
    assert all(c.ids == (1, 2) for c in out[1].clips) and len(out[1].clips) >= 6
    doubles = [c.name for c in out[1].clips if len(set(c.name.split("+"))) == 1]
    assert len(doubles) == 1, "a clip over itself: only the place tells its two objects apart"
    more = crowded([Source("single", one, 0.8)], times=2, fours=0.25)
    assert [s.name for s in more] == ["single", "single+", "single++"]
    assert np.allclose([s.share for s in more], [0.4, 0.3, 0.1])
    assert all(len(clip.ids) == 4 for clip in more[2].clips)


def test_training_lowers_the_loss_on_what_it_sees():
    sources = [Source("toy", [toy.clip(3, length=3, objects=2, split="train")], 1.0)]
    recipe = M.recipe(sources, batch=2, size=(96, 160), steps=12)
    optimizer = torch.optim.Adam(recipe.groups)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        value = recipe.loss(0, np.random.default_rng(0))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.75 * values[0]


def test_it_needs_no_online_learning():
    assert not registry.spec("osmn").finetunes
    assert engine.run(M.OSMN(tiny()), toy.clip(1, length=2, split="val")).finetune_seconds == 0


def test_the_shipped_weights_follow_the_mask_they_are_given(clip):
    system, frames = registry.make("osmn", scale="toy"), [clip.frame(0), clip.frame(1)]
    for k in clip.ids:
        system.start(frames[0], clip.objects(0, [k]))
        found = (system.step(frames[1])[1] > 0.5)[None].numpy()
        asked, other = (jaccard(found, clip.masks[1][None] == i)[0] for i in (k, 3 - k))
        assert asked > other + 0.2, (k, asked, other)


def test_the_shipped_weights_beat_copying_the_first_mask():
    clip = toy.suite()[0]
    score = {}
    for name in ("copy-first", "osmn"):
        masks = engine.run(registry.make(name, scale="toy"), clip).masks
        score[name] = np.mean([jaccard([masks[t] == 1], [clip.masks[t] == 1])[0] for t in range(1, len(clip) - 1)])
    assert score["osmn"] > score["copy-first"] + 0.05, score


@pytest.mark.parametrize("bad", [{"scale": "huge"}, {"init": "magic"}, {"weights": "no/such.file"}, {"scale": "paper"}])
def test_bad_options_are_said_in_a_sentence(bad):
    with pytest.raises(VosError):
        registry.make("osmn", **bad)


def test_unknown_options_are_refused_by_name():
    with pytest.raises(VosError, match="stepz"):
        registry.make("osmn", init="imagenet", stepz=3)


def test_the_network_runs_on_the_modulation_that_is_handed_in(clip):
    seen = []

    def mine(features, gamma, beta):
        seen.append(tuple(features.shape[-3:]))
        return features * 0  # nothing of any object is left

    with torch.no_grad():
        told, deaf = (M.osmn(modulate=m) for m in (M.modulate, mine))
        said = [engine.run(system, clip).masks for system in (told, deaf)]
    assert len(seen) == 3 * len(clip.ids) * (len(clip) - 1), "three stages, every object, every frame but the first"
    assert not np.array_equal(np.stack(list(said[0])), np.stack(list(said[1])))
