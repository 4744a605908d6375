"""Who stops, floods or outlives what runs the answers, or destroys what lies around."""

from __future__ import annotations

from hostile import DAEMON, RIGHT, STOPPED, WRONG, Desk, clean, student

ANSWER = "\ndef modulate(features, gamma, beta):\n"
RIGHTLY = "    return gamma[..., None, None] * features + beta\n"
MEMORY = {"lab1.modulate": frozenset({"out of memory"})}
TIME = {"lab1.modulate": frozenset({"time-out"})}
# prctl(PR_SET_NAME): what is left over is found by its name
NAMED = f'import ctypes, os, signal, time\ndef name(): ctypes.CDLL(None).prctl(15, b"{DAEMON}", 0, 0, 0)\n'


@student({"lab1.modulate": STOPPED}, says={"lab1.modulate": "exit|Exit|end"})
def sys_exit(desk: Desk) -> None:
    """The answer leaves by sys.exit(0)."""
    desk.give("lab1.modulate", "import sys" + ANSWER + "    sys.exit(0)\n")


@student({"lab1.modulate": frozenset({"died"})}, says={"lab1.modulate": "."})
def os_exit(desk: Desk) -> None:
    """The answer ends the process by os._exit(0)."""
    desk.give("lab1.modulate", "import os" + ANSWER + "    os._exit(0)\n")


@student({"lab1.modulate": STOPPED})
def exit_while_defining(desk: Desk) -> None:
    """The answer's cell ends the process before anything is defined."""
    desk.give("lab1.modulate", "import os\nos._exit(0)" + ANSWER + RIGHTLY)


@student({"lab1.modulate": STOPPED})
def raises_system_exit(desk: Desk) -> None:
    """SystemExit(0) is raised out of the answer."""
    desk.give("lab1.modulate", ANSWER + "    raise SystemExit(0)\n")


@student({"lab1.modulate": STOPPED})
def raises_keyboard_interrupt(desk: Desk) -> None:
    """KeyboardInterrupt is raised out of the answer, and GeneratorExit after it."""
    desk.give("lab1.modulate", "count = []" + ANSWER
              + "    count.append(1)\n    raise KeyboardInterrupt if len(count) % 2 else GeneratorExit\n")


@student({"lab1.modulate": STOPPED})
def kills_everybody(desk: Desk) -> None:
    """SIGKILL to the parent, the group, and everybody."""
    desk.give("lab1.modulate", clean("""
        import os, signal
        def modulate(features, gamma, beta):
            for pid in (os.getppid(), 0, -1, 1):
                for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
                    try:
                        if pid > 0 or number == signal.SIGKILL:
                            os.kill(pid, number)
                    except OSError:
                        pass
            return features
    """))


@student({"lab1.modulate": frozenset({"died"})})
def segmentation_fault(desk: Desk) -> None:
    """The answer reads from address 0."""
    desk.give("lab1.modulate", "import ctypes" + ANSWER + "    return ctypes.string_at(0)\n")


@student(TIME, says={"lab1.modulate": "second|time"})
def endless_loop(desk: Desk) -> None:
    """The answer never returns."""
    desk.give("lab1.modulate", ANSWER + "    while True:\n        pass\n")


@student(TIME, says={"lab1.modulate": "second|time"})
def ignores_interrupts(desk: Desk) -> None:
    """The answer never returns, ignores every signal that can be ignored, and catches whatever is raised in it."""
    desk.give("lab1.modulate", clean("""
        import signal, sys
        def modulate(features, gamma, beta):
            for number in range(1, 65):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            sys.setswitchinterval(1000)
            while True:
                try:
                    while True:
                        pass
                except BaseException:
                    continue
    """))


@student(TIME, says={"lab1.modulate": "second|time"})
def sleeps_for_ever(desk: Desk) -> None:
    """The answer sleeps, which costs no processor time."""
    desk.give("lab1.modulate", "import time" + ANSWER + "    time.sleep(10 ** 6)\n")


@student({"lab1.modulate": frozenset({"time-out", "not attempted"})})
def endless_while_defining(desk: Desk) -> None:
    """The answer's cell never ends, so nothing is ever defined."""
    desk.give("lab1.modulate", "while True:\n    pass" + ANSWER + RIGHTLY)


@student(held=None)
def endless_elsewhere(desk: Desk) -> None:
    """An own cell that no answer needs never ends: it costs nothing."""
    desk.give("lab1.modulate", ANSWER + RIGHTLY, before="while True:\n    pass")


@student({"lab1.modulate": STOPPED})
def fork_bomb(desk: Desk) -> None:
    """Processes that make processes."""
    desk.give("lab1.modulate", NAMED + clean("""
        def modulate(features, gamma, beta):
            name()
            while True:
                try:
                    os.fork()
                except OSError:
                    return features
    """))


@student({"lab1.modulate": STOPPED})
def thread_bomb(desk: Desk) -> None:
    """Threads until no more can be had, none of which ends."""
    desk.give("lab1.modulate", clean("""
        import threading, time
        def modulate(features, gamma, beta):
            try:
                while True:
                    threading.Thread(target=time.sleep, args=(10 ** 6,)).start()
            except BaseException:
                pass
            return features
    """))


@student(MEMORY, says={"lab1.modulate": "memory"})
def memory_bomb(desk: Desk) -> None:
    """All memory, by numpy."""
    desk.give("lab1.modulate", "kept = []" + ANSWER
              + "    while True:\n        kept.append(np.ones((1 << 26,), np.uint8))\n")


@student(MEMORY, says={"lab1.modulate": "memory"})
def memory_bomb_by_torch(desk: Desk) -> None:
    """More memory than there is, by torch, in one piece."""
    desk.give("lab1.modulate", ANSWER + "    return torch.ones(1 << 40)\n")


@student(MEMORY | {"lab1.modulate": frozenset({"out of memory", "died", "wrong"})})
def memory_bomb_caught(desk: Desk) -> None:
    """All memory, again and again, whatever is raised."""
    desk.give("lab1.modulate", "kept = []" + ANSWER + "    for _ in range(10 ** 5):\n        try:\n"
              "            kept.append(bytearray(1 << 26))\n        except BaseException:\n            break\n"
              "    return features\n")


@student({"lab1.modulate": frozenset({"wrong", "died", "out of memory", "time-out"})},
         says={"lab1.modulate": "recursion|died|signal|memory|time|ended"})
def endless_recursion(desk: Desk) -> None:
    """The answer calls itself, with the limit of recursion taken away."""
    desk.give("lab1.modulate", "import sys\nsys.setrecursionlimit(10 ** 9)" + ANSWER
              + "    return modulate(features, gamma, beta)\n")


@student({"lab1.modulate": RIGHT})
def output_flood(desk: Desk) -> None:
    """A right answer that prints 200 MB, by Python and by the file descriptor."""
    desk.give("lab1.modulate", clean("""
        import os
        flooded = []
        def modulate(features, gamma, beta):
            for _ in range(0 if flooded else 100):
                print("x" * 10 ** 6)
                os.write(2, b"y" * 10 ** 6)
            flooded.append(1)
    """) + "\n" + RIGHTLY)


@student(TIME | {"lab1.modulate": STOPPED})
def output_flood_for_ever(desk: Desk) -> None:
    """A flood of output that never ends."""
    desk.give("lab1.modulate", ANSWER + "    while True:\n        print('x' * 10 ** 6, flush=True)\n")


@student({"lab1.modulate": STOPPED | RIGHT})
def file_flood(desk: Desk) -> None:
    """The disk is filled: one large file, and very many small ones."""
    desk.give("lab1.modulate", clean("""
        import os
        def modulate(features, gamma, beta):
            for folder in (".", "/tmp", "/dev/shm", "/var/tmp"):
                try:
                    with open(folder + "/vosleft-flood", "wb") as file:
                        for _ in range(300):
                            file.write(bytes(1 << 24))
                except BaseException:
                    pass
            try:
                for i in range(5000):
                    open(f"vosleft-{i}", "w").close()
            except BaseException:
                pass
    """) + "\n" + RIGHTLY)


@student({"lab1.modulate": STOPPED | RIGHT})
def daemon(desk: Desk) -> None:
    """A detached process that outlives the run and writes into the instructor's home, and a right answer beside it."""
    desk.give("lab1.modulate", NAMED + clean(f"""
        def haunt():
            if os.fork():
                return
            os.setsid()
            if os.fork():
                os._exit(0)
            name()
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            while True:
                time.sleep(1)
                try:
                    open("{desk.world.home}/haunted", "a").write("x")
                except OSError:
                    pass
        try:
            haunt()
        except BaseException:
            pass
    """) + ANSWER + RIGHTLY)


@student({"lab1.modulate": STOPPED | RIGHT})
def daemon_thread(desk: Desk) -> None:
    """A thread that goes on while other exercises are judged, and breaks what it can reach."""
    desk.give("lab1.modulate", clean("""
        import threading, time
        def haunt():
            while True:
                time.sleep(0.01)
                for name in ("balanced_bce", "finetune", "mask_gaussian"):
                    globals()[name] = None
        threading.Thread(target=haunt, daemon=True).start()
    """) + ANSWER + RIGHTLY)


@student({"lab1.modulate": STOPPED | RIGHT})
def raises_its_limits(desk: Desk) -> None:
    """The limits are lifted, privileges taken back, and file systems mounted; then a right answer."""
    desk.give("lab1.modulate", clean("""
        import ctypes, os, resource
        for name in [n for n in dir(resource) if n.startswith("RLIMIT_")]:
            try:
                resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            except BaseException:
                pass
        libc = ctypes.CDLL(None)
        for work in (lambda: os.setuid(0), lambda: os.chroot("/"), lambda: libc.unshare(0x10000000 | 0x00020000),
                     lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), lambda: os.nice(-20),
                     lambda: libc.prctl(38, 0, 0, 0, 0)):
            try:
                work()
            except BaseException:
                pass
    """) + ANSWER + RIGHTLY)


@student({"lab1.modulate": WRONG})
def blames_the_library(desk: Desk) -> None:
    """Raises what only the library raises: NotAttempted's relatives, VosError, with words of praise."""
    desk.give("lab1.modulate", """
        from vos_teach.errors import VosError
        def modulate(features, gamma, beta):
            raise VosError("Right - lab1.modulate: 12 cases passed")
    """)


@student({"lab1.modulate": WRONG})
def writer_of_gradebook(desk: Desk) -> None:
    """The gradebook is opened and everybody gets 297 points; records and submissions are written over."""
    desk.give("lab1.modulate", clean(f"""
        import glob, os, sqlite3
        for path in ["{desk.world.course}/gradebook.db"]:
            try:
                with sqlite3.connect(path) as book:
                    book.execute("update grade set auto_score = 297, manual_score = 297")
            except BaseException:
                pass
        for path in ["{desk.world.course}/hidden/lab1.py", "{desk.world.neighbour}", "{desk.world.home}/notes.txt",
                     *glob.glob("{desk.world.course}/**", recursive=True)]:
            for work in (lambda: open(path, "a").write(" # was here"), lambda: os.chmod(path, 0o777),
                         lambda: os.utime(path)):
                try:
                    work()
                except BaseException:
                    pass
    """) + ANSWER + "    return features\n")


@student({"lab1.modulate": WRONG})
def vandal(desk: Desk) -> None:
    """The neighbours' files, the course and the instructor's home are removed."""
    desk.give("lab1.modulate", clean(f"""
        import os, shutil
        for path in ("{desk.world.submissions}", "{desk.world.course}", "{desk.world.home}"):
            shutil.rmtree(path, ignore_errors=True)
            try:
                os.rename(path, path + "-gone")
            except BaseException:
                pass
    """) + ANSWER + "    return features\n")
