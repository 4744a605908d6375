"""The instructor's report: its figures are those of the records, and nothing that a student wrote becomes markup."""

import json
import re
from html.parser import HTMLParser

import pytest

from vos_teach.grading import report
from vos_teach.grading.records import Mark, Prepared, Record
from vos_teach.grading.similar import Pair

EVIL = "</td></script><script>alert('VOSXSS')</script><img src=x onerror=alert(1)>&\"'"


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.cells, self._in = [], [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self._in.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def record(student, outcomes, fate="graded", **more):
    marks = [Mark(f"lab1.e{i}", 2.0, None if o == "by hand" else 2.0 if o == "right" else 0.0, o,
                  "" if o == "right" else f"because of {o}", f"said of {o}", seconds=i + 0.25, peak=(i + 1) << 28)
             for i, o in enumerate(outcomes)]
    plain = {"key": "", "reason": "it is empty" if fate != "graded" else "", "said": "", "repairs": [], "flags": [],
             "held": False, "sandbox": "bwrap", "seed": 7, "seconds": 3.0, **more}
    return Prepared(student, "lab1"), Record(student, "lab1", fate=fate, marks=marks, **plain)


@pytest.fixture
def class_():
    known = [record("anna", ["right", "right", "right", "by hand"]),
             record("bert", ["right", "wrong", "time-out", "by hand"], repairs=["a check was restored"]),
             record("carl", ["right", "wrong", "not attempted", "by hand"]),
             record("dora", ["right", "wrong", "tampered", "by hand"], held=True, flags=["opens a socket"]),
             record("emil", ["wrong", "wrong", "wrong", "by hand"], "unreadable", held=True)]
    for _, r in known[1:3]:
        r.marks[1].mistake, r.marks[1].said = "the weights are swapped", "the weights are swapped"
    known[3][1].marks[1].case, known[3][1].marks[1].hidden = "a tall frame", True
    return known


def cell(html, name):
    """The row of a table that starts with that cell."""
    return re.findall(rf"<tr><td>{re.escape(name)}</td>(.*?)</tr>", html, re.S)


def test_figures_are_those_of_the_records(class_, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({
        "lab": "lab1", "seed": 7, "versions": {"torch": "2.9.9"}, "limits": {"wall": 60.0, "memory": 3 << 30}}))
    (tmp_path / "changes.json").write_text(json.dumps([
        {"student": "bert", "exercise": "lab1.e1", "old": [2.0, "right", ""], "new": [0.0, "wrong", "x"],
         "why": "the hidden cases changed"}]))
    path = report.write(tmp_path, class_)
    html = path.read_text()
    assert path == tmp_path / "report.html"
    assert re.findall(r"<td>(\w*)</td>", cell(html, "lab1.e1")[0]) == ["1", "4", "", "", "", ""]
    assert "lab1.e1</span><span class=\"s\">25 %" in html  # one of the four that could be read
    assert "<b>4</b> graded" in html and "<b>1</b> unreadable" in html and "<b>2</b> to look at" in html
    assert "<b>3</b> points on average, of 6" in html  # 6, 2, 2, 2
    assert re.search(r"<td>2</td><td class=\"left\">the weights are swapped</td><td class=\"left\">the same</td>"
                     r"<td class=\"left\">bert, carl</td>", html)
    assert "wrong, hidden case: a tall frame" in html and "said of wrong" in html
    assert "opens a socket" in html and "it is empty" in html and "repaired: a check was restored" in html
    assert "because of time-out" in html and ">time</td>" in html
    assert cell(html, "bert")[0].count("2 (right)") == 1 and "the hidden cases changed" in html
    for word in ("bwrap: 5", "60 s, 3 GB", "torch 2.9.9", "seed of the inputs", "15 s in all, 3.0 s"):
        assert word in html, word
    assert "Judged without a sandbox" not in html
    again = report.write(tmp_path, list(reversed(class_))).read_text()
    assert again == html


def test_without_a_sandbox_it_says_so(class_, tmp_path):
    class_[0][1].sandbox = "none"
    assert "Judged without a sandbox" in report.write(tmp_path, class_).read_text()


def test_nothing_of_a_student_becomes_markup(tmp_path):
    plain = record("anna", ["right", "wrong", "wrong"], repairs=["r"], flags=["f"], held=True)
    evil = record(EVIL, ["right", "wrong", EVIL], repairs=[EVIL], flags=[EVIL], held=True, reason=EVIL)
    for mark in evil[1].marks:
        mark.reason = mark.said = mark.mistake = mark.case = mark.exercise = EVIL
    (tmp_path / "changes.json").write_text(json.dumps([
        {"student": EVIL, "exercise": EVIL, "old": [1, EVIL, EVIL], "new": None, "why": EVIL}]))
    (tmp_path / "run.json").write_text(json.dumps({"lab": EVIL, "versions": {EVIL: EVIL}, "submissions": EVIL}))
    pairs = [Pair(EVIL, "anna", EVIL, 1.0, 200.0, EVIL, EVIL + "\n" + EVIL)]
    html = report.write(tmp_path, [plain, evil], pairs).read_text()
    assert html.count("VOSXSS") > 12 and "<script>alert" not in html and "<img" not in html
    page = Page(html)
    assert page.tags.count("script") == 1 and "img" not in page.tags and "onerror" not in page.attributes
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert "default-src 'none'" in policy and "sha256-" in policy and "unsafe-inline" not in policy.split(";")[2]


def test_text_that_no_encoding_takes_does_not_stop_the_report(tmp_path):
    one = record("lone \ud800 surrogate", ["wrong"])
    assert b"lone ? surrogate" in report.write(tmp_path, [one]).read_bytes()


def test_pairs_are_shown_side_by_side(class_, tmp_path):
    pair = Pair("anna", "bert", "lab1.e1", 0.97, 150.4, "a = 1\nb = 2\nc = 3", "a = 1\nb = 22\nc = 3\nd = 4")
    html = report.write(tmp_path, class_, [pair] * (report.PAIRS + 5)).read_text()
    assert "97 % alike" in html and "(150 bits beyond" in html
    first = html[html.index('<table class="diff">'):]
    assert '<td class="d">b = 2</td><td class="a">b = 22</td>' in first
    assert "<td>c = 3</td><td>c = 3</td>" in first and '<td></td><td class="a">d = 4</td>' in first
    assert html.count('<table class="diff">') == report.PAIRS and f"({report.PAIRS + 5})" in html


def test_an_empty_class_has_a_page_too(tmp_path):
    assert "0 submissions" in report.write(tmp_path, []).read_text()
