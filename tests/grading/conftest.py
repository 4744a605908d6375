"""A project with one tiny lab, of two exercises that exist and a quiz and a reflection that do not."""

from pathlib import Path

import pytest

from vos_teach.grading import build

_ROOT = Path(__file__).resolve().parents[2]
_BUILT = {path: _ROOT / "assignments" / "source" / path.stem.partition("_")[0] / f"{path.stem}.ipynb"
          for path in build.sources(_ROOT)}
if any(not built.is_file() or built.stat().st_mtime < path.stat().st_mtime for path, built in _BUILT.items()):
    # a fresh clone has no assignments/source, nbgrader's, which git ignores: many tests here read it
    build.write({path: data for path, data in build.build(_ROOT).items() if "source" in path.parts})
    for built in _BUILT.values():
        built.touch()

TINY = '''"""A note to authors."""

# %% [markdown]
# # Lab 0: tiny
#
# 5 minutes.

# %% setup

# %% answer="lab0.recall"
def recall(values, threshold=0.5):
    """The share of values above the threshold.

    values: numbers.
    """
    ### BEGIN SOLUTION
    secret_of_recall = [v for v in values if v > threshold]

    return len(secret_of_recall) / len(values)
    ### END SOLUTION


# %% check="lab0.recall" points=3
check("lab0.recall", recall)

# %% [markdown]
# Same text.

# %%
print("Same code.")

# %%
print("Same code.")

# %% answer="lab0.decay"
def decay(values, bins=4):
    ### BEGIN SOLUTION
    secret_of_decay = values[:bins]
    return secret_of_decay
    ### END SOLUTION

# %% check="lab0.decay" points=2.5
check("lab0.decay", decay)

# %% [markdown] quiz="lab0.q_tiny" points=1
# **Which one?**
# - a) the first,
#   on two lines
#   Wrong: the first one comes too early, as was said
#   above.
# - b) the second
#   Right: the second one comes just when it should.

# %% [markdown] manual="lab0.thought" points=4
# What do you think?
# ### BEGIN SOLUTION
# A model answer that nobody may see before the end.
'''


@pytest.fixture
def tiny(tmp_path) -> Path:
    """The project's root, with nothing built."""
    return project(tmp_path / "project")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Another such project, built once for all tests: (root, path -> bytes). Not to be changed."""
    from vos_teach.grading import build as labs

    root = project(tmp_path_factory.mktemp("built") / "project")
    files = labs.build(root)
    labs.write(files)
    return root, files


def project(root: Path) -> Path:
    (root / "assignments" / "labs").mkdir(parents=True)
    (root / "assignments" / "hidden").mkdir()
    (root / "pyproject.toml").write_text('[tool.vos_teach]\nrepository = ""\n')
    (root / "assignments" / "labs" / "lab0_tiny.py").write_text(TINY)
    return root
