"""A session's keeper: it holds the session's namespaces, forks the session's process into them, and buries it.

It is forked from the warm interpreter, runs no student code, drains and forgets what the session prints, kills it when
told to or when the warm interpreter is gone, and tells at its end how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import traceback
from typing import Any

from vos_teach.grading.sandbox import agent, block, confine, linux, wire
from vos_teach.grading.sandbox import package as packages
from vos_teach.grading.sandbox import shell as shells


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
        packages.remove(scratch)
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
            done, status, used = os.wait4(pid, os.WNOHANG)
            if done:
                break  # it had ended by itself
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
