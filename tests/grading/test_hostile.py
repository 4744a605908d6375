"""The hostile class: that each hand-in is what it says, and (acceptance) that each gets what it deserves."""

import ast
import dataclasses
import hashlib
import json
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from classroom import ROOT, skeleton
from hostile import CLASS, DAEMON, EXERCISES, LAB, LEAK, MACHINE, World, build, text

from vos_teach.grading import records, source
from vos_teach.grading.travelled import filled


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """(released, answered, stem, source) of lab 1, cut down to its set-up, its definitions and what is graded."""
    from vos_teach.grading import build as labs
    from vos_teach.grading.course import release

    path = tmp_path_factory.mktemp("lab") / f"{LAB}_online_learning.py"
    path.write_text(skeleton(LAB), encoding="utf-8")
    notebook, _ = source.expand(path)
    whole = labs.dump(notebook)
    released = json.loads(release({LAB: (path.stem, whole)})[LAB])
    marker = re.compile(rf"^[ \t]*({source.BEGIN}|{source.END})[ \t]*\n?", re.M)
    answers = {c["id"]: marker.sub("", "".join(c["source"])) for c in json.loads(whole)["cells"]
               if c["metadata"].get("nbgrader", {}).get("solution")}
    return released, filled(released, answers), path.stem, whole


@pytest.fixture(scope="session")
def handed_in(lab, tmp_path_factory):
    """(world, student -> folder), with everything written."""
    root = tmp_path_factory.mktemp("class")
    world = World(root / "course", root / "submissions", root / "home", root / "submissions" / "reference" / LAB
                  / f"{lab[2]}.ipynb")
    build(list(CLASS), *lab[:3], world)
    return world, {name: world.submissions / name / LAB for name in CLASS}


def load(folder, stem):
    return json.loads((folder / f"{stem}.ipynb").read_text(encoding="utf-8-sig"))


def test_the_class_is_large_and_says_what_it_expects():
    assert len(CLASS) >= 45 and len({s.kind for s in CLASS.values()}) == 8
    known = set(records.OUTCOMES)
    for s in CLASS.values():
        assert s.fate <= set(records.FATES) and set(s.deserves) <= set(MACHINE), s.name
        assert all(outcomes and outcomes <= known for outcomes in s.deserves.values()), s.name
        assert set(s.says) <= {"", *MACHINE}, s.name
    assert {s.name for s in CLASS.values() if s.kind == "legal" and (s.deserves or s.fate != {"graded"})} == set()


@pytest.mark.slow
def test_the_exercises_are_the_labs(lab):
    graded = {c["id"].removesuffix("-check").replace("-", ".", 1) for c in lab[0]["cells"]
              if c["metadata"].get("nbgrader", {}).get("grade") and c["cell_type"] == "code"}
    assert graded == set(MACHINE) and set(EXERCISES) < graded


@pytest.mark.slow
def test_an_attack_is_a_notebook_that_differs_and_whose_answer_is_a_function(lab, handed_in):
    from IPython.core.inputtransformer2 import TransformerManager

    known = {"".join(c["source"]) for c in lab[1]["cells"]}
    otherwise = {"library-itself", "defined-in-an-own-cell", "partial", "callable-object", "module-of-torch",
                 "one-line"}
    for name in [s.name for s in CLASS.values() if s.kind not in ("files", "cells")]:
        changed = [c for c in load(handed_in[1][name], lab[2])["cells"] if "".join(c["source"]) not in known]
        assert changed, name
        for cell in changed:
            raw = "".join(cell["source"])
            body = raw if raw.startswith("%%") else TransformerManager().transform_cell(raw)
            if raw.startswith("# >>>") and name not in otherwise and ".q_" not in raw.split("\n")[0]:
                functions = {n.name for n in ast.parse(body).body if isinstance(n, ast.FunctionDef)}
                assert cell["id"].partition("-")[2] in functions, name


@pytest.mark.slow
def test_files_are_what_they_claim(lab, handed_in):
    world, folders = handed_in
    stem = lab[2]
    path = {name: folder / f"{stem}.ipynb" for name, folder in folders.items()}
    assert path["empty-file"].read_bytes() == b"" and list(folders["empty-folder"].iterdir()) == []
    for name in ("invalid-json", "deep-json"):
        with pytest.raises((ValueError, RecursionError)):
            json.loads(path[name].read_text())
    assert path["giant-notebook"].stat().st_size > 20 << 20
    with pytest.raises(UnicodeDecodeError):
        path["not-utf8"].read_text(encoding="utf-8")
    assert len(list(folders["two-notebooks"].glob("*.ipynb"))) == 2
    assert path["symlink-to-a-neighbour"].is_symlink() and path["symlink-to-a-neighbour"].resolve() == world.neighbour
    assert (folders["symlinks-beside"] / "up").resolve() == folders["symlinks-beside"].parent
    assert (folders["shadowing-launcher"] / "ipykernel_launcher.py").is_file()
    bare = load(folders["stripped"], stem)
    assert not [c for c in bare["cells"] if "id" in c or "nbgrader" in c["metadata"]]
    assert sum("keep this line" in "".join(c["source"]) for c in bare["cells"]) == len(MACHINE) + 1
    assert "keep this line" not in path["stripped-of-sentinels-too"].read_text()
    ids = [c["id"] for c in load(folders["duplicated-cells"], stem)["cells"]]
    assert ids.count("lab1-modulate") == 2 and ids.count("lab1-modulate-check") == 2
    assert "lab1-modulate" not in [c["id"] for c in load(folders["deleted-answer"], stem)["cells"]]
    assert len(load(folders["from-jupytext"], stem)["cells"]) == len(lab[1]["cells"])
    assert not {c["id"] for c in load(folders["from-jupytext"], stem)["cells"]} & {c["id"] for c in lab[1]["cells"]}
    moved = load(folders["everything-in-one-cell"], stem)
    assert text(moved, "lab1-balanced_bce-check") and "lab1-modulate" not in [c["id"] for c in moved["cells"]]
    assert json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text())["nbformat"] == moved["nbformat"]


# ---- the whole class, judged

SECONDS = 30  # for each exercise: so that those who never end do not keep the test for ever


def instructors(root, lab):
    """A course and a home with things in them that nobody may touch: (world, folders that are hashed)."""
    course = root / "course"
    for part in ("hidden", "mistakes", "labs"):
        shutil.copytree(ROOT / "assignments" / part, course / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "assignments" / "nbgrader_config.py", course)
    for name, notebook in (("source", lab[3]), ("release", lab[0])):
        path = course / name / LAB / f"{lab[2]}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "nbgrader", "db", "student", "add", "somebody-else"], cwd=course, check=True,
                   capture_output=True)
    home = root / "home"
    home.mkdir()
    (home / "notes.txt").write_text("who is to be asked about what")
    return World(course, root / "submissions", home, root / "submissions" / "reference" / LAB / f"{lab[2]}.ipynb")


def hashes(*folders):
    """path -> what it holds, links as such; of the gradebook, which saving changes, nothing."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                found[str(path)] = f"-> {path.readlink()}"
            elif path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest(), oct(path.stat().st_mode)
            else:
                found[str(path)] = "other"
    return found


def unmet(who, record):
    """What a student's record has that it should not have, a sentence each."""
    said = []
    if record.fate not in who.fate:
        said.append(f"fate {record.fate} ({record.reason})")
    if who.held is not None and record.held is not who.held:
        said.append(f"held {record.held}: {record.flags}")
    if not record.sandbox or not isinstance(record.seed, int):
        said.append("neither sandbox nor seed in the record")
    marks = {m.exercise: m for m in record.marks}
    if set(marks) != {*MACHINE, "lab1.reflection"}:
        said.append(f"marks of {sorted(set(marks) ^ {*MACHINE, 'lab1.reflection'})}")
    for name in MACHINE if record.fate == "graded" and "graded" in who.fate else ():
        mark = marks[name]
        if mark.outcome not in who.outcomes(name):
            said.append(f"{name}: {mark.outcome} ({mark.reason})")
        if mark.score != (mark.points if mark.outcome == "right" else 0):
            said.append(f"{name}: {mark.score} of {mark.points} for {mark.outcome}")
        if mark.outcome != "right" and not mark.reason:
            said.append(f"{name}: {mark.outcome} without a reason")
    for name, pattern in who.says.items() if record.fate != "graded" or "" not in who.says else ():
        text = record.reason if not name else f"{marks[name].outcome} {marks[name].reason}"
        if not re.search(pattern, text, re.I):
            said.append(f"{name or 'reason'}: {text!r} does not say {pattern}")
    if who.repaired and not any(re.search(who.repaired, r, re.I) for r in record.repairs):
        said.append(f"repairs: {record.repairs}")
    return [f"{who.name}: {s}" for s in said]


def survivors():
    """Processes that an attack has named, and what attacks have left outside their scratch."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if path.read_text().strip() == DAEMON:
                found.append(str(path.parent))
    return found + [str(p) for folder in ("/tmp", "/dev/shm", "/var/tmp") for p in Path(folder).glob("vosleft*")]


@contextmanager
def listener():
    """A port of TCP and UDP on this machine, and what was said to it."""
    heard, stop = [], threading.Event()
    tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp.bind(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    udp.bind(("127.0.0.1", port))
    tcp.listen()

    def listen():
        while not stop.is_set():
            for ready in select.select([tcp, udp], [], [], 0.2)[0]:
                heard.append(ready.accept()[1] if ready is tcp else ready.recv(1000))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield port, heard
    finally:
        stop.set()
        thread.join()
        tcp.close()
        udp.close()


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_everybody_gets_what_they_deserve_and_nothing_else_is_touched(lab, tmp_path, monkeypatch):
    from vos_teach.grading import sandbox
    from vos_teach.grading.classroom import Task, grade

    if sandbox.probe("bwrap"):
        pytest.skip(f"bubblewrap does not work here: {sandbox.probe('bwrap')}")
    with listener() as (port, heard):
        world = dataclasses.replace(instructors(tmp_path, lab), port=port)
        build(list(CLASS), *lab[:3], world)
        guarded = (world.submissions, world.home, *(world.course / p for p in ("hidden", "mistakes", "labs", "source")))
        before = hashes(*guarded)
        scratch = Path(tempfile.mkdtemp(prefix="h_"))  # of its own, so that other programs leave nothing there
        monkeypatch.setenv("TMPDIR", str(scratch))
        monkeypatch.setattr(tempfile, "tempdir", None)
        done = grade(Task(world.submissions, LAB, world.course, tmp_path / "run", jobs=2, sandbox="bwrap", seed=7,
                          seconds=SECONDS))
    # as they were judged: all use the course's own answers, for which the search for near-identical ones holds them all
    kept = [records.read_record(tmp_path / "run" / "records" / f"{one.student}.json") for one, _ in done.pairs]
    assert "\n".join(said for record in kept for said in unmet(CLASS[record.student], record)) == ""
    assert {one.student for one, _ in done.pairs} == set(CLASS)
    assert hashes(*guarded) == before
    assert heard == [] and survivors() == []
    left = [p.name for p in scratch.iterdir() if not p.name.startswith(("pymp-", "vt_"))]  # gone when Python ends
    assert left == []
    shutil.rmtree(scratch)
    pages = {p: p.read_text(encoding="utf-8") for p in (world.course / "feedback").rglob("*.html")}
    assert len(pages) >= len([1 for _, r in done.pairs if r.fate == "graded"])
    for path, page in pages.items():
        assert LEAK not in page, path
        assert "<script>alert" not in page and "hidden=True" not in page, path
        for name in ("modulate_oracle", "bce_oracle", "logits_and_target"):
            assert name not in page or name in text_of(path, world), path


def text_of(page, world):
    """What a student handed in: its words may be in the feedback."""
    folder = world.submissions / page.relative_to(world.course / "feedback").parts[0]
    return "".join(p.read_text(errors="replace") for p in folder.rglob("*.ipynb") if p.is_file())
