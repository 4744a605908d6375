import base64
import os
import re

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from vos_teach import cli, registry
from vos_teach.baselines import CopyFirst
from vos_teach.clip import VosError
from vos_teach.data import toy
from vos_teach.data.png import read_mask
from vos_teach.demo import choose, demo, segment


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    (out / "mine.txt").write_text("keep")
    clips = [toy.clip(1, length=5, name="first", split="val"), toy.clip(2, length=5, objects=2, name="second")]
    rows, path = demo(clips, out, "toy & others", systems=("copy-first", "copy-flow"), options={}, progress=False)
    assert [r["system"] for r in rows] == ["copy-first", "copy-flow"]
    return path


def test_the_report_is_self_contained(page):
    html = page.read_text()
    assert not re.findall(r"""(?:src|href|poster|data)\s*=\s*["'](?!data:|#)""", html)
    assert not re.findall(r"url\((?!#|['\"]?data:)|@import|<script|<iframe", html)
    assert "toy &amp; others" in html and "copy-flow" in html


def test_its_films_and_pictures_can_be_decoded(page, tmp_path):
    html = page.read_text()
    films = re.findall(r'data:video/mp4;base64,([^"]+)', html)
    assert len(films) == 2
    (tmp_path / "x.mp4").write_bytes(base64.b64decode(films[0]))
    video, n = cv2.VideoCapture(str(tmp_path / "x.mp4")), 0
    while video.read()[0]:
        n += 1
    assert n == 5
    for picture in re.findall(r'data:image/jpeg;base64,([^"]+)', html):
        assert cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), 1) is not None


def test_every_picture_has_words(page):
    html = page.read_text()
    for tag in re.findall(r"<img[^>]*>", html):
        assert re.search(r'alt="[^"]{20,}"', tag)
    assert html.count("<svg") == 3 and len(re.findall(r'role="img" aria-label="[^"]{20,}"', html)) == 3
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_published_figures_appear_only_where_asked_for_and_labelled(page):
    assert "ublished" not in page.read_text()


def test_a_rerun_keeps_what_is_not_its_own(page):
    assert (page.parent / "mine.txt").read_text() == "keep"


def test_choose():
    clips = toy.suite()
    assert [c.name for c in choose(clips, ("scale", "easy", "gone"), None)] == ["scale", "easy"]
    assert [c.name for c in choose(clips, ("gone",), None, n=2)] == ["easy", "fast-motion"]
    with pytest.raises(VosError, match="no clip 'x'; choose from: easy"):
        choose(clips, (), ["x"])


def test_segment_writes_masks_and_a_film(tmp_path):
    clip = toy.clip(3, length=6, objects=2, name="mine")
    for _ in range(2):  # a second run replaces the first
        masks, film = segment(CopyFirst(), clip, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["mine", "mine.mp4"] and film.stat().st_size > 1000
    assert sorted(os.listdir(masks)) == [f"{t:05d}.png" for t in range(6)]
    assert (read_mask(masks / "00005.png") == clip.masks[0]).all()


def test_segment_leaves_nothing_half_written(tmp_path):
    clip = toy.clip(3, length=6, name="mine")

    class Fails(CopyFirst):
        def step(self, frame, new=None):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        segment(Fails(), clip, tmp_path)
    assert os.listdir(tmp_path) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(VosError, match="holds more than masks"):
        segment(CopyFirst(), clip, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(VosError, match="cannot be written"):
        segment(CopyFirst(), clip, tmp_path / "file")


def run(*words: object, **env: str):
    return CliRunner().invoke(cli.app, [str(w) for w in words], env={"VOS_TEACH_DAVIS": None, **env})


@pytest.mark.parametrize(("words", "sentence"), [
    (("segment", "nonsense", ".", "--out", "x"), "there is no system 'nonsense'"),
    (("bench", "copy-first", "--data", "davis"), "VOS_TEACH_DAVIS"),
    (("bench", "copy-first", "--sequences", "gone"), "there is no clip 'gone'; choose from: easy"),
    (("bench", "osvos", "--seconds", "3", "--steps", "3"), "choose one"),
    (("bench", "osvos", "--steps", "-3"), "cannot be negative"),
])
def test_commands_refuse_bad_input_in_a_sentence(words, sentence):
    done = run(*words)
    assert isinstance(done.exception, VosError) and sentence in str(done.exception) and "\n" not in str(done.exception)


def test_the_bench_command(tmp_path):
    done = run("bench", "copy-first", "--sequences", "easy,late-object", "--out", tmp_path / "b")
    assert done.exit_code == 0, done.exception
    assert "copy-first" in done.stdout and (tmp_path / "b" / "bench.md").is_file()
    again = run("bench", "copy-first", "--sequences", "easy,late-object", "--out", tmp_path / "b")
    assert "2 of these results were kept" in again.stdout


def test_composites_fall_back_to_toy_clips_and_say_so(tmp_path):
    done = run("bench", "copy-first", "--data", "composites", "--sequences", "easy,scale", "--out", tmp_path)
    assert done.exit_code == 0, done.exception
    assert "composites of two toy clips" in done.stdout and "asked" in (tmp_path / "bench.md").read_text()


def test_the_segment_command_on_a_real_layout(tmp_path):
    toy.write([toy.clip(5, length=4, name="kite")], tmp_path / "toy")
    done = run("segment", "copy-first", tmp_path / "toy/JPEGImages/96p/kite", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.exception
    assert sorted(os.listdir(tmp_path / "out")) == ["kite", "kite.mp4"]


def test_every_system_is_explained_in_the_report():
    from vos_teach.report import ABOUT

    assert all(ABOUT.get(name) or registry.spec(name).what for name in registry.names())


@pytest.mark.slow
def test_the_report_on_real_sequences_labels_published_figures(shared_data, tmp_path):
    from vos_teach.data import davis

    clips = [c.cut(0, 4) for c in davis.read(shared_data / "DAVIS", sequences=["blackswan"])]
    _, path = demo(clips, tmp_path, "DAVIS", systems=("copy-first",), real=True, options={}, progress=False)
    assert "OSVOS (published)" in path.read_text() and "on DAVIS-2016 and on their machines" in path.read_text()
