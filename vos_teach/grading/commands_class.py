"""`vos-teach grade`, `vos-teach doctor`, `vos-teach class ...`: thin, as cli.py is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vos_teach.errors import VosError

LEVELS = "auto, bwrap, podman, landlock, or none (nothing is kept from anything: for trusted notebooks only)"
class_app = typer.Typer(no_args_is_help=True, help="Try grading out with a class that is made up (for instructors).")


def grade(
    submissions: Annotated[Path, typer.Argument(help="a folder for each student, or nbgrader's submitted/")],
    lab: Annotated[str, typer.Option(help="lab0, lab1, ...")],
    course: Annotated[Path, typer.Option(help="the folder with source/ and hidden/")] = Path("assignments"),
    out: Annotated[Path | None, typer.Option(help="the run's folder; default: runs/grade/LAB")] = None,
    jobs: Annotated[int | None, typer.Option(help="processes of this machine; default: one per CPU")] = None,
    scheduler: Annotated[str | None, typer.Option(help="of a dask.distributed cluster, tcp://HOST:PORT")] = None,
    sandbox: Annotated[str, typer.Option(help=LEVELS)] = "auto",
    seed: Annotated[int | None, typer.Option(help="of the inputs; default: drawn once for each run's folder")] = None,
    seconds: Annotated[float, typer.Option(help="of processor time, for each exercise")] = 60,
    memory: Annotated[float, typer.Option(help="GB for each exercise; PyTorch alone needs 1.5")] = 3,
    students: Annotated[str | None, typer.Option(help="judge only these: NAME,NAME")] = None,
    no_save: Annotated[bool, typer.Option("--no-save", help="leave nbgrader's gradebook alone")] = False,
) -> None:
    """Grade a class: sandboxed, in parallel, every mark with its reason. Cut short and run again, it goes on."""
    from tqdm import tqdm

    from vos_teach.grading.commands import _grading

    if jobs is not None and jobs < 1:
        raise VosError(f"--jobs is {jobs}: it is at least 1")
    if not seconds > 0:
        raise VosError(f"--seconds is {seconds}: it is above 0")
    if not memory >= 0.5:
        raise VosError(f"--memory is {memory} GB: PyTorch alone needs more")
    if scheduler is not None and jobs is not None:
        raise VosError("--jobs and --scheduler are both given: the cluster decides how many")
    names = None if students is None else [s.strip() for s in students.split(",") if s.strip()]
    if names == []:
        raise VosError(f"--students is '{students}', which names nobody: write NAME,NAME")
    _grading(_grade, dict(submissions=submissions, lab=lab, course=course, out=out or Path("runs/grade") / lab,
                          jobs=jobs or _cpus(), scheduler=scheduler, sandbox=sandbox, seed=seed, seconds=seconds,
                          memory=memory, only=names, save=not no_save), tqdm)


def _grade(options: dict[str, Any], tqdm: Any) -> None:
    import signal
    import sys

    if options["scheduler"] is None:
        from vos_teach.grading import pool

        pool.warm()  # while this process imports, too
    from vos_teach.grading import classroom, sandbox

    if options["sandbox"] not in ("auto", *sandbox.LEVELS):
        raise VosError(f"--sandbox is '{options['sandbox']}': choose from auto, {', '.join(sandbox.LEVELS)}")
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        done = classroom.grade(classroom.Task(**options), print, lambda **k: tqdm(disable=None, leave=False, **k))
    except KeyboardInterrupt:
        print("vos-teach: interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    _show(done, options["out"])


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _cpus() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _show(done: Any, out: Path) -> None:
    """What came of it, in the terminal."""
    from collections import Counter

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    names = list(dict.fromkeys(m.exercise for _, r in done.pairs for m in r.marks))
    counts = {name: Counter(m.outcome for _, r in done.pairs for m in r.marks if m.exercise == name) for name in names}
    table = Table(title=f"{len(done.pairs)} submissions", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = ("right", "wrong", "not attempted", "others")
    for i, head in enumerate(("exercise", *columns)):
        table.add_column(head, justify="right" if i else "left")
    for name in names:
        if set(counts[name]) == {"by hand"}:
            continue
        others = {k: n for k, n in counts[name].items() if k not in (*columns, "by hand")}
        table.add_row(name, *(str(counts[name][c]) for c in columns[:3]),
                      ", ".join(f"{n} {what}" for what, n in sorted(others.items())))
    Console().print(table)
    fates = Counter(r.fate for _, r in done.pairs if r.fate != "graded")
    for fate, n in sorted(fates.items()):
        print(f"{fate}: {n}")
    held = [r for _, r in done.pairs if r.held]
    if held:
        print("held for you to look at:")
        for record in held:
            print(f"  {record.student}: {(record.flags or [record.reason])[0]}")
    if done.changes:
        table = Table(title="marks that changed", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for head in ("student", "exercise", "old", "new", "why"):
            table.add_column(head)
        for change in done.changes:
            old, new = ("-" if not change[k] else f"{_number(change[k][0])} {change[k][1]}" for k in ("old", "new"))
            table.add_row(change["student"], change["exercise"], old, new, change["why"])
        Console().print(table)
    for path in done.files:
        print(f"{'report' if path.suffix == '.html' else 'table'}: {path}")
    print(f"seed {done.seed}; records and all else: {out}")


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:g}"


@class_app.command()
def simulate(
    number: Annotated[int, typer.Argument(metavar="N", help="how many students")],
    lab: Annotated[str, typer.Option(help="lab0, lab1, ...")],
    out: Annotated[Path, typer.Option(help="a new or empty folder for the submissions")],
    course: Annotated[Path, typer.Option(help="the folder with source/ and mistakes/")] = Path("assignments"),
    seed: Annotated[int, typer.Option(help="the same seed, the same class")] = 0,
) -> None:
    """Make up a class: right answers, the usual mistakes, broken and hostile notebooks."""
    from vos_teach.grading.commands import _grading

    if number < 1:
        raise VosError(f"a class of {number} students: at least 1")
    _grading(_simulate, number, lab, out, course, seed)


def _simulate(number: int, lab: str, out: Path, course: Path, seed: int) -> None:
    from vos_teach.grading.simulate import simulate as library

    library(number, lab, out, course, seed)
    print(f"{number} submissions: {out}; now: vos-teach grade {out} --lab {lab}")


def doctor() -> None:
    """Say what works on this machine, by trying it, and what to do about the rest."""
    from vos_teach.grading.doctor import look

    for name, said, advice in look():
        print(f"{name:<12} {said}" + (f"\n{'':<12} -> {advice}" if advice else ""))
