"""S, T and ST: the verdict by thought, the experiment at a size that takes seconds."""

import numpy as np
import pytest
import torch

from vos_teach import claims_recurrence as C
from vos_teach.clip import VosError
from vos_teach.rnn import rvos


def runs(**values):
    return {"one-shot": {kind: {str(s): {"J": x, "F": x, "J&F": x, "clips": {}} for s, x in enumerate(v)}
                         for kind, v in values.items()}}


def test_the_verdict_compares_means_with_both():
    said = C.verdicts(runs(S=[0.5, 0.6, 0.7], T=[0.6, 0.6, 0.6], ST=[0.7, 0.7, 0.7]))["one-shot"]
    assert said["holds"] and said["seeds"] == 3 and said["seeds won"] == 2
    assert np.isclose(said["lead"]["S"], 0.1) and np.isclose(said["lead"]["T"], 0.1)
    assert np.isclose(said["spread"]["S"], 0.1) and np.isclose(said["spread"]["T"], 0)
    worse = C.verdicts(runs(S=[0.5, 0.5], T=[0.75, 0.75], ST=[0.7, 0.7]))["one-shot"]
    assert not worse["holds"] and worse["lead"]["S"] > 0 > worse["lead"]["T"]
    some = C.verdicts(runs(S=[0.5, 0.5], T=[0.75], ST=[0.7, 0.7]))["one-shot"]
    assert some["seeds"] == 1 and some["spread"]["T"] is None, "only seeds that all three have"
    assert C.verdicts(runs(S=[0.5], T=[], ST=[0.7])) == {}


def test_the_clips_have_many_objects_and_none_is_both_trained_on_and_scored():
    scored, trained = C.clips_to_score(1), C.sources(2)
    assert [len(c.ids) for c in scored] == [2, 3, 4] and [len(c) for c in scored] == [C.FRAMES] * 3
    assert [[len(c.ids) for c in s.clips] for s in trained] == [[2, 2], [3, 3], [4, 4]]
    assert all(c.name.startswith("toy-train") for s in trained for c in s.clips)
    assert all(set(np.unique(c.masks[0])) == {0, *c.ids} for c in scored)
    assert np.array_equal(scored[2].frames[3], C.clips_to_score(1)[2].frames[3])


def test_clips_without_room_are_left_out():
    def make(seed):
        if seed % 2 == 0:
            raise VosError("no room")
        return seed

    assert C.fitting(make, 3) == [1, 3, 5]


@pytest.mark.slow
def test_recurrence_at_a_small_size_and_again(tmp_path, monkeypatch):
    options = {"seeds": (0,), "steps": 2, "batch": 1, "count": 1, "each": 1, "backbone": "tiny", "hidden": (8, 8, 16)}
    found = C.recurrence(tmp_path, **options)
    assert list(found["runs"]) == ["one-shot", "zero-shot"]
    assert all(list(kinds) == ["S", "T", "ST"] and all("0" in r for r in kinds.values())
               for kinds in found["runs"].values())
    text = (tmp_path / "recurrence.md").read_text()
    assert text.count("The claim ") == 2 and "| zero-shot | ST |" in text
    assert (tmp_path / "recurrence.png").stat().st_size > 5000
    monkeypatch.setattr(C.train, "fit", lambda *a, **k: pytest.fail("what was finished is run again"))
    assert C.recurrence(tmp_path, **options)["runs"] == found["runs"]


def test_a_score_is_the_mean_over_objects():
    """Two objects of one clip count twice as much as the one of another would."""
    clips = C.clips_to_score(1)[:2]
    net = rvos.new_network(rvos.Config("tiny", (8, 8, 16), None), False).eval()
    with torch.no_grad():
        net.score.bias.fill_(-9.0)  # nothing is ever found
    found = C.score(net, "one-shot", [c.cut(0, 4) for c in clips])
    assert found["J"] < 0.02 and found["J&F"] == (found["J"] + found["F"]) / 2 and len(found["clips"]) == 2
