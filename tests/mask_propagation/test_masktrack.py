"""MaskTrack: the fourth channel, the recursion on its own masks, training from single frames, both modes."""

import numpy as np
import pytest
import torch

from vos_teach import engine
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.mask_propagation import masktrack as M
from vos_teach.nn.backbone import backbone, widen

TINY = M.Config(backbone="tiny", steps=3, weights=None)


def tiny():
    return M.new_network("tiny", False)


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=5, objects=2, split="val")


@pytest.mark.parametrize("name", ["tiny", "lite0", "resnet18"])
def test_new_channels_change_nothing_until_they_are_trained(name):
    torch.manual_seed(0)
    plain = backbone(name, False)
    torch.manual_seed(0)
    wide = widen(backbone(name, False), 2)
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for a, b in zip(plain(x), wide(torch.cat([x, torch.rand(1, 2, 64, 96)], 1)), strict=True):
            assert torch.allclose(a, b, atol=1e-5)
    loss = wide(torch.rand(1, 5, 64, 96))[0].square().sum()
    loss.backward()
    first = next(m for m in wide.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.weight.grad[:, 3:].abs().sum() > 0


def test_the_mask_is_heard_once_it_has_been_trained():
    net, x = tiny(), torch.rand(1, 3, 32, 48)
    masks = torch.zeros(1, 32, 48), torch.ones(1, 32, 48)
    with torch.no_grad():
        assert torch.equal(net(x, masks[0]), net(x, masks[1]))
        first = next(m for m in net.trunk.modules() if isinstance(m, torch.nn.Conv2d))
        first.weight[:, 3] = 0.5
        assert not torch.allclose(net(x, masks[0]), net(x, masks[1]))


class Mover(torch.nn.Module):
    """In the network's place: the last mask, one pixel to the right."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, frame, mask):
        self.seen.append(mask[0].clone())
        return (mask.float().roll(1, -1) - 0.5) * 20


def test_the_recursion_is_on_its_own_hard_masks(clip):
    one = M.OneTracked(Mover(), M.Config(steps=0))
    first = clip.objects(0, [1])
    one.start(clip.frame(0), first)
    for t in range(1, 4):
        p = one.step(clip.frame(t))[1]
        assert torch.equal(p > 0.5, first[0].roll(t, -1))
    assert all(m.dtype == torch.bool for m in one.net.seen) and torch.equal(one.net.seen[2], first[0].roll(2, -1))


def test_while_nothing_is_found_the_last_mask_stays(clip):
    net = Mover()
    one = M.OneTracked(net, M.Config(steps=0))
    one.start(clip.frame(0), clip.objects(0, [1]))
    net.forward = lambda frame, mask: torch.full(mask.shape, -9.0)
    one.step(clip.frame(1))
    assert torch.equal(one.last, clip.objects(0, [1])[0])


def test_an_example_shows_the_spoilt_mask_and_asks_for_the_true_one(clip):
    frame, mask = clip.frames[0], (clip.masks[0] == 1).astype(np.uint8)
    image, last, target = M.example(frame, mask, np.random.default_rng(0))
    assert torch.equal(target, torch.from_numpy(mask).long()) and not torch.equal(last, target)
    assert image.shape == (3, *mask.shape) and image.min() >= 0 and image.max() <= 1
    seen = []
    M.example(frame, mask, np.random.default_rng(0), lambda m, rng: seen.append(m) or m * 0)
    assert np.array_equal(seen[0], mask), "a student's own deformation takes the library's place"


def test_offline_trains_nothing_and_online_a_copy(clip):
    net = tiny()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for steps in (0, 3):
        system = M.MaskTrack(net, M.Config(backbone="tiny", steps=steps))
        engine.run(system, clip)
        assert all((one.net is net) == (steps == 0) for one in system.copies) and len(system.copies) == 2
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert any(not torch.equal(v, before[k]) for k, v in system.copies[0].net.state_dict().items())


@pytest.mark.slow
def test_training_on_single_frames_teaches_it_to_refine_the_mask_it_is_given():
    """Asked for either of two objects of an unseen frame, it must take that one: the mask is heard."""
    sources = [Source("toy", toy.training(12, seed=0), 1.0)]
    recipe = M.recipe(sources, "toy", steps=150, batch=4, size=(96, 160))
    recipe.model.trunk.requires_grad_(True)
    optimizer = torch.optim.AdamW(recipe.groups)
    for step in range(150):
        loss = recipe.loss(step, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    recipe.model.eval()
    clip, asked, other = toy.clip(9, length=2, objects=2, split="val"), [], []
    with torch.no_grad():
        for k in clip.ids:
            truth = clip.masks[0] == k
            _, last, _ = M.example(clip.frames[0], truth.astype(np.uint8), np.random.default_rng(1))
            said = recipe.model(clip.frame(0)[None], last[None])[0].numpy() > 0
            asked.append((said & truth).sum() / (said | truth).sum())
            rest = (clip.masks[0] != k) & (clip.masks[0] > 0)
            other.append((said & rest).sum() / (said | rest).sum())
    assert min(asked) > 0.5 and max(other) < 0.3, (asked, other)


def test_bad_options_are_told_in_a_sentence():
    with pytest.raises(VosError, match="ships no weights"):
        M.masktrack(scale="paper")
    with pytest.raises(VosError, match="choose from: trained, imagenet"):
        M.masktrack(init="nothing")


def test_lucid_fine_tuning_sees_dreams(clip, monkeypatch):
    seen = []
    real = M.Dreamer

    class Watched(real):
        def pair(self, rng):
            seen.append(real.pair(self, rng))
            return seen[-1]

    monkeypatch.setattr(M, "Dreamer", Watched)
    heard = []
    monkeypatch.setattr(M, "objective", lambda logit, target: heard.append(target) or logit.square().mean())
    M.OneTracked(tiny(), M.Config(backbone="tiny", steps=3, lucid=True)).start(clip.frame(0), clip.objects(0, [1]))
    assert len(seen) == 3
    assert all(np.array_equal(t[0].numpy(), d.second_mask) for t, d in zip(heard, seen, strict=True))


def test_spoiling_is_seeded_leaves_the_mask_alone_and_is_of_every_kind(clip):
    mask = (clip.masks[0] == 1).astype(np.uint8)
    kept, kinds = mask.copy(), {"fragment": 0, "patch": 0}
    for seed in range(80):
        said = M.spoil(mask, np.random.default_rng(seed))
        assert np.array_equal(said, M.spoil(mask, np.random.default_rng(seed))) and set(np.unique(said)) <= {0, 1}
        kinds["fragment"] += said.sum() < 0.6 * mask.sum()
        kinds["patch"] += said.sum() > 1.3 * mask.sum()
    assert np.array_equal(mask, kept) and min(kinds.values()) > 4, kinds
    assert not M.spoil(mask * 0, np.random.default_rng(0)).any()
