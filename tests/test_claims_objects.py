"""Time against objects, STCN against its backbone: by thought where figures are given, else at sizes without cost."""

import json

import numpy as np
import pytest
import torch

from vos_teach import claims_objects as C
from vos_teach import claims_speed, engine
from vos_teach.clip import Clip, VosError
from vos_teach.segmenter import given
from vos_teach.transformers import stcn, stm

SECONDS = {"aot": lambda n: 0.1 + 0.005 * n, "each": lambda n: 0.02 + 0.03 * n, "stm": lambda n: 0.05 + 0.05 * n**3}


def crowd(count: int = 5, frames: int = 4) -> Clip:
    """Objects side by side that stand still."""
    mask = np.zeros((32, 64), np.uint8)
    for k in range(count):
        mask[8:24, 12 * k + 2 : 12 * k + 10] = k + 1
    frame = np.zeros((32, 64, 3), np.uint8)
    return Clip("crowd", [frame] * frames, [mask] * frames, tuple(range(1, count + 1)), mask.shape)


@pytest.fixture
def costs(monkeypatch):
    """Runs cost what SECONDS says and are right; -> what was run: (system, objects) in order."""
    runs = []

    def run(system, clip, seed, height):
        runs.append((system, len(clip.ids)))
        return engine.Result(clip.name, clip.masks, step_seconds=[SECONDS[system](len(clip.ids))] * 3)

    monkeypatch.setattr(claims_speed.engine, "run", run)
    return runs


NAMED = {"AOT": ("aot", {}), "AOT, a pass for each": ("aot", {"passes": "each"}), "STM": ("stm", {})}


def test_growth_its_line_and_the_verdicts(costs, tmp_path):
    def make(name, scale, passes=None):
        return passes or name

    got = C.identities(crowd(), tmp_path, None, NAMED, 2, make=make, version=lambda *_: "1")
    aot, each, old = got["rows"].values()
    assert aot["seconds"] == pytest.approx({str(n): 0.1 + 0.005 * n for n in range(1, 6)}) and aot["J&F"] == 1
    assert aot["grows"] == pytest.approx(0.02 / 0.105) and aot["object"] == pytest.approx(0.005)
    assert each["grows"] == pytest.approx(0.12 / 0.05) and each["frame"] == pytest.approx(0.02)
    assert each["explained"] == pytest.approx(1) and old["explained"] < C.LINEAR
    assert C.verdicts(got["rows"]) == {"AOT's time grows by at most 30%": True,
                                       "STM's time is a straight line in the objects": False}
    assert costs == [(s, n) for s in ("aot", "each", "stm") for n in range(1, 6)] * 2, "in turns, round by round"
    text = (tmp_path / "identities.md").read_text()
    assert "| AOT | 0.105 | 0.110 | 0.115 | 0.120 | 0.125 | +19% | +0.0050 | 1.000 |" in text
    assert "AOT's time grows by at most 30%: holds." in text and "a straight line in the objects: does not" in text
    assert (tmp_path / "identities.png").stat().st_size > 5000
    costs.clear()
    again = C.identities(crowd(), tmp_path, None, NAMED, 3, make=make, version=lambda *_: "1")
    assert len(costs) == 15 and again["rows"]["STM"]["seconds"] == pytest.approx(old["seconds"]), "one round more"
    C.identities(crowd(), tmp_path, None, NAMED, 1, make=make, version=lambda *_: "2")
    assert len(costs) == 30, "other code, other figures"


def test_a_flat_line_is_explained_and_a_growing_one_fails():
    flat = C.line({1: 0.2, 2: 0.2, 3: 0.2})
    assert flat["grows"] == 0 and flat["explained"] == 1 and flat["object"] == pytest.approx(0, abs=1e-9)
    assert not any(C.verdicts({"AOT": C.line({1: 0.1, 5: 0.131})}).values())
    assert all(C.verdicts({"AOT": C.line({1: 0.1, 5: 0.129}), "STM": C.line({1: 1, 2: 2.1, 3: 2.9})}).values())


def test_growth_of_stage_4_is_the_same_code(tmp_path, monkeypatch):
    rows = {"x": {"seconds": {"1": 1.0, "2": 2.0}, "J&F": 1}}
    monkeypatch.setattr(claims_speed, "seconds_of_objects", lambda *_: rows)
    assert claims_speed.growth(crowd(2), {}, tmp_path)["rows"]["x"]["seconds"]["2"] == 2


def test_one_object_is_too_few(tmp_path):
    for claim in (C.identities, C.backbone):
        with pytest.raises(VosError, match="fewer than two objects"):
            claim(crowd(1), tmp_path, make=lambda *_, **__: None, version=lambda *_: "1")


def test_a_crowd_is_there_from_the_start():
    clip = C.crowd(3, 4, (96, 160))
    assert clip.ids == (1, 2, 3) and set(clip.starts.values()) == {0} and len(clip) == 4 and clip.size == (96, 160)
    with pytest.raises(VosError, match="has room for 7 objects"):
        C.crowd(7, 4, (48, 48))


def tiny(name, scale):
    kind = stm if name == "stm" else stcn
    config = stm.Config("tiny", "light" if kind is stcn else "tiny", 8, 8, 8, weights=None)
    return (stm.STM if kind is stm else stcn.STCN)(kind.new_network(config, False))


def test_all_take_turns_at_every_frame_and_the_backbone_runs_once_in_each(tmp_path):
    built, order = [], []

    def make(name, scale):
        system = tiny(name, scale)
        built.append(system)
        number = len(built)
        system.net.encoder.register_forward_hook(lambda *_: order.append(number))
        return system

    clip = crowd(3)
    got = C.backbone(clip, tmp_path, None, 2, make=make, version=lambda *_: "1")
    # the first system with one object, its encoder alone (silent at the start), then those with three objects
    assert order[:11] == [1, 2, 3, 1, 1, 2, 3, 1, 1, 2, 3] and len(order) == 2 * (3 + 3 * 4)
    assert list(got["seconds"]) == ["STCN, 1 object", "its backbone alone", "STCN, 3 objects", "STM, 3 objects"]
    assert all(s > 0 for s in got["seconds"].values())
    one, trunk, new, old = got["seconds"].values()
    assert got["ratios"] == pytest.approx({"STCN / backbone": one / trunk, "STCN / STM": new / old})
    rounds = [json.loads((tmp_path / "backbone" / f"round-{i}.json").read_text())["seconds"] for i in range(2)]
    least = np.minimum(*(r["STM, 3 objects"] for r in rounds))
    assert len(least) == 3 and old == pytest.approx(least.mean())
    text = (tmp_path / "backbone.md").read_text()
    assert "at most 2.5 was claimed" in text and "at most 0.7 was claimed" in text
    order.clear()
    again = C.backbone(clip, tmp_path, None, 2, make=make, version=lambda *_: "1")
    assert order == [] and again["seconds"] == got["seconds"]


def test_a_backbone_alone_says_what_it_was_given():
    calls = []
    alone = C.Alone(lambda x: calls.append(x.shape))
    masks = torch.zeros(2, 32, 48, dtype=torch.bool)
    masks[0, :9, :9] = True
    alone.start(torch.rand(3, 32, 48), masks)
    assert torch.equal(alone.step(torch.rand(3, 32, 48)), given(masks)) and calls == [(1, 3, 32, 48)]
