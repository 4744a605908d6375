"""What tests of preparing have in common: the labs as released, answered, and handed in."""

import json
import re
from functools import cache

from vos_teach.grading import build, travelled
from vos_teach.grading.prepare import prepare

ROOT = build.find_root()
SOURCES = {path.stem.partition("_")[0]: path for path in build.sources(ROOT)}
LABS = tuple(SOURCES)
MARKER = re.compile(r"^[ \t]*### (BEGIN|END) SOLUTION[ \t]*\n?", re.M)


@cache
def _released(lab):
    return (ROOT / "notebooks" / f"{SOURCES[lab].stem}.ipynb").read_text(encoding="utf-8")


def released(lab="lab1"):
    return json.loads(_released(lab))


@cache
def _answered(lab):
    source = json.loads((ROOT / "assignments" / "source" / lab / f"{SOURCES[lab].stem}.ipynb").read_text("utf-8"))
    solutions = {c["id"]: MARKER.sub("", "".join(c["source"])) for c in source["cells"]
                 if c["metadata"].get("nbgrader", {}).get("solution")}
    return json.dumps(travelled.filled(released(lab), solutions))


def answered(lab="lab1"):
    """The student's notebook with all right answers; sources are strings."""
    out = json.loads(_answered(lab))
    for cell in out["cells"]:
        cell["source"] = "".join(cell["source"])
    return out


def handed(tmp_path, *notebooks, lab="lab1", names=("lab1_online_learning.ipynb", "b.ipynb", "c.ipynb"), **more):
    """Prepared, from these notebooks (dicts, texts or bytes)."""
    paths = []
    for notebook, name in zip(notebooks, names, strict=False):
        path = tmp_path / name
        data = json.dumps(notebook) if isinstance(notebook, dict) else notebook
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        paths.append(path)
    return prepare("somebody", paths, released(lab), lab, **more)


def answers(prepared):
    """exercise -> its answer cell's text, without the sentinel and without what editors add at ends."""
    return {c.exercise: plain(c.source) for c in prepared.cells if c.origin == "answer"}


def plain(text):
    lines = [line.rstrip() for line in text.split("\n") if "keep this line" not in line]
    return "\n".join(line for line in lines if line)


def wanted(lab="lab1"):
    """exercise -> the right answer's text, straight from the source."""
    return {c["id"].replace("-", ".", 1): plain(c["source"]) for c in answered(lab)["cells"] if c["cell_type"] == "code"
            and c["metadata"].get("nbgrader", {}).get("solution")}


def at(notebook, name):
    return next(i for i, c in enumerate(notebook["cells"]) if c.get("id") == name)
