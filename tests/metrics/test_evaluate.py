"""The protocols: the official tool's figures, and its faults that are not to be copied."""

import json
import sys

import cv2
import numpy as np
import pytest
from mask_files import Davis, save, squares
from PIL import Image

from vos_teach.cli import main
from vos_teach.data.png import read_mask
from vos_teach.metrics import boundary_f, decay, evaluate, jaccard, match_proposals, recall, temporal_stability
from vos_teach.metrics.output import print_table


@pytest.fixture
def davis(tmp_path):
    return Davis(tmp_path)


def noisy(clip, seed=0):
    """Each object moved and eaten at, so that scores are neither 0 nor 1."""
    rng = np.random.default_rng(seed)
    out = np.roll(clip, (2, 1), axis=(1, 2))
    out[rng.random(clip.shape) < 0.05] = 0
    return out


def run(monkeypatch, capsys, *args):
    """The real command, in this process: exit status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["vos-teach", "evaluate", *map(str, args)])
    try:
        main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    out = capsys.readouterr()
    return status, out.out, out.err


@pytest.mark.slow
@pytest.mark.parametrize("task, folder, key", [
    ("one-shot", "osvos_results", "semi-supervised: osvos_results"),
    ("zero-shot", "rvos_results", "unsupervised: rvos_results"),
])
def test_official_scores(shared_data, tmp_path, monkeypatch, capsys, task, folder, key):
    official = json.loads((shared_data / "official_scores.json").read_text())[key]
    status, out, err = run(
        monkeypatch, capsys, "--pred", shared_data / folder, "--davis", shared_data / "DAVIS", "--task", task,
        "--sequences", "present", "--json", tmp_path / "scores.json", "--processes", 2,
    )
    assert status == 0 and "9 sequences present" in err and "global (mean over 9 objects)" in out
    result = json.loads((tmp_path / "scores.json").read_text())
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]
    assert result["objects"] == official["objects"]
    assert result["J&F"] == pytest.approx(official["J&F"], abs=1e-6)
    for measure in ("J", "F"):
        for key in ("mean", "recall", "decay"):
            assert result[measure][key] == pytest.approx(official[measure][key], abs=1e-6)
        assert result[measure]["per_object"] == pytest.approx(official[measure]["per_object"], abs=1e-6)


def test_one_shot_leaves_out_first_and_last_frame_and_means_over_objects(davis):
    a, b = squares(9, ids=(1, 2)), squares(7, ids=(1,), speed=2)
    preds = noisy(a), noisy(b, 1)
    davis.add("one", a, preds[0]).add("two", b, preds[1])
    result = evaluate(davis.pred, davis.root, "one-shot", processes=1)
    expected = {}
    for name, truth, pred, ids in (("one", a, preds[0], (1, 2)), ("two", b, preds[1], (1,))):
        for k in ids:
            expected[f"{name}_{k}"] = [m(pred[1:-1] == k, truth[1:-1] == k) for m in (jaccard, boundary_f)]
    for i, measure in enumerate(("J", "F")):
        values = [v[i] for v in expected.values()]
        assert result[measure]["per_object"] == {name: v[i].mean() for name, v in expected.items()}
        for key, statistic in (("mean", np.mean), ("recall", recall), ("decay", decay)):
            assert result[measure][key] == pytest.approx(np.mean([statistic(v) for v in values]), abs=1e-12)
    assert result["objects"] == 3 and 0 < result["J"]["mean"] < 1
    assert result["J"]["mean"] != result["F"]["mean"]
    assert result["J&F"] == (result["J"]["mean"] + result["F"]["mean"]) / 2
    assert result["sequences"]["one"]["objects"]["2"]["J"]["values"] == expected["one_2"][0].tolist()
    assert result["sequences"]["one"]["frames"] == 9


def test_zero_shot_matches_like_the_oracle_and_names_follow_the_truth(davis):
    truth = squares(8, ids=(2, 5))
    pred = np.zeros_like(truth)
    pred[noisy(truth) == 5], pred[noisy(truth, 1) == 2] = 3, 17  # proposals in the other order
    pred[:, 30:36, 40:50] = 9  # surplus: costs nothing
    davis.add("clip", truth, pred)
    result = evaluate(davis.pred, davis.root, "zero-shot", processes=1)
    objects = result["sequences"]["clip"]["objects"]
    assert {k: o["proposal"] for k, o in objects.items()} == {"2": 17, "5": 3}
    scores = np.array([[(jaccard(pred == p, truth == g) + boundary_f(pred == p, truth == g)).mean() / 2
                        for p in (3, 9, 17)] for g in (2, 5)])
    assert match_proposals(scores) == [(0, 2), (1, 0)]
    for k, p in ((2, 17), (5, 3)):  # all frames count
        assert objects[str(k)]["J"]["values"] == jaccard(pred == p, truth == k).tolist()
        assert objects[str(k)]["F"]["values"] == boundary_f(pred == p, truth == k).tolist()
    without = pred.copy()
    without[without == 9] = 0
    davis.add("clip", truth, without)
    assert evaluate(davis.pred, davis.root, "zero-shot", processes=1)["J&F"] == result["J&F"]


def test_fewer_proposals_than_objects(davis):
    truth = squares(6, ids=(1, 2))
    truth[3:][truth[3:] == 2] = 0  # object 2 leaves: an empty proposal is right about it from then on
    davis.add("clip", truth, np.where(truth == 1, 7, 0))
    objects = evaluate(davis.pred, davis.root, "zero-shot", processes=1)["sequences"]["clip"]["objects"]
    assert objects["1"]["proposal"] == 7 and objects["2"]["proposal"] is None
    assert objects["2"]["J"]["values"] == [0, 0, 0, 1, 1, 1]
    davis.add("clip", truth, np.zeros_like(truth))  # no proposal at all
    assert evaluate(davis.pred, davis.root, "zero-shot", processes=1)["J"]["mean"] == 0.25


def test_void(davis):
    truth, pred = squares(6, ids=(1,)), squares(6, ids=(1,))
    truth[:, 20:30, 30:40] = 255
    pred[:, 20:30, 30:40] = 1
    davis.add("clip", truth, pred)
    assert evaluate(davis.pred, davis.root, "zero-shot", processes=1)["J&F"] == 1  # does not count
    one_shot = evaluate(davis.pred, davis.root, "one-shot", processes=1)
    assert one_shot["J"]["mean"] == pytest.approx(99 / 199)  # background, wrongly claimed


def test_davis_2016_any_value_is_the_object(tmp_path):
    davis = Davis(tmp_path, year=2016)
    truth = squares(6, ids=(255,))
    for value in (1, 255):  # predictions written either way
        davis.add("clip", truth, np.where(truth, value, 0), mode="L")
        for task in ("one-shot", "zero-shot"):
            result = evaluate(davis.pred, davis.root, task, processes=1)
            assert result["J&F"] == 1 and list(result["J"]["per_object"]) == ["clip_1"] and result["year"] == 2016


def test_the_lists_of_the_first_release_and_of_other_years(tmp_path):
    davis = Davis(tmp_path, year=2016).add("clip", squares(6, ids=(255,)), mode="L")
    (davis.root / "ImageSets/2019").mkdir()
    (davis.root / "ImageSets/2016").rename(davis.root / "ImageSets/1080p")
    lines = [f"/JPEGImages/1080p/clip/{t:05d}.jpg /Annotations/1080p/clip/{t:05d}.png " for t in range(6)]
    (davis.root / "ImageSets/1080p/val.txt").write_text("\n".join(lines))
    result = evaluate(davis.pred, davis.root, "one-shot", processes=1)
    assert result["year"] == 2016 and list(result["sequences"]) == ["clip"]


def test_gaps_in_the_ids_are_no_objects(davis):
    truth = squares(6, ids=(2, 7))
    davis.add("clip", truth, np.zeros_like(truth))
    for task in ("one-shot", "zero-shot"):
        result = evaluate(davis.pred, davis.root, task, processes=1)
        assert result["J"]["per_object"] == {"clip_2": 0, "clip_7": 0}


def test_an_object_that_appears_late_counts_from_the_frame_after(davis):
    truth = squares(8, ids=(1, 2))
    truth[:3][truth[:3] == 2] = 0
    davis.add("clip", truth)
    result = evaluate(davis.pred, davis.root, "one-shot", processes=1)
    objects = result["sequences"]["clip"]["objects"]
    assert len(objects["1"]["J"]["values"]) == 6 and len(objects["2"]["J"]["values"]) == 3
    assert result["J&F"] == 1
    zero = evaluate(davis.pred, davis.root, "zero-shot", processes=1)
    assert zero["J&F"] == 1 and len(zero["sequences"]["clip"]["objects"]["2"]["J"]["values"]) == 8


@pytest.mark.parametrize("task", ["one-shot", "zero-shot"])
def test_a_sequence_without_objects_counts_nothing(davis, task, capsys):
    davis.add("bare", np.zeros((6, 40, 60))).add("clip", squares(6, ids=(1,)))
    result = evaluate(davis.pred, davis.root, task, temporal=True, processes=1)
    assert result["objects"] == 1 and result["J&F"] == 1 and "T" in result
    assert result["sequences"]["bare"] == {"frames": 6, "objects": {}}
    print_table(result)
    assert "bare" in capsys.readouterr().out


def test_decay_beyond_256_frames(davis):
    truth = squares(600, size=(16, 24), ids=(1,), speed=0)
    pred = truth.copy()
    pred[450:] = 0
    davis.add("long", truth, pred)
    assert evaluate(davis.pred, davis.root, "one-shot", processes=1)["J"]["decay"] == pytest.approx(1, abs=0.01)


def test_processes_and_order_change_nothing(davis):
    for n, name in enumerate(("b", "a", "c")):
        truth = squares(5 + n, ids=(1, 2))
        davis.add(name, truth, noisy(truth, n))
    one = evaluate(davis.pred, davis.root, "one-shot", processes=1)
    assert list(one["sequences"]) == ["b", "a", "c"]
    assert evaluate(davis.pred, davis.root, "one-shot", processes=2) == one
    part = evaluate(davis.pred, davis.root, "one-shot", sequences=["c"], processes=1)
    assert part["sequences"]["c"] == one["sequences"]["c"] and part["objects"] == 2


def test_temporal(davis):
    truth = squares(6, ids=(1,))
    pred = np.zeros_like(truth)
    for t in range(6):
        cv2.circle(pred[t], (25, 20), 6 + t, 1, -1)
    davis.add("clip", truth, pred)
    result = evaluate(davis.pred, davis.root, "one-shot", temporal=True, processes=1)
    expected = temporal_stability(pred[:-1] == 1)  # DAVIS pairs frames 0 ... n-3 with the next
    assert result["T"]["mean"] == pytest.approx(np.nanmean(expected), abs=1e-12) and expected.shape == (4,)
    assert "T" not in evaluate(davis.pred, davis.root, "one-shot", processes=1)


def test_resolution_and_annotations_are_chosen(davis):
    small, large = squares(5, size=(20, 30), ids=(1,)), squares(5, size=(60, 90), ids=(1,))
    davis.add("clip", small).add("clip", large, resolution="Full-Resolution")
    assert evaluate(davis.pred, davis.root, "one-shot", processes=1)["J&F"] == 1
    other = squares(5, size=(60, 90), ids=(1, 2))
    davis.add("clip", other, resolution="480p", annotations="Annotations_unsupervised")
    assert evaluate(davis.pred, davis.root, "zero-shot", processes=1)["objects"] == 2
    davis.add("clip", large, resolution="Full-Resolution")
    assert evaluate(davis.pred, davis.root, "one-shot", processes=1)["objects"] == 1


def youtube(tmp_path, meta=None):
    root, pred = tmp_path / "valid", tmp_path / "pred"
    truth = squares(4, ids=(1, 2))
    truth[:2][truth[:2] == 2] = 0  # object 2 appears in frame 00010
    for t in range(16):
        (root / "JPEGImages" / "v").mkdir(parents=True, exist_ok=True)
        (root / "JPEGImages" / "v" / f"{t:05d}.jpg").touch()
        save(pred / "v" / f"{t:05d}.png", truth[t // 5] if t % 5 == 0 else truth[0])
        if t % 5 == 0:
            save(root / "Annotations" / "v" / f"{t:05d}.png", truth[t // 5])
    (root / "meta.json").write_text(json.dumps({"videos": {"v": {"objects": {
        "1": {"category": "dog", "frames": ["00000"]}, "2": {"category": "gnu", "frames": ["00010"]}}}}}))
    worse = truth[3].copy()
    worse[worse == 2] = 0
    save(pred / "v" / "00015.png", worse)
    return pred, root


def test_youtube_vos(tmp_path):
    pred, root = youtube(tmp_path)
    result = evaluate(pred, root, "one-shot", processes=1)
    objects = result["sequences"]["v"]["objects"]
    assert objects["1"]["J"]["values"] == [1, 1, 1]  # the last annotated frame counts
    assert objects["2"]["J"]["values"] == [0]  # given in the third, so only the fourth is scored
    assert result["layout"] == "youtube-vos" and result["J"]["mean"] == 0.5 and "J_seen" not in result
    named = evaluate(pred, root, "one-shot", unseen=["gnu"], processes=1)
    assert [named[k] for k in ("J_seen", "J_unseen", "F_seen", "F_unseen", "overall")] == [1, 0, 1, 0, 0.5]
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "meta.json").write_text(
        json.dumps({"videos": {"w": {"objects": {"1": {"category": "gnu", "frames": ["00000"]}}}}}))
    found = evaluate(pred, tmp_path, "one-shot", processes=1)
    assert [found[k] for k in ("J_seen", "J_unseen")] == [0, 1]


def test_a_real_youtube_vos_clip_against_itself(shared_data):
    root = shared_data / "YouTubeVOS" / "train"
    result = evaluate(root / "Annotations", root, "one-shot", processes=1)
    assert result["objects"] == 5 and result["J&F"] == 1


def test_masks_are_read_exactly(tmp_path):
    """Whatever the writer's filters, interlacing or depth, ids come out as Pillow has them."""
    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 9, (12, 17)), np.ones((7, 5), int)).astype(np.uint8)
    writers = {"palette": lambda p: save(p, mask), "grey": lambda p: save(p, mask, "L"),
               "cv2": lambda p: cv2.imwrite(str(p), mask)}
    writers |= {f"filter{f}": lambda p, f=f: cv2.imwrite(str(p), mask, [cv2.IMWRITE_PNG_STRATEGY, f])
                for f in range(4)}
    for name, write in writers.items():
        write(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), mask, name)
    four = Image.fromarray(mask)
    four.putpalette(list(range(48)))
    four.save(tmp_path / "four.png", bits=4)
    np.testing.assert_array_equal(read_mask(tmp_path / "four.png"), mask)
    Image.fromarray(mask > 4).save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "one.png"), mask > 4)
    save(tmp_path / "empty.png", np.zeros((5, 6)), "L")
    assert not read_mask(tmp_path / "empty.png").any()
