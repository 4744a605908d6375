"""Judged submissions end up in nbgrader's gradebook, feedback and tables, by its own code, and only as judged."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from classroom import Course
from prepare_tools import ROOT, answered, handed, released

from vos_teach.errors import VosError
from vos_teach.grading import records, save, travelled
from vos_teach.grading.judge import asked
from vos_teach.lab.check import hidden_cases

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
LAB = "lab1"
SECRET = "hiddencasename"


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A course with its release made and nobody graded; copied for each test."""
    folder = tmp_path_factory.mktemp("ground")
    course = Course(folder / "assignments", LAB)
    shutil.copy(ROOT / "assignments" / "source" / LAB / f"{course.stem}.ipynb",
                course.folder / "source" / LAB / f"{course.stem}.ipynb")
    with save.environment_kept():
        save.Course(course.folder, LAB).ready()
    return course


@pytest.fixture
def course(ground, tmp_path):
    shutil.copytree(ground.folder, tmp_path / "assignments")
    out = object.__new__(Course)
    out.folder, out.lab, out.stem, out.answered = tmp_path / "assignments", LAB, ground.stem, ground.answered
    return out


PARTS = asked(released(LAB))


def pair(folder, student, outcomes=None, notebook=None, fate="graded", **more):
    """(prepared, record) as the judge leaves it: everything right but `outcomes` (exercise -> Mark's fields)."""
    folder = folder / student
    folder.mkdir(parents=True, exist_ok=True)
    prepared = handed(folder, notebook or answered(LAB)) if fate == "graded" else records.Prepared(student, LAB, fate)
    prepared.student = student
    marks = []
    for part in PARTS:
        fields = {"outcome": "right", "score": part.points, "said": "right", "reason": "all cases"}
        if part.kind == "manual" and fate == "graded":
            fields = {"outcome": "by hand", "score": None, "said": "your instructor marks this"}
        if fate != "graded":
            fields = {"outcome": "not attempted", "score": 0.0, "said": f"said of {fate}"}
        fields |= (outcomes or {}).get(part.name, {})
        marks.append(records.Mark(part.name, part.points, **fields))
    record = records.Record(student, LAB, "k", fate, f"reason of {fate}", f"said of {fate}", marks, [], [], False,
                            "none", 1)
    for name, value in more.items():
        setattr(record, name, value)
    return prepared, record


def wrong(said="your function gives the wrong sign", **more):
    return {"outcome": "wrong", "score": 0.0, "said": said, "reason": "for the instructor only", **more}


def scores(pairs):
    """What the gradebook must hold, straight from the records."""
    return {record.student: {m.exercise: m.score for m in record.marks} for _, record in pairs}


def database(course):
    """All that is in the gradebook but ids and times, in order."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course.folder / 'gradebook.db'}", "vos_teach") as book:
        out = []
        for submission in book.assignment_submissions(LAB):
            for notebook in submission.notebooks:
                grades = sorted((g.name, g.auto_score, g.manual_score, g.needs_manual_grade) for g in notebook.grades)
                comments = sorted((c.name, c.auto_comment, c.manual_comment) for c in notebook.comments)
                out.append((submission.student.id, bool(notebook.flagged), grades, comments))
        return sorted(out, key=lambda row: row[0])


def test_scores_comments_and_flags(course, tmp_path):
    pairs = [
        pair(tmp_path, "ada"),
        pair(tmp_path, "bob", {"lab1.modulate": wrong(), "lab1.q_limits": wrong("too early"),
                               "lab1.finetune": {"outcome": "time-out", "score": 0.0, "said": "it took too long"}},
             flags=["cell own-1, line 3: it uses ctypes"], held=True),
        pair(tmp_path, "none_12", fate="no notebook"), pair(tmp_path, "mess", fate="unreadable", held=True),
        pair(tmp_path, "zero", fate="wrong lab", held=True),
        pair(tmp_path, "part", {"lab1.finetune": {"outcome": "wrong", "score": 2.5, "said": "half of it"}}),
        pair(tmp_path, "blank", notebook=released(LAB), outcomes={
            p.name: {"outcome": "not attempted", "score": 0.0, "said": "there is no answer yet"} for p in PARTS
            if p.kind != "manual"}),
    ]
    untouched = course.folder / "submitted" / "bob" / LAB / "x.ipynb"
    untouched.parent.mkdir(parents=True)
    untouched.write_text("as it was")
    save.save(course.folder, LAB, tmp_path / "run", pairs)
    marks = course.marks()
    want = scores(pairs)
    want["blank"]["lab1.reflection"] = 0.0  # nothing was written: nbgrader gives that 0 by itself
    assert marks == want
    assert [p.name for p in (course.folder / "submitted").rglob("*") if p.is_file()] == ["x.ipynb"]
    assert untouched.read_text() == "as it was"
    rows = {row[0]: row for row in database(course)}
    assert {name for name, row in rows.items() if row[1]} == {"bob", "mess", "zero"}
    comments = {name: dict((c[0], c[1]) for c in row[3]) for name, row in rows.items()}
    assert comments["bob"]["lab1-modulate"] == "your function gives the wrong sign"
    assert comments["bob"]["lab1-finetune"] == "it took too long" and comments["ada"]["lab1-modulate"] == "right"
    assert set(comments["none_12"].values()) == {"said of no notebook"}
    assert not any("instructor only" in str(row) for row in rows.values())
    page = (course.folder / "feedback" / "bob" / LAB / f"{course.stem}.html").read_text()
    assert "your function gives the wrong sign" in page and "Out of time - lab1.finetune" in page
    assert "for the instructor only" not in page


def test_nothing_hidden_is_in_the_feedback(course, tmp_path):
    """Not the hidden region, nor a hidden case's name, nor what the submission showed while it was judged."""
    notebook = answered(LAB)
    for cell in notebook["cells"]:
        if cell["id"] == "lab1-modulate-check":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "printed while judged"}]
    leaky = wrong(f"not right for {SECRET} of 3.14", case=SECRET, hidden=True)
    pairs = [pair(tmp_path, "ada", {"lab1.modulate": leaky}, notebook=notebook), pair(tmp_path, "eve")]
    save.save(course.folder, LAB, tmp_path / "run", pairs)
    master = (course.folder / "autograded" / "ada" / LAB / f"{course.stem}.ipynb").read_text()
    assert "HIDDEN TESTS" in master and "hidden=True" in master  # nbgrader puts it there: the test can fail
    names = {case.name for part in PARTS if part.kind == "function" for case in _hidden(part.name)}
    for student in ("ada", "eve"):
        page = (course.folder / "feedback" / student / LAB / f"{course.stem}.html").read_text()
        text = re.sub(r"<[^>]*>", "", page)
        for word in ("HIDDEN TESTS", "hidden=True", "_check", SECRET, "3.14", "printed while judged", *names):
            assert word not in page and word not in text, word
        assert "check(&quot;lab1.modulate&quot;, modulate)" in page or 'check("lab1.modulate", modulate)' in text
    # nbgrader's own command is as careful
    shutil.rmtree(course.folder / "feedback")
    course("generate_feedback", LAB)
    page = (course.folder / "feedback" / "ada" / LAB / f"{course.stem}.html").read_text()
    assert not any(word in re.sub(r"<[^>]*>", "", page) for word in ("HIDDEN TESTS", "hidden=True", SECRET, *names))
    assert "Not right yet" in page


def _hidden(name):
    os.environ.setdefault("VOS_TEACH_HIDDEN", str(ROOT / "assignments" / "hidden"))
    return hidden_cases(name)


def test_again_changes_nothing_and_a_change_only_its_student(course, tmp_path):
    pairs = [pair(tmp_path, "ada"), pair(tmp_path, "bob", {"lab1.modulate": wrong()}, held=True)]
    run = tmp_path / "run"
    save.save(course.folder, LAB, run, pairs)
    files = {p: p.stat().st_mtime_ns for step in ("autograded", "feedback") for p in (course.folder / step).rglob("*")
             if p.is_file()}
    before = database(course)
    save.save(course.folder, LAB, run, pairs)
    assert {p: p.stat().st_mtime_ns for p in files} == files and database(course) == before
    pairs[1] = pair(tmp_path, "bob")
    save.save(course.folder, LAB, run, pairs)
    assert course.marks() == scores(pairs)
    changed = {p.relative_to(course.folder).parts[1] for p in files if p.stat().st_mtime_ns != files[p]}
    assert changed == {"bob"}
    assert [row[1] for row in database(course)] == [False, False]  # our own flag goes with its reason


def test_what_humans_wrote_stays(course, tmp_path):
    from nbgrader.api import Gradebook

    pairs = [pair(tmp_path, "ada")]
    save.save(course.folder, LAB, tmp_path / "run", pairs)
    with Gradebook(f"sqlite:///{course.folder / 'gradebook.db'}", "vos_teach") as book:
        grade = book.find_grade("lab1-reflection", course.stem, LAB, "ada")
        grade.manual_score, grade.needs_manual_grade = 3.0, False
        other = book.find_grade("lab1-finetune-check", course.stem, LAB, "ada")
        other.manual_score = 4.5
        book.find_comment("lab1-modulate", course.stem, LAB, "ada").manual_comment = "well done"
        book.find_submission_notebook(course.stem, LAB, "ada").flagged = True
        book.db.commit()
    save.save(course.folder, LAB, tmp_path / "run", [pair(tmp_path, "ada", {"lab1.modulate": wrong()})])
    (row,) = database(course)
    grades = {g[0]: g for g in row[2]}
    assert grades["lab1-reflection"][2] == 3.0 and grades["lab1-finetune-check"][2] == 4.5 and row[1]
    assert grades["lab1-modulate-check"][1] == 0.0
    assert {c[0]: c[2] for c in row[3]}["lab1-modulate"] == "well done"


def test_a_gradebook_that_says_otherwise_is_noticed(course, tmp_path, monkeypatch):
    pairs = [pair(tmp_path, "ada", {"lab1.modulate": wrong()})]
    monkeypatch.setattr(save, "verdict", lambda mark: {"output_type": "stream", "name": "stdout", "text": "Right"})
    with pytest.raises(VosError, match=r"lab1\.modulate has 2\.0 instead of 0\.0"):
        save.save(course.folder, LAB, tmp_path / "run", pairs)


def test_a_lost_gradebook_is_made_again(course, tmp_path):
    pairs = [pair(tmp_path, "ada"), pair(tmp_path, "bob", {"lab1.modulate": wrong()})]
    save.save(course.folder, LAB, tmp_path / "run", pairs)
    before = database(course)
    (course.folder / "gradebook.db").unlink()
    shutil.rmtree(course.folder / "autograded" / "ada")
    save.save(course.folder, LAB, tmp_path / "run", pairs)
    assert database(course) == before


def test_a_mark_is_missing(course, tmp_path):
    prepared, record = pair(tmp_path, "ada")
    del record.marks[0]
    with pytest.raises(VosError, match=r"no mark of 'lab1\.balanced_bce'"):
        save.save(course.folder, LAB, tmp_path / "run", [(prepared, record)])


def test_an_odd_folder(ground, tmp_path):
    """Names that are patterns to glob or re."""
    folder = tmp_path / "run [1]+(a) $x"
    shutil.copytree(ground.folder, tmp_path / "course")
    save.save(tmp_path / "course", LAB, folder, [pair(tmp_path, "a.b@c-d")])


def test_killed_at_any_moment(course, tmp_path):
    """Killed four times and run again: the same gradebook as undisturbed."""
    pairs = [pair(tmp_path, f"s{i}", {"lab1.modulate": wrong()} if i % 2 else {}) for i in range(4)]
    pickled = tmp_path / "pairs"
    for prepared, record in pairs:
        records.write(pickled / f"{record.student}.p.json", prepared)
        records.write(pickled / f"{record.student}.r.json", record)
    script = ("import sys, pathlib\nfrom vos_teach.grading import records, save\nd = pathlib.Path(sys.argv[1])\n"
              "pairs = [(records.read_prepared(p), records.read_record(pathlib.Path(str(p).replace('.p.', '.r.'))))\n"
              "         for p in sorted(d.glob('*.p.json'))]\nprint('go', flush=True)\n"
              "save.save(pathlib.Path(sys.argv[2]), 'lab1', pathlib.Path(sys.argv[3]), pairs)\n")
    command = [sys.executable, "-W", "ignore", "-c", script, str(pickled), str(course.folder), str(tmp_path / "run")]
    for wait in (0.2, 0.7, 1.1, 1.6):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        process.wait()
        process.stdout.close()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert course.marks() == scores(pairs)
    after = database(course)
    shutil.rmtree(tmp_path / "run")
    (course.folder / "gradebook.db").unlink()
    save.save(course.folder, LAB, tmp_path / "run", pairs)
    assert database(course) == after


def test_tables_for_canvas_and_moodle(course, tmp_path):
    pairs = [pair(tmp_path, "loveacea_123", {"lab1.modulate": wrong("<b>wrong</b> sign")}, held=True,
                  flags=["=cmd|' /C calc'!A0", "a, \"b\""]),
             pair(tmp_path, "Bob_Ross_77", fate="no notebook")]
    run = tmp_path / "run"
    save.save(course.folder, LAB, run, pairs)
    full = sum(p.points for p in PARTS)
    machine = sum(p.points for p in PARTS if p.kind != "manual")
    course("export", "--exporter=vos_teach.grading.exporters.CanvasExport", "--to", "canvas.csv")
    course("export", "--exporter=vos_teach.grading.exporters.MoodleExport", "--to", "moodle.csv")
    for name in ("canvas", "moodle"):
        assert (course.folder / f"{name}.csv").read_bytes() == (run / f"marks_{name}.csv").read_bytes()
    rows = list(csv.reader((run / "marks_canvas.csv").open(newline="")))
    assert rows[0][:6] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "lab1"]
    # Canvas's importer passes over columns with these words in their names; others become assignments
    assert all(re.search("Current Score|Final Score", name) for name in rows[0][6:])
    assert "Points Possible" in rows[1][0] and float(rows[1][5]) == full
    ada = next(row for row in rows if row[1] == "123")
    bob = next(row for row in rows if row[1] == "77")
    assert ada[0] == "loveacea" and float(ada[5]) == machine - 2 and ada[7] == "yes" and ada[8].startswith("'=cmd")
    assert bob[0] == "Bob Ross" and float(bob[5]) == 0 and bob[6] == "no notebook: reason of no notebook"
    table = list(csv.DictReader((run / "marks_moodle.csv").open(newline="")))
    assert {"Identifier", "Grade", "Last modified (grade)", "Feedback comments"} <= set(table[0])
    ada = next(row for row in table if row["Identifier"] == "Participant 123")
    assert float(ada["Grade"]) == machine - 2 and float(ada["Maximum Grade"]) == full
    assert ada["Feedback comments"] == "lab1.modulate: 0 of 2 - &lt;b&gt;wrong&lt;/b&gt; sign"
    assert ada["Held for review"] == "yes" and 'a, "b"' in ada["Flags"]


def test_travelled_notebooks_are_saved_too(course, tmp_path):
    pairs = [pair(tmp_path, name, notebook=getattr(travelled, name)(answered(LAB)))
             for name in ("colab", "vscode", "jupytext")]
    save.save(course.folder, LAB, tmp_path / "run", pairs)
    assert course.marks() == scores(pairs)
    kept = json.loads((course.folder / "graded" / f"{LAB}.json").read_text())
    assert set(kept) == {"colab", "vscode", "jupytext"} and kept["colab"]["marks"][0]["score"] == 3
