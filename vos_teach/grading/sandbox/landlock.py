"""Landlock, by ctypes: which files a process and its children may see, and (newer kernels) no TCP, no signals out."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from vos_teach.grading.sandbox import linux

CREATE, ADD, RESTRICT = 444, 445, 446
READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1 << 2, 1 << 3, 1 << 14, 1 << 15
READ = READ_FILE | READ_DIR
_MADE = 1 << 6 | 1 << 9 | 1 << 11  # devices and sockets: never made, not even in the scratch folder


def abi() -> int:
    """The kernel's version of Landlock; 0 where there is none or it is switched off."""
    try:
        return linux.call(CREATE, None, 0, 1)
    except OSError:
        return 0


def _rights(version: int) -> int:
    """Every right over files that this version knows."""
    every = (1 << 13) - 1
    for since, right in ((2, 1 << 13), (3, TRUNCATE), (5, IOCTL_DEV)):
        every |= right if version >= since else 0
    return every


def restrict(readable: Iterable[str | Path], writable: Iterable[str | Path], hidden: Iterable[str | Path] = ()) -> int:
    """Leave this process nothing but these files and folders. `hidden`: files under `readable` that stay out of reach.

    Also denies TCP (from version 4) and, from version 6, abstract sockets and signals to processes outside. Returns the
    version; OSError where Landlock is absent. The process must have one thread only.
    """
    version = abi()
    if not version:
        raise OSError("this kernel has no Landlock, or it is switched off")
    every = _rights(version)
    sizes = (8, 16, 24)
    attributes = (ctypes.c_uint64 * 3)(every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    rules = linux.call(CREATE, ctypes.byref(attributes), sizes[(version >= 4) + (version >= 6)], 0)
    try:
        covered = {os.path.realpath(h) for h in hidden}
        for path in readable:
            _read(rules, os.path.realpath(path), covered)
        for path in writable:
            _add(rules, str(path), every & ~_MADE & ~1)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.call(RESTRICT, rules, 0)
    finally:
        os.close(rules)
    return version


def _read(rules: int, path: str, covered: set[str]) -> None:
    """Allow to read what is there, except what is covered: then its neighbours one by one."""
    if path in covered:
        return
    if any(c.startswith(path + os.sep) for c in covered) and os.path.isdir(path):
        for entry in os.scandir(path):
            if not entry.is_symlink():
                _read(rules, entry.path, covered)
        return
    _add(rules, path, READ)


def _add(rules: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no leave
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= 1 | 2 | READ_FILE | TRUNCATE | IOCTL_DEV
            rights &= ~1
        said = ctypes.create_string_buffer(rights.to_bytes(8, "little") + fd.to_bytes(4, "little"), 12)
        linux.call(ADD, rules, 1, ctypes.byref(said), 0)
    finally:
        os.close(fd)
