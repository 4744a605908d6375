import json
import math

import cv2
import numpy as np
import pytest
import torch

from vos_teach import bench as library
from vos_teach.bench import bench, code_version, measure, measure_asked, score
from vos_teach.clip import Clip, VosError
from vos_teach.data import youtube
from vos_teach.data.png import write_bytes, write_mask
from vos_teach.metrics import evaluate
from vos_teach.segmenter import given


def clip(name: str = "two", frames: int = 9, starts: dict | None = None, seed: int = 0) -> Clip:
    """Two squares that move apart; the frames show the ids as grey levels, so a system can read the truth off them."""
    masks = []
    for t in range(frames):
        mask = np.zeros((32, 48), np.uint8)
        mask[4:14, 3 + 2 * t : 15 + 2 * t] = 1
        if t >= (starts or {}).get(2, 0):
            mask[18:28, 30 - t : 42 - t] = 2
        masks.append(mask)
    pictures = [np.repeat((m * 100)[..., None], 3, 2) + np.uint8(seed) for m in masks]
    return Clip(name, pictures, masks, (1, 2), (32, 48), starts=starts or {})


class Reader:
    """A perfect system: it reads the objects it was asked for off the frame's grey levels."""

    task, causal, seed, runs = "one-shot", True, 0, 0

    def start(self, frame, masks=None):
        type(self).runs += 1
        self.levels = [frame[0][m].median() for m in masks]
        return given(masks)

    def step(self, frame, new=None):
        masks = [(frame[0] - level).abs() < 0.01 for level in self.levels]
        if new is not None:
            self.levels += [frame[0][m].median() for m in new]
            masks += list(new)
        return given(torch.stack(masks))


class Blind(Reader):
    """It segments whatever is there, whichever object was asked for."""

    def step(self, frame, new=None):
        return given(torch.stack([frame[0] > 0.1]))


class Stay(Reader):
    """The first masks, for ever."""

    def start(self, frame, masks=None):
        self.first = given(masks)
        return self.first

    def step(self, frame, new=None):
        return self.first


def slow_j(a: np.ndarray, b: np.ndarray) -> float:
    both = either = 0
    for p, q in zip(a.ravel(), b.ravel(), strict=True):
        both, either = both + bool(p and q), either + bool(p or q)
    return both / either if either else 1.0


def test_j_is_the_mean_over_objects_of_means_over_inner_frames(tmp_path):
    one = Clip("one", clip().frames, [np.where(m == 1, 1, 0).astype(np.uint8) for m in clip().masks], (1,), (32, 48))
    clips = [clip("long", 12), one]
    row, = bench(["stay"], clips, tmp_path, make=lambda *a, **k: Stay(), version=lambda *a: "", progress=False)
    per_object = []
    for c in clips:
        for k in c.ids:
            first = c.masks[0] == k
            per_object.append(np.mean([slow_j(first, c.masks[t] == k) for t in range(1, len(c) - 1)]))
    assert len(per_object) == 3 == row["objects"]
    assert row["J"] == pytest.approx(np.mean(per_object), abs=1e-12)
    assert 0.05 < row["J"] < 0.95 and row["J&F"] == pytest.approx((row["J"] + row["F"]) / 2)


def test_a_late_object_counts_from_the_frame_after_its_start():
    c = clip(starts={2: 4})
    found = measure(Reader(), c)["objects"]
    assert found["1"]["frames"] == list(range(1, 8)) and found["2"]["frames"] == [5, 6, 7]
    assert found["1"]["J"] == found["2"]["J"] == found["2"]["F"] == 1


def test_frames_without_annotation_are_not_scored():
    c = clip()
    sparse = Clip("sparse", c.frames, [m if t % 4 == 0 else None for t, m in enumerate(c.masks)], c.ids, c.size)
    assert score(sparse, c.masks)["1"]["frames"] == [4]


def test_youtube_vos_is_scored_as_evaluate_does(tmp_path):
    c = clip(starts={2: 3})
    answer = [np.roll(m, 2, 1) for m in c.masks]
    for t, frame in enumerate(c.frames):
        write_bytes(tmp_path / "data/JPEGImages/two" / f"{t:05d}.jpg", cv2.imencode(".jpg", frame)[1].tobytes())
        write_mask(tmp_path / "pred/two" / f"{t:05d}.png", answer[t])
        if t % 2 == 0:
            write_mask(tmp_path / "data/Annotations/two" / f"{t:05d}.png", c.masks[t])
    theirs = evaluate(tmp_path / "pred", tmp_path / "data", "one-shot", processes=1)["sequences"]["two"]["objects"]
    ours = score(youtube.read(tmp_path / "data")[0], answer)
    assert ours["1"]["frames"] == [2, 4, 6, 8] and ours["2"]["frames"] == [6, 8]  # the last one counts
    for k in "12":
        assert ours[k]["curve"] == pytest.approx(theirs[k]["J"]["values"], abs=1e-12)
        assert ours[k]["F"] == pytest.approx(theirs[k]["F"]["mean"], abs=1e-12)


def test_more_than_20_proposals_are_refused(tmp_path):
    c = clip()
    crowd = np.arange(32 * 48, dtype=np.uint8).reshape(32, 48) % 22
    with pytest.raises(VosError, match="'two' has 21 proposals; at most 20"):
        score(c, [crowd] * len(c), "zero-shot")
    assert score(c, [crowd % 21] * len(c), "zero-shot")


def test_zero_shot_counts_all_frames_matches_proposals_and_leaves_void_out():
    c = clip()
    truth = [m.copy() for m in c.masks]
    truth[3][:, :24] = 255
    voided = Clip("void", c.frames, truth, c.ids, c.size)
    table = np.array([0, 7, 3], np.uint8)  # proposals have ids of their own
    found = score(voided, [table[m] for m in c.masks], "zero-shot")
    assert found["1"]["J"] == found["2"]["J"] == 1 and found["1"]["frames"] == list(range(9))
    alone = score(voided, [np.where(m == 1, 7, 0).astype(np.uint8) for m in c.masks], "zero-shot")
    assert alone["1"]["J"] == 1 and alone["2"]["J"] == 0  # one proposal for two objects


def test_t_is_added_only_when_asked_for():
    c = clip()
    assert "T" not in score(c, c.masks)["1"]
    assert score(c, c.masks, temporal=True)["1"]["T"] == pytest.approx(0, abs=0.05)  # a square that only shifts


def test_asked_minus_unasked_tells_a_reader_from_a_blind_system(tmp_path):
    rows = {}
    for name, system in (("reader", Reader), ("blind", Blind)):
        row, = bench([name], [clip()], tmp_path / name, composites=True, progress=False,
                     make=lambda *a, system=system, **k: system(), version=lambda *a: "")
        rows[name] = row
    assert rows["reader"]["asked"] == 1 and rows["reader"]["unasked"] == 0 and rows["reader"]["asked-unasked"] == 1
    assert abs(rows["blind"]["asked-unasked"]) < 1e-9 and rows["blind"]["asked"] > 0.3
    single = measure_asked(Reader(), clip())
    assert set(single["objects"]) == {"1", "2"} and single["frames"] == 18


def counted(tmp_path, clips, **more):
    Reader.runs = 0
    given = {"make": lambda *a, **k: Reader(), "version": lambda *a: "code", "progress": False, **more}
    rows = bench(["reader"], clips, tmp_path, **given)
    return Reader.runs, rows


def test_an_interrupted_bench_goes_on(tmp_path):
    clips = [clip("a"), clip("b"), clip("c")]

    class Interrupted(Reader):
        def start(self, frame, masks=None):
            if Reader.runs == 2:
                raise KeyboardInterrupt
            Reader.runs += 1
            return super().start(frame, masks)

    with pytest.raises(KeyboardInterrupt):
        counted(tmp_path, clips, make=lambda *a, **k: Interrupted())
    assert len(list(tmp_path.glob("results/reader/*.json"))) == 2 and not (tmp_path / "bench.json").exists()
    runs, rows = counted(tmp_path, clips)
    assert runs == 1 and rows[0]["reused"] == 2 and rows[0]["clips"] == 3
    assert counted(tmp_path, clips)[0] == 0
    last = sorted(tmp_path.glob("results/reader/*.json"))[-1]
    last.write_text(last.read_text()[:40])  # cut short by a crash
    assert counted(tmp_path, clips)[0] == 1


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"height": 16}, {"temporal": True}, {"options": {"reader": {"steps": 3}}}, {"scale": "toy"},
    {"version": lambda *a: "other code or weights"}, {"save_masks": True}, {"composites": True},
])
def test_what_a_change_made_stale_is_run_again(tmp_path, change):
    assert counted(tmp_path, [clip()])[0] == 1
    assert counted(tmp_path, [clip()], **change)[0] >= 1
    assert counted(tmp_path, [clip()], **change)[0] == 0


def test_a_clip_whose_content_changed_is_run_again(tmp_path):
    assert counted(tmp_path, [clip(seed=0)])[0] == 1
    assert counted(tmp_path, [clip(seed=1)])[0] == 1


def test_masks_are_saved_and_missing_ones_made_again(tmp_path):
    counted(tmp_path, [clip()], save_masks=True)
    files = sorted((tmp_path / "masks/reader/two").glob("*.png"))
    assert [f.name for f in files] == [f"{t:05d}.png" for t in range(9)]
    files[4].unlink()
    assert counted(tmp_path, [clip()], save_masks=True)[0] == 1


def test_the_files_say_what_was_done_and_nothing_of_where(tmp_path):
    counted(tmp_path, [clip()], data="squares")
    text = (tmp_path / "bench.json").read_text()
    assert json.loads(text)["rows"][0]["J"] == 1 and "NaN" not in text and str(tmp_path) not in text
    import platform
    assert platform.node() not in text or len(platform.node()) < 4
    table = (tmp_path / "bench.md").read_text()
    assert table.startswith("| system | J&F |") and "| reader | 1.000 |" in table and "squares" in table


def test_a_clip_too_short_to_score_is_no_number(tmp_path):
    _, rows = counted(tmp_path, [clip(frames=2)])
    assert rows[0]["J"] is None and "NaN" not in (tmp_path / "bench.json").read_text()


def test_bad_input_is_a_sentence(tmp_path):
    with pytest.raises(VosError, match="two clips are called 'two'"):
        counted(tmp_path, [clip(), clip()])
    with pytest.raises(VosError, match="no clip"):
        counted(tmp_path, [])
    bare = Clip("bare", clip().frames, [np.zeros((32, 48), np.uint8)] * 9, (), (32, 48))
    with pytest.raises(VosError, match="'bare' has no object"):
        counted(tmp_path, [clip(), bare], make=lambda *a, **k: pytest.fail("ran"))
    with pytest.raises(VosError, match="no scale 'huge'"):
        counted(tmp_path, [clip()], scale="huge")
    with pytest.raises(VosError, match="there is no system 'nonsense'; choose from: copy-first"):
        bench(["nonsense"], [clip()], tmp_path, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(VosError, match="cannot be written"):
        counted(tmp_path / "file", [clip()])


def test_the_code_version_follows_what_a_system_imports(tmp_path, monkeypatch):
    osvos, copy = code_version("osvos"), code_version("copy-first")
    assert osvos == code_version("osvos") != copy
    weights = tmp_path / "osvos.safetensors"
    weights.write_bytes(b"new weights")
    monkeypatch.setattr(library, "SHIPPED", tmp_path)
    assert code_version("osvos") != osvos and code_version("copy-first") == copy


def test_time_without_finetuning_leaves_it_out():
    result = {"objects": {"1": {"J": 1.0, "F": 1.0}}, "frames": 10, "seconds": 5.0, "finetune_seconds": 4.0,
              "peak_memory": 7.0}
    row = library.summary("x", [result, {**result, "frames": 30, "peak_memory": 9.0}])
    assert math.isclose(row["seconds"], 10 / 40) and math.isclose(row["seconds_without_finetuning"], 2 / 40)
    assert row["peak_memory"] == 9
