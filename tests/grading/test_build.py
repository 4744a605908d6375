"""From source to release: the same bytes every time, nothing in them that students may not see."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from vos_teach.errors import VosError
from vos_teach.grading import build as labs
from vos_teach.grading import source
from vos_teach.lab import quiz

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow  # nbgrader's import and a database for each build


def student(root):
    return json.loads((root / "notebooks" / "lab0_tiny.ipynb").read_text())


def text(notebook, name):
    return next("".join(c["source"]) for c in notebook["cells"] if c["id"] == name)


def test_a_release_has_stubs_and_no_answers(built):
    root, _ = built
    notebook = student(root)
    assert text(notebook, "lab0-recall") == (
        '# >>> lab0.recall - your answer; keep this line\ndef recall(values, threshold=0.5):\n'
        '    """The share of values above the threshold.\n\n    values: numbers.\n    """\n    raise NotAttempted')
    assert text(notebook, "lab0-q_tiny") == '# >>> lab0.q_tiny - your answer; keep this line\nq_tiny = ""'
    assert text(notebook, "lab0-thought") == "*lab0.thought - your answer; keep this line*\n\nYour answer here"
    assert text(notebook, "lab0-recall-check") == 'check("lab0.recall", recall)'
    assert text(notebook, "lab0-q_tiny-check") == 'check("lab0.q_tiny", q_tiny)'
    whole = json.dumps(notebook)
    for word in ("secret", "SOLUTION", "HIDDEN", "hidden=True", "model answer", "too early", "just when", "note to au"):
        assert word not in whole
    answered = json.loads((root / "assignments" / "source" / "lab0" / "lab0_tiny.ipynb").read_text())
    assert 'q_tiny = "b"' in text(answered, "lab0-q_tiny") and "secret_of_recall" in text(answered, "lab0-recall")


def test_a_release_is_locked_checksummed_and_bare(built):
    from nbgrader.utils import compute_checksum

    notebook = nbformat.from_dict(student(built[0]))
    nbformat.validate(notebook)
    for cell in nbformat.reads(json.dumps(student(built[0])), 4).cells:
        if "nbgrader" in cell.metadata:
            assert cell.metadata.nbgrader.checksum == compute_checksum(cell)
            assert cell.metadata.deletable is False
            assert cell.metadata.get("editable", True) is not cell.metadata.nbgrader.locked
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert set(notebook.metadata) == {"kernelspec", "language_info"} and notebook.metadata.kernelspec.name == "python3"


def test_building_again_elsewhere_gives_the_same_bytes(built, tmp_path):
    root, files = built
    assert labs.write(files) == []
    other = tmp_path / "else where" / "deeper"
    shutil.copytree(root / "assignments" / "labs", other / "assignments" / "labs")
    shutil.copy(root / "pyproject.toml", other)
    assert {p.relative_to(other): d for p, d in labs.build(other).items()} == {
        p.relative_to(root): d for p, d in files.items()}


def test_the_quiz_is_sealed_and_its_key_is_with_the_hidden_cases(built, monkeypatch):
    root, files = built
    sealed = json.loads(files[root / "vos_teach" / "assets" / "quiz.json"])
    assert quiz.unseal("lab0.q_tiny", "b", sealed["lab0.q_tiny"]["b"]) == (
        "right\nthe second one comes just when it should.")
    assert quiz.unseal("lab0.q_tiny", "a", sealed["lab0.q_tiny"]["a"]).startswith("wrong\nthe first one comes too")
    key = {}
    exec(files[root / "assignments" / "hidden" / "quiz.py"], key)
    assert key["RIGHT"] == {"lab0.q_tiny": "b"}


def test_a_seal_of_another_zlib_is_kept_while_it_says_the_same(tmp_path, monkeypatch):
    asked = source.Question("lab0.q", "Which?", {"a": (False, "too early"), "b": (True, "in time")})
    path = tmp_path / "quiz.json"
    path.write_text(first := labs._sealed([asked], path))
    pack = quiz.zlib.compress
    monkeypatch.setattr(quiz.zlib, "compress", lambda data, level: pack(data, 0))
    assert labs._sealed([asked], tmp_path / "none.json") != first
    assert labs._sealed([asked], path) == first
    damaged = json.loads(first)
    damaged["lab0.q"]["b"] = "no seal"
    path.write_text(json.dumps(damaged))
    assert quiz.unseal("lab0.q", "b", json.loads(labs._sealed([asked], path))["lab0.q"]["b"]) == "right\nin time"


def test_nbgraders_refusal_is_one_sentence(tiny, monkeypatch):
    from vos_teach.grading import course

    def refuses(self, *_):
        raise RuntimeError("no such cell")

    monkeypatch.setattr(course.ClearAnswers, "preprocess_cell", refuses)
    with pytest.raises(VosError, match=r"^nbgrader refuses 'lab0_tiny': RuntimeError: no such cell$"):
        labs.build(tiny)


def test_what_nbgrader_leaves_in_is_noticed(tiny, monkeypatch):
    from vos_teach.grading import course

    monkeypatch.setattr(course.ClearAnswers, "preprocess_cell", lambda self, cell, resources, i: (cell, resources))
    with pytest.raises(VosError, match="an answer or a hidden test is left in it"):
        labs.build(tiny)


def test_the_environment_is_as_before(tiny, monkeypatch):
    import os

    from traitlets.config import Config

    from vos_teach.grading import course

    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.delenv("VOS_TEACH_HIDDEN", raising=False)
    before = dict(os.environ)
    with course.environment_kept():
        course.configure(Config(), tiny)
        assert os.environ["PATH"] != os.defpath and os.environ["VOS_TEACH_HIDDEN"]
    assert dict(os.environ) == before


def test_the_checkout_is_found_from_inside_it(tiny, monkeypatch):
    monkeypatch.chdir(tiny / "assignments" / "hidden")
    assert labs.find_root() == tiny
    (tiny / "assignments" / "labs" / "lab0_tiny.py").unlink()
    with pytest.raises(VosError, match="holds no lab"):
        labs.sources(tiny)
    for name in ("lab0_a.py", "lab0_b.py"):
        (tiny / "assignments" / "labs" / name).write_text("# %%\n")
    with pytest.raises(VosError, match="two sources of lab0"):
        labs.sources(tiny)


def test_the_command_says_what_it_wrote_and_what_is_stale(tiny):
    def command(*arguments):
        # not `python -m`, which would take the project's own vos_teach/, a folder without code here
        return subprocess.run([Path(sys.executable).with_name("vos-teach"), "labs", *arguments], cwd=tiny,
                              capture_output=True, text=True)

    done = command("build", "--check")
    assert done.returncode == 2 and "run vos-teach labs build" in done.stderr and not (tiny / "notebooks").exists()
    done = command("build")
    assert done.returncode == 0 and "written   notebooks/lab0_tiny.ipynb" in done.stdout.replace("\\", "/"), done.stderr
    done = command("build")
    assert "unchanged notebooks/lab0_tiny.ipynb" in done.stdout.replace("\\", "/")


# ---- the labs of this project

def test_committed_notebooks_are_as_a_fresh_build():
    stale = [path.relative_to(ROOT).as_posix() for path, data in labs.build(ROOT).items()
             if "source" not in path.parts and (not path.is_file() or path.read_bytes() != data)]
    assert stale == [], "run vos-teach labs build and commit what it writes"
    made = {path.stem for path in labs.sources(ROOT)}
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == made, "a notebook without its source"
