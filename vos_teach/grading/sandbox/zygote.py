"""The warm interpreter: everything is imported here once, then each session is forked from it. It runs no student code.

It talks to the grader over one inherited socket (descriptor and package are its arguments): lines of JSON; "open" comes
with the session's socket attached. Each session has a keeper, forked first, which holds the session's namespaces, forks
the session's process into them, drains and forgets its output, kills it when told to or when the warm interpreter is
gone, and tells at its end how it ended.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import linecache
import os
import pkgutil
import random
import select
import socket
import sys
import traceback
from typing import Any

from vos_teach.grading.sandbox import confine, keeper, linux, shell

WARM = ("numpy", "scipy", "scipy.optimize", "scipy.ndimage", "scipy.spatial", "torch", "torch.nn.functional",
        "torchvision", "cv2", "matplotlib", "matplotlib.pyplot", "matplotlib_inline.backend_inline", "PIL.Image",
        "skimage", "tqdm.auto", "ipywidgets", "IPython.display", "asyncio", "dataclasses", "typing")
COLD = ("vos_teach.grading", "vos_teach.cli", "vos_teach.claims", "vos_teach.__main__")


def warm(extra: list[str]) -> list[str]:
    """Import everything; the names that could not be."""
    failed = []
    for name in (*WARM, *extra):
        if not _load(name):
            failed.append(name)
    import vos_teach

    for found in pkgutil.walk_packages(vos_teach.__path__, "vos_teach.", onerror=lambda _: None):
        if not found.name.startswith(COLD) and not _load(found.name):
            failed.append(found.name)
    import cv2
    import numpy
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    numpy.random.seed(0)  # noqa: NPY002
    random.seed(0)
    return failed


def _load(name: str) -> bool:
    try:
        importlib.import_module(name)
    except Exception:
        return False
    return True


def main(fd: int, package: str) -> None:
    """Serve until the grader is gone."""
    parent = os.getppid()
    linux.die_with_parent(parent)
    sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in str(getattr(f, "__module__", ""))]
    sys.path[:] = [p for p in sys.path if "__editable__" not in p]
    control = socket.socket(fileno=fd)
    served = Zygote(control, package)
    try:
        served.serve()
    except BaseException:
        traceback.print_exc()
    os._exit(1)


class Zygote:
    """control: the socket to the grader; package: the folder with the filtered copy."""

    def __init__(self, control: socket.socket, package: str):
        self.control, self.package = control, package
        self.data, self.fds = b"", []  # type: ignore[var-annotated]
        self.keepers: dict[int, Leash] = {}

    def serve(self) -> None:
        """The loop."""
        settings = self.line()
        self.settings = settings
        self.why = "not asked for"
        if settings["nest"] and settings["level"] != "none":
            self.why = confine.nests(settings["level"] == "landlock")
        failed = warm(settings["extra"])
        self.shell = shell.make_shell()
        self.shell.run_cell("x = [i for i in range(3)]\nprint(end='')\n")
        self.shell.reset(new_session=False)
        linecache.clearcache()
        gc.collect()
        gc.freeze()  # a collection in a session would touch, and so copy, all of this
        if linux.LINUX and settings["level"] != "none":
            linux.private(True)
        self.say({"ready": True, "failed": failed, "python": sys.version.split()[0], "pid": os.getpid()})
        while True:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            waiting = {k.leash: k for k in self.keepers.values() if not k.over}
            able, _, _ = select.select([self.control, *waiting], [], [])
            for leash in able:
                if leash is not self.control:
                    waiting[leash].hear()
            for number in [n for n, k in self.keepers.items() if k.over and k.asked]:
                self.say({"closed": number, **self.keepers.pop(number).report()})
            if self.control in able:
                self.receive()
                while (line := self.pending()) is not None:
                    self.obey(line)

    def obey(self, order: dict[str, Any]) -> None:
        """Open or close a session."""
        if "open" in order:
            self.keepers[order["open"]] = self.start(order, self.fds.pop(0))
        elif "close" in order:
            held = self.keepers.get(order["close"])
            if held is None:
                return
            held.asked = True
            held.end(order["gone"])
            if held.over:
                self.say({"closed": order["close"], **self.keepers.pop(order["close"]).report()})

    def start(self, order: dict[str, Any], fd: int) -> Leash:
        """Fork a session's keeper."""
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                linux.private(False)
                linux.die_with_parent(parent)
                confine.close_all_but(0, 1, 2, theirs.fileno(), fd)
                keeper.keep(theirs.fileno(), fd, order, {**self.settings, "why": self.why}, self.package,
                            self.shell)
            except BaseException:
                traceback.print_exc()
                with contextlib.suppress(OSError):
                    os.write(theirs.fileno(), json.dumps({"failed": traceback.format_exc()[-2000:]}).encode() + b"\n")
            finally:
                os._exit(0)
        theirs.close()
        os.close(fd)
        return Leash(pid, ours)

    def receive(self) -> None:
        """Take what the grader sends; end if it is gone."""
        data, fds, _, _ = socket.recv_fds(self.control, 1 << 16, 8)
        if not data:
            os._exit(0)
        self.data += data
        self.fds += fds

    def pending(self) -> dict[str, Any] | None:
        """The next whole order that has come."""
        line, newline, rest = self.data.partition(b"\n")
        if not newline:
            return None
        self.data = rest
        return json.loads(line)

    def line(self) -> dict[str, Any]:
        """Wait for an order."""
        while (order := self.pending()) is None:
            self.receive()
        return order

    def say(self, what: dict[str, Any]) -> None:
        """Tell the grader."""
        self.control.sendall(json.dumps(what).encode() + b"\n")


class Leash:
    """The warm interpreter's hold on a session's keeper."""

    def __init__(self, pid: int, leash: socket.socket):
        self.pid, self.leash, self.said = pid, leash, b""
        self.over = self.asked = False

    def hear(self) -> None:
        """It says how its session ended, then it is gone."""
        try:
            part = self.leash.recv(1 << 16)
        except ConnectionError:
            part = b""
        self.said += part
        if not part or part.endswith(b"\n"):  # with its last word its session is gone; itself it goes a moment later
            self.over = True
            self.leash.close()

    def end(self, gone: bool) -> None:
        """Have it kill its session, at once or after a moment in which it may end by itself."""
        if not self.over:
            with contextlib.suppress(OSError):
                self.leash.send(b"w" if gone else b"k")

    def report(self) -> dict[str, Any]:
        """What it said."""
        try:
            return json.loads(self.said)
        except ValueError:
            return {"failed": "the session's keeper died"}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
