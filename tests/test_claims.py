"""The slide's experiment, at a size that takes seconds."""

import json

import numpy as np
import pytest

from vos_teach import bench, claims, registry
from vos_teach.clip import VosError
from vos_teach.data import toy


def result(curves, seconds=None):
    return {"machine": {}, "height": 96, "seed": 0, "clips": {
        name: {"steps": {str(s): {"J": j} for s, j in curve.items()}, "seconds": seconds or {}}
        for name, curve in curves.items()}}


def test_harm_is_a_fall_from_the_best_larger_than_the_level():
    curves = {"rises": {0: 0.1, 10: 0.5, 20: 0.8}, "falls": {0: 0.1, 10: 0.9, 20: 0.6},
              "level": {0: 0.1, 10: 0.802, 20: 0.8}}
    assert claims.harmed(result(curves)) == {"falls": (10, pytest.approx(0.3))}


def test_table_holds_every_figure_and_the_mean():
    text = claims.table(result({"a": {0: 0.25, 10: 0.5}, "b": {0: 0.75, 10: 0.25}}, {"10": {"J": 0.5, "steps": 9}}))
    assert "| a | 0.250 | 0.500 | 0.500 | 10 |" in text and "**0.500** | **0.375** | **0.500**" in text
    assert "1 of 2 clips: b (0.500 below its best, at 0 steps)" in text


def test_the_curve_ends_where_a_run_of_its_own_would(tmp_path, monkeypatch):
    """The last snapshot is the network that `steps` alone would have given; step 0 is the parent, mask-blind."""
    clip = toy.clip(3, length=4, split="val")
    found = claims.finetuning([clip], tmp_path, steps=(0, 2, 5), seconds=(0.3,))
    (row,) = found["clips"].values()
    alone = {n: bench.measure(registry.make("osvos", steps=n), clip)["objects"]["1"]["J"] for n in (0, 5)}
    assert np.isclose(row["steps"]["0"]["J"], alone[0], atol=1e-6)
    assert np.isclose(row["steps"]["5"]["J"], alone[5], atol=1e-6)
    assert row["seconds"]["0.3"]["steps"] >= 1
    assert json.loads((tmp_path / "finetuning.json").read_text())["clips"].keys() == {clip.name}
    assert (tmp_path / "finetuning.png").stat().st_size > 5000

    monkeypatch.setattr(claims, "_snapshots", lambda *a: pytest.fail("what was finished is run again"))
    assert claims.finetuning([clip], tmp_path, steps=(0, 2, 5), seconds=(0.3,))["clips"] == found["clips"]


def test_several_objects_are_refused(tmp_path):
    with pytest.raises(VosError, match="one object"):
        claims.finetuning([toy.clip(1, length=3, objects=2)], tmp_path)
