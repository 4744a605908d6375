"""What a session's process goes through before any student code: nothing of it can be undone from inside."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import site
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vos_teach.grading.sandbox import landlock, linux, seccomp

SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime", "/etc/alternatives",
          "/dev/urandom", "/dev/random", "/dev/zero", "/sys/devices/system/cpu")
THREADS = 400  # at most, in a session


def readable(package: str) -> list[str]:
    """What student code may read: the system's programs and libraries, this Python and its packages, our copy."""
    python = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, *site.getsitepackages())}
    return [p for p in (*SYSTEM, *sorted(python), package) if os.path.exists(p)]


def installed() -> list[str]:
    """vos_teach as it may be installed beside its dependencies: it holds the oracles, so it is to be hidden."""
    found = []
    for folder in dict.fromkeys((*site.getsitepackages(), *(p for p in sys.path if p.endswith("-packages")))):
        for name in ("vos_teach", "vos_teach.egg-link"):
            path = Path(folder) / name
            if path.exists():
                found.append(str(path))
    return found


def namespaces(network: bool) -> str:
    """Enter namespaces of one's own (network: of the network, too), if they work here: "" if so, else why not."""
    if not linux.LINUX:
        return "no namespaces but on Linux"
    try:
        linux.own_namespaces(network)
    except OSError as error:
        linux.private(False)
        return str(error)
    return ""


def nests(network: bool) -> str:
    """Whether `namespaces` works here, tried by a process that ends at once: "" if so, else why not."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, namespaces(network).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader, "rb") as file:
        return file.read().decode()


def mounts(scratch: str, size: int, hidden: Iterable[str]) -> dict[str, bool]:
    """In a mount and PID namespace of one's own: an own scratch folder and /proc, hidden files empty."""
    done = {}
    with contextlib.suppress(OSError):
        linux.all_read_only()
        done["read only"] = True
    for path in hidden:
        if os.path.exists(path):
            if os.path.isdir(path):
                linux.mount("tmpfs", path, "tmpfs", linux.MS_RDONLY, "size=4k")
            else:
                linux.mount("/dev/null", path, None, linux.MS_BIND)
    linux.mount("tmpfs", scratch, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"size={size},nr_inodes=4096,mode=0700")
    try:
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        done["proc"] = True
        with contextlib.suppress(OSError), open("/proc/sys/kernel/pid_max", "w") as file:
            file.write(str(THREADS))  # counts threads, too; a namespace's own since Linux 6.14
            done["pid_max"] = True
    except OSError:  # where a part of /proc is covered, a new one may not be mounted: then there is none
        linux.mount("tmpfs", "/proc", "tmpfs", linux.MS_RDONLY, "size=4k")
        done["proc"] = False
    return done


def limit(cpu: float, memory: int, size: int, own: bool) -> None:
    """Limits of this process: memory is beyond what it has already. own: it is in a user namespace of its own."""
    import resource

    def at_most(what: str, value: int, spare: int = 0) -> None:
        number = getattr(resource, what, None)
        if number is None:
            return
        hard = resource.getrlimit(number)[1]
        most = value + spare if hard == resource.RLIM_INFINITY else min(value + spare, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(number, (min(value, most), most))

    at_most("RLIMIT_CPU", max(1, math.ceil(cpu)), spare=1)  # SIGXCPU tells it apart; who ignores that is killed
    at_most("RLIMIT_FSIZE", size)
    at_most("RLIMIT_NOFILE", 256)
    at_most("RLIMIT_CORE", 0)
    at_most("RLIMIT_MSGQUEUE", 0)
    at_most("RLIMIT_MEMLOCK", 1 << 20)
    if own:
        at_most("RLIMIT_NPROC", THREADS)
    if linux.LINUX:
        at_most("RLIMIT_AS", memory + address_space())


def address_space() -> int:
    """Bytes of address space that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def close_all_but(*keep: int) -> None:
    """Close every file descriptor but these."""
    edges = [-1, *sorted(keep), 1 << 16]
    for low, high in itertools.pairwise(edges):
        if low + 1 < high:  # an empty range that starts at 0 closes everything
            os.closerange(low + 1, high)


def lock(package: str, scratch: str, hidden: list[str], own_proc: bool, own_mounts: bool
         ) -> dict[str, Any]:
    """The last steps: no capabilities, no new privileges, Landlock if there is one, the filter of system calls.

    own_proc: /proc shows this process only; own_mounts: all that is not this session's own is mounted read-only.
    """
    facts: dict[str, Any] = {"landlock": 0, "seccomp": False}
    with contextlib.suppress(OSError):
        linux.drop_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):
        roots = readable(package) + (["/proc"] if own_proc else [])
        writable = [scratch] + [p for p in ("/dev/null",) if _is_device(p)]
        facts["landlock"] = landlock.restrict(roots, writable, [*hidden, *installed()])
    linux.private(True)
    seccomp.install(pretend=not own_mounts)
    facts["seccomp"] = True
    return facts


def _is_device(path: str) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISCHR(os.stat(path).st_mode)
    return False
