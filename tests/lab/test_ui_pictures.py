"""What notebooks show: figures once and with a description, sliders, set-up."""

import base64
import io
import json
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from vos_teach.clip import Clip, VosError
from vos_teach.lab import session, show
from vos_teach.lab.session import setup
from vos_teach.lab.widgets import slider


@pytest.fixture
def clip() -> Clip:
    rng = np.random.default_rng(0)
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 12:40], mask[35:45, 45:60] = 1, 2
    frames = [rng.integers(0, 256, (48, 64, 3)).astype(np.uint8) for _ in range(6)]
    return Clip("noise", frames, [mask] * 6, (1, 2), (48, 64))


def drawn(figure) -> np.ndarray:
    data, about = figure._repr_mimebundle_()
    assert data["text/plain"] == about["image/png"]["alt"] and len(data["text/plain"]) > 10
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))))


@pytest.mark.slow
def test_setup_says_one_line_and_nothing_else(tmp_path):
    code = ("import warnings; warnings.simplefilter('error')\n"
            "from vos_teach.lab import setup, show\nlab = setup('lab0')\n"
            "figure = show.difference(lab.clips['easy'].masks[0], lab.clips['easy'].masks[1])\n"
            "figure._repr_mimebundle_()")
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("Setup complete - vos_teach ") and ran.stdout.endswith(" - cpu\n")
    assert ran.stdout.count("\n") == 1 and ran.stderr == ""
    assert list(tmp_path.iterdir()) == []  # the student's folder is made when something is written


def test_setup_gives_the_same_clips_in_every_lab_and_only_those_asked_for(monkeypatch, capsys):
    from vos_teach.data import toy

    monkeypatch.delenv("VOS_TEACH_DAVIS", raising=False)
    before = dict(matplotlib.rcParams)
    try:
        lab = setup("lab1", scale="small")
        assert list(lab.clips) == ["easy", "occlusion", "look-alike", "re-entry"] and lab.real == {}
        assert lab.scale == "small" and torch.initial_seed() == lab.seed == 0
        whole = {c.name: c for c in toy.suite()}
        for name, clip in setup("lab4").clips.items():
            assert clip.name == name and (clip.frames[3] == whole[name].frames[3]).all()
        assert lab.clips["easy"] is lab.clips["easy"]
        with pytest.raises(KeyError, match="choose from: easy"):
            lab.clips["hard"]
        with pytest.raises(VosError, match="no scale 'big'"):
            setup("lab1", scale="big")
        with pytest.raises(VosError, match="lab0"):
            setup("first")
    finally:
        matplotlib.rcParams.update(before)
        capsys.readouterr()


def test_setup_finds_real_sequences(shared_data, monkeypatch):
    monkeypatch.setenv("VOS_TEACH_DAVIS", str(shared_data / "DAVIS"))
    real = session._real()
    assert "blackswan" in real and len(real) == 12 and real["blackswan"].ids == (1,)


@pytest.mark.parametrize("make", [
    lambda c: show.frames(c), lambda c: show.frames(c, [None] * 6, every=2, title="None"),
    lambda c: show.frames(c, {"a": c.masks, "b": [torch.from_numpy(m) for m in c.masks]}),
    lambda c: show.pair(c.frames[0], c.masks[0] == 1, ["frame", "mask"], "A pair"),
    lambda c: show.pair(c.frame(0), torch.rand(48, 64)),
    lambda c: show.curves({"J": [0.2, np.nan, 1.0], "T": torch.tensor([3.0, 2.0])}, "Both", "J and T"),
    lambda c: show.difference(c.masks[0] == 2, c.masks[0] == 1, c.frames[0], "Difference"),
    lambda c: show.mask_boundary(c.masks[0] == 1, 2, c.masks[0] == 2, "Boundary"),
])
def test_every_figure_is_shown_once_with_a_description_and_leaves_nothing_open(clip, make):
    before = [f.copy() for f in clip.frames]
    image = drawn(make(clip))
    assert image.std() > 5
    assert all((a == b).all() for a, b in zip(before, clip.frames, strict=True))
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_curves_are_over_frames_or_over_what_is_said():
    for words, xlabel in (({}, "frame"), ({"xlabel": "step"}, "step")):
        figure = show.curves({"loss": [1.0, 0.5]}, "Loss", "loss", **words)
        assert figure.axes[0].get_xlabel() == xlabel and f"Loss over {xlabel}s." in figure.alt


def test_frames_shows_the_moments_asked_for_in_rows(clip):
    assert "Frames 0, 2, 4 of" in show.frames(clip, every=2).alt
    one, two = show.frames(clip, clip.masks), show.frames(clip, {"a": clip.masks, "b": clip.masks})
    assert two.get_size_inches()[1] > 1.9 * one.get_size_inches()[1]
    with pytest.raises(VosError, match="5 masks for 6 frames"):
        show.frames(clip, clip.masks[:5])


def test_difference_counts_and_colours(clip):
    truth = np.zeros((48, 64), np.uint8)
    truth[10:20, 10:20], truth[40:44, 0:5] = 1, 255
    pred = np.roll(truth * (truth < 255), 3, axis=1)
    pred[41, 2] = 1  # in void: nobody minds
    figure = show.difference(pred, truth, title="Moved")
    assert "hit 70 pixels, miss 30 pixels, false alarm 30 pixels" in figure.alt
    image = drawn(figure)
    for colour in (show.HITS, show.MISSES, show.FALSE):
        wanted = 0.2 * 235 + 0.8 * np.array(show._bytes(colour))
        assert (np.abs(image[..., :3] - wanted).max(-1) < 3).sum() > 500
    other = show.difference(np.where(truth == 1, 2, 0), truth)
    assert "other object 100 pixels" in other.alt
    with pytest.raises(VosError, match="differ in size"):
        show.difference(pred[:-1], truth)


def test_animation_is_a_film_inside_the_page(clip):
    film = show.animation(clip, {"a": clip.masks, "b": [None] * 6})
    page = film._repr_html_()
    data = base64.b64decode(page.split("base64,")[1].split('"')[0])
    assert data[4:8] == b"ftyp" and len(data) < 400_000
    assert "aria-label" in page and "6 frames" in repr(film)


# ---- slider

def test_slider_draws_once_and_answers(clip):
    pytest.importorskip("ipywidgets")
    drawn_for = []

    def draw(n, shift):
        drawn_for.append((n, shift))
        if n == 7:
            raise ValueError("seven <is> out")
        return show.curves({"n": [n / 10, shift]}, title=f"n = {n}")

    s = slider(draw, n=(0, 10, 1, 4), shift=(0.0, 1.0))
    assert drawn_for == [(4, 0.0)]
    data, _ = s._repr_mimebundle_()
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(data)
    assert drawn_for == [(4, 0.0)]
    first = s.image.value
    s.controls["n"].value = 9
    assert drawn_for[-1] == (9, 0.0) and s.image.value != first
    nine = s.image.value
    s.controls["n"].value = 7
    assert s.image.value == nine and "seven &lt;is&gt; out" in s.said.value  # the page keeps the last good figure
    s.controls["n"].value = 8
    assert s.said.value == "" and s.image.value != nine
    s.controls["shift"].value = 0.5
    assert drawn_for[-1] == (8, 0.5)


def test_a_slow_figure_waits_for_the_end_of_the_drag(monkeypatch):
    pytest.importorskip("ipywidgets")
    from vos_teach.lab import widgets

    s = slider(lambda n: np.zeros((4, 4)), n=(0, 3))
    s.controls["n"].value = 1
    assert s.controls["n"].continuous_update
    monkeypatch.setattr(widgets, "QUICK", 0)
    s.controls["n"].value = 2
    assert not s.controls["n"].continuous_update


def test_slider_without_ipywidgets_still_shows_its_picture(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    data, _ = slider(lambda n: np.full((4, 4), n / 3), n=(0, 3))._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}


@pytest.mark.parametrize("wrong", [(3, 1), (1,), "ab", 5, []])
def test_slider_refuses_what_is_no_range(wrong):
    with pytest.raises(VosError, match="n="):
        slider(lambda n: None, n=wrong)


def test_slider_lets_an_unattempted_answer_say_so():
    from vos_teach.lab import NotAttempted

    def draw(n):
        raise NotAttempted("lab0.jaccard")

    with pytest.raises(NotAttempted):
        slider(draw, n=(0, 3))


@pytest.mark.slow
def test_in_a_notebook_without_a_browser_each_figure_is_there_once_and_no_widget_state(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipywidgets")
    pytest.importorskip("ipykernel")
    import nbformat

    monkeypatch.setenv("VOS_TEACH_WORK", str(tmp_path / "work"))
    v4 = nbformat.v4
    cells = ["from vos_teach.lab import *\nfrom vos_teach.lab import show, slider, own, setup\nlab = setup('lab0')",
             "clip = lab.clips['easy']\nshow.frames(clip)",
             "slider(lambda n: show.pair(clip.masks[n], clip.masks[0]), n=(0, 5))",
             "own.paint(lab.own)", "figure = show.frames(clip)"]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(c) for c in cells])
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", store_widget_state=False,
                                     resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [c.outputs for c in notebook.cells]
    assert [len(o) for o in outputs] == [1, 1, 1, 1, 0]
    assert "image/png" in outputs[1][0]["data"] and outputs[1][0]["metadata"]["image/png"]["alt"]
    assert "image/png" in outputs[2][0]["data"]
    assert "widgets" not in notebook.metadata
    assert len(json.dumps(notebook)) < 1_500_000
