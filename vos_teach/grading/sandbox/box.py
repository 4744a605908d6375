"""The grader's side of the sandbox: a warm interpreter in a `Box`, from which a session is forked for each exercise."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vos_teach.errors import VosError
from vos_teach.grading.sandbox import levels, package
from vos_teach.grading.sandbox.session import GRACE, Limits, Lost, Ran, Reply, Session

__all__ = ["Box", "Limits", "Lost", "Ran", "Reply", "Session"]


class Box:
    """One warm interpreter in a sandbox; it starts when it is first needed, and again if it is lost.

    level: one of LEVELS. limits: of each session. extra_packages: names of further modules to import beforehand.
    Use it as a context, from one thread.
    """

    def __init__(self, level: str, limits: Limits | None = None, extra_packages: Sequence[str] = ()):
        if level not in levels.LEVELS:
            raise VosError(f"there is no sandbox '{level}': choose from {', '.join(levels.LEVELS)}")
        self.level, self.limits, self.extra = level, limits or Limits(), tuple(extra_packages)
        self.facts: dict[str, Any] = {}
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None
        self._folder: Path | None = None
        self._lock: Any = None
        self.nest = True  # False: sessions without namespaces of their own, as where the kernel does not let them
        self._data, self._number = b"", 0
        self._closed: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the warm interpreter, if it does not run. Raises VosError where it cannot."""
        if self._process is not None and self._process.poll() is None and self._control is not None:
            return
        self.stop()
        self._folder, self._lock = package.folder()
        package.filtered(self._folder / "package")
        scratch = self._folder / "scratch"
        scratch.mkdir(mode=0o700)
        inside = levels.SCRATCH if self.level in ("bwrap", "podman") else str(scratch)
        ours, theirs = socket.socketpair()
        log = open(self._folder / "log", "w+b")  # noqa: SIM115
        try:
            line = levels.command(self.level, theirs.fileno(), self._folder / "package", self.limits)
            self._process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs.fileno(),),
                cwd=scratch, start_new_session=True,
                env=levels.environment(inside) if self.level != "podman" else levels.host_environment())
        except (OSError, ValueError) as error:
            ours.close()
            self.stop()
            raise VosError(f"the sandbox '{self.level}' cannot be started: {error}") from None
        finally:
            theirs.close()
        self._control = ours
        try:
            self._say({"scratch": inside, "extra": self.extra, "level": self.level, "nest": self.nest})
            self.facts = self._hear(self.limits.start)
        except (OSError, ValueError) as error:
            log.seek(0)
            said = log.read()[-500:].decode("utf-8", "replace").strip().splitlines()
            self.stop()
            raise VosError(f"the sandbox '{self.level}' does not start: {said[-1] if said else error}") from None
        finally:
            log.close()

    def stop(self) -> None:
        """End it and everything in it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._folder is not None:
            package.remove(self._folder)
            self._lock.close()
            self._folder = None
        self._data = b""
        self._closed.clear()

    def session(self, cells: Iterable[str] = (), blocked: Iterable[str] = (), allow_beside: Iterable[str] = ()
                ) -> Session:
        """Fork a session. blocked: "module:function" to empty; allow_beside: modules whose functions may run beside.

        cells: what `run` executes if it is given nothing. VosError if the sandbox or a blocked name is at fault.
        """
        self.start()
        self._number += 1
        ours, theirs = socket.socketpair()
        try:
            order = {"open": self._number, "limits": asdict(self.limits), "blocked": list(blocked),
                     "beside": list(allow_beside)}
            socket.send_fds(self._control, [json.dumps(order).encode() + b"\n"], [theirs.fileno()])  # type: ignore[list-item]
        except OSError:
            ours.close()
            self.stop()
            raise VosError("the warm interpreter is gone: try again") from None
        finally:
            theirs.close()
        return Session(self, self._number, ours, list(cells))

    def _say(self, what: dict[str, Any]) -> None:
        self._control.sendall(json.dumps(what).encode() + b"\n")  # type: ignore[union-attr]

    def _hear(self, seconds: float) -> dict[str, Any]:
        """The warm interpreter's next line. OSError or ValueError for silence and rubbish."""
        end = time.monotonic() + seconds
        while b"\n" not in self._data:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._control], [], [], left)[0]:
                raise OSError("it says nothing")
            part = self._control.recv(1 << 16)  # type: ignore[union-attr]
            if not part or len(self._data) > 1 << 20:
                raise OSError("it is gone")
            self._data += part
        line, _, self._data = self._data.partition(b"\n")
        return json.loads(line)

    def _close(self, number: int, gone: bool) -> dict[str, Any]:
        """Have a session killed (gone: it seems to be ending by itself); how it ended.

        A warm interpreter that does not manage that is ended itself.
        """
        try:
            self._say({"close": number, "gone": gone})
            while number not in self._closed:
                said = self._hear(GRACE)
                self._closed[said["closed"]] = said
            return self._closed.pop(number)
        except (OSError, ValueError, KeyError, AttributeError):
            self.stop()
            return {"failed": "the warm interpreter had to be ended"}
