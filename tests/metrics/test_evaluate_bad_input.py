"""Whatever is wrong with the input, `vos-teach evaluate` says so in one sentence, exits with 2 and gives no number."""

import json
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from mask_files import Davis, save, squares
from PIL import Image

from vos_teach.clip import VosError
from vos_teach.metrics import evaluate, protocols


def first(davis, t=3, name="a"):
    return davis.pred / name / f"{t:05d}.png"


def pictures(davis, n):
    """Frames of sequence a: their names are all that counts."""
    folder = davis.root / "JPEGImages/480p/a"
    folder.mkdir(parents=True)
    for t in range(n):
        (folder / f"{t:05d}.jpg").touch()


def cut_off(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)] if keep < 1 else data[:-int(keep)])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 12] ^= 4
    path.write_bytes(data)


def grow(davis):
    truth = squares(8, ids=range(1, 3))
    pred = truth.copy()
    pred[4, 30, 1:43:2] = range(100, 121)
    davis.add("a", truth, pred)


def other_mode(mode):
    return lambda d: Image.open(first(d)).convert("RGB").convert(mode).save(first(d))


# what is done to a good folder -> a part of the sentence
DAMAGE = {
    "missing frame": (lambda d: first(d).unlink(), "lacks 1 of 8 frames, first '00003.png'"),
    "missing last frame": (lambda d: first(d, 7).unlink(), "lacks 1 of 8 frames"),
    "missing sequence": (lambda d: d.add("c", squares(5)) and [p.unlink() for p in (d.pred / "c").iterdir()]
                         and (d.pred / "c").rmdir(), "has no folder 'c'"),
    "empty sequence": (lambda d: [p.unlink() for p in (d.pred / "a").iterdir()], "has no PNG masks"),
    "more frames": (lambda d: save(first(d, 8), np.zeros((40, 60))), "1 frames more than the ground truth"),
    "size of one": (lambda d: save(first(d), np.zeros((41, 60))), "00003.png' is 60x41"),
    "size of all": (lambda d: d.add("a", squares(8), squares(8, size=(20, 30))), "is 30x20, but the ground truth"),
    "RGB": (other_mode("RGB"), "00003.png' is 8-bit RGB"),
    "RGBA": (other_mode("RGBA"), "00003.png' is 8-bit RGBA"),
    "grey alpha": (other_mode("LA"), "grey with alpha"),
    "16 bit": (lambda d: Image.fromarray(np.zeros((40, 60), np.uint16)).save(first(d)), "16-bit"),
    "half a file": (lambda d: cut_off(first(d), 0.5), "truncated"),
    "end missing": (lambda d: cut_off(first(d), 12), "truncated"),
    "a byte missing": (lambda d: cut_off(first(d), 1), "truncated"),
    "nothing in it": (lambda d: first(d).write_bytes(b""), "not a PNG"),
    "a bit flipped": (lambda d: flip_a_bit(first(d)), "damaged"),
    "truth truncated": (lambda d: cut_off(d.root / "Annotations/480p/a/00004.png", 0.6), "truncated"),
    "not a PNG": (lambda d: first(d).write_text("hello"), "not a PNG"),
    "unknown id": (lambda d: save(first(d), np.full((40, 60), 3)), "has id 3, but the objects of 'a' are 1, 2"),
    "void predicted": (lambda d: save(first(d), np.full((40, 60), 255)), "has id 255"),
    "not in split": (lambda d: save(d.pred / "z" / "00000.png", np.zeros((40, 60))), "'z' is not in split 'val'"),
    "both years": (lambda d: (d.root / "ImageSets" / "2016").mkdir(), "--year"),
    "no year": (lambda d: (d.root / "ImageSets/2017").rename(d.root / "ImageSets/2019"), "has no ImageSets/<year>"),
    "no truth": (lambda d: [p.unlink() for p in (d.root / "Annotations/480p/a").iterdir()], "no ground truth"),
    "half a truth": (lambda d: pictures(d, 9), "Annotations/480p/a' lacks 1 of 9 frames, first '00008.png'"),
    "truth of a test split": (lambda d: pictures(d, 8) or [
        p.unlink() for p in sorted((d.root / "Annotations/480p/a").iterdir())[1:]], "lacks 7 of 8 frames"),
    "no object": (lambda d: [d.add(n, np.zeros((t, 40, 60))) for n, t in (("a", 8), ("b", 6))], "no object"),
}


@pytest.fixture
def davis(tmp_path):
    return Davis(tmp_path).add("a", squares(8)).add("b", squares(6))


def command(monkeypatch, capsys, *args):
    from vos_teach.cli import main

    monkeypatch.setattr(sys, "argv", ["vos-teach", "evaluate", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, *capsys.readouterr()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_input(davis, monkeypatch, capsys, case, processes):
    damage, sentence = DAMAGE[case]
    damage(davis)
    out_file = davis.root.parent / "scores.json"
    out_file.write_text("old")
    status, out, err = command(monkeypatch, capsys, "--pred", davis.pred, "--davis", davis.root, "--task", "one-shot",
                               "--json", out_file, "--processes", processes)
    lines = [line for line in err.splitlines() if "vos-teach: " in line]
    assert status == 2 and len(lines) == 1 and sentence in lines[0]
    assert "Traceback" not in err and "J&F" not in out
    assert out_file.read_text() == "old" and not list(davis.root.parent.glob(".*"))


ARGUMENTS = {
    "no such task": (["--task", "two-shot"], "two-shot"),
    "no such year": (["--year", "2018"], "2018"),
    "year not there": (["--year", "2016"], "2016/val.txt' is missing"),
    "no such split": (["--split", "test"], "2017/test.txt' is missing"),
    "name not in split": (["--sequences", "a,nope"], "'nope' is not in split"),
    "no names": (["--sequences", ","], "no sequences"),
    "no processes": (["--processes", "0"], "at least 1"),
    "no data": (["--davis", "nowhere"], "'nowhere' does not exist"),
    "no predictions": (["--pred", "nowhere"], "'nowhere' does not exist"),
    "json nowhere": (["--json", "nowhere/scores.json"], "nowhere"),
    "json a folder": (["--json", "."], "folder"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_wrong_arguments(davis, monkeypatch, capsys, case):
    arguments, sentence = ARGUMENTS[case]
    base = ["--pred", davis.pred, "--davis", davis.root, "--task", "one-shot"]
    status, out, err = command(monkeypatch, capsys, *base, *arguments)
    assert status == 2 and sentence in err and "Traceback" not in err and "J&F" not in out


def test_other_layouts(davis, tmp_path):
    grow(davis)
    with pytest.raises(VosError, match="23 proposals; at most 20"):
        evaluate(davis.pred, davis.root, "zero-shot", processes=1)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(VosError, match="is empty"):
        evaluate(tmp_path / "nothing", davis.root, "one-shot", "val", None, "present")
    with pytest.raises(VosError, match="neither DAVIS"):
        evaluate(davis.pred, tmp_path / "nothing", "one-shot")
    save(tmp_path / "tube" / "Annotations" / "a" / "00000.png", squares(1)[0])
    save(tmp_path / "tube" / "Annotations" / "a" / "00005.png", squares(1)[0])
    pred = tmp_path / "tube_pred"
    for t in (0, 5):
        save(pred / "a" / f"{t:05d}.png", squares(1)[0])
    assert evaluate(pred, tmp_path / "tube", "one-shot")["J&F"] == 1
    with pytest.raises(VosError, match="no category for object 1 of 'a'"):
        evaluate(pred, tmp_path / "tube", "one-shot", unseen=["dog"])
    (tmp_path / "tube" / "meta.json").write_text(json.dumps({"videos": []}))
    with pytest.raises(VosError, match=r"meta\.json"):
        evaluate(pred, tmp_path / "tube", "one-shot", unseen=["dog"])
    save(pred / "a" / "00003.png", squares(1)[0])
    with pytest.raises(VosError, match="1 frames more"):
        evaluate(pred, tmp_path / "tube", "one-shot")


def test_an_object_that_is_never_scored_is_named(davis, capsys):
    truth = squares(6, ids=(1, 2))
    truth[:5][truth[:5] == 2] = 0  # object 2 only in the last frame, which does not count
    result = evaluate(davis.add("b", truth).pred, davis.root, "one-shot", processes=1)
    assert result["objects"] == 3 and "objects [2] of 'b'" in capsys.readouterr().err


def test_pixels_that_do_not_fit_the_header(davis):
    """A file that is sound by every checksum, but shorter than it says."""
    data = first(davis).read_bytes()
    body = data[12:16] + struct.pack(">I", 60) + struct.pack(">I", 41) + data[24:29]
    first(davis).write_bytes(data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:])
    with pytest.raises(VosError, match="bytes of pixels"):
        evaluate(davis.pred, davis.root, "one-shot", processes=1)


def die(video):
    os._exit(9)


@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform != "linux", reason="needs workers that are forked with the patch in place")
def test_a_dead_worker_ends_with_an_error(davis, monkeypatch):
    monkeypatch.setattr(protocols, "score_video", die)
    with pytest.raises(VosError, match="worker process died"):
        evaluate(davis.pred, davis.root, "one-shot", processes=2)


@pytest.mark.timeout(60)
def test_opencv_threads_in_the_parent_do_not_hang_the_workers(davis):
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2000, 2000), np.float32), (31, 31), 5)  # starts OpenCV's threads
    assert evaluate(davis.pred, davis.root, "one-shot", processes=2)["J&F"] == 1
    assert cv2.getNumThreads() == 4


@pytest.mark.slow
def test_spawned_workers_give_the_same(davis, monkeypatch):
    """What Windows and macOS do."""
    forked = evaluate(davis.pred, davis.root, "one-shot", processes=2)
    monkeypatch.setattr(protocols, "START", "spawn")
    assert evaluate(davis.pred, davis.root, "one-shot", processes=2) == forked


@pytest.mark.slow
def test_the_installed_command(davis):
    first(davis).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "vos_teach.cli", "evaluate", "--pred", str(davis.pred), "--davis", str(davis.root),
         "--task", "one-shot"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == "" and "lacks 1 of 8 frames" in done.stderr
