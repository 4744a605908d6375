"""MaskRNN: the mask is the state of a recurrence through flow, boxes hold it, both losses teach it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vos_teach import engine, train
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.flow import known
from vos_teach.data.sample import Source
from vos_teach.flow_propagation import maskrnn as R
from vos_teach.ops.losses import soft_iou
from vos_teach.ops.warp import warp
from vos_teach.weights import load

TINY = R.Config(backbone="tiny", steps=0, weights=None)
H, W = 48, 80


def tiny(**options):
    return R.new_network("tiny", False, **options)


def still(a, b):
    return np.zeros((*a.shape[:2], 2), np.float32)


def heard(net):
    """The network, some of whose zeros are numbers now: mask and flow are heard, and boxes are refined."""
    torch.manual_seed(3)
    for m in (net.motion.score, net.localiser.out):
        torch.nn.init.normal_(m.weight, std=0.1)
    first = next(m for m in net.appearance.trunk.modules() if isinstance(m, torch.nn.Conv2d))
    torch.nn.init.normal_(first.weight[:, 3:], std=0.3)
    return net


def square(x=20, y=10, size=12):
    mask = torch.zeros(1, H, W)
    mask[:, y : y + size, x : x + size] = 1
    return mask


class Says(torch.nn.Module):
    """In A's place: a logit made from (frame, warped mask), and features of zeros."""

    def __init__(self, say):
        super().__init__()
        self.say, self.seen = say, []

    def look(self, frame, maps):
        self.seen.append(maps[:, 0].detach().clone())
        return self.say(frame, maps[:, 0]), torch.zeros(len(frame), 24, frame.shape[-2] // 16, frame.shape[-1] // 16)


def saying(say, **options):
    net = tiny(**options)
    net.appearance = Says(say)
    return net


def echo(frame, warped):
    return (warped - 0.5) * 20


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=5, objects=2, split="val")


def test_the_state_is_the_mask_and_moves_with_the_flow():
    """A square that moves by (3, 2) a frame: flow back is (-3, -2), and the warped mask lands where the square is."""
    net = saying(echo)
    state, back = square(20, 10), torch.zeros(1, 2, H, W)
    back[:, 0], back[:, 1] = -3.0, -2.0
    for t in range(1, 4):
        seen = net.step(state, torch.zeros(1, 3, H, W), back, -back)
        assert torch.equal((net.appearance.seen[-1] > 0.5).float(), square(20 + 3 * t, 10 + 2 * t))
        assert torch.equal((seen.mask > 0.5).float(), square(20 + 3 * t, 10 + 2 * t))
        state = seen.mask


def test_flow_is_from_each_frame_to_the_one_before_and_to_the_next(clip):
    frames, exact = [clip.frame(t) for t in range(4)], known(clip)
    back, ahead = R.flows(frames, exact)
    assert back.shape == ahead.shape == (3, 2, *clip.size)
    for t in (1, 2, 3):
        assert np.array_equal(back[t - 1].permute(1, 2, 0).numpy(), clip.backward_flow[t - 1])
    for t in (1, 2):
        assert np.array_equal(ahead[t - 1].permute(1, 2, 0).numpy(), clip.forward_flow[t])
    assert torch.equal(ahead[2], -back[2]), "the last frame has no next"


def test_the_given_warp_is_used(clip):
    calls = []
    net = saying(echo, warp=lambda image, flow: calls.append(flow) or image.roll(5, -1))
    system = R.MaskRNN(net, TINY, still)
    result = system.segment([clip.frame(0), clip.frame(1)], clip.objects(0, [1]))
    assert len(calls) == 1 and torch.equal(result[1, 1] > 0.5, clip.objects(0, [1])[0].roll(5, -1))


def test_the_loss_of_frame_3_reaches_frame_1_through_the_warp():
    """That is what makes it an RNN. Cut, or with a warp that lets no gradient pass, only frame 3's own step is left."""
    def gradient(cut, way=warp):
        net, logits = heard(tiny(warp=way)), []
        real = R.Network.step

        def step(self, *args):
            seen = real(self, *args)
            seen.logit.retain_grad()
            logits.append(seen.logit)
            return seen

        frames, back = torch.rand(1, 4, 3, H, W), torch.rand(1, 3, 2, H, W) * 4 - 2
        target = torch.cat([square(20 + t)[:, None] for t in range(4)], 1)
        net.step = step.__get__(net)
        losses, honest = [], R.objective
        R.objective = lambda seen, truth: losses.append(honest(seen, truth)) or losses[-1]
        try:
            R.unroll(net, frames, back, -back, square(), target, through_time=not cut)
        finally:
            R.objective = honest
        losses[2].backward()
        return [0.0 if x.grad is None else float(x.grad.abs().sum()) for x in logits]

    torch.manual_seed(0)
    through = gradient(cut=False)
    assert all(g > 0 for g in through), through
    assert gradient(cut=True)[:2] == [0, 0]
    assert gradient(cut=False, way=lambda x, f: warp(x, f).detach())[:2] == [0, 0]


def test_the_gradient_through_time_is_the_slope_of_the_loss():
    net = heard(tiny()).double().eval()
    frames = torch.rand(1, 3, 3, 32, 48, dtype=torch.float64)
    back = torch.rand(1, 2, 2, 32, 48, dtype=torch.float64)
    first = torch.zeros(1, 32, 48, dtype=torch.float64)
    first[:, 8:20, 10:30] = 0.9
    target = first[:, None].repeat(1, 3, 1, 1) > 0.5
    way, first = torch.randn(first.shape, dtype=torch.float64) * (first > 0), first.requires_grad_()

    def loss(mask):
        return R.unroll(net, frames, back, -back, mask, target)

    loss(first).backward()
    eps = 1e-5
    with torch.no_grad():
        slope = (loss(first + eps * way) - loss(first - eps * way)) / (2 * eps)
    assert torch.allclose((first.grad * way).sum(), slope, rtol=1e-3)


def test_the_gate_keeps_what_is_inside_the_box_and_nothing_else():
    """The object's twin at the other end of the frame is segmented as well, and must not get through."""
    def both(frame, warped):
        return (torch.maximum(square(20, 10), square(60, 30)) - 0.5) * 20

    state, frame, flow = square(20, 10), torch.zeros(1, 3, H, W), torch.zeros(1, 2, H, W)
    seen = saying(both).step(state, frame, flow, flow)
    assert torch.equal((seen.mask > 0.5).float(), square(20, 10))
    outside = torch.ones(H, W)
    outside[7:25, 17:35] = 0  # 12 pixels each way times 1.5: 3 more on each side
    assert not (seen.mask[0] * outside).any() and (seen.mask[0] * (1 - outside) > 0).sum() == 18 * 18
    assert torch.equal(seen.mask[0] * (1 - outside), torch.sigmoid(seen.logit[0]) * (1 - outside))
    assert seen.logit[0, 35, 65] > 0, "the loss sees what the gate hides"
    free = saying(both, gate=False).step(state, frame, flow, flow)
    assert torch.equal(free.mask, torch.sigmoid(free.logit))


def test_the_gate_is_where_the_refined_box_says():
    net = saying(lambda frame, warped: torch.full((1, H, W), 9.0))
    state, frame, flow = square(20, 10), torch.zeros(1, 3, H, W), torch.zeros(1, 2, H, W)
    with torch.no_grad():
        net.localiser.out.bias.copy_(torch.tensor([0.5, 0.0, 0.0, float(np.log(4 / 3))]))
    got = net.step(state, frame, flow, flow).mask[0] > 0.5
    want = torch.zeros(H, W, dtype=torch.bool)
    want[4:28, 23:41] = True  # centre (26, 16) moved to (32, 16); 12 x 16, times 1.5: 18 x 24
    assert torch.equal(got, want)
    with torch.no_grad():
        net.localiser.out.bias.copy_(torch.tensor([0.0, 0.0, -50.0, -50.0]))
    assert net.step(state, frame, flow, flow).mask[0, 12:20, 22:30].min() > 0.5, "one frame cannot close a box"


def test_an_empty_warped_mask_has_no_gate_and_what_is_not_found_stays(clip):
    net = saying(lambda frame, warped: torch.full((1, *clip.size), 9.0))
    with torch.no_grad():
        net.localiser.out.bias.fill_(-5.0)
    seen = net.step(torch.zeros(1, *clip.size), clip.frame(0)[None], *[torch.zeros(1, 2, *clip.size)] * 2)
    assert not seen.there and (seen.mask > 0.5).all()

    n = clip.objects(0, [1])
    net = saying(lambda frame, warped: echo(frame, warped) - 30 * (len(net.appearance.seen) == 1))
    result = R.MaskRNN(net, TINY, still).segment([clip.frame(0)] * 3, n)
    assert not result[1].argmax(0).any(), "lost in frame 1"
    assert torch.equal(net.appearance.seen[1] > 0.5, n), "frame 2 starts from the last place"
    assert torch.equal(result[2].argmax(0) == 1, n[0])


def test_a_still_clip_of_a_network_that_trusts_its_mask(clip):
    net = saying(echo)
    result = R.MaskRNN(net, TINY, "dis").segment([clip.frame(0)] * 5, clip.objects(0))
    for prob in result:
        assert torch.equal(prob[1:] > 0.5, clip.objects(0))
    assert [len(x) for x in net.appearance.seen] == [2] * 4, "both objects in one pass, as long as they share a network"


def test_objects_of_one_pass_do_not_meet(clip):
    net, frames = heard(tiny()).eval(), [clip.frame(t) for t in range(3)]
    both, apart = clip.objects(0), []
    system = R.MaskRNN(net, TINY)
    back, ahead = R.flows(frames)
    for k in (0, 1):
        apart.append(system.look([net], both[k : k + 1].float(), frames[1], back[0], ahead[0]))
    together = system.look([net, net], both.float(), frames[1], back[0], ahead[0])
    assert torch.allclose(together, torch.cat(apart), atol=1e-6)


def test_a_pixel_stays_in_the_state_of_who_wants_it_most(clip):
    """Two objects in one place: the surer one keeps it, so the other starts the next frame without."""
    masks = torch.zeros(2, *clip.size, dtype=torch.bool)
    masks[0, 10:30, 10:30], masks[1, 10:30, 31:50] = True, True
    grown = masks.any(0).float()
    nets = [saying(lambda f, w: torch.where(w > 0.5, 5.0, 2.0) * (2 * grown - 1)) for _ in range(2)]
    system, calls = R.MaskRNN(nets[0], TINY, still), iter(nets)
    system.learn = lambda frame, mask: next(calls)
    system.segment([clip.frame(0)] * 3, masks)
    for net, mask in zip(nets, masks, strict=True):
        assert torch.equal(net.appearance.seen[1][0] > 0.5, mask)


def test_sizes_of_flow_are_squeezed_beside_the_height():
    flow = torch.zeros(2, 40, 60)
    flow[0, :10], flow[:, 10:20] = 1.0, torch.tensor([3.0, 4.0])[:, None, None]
    found = R.speed(flow)
    assert torch.allclose(found[:10], torch.tensor(0.5)) and torch.allclose(found[10:20], torch.tensor(5 / 6))
    assert not found[20:].any()
    assert torch.allclose(R.speed(F.interpolate(flow[None], scale_factor=2)[0] * 2)[::2, ::2], found)


def test_each_network_sees_what_the_docstring_says():
    net = heard(tiny(gate=False)).eval()
    mask, frame, a, b = square(), torch.rand(1, 3, H, W), torch.rand(1, 2, H, W), torch.rand(1, 2, H, W)
    with torch.no_grad():
        base, maps = net.step(mask, frame, a * 0, b).logit, net.motion
        assert torch.allclose(
            base, net.appearance.look(frame, mask[:, None])[0]
            + maps(torch.cat([R.speed(torch.stack([a * 0, b], 1)), mask[:, None]], 1)), atol=1e-6)
        assert not torch.allclose(net.step(mask, frame, a * 0, 3 * b).logit, base), "the next frame's flow is heard"
        assert torch.allclose(net.step(mask, frame, a * 0, -b).logit, base), "its size only"
        assert not torch.allclose(net.step(mask, 1 - frame, a * 0, b).logit, base)
        assert not torch.allclose(net.step(mask * 0, frame, a * 0, b).logit, base)


def test_a_start_from_masktrack_says_what_masktrack_says():
    """Without flow the untrained motion network and boxes add nothing: step is MaskTrack's network."""
    from vos_teach.nn.guided import Guided

    theirs, net = Guided("lite0", False, 1), R.new_network("lite0", False, gate=False)
    theirs.load_state_dict(load("masktrack"))
    R.load_into(net.appearance, "masktrack")
    frame, zero = torch.rand(1, 3, H, W), torch.zeros(1, 2, H, W)
    frame = F.pad(frame, (0, 0, 0, 16), mode="replicate")[..., :64, :]
    zero, mask = torch.zeros(1, 2, 64, W), F.pad(square(), (0, 0, 0, 16))
    with torch.no_grad():
        seen = net.eval().step(mask, frame, zero, zero)
        assert torch.allclose(seen.logit, theirs.eval()(frame, mask[:, None])[:, 0], atol=1e-5)
    assert not seen.deltas.any()


def test_both_losses_by_hand():
    logit, target = torch.randn(2, H, W), torch.cat([square(24, 10, 16), torch.zeros(1, H, W)])
    rough = torch.tensor([[20.0, 10.0, 32.0, 22.0], [0.0, 0.0, 10.0, 10.0]])
    deltas = torch.tensor([[0.1, 0.0, 0.0, 0.3], [9.0, 9.0, 9.0, 9.0]], requires_grad=True)
    seen = R.Seen(torch.sigmoid(logit), logit, rough, torch.tensor([True, True]), deltas)
    # from centre (26, 16), size 12 to centre (32, 18), size 16: the second has no object, so no box either
    off = np.abs(np.array([0.1 - 0.5, -2 / 12, -np.log(4 / 3), 0.3 - np.log(4 / 3)]))
    box = np.where(off < 0.1, off**2 / 0.2, off - 0.05).mean()
    want = F.binary_cross_entropy_with_logits(logit, target) + 1 - soft_iou(torch.sigmoid(logit), target).mean() + box
    got = R.objective(seen, target)
    assert torch.isclose(got, want.float(), atol=1e-5)
    got.backward()
    assert (deltas.grad[0] != 0).all() and not deltas.grad[1].any()
    nothing = seen._replace(there=torch.tensor([False, True]))
    assert torch.isclose(R.objective(nothing, target), (want - box).float(), atol=1e-5)


@pytest.mark.parametrize("lucid", [True, False])
def test_online_learning_trains_copies_and_leaves_the_network_alone(clip, lucid):
    net = tiny()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    steps = []
    config = R.Config(backbone="tiny", steps=2, weights=None, lucid=lucid)
    system = R.MaskRNN(net, config, on_step=lambda step, tuned: steps.append((step, tuned)))
    result = engine.run(system, clip.cut(0, 3))
    assert [s for s, _ in steps] == [0, 1, 2] * 2 and len({id(tuned) for _, tuned in steps}) == 2
    assert result.finetune_seconds > 0, "the whole clip is one call, and the cost is still known"
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert any(not torch.equal(v, before[k]) for k, v in steps[0][1].state_dict().items())
    assert engine.run(R.MaskRNN(net, TINY), clip.cut(0, 2)).finetune_seconds == 0


def test_dreams_come_with_flow_and_lone_frames_without(clip, monkeypatch):
    seen = []
    monkeypatch.setattr(R, "unroll", lambda net, frames, back, *rest: seen.append((frames, back)) or next(
        net.parameters()).sum() * 0)
    for lucid in (True, False):
        config = R.Config(backbone="tiny", steps=3, weights=None, lucid=lucid)
        R.MaskRNN(tiny(), config).learn(clip.frame(0), clip.objects(0, [1])[0])
    dreams, lone = seen[:3], seen[3:]
    assert all(back.abs().max() > 0.5 and not torch.equal(f[0, 0], f[0, 1]) for f, back in dreams)
    assert all(not back.any() and torch.equal(f[0, 0], f[0, 1]) for f, back in lone) and len(lone) > 0


def test_an_object_that_is_not_there_costs_nothing_and_the_other_is_tracked(clip):
    masks = clip.objects(0)
    masks[0] = False
    result = R.MaskRNN(saying(echo), TINY, still).segment([clip.frame(0)] * 3, masks)
    assert not (result.argmax(1) == 1).any() and torch.equal(result[2].argmax(0) == 2, masks[1])


def test_late_objects_are_refused_in_a_sentence(clip):
    from dataclasses import replace

    with pytest.raises(VosError, match="appears after frame 0"):
        engine.run(R.MaskRNN(saying(echo), TINY), replace(clip, starts={1: 0, 2: 2}))
    with pytest.raises(VosError, match="ships no weights"):
        R.maskrnn(scale="paper")


@pytest.mark.slow
def test_training_resumes_exactly(tmp_path):
    sources = [Source("toy", toy.training(4), 1.0)]

    def recipe():
        return R.recipe(sources, "toy", steps=4, batch=1, size=(48, 80), length=3)

    whole = train.fit(recipe(), tmp_path / "a", every=2)
    assert train.fit(recipe(), tmp_path / "b", every=2, stop_after=2) is None
    assert train.fit(recipe(), tmp_path / "b", every=2).read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_training_through_time_teaches_mask_and_box():
    """From MaskTrack's weights a few steps on toy clips: less of both losses on clips it has not seen."""
    recipe = R.recipe([Source("toy", toy.training(12), 1.0)], "toy", steps=30, batch=2, size=(96, 160), length=3)
    optimizer, boxes = torch.optim.AdamW(recipe.groups), []
    honest = R.objective

    def measured():
        """Mean loss, and the mean error of deltas, on examples kept for this."""
        seen = []

        def objective(one, target):
            true, shown = R.boxes_of(target)
            both = one.there & shown
            boxes.append((one.deltas - R.deltas_between(one.rough, true).clamp(-R.MOST, R.MOST))[both].abs().mean())
            return honest(one, target)

        boxes.clear()
        R.objective = objective
        try:
            with torch.no_grad():
                seen = [recipe.loss(0, np.random.default_rng([9, i])).item() for i in range(6)]
        finally:
            R.objective = honest
        return np.mean(seen), float(torch.stack(boxes).nanmean())

    before = measured()
    for step in range(30):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = measured()
    assert after[0] < 0.9 * before[0] and after[1] < 0.9 * before[1], (before, after)
