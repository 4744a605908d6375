"""`vos-teach labs run`: a lab from top to bottom, as a front-end would run it, with the time of each cell."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vos_teach.errors import VosError


@dataclass(frozen=True)
class Ran:
    """One executed code cell. error: (name, message) or None."""

    id: str
    first: str
    seconds: float
    error: tuple[str, str] | None


def execute(notebook: Any, folder: Path, environment: Mapping[str, str] | None = None, timeout: int = 600) -> list[Ran]:
    """Run a notebook (changed in place: it gets its outputs) in `folder`; errors do not stop it.

    environment: added to the kernel's. VosError if a cell takes longer than `timeout` seconds or the kernel dies.
    """
    from jupyter_client import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    with tempfile.TemporaryDirectory(prefix="vt_") as sockets:
        manager = AsyncKernelManager(kernel_name="python3")  # under a blocking one no timeout is ever noticed
        if os.name != "nt":  # kernels that start side by side race for TCP's ports
            manager.transport, manager.ip = "ipc", f"{sockets}/k"
        client = NotebookClient(notebook, km=manager, timeout=timeout, allow_errors=True, record_timing=True,
                                resources={"metadata": {"path": str(folder)}})
        try:
            client.execute(env={**os.environ, **(environment or {})}, cleanup_kc=True)  # the kernel ends here
        except CellTimeoutError:
            raise VosError(f"a cell ran longer than {timeout} seconds") from None
        except (DeadKernelError, RuntimeError) as error:  # RuntimeError: it did not even start
            raise VosError(f"the kernel died: {error}") from None
    return [_ran(cell) for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _ran(cell: Any) -> Ran:
    times = cell.metadata.get("execution", {})
    began, ended = times.get("iopub.execute_input"), times.get("shell.execute_reply") or times.get("iopub.status.idle")
    seconds = (_time(ended) - _time(began)).total_seconds() if began and ended else 0.0
    error = next(((out.ename, out.evalue) for out in cell.outputs if out.output_type == "error"), None)
    lines = [line for line in cell.source.splitlines() if line.strip()]
    return Ran(cell.id, lines[0], seconds, error)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def run(root: Path, lab: str, student: bool = False) -> list[Ran]:
    """Run a lab of the checkout in an empty folder: with its answers, or as the student gets it."""
    import nbformat

    folder = root / "notebooks" if student else root / "assignments" / "source" / lab
    found = sorted(folder.glob(f"{lab}_*.ipynb"))
    if len(found) != 1:
        raise VosError(f"there is no notebook of '{lab}' in '{folder.relative_to(root)}': run vos-teach labs build")
    notebook = nbformat.read(found[0], as_version=4)
    with tempfile.TemporaryDirectory(prefix="vos_teach_run_") as empty:
        hidden = {} if student else {"VOS_TEACH_HIDDEN": str(root / "assignments" / "hidden")}
        return execute(notebook, Path(empty), {"MPLBACKEND": "module://matplotlib_inline.backend_inline", **hidden})
