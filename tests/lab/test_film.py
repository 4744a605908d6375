"""The last film and its score card: what lies where, what is refused; and what a call costs."""

import subprocess
from dataclasses import replace
from types import SimpleNamespace

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from vos_teach.clip import Clip, VosError
from vos_teach.lab import cost, film

SIZE = (60, 100)


@pytest.fixture
def clip():
    """Grey frames, an object on the left; the middle frame has no mask."""
    mask = np.zeros(SIZE, np.uint8)
    mask[20:40, 10:30] = 1
    return Clip("grey", [np.full((*SIZE, 3), 120, np.uint8)] * 5, [mask, mask, None, mask, mask], (1,), SIZE)


def takes(clip, **more):
    right = np.zeros(SIZE, np.uint8)
    right[20:40, 70:90] = 1
    return [film.Take("later", 2021, [right] * 5, J=0.5, F=0.25, seconds=0.02),
            film.Take("first", 2017, list(clip.masks), seconds=2.0, **more)]


def played(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        frames.append(got[1][..., ::-1])
    return frames


def tinted(picture):
    """Columns in which something is not grey, in the part below the captions."""
    return np.flatnonzero((picture.max(-1).astype(int) - picture.min(-1) > 40).any(0))


def test_takes_stand_side_by_side_by_year_and_the_card_is_last(clip, tmp_path):
    saved = film.export(SimpleNamespace(work=tmp_path), clip, takes(clip, J=0.75), fps=5, width=100, hold=0.6)
    assert saved.path == tmp_path / "ten_years.mp4" and saved.path.read_bytes() == saved.data
    frames = played(saved.path)
    assert len(frames) == 5 + 3 and frames[0].shape == (80, 300, 3)
    known, first, later = (frames[0][24:, i * 100 + 2 : i * 100 + 98] for i in range(3))
    for picture, (low, high) in ((known, (8, 28)), (first, (8, 28)), (later, (68, 88))):
        columns = tinted(picture)
        assert abs(columns.min() - low) <= 3 and abs(columns.max() - high) <= 3
    assert len(tinted(frames[2][24:, 2:198])) == 0, "no mask, nothing drawn"
    assert all(np.abs(f.astype(int) - film.PAPER).mean() < 60 for f in frames[5:]), "the card is bright"
    assert "first, later" in repr(saved) and "<video" in saved._repr_html_()


def test_it_is_h264_that_browsers_play(clip, tmp_path):
    path = film.export(SimpleNamespace(work=tmp_path), clip, takes(clip), tmp_path / "odd.mp4", width=101).path
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True).stderr
    assert "h264" in said and "yuv420p" in said


def test_captions_and_the_card_tell_what_was_measured(clip):
    later, first = takes(clip)
    assert later.caption() == "2021 later  J 0.50  F 0.25  0.02 s" and first.caption() == "2017 first  2 s"
    assert replace(first, J=float("nan")).caption() == "2017 first  2 s"
    empty = film.score_card([replace(first, seconds=None)], (200, 300))
    full = film.score_card([later], (200, 300))
    plot = film.score_card([later], (400, 800))
    assert empty.shape == (200, 300, 3) and plot.shape == (400, 800, 3)
    assert (empty != full).any()
    wide = film.score_card([replace(later, J=None, F=None)], (400, 800))
    assert (wide[:, 500:] == film.PAPER).all() and (plot[:, 500:] != film.PAPER).any(), "no plot without quality"
    tall = film.score_card([later], (600, 400))
    assert (tall[200:] != film.PAPER).any(), "no room beside the figures: the plot is below them"
    many = [film.Take(f"system {i}", 2010 + i, [], J=0.5, F=0.5, seconds=0.1 + i) for i in range(30)]
    assert film.score_card(many, (120, 240)).shape == (120, 240, 3), "made smaller to fit"


def test_a_grid_of_more_rows_is_filled_up(clip):
    sheets = list(film.pictures(clip, takes(clip), 64, 2, 0))
    height = 2 * (20 + round(60 * 64 / 100))
    assert len(sheets) == 5 and sheets[0].shape == (height, 128, 3)
    assert (sheets[0][height // 2 :, 64:] == 255).all()


@pytest.mark.parametrize(("change", "said"), [
    (lambda t: [], "no takes"),
    (lambda t: [t[0], t[0]], "two takes called 'later'"),
    (lambda t: [replace(t[0], masks=t[0].masks[:3])], "3 masks for 5 frames"),
    (lambda t: [replace(t[0], masks=[np.zeros((4, 4), np.uint8)] * 5)], "a mask is"),
])
def test_what_cannot_be_shown_is_refused(clip, tmp_path, change, said):
    with pytest.raises(VosError, match=said):
        film.export(SimpleNamespace(work=tmp_path), clip, change(takes(clip)))
    assert list(tmp_path.iterdir()) == []


def test_memory_is_counted_to_the_byte():
    x = torch.zeros(256, 1024)  # 1 MiB
    assert cost.peak(lambda x: x.sum(0, keepdim=True) * 0, x) == pytest.approx(2 / 256, abs=0.01)
    assert cost.peak(lambda x: x + 1, x) == pytest.approx(1, abs=0.01)
    assert cost.peak(lambda x: (x + 1).sum() + (x + 2).sum(), x) == pytest.approx(1, abs=0.01), "freed in between"
    assert cost.peak(lambda x: torch.cat([x, x, x]), x) == pytest.approx(3, abs=0.01)


def test_seconds_are_of_the_processor():
    busy, idle = cost.measure(lambda x: x @ x @ x, torch.zeros(400, 400)), cost.measure(lambda x: x, torch.zeros(1))
    assert busy.seconds > idle.seconds >= 0 and busy.MiB > idle.MiB == 0
