"""The IPython shell that students' cells run in: no history, no new processes, nobody at the keyboard."""

from __future__ import annotations

import builtins
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NO_PROCESS = "no new processes while graded"


class Tail(io.RawIOBase):
    """Keeps the last `limit` bytes of what is written."""

    def __init__(self, limit: int):
        self.limit, self.kept = limit, bytearray()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Take bytes; forget the oldest beyond the limit."""
        count = len(data)
        self.kept += bytes(data[-self.limit:] if self.limit else b"")
        if len(self.kept) > 2 * self.limit:
            del self.kept[:-self.limit]
        return count

    def take(self) -> bytes:
        """What is kept; then nothing is."""
        kept = bytes(self.kept[-self.limit:] if self.limit else b"")
        self.kept.clear()
        return kept


def stream(limit: int) -> tuple[Tail, io.TextIOWrapper]:
    """A text stream of which only the tail is kept."""
    tail = Tail(limit)
    return tail, io.TextIOWrapper(tail, encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[type-var]


def make_shell() -> Any:
    """An IPython shell without history, threads, colours and a terminal. To be made once, before any fork."""
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    HistoryManager.enabled = False
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    config.InteractiveShell.cache_size = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shell = InteractiveShell.instance(config=config)
    shell.InteractiveTB.set_mode(mode="Plain")
    shell.ask_exit = lambda: print("there is no leaving while graded")
    shell.enable_gui = lambda gui=None: None  # %matplotlib inline asks for it
    shell.system = shell.system_piped = shell.system_raw = _no_command(shell)
    shell.getoutput = lambda line, *_, **__: _no_command(shell)(line) or []
    return shell


def _no_command(shell: Any) -> Any:
    def command(line: str, *_: Any, **__: Any) -> None:
        print(f"{NO_PROCESS}: `{line}` was not run")
        shell.user_ns["_exit_code"] = 1

    return command


def gentle() -> None:
    """Where the kernel will say no anyway, say clearly why."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(NO_PROCESS)

    def ask(*_: Any, **__: Any) -> str:
        raise EOFError("nobody answers while graded")

    for name in ("fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "execv", "execve"):
        if hasattr(os, name):
            setattr(os, name, refuse)
    subprocess.Popen.__init__ = refuse  # type: ignore[method-assign]
    builtins.input = ask  # type: ignore[assignment]


@contextmanager
def heard_by(text: io.TextIOWrapper) -> Iterator[None]:
    """What Python prints inside goes to this stream."""
    old = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = text
    try:
        yield
    finally:
        sys.stdout, sys.stderr = old
