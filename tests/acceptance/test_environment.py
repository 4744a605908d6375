"""environment.yml keeps its word: its pip section alone, in a clean environment, gives a working vos-teach."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LEAVE_OUT = (".git", ".venv*", "runs", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_pip_section_installs_into_a_clean_environment(tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEAVE_OUT))
    parts = yaml.safe_load((copy / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (section,) = [part["pip"] for part in parts if isinstance(part, dict)]
    # conda does the same: it writes the section into a file beside environment.yml and hands that to pip
    (copy / "condaenv.requirements.txt").write_text("\n".join(section) + "\n")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "clean")], check=True)
    bin_ = tmp_path / "clean" / ("Scripts" if os.name == "nt" else "bin")
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}

    def run(*command: str, cwd: Path = tmp_path) -> str:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    python = str(bin_ / "python")
    run(python, "-m", "pip", "install", "-U", "-r", "condaenv.requirements.txt", cwd=copy)
    where = run(python, "-c", "import vos_teach, torch, cv2; print(vos_teach.__file__)")
    assert Path(where.strip()).is_relative_to(copy)
    assert "evaluate" in run(str(bin_ / "vos-teach"), "--help")
    run(python, "-m", "pip", "check")
