"""`vos-teach labs publish DIR`: the tree that students may have. Nothing of assignments/ is in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from vos_teach.errors import VosError
from vos_teach.grading import leaks
from vos_teach.grading.build import build

LEFT_OUT = ("_build", "__pycache__", ".*", "*.pyc", "vos_teach_work")

README = """\
# Video object segmentation, from OSVOS to transformers

- `lectures/`: the pages of the lecture
- `notebooks/`: the labs
- `wheels/`: vos_teach, the package that the labs use

With Python 3.10 to 3.13, in this folder:

    python -m venv .venv
    .venv/bin/python -m pip install "wheels/{wheel}[lab]"
    .venv/bin/python -m jupyter lab notebooks

(On Windows `.venv\\Scripts\\python` instead of `.venv/bin/python`.) On Colab: upload a notebook and the wheel, and name
the wheel in a cell above all others:

    import os; os.environ["VOS_TEACH_WHEEL"] = "{wheel}"

Real sequences are optional: `vos-teach data davis --help` fetches some of DAVIS, and the variable `VOS_TEACH_DAVIS`
names their folder. Keep the first line of each answer cell: by it your answer is found whatever editor you use.
"""


def wheel(root: Path, out: Path) -> Path:
    """Build the package's wheel into `out`: from a copy, so that no old build product gets in and none is left."""
    with tempfile.TemporaryDirectory(prefix="vos_teach_wheel_") as folder:
        copy = Path(folder) / "source"
        copy.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(root / name, copy)
        shutil.copytree(root / "vos_teach", copy / "vos_teach", ignore=shutil.ignore_patterns(*LEFT_OUT))
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", folder]
        try:
            import setuptools  # noqa: F401

            command.append("--no-build-isolation")  # it works offline then
        except ImportError:
            pass
        done = subprocess.run([*command, str(copy)], capture_output=True, text=True)
        made = list(Path(folder).glob("*.whl"))
        if done.returncode or len(made) != 1:
            why = (done.stderr.strip().splitlines() or ["pip gave no wheel"])[-1]
            raise VosError(f"the wheel could not be built: {why}")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(made[0], out))


def publish(root: Path, target: Path) -> Path:
    """Write notebooks, lectures, a wheel and a README into `target`, a new or empty folder; all of it or nothing.

    Raises VosError if the folder is not empty, if notebooks/ is not as a fresh build, or if an answer is in any of it.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise VosError(f"'{target.name}' is not an empty folder: name a new one")
    ignored = root / "assignments" / "source"  # nbgrader's, in no clone: nothing of it is published
    stale = [path for path, data in build(root).items()
             if ignored not in path.parents and (not path.is_file() or path.read_bytes() != data)]
    if stale:
        raise VosError(f"'{stale[0].relative_to(root)}' is not as a fresh build: run vos-teach labs build first")
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        made.chmod(0o755)
        (made / "notebooks").mkdir()
        for path in sorted((root / "notebooks").glob("*.ipynb")):
            shutil.copy(path, made / "notebooks")
        if (root / "lectures").is_dir():
            shutil.copytree(root / "lectures", made / "lectures", ignore=shutil.ignore_patterns(*LEFT_OUT))
        for name in ("LICENSE", "LICENSE-lectures"):
            if (root / name).is_file():
                shutil.copy(root / name, made)
        built = wheel(root, made / "wheels")
        (made / "README.md").write_text(README.format(wheel=built.name), encoding="utf-8")
        if found := leaks.search(made, leaks.secrets(root)):
            raise VosError(f"not published, for students would find {found[0]}"
                           + (f", and {len(found) - 1} more" if found[1:] else ""))
        if target.exists():
            target.rmdir()
        os.replace(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target
