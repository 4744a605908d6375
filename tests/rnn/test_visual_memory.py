"""Visual memory: both directions, a motion network trained before and frozen, motion that stops, flow of others."""

import numpy as np
import pytest
import torch

from vos_teach import engine, train
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.flow import between, known
from vos_teach.data.sample import Source
from vos_teach.ops.convrnn import ConvGRUCell
from vos_teach.rnn import visual_memory as V

TINY = V.Config("tiny", hidden=8, weights=None)


def tiny(cell=ConvGRUCell):
    return V.new_network(TINY, False, cell).eval()


def still(a, b):
    return np.zeros((*a.shape[:2], 2), np.float32)


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=5, split="val")


@pytest.fixture(scope="module")
def frames(clip):
    return [clip.frame(t) for t in range(len(clip))]


def small_recipe(make=V.recipe, **options):
    source = Source("toy", [toy.clip(s, length=6, objects=2) for s in range(2)], 1.0)
    options = {"steps": 6, "batch": 1, "size": (96, 160), "backbone": "tiny", **options}
    return make([source], **options)


def learnt(recipe, step=0):
    """The parts of the network that a step gives gradients; the step is the same when it is made again."""
    recipe.model.zero_grad(set_to_none=True)
    loss = recipe.loss(step, np.random.default_rng([0, step]))
    assert torch.equal(loss, recipe.loss(step, np.random.default_rng([0, step])))
    loss.backward()
    return {name.split(".")[0] for name, p in recipe.model.named_parameters() if p.grad is not None}


def test_every_frame_is_decided_with_the_past_and_the_future(frames):
    """A change in the last frame reaches the first one's mask, and the other way round."""
    system = V.VisualMemory(tiny())
    base = system.segment(frames)
    for changed, felt in ((4, 0), (0, 4)):
        other = list(frames)
        other[changed] = 1 - frames[changed]
        assert not torch.equal(system.segment(other)[felt], base[felt])
    assert not system.causal and base.shape == (5, 2, *frames[0].shape[-2:])


def test_the_memory_is_two_runs_of_a_cell_each_step_by_step():
    net = tiny()
    streams = [torch.randn(1, V.APPEARANCE + 1, 4, 6) for _ in range(4)]
    with torch.no_grad():
        got = net.remember(streams)
        for t, memory in enumerate(got):
            there = back = None
            for x in streams[: t + 1]:
                there = net.there(x, there)
            for x in reversed(streams[t:]):
                back = net.back(x, back)
            assert torch.allclose(memory, torch.cat([there, back], 1), atol=1e-6)


def test_the_clip_as_a_batch_and_frame_by_frame_give_the_same(frames):
    net = tiny()
    system = V.VisualMemory(net)
    flow = torch.stack(V.flows(frames))
    with torch.no_grad():
        logits = net(torch.stack(frames)[None].repeat(2, 1, 1, 1, 1), flow[None].repeat(2, 1, 1, 1, 1))
    assert torch.allclose(torch.sigmoid(logits[1]), system.segment(frames)[:, 1], atol=1e-5)


def test_flow_is_to_the_next_frame_and_the_last_ones_turned_round(clip, frames):
    got = V.flows(frames, known(clip))
    for t in range(4):
        assert np.allclose(got[t].permute(1, 2, 0), between(clip, t, t + 1, "exact"))
    assert np.allclose(got[4].permute(1, 2, 0), -between(clip, 4, 3, "exact"))
    assert not V.flows(frames[:1])[0].any()


def test_between_equal_frames_flow_is_nothing_and_is_not_even_asked_for(frames):
    asked = []
    got = V.flows([frames[0], frames[1], frames[1], frames[1]], lambda a, b: asked.append(1) or still(a, b) + 1)
    assert [bool(f.any()) for f in got] == [True, False, False, False] and len(asked) == 1


def test_stopped_motion_repeats_a_frame_and_keeps_the_label():
    frames = torch.arange(7.0)[:, None, None, None].expand(7, 3, 4, 4)
    labels, ends = torch.arange(7)[:, None, None].expand(7, 4, 4), set()
    for seed in range(40):
        shown, said = V.stop(frames, labels, np.random.default_rng(seed))
        times = said[:, 0, 0].tolist()
        assert torch.equal(shown[:, 0, 0, 0].long(), said[:, 0, 0]) and len(times) == 7
        still = times[-1]
        assert times == [min(t, still) for t in range(7)] and 1 <= still <= 5
        ends.add(still)
    assert ends == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("stopped", [0.0, 1.0])
def test_so_many_training_clips_end_without_any_flow_and_with_the_object(monkeypatch, stopped):
    seen = []
    recipe = small_recipe(stopped=stopped, length=4)
    real = recipe.model.forward
    monkeypatch.setattr(recipe.model, "forward", lambda f, flow, joint: seen.append(flow) or real(f, flow, joint))
    asked = []
    real_loss = V.objective
    monkeypatch.setattr(V, "objective", lambda logit, target: asked.append(target) or real_loss(logit, target))
    for step in range(4):
        recipe.loss(step, np.random.default_rng([0, step]))
    for flow, target in zip(seen, asked, strict=True):
        assert flow[0, 0].any() and bool(flow[0, -1].any()) == (stopped == 0)
        assert target[0, -1].any()


def test_the_memory_learns_from_recoloured_clips_and_their_own_flow(monkeypatch):
    seen = []
    monkeypatch.setattr(V, "recoloured", lambda frames, rng: 1 - frames)
    recipe, plain = small_recipe(stopped=0.0, length=3), V.windows
    kept = []
    monkeypatch.setattr(V, "windows", lambda *a, **k: kept.append(plain(*a, **k)) or kept[-1])
    real = recipe.model.forward
    monkeypatch.setattr(recipe.model, "forward", lambda f, flow, joint: seen.append((f, flow)) or real(f, flow, joint))
    recipe.loss(0, np.random.default_rng(0))
    ((frames, flow),) = seen
    assert torch.equal(frames, 1 - kept[0].frames)
    assert torch.equal(flow[0], torch.stack(V.flows(frames[0])))


def test_first_the_motion_network_is_trained_alone_then_both_streams_are_frozen():
    first = small_recipe(V.recipe_motion, toys=3)
    assert learnt(first) == {"motion"}
    both = {name.split(".")[0] for name, _ in first.model.named_parameters()}
    assert learnt(small_recipe()) == both - {"motion", "trunk"}
    assert learnt(small_recipe(joint=True)) == both - {"trunk"}


@pytest.mark.parametrize("make", [V.recipe, lambda *a, **k: V.recipe_motion(*a, toys=3, **k)])
def test_a_training_that_was_killed_goes_on_bit_for_bit(tmp_path, make):
    for out, stops in (("whole", [None]), ("broken", [3, None])):
        for stop in stops:
            path = train.fit(small_recipe(make), tmp_path / out, stop_after=stop)
    assert path.read_bytes() == (tmp_path / "whole" / "weights.safetensors").read_bytes()


def test_the_motion_network_sees_flow_alone_and_the_memory_one_map_of_it(clip, frames):
    net = tiny()
    flow = torch.stack(V.flows(frames[:2]))
    with torch.no_grad():
        one, _, _ = net.look(torch.stack(frames[:2]), flow)
        other, _, _ = net.look(torch.stack(frames[1:3]), flow)
        unmoved, _, _ = net.look(torch.stack(frames[:2]), flow * 0)
    assert torch.equal(one[:, -1], other[:, -1]) and one.shape[1] == V.APPEARANCE + 1
    assert torch.equal(one[:, :-1], unmoved[:, :-1]) and not torch.equal(one[:, -1], unmoved[:, -1])


def test_flow_is_read_without_the_cameras_part_whatever_the_size():
    torch.manual_seed(1)
    flow = torch.zeros(1, 2, 40, 60)
    flow[:, 0, 10:20, 10:20] = 3.0
    read, panned = V.legible(flow), V.legible(flow + torch.tensor([2.0, -1.0]).view(1, 2, 1, 1))
    assert torch.allclose(read[:, 2:], panned[:, 2:], atol=1e-5) and not torch.allclose(read[:, :2], panned[:, :2])
    large = torch.nn.functional.interpolate(flow, scale_factor=2) * 2
    assert torch.allclose(V.legible(large)[..., ::2, ::2], read, atol=1e-5)
    assert not V.legible(flow * 0).any()
    there = V.legible(flow)[0, :2, 15, 15]
    assert there[0] > 0 and there[1] == 0 and torch.isclose(there[0], torch.tensor(3 * 100 / 40).log1p())


def test_a_students_cell_and_flow_run_inside(clip, frames):
    calls, asked = [], []

    class Own(ConvGRUCell):
        def forward(self, x, state=None):
            calls.append(x.shape)
            return super().forward(x, state)

    def own(a, b):
        asked.append((a.dtype, a.shape))
        return still(a, b)

    first, second = (V.VisualMemory(tiny(cell), own).segment(frames) for cell in (Own, ConvGRUCell))
    assert torch.equal(first, second) and len(calls) == 2 * len(frames)
    assert len(asked) == 2 * len(frames) and asked[0] == (np.uint8, clip.frames[0].shape)


def test_the_engine_runs_it_and_the_time_for_flow_is_told(clip):
    system = V.VisualMemory(tiny())
    result = engine.run(system, clip)
    assert len(result.masks) == len(clip) and 0 < system.flow_seconds < result.start_seconds
    assert set(np.unique(np.stack(list(result.masks)))) <= {0, 1}


def test_the_streams_are_imagenets_and_the_motion_networks_and_the_file_will_fit(tmp_path):
    from vos_teach import weights
    from vos_teach.nn.backbone import backbone

    source = [Source("toy", [toy.clip(1, length=4)], 1.0)]
    net = V.recipe(source).model
    assert all(torch.equal(v, net.trunk.state_dict()[k]) for k, v in backbone("lite0", True).state_dict().items())
    shipped = weights.load("visual-memory")
    assert all(torch.equal(v, shipped[f"motion.{k}"].float()) for k, v in net.motion.state_dict().items())
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 3.9e6
    with torch.no_grad():
        net.motion.score.weight.add_(1)
    weights.save(net, tmp_path / "other.safetensors")
    other = V.recipe(source, motion=tmp_path / "other.safetensors", trunk="osvos").model
    assert torch.equal(other.motion.score.weight, net.motion.score.weight.half().float())
    parent = weights.load("osvos")
    assert all(torch.equal(v, parent[f"trunk.{k}"].float()) for k, v in other.trunk.state_dict().items())


@pytest.mark.slow
def test_the_motion_network_learns_what_moves():
    """After little training, on the flow of clips it has not seen, what moves is told from what does not."""
    recipe = V.recipe_motion([Source("toy", toy.training(12, distractors=0, similar=0), 1.0)], steps=200, batch=4,
                             size=(96, 160), toys=40, backbone="tiny")
    optimizer = torch.optim.AdamW(recipe.groups)
    for step in range(80):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    overlaps = []
    for clip in (toy.clip(s, split="val", distractors=0, camera_motion=True) for s in range(4, 10)):
        with torch.no_grad():
            flow = torch.from_numpy(clip.forward_flow[8].transpose(2, 0, 1).copy())[None]
            said = V.up(recipe.model.motion(flow), flow)[0].numpy() > 0
        truth = clip.masks[8] > 0
        overlaps.append((said & truth).sum() / (said | truth).sum())
    assert np.mean(overlaps) > 0.5, overlaps


def test_bad_options_are_told_in_a_sentence():
    with pytest.raises(VosError, match="ships no weights"):
        V.visual_memory(scale="paper")
    with pytest.raises(VosError, match="choose from: trained, imagenet"):
        V.visual_memory(init="nothing")
    with pytest.raises(VosError, match="no optical flow 'flownet'"):
        V.VisualMemory(tiny(), "flownet").segment([torch.zeros(3, 32, 48), torch.ones(3, 32, 48)])
