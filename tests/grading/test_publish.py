"""What students may have: complete, and without answers, hidden cases or the quiz's key."""

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from vos_teach.errors import VosError
from vos_teach.grading import build as labs
from vos_teach.grading import leaks
from vos_teach.grading import publish as publishing

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hidden(tiny):
    """The tiny project with hidden cases and a package."""
    package = tiny / "vos_teach"
    (package / "lab" / "exercises").mkdir(parents=True)
    (package / "ops.py").write_text("def f(values, bins):\n    secret_of_decay = values[ :bins]\n")
    (package / "lab" / "exercises" / "lab0.py").write_text(
        'CASES = (Case("a public case of everybody", 1),)\n'
        'EXERCISES = (Exercise("lab0.recall", CASES, hints=("count", "return: return len("  # in two pieces\n'
        '             "secret_of_recall) / len(values)")),)\n')
    (tiny / "assignments" / "hidden" / "lab0.py").write_text(
        '"""Hidden."""\nCASES = {"lab0.recall": (\n    Case("a case that nobody may see", lambda rng: [(1, 2)]),\n'
        '    Case("a public case of everybody", 1),\n)}\n')
    return tiny


def test_secrets_are_solutions_hidden_cases_and_the_quiz(hidden):
    found = leaks.secrets(hidden)
    assert found == {
        "secret_of_recall=[vforvinvaluesifv>threshold]": "a solution of lab0.recall",
        "Amodelanswerthatnobodymayseebeforetheend.": "a solution of lab0.thought",
        '"lab0.q_tiny":"b"': "the right letter of lab0.q_tiny",
        "thefirstonecomestooearly,aswassaidabove.": "what is said of a) in lab0.q_tiny",
        "thesecondonecomesjustwhenitshould.": "what is said of b) in lab0.q_tiny",
        'Case("acasethatnobodymaysee",lambdarng:[(1,2)]),': "a hidden case of lab0",
    }  # neither the line that the library has too, nor what a hint says, nor the case that is public too


def test_a_secret_is_found_wherever_it_is(hidden, tmp_path):
    known = leaks.secrets(hidden)
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "page.md").write_text("All is well: `len(values)`, a first one, and lab0.q_tiny.\n")
    assert leaks.search(tree, known) == []
    cell = {"cell_type": "code", "source": ["secret_of_recall = [v for v in values\n", "    if v > threshold]\n"]}
    (tree / "deep" / "x.ipynb").write_text(json.dumps({"cells": [cell]}))
    with zipfile.ZipFile(tree / "x.whl", "w") as wheel:
        wheel.writestr("vos_teach/y.py", 'x = (Case("a case that nobody may see",\n   lambda rng: [(1, 2)]),)')
    (tree / "z.json").write_text('{"lab0.q_tiny" : "b"}')
    assert leaks.search(tree, known) == [
        "deep/x.ipynb: a solution of lab0.recall", "x.whl: vos_teach/y.py: a hidden case of lab0",
        "z.json: the right letter of lab0.q_tiny"]


def test_hidden_cases_that_are_in_the_package_are_not_hidden(hidden):
    text = (hidden / "assignments" / "hidden" / "lab0.py").read_text()
    (hidden / "vos_teach" / "lab" / "exercises" / "lab0.py").write_text(text)
    with pytest.raises(VosError, match="hidden cases must stay out of it"):
        leaks.secrets(hidden)


@pytest.fixture
def publishable(hidden, monkeypatch):
    """As above, built; the wheel is a stand-in."""
    labs.write(labs.build(hidden))

    def wheel(root, out):
        out.mkdir()
        with zipfile.ZipFile(out / "vos_teach-1-py3-none-any.whl", "w") as archive:
            for path in (root / "vos_teach").rglob("*.*"):
                archive.write(path, path.relative_to(root))
        return out / "vos_teach-1-py3-none-any.whl"

    monkeypatch.setattr(publishing, "wheel", wheel)
    (hidden / "lectures" / "_build").mkdir(parents=True)
    (hidden / "lectures" / "_build" / "page.html").write_text("built")
    (hidden / "lectures" / "page.md").write_text("# Page")
    return hidden


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.slow
def test_the_published_tree_is_complete_and_nothing_else(publishable, tmp_path):
    target = publishing.publish(publishable, tmp_path / "for" / "students")
    assert names(target) == ["README.md", "lectures/page.md", "notebooks/lab0_tiny.ipynb",
                             "wheels/vos_teach-1-py3-none-any.whl"]
    assert "wheels/vos_teach-1-py3-none-any.whl[lab]" in (target / "README.md").read_text()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert names(publishing.publish(publishable, empty)) == names(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "for", "project"], "nothing half-made is left"


@pytest.mark.slow
def test_publish_refuses(publishable, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("mine")
    with pytest.raises(VosError, match="'full' is not an empty folder"):
        publishing.publish(publishable, full)
    with pytest.raises(VosError, match="'x' is not an empty folder"):
        publishing.publish(publishable, full / "x")
    (publishable / "lectures" / "page.md").write_text("x = [v  for v in values if v > threshold]; "
                                                      "secret_of_recall = [v for v in values if v > threshold]")
    with pytest.raises(VosError, match=r"students would find lectures/page\.md: a solution of lab0\.recall$"):
        publishing.publish(publishable, tmp_path / "new")
    (publishable / "lectures" / "page.md").write_text("# Page")
    (publishable / "notebooks" / "lab0_tiny.ipynb").write_text("{}")
    with pytest.raises(VosError, match="not as a fresh build: run vos-teach labs build"):
        publishing.publish(publishable, tmp_path / "new")
    assert names(full) == ["x"] and not (tmp_path / "new").exists()


def test_a_wheel_that_cannot_be_built_is_one_sentence(tmp_path):
    for name in ("README.md", "LICENSE"):
        (tmp_path / name).write_text("x")
    (tmp_path / "pyproject.toml").write_text("[project\n")
    (tmp_path / "vos_teach").mkdir()
    with pytest.raises(VosError, match="the wheel could not be built"):
        publishing.wheel(tmp_path, tmp_path / "out")


# ---- this project

@pytest.mark.slow
def test_this_projects_published_tree_holds_no_answer(tmp_path):
    before = subprocess.run(["git", "-C", str(ROOT), "status", "--porcelain"], capture_output=True, text=True).stdout
    target = publishing.publish(ROOT, tmp_path / "students")  # raises where anything of leaks.secrets is found
    after = subprocess.run(["git", "-C", str(ROOT), "status", "--porcelain"], capture_output=True, text=True).stdout
    assert before == after
    known = leaks.secrets(ROOT)
    assert len(known) > 200 and {what.split()[1] for what in known.values()} >= {"solution", "hidden", "right"}
    (wheel,) = (target / "wheels").glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert "vos_teach/assets/quiz.json" in held and not [n for n in held if "assignments" in n or "hidden" in n]
    assert not [n for n in names(target) if "assignments" in n or "hidden" in n or "mistakes" in n]
    solution = next(line for line, what in known.items() if what.startswith("a solution"))
    (target / "notebooks" / "leak.py").write_text(solution)
    assert leaks.search(target, known) == [f"notebooks/leak.py: {known[solution]}"]
