"""After a class was graded, nbgrader's formgrader in a real browser shows it: who, which marks, which feedback.

Needs what test_browser.py needs (extras, playwright, Chromium) and a sandbox. VOS_TEACH_SCREENSHOTS names a folder for
the pictures; look at them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "grading"))
CHROMIUM = os.environ.get("VOS_TEACH_CHROMIUM", "/usr/bin/chromium")
LAB, NUMBER = "lab0", 6
MIXTURE = {"right": 0.34, "untouched": 0.17, "hostile": 0.17}  # the others make mistakes
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """(course, truth, records): a class that was made up and graded."""
    for package in ("nbgrader", "jupyterlab", "playwright"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -e '.[grading]' playwright")
    from classroom import Course, skeleton

    from vos_teach.grading import sandbox
    from vos_teach.grading.classroom import Task, grade
    from vos_teach.grading.simulate import simulate

    if sandbox.probe("bwrap"):
        pytest.skip(f"bubblewrap does not work here: {sandbox.probe('bwrap')}")
    home = tmp_path_factory.mktemp("formgrader")
    course = Course(home / "course", LAB, skeleton(LAB))
    (course.folder / "mistakes").symlink_to(ROOT / "assignments" / "mistakes")
    truth = simulate(NUMBER, LAB, course.folder / "submitted", course.folder, seed=4, mixture=MIXTURE)
    said = json.loads(truth.rename(home / "truth.json").read_text())["students"]
    done = grade(Task(course.folder / "submitted", LAB, course.folder, home / "run", jobs=2, sandbox="bwrap", seed=3,
                      seconds=60))
    with open(course.folder / "nbgrader_config.py", "a") as file:
        exchange = home / "exchange"
        exchange.mkdir(mode=0o777)
        file.write(f"\nc.Exchange.root = {str(exchange)!r}\n")
    return course, said, {record.student: record for _, record in done.pairs}


@pytest.fixture(scope="module")
def address(graded, tmp_path_factory):
    """path -> the address of that page of a JupyterLab in the course's folder."""
    home = tmp_path_factory.mktemp("jupyter")
    token = secrets.token_hex(16)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", ""),
        "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"), "IPYTHONDIR": str(home / "ipython"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", "--ServerApp.allow_root=True"]
    with open(home / "log", "w") as log:
        process = subprocess.Popen(command, cwd=graded[0].folder, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(800):  # seconds to start; minutes on a machine that is busy with other things
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (home / "log").read_text()[-2000:]
                time.sleep(0.5)
        else:
            pytest.fail((home / "log").read_text()[-2000:])
        yield lambda path: f"http://127.0.0.1:{port}/{path}{'&' if '?' in path else '?'}token={token}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def browser(address):
    if not Path(CHROMIUM).is_file():
        pytest.skip(f"there is no Chromium at '{CHROMIUM}': set VOS_TEACH_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        found = p.chromium.launch(executable_path=CHROMIUM,
                                  args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        yield found
        found.close()


@pytest.fixture
def page(browser, address):
    opened = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    opened.set_default_timeout(120_000)
    opened.goto(address("lab"))  # gives the cookie that formgrader's own requests need
    yield opened
    opened.context.close()


def shot(page, name: str) -> None:
    if folder := os.environ.get("VOS_TEACH_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def total(record) -> float:
    return sum(m.score or 0 for m in record.marks)


def test_submissions_are_listed_with_their_scores(graded, address, page):
    _, truth, records = graded
    page.goto(address(f"formgrader/manage_submissions/{LAB}"))
    page.wait_for_function(f"document.querySelectorAll('table tbody tr').length >= {NUMBER}")
    rows = {row.split("\t")[1].strip(): row for row in page.locator("table tbody tr").all_inner_texts()}
    shot(page, "formgrader-submissions")
    most = sum(m.points for m in next(iter(records.values())).marks)
    assert set(rows) == set(truth)
    for student, row in rows.items():
        assert f"{total(records[student]):g} / {most:g}" in row, row


def test_the_gradebook_shows_each_student(graded, address, page):
    course, _, records = graded
    page.goto(address(f"formgrader/gradebook/{LAB}/{course.stem}"))
    page.wait_for_function(f"document.querySelectorAll('table tbody tr').length >= {NUMBER}")
    text = page.locator("table").first.inner_text()
    shot(page, "formgrader-gradebook")
    for record in records.values():
        assert f"{total(record):g}" in text


def test_a_submission_opens_with_its_verdicts(graded, address, page):
    from nbgrader.api import Gradebook

    course, truth, records = graded
    student = next(s for s, t in truth.items() if t["kind"] == "mistaken")
    with Gradebook(f"sqlite:///{course.folder / 'gradebook.db'}", "vos_teach") as book:
        number = book.find_submission_notebook(course.stem, LAB, student).id
    page.goto(address(f"formgrader/submissions/{number}/?index=0"))
    page.wait_for_selector("input.score")
    shown = page.locator("input.score").count()
    assert shown == len(records[student].marks)
    wrong = next(m for m in records[student].marks if m.outcome == "wrong")
    text = page.inner_text("body")
    assert "Not right yet" in text and wrong.said.split("(")[0].strip()[:40] in text
    page.get_by_text("Not right yet").first.scroll_into_view_if_needed()
    shot(page, "formgrader-submission")


def test_feedback_is_a_page_that_says_why(graded, page):
    course, truth, records = graded
    for student, record in records.items():
        path = course.folder / "feedback" / student / LAB / f"{course.stem}.html"
        page.goto(path.as_uri())
        text = page.inner_text("body")
        for mark in record.marks:
            if mark.outcome == "wrong":
                assert mark.said.split("(")[0].strip()[:40] in text, (student, mark.exercise)
            if mark.hidden and mark.outcome == "wrong" and mark.reason != mark.said:
                assert mark.reason not in text
        assert "hidden=True" not in text
        if truth[student]["kind"] in ("mistaken", "hostile"):
            shot(page, f"feedback-{truth[student]['kind']}")
