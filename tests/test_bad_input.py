"""Whatever is wrong with what a command is given: one sentence that names it, exit status 2, nothing half-written.

`evaluate` has more of these in metrics/test_evaluate_bad_input.py, the readers and the download in data/.
"""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from disk import full_disk
from PIL import Image

from vos_teach.cli import main
from vos_teach.data import png

SIZE, FRAMES = (48, 64), 5


class World:
    """A data set in DAVIS-2017 layout with sequences a and b, predictions for it, a zip of it, a new folder `out`."""

    def __init__(self, top: Path):
        self.top, self.root, self.pred, self.out = top, top / "DAVIS", top / "pred", top / "out"
        self.zip, self.pickle, self.file = top / "fetched" / "small.zip", top / "parent.pth", top / "file"
        rng = np.random.default_rng(0)
        for name in "ab":
            for t in range(FRAMES):
                self.frame(name, t).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(self.frame(name, t), quality=95)
                mask = np.zeros(SIZE, np.uint8)
                mask[5:20, 5 + t : 30 + t], mask[30:40, 10:30] = 1, 2
                png.write_mask(self.mask(name, t), mask)
                png.write_mask(self.guess(name, t), mask)
        (self.root / "ImageSets" / "2017").mkdir(parents=True)
        (self.root / "ImageSets" / "2017" / "val.txt").write_text("a\nb\n")
        self.zip.parent.mkdir()
        with zipfile.ZipFile(self.zip, "w") as archive:
            for path in sorted(self.root.rglob("*")):
                if path.is_file():
                    archive.write(path, Path("DAVIS") / path.relative_to(self.root))
        torch.save({"weight": torch.zeros(3)}, self.pickle)
        self.file.write_text("not a folder")
        (top / "empty").mkdir()

    def frame(self, name="a", t=3):
        return self.root / "JPEGImages" / "480p" / name / f"{t:05d}.jpg"

    def mask(self, name="a", t=3):
        return self.root / "Annotations" / "480p" / name / f"{t:05d}.png"

    def guess(self, name="a", t=3):
        return self.pred / name / f"{t:05d}.png"

    def leftovers(self):
        """What a command leaves besides the input: nothing temporary, and no result that looks whole."""
        fine = {".gitignore"}  # bench and demo: the folder's mark
        return [p for p in self.top.rglob("*") if p.name not in fine and (
            p.name.startswith(".") or p.suffix in (".part", ".tmp") or (self.out in p.parents and p.is_file()))]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def wider(path: Path) -> None:
    with Image.open(path) as picture:
        larger = picture.resize((SIZE[1] + 1, SIZE[0]), Image.Resampling.NEAREST)
    larger.save(path)


def colour(path: Path) -> None:
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
    rgb.save(path)


def other_id(path: Path) -> None:
    png.write_mask(path, np.full(SIZE, 7))


EVALUATE = "evaluate --pred {pred} --davis {root} --task one-shot --processes 1 --json {out}.json"
SEGMENT = "segment copy-first {root}/JPEGImages/480p/a --out {out}"
BENCH = "bench copy-first --data {root} --out {out}"
FETCH = "data davis --sequences a --root {top}/fetched --url http://127.0.0.1:9/small.zip"
TRAIN = "train osvos --data {root} --out {out}"
TOY = "toy --clips 1 --out {out}"

# command, what is done to the world, what the sentence must name; "{...}" are the world's places
CASES = {
    "evaluate, missing frame": (EVALUATE, lambda w: w.guess().unlink(), "00003.png"),
    "evaluate, missing truth": (EVALUATE, lambda w: [f.unlink() for f in w.mask().parent.iterdir()], "'a'"),
    "evaluate, sizes": (EVALUATE, lambda w: wider(w.guess()), "{pred}/a/00003.png' is 65x48"),
    "evaluate, RGB": (EVALUATE, lambda w: colour(w.guess()), "{pred}/a/00003.png' is 8-bit RGB"),
    "evaluate, unknown id": (EVALUATE, lambda w: other_id(w.guess()), "{pred}/a/00003.png' has id 7"),
    "evaluate, truncated": (EVALUATE, lambda w: cut(w.guess()), "{pred}/a/00003.png' is truncated"),
    "evaluate, truncated truth": (EVALUATE, lambda w: cut(w.mask()), "Annotations/480p/a/00003.png' is truncated"),
    "evaluate, empty": (EVALUATE.replace("{pred}", "{top}/empty"), None, "{top}/empty' is empty"),
    "evaluate, not in split": (EVALUATE + " --sequences a,z", None, "'z' is not in split 'val'"),
    "evaluate, more frames": (EVALUATE, lambda w: other_id(w.guess(t=5)), "00005.png"),
    "evaluate, no such folder": (EVALUATE.replace("{out}", "{file}/x"), None, "{file}/x.json"),
    "evaluate, disk full": (EVALUATE, full_disk, "{out}.json' cannot be written"),

    "segment, missing frame": (SEGMENT, lambda w: w.frame().unlink(), "00003.png"),
    "segment, missing masks": (SEGMENT, lambda w: [f.unlink() for f in w.mask().parent.iterdir()], "480p/a"),
    "segment, frame sizes": (SEGMENT, lambda w: wider(w.frame()), "00003.jpg' is 65x48"),
    "segment, mask sizes": (SEGMENT, lambda w: wider(w.mask(t=0)), "00000.png' is 65x48"),
    "segment, RGB": (SEGMENT, lambda w: colour(w.mask(t=0)), "00000.png' is 8-bit RGB"),
    "segment, truncated mask": (SEGMENT, lambda w: cut(w.mask(t=0)), "00000.png' is truncated"),
    "segment, truncated frame": (SEGMENT, lambda w: cut(w.frame()), "00003.jpg' is truncated"),
    "segment, truncated first frame": (SEGMENT, lambda w: w.frame(t=0).write_bytes(b"\xff\xd8\xff"), "00000.jpg"),
    "segment, empty": ("segment copy-first {top}/empty --out {out}", None, "{top}/empty' has no frames"),
    "segment, nowhere": ("segment copy-first {top}/nowhere --out {out}", None, "{top}/nowhere' does not exist"),
    "segment, a data set": ("segment copy-first {root} --out {out}", None, "{root}' is a data set"),
    "segment, no video": ("segment copy-first {file} --out {out}", None, "{file}"),
    "segment, unknown system": (SEGMENT.replace("copy-first", "magic"), None, "'magic'"),
    "segment, pickle": (SEGMENT.replace("copy-first", "mask-blind") + " --weights {pickle}", None,
                        "{pickle}' is a pickle"),
    "segment, no weights": (SEGMENT.replace("copy-first", "osvos") + " --weights {top}/w", None, "{top}/w'"),
    "segment, empty weights": (SEGMENT.replace("copy-first", "osvos") + " --weights {file}", None, "{file}' is not"),
    "segment, weights for none": (SEGMENT + " --weights {pickle}", None, "copy-first"),
    "segment, both budgets": (SEGMENT + " --steps 1 --seconds 1", None, "--steps"),
    "segment, negative budget": (SEGMENT + " --seconds nan", None, "--seconds is nan"),
    "segment, scale": (SEGMENT + " --scale huge", None, "'huge'"),
    "segment, paper's scale": (SEGMENT.replace("copy-first", "osvos") + " --scale paper", None, "ships no parent"),
    "segment, height": (SEGMENT + " --height 0", None, "'a' cannot be 0 pixels high"),
    "segment, device": (SEGMENT.replace("copy-first", "osvos") + " --steps 0 --device tpu9", None, "'tpu9'"),
    "segment, out in a file": (SEGMENT.replace("{out}", "{file}/x"), None, "{file}/x"),
    "segment, disk full": (SEGMENT, full_disk, "{out}"),
    "segment, disk full for the film": (SEGMENT, lambda: full_disk(2500), "{out}"),

    "bench, missing mask": (BENCH, lambda w: w.mask().unlink(), "00003.png"),
    "bench, missing frame": (BENCH, lambda w: w.frame().unlink(), "00003.png"),
    "bench, frame sizes": (BENCH, lambda w: wider(w.frame()), "00003.jpg' is 65x48"),
    "bench, mask sizes": (BENCH, lambda w: wider(w.mask()), "00003.png' is 65x48"),
    "bench, RGB": (BENCH, lambda w: colour(w.mask()), "00003.png' is 8-bit RGB"),
    "bench, unknown id": (BENCH, lambda w: other_id(w.mask()), "00003.png' has object 7"),
    "bench, truncated mask": (BENCH, lambda w: cut(w.mask()), "00003.png' is truncated"),
    "bench, truncated frame": (BENCH, lambda w: cut(w.frame()), "00003.jpg' is truncated"),
    "bench, empty": ("bench copy-first --data {top}/empty --out {out}", None, "{top}/empty"),
    "bench, nowhere": ("bench copy-first --data {top}/nowhere --out {out}", None, "{top}/nowhere"),
    "bench, not in split": (BENCH + " --sequences a,z", None, "'z'"),
    "bench, no sequence": (BENCH + " --sequences ,", None, "--sequences"),
    "bench, year": (BENCH + " --year 2016", None, "2016"),
    "bench, meta.json": (BENCH, lambda w: (w.root / "meta.json").write_text("{"), "{root}/meta.json"),
    "bench, unknown system": ("bench magic --data {root} --out {out}", None, "'magic'"),
    "bench, pickle": ("bench osvos --data {root} --out {out} --weights {pickle}", None, "{pickle}' is a pickle"),
    "bench, weights": ("bench osvos --data {root} --out {out} --weights {top}/w", None, "{top}/w'"),
    "bench, scale": (BENCH + " --scale huge", None, "'huge'"),
    "bench, paper's scale": (BENCH.replace("copy-first", "osvos") + " --scale paper", None, "ships no parent"),
    "bench, height": (BENCH + " --height -3", None, "'a' cannot be -3 pixels high"),
    "bench, no DAVIS": ("bench copy-first --data davis --out {out}", None, "VOS_TEACH_DAVIS"),
    "bench, out in a file": (BENCH.replace("{out}", "{file}/x"), None, "{file}/x"),
    "bench, disk full": (BENCH, lambda: full_disk(100), "{out}/"),
    "demo, out in a file": ("demo --out {file}/x", None, "{file}/x"),

    "data davis, truncated zip": (FETCH, lambda w: cut(w.zip), "small.zip' is truncated"),
    "data davis, no zip": (FETCH, lambda w: w.zip.write_text("hello"), "small.zip' is truncated"),
    "data davis, empty zip": (FETCH, lambda w: zipfile.ZipFile(w.zip, "w").close(), "'480p'"),
    "data davis, unknown sequence": (FETCH.replace("-sequences a", "-sequences z"), None, "'z'"),
    "data davis, no sequence": (FETCH.replace("-sequences a", "-sequences ,"), None, "--sequences"),
    "data davis, no such year": (FETCH.partition(" --url")[0] + " --year 2018", None, "DAVIS-2018"),
    "data davis, no server": (FETCH, lambda w: w.zip.unlink(), "http://127.0.0.1:9/small.zip"),
    "data davis, root in a file": (FETCH.replace("{top}/fetched", "{file}/x"), None, "{file}/x"),
    "data davis, disk full": (FETCH, full_disk, "{top}/fetched/"),

    "toy, not empty": ("toy --clips 1 --out {root}", None, "{root}' exists"),
    "toy, out in a file": ("toy --clips 1 --out {file}/x", None, "{file}/x"),
    "toy, disk full": (TOY, full_disk, "{out}' cannot be written"),
    "toy, too many": ("toy --clips 13 --out {out}", None, "13"),
    "toy, unknown split": (TOY + " --split tst", None, "'tst'"),

    "train, device": ("train osvos --data toy --toy-clips 1 --out {out} --device tpu9", None, "'tpu9'"),
    "train, checkpoint": ("train osvos --data toy --toy-clips 1 --out {top}/run", lambda w: (
        (w.top / "run").mkdir(), (w.top / "run" / "checkpoint.pt").write_bytes(w.pickle.read_bytes()[:300])),
        "{top}/run/checkpoint.pt"),
    "train, nowhere": ("train osvos --data {top}/nowhere --out {out}", None, "{top}/nowhere"),
    "train, both years": (TRAIN, lambda w: (w.root / "ImageSets" / "2016").mkdir(), "--year"),
    "train, year": (TRAIN + " --year 2016", None, "2016/train.txt"),
    "train, out in a file": ("train osvos --data toy --toy-clips 1 --out {file}/x", None, "{file}/x"),
    "train, scale": (TRAIN + " --scale huge", None, "'huge'"),
    "train, no toy clips": (TRAIN + " --data toy --toy-clips 0", None, "--toy-clips is 0"),
    "train, no steps": (TRAIN + " --steps 0", None, "--steps is 0"),
    "train, negative steps": (TRAIN + " --steps -1", None, "--steps is -1"),
    "train, share": (TRAIN + " --data toy --toy-share 1.5", None, "--toy-share is 1.5"),
    "train, share of nothing": (TRAIN + " --data toy --toy-share nan", None, "--toy-share is nan"),
    "train, unknown system": ("train magic --data toy --out {out}", None, "'magic'"),
}


def call(monkeypatch, capsys, line: str, world: World) -> tuple[int, str, str]:
    """The command, in this process: its status, stdout and stderr."""
    words = [word.format_map(vars(world)) for word in line.split()]
    monkeypatch.setattr(sys, "argv", ["vos-teach", *words])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, *capsys.readouterr()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_nothing_half_written(world, monkeypatch, capsys, case):
    line, damage, named = CASES[case]
    monkeypatch.delenv("VOS_TEACH_DAVIS", raising=False)
    monkeypatch.setattr("vos_teach.data.remote.PAUSE", 0.001)
    if "disk full" in case:
        with damage():
            status, out, err = call(monkeypatch, capsys, line, world)
    else:
        if damage:
            damage(world)
        status, out, err = call(monkeypatch, capsys, line, world)
    lines = re.split(r"[\r\n]+", err.strip())
    said = [text for text in lines if text.startswith("vos-teach: ")]
    assert status == 2, err
    assert len(said) == 1 and lines[-1] == said[0], err
    assert named.format_map(vars(world)) in said[0]
    assert "Traceback" not in err and ("J&F" not in out or case == "evaluate, disk full")  # there all was scored
    assert world.leftovers() == []


@pytest.mark.parametrize("line", [EVALUATE, SEGMENT, BENCH, FETCH, TOY, BENCH.replace("copy-first", "mask-blind")
                                  + " --sequences a --weights {parent}"])
def test_the_undamaged_world_is_fine(world, monkeypatch, capsys, line):
    """Else the tests above would prove nothing."""
    if "{parent}" in line:
        from vos_teach.online_learning.osvos import new_network
        from vos_teach.weights import save

        world.parent = world.top / "parent.safetensors"
        save(new_network("lite0", pretrained=False), world.parent)
    status, out, err = call(monkeypatch, capsys, line, world)
    assert status == 0 and out and "vos-teach: " not in err


def test_bench_takes_toy_clips_for_training(tmp_path, monkeypatch, capsys):
    world = World(tmp_path)
    assert call(monkeypatch, capsys, "toy --split train --clips 1 --out {top}/clips", world)[0] == 0
    status, out, err = call(monkeypatch, capsys, "bench copy-first --data {top}/clips --out {out}", world)
    assert status == 0 and "clips: 1 clips" in out, err


def test_demo_takes_a_year(world, monkeypatch, capsys):
    (world.root / "ImageSets" / "2016").mkdir()
    monkeypatch.setenv("VOS_TEACH_DAVIS", str(world.root))
    for more, said in (("", "--year"), (" --year 2016", "2016/val.txt")):
        status, _, err = call(monkeypatch, capsys, "demo --out {out}" + more, world)
        assert status == 2 and said in err and len(err.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell with pipes")
def test_a_closed_pipe_is_no_error():
    program = f"'{sys.executable}' -X importtime -m vos_teach.cli --help"
    done = subprocess.run(f"{program} 2>&1 >/dev/null | grep -cE ' (torch|numpy|cv2)$'; "
                          f"'{sys.executable}' -m vos_teach.cli --help | true",
                          shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0", "vos-teach --help imports torch, numpy or OpenCV"
    assert done.stderr == ""
