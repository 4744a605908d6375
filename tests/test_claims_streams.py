"""One stream or two, one pass or several: the verdict by thought, the experiments at a size that takes seconds."""

import json

import numpy as np
import pytest

from vos_teach import claims_streams as C
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.sample import Source


def test_the_verdict_follows_the_interval():
    assert C.verdict(-0.019, 0.019) == "equivalent" and C.verdict(0.005, 0.015) == "equivalent"
    assert C.verdict(-0.021, 0.0) == "inconclusive" and C.verdict(0.01, 0.03) == "inconclusive"
    assert C.verdict(0.02, 0.05) == "different" and C.verdict(-0.05, -0.03) == "different"
    assert C.verdict(-np.inf, np.inf) == "inconclusive"
    assert C.MARGIN == 0.02 and C.CONFIDENCE == 0.90 and len(C.SEEDS) == 5


def test_the_interval_is_students():
    """Of 0, 1, 2: mean 1, standard error 1/sqrt(3), and t(0.95, 2) = 2.92 from any table."""
    mean, low, high = C.interval([0.0, 1.0, 2.0])
    assert mean == 1 and np.isclose(high - 1, 2.91999 / 3**0.5, atol=1e-4) and np.isclose(1 - low, high - 1)
    assert C.interval([0.5]) == (0.5, -np.inf, np.inf)


def runs(**j):
    return {name: {str(s): {"J": x, "parameters": 10**6, "seconds": 0.1} for s, x in enumerate(j.get(key, []))}
            for name, key in zip(C.DESIGNS, ("one", "two", "more", "third"), strict=True)}


def test_differences_are_paired_by_seed():
    found = C.verdicts(runs(one=[0.60, 0.70, 0.65], two=[0.61, 0.71, 0.66], more=[0.70, 0.80], third=[0.62, 0.72]))
    both = found["two streams - one stream"]
    assert np.isclose(both["mean"], 0.01) and np.isclose(both["low"], 0.01) and both["verdict"] == "equivalent"
    gain = found["gain in one - gain in two"]
    assert np.isclose(gain["mean"], 0.09) and gain["seeds"] == 2 and gain["verdict"] == "different"
    assert C.verdicts(runs(one=[0.6])) == {}
    assert C.verdicts(runs(one=[0.6], two=[0.6]))["two streams - one stream"]["low"] is None


@pytest.mark.slow
def test_streams_at_a_small_size_and_again(tmp_path, monkeypatch):
    clips, sources = [toy.clip(3, length=3, split="val")], [Source("toy", toy.training(3), 1.0)]
    options = {"scale": "toy", "steps": 2, "crop": (48, 80), "count": 4, "frames": 3, "seeds": (0, 1),
               "extra_seeds": (0,)}
    found = C.streams(clips, sources, tmp_path, **options)
    assert {name: len(r) for name, r in found["runs"].items()} == dict(zip(C.DESIGNS, (2, 2, 1, 1), strict=True))
    count = {name: r["0"]["parameters"] for name, r in found["runs"].items()}
    assert 0 < count["one stream + map"] - count["one stream"] < 1000, "one more channel"
    assert count["two streams + map"] - count["two streams"] > 500_000, "one more network"
    text = (tmp_path / "streams.md").read_text()
    assert "| two streams - one stream |" in text and "-0.02 to +0.02" in text
    assert (tmp_path / "streams.png").stat().st_size > 5000
    monkeypatch.setattr(C.train, "fit", lambda *a, **k: pytest.fail("what was finished is run again"))
    assert C.streams(clips, sources, tmp_path, **options)["runs"] == found["runs"]


@pytest.mark.slow
def test_objects_at_a_small_size(tmp_path):
    clip = toy.clip(3, length=4, objects=3, split="val")
    found = C.objects(clip, tmp_path, steps=2, repeats=1, scale="toy")
    assert list(found["passes"]) == [f"{s}, {p}" for s in ("one stream", "two streams") for p in ("one", "each")]
    for row in found["passes"].values():
        assert list(row["seconds"]) == ["1", "2", "3"] and min(row["seconds"].values()) > 0
        assert len(row["J after 0 steps"]) == len(row["J after 2 steps"]) == 3
    assert json.loads((tmp_path / "objects.json").read_text())["clip"] == clip.name
    assert "| two streams, one pass each, after 2 steps |" in (tmp_path / "objects.md").read_text()
    with pytest.raises(VosError, match="fewer than two objects"):
        C.objects(toy.clip(1, length=3, objects=1), tmp_path)


def test_some_objects_leave_the_others_as_background():
    clip = toy.clip(3, length=2, objects=3, split="val")
    some = C.some_of(clip, [1, 3])
    assert some.ids == (1, 3)
    assert np.array_equal(some.masks[1], np.where(clip.masks[1] == 2, 0, clip.masks[1]))
