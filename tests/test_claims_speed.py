"""Speed, categories and growth: by thought where figures are given, and each once at a size that takes seconds."""

import json

import numpy as np
import pytest
import torch

from vos_teach import claims_speed as C
from vos_teach.clip import VosError
from vos_teach.data import toy

MACHINE = {"cores": 2}


def row(seconds: float, after: float, online: bool) -> dict:
    return {"online": online, "s/frame": seconds, "s/frame after tuning": after}


def test_a_ratio_is_of_osvos_with_its_fine_tuning_to_the_others():
    result = {"systems": {"osvos": row(0.8, 0.2, True), "osmn": row(0.1, 0.1, False), "rvos": row(0.05, 0.05, False)},
              "osvos s/frame with a budget of": {"10": 0.4, "300": 6.2}, "machine": MACHINE, "clip": "c", "frames": 50,
              "objects": 1, "height": 240, "seconds": 30.0, "rounds": 3}
    assert C.ratios(result) == {"osmn": {"10": pytest.approx(4), "300": pytest.approx(62)},
                                "rvos": {"10": pytest.approx(8), "300": pytest.approx(124)}}
    text = C.speed_table(result)
    assert "| osvos | yes | 0.800 | 0.200 |" in text and "| rvos | 8.0 | 124.0 |" in text
    assert len(C.draw_speed(result).axes[0].lines) == 2


def test_speed_counts_what_each_system_spends(tmp_path):
    clip = toy.clip(3, length=4, split="val", name="four")
    found = C.speed(clip, tmp_path, systems=("copy-first", "osvos", "osmn"), seconds=1.0, budgets=(1.0, 2.0), rounds=1,
                    scale="toy")
    osvos, osmn = found["systems"]["osvos"], found["systems"]["osmn"]
    assert osvos["online"] and not osmn["online"] and osmn["s/frame"] == osmn["s/frame after tuning"]
    assert osvos["s/frame"] - osvos["s/frame after tuning"] >= 1 / 4, "a second over four frames"
    spent = found["osvos s/frame with a budget of"]
    after = osvos["s/frame after tuning"]
    assert spent["1"] - after >= 1 / 4 and spent["2"] - after >= 2 / 4
    assert set(C.ratios(found)) == {"copy-first", "osmn"}
    assert {p.name for p in tmp_path.glob("speed.*")} == {"speed.json", "speed.md", "speed.png"}
    with pytest.raises(VosError, match="fusionseg"):
        C.speed(clip, tmp_path, systems=("fusionseg",))


def test_categories_are_told_apart(tmp_path):
    found = C.categories(["copy-first", "copy-flow"], tmp_path, each=2)
    results = json.loads((tmp_path / "categories" / "bench.json").read_text())["results"]
    j = [o["J"] for r in results if r["key"]["system"] == "copy-flow" and r["key"]["clip"].startswith("unseen")
         for o in r["objects"].values()]
    assert len(j) == 4 and found["rows"]["copy-flow"]["J unseen"] == pytest.approx(np.mean(j))
    assert "| copy-first |" in (tmp_path / "categories.md").read_text()
    seen, unseen = ({c for i in range(2)
                     for c in toy.clip(7000 + i, split="val", objects=2, unseen=new).categories.values()}
                    for new in (False, True))
    assert seen and unseen and not seen & unseen


def test_growth_is_of_the_first_objects_of_one_clip(tmp_path):
    clip = toy.clip(5, objects=3, length=4, split="val", name="three")
    found = C.growth(clip, {"the first": ("copy-first", {}), "flow": ("copy-flow", {})}, tmp_path, repeats=1)
    assert list(found["rows"]["flow"]["seconds"]) == ["1", "2", "3"] and 0 < found["rows"]["flow"]["J&F"] <= 1
    assert "| flow |" in (tmp_path / "growth.md").read_text()
    with pytest.raises(VosError, match="fewer than two objects"):
        C.growth(toy.clip(5, length=4), {"x": ("copy-first", {})}, tmp_path)


def test_what_flow_gives_and_costs(tmp_path, monkeypatch):
    class Moves:
        """Finds the object only if it is told of motion."""

        task, causal, seed, flow_seconds = "zero-shot", False, 0, 0.5

        def __init__(self, flow):
            self.flow = flow

        def segment(self, frames, masks=None):
            moves = self.flow == "dis" or self.flow(np.zeros((4, 6, 3), np.uint8), None).any()
            p = torch.stack([torch.from_numpy(clip.masks[t] == 1) for t in range(len(frames))]).float() * moves
            return torch.stack([1 - p, p], 1)

    clip = toy.clip(3, length=4, split="val", distractors=0)
    monkeypatch.setattr(C.registry, "make", lambda name, scale, flow: Moves(flow))
    rows = C.borrowed([clip], tmp_path)["rows"]
    assert rows["DIS"]["J"] == 1 and rows["none"]["J"] < 0.1 and rows["DIS"]["s/frame of flow"] == 0.5 / 4
    assert "| none | 0.0" in (tmp_path / "borrowed.md").read_text()
