"""What Colab will do: an environment with torch and a kernel but without vos_teach, an empty folder, a wheel."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vos_teach.grading import build as labs
from vos_teach.grading.publish import wheel

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import json, sys, time, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=600, allow_errors=True, kernel_name="python3").execute()
print(json.dumps([[c["id"], o["ename"], o["evalue"]] for c in notebook.cells for o in c.get("outputs", [])
                  if o["output_type"] == "error"]))
print(json.dumps("".join(o.get("text", "") for c in notebook.cells if c["id"] == "setup" for o in c.outputs)))
"""


def answered(stem: str, files: dict) -> dict:
    """The student's notebook with the answers filled in: it asks for no hidden cases, which are not there."""
    by_name = {path.relative_to(ROOT).as_posix(): json.loads(data) for path, data in files.items()
               if path.suffix == ".ipynb"}
    notebook = by_name[f"notebooks/{stem}.ipynb"]
    full = by_name[f"assignments/source/{stem.partition('_')[0]}/{stem}.ipynb"]
    source = {c["id"]: c["source"] for c in full["cells"]}
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = source[cell["id"]]
    return notebook


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_the_labs_run_where_only_their_wheel_is_installed(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "clean")], check=True)
    python = tmp_path / "clean" / ("Scripts" if os.name == "nt" else "bin") / "python"
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    env = {k: v for k, v in os.environ.items()
           if not k.startswith("VOS_TEACH_") and k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    env |= {"PIP_CONSTRAINT": str(tmp_path / "constraints.txt"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*command: str, **more: str) -> str:
        done = subprocess.run([str(python), *command], cwd=tmp_path / "empty", env={**env, **more},
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    (tmp_path / "empty").mkdir()
    run("-m", "pip", "install", "-q", "torch", "torchvision", "ipykernel", "ipywidgets", "nbclient")
    names = "import numpy, torch, torchvision; print(numpy.__version__, torch.__version__, torchvision.__version__)"
    before = run("-c", names)
    made = wheel(ROOT, tmp_path / "wheels")
    files = labs.build(ROOT)
    for i, path in enumerate(labs.sources(ROOT)):
        folder = tmp_path / "empty"
        notebook = folder / f"{path.stem}.ipynb"
        notebook.write_text(json.dumps(answered(path.stem, files)), encoding="utf-8")
        errors, said = map(json.loads, run("-c", RUN, str(notebook), VOS_TEACH_WHEEL=str(made)).splitlines()[-2:])
        assert errors == [], path.stem
        assert "Setup complete - vos_teach " in said
        where = run("-c", "import vos_teach; print(vos_teach.__file__)").strip()
        assert Path(where).is_relative_to(tmp_path / "clean"), "the wheel's, not the checkout's"
        if i == 0:
            assert run("-c", names) == before, "the set-up cell replaces neither numpy nor torch"
    run("-m", "pip", "check")
