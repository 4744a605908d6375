"""Linux's system calls that Python does not have, by ctypes. Every function raises OSError where the kernel says no."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_CAP_AMBIENT = 1, 4, 38, 24, 47
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
MOUNT_SETATTR = 442
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1, 2, 4, 8, 32, 4096, 16384, 1 << 18)
SIGKILL = 9
MACHINE = platform.machine()
LINUX = sys.platform == "linux"
_libc: ctypes.CDLL | None = None


def libc() -> ctypes.CDLL:
    """The C library, loaded once; OSError where this is no Linux."""
    global _libc
    if not LINUX:
        raise OSError("this is no Linux")
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.syscall.restype = ctypes.c_long
    return _libc


def _ask(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def call(number: int, *arguments: object) -> int:
    """A system call by its number."""
    known = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _ask(libc().syscall(ctypes.c_long(number), *known), f"system call {number}")


def prctl(option: int, value: int = 0, third: int = 0) -> int:
    """prctl(2)."""
    return _ask(libc().prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(third), 0, 0), f"prctl {option}")


def die_with_parent(parent: int | None = None) -> None:
    """Be killed when the parent's thread that made us ends; if it is gone already (it was `parent`), end now."""
    if not LINUX:
        return
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def private(yes: bool) -> None:
    """Whether processes of the same user may look into this one (ptrace, /proc/PID/mem, /proc/PID/environ)."""
    if LINUX:
        prctl(PR_SET_DUMPABLE, 0 if yes else 1)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _ask(libc().unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    def text(value: str | None) -> bytes | None:
        return None if value is None else os.fsencode(value)

    _ask(libc().mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(data)), f"mount on {target}")


def all_read_only() -> None:
    """Make every mount of this mount namespace read-only (Linux 5.12): Landlock does not stop chmod and its like."""
    attributes = (ctypes.c_uint64 * 4)(1, 0, 0, 0)  # MOUNT_ATTR_RDONLY to be set
    path = ctypes.c_char_p(b"/")
    call(MOUNT_SETATTR, -1, path, 0x8000, ctypes.byref(attributes), 32)  # AT_RECURSIVE


def own_namespaces(network: bool = False) -> None:
    """Enter a user, mount, IPC and (for the next child) PID namespace of one's own, mapped to the same user."""
    user, group = os.geteuid(), os.getegid()
    private(False)  # else /proc/self/uid_map is not ours to write
    unshare(NEWUSER | NEWNS | NEWPID | NEWIPC | NEWUTS | (NEWNET if network else 0))
    private(False)
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def drop_capabilities() -> None:
    """Give up every capability for good."""
    for number in range(64):
        if libc().prctl(PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) < 0:
            break
    libc().prctl(PR_CAP_AMBIENT, ctypes.c_ulong(4), 0, 0, 0)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _ask(libc().capset(head, (ctypes.c_uint32 * 6)()), "capset")
