"""What pages 3 to 5 say was measured is what is kept beside their figures, and that comes from runs."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

FIGURES = Path(__file__).resolve().parents[2] / "lectures" / "figures"


@pytest.fixture(scope="module")
def measured():
    spec = importlib.util.spec_from_file_location("measured", FIGURES / "measured.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, j: float, age: int, system: str = "maskrnn", options: dict | None = None, **more) -> None:
    """A bench.json with one row."""
    row = {"system": system, "clips": 12, "J": j, "F": 0.5}
    key = {"system": system, "options": {"steps": 160} if options is None else options, "composites": False}
    folder.mkdir()
    path = folder / "bench.json"
    path.write_text(json.dumps({"data": "DAVIS val", "seed": 0, "height": 240, "rows": [row], "results": [{"key": key}],
                                **more}))
    os.utime(path, (1e9 - age, 1e9 - age))


def page(measured, stage: int) -> str:
    return (measured.HERE.parent / measured.PAGES[stage][0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("stage", (3, 4, 5))
def test_a_page_says_what_is_kept(measured, stage):
    assert measured.fill(page(measured, stage), measured.kept_of(stage), stage) == page(measured, stage)


def test_the_newest_run_of_a_kind_counts_and_others_do_not(measured, tmp_path):
    write(tmp_path / "old", 0.1, 9)
    write(tmp_path / "new", 0.75, 5)
    write(tmp_path / "without", 0.6, 5, options={"steps": 0})
    write(tmp_path / "zero-shot", 0.66, 5, "fusionseg", {})
    for i, more in enumerate(({"seed": 1}, {"height": 480}, {"data": "toy clips"})):
        write(tmp_path / f"other{i}", 0.2, 1, **more)
    write(tmp_path / "other", 0.2, 1, options={"steps": 160, "flow": "raft-small"})
    found = measured.benches([tmp_path], 3)
    assert {name: row["J"] for name, row in found["systems"].items()} == {
        "maskrnn 160": 0.75, "maskrnn 0": 0.6, "fusionseg 0": 0.66}
    said = measured.say_systems(found["systems"])
    assert "| MaskRNN | mask | 0.750 | 0.500 | 160 steps |" in said
    assert said.index("FusionSeg") < said.index("MaskTrack (stage 2)") < said.index("MaskRNN | mask | 0.600")


def test_claims_are_told_with_their_verdict(measured, tmp_path):
    run = {"J": 0.7, "parameters": 2_000_000}
    (tmp_path / "streams.json").write_text(json.dumps({
        "steps": 300, "frames": 40, "margin": 0.02, "seconds": {"one stream": 0.1}, "clips": ["c"] * 12,
        "runs": {"one stream": {"0": run, "1": run}},
        "verdicts": {"two streams - one stream": {"mean": 0.006, "low": -0.01, "high": 0.015, "seeds": 2,
                                                  "verdict": "equivalent"}}}))
    seconds = {str(n): 0.1 * n for n in range(1, 6)}
    (tmp_path / "objects.json").write_text(json.dumps({"clip": "five", "frames": 15, "height": 240, "passes": {
        "one stream, one": {"seconds": dict.fromkeys(seconds, 0.1), "J after 0 steps": {"1": 0.5, "2": 0.7}},
        "two streams, each": {"seconds": seconds, "J after 0 steps": {"1": 0.4, "2": 0.6}}}}))
    found = measured.claims([tmp_path], 3)
    said = measured.say_streams(found["streams"])
    assert "| one stream | 2.00 M | 0.100 | 0.700 | 0.700 to 0.700 | 2 |" in said
    assert "+0.006, 90 % interval -0.010 to +0.015, 2 seeds: **equivalent**" in said
    said = measured.say_objects(found["objects"])
    assert "| one stream, N channels | 0.100 | 0.100 | 0.100 | 0.100 | 0.100 | 0.600 |" in said
    assert "| two streams, N passes | 0.100 | 0.200 | 0.300 | 0.400 | 0.500 | 0.500 |" in said


def test_what_was_not_measured_is_said_to_be_missing(measured):
    text = measured.fill(page(measured, 3), {}, 3)
    assert text.count("Not measured yet: `vos-teach") == 4
    assert "| MaskTrack (stage 2) | mask |" not in text


def test_stage_4s_systems_and_claims_are_told(measured, tmp_path):
    write(tmp_path / "memory", 0.7, 5, "visual-memory", {})
    found = measured.benches([tmp_path], 4)
    assert found["systems"] == {"visual-memory 0": {"J": 0.7, "F": 0.5}}
    assert measured.benches([tmp_path], 3)["systems"] == {}
    said = measured.say_systems(found["systems"])
    assert "| Visual memory | nothing | 0.700 | 0.500 | none |" in said and "MaskTrack" not in said
    (tmp_path / "speed.json").write_text(json.dumps({
        "clip": "c", "frames": 50, "height": 240, "seconds": 30.0, "machine": {},
        "systems": {"osvos": {"online": True, "s/frame": 0.85}, "rvos": {"online": False, "s/frame": 0.04}}}))
    (tmp_path / "categories.json").write_text(json.dumps({"rows": {
        "rvos": {"J seen": 0.6, "J unseen": 0.5, "F seen": 0.7, "F unseen": 0.4},
        "maskrnn": {"J seen": 0.9, "J unseen": 0.8, "F seen": 0.7, "F unseen": 0.6}}}))
    kinds = {"one-shot": {"mean": {"S": 0.5, "T": 0.6, "ST": 0.65}, "spread": dict.fromkeys(("S", "T", "ST"), 0.01),
                          "seeds": 3, "lead": {"S": 0.15, "T": 0.05}, "holds": True}}
    (tmp_path / "recurrence.json").write_text(json.dumps({"steps": 750, "verdicts": kinds}))
    text = measured.fill(page(measured, 4), measured.claims([tmp_path], 4), 4)
    assert "| OSVOS | yes | - | - | - | - | 0.850 |" in text
    assert "| RVOS | no | 0.600 | 0.500 | 0.700 | 0.400 | 0.040 |" in text
    assert "| MaskRNN | yes | 0.900 | 0.800 | 0.700 | 0.600 | - |" in text and "50 frames of c, 240p" in text
    assert "| one-shot | ST | 0.650 | 0.010 | 3 |" in text and "the claim **holds**" in text
    assert "Not measured yet: `vos-teach claim growth" in text


def test_stage_5s_systems_and_claims_are_told(measured, tmp_path):
    write(tmp_path / "stcn", 0.75, 5, "stcn", {})
    write(tmp_path / "vistr", 0.5, 5, "vistr", {})
    found = measured.benches([tmp_path], 5)
    assert set(found["systems"]) == {"stcn 0", "vistr 0"} and measured.benches([tmp_path], 4)["systems"] == {}
    said = measured.say_systems(found["systems"])
    assert "| STCN | mask | 0.750 | 0.500 | none |" in said and "| VisTR | nothing | 0.500 | 0.500 | none |" in said
    one, back = ({"J": j, "F": 0.5, "J after": after, "F after": after} for j, after in ((0.6, 0.4), (0.7, None)))
    rules = {"first": {"0": one, "1": back}, "first+last+every": {"0": back, "1": back}}
    lead = {"predicted": {"mean": 0.05, "each": {"0": 0.1, "1": 0.0}}}
    (tmp_path / "memory.json").write_text(json.dumps({
        "seeds": [0, 1], "each": 4, "clips": [], "machine": {}, "rows": {"stcn": {"toy, back": {"predicted": rules}}},
        "verdicts": {"stcn": {"toy, back": {"lead": lead, "holds": True, "true masks are worth": None}}}}))
    rows = {"stcn": {"J": 0.75, "F": 0.7, "share": {"1": 0.4, "20": 0.9}, "s/frame": 0.05,
                     "clips": {"a": {}, "b": {}}}}
    (tmp_path / "affinity.json").write_text(json.dumps({"rows": rows, "top": [1, 20], "height": 240}))
    seconds = {str(n): 0.1 + 0.01 * n for n in range(1, 6)}
    aot = {"seconds": seconds, "J&F": 0.6, "grows": 0.36, "frame": 0.1, "object": 0.01, "explained": 1.0}
    (tmp_path / "identities.json").write_text(json.dumps({"rows": {"AOT": aot}, "clip": "five", "frames": 15,
                                                          "height": 240, "repeats": 3}))
    slopes = {kind: {"seconds": 1.9, "MiB": None, "scores": 2.0} for kind in ("dense", "grid")}
    (tmp_path / "sparse.json").write_text(json.dumps({
        "exponents": {"T": slopes}, "target": [8, 30, 54], "cheaper": {"seconds": 40.0, "MiB": 90.0}, "channels": 32,
        "than fused": {"seconds": 16.0, "MiB": 0.5}, "block": [3, 12, 20],
        "patterns": {"grid": {"hops": 3, "heard": []}, "strided": {"hops": None, "heard": []}}}))
    (tmp_path / "backbone.json").write_text(json.dumps({
        "seconds": {"STCN, 1 object": 0.08, "its backbone alone": 0.04}, "ratios": {"STCN / backbone": 2.0},
        "limits": {"STCN / backbone": 2.5}, "clip": "toy-5-objects", "frames": 30, "height": 240}))
    text = measured.fill(page(measured, 5), {**found, **measured.claims([tmp_path], 5)}, 5)
    assert "| toy, back | first | 0.650 | 0.400 | - | - |" in text
    assert ("- STCN, toy, back: all three beside the first alone +0.050 (+0.100, +0.000): memory **counts**, "
            "above with 1 of 2 seeds") in text
    assert "| distance (STCN) | 0.750 | 0.700 | 40.0% | 90.0% | 0.050 |" in text and "2 sequences" in text
    assert "| AOT | 0.110 | 0.120 | 0.130 | 0.140 | 0.150 | +36% | 0.0100 | 0.600 |" in text
    assert "| T | 1.90, - | 1.90, - |" in text and "**1/40.0** of dense" in text and "strided never" in text
    assert "a block of 3x12x20" in text and "1/16.0 of its time, and 2.0 times its memory" in text
    assert "STCN / backbone **2.00** (at most 2.5 was asked for)" in text
    assert text.count("Not measured yet") == 1, "composites"
    for where in range(len(text)):
        if text.startswith("**Ours**", where):  # what test_pages.py asks of a page
            near = text[where : where + 600]
            assert "seed 0" in near and ("DAVIS" in near or "toy" in near)
