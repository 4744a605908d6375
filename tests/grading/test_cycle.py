"""The whole of nbgrader's cycle, by its plain commands: who gets which marks."""

import copy
import csv
from contextlib import suppress

import pytest
from classroom import Course, filled, mistakes, pasted, resaved, skeleton

from vos_teach.grading import build as labs
from vos_teach.lab import CheckFailed, check

PROJECT = labs.find_root()
ALL = [path.stem.partition("_")[0] for path in labs.sources(PROJECT)]


def graded(course, submissions):
    """Grade these notebooks (student -> notebook): student -> exercise -> mark."""
    for student, notebook in submissions.items():
        course.submit(student, notebook)
    course("autograde", course.lab)
    return course.marks()


def lost(course, marks):
    """The exercises that have not full marks, of those that a machine grades."""
    return {name for name, points in course.points(manual=False).items() if marks[name] != points}


def hard_coded(lab):
    """For each exercise a mistake that stands its public cases, and only those."""
    found = {}
    for name, known in mistakes(lab).MISTAKES.items():
        for function, _ in reversed(known["wrong"]):  # they come last, as a rule
            with suppress(CheckFailed):
                check(name, function)
                found[name] = function
                break
    return found


def standard(course):
    """Reference, untouched, public cases only, resaved by another editor, a student who reuses names."""
    full = course.reference()
    shadowed = copy.deepcopy(full)
    shadowed["cells"].insert(1 + next(i for i, c in enumerate(shadowed["cells"]) if c["id"] == "setup"), {
        "cell_type": "code", "id": "own", "metadata": {}, "outputs": [], "execution_count": None,
        "source": "import sys, warnings\ncheck = hint = 'mine'\nwarnings.warn('loud')\nprint(1, file=sys.stderr)"})
    return {
        "reference": full, "untouched": course.released(), "resaved": resaved(full), "shadowed": shadowed,
        "public": filled(full, dict(pasted(name, f) for name, f in hard_coded(course.lab).items())),
    }


def assert_standard(course, marks):
    exercises = set(mistakes(course.lab).MISTAKES)
    machine = set(course.points(manual=False))
    assert set(hard_coded(course.lab)) == exercises
    assert exercises <= machine and machine - exercises == {n for n in machine if ".q_" in n}
    assert marks["reference"] == course.points()
    assert marks["resaved"] == marks["shadowed"] == marks["reference"]
    assert set(marks["untouched"].values()) == {0} and set(marks["untouched"]) == set(course.points())
    assert lost(course, marks["public"]) == exercises  # the quiz is not affected


@pytest.mark.slow
def test_marks_of_lab_0s_exercises(tmp_path):
    course = Course(tmp_path / "assignments", "lab0", skeleton("lab0"))
    course("generate_assignment", "lab0", "--force")
    known = mistakes("lab0").MISTAKES
    first, *_, last = list(known)
    wrong = {f"wrong-{name}": filled(course.reference(), dict([pasted(name, known[name]["wrong"][0][0])]))
             for name in (first, last)}
    marks = graded(course, {**standard(course), **wrong})
    assert_standard(course, marks)
    for name in (first, last):
        assert lost(course, marks[f"wrong-{name}"]) == {name}
    course("generate_feedback", "lab0")
    course("export", "--to", "marks.csv")
    with open(course.folder / "marks.csv", newline="") as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores["reference"] == sum(course.points(manual=False).values()) and scores["untouched"] == 0
    page = (course.folder / "feedback" / "public" / "lab0" / f"{course.stem}.html").read_text()
    assert "Not right yet" in page and "SOLUTION" not in page
    said = course("validate", str(course.folder / "release" / "lab0" / f"{course.stem}.ipynb"))
    assert "VALIDATION FAILED ON" in said and "Not attempted - lab0." in said


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("lab", ALL)
def test_each_mistake_loses_exactly_its_exercise(tmp_path, lab):
    course = Course(tmp_path / "assignments", lab, skeleton(lab))
    course("generate_assignment", lab, "--force")
    full = course.reference()
    submissions, expected = standard(course), {}
    for name, known in mistakes(lab).MISTAKES.items():
        for function in [f for f, _ in known["wrong"]] + known["right"]:
            student = f"{name.replace('.', '-')}-{function.__name__}"
            submissions[student] = filled(full, dict([pasted(name, function)]))
            expected[student] = set() if function in known["right"] else {name}
    marks = graded(course, submissions)
    assert_standard(course, marks)
    assert {student: lost(course, marks[student]) for student in expected} == expected


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("lab", ALL)
def test_marks_of_whole_labs(tmp_path, lab):
    course = Course(tmp_path / "assignments", lab)
    course("generate_assignment", lab, "--force")
    assert_standard(course, graded(course, standard(course)))
