"""Every command of the instructors' guide exists, and so does what it refers to."""

import re
import shlex
import subprocess
import sys

import pytest
from classroom import ROOT

PAGE = (ROOT / "lectures" / "instructors.md").read_text(encoding="utf-8")
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
LINES = [line for block in SHELL for line in block.replace("\\\n", " ").splitlines()]


def ours():
    return [line for line in LINES if line.startswith("vos-teach ")]


def test_the_guide_shows_each_step():
    said = {" ".join(line.split()[1:3]) for line in ours()}
    assert {"doctor", "labs build", "labs publish", "class simulate", "grade SUBMISSIONS", "grade try"} <= said
    for word in ("report.html", "marks_canvas.csv", "changes.json", "VOS_TEACH_IMAGE", "--no-save", "--students"):
        assert word in PAGE, word


@pytest.mark.parametrize("line", sorted(set(ours())))
def test_each_command_of_ours_parses(line):
    from typer.main import get_command

    from vos_teach.cli import app

    command, context, rest = get_command(app), None, shlex.split(line)[1:]
    while hasattr(command, "commands"):
        assert rest and rest[0] in command.commands, line
        name = rest.pop(0)
        command = command.commands[name]
        context = type(context)(command) if context else None
    command.make_context("vos-teach", rest)  # raises for an unknown option or a missing argument


def test_options_of_the_table_are_the_commands():
    from typer.main import get_command

    from vos_teach.cli import app

    known = {o for p in get_command(app).commands["grade"].params for o in p.opts}
    named = set(re.findall(r"^\| `(--[a-z-]+)", PAGE, re.M))
    named |= set(re.findall(r"`(--(?:seconds|memory|sandbox|no-save))\b", PAGE))
    assert len(named) > 6 and named <= known, named - known


@pytest.mark.slow
def test_nbgraders_commands_and_the_exporters_exist():
    from vos_teach.grading import exporters

    used = {line.split()[1] for line in LINES if line.startswith("nbgrader ")}
    used |= set(re.findall(r"`nbgrader (\w+)", PAGE))
    assert used == {"generate_feedback", "release_feedback", "export", "zip_collect", "autograde"}
    from nbgrader.apps.nbgraderapp import NbGraderApp

    assert used <= set(NbGraderApp.subcommands)
    for name in re.findall(r"--exporter=vos_teach\.grading\.exporters\.(\w+)", PAGE):
        assert isinstance(getattr(exporters, name), type)


@pytest.mark.slow
def test_dasks_commands_exist():
    pytest.importorskip("distributed")
    for line in [line for line in LINES if line.startswith("dask ")]:
        words = shlex.split(line)
        said = subprocess.run([sys.executable, "-m", f"distributed.cli.dask_{words[1]}", "--help"], capture_output=True,
                              text=True).stdout
        assert all(w in said for w in words if w.startswith("--")), line


def test_the_job_script_is_what_dask_jobqueue_writes():
    jobqueue = pytest.importorskip("dask_jobqueue")
    (python,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (shown,) = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
    space: dict = {}
    exec(python[: python.index("cluster.scale")], space)
    try:
        made = re.sub(r"tcp://[^ ]*", "tcp://HOST:8786", space["cluster"].job_script())
        assert jobqueue and made.strip() == shown.strip()
    finally:
        space["cluster"].close()
