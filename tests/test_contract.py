"""What every system owes, whoever wrote it: it joins these tests by being registered.

Budgets are steps, never seconds; the tolerance is 1e-5.
"""

from functools import cache

import numpy as np
import pytest
import torch

from vos_teach import engine, registry
from vos_teach.clip import Clip, Lazy
from vos_teach.data import toy

TOL = 1e-5
ONE_SHOT = [n for n in registry.names() if registry.spec(n).task == "one-shot"]


def system(name):
    options = {"steps": 3} if registry.spec(name).finetunes else {}
    if name == "onavos":
        options["adapt_steps"] = 3  # on every frame, for each object
    return registry.make(name, scale="toy", **options)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return toy.clip(5, length=5, objects=2, split="val")


def play(segmenter, clip, ids=None, news=None, seed=0):
    """All results of a system on a clip, without the engine: list of K+1,H,W."""
    segmenter.seed = seed
    frames = [clip.frame(t) for t in range(len(clip))]
    masks = clip.objects(0, ids) if segmenter.task == "one-shot" else None
    if not segmenter.causal:
        return list(segmenter.segment(frames, masks))
    out = [segmenter.start(frames[0], masks)]
    for t in range(1, len(clip)):
        out.append(segmenter.step(frames[t], (news or {}).get(t)))
    return out


@pytest.fixture(scope="module")
def plain(clip):
    """name -> the results of a new system on `clip`, played once."""
    return cache(lambda name: play(system(name), clip))


@pytest.mark.parametrize("name", registry.names())
def test_every_pixel_has_a_distribution(name, clip, plain):
    for prob in plain(name):
        assert prob.shape[-2:] == clip.size
        assert prob.min() >= -TOL and prob.max() <= 1 + TOL
        assert torch.allclose(prob.sum(0), torch.ones(clip.size), atol=TOL)


@pytest.mark.parametrize("name", ONE_SHOT)
def test_the_given_masks_come_back_intact(name, clip, plain):
    assert torch.allclose(plain(name)[0][1:], clip.objects(0).float(), atol=TOL)


@pytest.mark.parametrize("name", ONE_SHOT)
def test_permuting_the_objects_permutes_the_result(name, clip, plain):
    if registry.spec(name).ordered_slots:
        pytest.skip("this system's slots are ordered")
    a, b = clip.ids
    for one, other in zip(plain(name), play(system(name), clip, (b, a)), strict=True):
        assert torch.allclose(one, other[[0, 2, 1]], atol=TOL)


@pytest.mark.parametrize("name", registry.names())
def test_nothing_is_remembered_of_the_clip_before(name, clip, plain):
    used = system(name)
    play(used, toy.clip(8, length=3, objects=1, split="val"))
    for one, other in zip(plain(name), play(used, clip), strict=True):
        assert torch.allclose(one, other, atol=TOL)


@pytest.mark.parametrize("name", registry.names())
def test_a_causal_system_does_not_see_the_future(name, clip, plain):
    if not system(name).causal:
        pytest.skip("this system needs the whole clip")
    frames = list(clip.frames)
    frames[3] = 255 - frames[3]
    other = Clip(clip.name, frames, clip.masks, clip.ids, clip.size)
    before, after = plain(name), play(system(name), other)
    for t in range(3):
        assert torch.allclose(before[t], after[t], atol=TOL)


@pytest.mark.parametrize("name", ONE_SHOT)
def test_an_empty_mask_asks_for_nothing(name, clip):
    segmenter = system(name)
    masks = torch.zeros(1, *clip.size, dtype=torch.bool)
    segmenter.seed = 0
    if segmenter.causal:
        first, second = segmenter.start(clip.frame(0), masks), segmenter.step(clip.frame(1))
    else:
        first, second = segmenter.segment([clip.frame(0), clip.frame(1)], masks)
    assert first[0].min() >= 1 - TOL
    assert (second.argmax(0) == 0).all()
    assert getattr(segmenter, "finetune_seconds", 0.0) == 0.0


@pytest.mark.parametrize("name", ONE_SHOT)
def test_late_objects_get_the_next_slot(name, clip):
    if not system(name).causal:
        pytest.skip("this system needs the whole clip")
    a, b = clip.ids
    late = clip.objects(2, (b,))
    results = play(system(name), clip, (a,), {2: late})
    assert [len(r) for r in results] == [2, 2, 3, 3, 3]
    assert (results[2].argmax(0) == 2)[late[0]].all(), "the given mask owns its pixels"
    assert torch.allclose(results[3].sum(0), torch.ones(clip.size), atol=TOL)


@pytest.mark.parametrize("name", registry.names())
def test_the_same_seed_gives_the_same_result(name, clip, plain):
    for one, other in zip(plain(name), play(system(name), clip), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", registry.names())
def test_the_engine_runs_it_and_gives_ids(name, clip):
    renamed = Clip("ids", clip.frames, Lazy(len(clip), lambda t: np.choose(clip.masks[t], [0, 7, 3]).astype(np.uint8)),
                   (3, 7), clip.size)
    result = engine.run(system(name), renamed, height=64)
    assert len(result.masks) == len(clip) and result.masks[0].shape == clip.size
    if registry.spec(name).task == "one-shot":
        assert np.array_equal(result.masks[0], renamed.masks[0])
        assert set(np.unique(np.stack(list(result.masks)))) <= {0, 3, 7}
    assert result.peak_memory >= 0 and len(result.step_seconds) == len(clip) - 1
