"""Attempts to get out of the sandbox, or at what is kept from it. Each must fail, at every level that works here.

"flat" is a level without namespaces of a session's own, as where the kernel does not nest them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from vos_teach.grading.sandbox import Box, Limits, Lost, confine, landlock, levels, seccomp

pytestmark = pytest.mark.slow
SMALL = Limits(wall=20, cpu=20, memory=1 << 30, output=10_000, reply=4 << 20, scratch=4 << 20)
BLOCKED = ["vos_teach.ops.losses:balanced_bce", "vos_teach.ops.modulate:mask_gaussian", "vos_teach.clip:Clip"]


@pytest.fixture(scope="module", params=["bwrap", "landlock", "bwrap flat", "landlock flat"])
def box(request):
    level, _, flat = request.param.partition(" ")
    if why := levels.probe(level):
        pytest.skip(f"{level} does not work here: {why}")
    if flat and not landlock.abi():
        pytest.skip("a flat session needs Landlock")
    with Box(level, SMALL) as one:
        one.nest = not flat
        yield one


def result(box, code: str, blocked=()):
    """What `said` is after this cell; the error of the cell if it has one."""
    with box.session(blocked=blocked) as session:
        ran = session.run([textwrap.dedent(code)])[0]
        return ran.error if ran.error else session.value("said")


TRY = """
said = []
def attempt(what, *args, **kwargs):
    try:
        value = what(*args, **kwargs)
    except (OSError, PermissionError) as error:
        return type(error).__name__
    said.append(repr((getattr(what, '__name__', what), args, value))[:200])
"""


def test_files_outside_cannot_be_read(box, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("42")
    here = Path(__file__)
    outside = [secret, here, "/etc/shadow", "/etc/passwd", "/etc/hostname", Path.home() / ".bashrc", Path.home(),
               *("/" + name for name in ("root", "home", "tmp", "var", "work", "mnt")), "/proc/1/environ",
               "/proc/1/ro" + "ot", "/proc/1/cwd",
               here.parents[2], here.parents[2] / "assignments" / "hidden", box._folder, "/proc/2/maps",
               f"/proc/{os.getpid()}/environ", *(f"/proc/{n}/ro" + "ot/etc/passwd" for n in (os.getpid(), "self")),
               "/dev/vda", "/dev/mem", "/dev/kmsg", "/sys/kernel", "/proc/kcore"]
    code = TRY + f"""
import os
own = set(os.listdir('.'))
for path in {[str(p) for p in outside]!r}:
    if path == '/proc/1/environ' and os.getpid() == 1 or path in ('/proc/1/root', '/proc/1/cwd'):
        continue
    if os.path.isdir(path) and not os.path.ismount(path):
        try: inside = os.listdir(path)
        except OSError: continue
        inside = [n for n in inside if n not in ('.venv', '.pyenv', 'main', 'scratch', 'package')]
        if inside: said.append((path, str(inside[:5])))
    else:
        attempt(lambda p: open(p, 'rb').read(100), path)
    os.chdir(os.path.expanduser('~'))
"""
    assert result(box, code) == []


def test_symlinks_and_dots_lead_nowhere(box, tmp_path):
    (tmp_path / "secret").write_text("42")
    code = TRY + f"""
import os
for target in ({str(tmp_path / "secret")!r}, '/etc/shadow', '../../../../../../etc/shadow', '/proc/1/root/etc/shadow'):
    attempt(os.symlink, target, 'link')
    said.clear()
    attempt(lambda: open('link').read())
    attempt(os.link, target, 'hard')
    attempt(lambda: open('../' * 20 + target.lstrip('/')).read())
    if said: break
    os.unlink('link')
"""
    assert result(box, code) == []


def test_nothing_outside_scratch_can_be_written(box, tmp_path):
    code = TRY + f"""
import os, sys, vos_teach, numpy
def write(path):
    with open(path, 'w') as f: f.write('x')
def change(path):
    before = os.stat(path)
    os.chmod(path, 0o777)
    os.utime(path, (1, 1))
    after = os.stat(path)
    if (before.st_mode, before.st_mtime) == (after.st_mode, after.st_mtime): raise OSError  # it only seemed to work
for folder in ('/', '/usr', '/etc', '/tmp', '/dev', '/dev/shm', '/var/tmp', '/run', sys.prefix, sys.base_prefix,
               os.path.dirname(vos_teach.__file__), os.path.dirname(numpy.__file__), {str(tmp_path)!r}, '/vos',
               '/proc', '/proc/sys/kernel', os.path.dirname(os.path.expanduser('~').rstrip('/'))):
    attempt(write, os.path.join(folder, 'planted'))
    attempt(os.mkdir, os.path.join(folder, 'planted'))
    attempt(os.rename, 'own', os.path.join(folder, 'planted'))
for path in (vos_teach.__file__, numpy.__file__, {__file__!r}, '/dev/sda', '/proc/sys/kernel/pid_max', '/etc/passwd'):
    attempt(lambda p: open(p, 'r+').write('x'), path)
    attempt(os.truncate, path, 0)
    attempt(os.unlink, path)
    attempt(change, path)
write('own')
"""
    assert result(box, code) == []


def test_no_network_and_no_sockets_at_all(box):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    code = TRY + f"""
import socket, urllib.request, os
for family in range(0, 46):
    for kind in (1, 2, 3, 5):
        attempt(socket.socket, family, kind)
attempt(socket.create_connection, ('127.0.0.1', {listening.getsockname()[1]}), 2)
attempt(urllib.request.urlopen, 'http://127.0.0.1:{listening.getsockname()[1]}')
attempt(socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM)
attempt(socket.getaddrinfo, 'example.org', 80)
for fd in range(3, 50):
    try: inherited = socket.socket(fileno=os.dup(fd))
    except OSError: continue
    for where in ('/run/systemd/journal/socket', b'\\0abstract', '/dev/log'):
        attempt(inherited.connect, where)
        attempt(inherited.bind, 'own')
        attempt(inherited.sendto, b'x', where)
    attempt(inherited.listen)
    attempt(inherited.accept)
"""
    assert result(box, code) == []
    listening.close()


def test_no_new_processes(box):
    code = TRY + """
import ctypes, multiprocessing, os, pty, subprocess
import posix
for call in (os.fork, posix.fork, os.forkpty, posix.forkpty, pty.fork):
    attempt(call)
attempt(os.system, 'true')
attempt(os.posix_spawn, '/bin/true', ['true'], {})
attempt(posix.posix_spawn, '/usr/bin/true', ['true'], {})
for call in (os.execv, posix.execv):
    attempt(call, '/usr/bin/true', ['true'])
attempt(subprocess.run, ['true'])
import importlib
attempt(importlib.reload(subprocess).run, ['true'])
process = multiprocessing.Process(target=print)
attempt(process.start)
libc = ctypes.CDLL(None, use_errno=True)
def raw(*args):
    if libc.syscall(*args) < 0: raise OSError(ctypes.get_errno(), 'no')
    return 'it worked'
for number in (57, 58):
    attempt(raw, number)
attempt(raw, 56, 17, 0, 0, 0, 0)                # clone(SIGCHLD)
attempt(raw, 56, 0x10000000 | 17, 0, 0, 0, 0)   # with a new user namespace
attempt(raw, 56, 0x4000 | 0x100 | 17, 0, 0, 0, 0)  # vfork
block = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
attempt(raw, 435, block, 88)                    # clone3
attempt(raw, 0x40000000 | 57)                   # by the x32 numbering
attempt(raw, 59, b'/usr/bin/true', 0, 0)
attempt(raw, 322, -100, b'/usr/bin/true', 0, 0, 0)
"""
    found = result(box, code)
    assert found == []


def test_no_door_of_the_kernel(box):
    numbers = {n: v[0] for n, v in seccomp.DENIED.items() if v[0] is not None}
    code = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
said = []
for name, number in %r.items():
    if libc.syscall(number, 0, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        said.append(name)
for option, value in ((1, 0), (4, 1), (22, 2), (0x59616d61, -1), (35, 1)):
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) >= 0 or ctypes.get_errno() != errno.EPERM: said.append(option)
if libc.prctl(39, 0, 0, 0, 0) != 1: said.append('new privileges')
status = ''
""" % {n: v for n, v in numbers.items()}
    assert os.uname().machine != "x86_64" or result(box, code) == []


def test_no_signals_to_others(box):
    victim = subprocess.Popen(["sleep", "60"])
    try:
        code = TRY + f"""
import os, signal
for pid in [0, -1, {victim.pid}, {os.getpid()}, {box._process.pid if box._process else 1}, os.getpid() + 1,
            os.getpid() - 1, 2, 3] + list(range(-5, -1)):
    if pid != os.getpid():
        attempt(os.kill, pid, 0)
        attempt(os.kill, pid, 9)
attempt(os.killpg, os.getpgid(0), 9)
import resource
attempt(resource.prlimit, {victim.pid}, resource.RLIMIT_CPU, (1, 1))
attempt(os.sched_setaffinity, {victim.pid}, [0])
attempt(os.setpriority, os.PRIO_PROCESS, {victim.pid}, 19)
"""
        assert result(box, code) == [] and victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_limits_cannot_be_raised(box):
    code = TRY + """
import resource, os
for name in ('AS', 'CPU', 'FSIZE', 'NOFILE', 'CORE'):
    number = getattr(resource, 'RLIMIT_' + name)
    soft, hard = resource.getrlimit(number)
    if hard == resource.RLIM_INFINITY: said.append(name)
    try: resource.setrlimit(number, (hard + 1, hard + 1)); said.append(name)
    except ValueError: pass
"""
    assert result(box, code) == []


def test_the_environment_and_the_command_line_tell_nothing(box, monkeypatch):
    code = """
import os, sys
said = sorted(set(os.environ) - {'PWD'}), sys.argv, [n for n in os.environ.values() if 'secret' in n]
"""
    names, argv, secret = result(box, code)
    assert secret == [] and set(names) <= {*levels.environment("x"), "LD_LIBRARY_PATH", "TORCHINDUCTOR_CACHE_DIR",
                                           "OPENCV_FFMPEG_CAPTURE_OPTIONS", "KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK"}
    assert all(len(a) < 300 for a in argv)


def test_nothing_is_inherited_but_one_socket(box):
    code = """
import os, stat
said = []
for fd in range(0, 1000):
    try: kind = os.fstat(fd).st_mode
    except OSError: continue
    said.append([fd, 'socket' if stat.S_ISSOCK(kind) else 'pipe' if stat.S_ISFIFO(kind) else
                 'null' if stat.S_ISCHR(kind) else 'file'])
"""
    found = result(box, code)
    assert [k for _, k in found[:3]] == ["null", "pipe", "pipe"]
    assert [k for _, k in found[3:]].count("socket") == 1 and {k for _, k in found[3:]} <= {"socket", "null"}


def test_the_exercises_and_the_grading_are_not_there(box):
    code = """
import importlib, os, pkgutil, sys
import vos_teach, vos_teach.lab.exercises
said = []
for name in ('vos_teach.lab.exercises.lab0', 'vos_teach.lab.exercises.lab0_oracles', 'vos_teach.lab.exercises.lab1',
             'vos_teach.grading.records', 'vos_teach.grading.build'):
    try: importlib.import_module(name); said.append(name)
    except ImportError: pass
said += [n for n in sys.modules if n.startswith('vos_teach.lab.exercises.') and not n.endswith('_beside')]
said += [n for n in os.listdir(os.path.dirname(vos_teach.lab.exercises.__file__))
         if not n.endswith('_beside.py') and n != '__init__.py']
if os.path.exists(os.path.join(os.path.dirname(vos_teach.__file__), 'assets', 'quiz.json')): said.append('quiz')
if 'package' not in vos_teach.__file__: said.append(vos_teach.__file__)
"""
    assert result(box, code) == []


BALANCED = "logits, target = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)\nsaid.append(str({}))"


@pytest.mark.parametrize("way", [
    "vos_teach.ops.losses.balanced_bce(logits, target)",
    "vos_teach.ops.balanced_bce(logits, target)",
    "importlib.import_module('vos_teach.ops.losses').balanced_bce(logits, target)",
    "importlib.reload(vos_teach.ops.losses).balanced_bce(logits, target)",
    "(sys.modules.pop('vos_teach.ops.losses'), importlib.import_module('vos_teach.ops.losses'))[1].balanced_bce(1, 2)",
    "[f for f in gc.get_objects() if getattr(f, '__name__', '') == 'balanced_bce'][0](logits, target)",
    "[c for c in gc.get_objects() if type(c).__name__ == 'code' and c.co_name == 'balanced_bce'][0]",
    "inspect.getsource(vos_teach.ops.losses.balanced_bce)",
    "inspect.getsource(vos_teach.ops.losses)",
    "open(vos_teach.ops.losses.__file__).read()[10]",
    "vos_teach.ops.losses.__loader__.get_source('vos_teach.ops.losses')[10]",
    "vos_teach.ops.losses.__loader__.get_code('vos_teach.ops.losses').co_consts[10]",
    "pkgutil.get_data('vos_teach.ops', 'losses.py')[10]",
    "linecache.getlines(vos_teach.ops.losses.__file__)[10]",
    "subprocess.run([sys.executable, '-c', 'import vos_teach.ops.losses'], check=True)",
    "os.listdir(os.path.dirname(vos_teach.__file__) + '/ops/__pycache__')",
    "types.FunctionType(vos_teach.ops.losses.balanced_bce.__code__, vars(torch))(logits, target)",
    "next(open('/proc/self/mem', 'rb'))",
    "vos_teach.ops.modulate._robust(torch.ones(3), 1.0)",
    "vos_teach.clip.Clip('x', [], [], (1,), (2, 2))",
])
def test_a_blocked_function_cannot_be_reached(box, way):
    code = ("import gc, importlib, inspect, linecache, os, pkgutil, subprocess, sys, types\nimport torch\n"
            "import vos_teach.clip, vos_teach.ops.losses, vos_teach.ops.modulate\nsaid = []\n" + BALANCED.format(way))
    found = result(box, code, BLOCKED)
    assert type(found) is tuple and found[0] in (  # an error; a list would hold what was had
        "PermissionError", "OSError", "IndexError", "FileNotFoundError", "AttributeError", "ImportError",
                        "ModuleNotFoundError", "TypeError"), found


def test_what_is_not_blocked_still_works(box):
    code = ("import torch\nfrom vos_teach.ops.losses import bootstrapped_ce\n"
            "from vos_teach.ops.modulate import modulate\n"
            "said = float(bootstrapped_ce(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2).long(), 1.0))")
    assert result(box, code, BLOCKED[:2]) == pytest.approx(0.6931, abs=1e-3)
    assert result(box, code.replace("said", "import vos_teach.ops.losses as l\nl.balanced_bce(torch.zeros(1, 2, 2), "
                                    "torch.ones(1, 2, 2))\nsaid")) == pytest.approx(0.6931, abs=1e-3)


def test_blocked_names_that_are_not_there_are_told(box):
    with pytest.raises(Exception, match="no_such"):
        box.session(blocked=["vos_teach.ops.losses:no_such"])


def test_a_neighbour_is_out_of_sight(box):
    with box.session(["open('mine', 'w').write('42'); import os; here = os.getcwd(); me = os.getpid()"]) as one:
        one.run()
        here, me = one.value("here"), one.value("me")
        code = TRY + f"""
import os
attempt(lambda: open({here!r} + '/mine').read())
if os.getpid() != {me}:
    attempt(os.listdir, '/proc/{me}/fd')
    attempt(lambda: open('/proc/{me}/mem', 'rb').read(1))
    attempt(os.kill, {me}, 0)
if {here!r} != os.getcwd(): attempt(os.listdir, os.path.dirname(os.getcwd()))
"""
        assert result(box, code) == []


def alive(mark: str) -> list[int]:
    """Processes whose command line or working folder has this in it."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            text = (entry / "cmdline").read_bytes().decode("utf-8", "replace") if entry.name.isdigit() else ""
            if mark in text and "\0Z" not in text:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


GRADER = """
import os, sys, time
from vos_teach.grading.sandbox import Box
box = Box({level!r}); box.nest = {nest}
box.start()
session = box.session()
session.run(["import os, threading, time, signal\\nfor n in range(1, 60):\\n"
             "    try: signal.signal(n, signal.SIG_IGN)\\n    except Exception: pass\\n"
             "threading.Thread(target=time.sleep, args=(500,)).start()"])
print(box._folder, flush=True)
session.call if {idle} else session.run(["while True: pass"])
time.sleep(500)
"""


@pytest.mark.parametrize("idle", [True, False])
def test_a_killed_grader_leaves_no_process_and_no_folder(box, idle):
    code = GRADER.format(level=box.level, nest=box.nest, idle=idle)
    grader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    folder = grader.stdout.readline().strip()
    assert folder
    before = [p for p in children(grader.pid)]
    assert len(before) >= 3
    time.sleep(0.3)
    os.kill(grader.pid, signal.SIGKILL)
    grader.wait()
    end = time.monotonic() + 10
    while (left := [p for p in before if running(p)]) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == []
    if box._process is not None:
        box.stop()
    box.start()  # sweeps what killed graders left
    assert not Path(folder).exists()


def children(pid: int) -> list[int]:
    """All descendants."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def running(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_a_closed_box_leaves_nothing(box):
    with Box(box.level, SMALL) as other:
        other.nest = box.nest
        session = other.session()
        session.run(["import threading, time; threading.Thread(target=time.sleep, args=(500,)).start()"])
        pids = [other._process.pid, *children(other._process.pid)]
        folder = other._folder
    assert len(pids) >= 3 and not folder.exists()
    end = time.monotonic() + 5
    while any(map(running, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(running, pids))


def test_a_flood_of_files_ends_a_flat_session_and_is_removed(box):
    code = "import os\nfor n in range(100_000):\n    os.makedirs(f'd{n % 7}/x', exist_ok=True)\n"
    code += "    open(f'd{n % 7}/{n}', 'w').close()\n"
    code += "    if n % 1000 == 0: os.chmod(f'd{n % 7}/x', 0)\n"
    with box.session() as session:
        try:
            assert session.run([code])[0].error[0] == "OSError"
        except Lost as lost:
            assert not box.nest and "files" in lost.reason
    assert box.nest or not list((Path(box._folder) / "scratch").glob("session*"))


def test_an_installed_package_is_masked(monkeypatch, tmp_path):
    """Where vos_teach is installed beside its dependencies, the sandbox sees an empty folder instead."""
    folder = tmp_path / "vos_teach"
    folder.mkdir()
    (folder / "oracle.py").write_text("x = 1")
    monkeypatch.setattr(levels, "python_folders", lambda real=levels.python_folders: [*real(), str(tmp_path)])
    monkeypatch.setattr(confine, "installed", lambda: [str(folder)])
    if why := levels.probe("bwrap"):
        pytest.skip(f"bwrap does not work here: {why}")
    with Box("bwrap", SMALL) as box:
        box.nest = False
        code = f"import os\nsaid = os.path.exists({str(folder / 'oracle.py')!r})"
        assert result(box, code) is False
