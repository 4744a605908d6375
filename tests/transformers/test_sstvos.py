"""SSTVOS: sparse against dense attention in the whole network, what travels with it, reach, the window, descent."""

import numpy as np
import oracles.lookup as oracle
import pytest
import torch
import torch.nn.functional as F

from vos_teach import engine
from vos_teach import weights as W
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source
from vos_teach.ops import sparse
from vos_teach.ops.attention import grid_attention
from vos_teach.transformers import cfbi
from vos_teach.transformers import sstvos as S

TINY = S.Config("tiny", 8, channels=16, weights=None)


def tiny(attention=grid_attention, config=TINY):
    net = S.new_network(config, False, attention).eval()
    with torch.no_grad():
        net.role.copy_(rand(*net.role.shape, seed=9))
    return net


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_hot(labels, count):
    return F.one_hot(labels, count + 1).movedim(-1, 0).bool()


def frames_seen(count, size=(3, 4), objects=2, channels=8):
    """Embeddings of length 2 and labels of so many frames."""
    labels = torch.randint(0, objects + 1, (count, *size), generator=torch.Generator().manual_seed(1))
    return [(2 * F.normalize(rand(channels, *size, seed=t), dim=0), one_hot(labels[t], objects)) for t in range(count)]


@pytest.fixture(scope="module")
def clip():
    return toy.clip(2, length=7, objects=2, split="val")


def probabilities(system, clip):
    return [system.start(clip.frame(0), clip.objects(0))] + [system.step(clip.frame(t)) for t in range(1, len(clip))]


def under(mask_of):
    """Dense attention that is told by a mask what not to see."""
    return lambda q, k, v: sparse.dense_attention(q, k, v, mask_of(q.shape[1:]))


@pytest.mark.parametrize("name", S.PATTERNS)
def test_the_whole_network_is_the_same_with_dense_attention_under_the_same_mask(name, clip):
    clip = clip.cut(0, 4)
    results = [probabilities(S.SSTVOS(tiny(attention)), clip)
               for attention in (S.PATTERNS[name], [under(m) for m in S.MASKS[name]])]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))
    other = "local" if name == "grid" else "grid"
    assert not torch.allclose(results[0][-1], probabilities(S.SSTVOS(tiny(S.PATTERNS[other])), clip)[-1], atol=1e-5)


def test_layers_take_several_operators_in_turns():
    called = []

    def named(name):
        return lambda q, k, v: called.append(name) or grid_attention(q, k, v)

    (first, now) = frames_seen(2)
    with torch.no_grad():
        tiny([named("a"), named("b")]).match(now[0], ([first], []))
    assert called == ["a", "a", "b", "b", "a", "a"], "two heads each"


def test_the_labels_travel_with_the_attention():
    """`match` against the loop: two layers, two heads, three frames."""
    net = tiny(config=S.Config("tiny", 8, channels=16, layers=2, frames=3, weights=None))
    (first, its), (last, labels), (now, _) = frames_seen(3)
    with torch.no_grad():
        maps, context = net.match(now, ([(first, its)], [(last, labels)]))
        x = net.place(torch.stack([first, last, now]) * 8**0.5 / 2) + net.role
        x = (x + S.sine_positions((3, 4), 16)).movedim(1, 0)
        planes, kept = torch.stack([its, labels, torch.zeros_like(its)], 1).float(), []
        for layer in net.layers:
            y = layer.norm(x.movedim(0, -1))
            q, k, v = (f(y).movedim(-1, 0) for f in (layer.query, layer.key, layer.value))
            read, shares = [], []
            for head in (slice(0, 8), slice(8, 16)):
                both = torch.cat([v[head], planes])
                out = torch.from_numpy(oracle.grid(*(z[head].double().numpy() for z in (q, k)), both.double().numpy()))
                read.append(out[:8].float())
                shares.append((out[8:, -1] / out[8:, -1].sum(0)).float())
            x = x + layer.out(torch.cat(read).movedim(0, -1)).movedim(-1, 0)
            x = x + layer.feed(layer.calm(x.movedim(0, -1))).movedim(-1, 0)
            planes[:, -1] = (shares[0] + shares[1]) / 2
            kept += shares
    for k in (1, 2):
        for i, share in enumerate(kept):
            rest = torch.stack([share[j] for j in range(3) if j != k]).amax(0)
            assert torch.allclose(maps[k - 1, 2 * i], 1 - share[k], atol=1e-4)
            assert torch.allclose(maps[k - 1, 2 * i + 1], 1 - rest, atol=1e-4)
            assert torch.allclose(share.sum(0), torch.ones(3, 4), atol=1e-5)
    assert torch.allclose(context, x[:, -1], atol=1e-4)


def test_a_first_layer_hears_of_labels_along_the_time_line_alone_and_three_of_everything():
    size = 5, 6
    (first, its), (last, labels), (now, _) = frames_seen(3, size)
    moved = labels.clone()
    moved[:, 2, 3] = labels[:, 2, 3].roll(1)
    for layers in (1, 2, 3):
        net = tiny(config=S.Config("tiny", 8, channels=16, layers=layers, weights=None))
        with torch.no_grad():
            maps = [net.match(now, ([(first, its)], [(last, x)]))[0] for x in (labels, moved)]
        changed = (maps[0] != maps[1])[:, -4:].flatten(0, 1).any(0)
        place = 2 * 6 + 3  # in the new frame, the last of three
        heard = sparse.reach_of([sparse.grid_mask((3, *size))], layers)[-1][-30:, 30 + place].view(size)
        assert torch.equal(changed, heard), layers
    assert changed.all()
    assert sparse.hops([sparse.grid_mask((4, 5, 6))]) == S.SCALES["small"].layers == 3


def test_one_pass_serves_all_objects_and_their_order_is_theirs():
    calls = []
    net = tiny(lambda q, k, v: calls.append(len(v)) or grid_attention(q, k, v))
    frames = frames_seen(3, objects=3)
    now, past = frames[-1][0], ([frames[0]], [frames[1]])
    with torch.no_grad():
        maps, context = net.match(now, past)
        assert calls == [16 // TINY.heads + 4] * (TINY.layers * TINY.heads), "its own channels and four labels"
        order = [0, 3, 1, 2]
        turned, same = net.match(now, tuple([(e, x[order]) for e, x in part] for part in past))
    assert torch.allclose(turned, maps[[2, 0, 1]], atol=1e-5) and torch.allclose(same, context, atol=1e-5)


def test_the_window_keeps_frame_0_and_the_latest_and_does_not_grow(clip):
    windows, net = [], tiny(lambda q, k, v: windows.append(q.shape[1]) or grid_attention(q, k, v))
    system = S.SSTVOS(net)
    system.start(clip.frame(0), clip.objects(0))
    start, embeddings = system.past[0][0][0], []
    for t in range(1, len(clip)):
        system.step(clip.frame(t))
        embeddings.append(system.past[1][-1][0])
    assert windows[:: TINY.layers * TINY.heads] == [2, 3, 4, 4, 4, 4]
    assert system.past[0][0][0] is start and [e is x for (e, _), x in zip(system.past[1], embeddings[-2:], strict=True)]


def test_a_frame_in_which_an_object_appears_stays_and_counts_once(clip):
    windows, net = [], tiny(lambda q, k, v: windows.append(q.shape[1]) or grid_attention(q, k, v))
    system, (a, b) = S.SSTVOS(net), clip.objects(0)
    system.start(clip.frame(0), a[None])
    system.step(clip.frame(1), b[None])
    for t in range(2, 7):
        assert system.step(clip.frame(t)).shape[0] == 3
    assert windows[:: TINY.layers * TINY.heads] == [2, 3, 4, 5, 5, 5], "two frames that stay, two latest, the new one"
    assert [len(part) for part in system.past] == [2, 2] and all(len(x) == 3 for part in system.past for _, x in part)


def test_a_frame_that_is_first_and_latest_brings_its_latest_labels(clip):
    """As the first frame of one object it knows that one alone; as the latest one it knows all of them."""
    carried = []

    def attention(q, k, v):
        carried.append(v[16 // TINY.heads :])  # labels K+1,T,h,w
        return grid_attention(q, k, v)

    system, (a, b) = S.SSTVOS(tiny(attention)), clip.objects(0)
    system.start(clip.frame(0), a[None])
    system.step(clip.frame(1), b[None])
    complete = system.past[1][-1][1]
    for t in (2, 3):  # the window holds two latest frames
        carried.clear()
        system.step(clip.frame(t))
        assert torch.equal(carried[0][:, 1], complete.float()) and (complete.sum(0) == 1).all()
    system.step(clip.frame(4))
    carried.clear()
    system.step(clip.frame(5))
    assert not carried[0][:2, 1].any() and torch.equal(carried[0][2, 1], complete[2].float()), "then what was given"


def test_training_reaches_every_part_through_time():
    net, frames = tiny().train(), torch.rand(1, 5, 3, 32, 48)
    labels = torch.zeros(1, 5, 32, 48, dtype=torch.long)
    labels[..., 4:20, 4:20], labels[..., 10:30, 22:44] = 1, 2
    cfbi.unroll(net, frames, labels, torch.tensor([2])).backward()
    idle = {name for name, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    assert idle <= {f"layers.{i}.key.bias" for i in range(3)}, idle  # a key's bias changes no softmax


def test_like_attends_to_like_before_any_training():
    layer = tiny().layers[0]
    y = layer.norm(rand(2, 3, 4, 16))
    score = torch.einsum("...c,...c->...", layer.query(y), layer.key(y))
    assert torch.equal(layer.query(y), layer.key(y)) and (score >= 0).all()


def test_it_descends_from_cfbi(tmp_path):
    parent, net = cfbi.new_network(cfbi.Config("tiny", 8, weights=None), False), tiny()
    with torch.no_grad():
        for p in parent.parameters():
            p.copy_(torch.randn_like(p))
    W.save(parent, tmp_path / "cfbi.safetensors")
    fresh = {k: v.clone() for k, v in net.state_dict().items()}
    S.descend(net, tmp_path / "cfbi.safetensors")
    theirs = W.load(tmp_path / "cfbi.safetensors")
    for name, value in net.state_dict().items():
        if name.startswith(("trunk.", "pyramid.", "decoder.")):
            assert torch.equal(value, theirs[name]), name
        elif name.startswith(("layers.", "place.", "role", "vote.")):
            assert torch.equal(value, fresh[name]), name
    entry = net.enter.weight
    assert torch.equal(entry[:, :64], theirs["enter.weight"][:, :64])
    assert torch.equal(entry[:, -1], theirs["enter.weight"][:, -1])
    assert torch.equal(entry[:, 64:-1], fresh["enter.weight"][:, 64:-1])
    with pytest.raises(VosError, match="none of CFBI's"):
        S.descend(net, "osvos")


@pytest.mark.slow
def test_the_recipe_is_the_same_for_the_same_seed_and_fits_the_file():
    source = [Source("toy", [toy.clip(1, length=5, objects=2)], 1.0)]
    recipe = S.recipe(source, steps=40, batch=1, size=(48, 80), start=None, backbone="tiny", embedding=8, channels=16)
    for step in (0, 10, 30):
        again = [recipe.loss(step, np.random.default_rng([0, step])) for _ in range(2)]
        assert torch.isfinite(again[0]) and torch.equal(*again)
    assert recipe.model.background and recipe.about["attention"] == ["grid_attention"]
    net = S.new_network(S.SCALES["small"], False)
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 3.9e6


@pytest.mark.acceptance  # a minute each
def test_a_few_steps_teach_it_which_object_is_which():
    sources = [Source("toy", [toy.clip(s, length=6, objects=2, distractors=0) for s in range(3)], 1.0)]
    recipe = S.recipe(sources, steps=200, batch=2, size=(96, 160), start=None)
    optimizer = torch.optim.AdamW(recipe.groups)
    for step in range(25):
        optimizer.zero_grad()
        recipe.loss(step, np.random.default_rng([0, step])).backward()
        optimizer.step()
    clip, system = sources[0].clips[0], S.SSTVOS(recipe.model)
    said = probabilities(system, clip)[3].argmax(0)
    iou = [[float((said == k + 1).logical_and(m).sum() / (said == k + 1).logical_or(m).sum())
            for m in clip.objects(3)] for k in range(2)]
    assert iou[0][0] > iou[0][1] + 0.2 and iou[1][1] > iou[1][0] + 0.2, iou


def test_the_engine_runs_it_and_an_empty_mask_asks_for_nothing(clip):
    assert len(engine.run(S.SSTVOS(tiny()), clip).masks) == len(clip)
    system = S.SSTVOS(tiny())
    system.start(clip.frame(0), torch.zeros(1, *clip.size, dtype=torch.bool))
    assert (system.step(clip.frame(1)).argmax(0) == 0).all()


def test_bad_options_are_told_in_a_sentence():
    with pytest.raises(VosError, match="ships no weights"):
        S.sstvos(scale="paper")
    with pytest.raises(VosError, match="frames must be at least 3"):
        S.sstvos(init="imagenet", frames=2)
