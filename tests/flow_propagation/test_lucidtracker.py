"""LucidTracker: masks warped by flow, one or two streams, N objects in one pass or one pass each, dreams."""

import numpy as np
import pytest
import torch
from torch import nn

from vos_teach import engine, train
from vos_teach.clip import VosError
from vos_teach.data import moments, toy
from vos_teach.data.sample import Source
from vos_teach.flow_propagation import lucidtracker as L
from vos_teach.ops.aggregate import soft_aggregate
from vos_teach.weights import load

TINY = L.Config(backbone="tiny", steps=0, ships=False)


def tiny(streams=2, extra=False, slots=5):
    net = L.new_network("tiny", False, streams, slots, extra)
    with torch.no_grad():  # so that masks and maps are heard, and slots differ
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    return net


def still(a, b):
    return np.zeros((*a.shape[:2], 2), np.float32)


def system(streams=2, config=TINY, **options):
    return L.LucidTracker(tiny(streams, "extra" in options, config.slots), config, **options)


def play(segmenter, clip, ids, late=None):
    out = [segmenter.start(clip.frame(0), clip.objects(0, ids))]
    return out + [segmenter.step(clip.frame(t), (late or {}).get(t)) for t in range(1, len(clip))]


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=4, objects=3, split="val")


class Echo(nn.Module):
    """In the network's place: says that each slot's object is where its warped mask is."""

    def __init__(self, streams=1):
        super().__init__()
        self.streams, self.seen = [None] * streams, []

    def forward(self, frame, maps, masks):
        self.seen.append((maps, masks))
        return [torch.cat([torch.full_like(masks[:, :1], 0.5), masks], 1) * 20] * len(self.streams)


def test_the_last_mask_is_warped_to_where_flow_says_it_came_from(clip):
    """The object moves 3 to the right and 2 down; so this frame's pixels come from (-3, -2)."""
    asked = []

    def flow(a, b):
        asked.append((a, b))
        return np.full((*a.shape[:2], 2), (-3, -2), np.float32)

    tracker = L.LucidTracker(Echo(), TINY, flow=flow)
    first = clip.objects(0, [1])[0]
    for t, prob in enumerate(play(tracker, clip, [1])):
        want = torch.zeros_like(first)
        want[2 * t :, 3 * t :] = first[: first.shape[0] - 2 * t, : first.shape[1] - 3 * t]
        assert torch.equal(prob.argmax(0).bool(), want)
    for t, (a, b) in enumerate(asked, 1):
        assert np.array_equal(a, clip.frames[t]) and np.array_equal(b, clip.frames[t - 1]), "from t to t-1"


def test_a_students_warp_fusion_and_softmax_take_the_librarys_place(clip):
    called = []

    def note(name, function):
        def inner(*args):
            called.append(name)
            return function(*args)
        return inner

    play(system(warp=note("warp", L.bilinear), fuse=note("fuse", L.average_streams),
                over=note("over", L.softmax_over_objects), flow=still), clip.cut(0, 2), [1, 2])
    assert called == ["warp", "over", "over", "fuse"]


@pytest.mark.parametrize("streams", [1, 2])
def test_a_slots_mask_goes_to_its_channel_and_free_slots_are_exactly_zero(clip, streams):
    net = Echo(streams)
    tracker = L.LucidTracker(net, TINY, flow=still)
    seen = []
    tracker.over = lambda x, present: seen.append((present, L.softmax_over_objects(x, present))) or seen[-1][1]
    play(tracker, clip.cut(0, 2), [1, 2, 3])
    masks = net.seen[0][1][0]
    assert torch.allclose(masks[:3], clip.objects(0).float(), atol=1e-3) and not masks[3:].any()
    assert len(seen) == streams
    for present, p in seen:
        assert present.tolist() == [True] * 3 + [False] * 2 and (p[4:] == 0).all()


def test_one_object_is_the_same_in_one_pass_and_in_a_pass_of_its_own(clip):
    for streams in (1, 2):
        one, each = (play(system(streams, flow=still, passes=p), clip, [2]) for p in ("one", "each"))
        assert all(torch.equal(a, b) for a, b in zip(one, each, strict=True))


def test_passes_each_look_at_one_object_at_a_time_and_are_merged(clip):
    tracker = system(flow=still, passes="each")
    tracker.start(clip.frame(0), clip.objects(0))
    prob = tracker.step(clip.frame(1))
    alone = []
    for k in clip.ids:
        tracker.start(clip.frame(0), clip.objects(0, [k]))
        alone.append(tracker.step(clip.frame(1))[1])
    assert torch.allclose(prob, soft_aggregate(torch.stack(alone)), atol=1e-6)


def test_the_number_of_passes(clip):
    many = torch.zeros(7, *clip.size, dtype=torch.bool)
    for k in range(7):
        many[k, 5:20, 10 + 20 * k : 25 + 20 * k] = True
    for passes, want in (("one", 2), ("each", 7)):
        net = Echo()
        tracker = L.LucidTracker(net, TINY, passes, still)
        tracker.start(clip.frame(0), many)
        prob = tracker.step(clip.frame(1))
        assert len(net.seen) == want and prob.shape == (8, *clip.size)
        assert torch.allclose(prob.sum(0), torch.ones(clip.size), atol=1e-5)
        assert torch.equal(prob.argmax(0), (many * torch.arange(1, 8)[:, None, None]).sum(0))


def test_permuted_objects_still_give_distributions(clip):
    for ids in ((1, 2, 3), (3, 1, 2)):
        for prob in play(system(), clip, ids):
            assert prob.shape == (4, *clip.size) and (prob >= 0).all()
            assert torch.allclose(prob.sum(0), torch.ones(clip.size), atol=1e-5)


def test_late_objects_take_the_next_slots_also_beyond_one_pass(clip):
    for slots in (5, 2):
        tracker = L.LucidTracker(Echo(), L.Config(backbone="tiny", steps=0, slots=slots), flow=still)
        results = play(tracker, clip, [1, 2], {2: clip.objects(2, [3])})
        assert [len(r) for r in results] == [3, 3, 4, 4]
        assert (results[2].argmax(0) == 3)[clip.objects(2, [3])[0]].all()
        assert torch.equal(results[3].argmax(0) == 3, clip.objects(2, [3])[0])


def test_equal_streams_are_one_stream(clip):
    one = L.LucidTracker(Echo(1), TINY, flow=still)
    two = L.LucidTracker(Echo(2), TINY, flow=still)
    for a, b in zip(play(one, clip, [1, 2]), play(two, clip, [1, 2]), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_what_is_not_found_stays_where_it_was(clip):
    net = Echo()
    tracker = L.LucidTracker(net, TINY, flow=still)
    tracker.start(clip.frame(0), clip.objects(0, [1, 2]))
    real, net.forward = net.forward, lambda f, m, masks: [torch.cat([masks[:, :1] * 0, masks * 0 - 9], 1)]
    assert not tracker.step(clip.frame(1)).argmax(0).any()
    net.forward = real
    assert torch.equal(tracker.step(clip.frame(2))[1:] > 0.5, clip.objects(0, [1, 2]))


def test_speed_is_beside_the_frames_own_motion():
    flow = torch.zeros(2, 40, 60)
    flow[0] = 30.0  # the camera
    assert not L.speed(flow).any()
    flow[:, 10:20, 10:20] += torch.tensor([3.0, 4.0])[:, None, None]
    flow[:, 30:32, :10] += 1.0
    found = L.speed(flow)
    assert torch.allclose(found[10:20, 10:20], torch.ones(10, 10)) and found[0, 0] == 0
    assert torch.allclose(found[30:32, :10], torch.tensor(2**0.5 / 5))
    flow = torch.zeros(2, 40, 60)
    flow[:, ::2] = 0.1
    assert L.speed(flow).max() < 0.1, "noise of a still frame is no motion"


def test_each_stream_sees_its_own_picture():
    frame, maps, masks = torch.rand(1, 3, 32, 48), torch.rand(1, 2, 32, 48), torch.rand(1, 5, 32, 48)
    with torch.no_grad():
        for streams, extra in ((1, False), (1, True), (2, False), (2, True)):
            net = tiny(streams, extra)
            base = net(frame, maps, masks)
            assert len(base) == (1 if streams == 1 else 2 + extra)

            def changes(*args, net=net, base=base):
                return [not torch.equal(a, b) for a, b in zip(net(*args), base, strict=True)]

            slow, other = maps.clone(), maps.clone()
            slow[:, 0], other[:, 1] = 0, 0
            n = len(base)
            assert changes(1 - frame, maps, masks) == [True, False, False][:n]
            assert changes(frame, slow, masks) == ([True] if n == 1 else [False, True, False][:n])
            assert changes(frame, other, masks) == ([extra] if n == 1 else [False, False, True][:n])
            assert changes(frame, maps, 1 - masks) == [True] * n


def test_an_objects_logit_falls_near_the_others_and_there_only():
    net, masks = tiny(1).streams[0], torch.zeros(1, 5, 64, 160)
    frame, maps = torch.rand(1, 3, 64, 160), torch.rand(1, 1, 64, 160)
    masks[:, 1, 16:32, 16:48] = 1
    with torch.no_grad():
        def fall():
            net.apart.fill_(0.0)
            before = net(frame, maps, masks)
            net.apart.fill_(3.0)
            return (before - net(frame, maps, masks))[0]

        alone = fall()
        assert not alone[0].any() and not alone[2].any(), "the background, and an object that is alone"
        masks[:, 3, 16:48, 112:144] = 1
        both = fall()
    assert not both[0].any() and both[2, 30, 128] > 1 and both[4, 24, 32] > 0.5
    assert both[2, 24, 32].abs() < 1e-6 and both[4, 30, 128].abs() < 1e-6, "not where it is itself"


def test_a_start_from_masktrack_says_what_masktrack_says():
    """One object: its slot's logit is MaskTrack's, up to the small differences that tell slots apart; free slots are
    not heard."""
    from vos_teach.nn.guided import Guided

    theirs = Guided("lite0", False, 1)
    theirs.load_state_dict(load("masktrack"))
    frame = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 256, 384), 4)
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., 20:40, 30:60] = 1
    for streams in (1, 2):
        net = L.new_network("lite0", False, streams)
        L.inherit(net)
        masks = torch.zeros(1, 5, 64, 96)
        masks[:, 3] = mask[:, 0]
        with torch.no_grad():
            want = theirs(frame, mask)[0, 0]
            said = net(frame, torch.rand(1, 1, 64, 96), masks)[0][0]
            assert not said[0].any(), "the background's logit is 0"
            off = (said[4] - want).abs().mean()
            nothing = (theirs(frame, mask * 0)[0, 0] - want).abs().mean()
        assert off < 0.3 * nothing, (off, nothing)


def test_an_example_has_its_objects_in_slots_and_nothing_else():
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    labels = np.zeros((48, 64), np.uint8)
    labels[5:20, 5:25], labels[25:40, 30:60] = 7, 9
    moment = moments.between(frame, labels, frame, labels, L.maps_of, still)
    assert np.array_equal(moment.last, labels) and moment.maps.shape == (48, 64, 1)
    drawn = moments.example(moment, np.random.default_rng(0), 5, [9, 7, 3], deform=lambda m, rng: m)
    assert np.array_equal(drawn.target.numpy(), np.select([labels == 9, labels == 7], [1, 2]))
    assert drawn.present.tolist() == [True, True, False, False, False]
    assert np.array_equal(drawn.masks[:2].numpy(), np.stack([labels == 9, labels == 7]))
    only = moments.example(moment, np.random.default_rng(0), 5, [7], deform=lambda m, rng: m)
    assert only.target.max() == 1 and only.present.sum() == 1
    seen, slots = set(), set()
    for seed in range(40):
        drawn = moments.example(moment, np.random.default_rng(seed), 5, size=(48, 64))
        seen.add(int(drawn.present.sum()))
        slots |= set(drawn.present.nonzero()[:, 0].tolist())
        assert set(np.unique(drawn.target)) - {0} <= {k + 1 for k in drawn.present.nonzero()[:, 0].tolist()}
    assert {1, 2} <= seen and slots == set(range(5)), "one or several, in any slots"


def test_a_moments_last_mask_was_moved_by_flow():
    frame, labels = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), np.uint8)
    labels[5:10, 5:10] = 2
    moved = np.roll(labels, 4, 1)
    moment = moments.between(frame, labels, frame, moved, L.maps_of,
                             lambda a, b: np.full((20, 30, 2), (-4, 0), np.float32))
    assert np.array_equal(moment.last, moved)


def test_spoilt_masks_are_seeded_and_never_empty(clip):
    mask = (clip.masks[0] == 1).astype(np.uint8)
    said = [moments.spoil(mask, np.random.default_rng(s)) for s in range(60)]
    assert all(s.any() and set(np.unique(s)) <= {0, 1} for s in said)
    assert np.array_equal(said[3], moments.spoil(mask, np.random.default_rng(3)))
    assert sum(not np.array_equal(s, mask) for s in said) > 50


def test_the_pools_moments_depend_on_their_number_alone():
    sources = [Source("toy", toy.training(4), 1.0)]
    a, b = (moments.Pool(sources, 6, L.maps_of) for _ in range(2))
    for i in (4, 1):
        a[i]
    for i in (1, 2, 4):
        assert np.array_equal(a[i].frame, b[i].frame) and np.array_equal(a[i].last, b[i].last)
    assert a[1] is a[1] and len(a) == 6


def test_in_a_share_of_the_moments_nothing_moves():
    """There the mask before is the mask, and no pixel is faster than the others."""
    sources = [Source("toy", toy.training(4, camera_motion=False), 1.0)]
    for still, least, most in ((0.0, 0, 1), (1.0, 12, 12), (0.5, 2, 10)):
        pool = moments.Pool(sources, 12, L.maps_of, still=still)
        rest = sum(np.array_equal(m.last, m.labels) and m.maps.max() < 60 for m in (pool[i] for i in range(12)))
        assert least <= rest <= most, still


def test_online_learning_has_dreams_in_which_nothing_moves(clip, monkeypatch):
    heard = []
    real = moments.between
    monkeypatch.setattr(moments, "between", lambda *a, **k: heard.append(np.array_equal(a[0], a[2])) or real(*a, **k))
    engine.run(system(config=L.Config(backbone="tiny", steps=20, ships=False)), clip.cut(0, 2))
    assert 1 <= sum(heard) <= 14 and len(heard) == 20


def test_the_objective_by_hand():
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    target = torch.randint(0, 2, (2, 4, 5))
    present = torch.tensor([[True, False], [True, True]])
    want = 0.0
    for b in range(2):
        for y, x in np.ndindex(4, 5):
            e = [np.exp(v) for v in logits[b, :, y, x].tolist()]
            e = [v if i == 0 or present[b, i - 1] else 0 for i, v in enumerate(e)]
            want -= np.log(e[target[b, y, x]] / sum(e)) / 40
    for b, k in ((0, 1), (1, 1), (1, 2)):
        p = torch.softmax(logits[b][: 2 if b == 0 else 3], 0)[k]
        t = (target[b] == k).double()
        want += float(1 - (p * t).sum() / (p + t - p * t).sum()) / 3
    assert np.isclose(float(L.objective([logits], target, present)), want)
    assert np.isclose(float(L.objective([logits, logits], target, present)), 2 * want), "each stream by itself"


def test_online_learning_trains_a_copy_on_dreams_of_all_objects(clip, monkeypatch):
    heard = []
    real = L.loss_of
    monkeypatch.setattr(L, "loss_of", lambda net, drawn, device: heard.append(drawn[0]) or real(net, drawn, device))
    tracker = system(config=L.Config(backbone="tiny", steps=3, ships=False))
    before = {k: v.clone() for k, v in tracker.offline.state_dict().items()}
    engine.run(tracker, clip)
    assert len(heard) == 3 and all(e.present[:3].any() and not e.present[3:].any() for e in heard)
    assert max(int(e.present.sum()) for e in heard) == 3 and tracker.finetune_seconds > 0
    assert all(torch.equal(v, before[k]) for k, v in tracker.offline.state_dict().items())
    assert any(not torch.equal(v, before[k]) for k, v in tracker.net.state_dict().items())


def test_a_late_object_is_learnt_from_its_own_frame(clip):
    tracker = system(config=L.Config(backbone="tiny", steps=2, ships=False))
    play(tracker, clip, [1, 2], {2: clip.objects(2, [3])})
    assert tracker.dreamers[0].ids == [1, 2] and 3 in tracker.dreamers[1].ids
    tracker = system(config=L.Config(backbone="tiny", steps=2, ships=False))
    play(tracker, clip, [1], {2: torch.zeros(1, *clip.size, dtype=torch.bool)})
    assert len(tracker.dreamers) == 1, "an empty mask asks for nothing"


@pytest.mark.slow
def test_training_resumes_exactly(tmp_path):
    sources = [Source("toy", toy.training(4), 1.0)]

    def recipe():
        made = L.recipe(sources, "toy", steps=4, batch=2, size=(48, 80), streams=1, count=8)
        made.about["pool"] = 8
        return made

    whole = train.fit(recipe(), tmp_path / "a", every=2)
    assert train.fit(recipe(), tmp_path / "b", every=2, stop_after=2) is None
    assert train.fit(recipe(), tmp_path / "b", every=2).read_bytes() == whole.read_bytes()


def test_bad_options_are_told_in_a_sentence():
    for options, said in (({"streams": 3}, "choose 1 or 2"), ({"passes": "two"}, "choose from: one, each"),
                          ({"scale": "paper"}, "no weights ship"), ({"lucid": False}, "dreams only"),
                          ({"extra": lambda x: x[0]}, "no weights ship")):
        with pytest.raises(VosError, match=said):
            L.lucidtracker(**options)


@pytest.mark.slow
@pytest.mark.parametrize("streams", [1, 2])
def test_training_lowers_the_loss_and_leaves_two_objects_apart(streams):
    """A few steps on toy clips: less loss on other examples, and both objects of an unseen clip in one pass."""
    sources = [Source("toy", toy.training(12), 1.0)]
    pool = moments.Pool(sources, 40, L.maps_of)
    recipe = L.recipe(sources, "toy", steps=30, batch=4, size=(96, 160), streams=streams, pool=pool)
    optimizer = torch.optim.AdamW(recipe.groups)
    others = [recipe.loss(0, np.random.default_rng([9, i])).item() for i in range(5)]
    for step in range(30):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = [recipe.loss(0, np.random.default_rng([9, i])).item() for i in range(5)]
    assert np.mean(after) < 0.9 * np.mean(others), (others, after)
    recipe.model.eval()
    clip = toy.clip(9, length=6, objects=2, split="val")
    result = engine.run(L.LucidTracker(recipe.model, L.Config(steps=0)), clip)
    for k in clip.ids:
        said, truth = result.masks[5] == k, clip.masks[5] == k
        assert (said & truth).sum() / (said | truth).sum() > 0.7
