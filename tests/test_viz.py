import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vos_teach import viz
from vos_teach.clip import Clip, VosError
from vos_teach.data.video import write_mp4


def blob(t: int = 0) -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8)
    mask[10 + t : 30 + t, 12:40] = 1
    mask[35:45, 45:60] = 2
    return mask


@pytest.fixture
def clip() -> Clip:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 64, 3)).astype(np.uint8) for _ in range(6)]
    return Clip("noise", frames, [blob(t) for t in range(6)], (1, 2), (48, 64))


def test_overlay_leaves_background_as_it_was_and_paints_each_object(clip):
    frame, mask = clip.frames[0], clip.masks[0]
    before = frame.copy()
    out = viz.overlay(frame, mask, alpha=0.5)
    assert (out[mask == 0] == frame[mask == 0]).all()
    assert (frame == before).all()
    assert (out[10, 12] == (255, 0, 0)).all() and (out[35, 45] == (0, 255, 0)).all()  # contours, in the vivid colour
    assert np.allclose(out[20, 25], frame[20, 25] * 0.5 + np.array([255, 0, 0]) * 0.5, atol=1)  # tint inside
    assert (viz.overlay(frame, np.zeros_like(mask)) == frame).all()
    assert (viz.overlay(frame, None) == frame).all()


def test_overlay_draws_no_contour_along_the_frame(clip):
    full = np.ones((48, 64), np.uint8)
    assert (viz.overlay(clip.frames[0], full, alpha=0) == clip.frames[0]).all()


def test_contact_sheet_has_a_row_per_result_and_runs_from_first_to_last(clip):
    one = viz.contact_sheet(clip, {}, n_frames=3, width=120)
    three = viz.contact_sheet(clip, {"a": clip.masks, "b": clip.masks}, n_frames=3, width=120)
    assert one.shape[1] == three.shape[1] == 3 * 120 + 2 * 4
    assert three.shape[0] == 3 * one.shape[0] + 2 * 4
    assert viz.contact_sheet(clip, {}, n_frames=50, width=120).shape[1] == 6 * 120 + 5 * 4  # never a moment twice


def test_curves_break_at_nan_and_the_plot_is_logarithmic():
    figure = viz.curves({"a": [0.1, np.nan, 0.3]}, first=1)
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [1, 2, 3] and np.isnan(line.get_ydata()[1])
    figure = viz.quality_time({"a": (0.01, 0.5), "b": (1.0, 0.7)}, {"c": (9, 0.8)})
    assert figure.axes[0].get_xscale() == "log"
    assert [t.get_text() for t in figure.axes[0].texts] == ["a", "b", "c (published)"]


def test_pyplot_is_never_loaded():
    code = "import sys, vos_teach.viz as v; v.image(v.curves({'a': [1]})); sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_svg_takes_the_pages_ink_and_is_the_same_every_time():
    one, two = (viz.svg(viz.curves({"a": [1.0, 0.5]}), "x") for _ in range(2))
    assert one == two and one.startswith("<svg") and "currentColor" in one and viz.INK not in one
    assert "<text" in one  # text stays text


def test_save_writes_whole_files(tmp_path, clip):
    viz.save(tmp_path / "a" / "x.png", clip.frames[0])
    assert (cv2.imread(str(tmp_path / "a" / "x.png"))[..., ::-1] == clip.frames[0]).all()
    for name in ("x.png", "x.svg", "x.jpg"):
        viz.save(tmp_path / name, viz.curves({"a": [1]}) if name != "x.jpg" else clip.frames[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "x.jpg", "x.png", "x.svg"]
    (tmp_path / "file").write_text("")
    with pytest.raises(VosError, match="cannot be written"):
        viz.save(tmp_path / "file" / "x.png", clip.frames[0])


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_mp4_plays_everywhere(tmp_path, size):
    frames = [np.full((*size, 3), 20 * t, np.uint8) for t in range(11)]
    path = write_mp4(tmp_path / "x.mp4", iter(frames), fps=10)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # can be played before it is all there
    video, shades = cv2.VideoCapture(str(path)), []
    while (got := video.read())[0]:
        assert got[1].shape == (48, 64, 3)
        shades.append(got[1].mean())
    assert np.allclose(shades, [20 * t for t in range(11)], atol=4)
    assert os.listdir(tmp_path) == ["x.mp4"]


def test_mp4_that_breaks_off_leaves_nothing(tmp_path):
    with pytest.raises(VosError, match="no frames"):
        write_mp4(tmp_path / "x.mp4", [])
    with pytest.raises(VosError, match="the first was"):
        write_mp4(tmp_path / "x.mp4", [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)])

    def bad():
        yield np.zeros((8, 8, 3), np.uint8)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_mp4(tmp_path / "x.mp4", bad())
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="no file size limit there")
def test_mp4_on_a_full_disk_is_one_sentence(tmp_path):
    code = """if 1:
        import resource, signal, sys, numpy as np
        from vos_teach.clip import VosError
        from vos_teach.data.video import write_mp4
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        rng = np.random.default_rng(0)
        try:
            write_mp4(sys.argv[1], (rng.integers(0, 256, (96, 160, 3)).astype(np.uint8) for _ in range(60)))
        except VosError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.mp4")], capture_output=True, text=True)
    assert done.returncode == 0 and "cannot write video" in done.stdout and len(done.stdout.splitlines()) == 1
    assert os.listdir(tmp_path) == []
