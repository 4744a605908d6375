"""Claims about memory: what comes back is found, who is compared with whom, and what is finished is not run again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vos_teach import bench
from vos_teach import claims_memory as C
from vos_teach.clip import Clip, VosError
from vos_teach.data import toy
from vos_teach.segmenter import given
from vos_teach.transformers import memory as M
from vos_teach.transformers import stcn, stm

SIZE = (48, 64)
TOYS = {"toy, back": dict(length=12, out_of_view=True)}


def boxes(shown: str, name: str = "given", starts: dict | None = None) -> Clip:
    """A clip whose object 1 is shown where `shown` has an x, is gone at -, and not annotated at ?; frames show it."""
    masks = []
    for t, sign in enumerate(shown):
        mask = np.zeros(SIZE, np.uint8)
        if sign == "x":
            mask[8:40, 4 + t : 30 + t] = 1
        masks.append(None if sign == "?" else mask)
    frames = [np.repeat((255 * (np.zeros(SIZE, np.uint8) if m is None else m))[..., None], 3, 2) for m in masks]
    return Clip(name, frames, masks, (1,), SIZE, starts=starts or {})


class Half:
    """Right in even frames and empty in odd ones; with true masks in memory, always right."""

    task, causal, seed, truth = "one-shot", True, 0, None

    def start(self, frame, masks=None):
        self.t = 0
        return given(masks)

    def step(self, frame, new=None):
        self.t += 1
        right = self.t % 2 == 0 or self.truth is not None
        return given((frame[:1] > 0.5) & right)


def tiny(kind=stcn, policy=None):
    config = stm.Config("tiny", "light" if kind is stcn else "tiny", 8, 8, 8, weights=None)
    net = kind.new_network(config, False)
    with torch.no_grad():
        net.query_key.weight *= 50  # else a network that knows nothing looks everywhere alike
    build = stcn.STCN if kind is stcn else stm.STM
    return build(net) if policy is None else build(net, policy)


@pytest.mark.parametrize("kind, name", [(stm, "stm"), (stcn, "stcn")])
def test_rules_reach_either_system(kind, name, tmp_path):
    clip, held = boxes("xxxxxx"), []

    def make(system, scale, policy):
        assert system == name
        made = tiny(kind, policy)
        attend = made.net.attend
        made.net.attend = lambda mk, qk: held.append(made.bank.times) or attend(mk, qk)
        return made

    C.memory([clip], tmp_path, None, (name,), seeds=(), each=0, rules=("first", "first+last"), make=make,
             version=lambda *_: "1")
    first, both = [(0,)] * 5, [(0,), (0, 1), (0, 2), (0, 3), (0, 4)]
    assert held == (first + both) * 2, "each rule with predicted masks, then with true ones"


@pytest.mark.parametrize("shown, frame", [
    ("xxxxx", None), ("xx---", None), ("xx-xx", 3), ("xx-x-x", 5), ("xx?-?xx", 5), ("xx?xx", None), ("x--x", 3),
])
def test_the_last_time_that_an_object_comes_back(shown, frame):
    assert C.last_return(boxes(shown), 1) == frame


def test_an_object_that_starts_late_has_not_come_back():
    assert C.last_return(boxes("---xxx", starts={1: 3}), 1) is None
    assert C.last_return(boxes("--xx-x", starts={1: 2}), 1) == 5


def test_toy_clips_leave_and_come_back_and_those_that_change_look_like_mid_clip():
    sets = C.back_clips((0, 1), 2, SIZE)
    assert [len(clips) for by in sets.values() for clips in by.values()] == [2] * 4
    for name, length in zip(sets, (40, 90), strict=True):
        for clips in sets[name].values():
            assert all(len(c) == length and 0 < C.last_return(c, 1) < length - 1 for c in clips)
    assert len({c.name for by in sets.values() for cs in by.values() for c in cs}) == 4, "sets are told apart by folder"
    same = C.back_clips((1,), 1, SIZE)["toy, back changed"]["1"][0]
    assert np.array_equal(same.frames[50], sets["toy, back changed"]["1"][0].frames[50])


def test_measures_of_all_frames_and_of_those_after_the_return():
    """Frames 1 to 8 count. Half says nothing in odd ones: right in 2, 4, 6, 8 and where nothing is there (3)."""
    clip = boxes("xx--xxxxxx")
    got = C.scored(Half(), clip, None, truth=False)["1"]
    right = [t % 2 == 0 or clip.masks[t].sum() == 0 for t in range(1, 9)]
    assert got["J"] == pytest.approx(np.mean(right)) and got["J after"] == pytest.approx(np.mean(right[3:]))
    assert got["F after"] == pytest.approx(np.mean(right[3:]), abs=0.01) and got["F"] == pytest.approx(got["J"])
    assert set(C.scored(Half(), clip, None, truth=True)["1"].values()) == {1.0}
    never = C.scored(Half(), boxes("xxxxxx"), None, truth=False)["1"]
    assert never["J after"] is None and never["J"] == 0.5


def test_true_masks_are_taken_off_again():
    system = Half()
    C.scored(system, boxes("xxx"), None, truth=True)
    assert system.truth is None


def test_verdicts_pair_seeds():
    def seeds(*js):
        return {str(i): {"J": j} for i, j in enumerate(js)}

    rows = {"stcn": {"toy": {"predicted": {"first": seeds(0.5, 0.6), "first+last": seeds(0.9, 0.9),
                                           "first+last+every": seeds(0.4, 0.9)},
                             "true": {"first": seeds(0.5, 0.7), "first+last+every": seeds(0.8)}},
                     "given": {"predicted": {"first": {"-": {"J": 0.7}}, "first+last+every": {"-": {"J": 0.7}}}}}}
    got = C.verdicts(rows)["stcn"]
    assert got["toy"]["lead"]["predicted"] == {"mean": pytest.approx(0.1), "each": {"0": pytest.approx(-0.1),
                                                                                    "1": pytest.approx(0.3)}}
    assert got["toy"]["lead"]["true"]["each"] == {"0": pytest.approx(0.3)} and got["toy"]["holds"]
    assert got["toy"]["true masks are worth"] == pytest.approx(0.4)
    assert not got["given"]["holds"] and got["given"]["true masks are worth"] is None, "no lead is no proof"


@pytest.mark.slow
def test_memory_is_measured_kept_and_told(tmp_path):
    made = []

    def make(system, scale, policy):
        made.append((system, policy))
        return tiny(stm if system == "stm" else stcn, policy)

    clip, late = boxes("xx--xxxx"), boxes("-xxxxxx", "late", {1: 1})
    options = dict(height=None, seeds=(0, 1), each=1, size=SIZE, toys=TOYS, make=make)
    got = C.memory([clip, late], tmp_path, version=lambda *_: "1", **options)
    rows = got["rows"]["stcn"]
    seeds = {name: list(kinds["predicted"]["first"]) for name, kinds in rows.items()}
    assert seeds == {"toy, back": ["0", "1"], "given clips": ["-"]}
    assert len(made) == 3 * 2 * 3, "a system for each rule, kind of masks and seed or set of clips"
    toys = C.back_clips((1,), 1, SIZE, TOYS)["toy, back"]["1"]
    by_hand = C.scored(tiny(policy="first+last"), toys[0], None, truth=True)["1"]
    assert rows["toy, back"]["true"]["first+last"]["1"] == pytest.approx(by_hand)
    both = [C.scored(tiny(policy="first"), c, None, False)["1"] for c in (clip, late)]
    assert rows["given clips"]["predicted"]["first"]["-"] == pytest.approx(C.means(both))
    alone = C.scored(tiny(policy="first"), clip, None, True)["1"]  # true masks: only where all objects start at once
    assert rows["given clips"]["true"]["first"]["-"] == pytest.approx(alone)
    assert made[:6] == [("stcn", rule) for rule in C.RULES for _ in range(2)], "two seeds of each rule"
    text = (tmp_path / "memory.md").read_text()
    assert text.count("| stcn | toy, back | ") == 6 and "the weights are those of one training" in text
    assert "stcn, given clips: J with first, last and every fifth" in text
    assert json.loads((tmp_path / "memory.json").read_text())["rows"] == got["rows"]
    assert (tmp_path / "memory.png").stat().st_size > 5000
    made.clear()
    stamp = {p: p.stat().st_mtime_ns for p in (tmp_path / "memory").rglob("*.json")}
    assert C.memory([clip, late], tmp_path, version=lambda *_: "1", **options)["rows"] == got["rows"]
    assert stamp == {p: p.stat().st_mtime_ns for p in (tmp_path / "memory").rglob("*.json")}
    C.memory([], tmp_path, version=lambda *_: "2", **{**options, "seeds": (1,)})
    changed = [p for p, t in stamp.items() if p.stat().st_mtime_ns != t]
    folders = [p.parent.name for p in changed]
    assert len(folders) == 6 and all(f.startswith("stcn-toy-back-") and f.endswith("-1") for f in folders)


def test_affinities_are_compared_on_the_same_clips(tmp_path):
    made, clips = [], [boxes("xxxxxxxx"), boxes("xxxxxxx", "other")]

    def make(name, scale):
        made.append(name)
        system = tiny()
        if name == "stcn-dot":
            system.net.affinity = C_DOT
        return system

    got = C.affinity(clips, tmp_path, None, rounds=2, make=make, version=lambda *_: "1")
    assert made == ["stcn", "stcn-dot"]
    row = got["rows"]["stcn-dot"]
    j = [o["J"] for c in clips for o in bench.measure(make("stcn-dot", ""), c)["objects"].values()]
    assert row["J"] == pytest.approx(np.mean(j))
    share = [M.share_read(make("stcn-dot", ""), c, top_k=1) for c in clips]
    assert row["share"]["1"] == pytest.approx(np.mean(share)) and row["share"]["20"] >= row["share"]["1"] > 0
    assert row["s/frame"] > 0 and got["rows"]["stcn"]["share"] != row["share"]
    text = (tmp_path / "affinity.md").read_text()
    assert "| system | J | F | read by a top 1 | read by a top 20 | s/frame |" in text and "2 clips" in text

    class Broken:
        """May not be run."""

    again = C.affinity(clips, tmp_path, None, rounds=2, make=lambda *_, **__: Broken(), version=lambda *_: "1")
    assert again["rows"] == got["rows"]
    with pytest.raises(VosError, match="no clip"):
        C.affinity([], tmp_path)


C_DOT = stcn.dot_affinity


def test_a_late_clip_has_no_true_masks_to_give():
    with pytest.raises(VosError, match="gives an object late"):
        C.scored(Half(), replace(boxes("-xxx"), starts={1: 1}), None, truth=True)


def test_the_toy_clips_are_of_the_validation_split():
    clip = C.back_clips((2,), 1, SIZE, TOYS)["toy, back"]["2"][0]
    assert np.array_equal(clip.frames[3], toy.clip(42_000, split="val", size=SIZE, **TOYS["toy, back"]).frames[3])
