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
import signal
import socket
import sys
import time
import traceback
from typing import Any

from vos_teach.grading.sandbox import confine, linux
from vos_teach.grading.sandbox import package as package_of

WARM = ("numpy", "scipy", "scipy.optimize", "scipy.ndimage", "scipy.spatial", "torch", "torch.nn.functional",
        "torchvision", "cv2", "matplotlib", "matplotlib.pyplot", "matplotlib_inline.backend_inline", "PIL.Image",
        "skimage", "tqdm.auto", "ipywidgets", "IPython.display", "asyncio", "dataclasses", "typing")
COLD = ("vos_teach.grading", "vos_teach.cli", "vos_teach.__main__")


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
        self.keepers: dict[int, Keeper] = {}

    def serve(self) -> None:
        """The loop."""
        settings = self.line()
        self.settings = settings
        self.why = "not asked for"
        if settings["nest"] and settings["level"] != "none":
            self.why = confine.nests(settings["level"] == "landlock")
        failed = warm(settings["extra"])
        from vos_teach.grading.sandbox import agent, block, shell  # noqa: F401

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
            keeper = self.keepers.get(order["close"])
            if keeper is None:
                return
            keeper.asked = True
            keeper.end(order["gone"])
            if keeper.over:
                self.say({"closed": order["close"], **self.keepers.pop(order["close"]).report()})

    def start(self, order: dict[str, Any], fd: int) -> Keeper:
        """Fork a session's keeper."""
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                linux.private(False)
                linux.die_with_parent(parent)
                confine.close_all_but(0, 1, 2, theirs.fileno(), fd)
                keep(theirs.fileno(), fd, order, {**self.settings, "why": self.why}, self.package,
                     self.shell)
            except BaseException:
                traceback.print_exc()
                with contextlib.suppress(OSError):
                    os.write(theirs.fileno(), json.dumps({"failed": traceback.format_exc()[-2000:]}).encode() + b"\n")
            finally:
                os._exit(0)
        theirs.close()
        os.close(fd)
        return Keeper(pid, ours)

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


class Keeper:
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


def keep(leash: int, fd: int, order: dict[str, Any], settings: dict[str, Any], package: str, shell: Any) -> None:
    """The keeper's whole life."""
    scratch, limits = settings["scratch"], order["limits"]
    why = settings["why"] or confine.namespaces(settings["level"] == "landlock")
    linux.private(settings["level"] != "none")
    linux.die_with_parent()
    own = not why
    if not own:
        scratch = os.path.join(scratch, f"session{os.getpid()}")
        os.mkdir(scratch, 0o700)
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY) if linux.LINUX else -1
    reader, writer = os.pipe()
    begin, rss = time.monotonic(), _status(proc, os.getpid()).get("VmRSS", 0)
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        confine.close_all_but(0, 1, 2, fd)
        become(fd, order, settings, package, scratch, own, why, shell)
    os.close(writer)
    os.close(fd)
    ended = watch(leash, reader, pid, proc, limits, "" if own else scratch)
    ended.update(wall=time.monotonic() - begin, peak=max(0, ended["peak"] - rss))
    if not own:
        package_of.remove(scratch)
    os.write(leash, json.dumps(ended).encode() + b"\n")


def watch(leash: int, reader: int, pid: int, proc: int, limits: dict[str, Any], scratch: str) -> dict[str, Any]:
    """Drain the output, look after what no limit counts, kill when told; how it ended."""
    tail, guard, told, looked, heard = bytearray(), "", False, time.monotonic(), True
    os.set_blocking(reader, False)
    gone = os.pidfd_open(pid) if linux.LINUX else -1
    while True:
        fds = [leash] + ([gone] if gone >= 0 else []) + ([reader] if heard else [])
        able, _, _ = select.select(fds, [], [], 0.1)
        if reader in able:
            heard = _drain(reader, tail)
        if leash in able:
            if os.read(leash, 1) == b"w":
                _wait(gone)
            told = True
            os.kill(pid, signal.SIGKILL)
        elif not guard and time.monotonic() > looked + 0.1:
            guard, looked = _exceeds(proc, pid, limits, scratch), time.monotonic()
            if guard:
                os.kill(pid, signal.SIGKILL)
        done, status, used = os.wait4(pid, 0 if told or guard else os.WNOHANG)
        if done:
            break
    _drain(reader, tail)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"code": os.waitstatus_to_exitcode(status), "killed": told, "guard": guard, "peak": used.ru_maxrss * unit,
            "cpu": used.ru_utime + used.ru_stime, "tail": bytes(tail).decode("utf-8", "replace")}


def _wait(gone: int) -> None:
    """Half a second at most for a process to end by itself."""
    if gone >= 0:
        select.select([gone], [], [], 0.5)
    else:
        time.sleep(0.5)


def _drain(reader: int, tail: bytearray) -> bool:
    """Read what is there; keep the last 4 KiB. False if nothing will ever come again."""
    for _ in range(64):
        try:
            part = os.read(reader, 1 << 16)
        except BlockingIOError:
            return True
        if not part:
            return False
        tail += part
        del tail[:-4096]
    return True


def _status(proc: int, pid: int) -> dict[str, int]:
    """Threads and memory (bytes) of a process, as /proc says."""
    found = {}
    with contextlib.suppress(OSError, ValueError):
        fd = os.open(f"{pid}/status", os.O_RDONLY, dir_fd=proc)
        with open(fd) as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("Threads", "VmRSS"):
                    found[name] = int(value.split()[0]) * (1024 if name == "VmRSS" else 1)
    return found


def _exceeds(proc: int, pid: int, limits: dict[str, Any], scratch: str) -> str:
    """What a process has too much of, if anything."""
    if proc >= 0 and _status(proc, pid).get("Threads", 0) > confine.THREADS + 16:
        return "threads"
    if scratch:
        total = count = 0
        for folder, folders, names in os.walk(scratch):
            count += len(folders) + len(names)
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            if total > limits["scratch"] or count > 4096 or len(folder) > 2000:
                return "scratch"
    return ""


def become(fd: int, order: dict[str, Any], settings: dict[str, Any], package: str, scratch: str, own: bool, why: str,
           shell: Any) -> None:
    """Turn this process into the session's: confined, the blocked functions emptied, answering requests."""
    from vos_teach.grading.sandbox import agent, block, wire
    from vos_teach.grading.sandbox import shell as shells

    limits = order["limits"]
    try:
        linux.die_with_parent()
        os.setsid()
        hidden = block.block(order["blocked"])
        facts: dict[str, Any] = {"own": own, "why": why, "proc": False, "pid": os.getpid()}
        served = agent.Agent(fd, shell, limits["output"], limits["reply"], order["beside"])
        os.umask(0o077)
        if settings["level"] != "none":
            shells.gentle()
        confine.limit(limits["cpu"], limits["memory"], limits["scratch"], own)
        if own:
            facts.update(confine.mounts(scratch, limits["scratch"], hidden))
        os.chdir(scratch)
        if settings["level"] != "none":
            facts.update(confine.lock(package, scratch, hidden, facts["proc"], facts.get("read only", False)))
            if not facts["landlock"] and (settings["level"] == "landlock" or not own):
                raise OSError("neither Landlock nor namespaces of a session's own work here, so nothing would hold it")
        agent.ready(served, {"ready": True, **facts})
    except BaseException:
        data = wire.encode({"ready": False, "why": traceback.format_exc()[-3000:]})
        os.write(fd, len(data).to_bytes(4, "big") + data)
        os._exit(1)
    try:
        served.serve()
    except MemoryError:
        os._exit(agent.NO_ROOM)
    except BaseException:
        traceback.print_exc()
    os._exit(agent.BROKEN)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
