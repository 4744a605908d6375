"""Files that are no notebooks, notebooks full of rubbish, and outputs that could act: no harm, and a reason."""

import base64
import json
import os
import sys
import time

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prepare_tools import answered, answers, at, handed, released, wanted

from vos_teach.grading import harmless, travelled
from vos_teach.grading.prepare import prepare

STEM = "lab1_online_learning"


@pytest.mark.parametrize(("data", "why"), [
    (b"", "empty"), (b" \n\n", "empty"), (b"\0" * 100, "empty"), (b"{", "no JSON"), (b"hello", "no JSON"),
    (b"null", "no notebook"), (b"[1, 2]", "no notebook"), (b'{"cells": {"a": 1}}', "no list of cells"),
    (b'{"nbformat": 4}', "no list of cells"), (b"[" * 200_000, "nested too deep"), (b"%PDF-1.7", "a PDF"),
    (b"PK\x03\x04....", "zip"), (b"<!DOCTYPE html>", "web page"), (os.urandom(1000).replace(b"{", b"x"), "no JSON"),
    (b'{"cells": ' + b"1" * 10_000 + b"}", "no list of cells"),
])
def test_unreadable_files(tmp_path, data, why):
    done = handed(tmp_path, data)
    assert done.fate == "unreadable" and why in done.reason and done.notebook is None and done.flags
    assert STEM in done.reason


def test_half_a_notebook(tmp_path):
    text = json.dumps(answered())
    done = handed(tmp_path, text[: len(text) // 2])
    assert done.fate == "unreadable" and "cut short" in done.reason


def test_too_large_is_not_even_read(tmp_path):
    path = tmp_path / f"{STEM}.ipynb"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # a sparse terabyte
    start = time.monotonic()
    done = prepare("s", [path], released(), "lab1")
    assert done.fate == "unreadable" and "too large" in done.reason and time.monotonic() - start < 10
    done = handed(tmp_path, answered(), max_bytes=1000)
    assert done.fate == "unreadable" and "too large" in done.reason


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes as Unix has them")
def test_links_pipes_and_folders_are_refused(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_text(json.dumps(answered()))
    (tmp_path / "s").mkdir()
    link, pipe, folder, none = (tmp_path / "s" / f"{n}.ipynb" for n in "abcd")
    os.symlink(secret, link)
    os.mkfifo(pipe)
    folder.mkdir()
    for path, why in ((link, "link"), (pipe, "no plain file"), (folder, "no plain file"), (none, "cannot be read")):
        done = prepare("s", [path], released(), "lab1")
        assert done.fate == "unreadable" and why in done.reason and done.flags, path
    device = prepare("s", [os.devnull and tmp_path / "x.ipynb"], released(), "lab1")
    assert device.fate == "unreadable"


def test_nothing_or_something_else(tmp_path):
    assert prepare("s", [], released(), "lab1").fate == "no notebook"
    done = handed(tmp_path, b"PK", names=["lab1.zip"])
    assert done.fate == "no notebook" and "unpack" in done.reason
    done = handed(tmp_path, "# My notes", names=["README.md"])
    assert done.fate == "no notebook" and done.flags == []


def test_another_lab(tmp_path):
    done = handed(tmp_path, answered("lab0"))
    assert done.fate == "wrong lab" and "lab0" in done.reason and done.notebook is None
    done = handed(tmp_path, travelled.colab(answered("lab0")))
    assert done.fate == "wrong lab"
    both = answered()
    both["cells"] += answered("lab0")["cells"]
    done = handed(tmp_path, both)
    assert done.fate == "graded" and answers(done) == wanted()


def test_of_two_notebooks_the_one_with_the_work_counts(tmp_path):
    for pair in ((answered(), released()), (released(), answered()), (b"rubbish", answered()),
                 (answered("lab0"), answered()), (answered(), b"rubbish")):
        done = handed(tmp_path, *pair)
        assert done.fate == "graded" and answers(done) == wanted() and done.flags
    done = handed(tmp_path, answered(), "# a module beside it", names=[f"{STEM}.ipynb", "helper.py"])
    assert done.flags == [] and answers(done) == wanted()


@pytest.mark.parametrize("cell", [
    None, 3, "x", [], {}, {"cell_type": "code"}, {"cell_type": 3, "source": 4},
    {"cell_type": "code", "source": {"a": 1}},
    {"cell_type": ["code"], "source": ["a", 3, None, "b"], "metadata": 7, "outputs": {"a": 1}, "id": 5},
    {"cell_type": "code", "source": "x = 1", "metadata": {"nbgrader": [1]}, "outputs": [None, 3, {"output_type": []}]},
    {"cell_type": "code", "source": "x = 1", "outputs": [{"output_type": "stream", "text": 3},
                                                         {"output_type": "display_data", "data": [1]},
                                                         {"output_type": "error", "traceback": "x"}]},
    {"cell_type": "markdown", "source": "x", "attachments": {"../../a.png": {"image/png": "YQ=="}, "b": 3}},
    {"cell_type": "code", "source": "a\x00b\ud800", "metadata": {"nbgrader": {"grade_id": {"x": 1}}}},
    {"cell_type": "code", "source": "x = 1", "id": "setup", "metadata": {"nbgrader": {"grade_id": "lab1-none"}}},
])
def test_rubbish_among_the_cells(tmp_path, cell):
    notebook = answered()
    notebook["cells"].insert(5, cell)
    done = handed(tmp_path, notebook)
    assert done.fate == "graded" and answers(done) == wanted()
    nbformat.validate(nbformat.from_dict(done.notebook))
    json.dumps(done.notebook).encode()


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
                        st.sampled_from(["cells", "cell_type", "source", "metadata", "outputs", "id", "nbgrader",
                                         "worksheets", "data", "output_type", "text"]) | st.text(max_size=5), inner,
                        max_size=5), max_leaves=30)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(JSON, st.lists(JSON, max_size=4))
def test_no_json_raises(tmp_path_factory, whole, cells):
    folder = tmp_path_factory.mktemp("x")
    for value in (whole, {"cells": cells}, {"worksheets": [{"cells": cells}]}):
        done = handed(folder, json.dumps(value))
        assert done.fate in ("graded", "unreadable")
        json.dumps(done.notebook, ensure_ascii=False).encode()


def test_thousands_of_cells_and_deep_outputs(tmp_path):
    notebook = answered()
    deep = json.loads("[" * 500 + "]" * 500)
    notebook["cells"][at(notebook, "lab1-modulate")]["outputs"] = [
        {"output_type": "display_data", "metadata": {}, "data": {"application/json": deep, "text/plain": "kept"}}]
    notebook["cells"] += [travelled.code(f"x{i} = {i}", f"i{i}") for i in range(3000)]
    start = time.monotonic()
    done = handed(tmp_path, notebook)
    assert answers(done) == wanted() and time.monotonic() - start < 60
    cell = next(c for c in done.notebook["cells"] if c["id"] == "lab1-modulate")
    assert cell["outputs"] == [{"output_type": "display_data", "metadata": {}, "data": {"text/plain": "kept"}}]


# ---- outputs and texts: nothing in them can act

PNG = base64.b64encode(b"\x89PNG....").decode()
BAD = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<iframe src='//e.com'></iframe>",
       "<svg onload=alert(1)>", "<a href='javascript:alert(1)'>x</a>", "<style>*{display:none}</style>",
       "<form action='//e.com'><input></form>", "<object data='x'></object>", "<body onload=alert(1)>",
       "<scr<script>ipt>alert(1)</script>", "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
       "<td style='background:url(//e.com)'>x</td>", "<meta http-equiv=refresh content='0;url=//e.com'>"]


def acts(page):
    """Tags and attributes that could act in a page, found by an HTML parser of Python's own."""
    from html.parser import HTMLParser

    found = []

    class Look(HTMLParser):
        def handle_starttag(self, tag, attrs):
            for name, value in attrs:
                value = "".join((value or "").split()).lower()
                scheme = value.startswith(("javascript:", "vbscript:", "data:text"))
                if scheme or name.startswith("on") or name == "style":
                    found.append((tag, name, value))
            if tag in ("script", "iframe", "object", "embed", "form", "style", "meta", "link", "base", "svg", "math"):
                found.append(tag)
            if tag == "img" and not dict(attrs).get("src", "").startswith("data:image/"):
                found.append((tag, attrs))

        handle_startendtag = handle_starttag

    Look(convert_charrefs=True).feed(page)
    return found


@pytest.mark.parametrize("bad", BAD)
def test_what_could_act_is_taken_out_of_outputs(bad):
    shown = harmless.output({"output_type": "display_data", "metadata": {"image/png": {"width": '1" onload="x'}},
                             "data": {
        "text/html": f"<table><tr><td>kept</td></tr></table>{bad}", "text/plain": bad,
        "application/javascript": "alert(1)", "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}})
    assert set(shown["data"]) == {"text/html", "text/plain"} and shown["metadata"] == {}
    assert "kept" in shown["data"]["text/html"] and not acts(shown["data"]["text/html"])
    drawing = harmless.output({"output_type": "display_data", "data": {"image/svg+xml": f"<svg>{bad}</svg>"}})
    page = drawing["data"]["text/html"]
    assert not acts(page) and base64.b64decode(page.split("base64,")[1].split('"')[0]).decode() == f"<svg>{bad}</svg>"
    fake = harmless.output({"output_type": "display_data", "data": {"image/png": f'{PNG}" onerror="alert(1)'}})
    assert fake is None
    assert harmless.output({"output_type": "execute_result", "data": {"application/javascript": "x"}}) is None


def rendered(text):
    from nbconvert.filters import markdown2html

    return markdown2html(text)


@pytest.mark.parametrize("bad", [
    *BAD, "[x](javascript:alert(1))", "[x](JaVaScRiPt:alert(1))", "[x](&#106;avascript:alert(1))",
    "![x](javascript:alert(1))", "[x][r]\n\n[r]: javascript:alert(1)", "[x](java&Tab;script:alert(1))",
    "<javascript:alert(1)>", "$\\href{javascript:alert(1)}{x}$", "[x](data:text/html;base64,AAAA)",
    "```html\n<script>\n```\n\n<script>alert(1)</script>", "[x](<javascript:alert(1)>)", "[x]( vbscript:x)"])
def test_what_could_act_is_taken_out_of_texts(bad):
    assert not acts(rendered(harmless.markdown(bad)))
    assert "javascript:" not in rendered(harmless.markdown(bad)).lower().replace("#javascript:", "")


def test_ordinary_texts_are_as_they_were():
    text = ("# Title\n\nBecause **J** < 0.5 and a > b.\n\n- item `a < b`\n- [link](https://davischallenge.org) and "
            "[here](#top)\n\n$\\frac{1}{2} < 1$\n\n> quoted\n\n<b>bold</b><br>![p](attachment:p.png)\n\n| a | b |\n|"
            "---|---|")
    assert harmless.markdown(text) == text
    assert rendered(harmless.markdown("where x<y.")) == rendered("where x<y.")


def test_outputs_of_checks_go_and_large_ones_too(tmp_path):
    notebook = answered()
    out = {"output_type": "stream", "name": "stdout", "text": "Right - lab1.modulate: 99 cases passed\n"}
    for name in ("lab1-modulate", "lab1-modulate-check"):
        notebook["cells"][at(notebook, name)]["outputs"] = [out]
    big = {"output_type": "display_data", "data": {"image/png": base64.b64encode(bytes(1 << 20)).decode()}}
    notebook["cells"].insert(0, {**travelled.code("x = 1", "big"), "outputs": [big] * 12})
    notebook["cells"].insert(1, {**travelled.code("y = 1", "long"), "outputs": [{**out, "text": "z" * 10**6}]})
    done = handed(tmp_path, notebook)
    cells = {c["id"]: c for c in done.notebook["cells"]}
    assert cells["lab1-modulate"]["outputs"] == [out] and cells["lab1-modulate-check"]["outputs"] == []
    assert len(json.dumps(done.notebook)) < 4 << 20 and any("outputs were left out" in r for r in done.repairs)
    assert len(cells["own-2"]["outputs"][0]["text"]) < 21_000
