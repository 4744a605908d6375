"""T: the parts against oracles, what must not change it, and the published T of DAVIS-2016's ground truth."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from oracles import metrics as oracle

from vos_teach.clip import VosError
from vos_teach.data.png import read_mask
from vos_teach.metrics import temporal_stability
from vos_teach.metrics.stability import cheapest_path, chi2, describe, instability, outline, shape_contexts


def ellipse(dx=0, angle=0, axes=(40, 20)):
    mask = np.zeros((120, 160), np.uint8)
    cv2.ellipse(mask, (70 + dx, 60), axes, angle, 0, 360, 1, -1)
    return mask.astype(bool)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 5), (5, 5)])
def test_path_is_the_cheapest_of_all(shape):
    rng = np.random.default_rng(shape)
    for _ in range(10):
        cost = rng.random(shape)
        path = cheapest_path(cost)
        assert cost[path[:, 0], path[:, 1]].sum() == pytest.approx(oracle.path_cost(cost), abs=1e-12)
        assert path[0].tolist() == [0, 0] and path[-1].tolist() == [shape[0] - 1, shape[1] - 1]
        steps = np.diff(path, axis=0)
        assert ((steps >= 0) & (steps <= 1)).all() and (steps.sum(1) > 0).all()


def test_chi2_equals_the_oracle():
    rng = np.random.default_rng(0)
    a, b = (rng.random((n, 60)) * (rng.random((n, 60)) < 0.3) for n in (7, 5))
    a, b = a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)
    expected = [[oracle.chi2(x, y) for y in b] for x in a]
    np.testing.assert_allclose(chi2(a, b), expected, atol=1e-12)


def test_outline_is_dense_and_the_longest():
    mask = ellipse()
    mask[2:6, 2:6] = True
    points = outline(mask)
    assert np.hypot(*(np.roll(points, -1, 0) - points).T).max() <= 3
    assert points.min() > 20  # the small square is not it
    assert outline(np.zeros((9, 9), bool)) is None
    histograms = shape_contexts(points)
    assert histograms.shape == (len(points), 60)
    np.testing.assert_allclose(histograms.sum(1), 1)


def test_moving_costs_nothing_and_bending_does():
    still = temporal_stability([ellipse(), ellipse(), ellipse(15), ellipse(-20)])
    np.testing.assert_allclose(still, 0, atol=1e-12)
    little, much = temporal_stability([ellipse(), ellipse(axes=(40, 24)), ellipse(axes=(40, 24), angle=60)])
    assert 0 < little < much < 5


def test_start_of_the_outline_hardly_matters():
    """The second matching starts where the first found the outlines alike."""
    a, b = describe(ellipse()), describe(ellipse(axes=(38, 24), angle=10))
    expected = instability(a, b)
    for by in (1, 5, 20):
        assert instability(np.roll(a, by, axis=0), b) == pytest.approx(expected, rel=0.15)
        assert instability(a, np.roll(b, by, axis=0)) == pytest.approx(expected, rel=0.15)


def test_empty_frames_are_nan():
    values = temporal_stability([ellipse(), np.zeros((120, 160), bool), ellipse(), ellipse()])
    assert np.isnan(values).tolist() == [True, True, False]
    dot = np.zeros((2, 5, 5), bool)
    dot[:, 2, 2] = True
    assert temporal_stability(dot).tolist() == [0]
    assert temporal_stability(dot[:1]).shape == (0,)
    with pytest.raises(VosError):
        temporal_stability(dot[0])


def check_published(shared_data: Path, name: str) -> None:
    path = shared_data.parent / "facts" / "davis2016_val_published.json"
    if not path.is_file():
        pytest.skip(f"published scores absent: {path.name}")
    published = json.loads(path.read_text())["gt"]["T"][name]
    files = sorted((shared_data / "DAVIS" / "Annotations" / "480p" / name).glob("*.png"))
    values = temporal_stability(np.stack([read_mask(f) > 0 for f in files[:-1]]))
    assert len(values) == len(published["raw"])
    assert np.nanmean(values) == pytest.approx(published["mean"], abs=0.03)


@pytest.mark.slow
def test_published_t_of_one_sequence(shared_data):
    check_published(shared_data, "drift-chicane")


@pytest.mark.acceptance
def test_published_t_of_every_sequence(shared_data):
    for name in (shared_data / "DAVIS" / "ImageSets" / "2016" / "val.txt").read_text().split():
        check_published(shared_data, name)
