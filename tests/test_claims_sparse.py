"""What sparse attention costs: counts and slopes by thought, the measurement at a size that takes seconds."""

import json
import math

import pytest
import torch

from vos_teach import claims_sparse as C
from vos_teach.ops import sparse

MASKS = {"dense": lambda size: torch.ones(math.prod(size), math.prod(size)),
         "fused": lambda size: torch.ones(math.prod(size), math.prod(size)), "grid": sparse.grid_mask,
         "strided": sparse.strided_mask, "local": sparse.local_mask}


@pytest.mark.parametrize("kind", C.KINDS)
def test_scores_are_counted_as_the_operators_compute_them(kind):
    size = 6, 14, 21  # multiples of the strides: nothing is filled up
    n = math.prod(size)
    held = int(MASKS[kind](size).sum())
    if kind == "grid":
        held += 2 * n  # self stands in the row, in the column and in the time line before two are struck out
    if kind == "local":
        assert held < C.scores(kind, size) == n * 3 * 7 * 7, "windows that leave the block are computed and struck out"
    else:
        assert C.scores(kind, size) == held
    assert C.scores("local", (1, 2, 20)) == 40 * 1 * 3 * 7 and C.scores("strided", (1, 8, 8)) == 4 * 4 * 147


def test_exponents_are_slopes_of_logarithms():
    sizes = {f"{n}x1x1": {k: {"seconds": 3 * n**power, "MiB": 5.0, "scores": n} for k, power in
                          zip(C.KINDS, (2, 1.9, 1, 1.5, 0.5), strict=True)} for n in (1, 2, 8)}
    sizes["2x1x1"]["local"]["MiB"] = 0.0  # too small to be seen
    got = C.exponents(sizes, {"T": {str(n): f"{n}x1x1" for n in (1, 2, 8)}})["T"]
    assert [got[k]["seconds"] for k in C.KINDS] == pytest.approx([2, 1.9, 1, 1.5, 0.5])
    assert got["dense"]["MiB"] == pytest.approx(0) and got["local"]["MiB"] is None and got["grid"]["scores"] == 1


@pytest.mark.parametrize("pattern", C.LAYERS)
def test_what_the_middle_hears_of_is_what_the_masks_say(pattern):
    size, (operators, masks) = (3, 8, 9), C.LAYERS[pattern]
    middle = 1 * 72 + 4 * 9 + 4
    by_masks = sparse.reach_of([m(size) for m in masks], 3)
    for heard, rows in zip(C.heard_of(operators, size, 3), by_masks, strict=True):
        assert torch.equal(torch.from_numpy(heard) > 0, rows[middle].view(size))


def test_fused_is_dense_attention():
    q, k, v = C.inputs((2, 3, 5), 4)
    assert torch.allclose(C.fused_attention(q, k, v[:3]), sparse.dense_attention(q, k, v[:3]), atol=1e-5)


def test_the_target_is_the_issues():
    assert C.TARGET == (8, 30, 54) and C.FACTOR == 5 and C.at(C.BASE, "T", 8) == C.TARGET
    threads = torch.get_num_threads()
    assert all(0 <= seconds < 60 for seconds in C.times((2, 3, 4), 4, 1).values())
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_sparse_at_a_small_size(tmp_path):
    found = C.sparse(tmp_path, {"T": (1, 4), "H": (6, 24), "W": (6, 48)}, (4, 24, 32), (6, 24, 32), 8, 2, (2, 5, 6))
    assert list(found["sizes"]["6x24x32"]) == list(C.KINDS) and found["series"]["W"]["48"] == "4x24x48"
    dense, n = found["sizes"]["6x24x32"]["dense"], 6 * 24 * 32
    assert 0.9 * 2 * n * n * 4 < dense["MiB"] * 2**20 < 3.2 * n * n * 4, "scores and their softmax"
    assert found["cheaper"]["MiB"] > 5 and 1.7 < found["exponents"]["T"]["dense"]["MiB"] < 2.2
    assert found["patterns"]["strided"]["hops"] is None and found["patterns"]["grid"]["hops"] == 3
    assert found["patterns"]["grid"]["heard"][2] == 1 > found["patterns"]["grid"]["heard"][1]
    text = (tmp_path / "sparse.md").read_text()
    assert found["than fused"]["MiB"] < 0.2 * found["cheaper"]["MiB"], "scores are never held"
    assert "The claim (at most 1/5 of the time) " in text and "| strided | never |" in text
    assert json.loads((tmp_path / "sparse.json").read_text())["holds"] == found["holds"]
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in ("sparse", "sparse_reach"))
