"""What page 3 says was measured is what stage3.json says, and that comes from the runs one points at."""

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


def test_the_page_says_what_is_kept(measured):
    text = measured.PAGE.read_text(encoding="utf-8")
    assert measured.fill(text, json.loads(measured.KEPT.read_text(encoding="utf-8"))) == text


def test_the_newest_run_of_a_kind_counts_and_others_do_not(measured, tmp_path):
    write(tmp_path / "old", 0.1, 9)
    write(tmp_path / "new", 0.75, 5)
    write(tmp_path / "without", 0.6, 5, options={"steps": 0})
    write(tmp_path / "zero-shot", 0.66, 5, "fusionseg", {})
    for i, more in enumerate(({"seed": 1}, {"height": 480}, {"data": "toy clips"})):
        write(tmp_path / f"other{i}", 0.2, 1, **more)
    write(tmp_path / "other", 0.2, 1, options={"steps": 160, "flow": "raft-small"})
    found = measured.benches([tmp_path])
    assert {name: row["J"] for name, row in found["systems"].items()} == {
        "maskrnn 160": 0.75, "maskrnn 0": 0.6, "fusionseg 0": 0.66}
    said = measured.say_systems(found["systems"])
    assert "| MaskRNN | mask | 0.750 | 0.500 | 160 steps |" in said
    assert said.index("FusionSeg") < said.index("MaskTrack (stage 2)") < said.index("MaskRNN | mask | 0.600")


def test_claims_are_told_with_their_verdict(measured, tmp_path):
    run = {"J": 0.7, "parameters": 2_000_000, "seconds": 0.1}
    (tmp_path / "streams.json").write_text(json.dumps({
        "steps": 300, "frames": 40, "margin": 0.02, "clips": ["c"] * 12, "runs": {"one stream": {"0": run, "1": run}},
        "verdicts": {"two streams - one stream": {"mean": 0.006, "low": -0.01, "high": 0.015, "seeds": 2,
                                                  "verdict": "equivalent"}}}))
    seconds = {str(n): 0.1 * n for n in range(1, 6)}
    (tmp_path / "objects.json").write_text(json.dumps({"clip": "five", "frames": 15, "height": 240, "passes": {
        "one": {"seconds": dict.fromkeys(seconds, 0.1), "J after 0 steps": {"1": 0.5, "2": 0.7}},
        "each": {"seconds": seconds, "J after 0 steps": {"1": 0.4, "2": 0.6}}}}))
    found = measured.claims([tmp_path])
    said = measured.say_streams(found["streams"])
    assert "| one stream | 2.00 M | 0.100 | 0.700 | 0.700 to 0.700 | 2 |" in said
    assert "+0.006, 90 % interval -0.010 to +0.015, 2 seeds: **equivalent**" in said
    said = measured.say_objects(found["objects"])
    assert "| one pass each | 0.100 | 0.200 | 0.300 | 0.400 | 0.500 |" in said
    assert "0.600 in one pass, 0.500 in one each" in said


def test_what_was_not_measured_is_said_to_be_missing(measured):
    text = measured.fill(measured.PAGE.read_text(encoding="utf-8"), {})
    assert text.count("Not measured yet: `vos-teach") == 4
    assert "| MaskTrack (stage 2) | mask |" not in text
