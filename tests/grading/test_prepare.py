"""What editors and students do to a notebook: every answer is found, and what happened is said."""

import copy
import json
import random

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prepare_tools import LABS, answered, answers, at, handed, plain, released, wanted

from vos_teach.grading import source, travelled
from vos_teach.grading.prepare import prepare

LAB1 = sorted(wanted("lab1"))
FULL = {name: plain(text) for name, text in wanted("lab1").items()}
CODE = [name for name in LAB1 if ".q_" not in name]


def shape(prepared, lab="lab1"):
    """The released cells' ids in the order in which they came out."""
    known = {c["id"] for c in released(lab)["cells"]}
    return [c["id"] for c in prepared.notebook["cells"] if c["id"] in known]


def assert_whole(prepared, lab="lab1"):
    """Nothing lost: all answers, all released cells in their order, locked cells and metadata as released."""
    assert prepared.fate == "graded" and prepared.missing == []
    assert answers(prepared) == wanted(lab)
    given_out = {c["id"]: c for c in released(lab)["cells"]}
    assert shape(prepared, lab) == list(given_out)
    assert prepared.notebook["metadata"] == released(lab)["metadata"]
    ids = [c["id"] for c in prepared.notebook["cells"]]
    assert len(ids) == len(set(ids))
    for cell in prepared.notebook["cells"]:
        if cell["id"] in given_out:
            assert cell["metadata"] == given_out[cell["id"]]["metadata"]
            assert cell["cell_type"] == given_out[cell["id"]]["cell_type"]
            if cell["id"].endswith("-check"):
                assert cell["source"] == "".join(given_out[cell["id"]]["source"]) and cell["outputs"] == []
    nbformat.validate(nbformat.from_dict(prepared.notebook))
    code = [c["id"] for c in prepared.notebook["cells"] if c["cell_type"] == "code"]
    assert [c.id for c in prepared.cells] == code


def jupytext(form, suffix):
    import jupytext as library

    text = library.writes(nbformat.reads(json.dumps(answered()), 4), fmt=form)
    back = json.loads(nbformat.writes(library.reads(text, fmt=form)))
    return text, back, f"lab1_online_learning{suffix}"


# ---- editors: nothing is lost, and little or nothing is said

@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("editor", ["none", "ran", "colab", "vscode", "jupytext"])
def test_editors_lose_nothing(tmp_path, lab, editor):
    notebook = answered(lab) if editor == "none" else getattr(travelled, editor)(answered(lab))
    done = handed(tmp_path, notebook, lab=lab)
    assert_whole(done, lab)
    assert done.flags == [] and [c.origin for c in done.cells if c.origin in ("own", "changed")] == []
    assert len(done.repairs) <= (1 if editor == "vscode" else 0)


@pytest.mark.parametrize(("form", "suffix"), [("py:percent", ".py"), ("py:light", ".py"), ("md", ".md"),
                                              ("md:myst", ".md"), ("Rmd", ".Rmd")])
def test_jupytext_in_all_its_forms(tmp_path, form, suffix):
    text, back, name = jupytext(form, suffix)
    done = handed(tmp_path, back)
    assert_whole(done)
    assert done.flags == [] and done.repairs == []
    done = handed(tmp_path, text, names=[name])  # the text itself, handed in
    assert_whole(done)
    assert done.flags == [] and len(done.repairs) == 1 and "jupytext" in done.repairs[0]


def test_an_older_format_without_ids(tmp_path):
    notebook = answered()
    notebook["nbformat_minor"] = 2
    for cell in notebook["cells"]:
        del cell["id"]
    assert_whole(handed(tmp_path, notebook))


def test_nbformat_3(tmp_path):
    cells = [{"cell_type": c["cell_type"], "metadata": {}, **(
        {"input": c["source"], "language": "python", "outputs": [], "prompt_number": 1, "collapsed": False}
        if c["cell_type"] == "code" else {"source": c["source"]})} for c in answered()["cells"]]
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}
    done = handed(tmp_path, old)
    assert_whole(done)
    assert "nbformat 3" in done.repairs[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"])
def test_encodings(tmp_path, encoding):
    notebook = answered()
    notebook["cells"][at(notebook, "lab1-modulate")]["source"] += "\n# für später"
    done = handed(tmp_path, json.dumps(notebook, ensure_ascii=False).encode(encoding, "xmlcharrefreplace"))
    assert done.fate == "graded" and done.missing == []
    assert answers(done)["lab1.modulate"].endswith("# für später")
    assert bool(done.repairs) == (encoding != "utf-8-sig")


def test_all_at_once_sentinels_gone_too(tmp_path):
    """Ids, metadata and sentinels gone: names and places are left."""
    notebook = travelled.colab(answered())
    for cell in notebook["cells"]:
        cell["source"] = "".join(line for line in cell["source"] if "keep this line" not in line)
    notebook["cells"] = [c for c in notebook["cells"] if c["source"]]
    done = handed(tmp_path, notebook)
    assert_whole(done)
    mine = next(c for c in done.notebook["cells"] if c["id"] == "lab1-reflection")
    assert plain(mine["source"]) == plain("".join(c["source"] for c in answered()["cells"] if c["id"] == mine["id"]))


# ---- copies, parts, moves

@pytest.mark.parametrize("name", LAB1)
def test_a_copy_of_the_stub_before_or_after_counts_for_nothing(tmp_path, name):
    full, stub = answered(), released()
    where = at(full, name.replace(".", "-"))
    for place in (where, where + 1):
        notebook = copy.deepcopy(full)
        notebook["cells"].insert(place, copy.deepcopy(stub["cells"][at(stub, name.replace(".", "-"))]))
        done = handed(tmp_path, notebook)
        assert_whole(done)
        assert done.flags == [] and any(name in said and "2 times" in said for said in done.repairs)


def test_of_two_attempts_the_last_counts_and_a_human_is_told(tmp_path):
    notebook = answered()
    where = at(notebook, "lab1-modulate")
    again = copy.deepcopy(notebook["cells"][where])
    again["source"] = source.sentinel("lab1.modulate") + "\ndef modulate(features, gamma, beta):\n    return features"
    notebook["cells"].insert(where + 1, again)
    done = handed(tmp_path, notebook)
    assert answers(done)["lab1.modulate"] == plain(again["source"])
    assert [flag for flag in done.flags if "lab1.modulate" in flag]
    order = [c.source for c in done.cells]
    assert order.index(notebook["cells"][where]["source"]) < order.index(again["source"])


@pytest.mark.parametrize("new_id", [True, False])
@pytest.mark.parametrize("sentinel_first", [True, False])
def test_a_split_answer(tmp_path, new_id, sentinel_first):
    """JupyterLab's split: both parts have the same metadata."""
    notebook = answered()
    where = at(notebook, "lab1-modulate")
    helper = "def spread(x):\n    return x[..., None, None]"
    main = "def modulate(features, gamma, beta):\n    return spread(gamma) * features + beta"
    one, two = copy.deepcopy(notebook["cells"][where]), copy.deepcopy(notebook["cells"][where])
    line = source.sentinel("lab1.modulate") + "\n"
    one["source"], two["source"] = (line + helper, main) if sentinel_first else (helper, line + main)
    if new_id:
        two["id"] = "f00"
    notebook["cells"][where : where + 1] = [one, two]
    done = handed(tmp_path, notebook)
    assert answers(done) == {**FULL, "lab1.modulate": main} and done.missing == [] == done.flags
    sources = [c.source for c in done.cells]
    assert [c.origin for c in done.cells if helper in c.source] == ["own"]
    mine = next(s for s in sources if "def spread" in s)
    assert sources.index(mine) < next(i for i, c in enumerate(done.cells) if c.exercise == "lab1.modulate")


def test_checks_and_other_cells_deleted(tmp_path):
    notebook = answered()
    notebook["cells"] = [c for c in notebook["cells"] if not c["id"].endswith("-check") and c["id"][:5] != "code-"]
    done = handed(tmp_path, notebook)
    assert_whole(done)
    assert any("check cells were missing" in said for said in done.repairs) and done.flags == []


@pytest.mark.parametrize("name", LAB1)
def test_an_answer_deleted(tmp_path, name):
    done = handed(tmp_path, travelled.without(answered(), name.replace(".", "-")))
    assert done.missing == [name] and shape(done) == [c["id"] for c in released()["cells"]]
    stub = {c["id"]: plain("".join(c["source"])) for c in released()["cells"]}[name.replace(".", "-")]
    assert answers(done) == {**FULL, name: stub}
    assert [said for said in done.repairs if name in said]


@pytest.mark.parametrize("name", CODE)
def test_an_answer_in_a_cell_of_ones_own(tmp_path, name):
    """The cell is gone, and a new one without any mark defines the function: also if it stands at the very end."""
    for where in ("before", "end"):
        notebook = travelled.without(answered(), name.replace(".", "-"))
        text = wanted()[name]
        place = at(notebook, f"{name.replace('.', '-')}-check") if where == "before" else len(notebook["cells"])
        notebook["cells"].insert(place, travelled.code(text, "mine"))
        done = handed(tmp_path, notebook)
        assert answers(done) == FULL and done.missing == [] == done.flags


def test_all_answers_in_one_cell(tmp_path):
    text = "\n\n".join(f"{source.sentinel(name)}\n{wanted()[name]}" for name in CODE)
    notebook = travelled.without(answered(), *(n.replace(".", "-") for n in CODE))
    notebook = travelled.inserted(notebook, f"{CODE[0].replace('.', '-')}-check", text)
    done = handed(tmp_path, notebook)
    assert sorted(done.missing) == CODE and done.flags == []
    assert [c.origin for c in done.cells if c.source == text] == ["own"]


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_retyped_cells(tmp_path, kind):
    notebook = answered()
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader") and cell["cell_type"] == "code":
            cell["cell_type"] = kind
            del cell["outputs"], cell["execution_count"]
        elif cell["id"] == "lab1-reflection":
            cell |= {"cell_type": "code", "outputs": [], "execution_count": None}
    done = handed(tmp_path, notebook)
    assert_whole(done)
    assert sum("is code again" in said for said in done.repairs) == len(FULL)


def test_ids_and_grade_ids_exchanged(tmp_path):
    notebook = answered()
    a, b = (notebook["cells"][at(notebook, f"lab1-{n}")] for n in ("modulate", "mask_gaussian"))
    a["metadata"], b["metadata"], a["id"], b["id"] = b["metadata"], a["metadata"], b["id"], a["id"]
    done = handed(tmp_path, notebook)
    assert_whole(done)
    assert sum("carried the grade_id" in said for said in done.repairs) == 2


def test_grade_id_of_an_exercise_on_an_own_cell(tmp_path):
    """An own cell under a graded cell's name does not take its place."""
    notebook = answered()
    about = notebook["cells"][at(notebook, "lab1-modulate")]["metadata"]
    notebook["cells"].append({**travelled.code("print('hello')", "x"), "metadata": about})
    done = handed(tmp_path, notebook)
    assert answers(done) == FULL


def test_changed_checks(tmp_path):
    notebook = answered()
    check = notebook["cells"][at(notebook, "lab1-modulate-check")]
    check["source"] = "print('Right - lab1.modulate: 10 cases passed')"
    other = notebook["cells"][at(notebook, "lab1-mask_gaussian-check")]
    other["source"] = "extra = 3\n" + other["source"]
    done = handed(tmp_path, notebook)
    assert_whole(done)
    assert sum("was changed and is restored" in said for said in done.repairs) == 2
    assert [c.source for c in done.cells if c.origin == "own"] == ["extra = 3"]


def test_an_answer_written_into_the_check_cell(tmp_path):
    stub = "".join(released()["cells"][at(released(), "lab1-modulate")]["source"])
    notebook = travelled.filled(answered(), {"lab1-modulate": stub})
    check = notebook["cells"][at(notebook, "lab1-modulate-check")]
    check["source"] = wanted()["lab1.modulate"] + "\n" + check["source"]
    done = handed(tmp_path, notebook)
    between = [c for c in done.cells if c.id.startswith("own")]
    assert [plain(c.source) for c in between] == [FULL["lab1.modulate"]]
    ids = [c.id for c in done.cells]
    assert ids.index("lab1-modulate") < ids.index(between[0].id) < ids.index("lab1-modulate-check")


def test_reversed_and_shuffled(tmp_path):
    """Any order comes out as released; what stood before an answer that needs it still stands before its check."""
    helper = travelled.code("def spread(x):\n    return x[..., None, None]", "helper")
    notebook = travelled.filled(answered(), {
        "lab1-modulate": f"{source.sentinel('lab1.modulate')}\ndef modulate(features, gamma, beta):\n"
                         "    return spread(gamma) * features + beta"})
    where = at(notebook, "lab1-modulate")
    answer = notebook["cells"].pop(where)
    notebook["cells"] += [helper, answer]  # both moved to the end, far behind the check
    done = handed(tmp_path, notebook)
    ids = [c.id for c in done.cells]
    mine = next(c.id for c in done.cells if "def spread" in c.source)
    assert ids.index(mine) < ids.index("lab1-modulate") < ids.index("lab1-modulate-check")
    for seed in range(3):
        mixed = answered()
        random.Random(seed).shuffle(mixed["cells"])
        done = handed(tmp_path, mixed)
        assert_whole(done)
        assert any("another order" in said for said in done.repairs)


def test_own_cells_stay_in_their_place(tmp_path):
    notebook = answered()
    notebook["cells"].insert(at(notebook, "lab1-modulate"), travelled.code("before = 1", "z1"))
    notebook["cells"].insert(at(notebook, "lab1-modulate-check") + 1, travelled.code("after = 1", "z2"))
    notebook["cells"].insert(0, travelled.code("first = 1", "z3"))
    done = handed(tmp_path, notebook)
    assert_whole(done)
    told = [(c.source, c.origin) for c in done.cells]
    near = [i for i, c in enumerate(done.cells) if c.id in ("lab1-modulate", "lab1-modulate-check")]
    assert told[near[0] - 1] == ("before = 1", "own") and told[near[1] + 1] == ("after = 1", "own")
    assert told[0] == ("first = 1", "own") and done.repairs == []


def test_a_changed_released_cell_keeps_the_change(tmp_path):
    for strip in (False, True):
        notebook = answered()
        cell = next(c for c in notebook["cells"] if c["cell_type"] == "code" and c["id"].startswith("code-")
                    and len(c["source"]) > 200)
        cell["source"] += "\nmine = 3"
        done = handed(tmp_path, travelled.colab(notebook) if strip else notebook)
        assert_whole(done)
        assert [c.id for c in done.cells if c.origin == "changed"] == [cell["id"]]
        assert next(c for c in done.cells if c.id == cell["id"]).source == cell["source"]
        assert [c for c in done.cells if c.origin == "own"] == []


def test_quiz_and_text_answers(tmp_path):
    notebook = travelled.filled(released(), {"lab1-q_limits": f"{source.sentinel('lab1.q_limits')}\nq_limits = 'c'",
                                             "lab1-reflection": "My own thoughts, without the line."})
    done = handed(tmp_path, notebook)
    assert answers(done)["lab1.q_limits"] == "q_limits = 'c'"
    text = next(c for c in done.notebook["cells"] if c["id"] == "lab1-reflection")
    assert text["source"] == "My own thoughts, without the line."


def test_what_is_no_python_is_still_the_answer(tmp_path):
    broken = f"{source.sentinel('lab1.modulate')}\ndef modulate(features:\n    return ("
    for editor in (lambda n: n, travelled.colab):
        done = handed(tmp_path, editor(travelled.filled(answered(), {"lab1-modulate": broken})))
        assert answers(done) == {**FULL, "lab1.modulate": plain(broken)} and done.missing == []


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_mixture_of_harms_loses_no_answer(tmp_path_factory, data):
    """Shuffles, lost ids, lost metadata, copies, own cells: as long as sentinel or name is there, so is the answer."""
    notebook, draw = answered(), data.draw
    cells = notebook["cells"]
    for cell in cells:
        harm = draw(st.sampled_from(["none", "no id", "no metadata", "neither"]))
        if harm in ("no id", "neither"):
            cell["id"] = f"r{draw(st.integers(0, 10**6))}"
        if harm in ("no metadata", "neither"):
            cell["metadata"] = {}
    for _ in range(draw(st.integers(0, 3))):
        cells.insert(draw(st.integers(0, len(cells))), copy.deepcopy(draw(st.sampled_from(cells))))
    for n in range(draw(st.integers(0, 3))):
        cells.insert(draw(st.integers(0, len(cells))), travelled.code(f"own_{n} = {n}", f"own{n}"))
    if draw(st.booleans()):
        random.Random(draw(st.integers(0, 99))).shuffle(cells)
    done = handed(tmp_path_factory.mktemp("x"), notebook)
    assert answers(done) == FULL and done.missing == []
    assert shape(done) == [c["id"] for c in released()["cells"]]
    again = prepare("somebody", [], released(), "lab1")
    assert again.fate == "no notebook"


def test_the_same_files_give_the_same(tmp_path):
    one, two = (handed(tmp_path, travelled.colab(answered())) for _ in range(2))
    assert one == two and one.digest
    assert handed(tmp_path, travelled.vscode(answered())).digest != one.digest
