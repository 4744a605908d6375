"""FusionSeg: each stream sees its own picture only, and the fusion is the formula."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vos_teach import registry, train, weights
from vos_teach.clip import VOID, Clip, VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.flow_propagation import fusionseg as fs
from vos_teach.ops.streams import average_streams

SIZE = (48, 80)


@pytest.fixture(scope="module")
def net():
    return fs.new_network("lite0", pretrained=False).eval()


def system(net, **options):
    return fs.FusionSeg(net, **options)


def noise(seed, length=3, size=SIZE):
    """T frames 3,H,W without any sense."""
    return list(torch.rand(length, 3, *size, generator=torch.Generator().manual_seed(seed)))


def flowing(dx, dy, box=None):
    """A flow function: everything, or a box (y0, y1, x0, x1), goes by (dx, dy) whatever the frames show."""

    def flow(a, b):
        out = np.zeros((*a.shape[:2], 2), np.float32)
        y0, y1, x0, x1 = box or (0, a.shape[0], 0, a.shape[1])
        out[y0:y1, x0:x1] = dx, dy
        return out

    return flow


def test_the_fusion_is_the_formula():
    fusion = fs.Fusion(width=3)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for p in fusion.parameters():
            p.copy_(torch.from_numpy(rng.normal(size=tuple(p.shape))))
    a, m = rng.normal(size=(2, 1, 2, 4, 5)).astype(np.float32)
    w = {k: v.detach().numpy() for k, v in fusion.state_dict().items()}
    hidden = np.zeros((3, 4, 5))
    for y in range(4):
        for x in range(5):
            for k in range(3):
                one = w["appearance.weight"][k, :, 0, 0] @ a[0, :, y, x] + w["appearance.bias"][k]
                other = w["motion.weight"][k, :, 0, 0] @ m[0, :, y, x] + w["motion.bias"][k]
                both = np.concatenate([a[0, :, y, x], m[0, :, y, x]]) @ w["both.weight"][k, :, 0, 0] + w["both.bias"][k]
                hidden[k, y, x] = max(0, one, other, both)
    want = np.zeros((2, 4, 5))
    for c in range(2):
        for y in range(4):
            for x in range(5):
                near = [hidden[:, np.clip(y + i, 0, 3), np.clip(x + j, 0, 4)] @ w["last.weight"][c, :, i + 1, j + 1]
                        for i in (-1, 0, 1) for j in (-1, 0, 1)]
                want[c, y, x] = sum(near) + w["last.bias"][c]
    got = fusion(torch.from_numpy(a), torch.from_numpy(m))[0].detach().numpy()
    assert np.allclose(got, want, atol=1e-4)


def test_one_branch_that_is_sure_is_enough():
    """Hand-set: branches read the foreground's logit, and both together its sum. Their maximum is an "or"."""
    fusion = fs.Fusion(width=1)
    with torch.no_grad():
        for p in fusion.parameters():
            p.zero_()
        fusion.appearance.weight[0, 1] = fusion.motion.weight[0, 1] = 1
        fusion.both.weight[0, [1, 3]], fusion.both.bias[0] = 1, -3
        fusion.last.weight[1, 0, 1, 1], fusion.last.bias[1] = 1, -2

    def fused(a, m):
        x, y = (torch.tensor([0.0, v]).view(1, 2, 1, 1).expand(1, 2, 3, 3) for v in (a, m))
        return float(fusion(x, y)[0, 1, 1, 1].detach())

    assert fused(5, -9) == fused(-9, 5) == 3, "either is sure"
    assert fused(0, 0) == -2 and fused(1.5, 1.5) == -0.5, "neither is"
    assert fused(4, 4) == 3, "max(4, 4, 4 + 4 - 3) - 2"


def test_an_untrained_fusion_is_about_the_sum_of_the_streams(net):
    a, m = torch.randn(2, 1, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 4
    fused, summed = ((x[:, 1] - x[:, 0]).detach().flatten() for x in (net.fusion(a, m), a + m))
    assert torch.corrcoef(torch.stack([fused, summed]))[0, 1] > 0.9


def test_the_motion_stream_sees_frames_through_flow_alone(net):
    one, other = (system(net, stream="motion", flow=flowing(4, 0, (10, 30, 20, 50))).segment(noise(s)) for s in (1, 2))
    assert torch.equal(one, other)
    moved = system(net, stream="motion", flow=flowing(4, 0, (20, 40, 40, 70))).segment(noise(1))
    assert not torch.allclose(one, moved, atol=1e-3)


def test_the_appearance_stream_does_not_look_at_flow(net):
    def never(a, b):
        raise AssertionError("flow was asked for")

    frames = noise(1)
    out = system(net, stream="appearance", flow=never).segment(frames)
    assert torch.equal(out, system(net, stream="appearance").segment(frames))
    assert not torch.allclose(out, system(net, stream="appearance").segment(noise(2)), atol=1e-4)


def test_flow_goes_on_to_the_next_frame_and_back_from_the_last(net):
    frames, asked = noise(4), []

    def recorded(a, b):
        asked.append(tuple(next(t for t, f in enumerate(frames) if np.array_equal(x, pixels(f))) for x in (a, b)))
        return flowing(3, 1, (10, 30, 20, 50))(a, b)

    seen = [system(net, flow=recorded).seen_motion(frames, t) for t in range(3)]
    assert asked == [(0, 1), (1, 2), (2, 1)]
    want = system(net, flow=flowing(-3, -1, (10, 30, 20, 50))).seen_motion(frames, 0)
    assert torch.equal(seen[2], want) and not torch.equal(seen[2], seen[1]), "turned round"


def pixels(frame):
    return (frame.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def test_a_single_frame_does_not_move(net):
    assert (system(net).seen_motion(noise(0, 1), 0) == 1).all()
    assert system(net).segment(noise(0, 1)).shape == (1, 2, *SIZE)


def test_what_the_camera_does_is_no_motion(net):
    """The picture of a pan is that of no motion at all; a thing in it stays."""
    still, pan = (system(net, flow=f).seen_motion(noise(0), 0) for f in (flowing(0, 0), flowing(9, 2)))
    assert torch.allclose(still, pan, atol=0.02)

    def both(a, b):
        return flowing(9, 2)(a, b) + flowing(4, 0, (15, 35, 30, 55))(a, b)

    seen = system(net, flow=both).seen_motion(noise(0), 0).amin(0)
    assert seen[20:30, 35:50].max() < 0.5 and seen[:10].min() > 0.9


def test_any_fusion_can_take_the_learnt_ones_place(net):
    frames, seen = noise(3), []

    def mine(a, m):
        seen.append((a.shape, m.shape))
        return average_streams(a, m)

    out = system(net, fuse=mine).segment(frames)
    alone = [system(net, stream=s).segment(frames) for s in ("appearance", "motion")]
    assert seen == [((1, 2, *SIZE), (1, 2, *SIZE))] * 3
    assert torch.allclose(out, (alone[0] + alone[1]) / 2, atol=1e-5)
    assert not torch.allclose(out, system(net).segment(frames), atol=1e-3)


def test_frames_do_not_depend_on_masks_or_on_each_other(net):
    frames = noise(5, 4)
    out = system(net).segment(frames)
    assert torch.equal(out, system(net).segment(frames, torch.ones(1, *SIZE, dtype=torch.bool)))
    assert torch.equal(out[:2], system(net).segment(frames[:3])[:2])


def test_bad_options_are_refused():
    with pytest.raises(VosError, match="choose from: appearance, motion, both"):
        registry.make("fusionseg", stream="sound")
    with pytest.raises(VosError, match="nothing to fuse"):
        fs.fusionseg(stream="motion", fuse=average_streams)
    with pytest.raises(VosError, match="ships no weights"):
        registry.make("fusionseg", scale="paper")
    with pytest.raises(VosError, match="choose from: appearance, motion, fusion, all"):
        fs.recipe([], part="streams")


def test_the_loss_is_the_formula_and_void_counts_nothing():
    rng = np.random.default_rng(0)
    logits, target = torch.from_numpy(rng.normal(size=(2, 2, 5, 6))), torch.from_numpy(rng.integers(0, 2, (2, 5, 6)))
    target[0, :2] = VOID
    total, jaccards = [], []
    for b in range(2):
        both = either = 0.0
        for y in range(5):
            for x in range(6):
                if (t := int(target[b, y, x])) == VOID:
                    continue
                z = logits[b, :, y, x].numpy()
                p = np.exp(z) / np.exp(z).sum()
                total.append(-np.log(p[t]))
                both, either = both + p[1] * t, either + p[1] + t - p[1] * t
        jaccards.append(both / either)
    assert float(fs.objective(logits, target)) == pytest.approx(np.mean(total) + 1 - np.mean(jaccards), abs=1e-6)


# ------------------------------------------------------------------------------------------------ training


def still_life(name, seed, length=4, size=(60, 100)):
    """A clip whose single object is a bright square that moves by 3 pixels a frame."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 120, (*size, 3), dtype=np.uint8)
    thing = rng.integers(150, 255, (20, 20, 3), dtype=np.uint8)
    frames, masks = [], []
    for t in range(length):
        frame, mask = ground.copy(), np.zeros(size, np.uint8)
        frame[20:40, 20 + 3 * t : 40 + 3 * t], mask[20:40, 20 + 3 * t : 40 + 3 * t] = thing, 1
        frames.append(frame)
        masks.append(mask)
    return Clip(name, frames, masks, (1,), size)


@pytest.fixture(scope="module")
def sources():
    return [Source("real", [still_life(f"c{i}", i) for i in range(6)], 0.8),
            Source("toy", toy.training(6, size=(48, 80), length=12), 0.2)]


def test_the_fusion_learns_on_clips_that_no_stream_has_seen(sources):
    looks, seen, unseen = fs.divided(sources)
    parts = lambda made: {x for s in made for c in s.clips for x in c.name.split("+")}  # noqa: E731
    assert parts(unseen) and not parts(unseen) & (parts(looks) | parts(seen))
    assert parts(looks) == parts(seen)
    for made in (looks, seen, unseen):
        assert sum(s.share for s in made) == pytest.approx(1)


def test_in_toy_clips_all_that_moves_is_foreground(sources):
    clip = fs.divided(sources)[1][1].clips[0]
    ground = [flow[mask == 0] for flow, mask in zip(clip.forward_flow, clip.masks, strict=False)]
    names = {"occlusion", "camera-shake", "dynamic-background"}
    if not names & clip.attributes:
        assert np.abs(np.concatenate(ground)).max() < 0.5


def test_examples_are_drawn_alike_and_show_every_object(sources):
    examples = fs.Examples(fs.divided(sources)[1], (48, 80), plain=True)
    a, b = (examples.draw(np.random.default_rng(3), 3) for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert a["appearance"].shape == a["motion"].shape == (3, 3, 48, 80) and a["target"].shape == (3, 48, 80)
    assert a["target"].flatten(1).amax(1).tolist() == [1, 1, 1]
    alone = examples.draw(np.random.default_rng(3), 3, ("motion",))
    assert alone.keys() == {"motion", "target"} and alone["motion"].shape == (3, 3, 48, 80)


@pytest.mark.parametrize("plain", [False, True])
def test_flow_and_mask_of_an_example_belong_together(sources, plain):
    """Where the square is, the picture of the flow is coloured; elsewhere it is pale."""
    examples = fs.Examples([Source("real", sources[0].clips, 1.0)], (60, 100), plain)
    pale = lambda flows, where: float(flows.amin(1)[where].mean())  # noqa: E731
    gap = []
    for seed in range(6):
        drawn = examples.draw(np.random.default_rng(seed), 4)
        flows, targets = drawn["motion"], drawn["target"]
        gap.append(pale(flows, targets == 0) - pale(flows, targets == 1))
    assert min(gap) > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("part", ["appearance", "motion", "fusion"])
def test_a_part_trains_alone(sources, part):
    made = fs.recipe(sources, steps=2, batch=1, size=(48, 80), part=part)
    before = {k: v.clone() for k, v in made.model.state_dict().items()}
    optimizer = torch.optim.AdamW(made.groups, weight_decay=1e-4)
    made.loss(0, np.random.default_rng(0)).backward()
    optimizer.step()
    changed = {k.split(".")[0] for k, v in made.model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {part}


@pytest.mark.slow
def test_all_at_once_trains_each_stream_as_alone(sources):
    """One step of part "all" moves a stream as a step of that stream alone does: nothing flows back from the fusion."""
    def gradients(part):
        made = fs.recipe(sources, steps=2, batch=1, size=(48, 80), part=part)
        made.loss(0, np.random.default_rng(0)).backward()
        return {k: p.grad for k, p in made.model.named_parameters() if p.grad is not None}

    together = gradients("all")
    single = gradients("appearance") | gradients("motion")
    assert {k for k in together if not k.startswith("fusion.")} == single.keys() and len(together) > len(single)
    assert all(torch.allclose(g, together[k], atol=1e-5) for k, g in single.items())


@pytest.mark.slow
@pytest.mark.parametrize("part", ["all", "fusion"])
def test_training_resumes_bit_for_bit(sources, part, tmp_path):
    def made():
        return fs.recipe(sources, steps=4, batch=1, size=(48, 80), part=part)

    whole = train.fit(made(), tmp_path / "whole", every=2)
    assert train.fit(made(), tmp_path / "part", every=2, stop_after=3) is None
    again = train.fit(made(), tmp_path / "part", every=2)
    assert again.read_bytes() == whole.read_bytes()
    assert weights.metadata(whole)["part"] == part
    built = registry.make("fusionseg", scale="toy", weights=str(whole))
    assert built.segment(noise(0, 2)).shape == (2, 2, *SIZE)


# --------------------------------------------------------------------------------- with the weights that ship


@pytest.fixture(scope="module")
def easy():
    return toy.clip(3, length=4, size=(128, 208), split="val", distractors=0, similar=0, stickers=0)


def found(stream, frames):
    return registry.make("fusionseg", scale="toy", stream=stream).segment(frames)[:, 1] > 0.5


@pytest.mark.slow
def test_a_still_clip_does_not_move(easy):
    still = [easy.frame(0)] * 3
    assert found("motion", still).float().mean() < 0.01
    moving = [easy.frame(t) for t in range(4)]
    assert found("motion", moving).float().mean() > 0.01, "and this one does"


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["motion", "both"])
def test_a_mirrored_clip_gives_the_mirrored_result(easy, stream):
    frames = [easy.frame(t) for t in range(4)]
    one, other = found(stream, frames), found(stream, [f.flip(-1) for f in frames]).flip(-1)
    assert (one & other).sum() / (one | other).sum() > 0.75


@pytest.mark.slow
def test_motion_finds_what_moves_whatever_it_looks_like():
    """A square of the ground's own grain that moves over it: no appearance tells it, its motion does."""
    size = (128, 208)
    ground = F.interpolate(torch.rand(1, 3, 64, 104, generator=torch.Generator().manual_seed(0)), size)[0]
    frames = []
    for t in range(3):
        frame = ground.clone()
        frame[:, 40:90, 60 + 4 * t : 120 + 4 * t] = ground.flip(-1)[:, 40:90, 60:120]
        frames.append(frame)
    box = torch.zeros(size, dtype=torch.bool)
    box[40:90, 60:120] = True
    motion = found("motion", frames)[0]
    assert (motion & box).sum() / (motion | box).sum() > 0.6
