"""The labs themselves, run from top to bottom on toy clips: with the answers, and as a student finds them."""

import json
import time
from pathlib import Path

import nbformat
import pytest

from vos_teach.errors import VosError
from vos_teach.grading import build as labs
from vos_teach.grading.run import execute

ROOT = Path(__file__).resolve().parents[2]
LABS = [path.stem.partition("_")[0] for path in labs.sources(ROOT)]
MINUTES = 6


@pytest.fixture(scope="module")
def files():
    return {path.relative_to(ROOT).as_posix(): data for path, data in labs.build(ROOT).items()}


def run(files, start, lab, folder, monkeypatch, **environment):
    """Cells of a fresh build's notebook, run offline in an empty folder."""
    for name in ("VOS_TEACH_DAVIS", "VOS_TEACH_HIDDEN", "VOS_TEACH_WORK"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens: a download would fail
    (text,) = [data for name, data in files.items() if name.startswith(f"{start}/") and f"/{lab}_" in name]
    notebook = nbformat.reads(text.decode(), 4)
    return execute(notebook, folder, environment), notebook


@pytest.mark.acceptance
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("lab", LABS)
def test_the_answers_run_through_in_time(files, lab, tmp_path, monkeypatch):
    began = time.monotonic()
    cells, notebook = run(files, "assignments/source", lab, tmp_path, monkeypatch,
                          VOS_TEACH_HIDDEN=str(ROOT / "assignments" / "hidden"), OMP_NUM_THREADS="2")
    took = time.monotonic() - began
    assert [(cell.id, cell.error) for cell in cells if cell.error] == []
    assert took < 60 * MINUTES, f"{took:.0f} s"
    assert {cell.id: round(cell.seconds) for cell in cells if cell.seconds > 60} == {}, "at most 60 s a cell"
    loud = {c["id"] for c in notebook.cells for o in c.get("outputs", []) if o.get("name") == "stderr"}
    assert loud == set(), "a lab of right answers warns of nothing"
    setup = next(c for c in notebook.cells if c["id"] == "setup")
    assert "".join(o["text"] for o in setup.outputs).startswith("Setup complete - vos_teach ")
    assert len("".join(o["text"] for o in setup.outputs).splitlines()) == 1


@pytest.mark.acceptance
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("lab", LABS)
def test_an_untouched_notebook_fails_only_for_want_of_answers(files, lab, tmp_path, monkeypatch):
    cells, _ = run(files, "notebooks", lab, tmp_path, monkeypatch)
    assert {(cell.id, cell.error) for cell in cells if cell.error and cell.error[0] != "NotAttempted"} == set()
    checks = [cell for cell in cells if cell.id.endswith("-check")]
    assert checks and all(cell.error and cell.error[0] == "NotAttempted" for cell in checks)


@pytest.mark.slow
def test_run_tells_times_errors_and_a_cell_that_never_ends(tmp_path):
    cells = [nbformat.v4.new_code_cell(text, id=name) for name, text in [
        ("fine", "\n# first\nimport time; time.sleep(0.3)"), ("wrong", "1 / 0"),
        ("after", "open('here', 'w').close()")]]
    fine, wrong, after = execute(nbformat.v4.new_notebook(cells=cells), tmp_path, {"X": "1"})
    assert fine.first == "# first" and 0.3 <= fine.seconds < 60 and fine.error is None
    assert wrong.error == ("ZeroDivisionError", "division by zero")
    assert after.error is None and (tmp_path / "here").exists()
    endless = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("while True: pass")])
    with pytest.raises(VosError, match="longer than 1 seconds"):
        execute(endless, tmp_path, timeout=1)
    assert json.dumps(cells[0].metadata)
