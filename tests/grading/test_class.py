"""A class graded on processes of this machine: kept, gone on with, changed, interrupted; by whatever it is run."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from classroom import Course, filled, mistakes, pasted, skeleton
from fake_box import Box

from vos_teach.errors import VosError
from vos_teach.grading import classroom, folder, pool, source
from vos_teach.grading.judge import Asked, judge
from vos_teach.grading.records import Mark, Prepared, Record, prepared_from, read_record, write

KILLED = ("forkserver", "zygote")  # in the command lines of workers and their server, and of warm interpreters
EXERCISES = ("lab0.recall", "lab0.decay", "lab0.q_decay", "lab0.reflection")


def small():
    """Lab 0, cut down to its two smallest exercises, a question and the reflection."""
    parts = skeleton("lab0").split("\n# %%")
    kept = [p for p in parts if p.startswith("# %% setup") or p.startswith(" setup")
            or any(f'="{name}"' in p.partition("\n")[0] for name in EXERCISES)]
    return "\n# %%".join(kept)


def released(made):
    """What nbgrader's generate_assignment makes of these few cells, in a moment instead of many seconds."""
    notebook = json.loads(json.dumps(made.answered))
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            text = re.sub(rf"([ \t]*){source.BEGIN}.*?{source.END}", r"\1raise NotAttempted", "".join(cell["source"]),
                          flags=re.S)
            cell["source"] = text.replace("\nraise NotAttempted", '\nq_decay = ""')
    path = made.folder / "release" / "lab0" / f"{made.stem}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(notebook))


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course, and a class of seven: right, untouched, wrong by the known mistakes, broken."""
    made = Course(tmp_path_factory.mktemp("course") / "assignments", "lab0", "# %%" + small().removeprefix("# %%"))
    released(made)
    full = made.reference()
    made.submit("right", full)
    made.submit("untouched", made.released())
    known = mistakes("lab0").MISTAKES
    for name in ("lab0.recall", "lab0.decay"):
        for i, (function, _) in enumerate(known[name]["wrong"][:2]):
            made.submit(f"wrong-{name[5:]}-{i}", filled(full, dict([pasted(name, function)])))
    bad = made.folder / "submitted" / "broken" / "lab0"
    bad.mkdir(parents=True)
    (bad / f"{made.stem}.ipynb").write_text("{")
    return made


def task(made, out, **more):
    return classroom.Task(**{"submissions": made.folder / "submitted", "lab": "lab0", "course": made.folder,
                             "out": Path(out), "sandbox": "none", "seed": 3, "save": False, **more})


def command(course, out, *more):
    return [sys.executable, "-m", "vos_teach.cli", "grade", str(course.folder / "submitted"), "--lab", "lab0",
            "--course", str(course.folder), "--out", str(out), "--sandbox", "none", "--seed", "3", "--no-save", *more]


def scores(out):
    """student -> what two runs must agree on, byte for byte."""
    paths = sorted((Path(out) / "records").glob("*.json"))
    return {path.stem: json.dumps(read_record(path).scores()) for path in paths}


def inline(jobs, *_):
    """`pool.local`, in this process and without any sandbox."""
    for i, job in enumerate(jobs):
        try:
            record = judge(prepared_from(job["prepared"]), Box(), job["seed"], Path(job["hidden"]),
                           [Asked(**part) for part in job["parts"]], job["key"])
        except VosError as error:
            yield i, {pool.ERROR: str(error)}
            continue
        record.inputs = job["inputs"]
        yield i, asdict(record)


@pytest.fixture(scope="module")
def undisturbed(course, tmp_path_factory):
    """A run in one go, in the order of names."""
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "local", inline)
        return classroom.grade(task(course, out), lambda _: None), out


@pytest.mark.slow
def test_processes_and_sandbox_give_the_same_marks(course, undisturbed, tmp_path):
    done = classroom.grade(task(course, tmp_path, jobs=2), lambda _: None)
    assert scores(tmp_path) == scores(undisturbed[1])
    assert all(r.limits["cpu"] == 60 and r.limits["memory"] == 3 << 30 for _, r in done.pairs if r.fate == "graded")
    assert all(m.peak > 0 for _, r in done.pairs for m in r.marks if m.outcome == "right" and ".q_" not in m.exercise)
    assert not Path((tmp_path / ".scratch").read_text()).exists()


def test_each_gets_its_marks(course, undisturbed):
    done, out = undisturbed
    records = {prepared.student: record for prepared, record in done.pairs}
    marks = {name: {m.exercise: m.outcome for m in r.marks} for name, r in records.items()}
    assert list(marks) == sorted(p.name for p in (course.folder / "submitted").iterdir())
    right = dict.fromkeys(EXERCISES, "right") | {"lab0.reflection": "by hand"}
    assert marks["right"] == right and list(marks["right"]) == list(EXERCISES), "in the release's order"
    assert set(marks["untouched"].values()) == {"not attempted", "by hand"}
    for name in ("recall", "decay"):
        for i in range(2):
            assert marks[f"wrong-{name}-{i}"] == right | {f"lab0.{name}": "wrong"}
    assert records["broken"].fate == "unreadable" and records["broken"].held
    assert {m.reason != "" and m.said != "" for r in records.values() for m in r.marks} == {True}
    assert {r.seed for r in records.values()} == {3} and {r.sandbox for r in records.values()} == {"none"}
    assert (out / "reference.json").is_file() and (out / "report.html").is_file()
    assert json.loads((out / "changes.json").read_text()) == []


def test_a_second_call_judges_nothing_and_a_change_only_what_changed(course, undisturbed, monkeypatch):
    def none(*_):
        raise AssertionError("nothing is to be judged")

    done, out = undisturbed
    before = {p.name: p.stat().st_mtime_ns for p in (out / "records").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(pool, "local", none)
        again = classroom.grade(task(course, out, seed=None), lambda _: None)
    assert again.kept == len(done.pairs) and again.seed == 3
    assert {p.name: p.stat().st_mtime_ns for p in (out / "records").iterdir()} == before

    path = course.folder / "submitted" / "wrong-recall-0" / "lab0" / f"{course.stem}.ipynb"
    old = path.read_bytes()
    try:
        path.write_bytes((course.folder / "submitted" / "right" / "lab0" / path.name).read_bytes())
        judged = []
        monkeypatch.setattr(pool, "local", lambda jobs, *_: (judged.extend(j["prepared"]["student"] for j in jobs),
                                                             inline(jobs))[1])
        changed = classroom.grade(task(course, out), lambda _: None)
        assert judged == ["wrong-recall-0"]
        (change,) = changed.changes
        assert (change["student"], change["exercise"]) == ("wrong-recall-0", "lab0.recall")
        assert change["old"][:2] == [0, "wrong"] and change["new"][:2] == [1, "right"]
        assert change["why"] == "the submission changed"
        assert json.loads((out / "changes.json").read_text()) == changed.changes
    finally:
        path.write_bytes(old)
        classroom.grade(task(course, out), lambda _: None)


def test_corrected_hidden_cases_are_judged_again_and_broken_ones_stop_all(course, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "local", inline)
    _, out = undisturbed
    path = course.folder / "hidden" / "lab0.py"
    old = path.read_text()

    def hidden_are(text):
        path.write_text(text)
        for name in [n for n in sys.modules if n.startswith("_vos_teach_hidden_")]:
            del sys.modules[name]  # as a worker that lives on does

    assert scores(out)["wrong-recall-1"]
    try:
        broken = 'Case("broken", lambda rng: [([1.0],)], lambda c, r: "no answer can be right"),'
        hidden_are(old.replace('"lab0.recall": (', '"lab0.recall": (\n        ' + broken, 1))
        with pytest.raises(VosError, match=r"the course's own answers lose marks.*lab0\.recall: wrong.*case 'broken'"):
            classroom.grade(task(course, tmp_path / "other"), lambda _: None)
        hidden_are(old + "\nCASES['lab0.decay'] = CASES['lab0.decay'][:1]\n")
        done = classroom.grade(task(course, out), lambda _: None)
        assert done.kept == 0 and {c["why"] for c in done.changes} <= {"the hidden cases changed"}
    finally:
        hidden_are(old)
        classroom.grade(task(course, out), lambda _: None)


@pytest.fixture
def started():
    """Start a command; whatever becomes of the test, it is ended."""
    running = []

    def start(*arguments, **more):
        running.append(subprocess.Popen(*arguments, **more))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.wait()


def family(running, words=""):
    """The processes below a running one whose command line has these words; those that end meanwhile are left out."""
    psutil = pytest.importorskip("psutil")
    found = []
    with suppress(psutil.NoSuchProcess):
        for one in psutil.Process(running.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a zombie, too
                if words in " ".join(one.cmdline()):
                    found.append(one)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_any_moment_it_goes_on_and_nothing_differs(course, undisturbed, tmp_path, started):
    """Five times the grader is killed, each time with some of its processes beside it; then it is let run."""
    psutil = pytest.importorskip("psutil")
    _, whole = undisturbed
    rng, out, ended = random.Random(7), tmp_path / "run", 0
    for _ in range(5):
        running = started(command(course, out, "--jobs", "1"), stdout=subprocess.DEVNULL)
        until, below = time.monotonic() + rng.uniform(2, 14), []
        while time.monotonic() < until and running.poll() is None:
            time.sleep(0.05)
            below = family(running) or below
        done_before = scores(out)
        if running.poll() is None:
            ended += 1
            for victim in rng.sample(below, min(2, len(below))):
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
            running.kill()
        running.wait()
        assert set(done_before) <= set(scores(out)), "what was written is there"
        _, alive = psutil.wait_procs(below, timeout=15)
        assert not alive, "nothing survives the grader"
    assert ended >= 1
    last = subprocess.run(command(course, out, "--jobs", "2"), capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    assert scores(out) == scores(whole)
    assert not list(out.rglob("*.part"))


@pytest.mark.slow
def test_a_killed_worker_is_replaced(course, undisturbed, tmp_path, started):
    """Whatever dies below a living grader, workers, their server or their sandboxes, marks are the same."""
    psutil = pytest.importorskip("psutil")
    _, whole = undisturbed
    rng, out = random.Random(8), tmp_path / "run"
    running = started(command(course, out, "--jobs", "2"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    killed = 0
    while running.poll() is None:
        time.sleep(0.3)
        if killed < 2 and scores(out) and (below := family(running, KILLED[killed])):
            with suppress(psutil.NoSuchProcess):
                rng.choice(below).kill()
            killed += 1
            time.sleep(3)
    assert running.returncode == 0 and killed, running.stdout.read()
    assert scores(out) == scores(whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_in_a_sentence(course, tmp_path, number, started):
    psutil = pytest.importorskip("psutil")
    running = started(command(course, tmp_path / "run", "--jobs", "2"), stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE, text=True, start_new_session=True,
                      preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # a shell's `&` has it ignored
    while not (tmp_path / "run" / "run.json").is_file():
        time.sleep(0.05)
    time.sleep(1)
    below = family(running)
    os.kill(running.pid, number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130 and "run the same command again to go on" in said and "Traceback" not in said
    assert not psutil.wait_procs(below, timeout=15)[1]


def test_two_graders_in_one_folder_are_refused_and_a_dead_one_keeps_no_lock(tmp_path, started):
    hold = ("import sys, time\nfrom pathlib import Path\nfrom vos_teach.grading.folder import locked\n"
            "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)")
    other = started([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(VosError, match="another grader is at work"), folder.locked(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / ".x.part").write_text("half")
    with folder.locked(tmp_path):
        assert not list((tmp_path / "records").iterdir()), "what a killed grader was just writing is swept up"


# ---- without judging

def record(student="ada", outcome="right", key="k", **inputs):
    mark = Mark("lab0.recall", 2, 2.0 * (outcome == "right"), outcome, "why", "said")
    return Record(student, "lab0", key, "graded", "", "", [mark], [], [], False, "none", 1, inputs=inputs)


def test_what_was_replaced_is_remembered_until_the_next_change(tmp_path):
    folder.keep(tmp_path, record(outcome="wrong", seed="1", release="r"))
    path = tmp_path / "records" / "ada.json"
    assert read_record(path).before == {}
    folder.keep(tmp_path, record(seed="2", release="r"))
    kept = read_record(path)
    (change,) = folder.changes([(Prepared("ada", "lab0"), kept)])
    assert change == {"student": "ada", "exercise": "lab0.recall", "old": [0, "wrong", "why"],
                      "new": [2, "right", "why"], "why": "the seed changed"}
    folder.keep(tmp_path, record(seed="3", release="r"))
    assert folder.changes([(Prepared("ada", "lab0"), read_record(path))]) == []


def test_a_damaged_record_is_judged_again(tmp_path):
    write(tmp_path / "records" / "ada.json", record())
    path = tmp_path / "records" / "ada.json"
    assert folder.record_at(path, "k") == record() and folder.record_at(path, "other") is None
    path.write_text(path.read_text()[:100])
    assert folder.record_at(path) is None and folder.record_at(tmp_path / "none.json") is None


def test_a_worker_that_dies_twice_means_held_and_tried_again():
    job = {"prepared": {"student": "ada", "lab": "lab0", "cells": []}, "seed": 1, "inputs": {},
           "parts": [{"name": "lab0.recall", "points": 2, "kind": "function"},
                     {"name": "lab0.reflection", "points": 4, "kind": "manual"}]}
    held = classroom._died(job)
    assert held.held and held.key == "" and "died 2 times" in held.reason
    assert [(m.outcome, m.score) for m in held.marks] == [("died", 0), ("by hand", None)]


def test_a_run_of_another_lab_and_a_damaged_one_are_refused(course, tmp_path):
    (tmp_path / "run.json").write_text('{"lab": "lab1", "seed": 1}')
    with pytest.raises(VosError, match="holds a run of lab1"):
        classroom.grade(task(course, tmp_path), lambda _: None)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(VosError, match="is damaged"):
        classroom.grade(task(course, tmp_path), lambda _: None)
    with pytest.raises(VosError, match="holds 0 notebooks"):
        classroom.grade(task(course, tmp_path, course=tmp_path), lambda _: None)
    with pytest.raises(VosError, match="has nothing of nobody"):
        classroom.grade(task(course, tmp_path / "new", only=["nobody"]), lambda _: None)


@pytest.mark.parametrize(("options", "said"), [
    (["--jobs", "0"], "--jobs is 0"), (["--seconds", "0"], "--seconds is 0"), (["--memory", "0.1"], "--memory is 0.1"),
    (["--students", ","], "names nobody"), (["--jobs", "2", "--scheduler", "tcp://x:1"], "are both given"),
    (["--sandbox", "tent"], "tent"), (["--lab", "lab99"], "lab99")])
def test_bad_options_are_one_sentence(tmp_path, monkeypatch, capsys, options, said):
    from vos_teach import cli

    (tmp_path / "s" / "ada").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vos-teach", "grade", "s", "--lab", "lab0", "--sandbox", "none", *options])
    with pytest.raises(SystemExit) as end:
        cli.main()
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and error.count("\n") == 1


# ---- every known answer, in the real sandbox

@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("lab", ["lab0", "lab1", "lab2", "lab3", "lab4", "lab5a", "lab5b"])
def test_every_known_answer_gets_its_mark_and_its_hint(tmp_path, lab):
    made = Course(tmp_path / "assignments", lab, skeleton(lab))
    made("generate_assignment", lab, "--force")
    full, expected, words = made.reference(), {}, {}
    for name, known in mistakes(lab).MISTAKES.items():
        for function, hint in [*known["wrong"], *((f, None) for f in known["right"])]:
            student = f"{len(expected):03d}-{name.replace('.', '-')}-{function.__name__}"[:50]  # long names are cut
            made.submit(student, filled(full, dict([pasted(name, function)])))
            expected[student] = {name} if hint is not None else set()
            words[student] = (name, hint)
    done = classroom.grade(task(made, tmp_path / "run", lab=lab, sandbox="auto"), lambda _: None)
    lost = {r.student: {m.exercise for m in r.marks if m.outcome not in ("right", "by hand")} for _, r in done.pairs}
    assert lost == expected
    for _, one in done.pairs:
        name, hint = words[one.student]
        if hint is not None:
            (mark,) = [m for m in one.marks if m.exercise == name]
            assert hint in mark.reason, (one.student, mark.reason)
