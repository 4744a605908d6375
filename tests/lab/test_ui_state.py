"""What a student's folder keeps: predictions, score card, operators, own clip; and the published curves."""

import importlib.util
import json
import linecache
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from vos_teach import bench
from vos_teach.clip import VosError
from vos_teach.data.video import write_mp4
from vos_teach.lab import NotAttempted, card, operators, own, painter, predict
from vos_teach.lab.cases import Case, Exercise, equals
from vos_teach.lab.published_curves import FILE, about, published, published_means
from vos_teach.lab.session import Lab


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Lab:
    monkeypatch.setenv("VOS_TEACH_WORK", str(tmp_path / "work"))
    monkeypatch.setattr(own, "_current", None)
    return Lab("lab0")


# ---- predictions

def test_a_prediction_is_kept_and_stands_once_revealed(lab, capsys):
    with pytest.raises(NotAttempted):
        predict("lab1.seconds", None, "J after 60 s?")
    with pytest.raises(NotAttempted, match="commit"):
        predict.reveal("lab1.seconds", 0.6)
    predict("lab1.seconds", 0.5, "J after 60 s?")
    predict("lab1.seconds", 0.7, "J after 60 s?")
    predict.reveal("lab1.seconds", np.float32(0.61))
    said = capsys.readouterr().out
    assert "J after 60 s?" in said and "predicted 0.7   measured 0.61   off by 0.09" in said
    predict("lab1.seconds", 0.61)
    assert "stays 0.7" in capsys.readouterr().out
    predict.reveal("lab1.seconds", 0.62)
    assert "predicted 0.7" in capsys.readouterr().out
    predict("lab1.winner", "osvos")
    predict.reveal("lab1.winner", "osvos")
    assert "as predicted" in capsys.readouterr().out
    with pytest.raises(VosError, match="object"):
        predict("lab1.x", object())


def test_a_damaged_file_is_named(lab):
    lab.work.mkdir()
    (lab.work / "predictions.json").write_text("{half")
    with pytest.raises(VosError, match=r"predictions\.json.*remove it"):
        predict("lab1.seconds", 0.5)


# ---- score card

def test_score_card_grows_and_replaces(lab, capsys):
    card.add(lab, "osvos", clip="easy", J=[0.4, np.nan, 0.6], F=0.7, seconds_per_frame=2.0)
    card.add(Lab("lab1"), "osvos", clip="easy", J=0.9, F=0.7, seconds_per_frame=2.0)
    card.add(lab, "osvos", clip="occlusion", J=0.7, F=0.7, T=0.3, seconds_per_frame=4.0)
    card.add(lab, "copy-first", J=0.2)
    rows = card.rows(lab)
    assert [(r["system"], r["clip"], r["J"]) for r in rows] == [
        ("osvos", "easy", 0.9), ("osvos", "occlusion", 0.7), ("copy-first", None, 0.2)]
    shown = card.show(lab, {"theirs": (10.0, 0.8)})
    assert shown._points() == {"osvos": (3.0, pytest.approx(0.75))}
    (axes,) = shown.figure.axes
    assert axes.get_xscale() == "log" and "theirs (published)" in [t.get_text() for t in axes.texts]
    assert shown.table.count("<tr>") == 4 and "0.900" in shown.table
    assert len(repr(shown).splitlines()) == 4
    assert not [f for f in lab.work.iterdir() if f.name.endswith(".part")]


def test_score_card_refuses_what_cannot_be(lab):
    with pytest.raises(VosError, match="nothing was measured"):
        card.add(lab, "osvos")
    with pytest.raises(VosError, match="J=71"):
        card.add(lab, "osvos", J=71)
    assert card.rows(lab) == [] and card.show(lab).figure is None


# ---- operators

NOTEBOOK = '''
import numpy as np
from math import hypot as length
EPSILON = 1e-9
BIG = np.zeros(3)

def overlap(a, b):
    return np.logical_and(a, b).sum()

def jaccard(pred, target, eps=EPSILON) -> "np.ndarray":
    pred, target = np.asarray(pred), np.asarray(target)
    union = np.logical_or(pred, target).sum()
    return 1.0 if union == 0 else overlap(pred, target) / (union + 0 * length(3, 4))

def leans(pred):
    return pred + BIG

def wrong(pred, target):
    return 0.0
'''


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A module that stands for a notebook, and an exercise that its jaccard answers."""
    path = tmp_path / "notebook_for_operators.py"
    path.write_text(NOTEBOOK)
    spec = importlib.util.spec_from_file_location("notebook_for_operators", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "notebook_for_operators", module)
    spec.loader.exec_module(module)

    def right(a, b):
        return 1.0 if not (a | b).any() else (a & b).sum() / (a | b).sum()

    case = Case("random masks", lambda rng: [(rng.random((5, 5)) > 0.5, rng.random((5, 5)) > 0.5)], equals(right, "no"))
    exercise = Exercise("lab0.jaccard", (case,), ("hint",), "vos_teach.metrics:jaccard")
    from vos_teach.lab import check

    monkeypatch.setattr(sys.modules[check.__module__], "find", lambda name: exercise)
    monkeypatch.setattr(operators, "find", lambda name: exercise)
    return module


def test_a_kept_operator_runs_without_its_notebook(lab, notebook, capsys):
    operators.keep(lab, "lab0.jaccard", notebook.jaccard)
    assert capsys.readouterr().out == "Kept - lab0.jaccard: later labs will run your jaccard\n"
    text = (lab.work / "operators" / "lab0.jaccard.py").read_text()
    assert "def overlap" in text and "EPSILON = 1e-09" in text and "BIG" not in text and "hypot as length" in text
    mine = operators.recall_operator(lab, "lab0.jaccard")
    assert capsys.readouterr().out == "lab0.jaccard: yours\n"
    a, b = np.eye(4, dtype=bool), np.ones((4, 4), bool)
    assert mine is not notebook.jaccard and mine(a, b) == notebook.jaccard(a, b) == 0.25
    assert mine.__globals__["overlap"] is not notebook.overlap
    notebook.again, notebook.scale = mine, np.float64(2.0)  # a later lab builds on it, under another name
    exec(compile("def more(a, b):\n    return scale * again(a, b)\n", notebook.__file__, "exec"), notebook.__dict__)
    with open(notebook.__file__, "w") as file:
        file.write("def more(a, b):\n    return scale * again(a, b)\n")
    linecache.checkcache()
    text = operators.source("lab2.more", notebook.more)
    assert operators._load(text, lab.work / "more.py", "more")(a, b) == 0.5


def test_only_a_right_and_self_contained_operator_is_kept(lab, notebook):
    from vos_teach.lab import CheckFailed

    with pytest.raises(CheckFailed):
        operators.keep(lab, "lab0.jaccard", notebook.wrong)
    with pytest.raises(VosError, match=r"'BIG' of the notebook, ndarray"):
        operators.source("lab0.jaccard", notebook.leans)
    with pytest.raises(VosError, match="no lambda"):
        operators.source("lab0.jaccard", lambda a: a)
    assert not lab.work.exists()


def test_without_a_kept_operator_the_library_s_runs(lab, notebook, capsys):
    from vos_teach.metrics import jaccard

    assert operators.recall_operator(lab, "lab0.jaccard") is jaccard
    assert "the library's" in capsys.readouterr().out
    path = lab.work / "operators" / "lab0.jaccard.py"
    path.parent.mkdir(parents=True)
    path.write_text("# lab0.jaccard: jaccard\nimport no_such_package\n")
    assert operators.recall_operator(lab, "lab0.jaccard") is jaccard
    assert "yours cannot be loaded" in capsys.readouterr().out


# ---- own clip

def test_the_shipped_clip_has_two_objects_that_look_alike():
    clip = own.shipped()
    assert clip.ids == (1, 2) and len(clip) <= 60
    colours = []
    for k in clip.ids:
        sizes = [int((m == k).sum()) for m in clip.masks]
        assert min(sizes) > 200
        colours.append(clip.frames[0][clip.masks[0] == k].mean(0))
    ground = clip.frames[0][clip.masks[0] == 0].mean(0)
    assert np.abs(colours[0] - colours[1]).max() < 25 < np.abs(colours[0] - ground).max()


def test_a_video_is_cut_shrunk_and_thinned(tmp_path):
    frames = [np.full((360, 270, 3), t, np.uint8) for t in range(200)]
    path = write_mp4(tmp_path / "my film.mp4", frames, fps=30)
    clip = own.load(path, length=40)
    assert len(clip) == 40 and clip.size == (320, 240) and clip.ids == () and clip.name == "my-film"
    levels = [int(f.mean()) for f in clip.frames]
    assert levels == sorted(levels) and 135 <= levels[-1] <= 155  # 5 seconds of 30 frames
    with pytest.raises(VosError, match="does not exist"):
        own.load(tmp_path / "other.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(VosError, match="cannot be decoded"):
        own.load(tmp_path / "broken.mp4")


def test_a_folder_of_frames_needs_no_masks(tmp_path):
    (tmp_path.parent / "empty").mkdir(exist_ok=True)
    for t in range(4):
        cv2.imwrite(str(tmp_path / f"{t:03d}.png"), np.full((50, 60, 3), 10 * t, np.uint8))
    clip = own.load(tmp_path)
    with pytest.raises(VosError, match="no frames"):
        own.load(tmp_path.parent / "empty")
    assert len(clip) == 4 and clip.size == (50, 60) and clip.masks[0] is None and clip.frames[2][0, 0, 0] == 20


def test_paint_by_code_save_and_read_back(lab, capsys):
    source = own.shipped()
    bare = own.Clip("mine", source.frames[:10], [None] * 10, (), source.size)
    with pytest.raises(VosError, match="no painting"):
        own.set_mask(0, source.masks[0])
    painting = own.paint(bare, [0, 5, -1])
    assert painting.frames == [0, 5, 9]
    with pytest.raises(VosError, match="nothing is painted"):
        own.save(lab)
    own.set_mask(0, np.where(source.masks[0] == 1, 1, 0))
    own.set_mask(5, source.masks[5])
    assert (own.mask(5) == source.masks[5]).all()
    for frame, mask, why in [(1, source.masks[1], "not one of those"), (0, source.masks[0][1:], "the frame is"),
                             (0, source.masks[0] * 3, "ids up to 2")]:
        with pytest.raises(VosError, match=why):
            own.set_mask(frame, mask)
    saved = own.save(lab)
    clip = lab.own
    assert "10 frames, 2 objects" in capsys.readouterr().out
    assert clip.name == saved.name == "own" and clip.ids == (1, 2) and clip.starts == {1: 0, 2: 5}
    assert (clip.masks[5] == source.masks[5]).all() and clip.masks[4] is None and clip.masks[9] is None
    assert np.abs(clip.frames[3].astype(int) - source.frames[3]).mean() < 3
    own.save(lab, source)  # a second save replaces the first
    assert len(lab.own) == len(source) and lab.own.masks[4] is not None
    assert {p.name for p in lab.work.iterdir()} == {"own"}


def test_a_save_that_fails_leaves_the_clip_before(lab, monkeypatch, capsys):
    source = own.shipped()
    own.save(lab, source.cut(0, 5))
    monkeypatch.setattr(own, "write_mask", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(VosError, match="No space left"):
        own.save(lab, source)
    assert len(lab.own) == 5 and {p.name for p in lab.work.iterdir()} == {"own"}
    (lab.work / "own").rename(lab.work / ".own-before")  # killed between the two renames
    assert len(lab.own) == 5


def test_a_save_that_dies_between_its_two_renames_leaves_the_clip_before(lab, monkeypatch, capsys):
    own.save(lab, own.shipped().cut(0, 5))
    rename = os.replace

    def dies(source, target):
        if Path(target).name == "own":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(own.os, "replace", dies)
    with pytest.raises(VosError, match="Input/output"):
        own.save(lab, own.shipped())
    assert len(lab.own) == 5


def test_a_clip_with_three_masks_can_be_segmented_and_scored(lab, capsys):
    from vos_teach import engine, registry

    source = own.shipped()
    few = [m if t in (0, 4, 8) else None for t, m in enumerate(source.masks[:9])]
    own.paint(own.Clip("x", source.frames[:9], few, (1, 2), source.size), [0, 4, 8])  # starts from what is there
    clip = own.save(lab)
    assert [t for t, m in enumerate(clip.masks) if m is not None] == [0, 4, 8]
    result = engine.run(registry.make("copy-first", scale="toy"), clip)
    assert len(result.masks) == 9
    scores = bench.score(clip, result.masks)
    assert set(scores) == {"1", "2"} and scores["1"]["frames"] == [4, 8]


def test_strokes_from_the_browser_arrive(lab):
    pytest.importorskip("anywidget")
    source = own.shipped()
    painting = own.paint(source, [0, 10])
    data, _ = painting._repr_mimebundle_()
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= set(data)
    mask = np.zeros(source.size, np.uint8)
    mask[3:9, 4:20], mask[0, 0] = 2, 77
    painting.widget.masks = [memoryview(mask.tobytes()), memoryview(source.masks[10].tobytes())]
    assert (painting.mask(0)[3:9, 4:20] == 2).all() and painting.mask(0)[0, 0] == 0
    assert (painting.mask(10) == source.masks[10]).all()
    painting.set_mask(0, source.masks[0])
    assert bytes(painting.widget.masks[0]) == source.masks[0].tobytes()


def test_without_anywidget_the_painter_says_what_to_do(lab, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    painting = own.paint(own.shipped())
    assert painter.make(painting) is None
    assert "own.set_mask" in painting._repr_mimebundle_()[0]["text/plain"]


# ---- published curves

def test_published_means_are_the_papers():
    assert np.mean(list(published_means("osvos", "T").values())) == pytest.approx(0.511, abs=5e-4)
    assert np.mean(list(published_means("masktrack", "T").values())) == pytest.approx(0.322, abs=5e-4)
    assert np.mean(list(published_means("osvos", "J").values())) == pytest.approx(0.798, abs=5e-4)
    assert len(published_means("osvos")) == 20 and "PUBLISHED" in about()
    assert FILE.stat().st_size <= 60_000


@pytest.mark.parametrize("system", ["osvos", "masktrack"])
@pytest.mark.parametrize("measure", ["J", "T"])
def test_a_published_curve_has_its_published_mean(system, measure):
    means = published_means(system, measure)
    for sequence in json.loads(FILE.read_text())["systems"][system][measure]["curves"]:
        curve = published(sequence, system, measure)
        assert len(curve) > 30 and np.nanmean(curve) == pytest.approx(means[sequence], abs=2e-4)
    assert np.isnan(published("drift-straight", "MaskTrack", "T")).sum() == 11


def test_published_says_what_there_is():
    for arguments, said in [(("bear", "osvos"), "blackswan"), (("dog", "stm"), "osvos and masktrack"),
                            (("dog", "osvos", "F"), "J and T")]:
        with pytest.raises(VosError, match=said):
            published(*arguments)


def test_the_excerpt_is_a_fresh_one(shared_data):
    source = shared_data.parent / "facts" / "davis2016_val_published.json"
    if not source.is_file():
        pytest.skip(f"the published scores are absent: {source}")
    spec = importlib.util.spec_from_file_location("make_published", Path(__file__).with_name("make_published.py"))
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert make.excerpt(json.loads(source.read_text())) == FILE.read_bytes()

