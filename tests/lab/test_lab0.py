"""Lab 0: its oracles agree with the library's measures, and its own answers pass all cases."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest

from vos_teach import metrics
from vos_teach.grading.source import read
from vos_teach.lab.check import check
from vos_teach.lab.exercises import lab0, lab0_calls, lab0_oracles
from vos_teach.metrics import measures


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def masks(rng, size, frames=3):
    return np.stack([lab0_calls.blob(rng, size) ^ (rng.random(size) < 0.03) for _ in range(frames)])


@pytest.mark.parametrize("size", [(12, 17), (31, 9), (1, 8), (8, 1)])
def test_oracles_of_j_and_the_boundary(rng, size):
    pred, target = masks(rng, size), masks(rng, size)
    pred[1] = target[1] = False
    void = rng.random(pred.shape) < 0.2
    assert np.array_equal(lab0_oracles.jaccard(pred, target), metrics.jaccard(pred, target))
    assert np.array_equal(lab0_oracles.jaccard(pred, target, void), metrics.jaccard(pred, target, void))
    for mask in pred:
        assert np.array_equal(lab0_oracles.boundary_map(mask), measures.boundary(mask.astype(np.uint8)) > 0)


@pytest.mark.parametrize(("size", "bound"), [((24, 124), 0.008), ((40, 33), 0.05), ((150, 20), 0.02)])
def test_oracle_of_f(rng, size, bound):
    pred, target = masks(rng, size), masks(rng, size)
    pred[0] = np.roll(target[0], 2, 1)
    pred[1] = target[1] = False
    void = rng.random(pred.shape) < 0.01
    for v in (None, void):
        assert np.allclose(lab0_oracles.boundary_f(pred, target, v, bound), metrics.boundary_f(pred, target, v, bound))


def test_oracles_of_recall_and_decay(rng):
    for n, bins in itertools.product([1, 2, 3, 7, 20, 23, 257, 1001], [1, 2, 3, 4, 5]):
        values = rng.uniform(0, 1, n)
        values[rng.random(n) < 0.1] = math.nan
        assert lab0_oracles.decay(values, bins) == pytest.approx(metrics.decay(values, bins), nan_ok=True)
        assert lab0_oracles.recall(values, 0.4) == pytest.approx(metrics.recall(values, 0.4))
    assert math.isnan(lab0_oracles.decay([])) and math.isnan(lab0_oracles.recall([]))


def test_oracle_of_the_assignment(rng):
    for g, p in itertools.product(range(5), range(5)):
        scores = rng.uniform(0, 1, (g, p))
        total = sum(scores[a, b] for a, b in metrics.match_proposals(scores))
        assert lab0_oracles.best_total(scores) == pytest.approx(total)


def test_cases_of_f_need_the_right_radius():
    """The public frames tell ceil from round and from floor; else those mistakes would pass."""
    reach = [0.008 * math.hypot(*lab0_calls.FRAME), 0.02 * math.hypot(*lab0_calls.FRAME)]
    assert [math.ceil(r) for r in reach] == [2, 3]
    assert [round(r) for r in reach] == [1, 3] and [int(r) for r in reach] == [1, 2]


def answers():
    """The lab's own answers, run in the order of the source: name -> function."""
    path = Path(__file__).parents[2] / "assignments" / "labs" / "lab0_measures.py"
    space: dict = {}
    for cell in read(path):
        if cell.tag == "answer":
            exec("from __future__ import annotations\nimport math\nimport cv2\nimport numpy as np\n"
                 "from scipy import ndimage, optimize\n"
                 "from vos_teach.metrics.measures import boundary\n"
                 + re.sub(r"^### .*$", "", cell.text, flags=re.M), space)
    return {f"lab0.{name}": f for name, f in space.items() if f"lab0.{name}" in {e.name for e in lab0.EXERCISES}}


def test_the_labs_own_answers_earn_all_marks(monkeypatch):
    pytest.importorskip("jupytext")
    monkeypatch.setenv("VOS_TEACH_HIDDEN", str(Path(__file__).parents[2] / "assignments" / "hidden"))
    mine = answers()
    assert set(mine) == {e.name for e in lab0.EXERCISES}
    for name, function in mine.items():
        check(name, function, hidden=True)
