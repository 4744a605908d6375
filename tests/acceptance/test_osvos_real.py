"""What OSVOS must reach on real sequences: minutes each, on an otherwise idle machine."""

import pytest

from vos_teach import engine, registry
from vos_teach.bench import bench
from vos_teach.clip import Clip, Lazy
from vos_teach.data import composite, davis, toy

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def sequences(shared_data):
    return davis.read(shared_data / "DAVIS", split="val", sequences="present")


def test_thirty_seconds_of_finetuning_on_real_sequences(sequences, tmp_path):
    options = {"osvos": {"seconds": 30.0}}
    rows = bench(["copy-first", "copy-flow", "mask-blind", "osvos"], sequences, tmp_path, height=240, options=options)
    j = {row["system"]: row["J"] for row in rows}
    print((tmp_path / "bench.md").read_text())
    assert j["osvos"] >= 0.72 and j["osvos"] >= j["mask-blind"] + 0.05, j
    assert j["osvos"] > max(j["copy-first"], j["copy-flow"]), j


def test_it_follows_the_mask_it_was_given(sequences, tmp_path):
    pairs = composite.suite(sequences, len(sequences))
    options = {"osvos": {"steps": 100}}
    rows = bench(["mask-blind", "osvos"], pairs, tmp_path, height=240, composites=True, options=options)
    gap = {row["system"]: row["asked-unasked"] for row in rows}
    print((tmp_path / "bench.md").read_text())
    assert gap["osvos"] >= 0.25 and abs(gap["mask-blind"]) < 0.01, gap


def test_osvos_memory_stays_flat_over_a_thousand_frames():
    base = toy.clip(3, length=20, split="val").resize(240)
    frames, mask = list(base.frames), base.masks[0]
    clip = Clip("long", Lazy(1000, lambda t: frames[t % 20]), Lazy(1000, lambda t: mask), (1,), base.size)
    sizes: list[float] = []
    system = registry.make("osvos", scale="toy", steps=20)
    engine.run(system, clip, on_frame=lambda t, _: sizes.append(engine.resident()))
    assert max(sizes[100:]) - sizes[100] < 12, f"grew by {max(sizes[100:]) - sizes[100]:.0f} MiB over 900 frames"
