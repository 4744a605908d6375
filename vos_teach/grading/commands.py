"""`vos-teach labs ...`: thin, as cli.py is; nbgrader and jupytext are imported only where a command needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vos_teach.errors import VosError

app = typer.Typer(no_args_is_help=True, help="Build the labs from assignments/labs/ (for instructors).")


@app.command()
def build(
    check: Annotated[bool, typer.Option("--check", help="write nothing; say what is not as a fresh build")] = False,
) -> None:
    """Write notebooks/ (for students), assignments/source/ (nbgrader's), and the quiz's two files."""
    from vos_teach.grading import build as labs

    root = labs.find_root()
    files = _grading(labs.build, root)
    stale = [p for p, data in files.items() if not p.is_file() or p.read_bytes() != data]
    if check and stale:
        raise VosError(f"{', '.join(str(p.relative_to(root)) for p in stale)}: run vos-teach labs build")
    changed = [] if check else labs.write(files)
    for path in files:
        print(f"{'written  ' if path in changed else 'unchanged'} {path.relative_to(root)}")


@app.command()
def publish(target: Annotated[Path, typer.Argument(metavar="DIR", help="a new or empty folder")]) -> None:
    """Write what students may have: notebooks, lectures, a wheel. Nothing of assignments/."""
    from vos_teach.grading import build as labs
    from vos_teach.grading.publish import publish as library

    print(f"for students: {_grading(library, labs.find_root(), target)}")


@app.command()
def run(
    lab: Annotated[str, typer.Argument(help="lab0, lab1, ...")],
    student: Annotated[bool, typer.Option("--student", help="as a student gets it, not with the answers")] = False,
) -> None:
    """Run a lab from top to bottom in an empty folder; list the cells that take a second or more, and all errors."""
    from vos_teach.grading import build as labs
    from vos_teach.grading.run import run as library

    cells = _grading(library, labs.find_root(), lab, student)
    for cell in cells:
        if cell.seconds >= 1 or cell.error:
            print(f"{cell.seconds:7.1f} s  {cell.id}: {cell.first[:70]}")
            if cell.error:
                print(f"           {cell.error[0]}: {cell.error[1]}")
    errors = {cell.error[0] for cell in cells if cell.error}
    print(f"{sum(cell.seconds for cell in cells):7.1f} s  in {len(cells)} cells")
    if errors - ({"NotAttempted"} if student else set()):
        raise VosError(f"{lab}: {', '.join(sorted(errors))} in the cells listed above")


def _grading(function: Any, *arguments: Any) -> Any:
    """Call what needs nbgrader and jupytext; VosError where they are not installed."""
    try:
        return function(*arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "vos_teach":
            raise
        raise VosError(f"{missing} is missing: pip install 'vos_teach[grading]'") from None
