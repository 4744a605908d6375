"""What a lab's source may say, and what is said to who writes it otherwise."""

import ast

import pytest

from vos_teach.errors import VosError
from vos_teach.grading import source
from vos_teach.grading.setup import badge, repository, setup_cell

NAME = "lab0_tiny.py"


def path(root):
    return root / "assignments" / "labs" / NAME


def cells(root, repository=""):
    notebook, _ = source.expand(path(root), repository)
    return {cell["id"]: cell for cell in notebook.cells}


def change(root, old, new):
    text = path(root).read_text()
    assert text.count(old) == 1, old
    path(root).write_text(text.replace(old, new))


def test_tags_become_nbgraders_metadata(tiny):
    made = cells(tiny)
    said = {name: tuple(cell.metadata.nbgrader.get(k) for k in ("grade", "solution", "locked", "points"))
            for name, cell in made.items() if "nbgrader" in cell.metadata}
    assert said == {
        "lab0-recall": (False, True, False, None), "lab0-recall-check": (True, False, True, 3),
        "lab0-decay": (False, True, False, None), "lab0-decay-check": (True, False, True, 2.5),
        "lab0-q_tiny": (False, True, False, None), "lab0-q_tiny-check": (True, False, True, 1),
        "lab0-thought": (True, True, False, 4),
    }
    assert all(cell.metadata.nbgrader.grade_id == name for name, cell in made.items() if "nbgrader" in cell.metadata)


def test_each_answer_cell_starts_with_its_sentinel(tiny):
    made = cells(tiny)
    for name in ("recall", "decay", "q_tiny"):
        first = made[f"lab0-{name}"].source.splitlines()[0]
        assert first == f"# >>> lab0.{name} - your answer; keep this line"
    assert made["lab0-thought"].source.splitlines()[0] == "*lab0.thought - your answer; keep this line*"


def test_the_question_is_shown_without_its_explanations(tiny):
    made = cells(tiny)
    assert made["lab0-q_tiny-question"].source == (
        "**Which one?**\n\n- a) the first,\n  on two lines\n- b) the second")
    _, (asked,) = source.expand(path(tiny))
    assert asked.right == "b"
    assert asked.options["a"] == (False, "the first one comes too early, as was said above.")
    assert made["lab0-thought-question"].source == "What do you think?"


def test_a_check_takes_check_anew_and_adds_the_hidden_cases(tiny):
    text = cells(tiny)["lab0-recall-check"].source
    calls = []

    def imported(name, *_):
        assert name == "vos_teach.lab"
        return type("lab", (), {"check": staticmethod(lambda *a, **k: calls.append((a, k)))})

    mine = {"check": "a student's own", "recall": "answer", "__builtins__": {"__import__": imported}}
    exec(compile(ast.parse(text), "cell", "exec"), mine)
    assert calls == [(("lab0.recall", "answer"), {}), (("lab0.recall", "answer"), {"hidden": True})]
    visible = source.re.sub(rf"{source.HIDE}\n.*?{source.UNHIDE}\n?", "", text, flags=source.re.S)
    assert visible.strip() == 'check("lab0.recall", recall)'


def test_ids_name_the_exercise_or_follow_the_text(tiny):
    before = list(cells(tiny))
    assert len(set(before)) == len(before) and "setup" in before
    assert [name for name in before if name.startswith("code-")][1] == next(
        name for name in before if name.startswith("code-")) + "-2"  # the same text twice
    change(tiny, "# %% [markdown]\n# Same text.", "# %% [markdown]\n# New.\n\n# %% [markdown]\n# Same text.")
    after = list(cells(tiny))
    assert [name for name in after if name in before] == before and len(after) == len(before) + 1


@pytest.mark.parametrize(("old", "new", "said"), [
    ('check="lab0.recall" points=3', 'chek="lab0.recall" points=3', "line 23: unknown tag 'chek'"),
    ("# %% setup", "# %% set-up", "unknown tag 'set-up': choose from setup, answer"),
    ('check="lab0.recall" points=3', 'check="lab0.recall" points=3 colour=2', "unknown tag 'colour' beside check="),
    ('check="lab0.recall" points=3', 'check="lab0.recall"', "needs its points: add points=1"),
    ('check="lab0.recall" points=3', 'check="lab0.recall" points=0', "needs its points"),
    ('check="lab0.recall" points=3', 'check="lab0.recall" points="3"', "needs its points"),
    ('quiz="lab0.q_tiny" points=1', 'quiz="lab0.q_tiny"', "needs its points"),
    ('manual="lab0.thought" points=4', 'manual="lab0.thought"', "needs its points"),
    ('check="lab0.recall" points=3', 'check="lab1.recall" points=3', 'write check="lab0.NAME"'),
    ('answer="lab0.recall"', 'answer="lab0.re-call"', 'write answer="lab0.NAME"'),
    ("# %% [markdown] quiz", "# %% quiz", "'quiz' belongs to a [markdown] cell"),
    ('# %% answer="lab0.recall"', '# %% [markdown] answer="lab0.recall"', "'answer' belongs to a code cell"),
    ('manual="lab0.thought"', 'manual="lab0.recall"', "the name 'lab0.recall' is used twice (lab0_tiny.py, line 10)"),
    ('answer="lab0.decay"', 'answer="lab0.recall"', "the name 'lab0.recall' is used twice"),
    ('# %% answer="lab0.recall"', "# %%", "'BEGIN SOLUTION' in a cell without a tag"),
    ("    secret_of_decay = values[:bins]", "    ### BEGIN SOLUTION", "needs its solution between the lines"),
    ("    ### BEGIN SOLUTION\n    secret_of_decay = values[:bins]", "    x = 1", "needs its solution between"),
    ("    return secret_of_decay\n    ### END SOLUTION\n", "    return secret_of_decay\n", "needs its solution"),
    ("def decay(values, bins=4):\n    ### BEGIN SOLUTION\n", "### BEGIN SOLUTION\ndef decay(values, bins=4):\n",
     "is not inside its function"),
    ("def decay(", "def decays(", "does not define 'decay' outside its solution"),
    ("def decay(values, bins=4):", "def decay(values, bins=4:", "without its solution the cell is no valid Python"),
    ('check("lab0.recall", recall)', 'check("lab0.recall", recall)\nprint(1)', "a check cell holds one line"),
    ('check("lab0.recall", recall)', 'check("lab0.decay", recall)', "a check cell holds one line"),
    ('check("lab0.recall", recall)', 'check("lab0.recall", lambda v: 1)', "a check cell holds one line"),
    ('check("lab0.recall", recall)', 'check("lab0.recall", recall, hidden=True)', "a check cell holds one line"),
    ('# %% check="lab0.decay" points=2.5\ncheck("lab0.decay", decay)', "", 'nothing checks answer="lab0.decay"'),
    ('print("Same code.")\n\n# %%\nprint("Same code.")', 'print("Same code."', "the cell is no valid Python"),
    ('print("Same code.")\n\n# %%\nprint("Same code.")', "", "line 29: an empty cell"),
    ("# %% setup\n\n", "", "has 0 cells '# %% setup'"),
    ("# %% setup", "# %%\nx = 1\n\n# %% setup", "code before the cell '# %% setup'"),
    ("# %% setup", "# %% setup\n\n# %% setup", "has 2 cells"),
    ("Right: the second one", "Wrong: the second one", "needs exactly one option with 'Right:'"),
    ("Wrong: the first one", "Right: the first one", "needs exactly one option with 'Right:'"),
    ("#   Right: the second one comes just when it should.", "#   So it is.", "option b) of quiz"),
    ("#   Right: the second one comes just when it should.", "#   Right:", "does not say why it is right"),
    ("# - b) the second", "# - c) the second", "in the order of their letters"),
    ("# **Which one?**\n", "", "no question before them"),
    ("# ### BEGIN SOLUTION\n# A model answer that nobody may see before the end.", "", "then a model answer"),
])
def test_misuse_is_named_with_its_place(tiny, old, new, said):
    change(tiny, old, new)
    with pytest.raises(VosError) as error:
        source.expand(path(tiny))
    assert said in str(error.value) and str(error.value).startswith(NAME), str(error.value)


def test_a_check_without_an_answer_before_it_and_an_unknown_exercise_are_refused(tiny):
    text = path(tiny).read_text()
    start, end = text.index('# %% answer="lab0.decay"'), text.index('# %% check="lab0.decay"')
    path(tiny).write_text(text[:start] + text[end:])
    with pytest.raises(VosError, match=r'has no cell answer="lab0\.decay" before it'):
        source.expand(path(tiny))
    path(tiny).write_text(text.replace("decay", "decline"))
    with pytest.raises(VosError, match=r"there is no exercise 'lab0\.decline'; choose from: lab0\.jaccard"):
        source.expand(path(tiny))


def test_a_lab_without_cells_or_that_is_no_text_is_refused(tiny):
    path(tiny).write_text("x = 1\n")
    with pytest.raises(VosError, match="has no cells"):
        source.expand(path(tiny))
    path(tiny).write_bytes(b"\xff\xfe# %%")
    with pytest.raises(VosError, match="cannot be read"):
        source.expand(path(tiny))


# ---- set-up and badge: one setting

def test_without_an_address_there_is_no_badge_and_none_is_invented(tiny):
    made = cells(tiny)
    assert "badge" not in made and "http" not in "".join(cell.source for cell in made.values())


def test_badge_and_setup_come_from_the_same_address(tiny):
    (tiny / "pyproject.toml").write_text('[tool.vos_teach]\nrepository = "https://github.com/someone/vos_teach/"\n')
    address = repository(tiny)
    made = cells(tiny, address)
    assert next(iter(made)) == "badge"
    assert ("https://colab.research.google.com/github/someone/vos_teach/blob/main/notebooks/lab0_tiny.ipynb"
            in made["badge"].source)
    assert "vos_teach @ git+https://github.com/someone/vos_teach" in made["setup"].source
    assert badge("https://gitlab.com/someone/vos_teach", "lab0_tiny") == ""  # Colab cannot open it


@pytest.mark.parametrize("text", ['repository = "github.com/x/y"', "repository = 3", 'repository = "https://x y/z"'])
def test_a_wrong_address_is_refused(tiny, text):
    (tiny / "pyproject.toml").write_text(f"[tool.vos_teach]\n{text}\n")
    with pytest.raises(VosError, match="repository is"):
        repository(tiny)


def test_setup_imports_what_the_lab_uses_and_takes_the_authors_lines():
    text = setup_cell("lab0", "import numpy as np\n", ["show.frames(clip)", "x.slider(1)\ncard = 'own'"])
    names = next(n for n in ast.parse(text).body if isinstance(n, ast.ImportFrom))
    assert {a.name for a in names.names} == {"NotAttempted", "check", "hint", "setup", "show"}
    assert text.endswith("\nimport numpy as np") and 'setup("lab0"' not in text
    assert setup_cell("lab0", "", []).endswith('lab = setup("lab0", scale=SCALE)')


@pytest.mark.parametrize(("here", "wheel", "asked"), [
    (True, "x.whl", None), (False, "some/x.whl", "some/x.whl"), (False, None, "vos_teach")])
def test_setup_installs_only_what_is_missing(monkeypatch, here, wheel, asked):
    import importlib.util
    import os
    import subprocess

    calls = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if here else None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command))
    monkeypatch.delenv("VOS_TEACH_WHEEL", raising=False)
    if wheel:
        monkeypatch.setitem(os.environ, "VOS_TEACH_WHEEL", wheel)
    exec(setup_cell("lab0", "x = 1", []), {})
    if asked is None:
        assert calls == []
    else:
        (command,) = calls
        assert command[1:] == ["-m", "pip", "install", "-q", asked]  # no -U: torch and numpy stay as they are


@pytest.mark.parametrize("missing", ["nbgrader", "jupytext"])
def test_without_the_extra_the_command_says_what_to_install(tiny, monkeypatch, missing):
    import sys

    from vos_teach.grading import commands

    for name in [n for n in sys.modules if n == "vos_teach.grading.course" or n.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.chdir(tiny)
    with pytest.raises(VosError, match=rf"{missing} is missing: pip install 'vos_teach\[grading\]'"):
        commands.build()
