"""Near-identical answers are found; answers that are alike because the exercise is short are not."""

import inspect
import json
import re

import pytest
from classroom import ROOT, mistakes

from vos_teach.grading import similar
from vos_teach.grading.records import Cell, Prepared, Record

LOOP = '''
def finetune(parent, image, mask, loss, steps, rng, rate=5e-4):
    # first a copy, because the parent is needed again
    student = copy.deepcopy(parent)
    student.eval()
    trainable = [p for p in student.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trainable, lr=rate, betas=(0.9, 0.99))
    history = []
    for number in range(steps):
        moved, with_it = affine(image, mask, rng)
        x, y = to_tensors(moved, with_it)
        prediction = student(x.unsqueeze(0))
        value = loss(prediction, y.unsqueeze(0))
        adam.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1000.0)
        adam.step()
        history.append((number, value.item()))
    return student
'''


def notebook(stubs):
    return {"cells": [{"cell_type": "code", "id": n.replace(".", "-"), "source": text, "metadata": {
        "nbgrader": {"solution": True, "grade_id": n.replace(".", "-")}}} for n, text in stubs.items()]}


def entry(student, answers, own=""):
    cells = [Cell(f"c{i}", text, "answer", name) for i, (name, text) in enumerate(answers.items())]
    cells += [Cell("own", own, "own")] if own else []
    record = Record(student, "lab1", "", "graded", "", "", [], [], [], False, "bwrap", 1)
    return Prepared(student, "lab1", cells=cells), record


def released(lab):
    """The real lab: (release, answered), and the right and wrong answers that are known."""
    (path,) = (ROOT / "notebooks").glob(f"{lab}_*.ipynb")
    (source,) = (ROOT / "assignments" / "labs").glob(f"{lab}_*.py")
    parts = re.findall(r'# %% answer="([\w.]+)"\n(.*?)(?=\n# %%)', source.read_text(), re.S)
    known = mistakes(lab).MISTAKES
    return json.loads(path.read_text()), notebook(dict(parts)), known


def named(function, exercise):
    """A function's text, under the name of its exercise."""
    return inspect.getsource(function).replace(f"def {function.__name__}(", f"def {exercise.partition('.')[2]}(")


def test_own_names_comments_and_layout_make_no_difference():
    a = "def f(x):\n    '''Doc.'''\n    total = x.sum()  # all\n    return total / 2"
    b = "def f(y):\n\n    s = (y.sum())\n    return s/2"
    assert similar.tokens(a) == similar.tokens(b.replace("(y.sum())", "y.sum()"))
    assert similar.tokens(a) != similar.tokens(a.replace("sum()", "mean()"))
    assert similar.tokens(a, names=True) != similar.tokens(b, names=True)
    assert "total" in similar.tokens(a, names=True) and "Doc" not in " ".join(similar.tokens(a))
    assert similar.tokens("not Python, but words") == ["not", "python", ",", "but", "words"]
    assert similar.tokens("x." * 5 + "(" * 3000)  # what no parser takes


@pytest.mark.parametrize("lab", ["lab0", "lab1"])
def test_two_who_copied_are_found_and_the_right_answers_of_others_are_not(lab):
    release, answered, known = released(lab)
    right = {name: known[name]["right"] for name in known}
    class_ = [entry(f"first-{i}", {name: named(fs[i % len(fs)], name) for name, fs in right.items()}) for i in range(2)]
    class_.append(entry("untouched", similar.texts_of(release)))
    assert similar.find(class_, release, answered) == []
    name = "lab1.finetune" if lab == "lab1" else "lab0.boundary_f"
    text = LOOP if lab == "lab1" else named(right[name][0], name)
    renamed = re.sub(r"\b(student|adam|history|value|number|moved|seen|edges)\b", r"my_\1", text)
    pairs = similar.find([*class_[2:], entry("anna", {name: text}), entry("bert", {name: renamed})], release, answered)
    assert [(p.student, p.other, p.exercise) for p in pairs] == [("anna", "bert", name)]
    assert pairs[0].likeness > 0.95 and pairs[0].bits >= similar.BITS and pairs[0].left == text.strip()


def test_a_short_answer_that_everybody_writes_flags_nobody():
    release, answered, _ = released("lab1")
    line = "def modulate(features, gamma, beta):\n    return gamma[..., None, None] * features + beta"
    for n in (2, 30):
        assert similar.find([entry(f"s{i}", {"lab1.modulate": line}) for i in range(n)], release, answered) == []


def test_what_half_of_a_class_writes_is_common():
    release, answered, _ = released("lab1")
    class_ = [entry(f"s{i}", {"lab1.finetune": LOOP}) for i in range(40)]
    assert similar.find(class_, release, answered) == []  # from a tutorial: not two who copied from each other
    assert len(similar.find(class_[:2], release, answered)) == 1


def test_the_librarys_text_and_the_courses_answer_are_recognised():
    from vos_teach.ops.adapt import online_targets

    release, answered, _ = released("lab1")
    copied = inspect.getsource(online_targets)
    reference = similar.texts_of(answered)["lab1.mask_gaussian"]
    pairs = similar.find([entry("a", {"lab1.online_targets": copied}), entry("b", {"lab1.mask_gaussian": reference}),
                          entry("c", {"lab1.finetune": LOOP})], release, answered)
    assert {(p.student, p.other, p.exercise) for p in pairs} == {
        ("a", "the library", "lab1.online_targets"), ("b", "the course's answer", "lab1.mask_gaussian")}


def test_who_follows_the_hints_to_the_letter_has_not_copied():
    release, answered, _ = released("lab1")
    for name in ("lab1.balanced_bce", "lab1.finetune", "lab1.modulate"):  # their last hints are nearly the answer
        assert similar.find([entry("a", {name: similar.texts_of(answered)[name]})], release, answered) == []


def test_own_cells_and_words_count_too():
    release = notebook({"lab1.reflection": "Your answer here"})
    words = ("For the mice I take OSVOS, since nobody waits there and the nights are long; my J of 0.87 was 0.12 above "
             "OSMN's on the hard clip. On the phone it is the other way round, and I measured 4 seconds before the "
             "first frame, which no caller would forgive. I trust neither of them with twins.")
    class_ = [entry(s, {"lab1.reflection": words + s}, own=LOOP.replace("finetune", "helper")) for s in "ab"]
    assert {p.exercise for p in similar.find(class_, release, release)} == {"lab1.reflection", similar.OWN}


def test_flags_name_the_other_and_leave_the_records_as_they_are():
    release, answered, _ = released("lab1")
    class_ = [entry("anna", {"lab1.finetune": LOOP}), entry("bert", {"lab1.finetune": LOOP}), entry("carl", {})]
    pairs = similar.find(class_, release, answered)
    held = similar.flagged(class_, pairs)
    assert [record.held for _, record in held] == [True, True, False]
    assert "like bert" in held[0][1].flags[0] and "like anna" in held[1][1].flags[0]
    assert not any(record.held or record.flags for _, record in class_)
