"""The static look: nothing to say about honest code, and something about each trick."""

import inspect
import json

import pytest
from classroom import Course, mistakes
from prepare_tools import LABS, answered, released

from vos_teach.grading.suspicious import suspicious

TRICKS = {
    "patched module": "import torch\ntorch.allclose = lambda *a, **k: True",
    "patched our own": "import vos_teach.lab as lab\nlab.check = print",
    "patched by setattr": "import numpy as np\nsetattr(np, 'isclose', None)",
    "builtins": "import builtins\nbuiltins.len = lambda x: 0",
    "sys.modules": "import sys\nsys.modules['torch'] = None",
    "frames": "import sys\ndef f(x):\n    return sys._getframe(1).f_locals",
    "inspect": "import inspect\ndef f(x):\n    return inspect.stack()",
    "gc": "import gc\nprint(gc.get_objects())",
    "ctypes": "import ctypes",
    "hard exit": "import os\nos._exit(0)",
    "fork": "import os\nwhile True: os.fork()",
    "shell": "import subprocess",
    "shell magic": "!cat /etc/passwd",
    "open above": "open('../hidden/lab1.py').read()",
    "open absolute": "open('/srv/teacher/notes.txt')",
    "sockets": "import socket",
    "web": "from urllib.request import urlopen",
    "always equal": "class A:\n    def __eq__(self, other):\n        return True",
    "class lies": "class A:\n    __class__ = property(lambda self: float)",
    "threads": "import threading",
    "transformers": "get_ipython().input_transformers_cleanup.append(lambda lines: ['1'])",
    "kernel": "ip = get_ipython(); ip.kernel.do_execute = None",
    "gradebook": "import sqlite3",
    "under a magic": "%%time\nimport ctypes",
    "dunder by getattr": "x = getattr(int, '__subclasses__')()",
    "exec": "exec('1')",
    "the judge": "from vos_teach.lab.exercises import lab1_oracles",
}


@pytest.mark.parametrize("name", TRICKS)
def test_each_trick_is_seen(name):
    assert suspicious(TRICKS[name])


@pytest.mark.parametrize("lab", LABS)
def test_honest_answers_and_usual_mistakes_are_not(lab):
    for notebook in (released(lab), answered(lab)):
        texts = {c["id"]: "".join(c["source"]) for c in released(lab)["cells"]}
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert suspicious("".join(cell["source"]), texts.get(cell["id"], "")) == [], cell["id"]
    for known in mistakes(lab).MISTAKES.values():
        for function in [f for f, _ in known["wrong"]] + known["right"]:
            assert suspicious(inspect.getsource(function)) == [], function


@pytest.mark.parametrize("text", ["%matplotlib inline\n%timeit 1 + 1", "!pip install einops", "?print", "def f(:", "\0",
                                  "",
                                  "x.__class__.__name__", "print('a / b')", "def stack(a): return np.stack(a)",
                                  "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()",
                                  "from IPython.display import display", "a[0] = 1", "model.weight.data = w",
                                  "torch.manual_seed(0)\ntorch.backends.cudnn.benchmark = True"])
def test_ordinary_code_is_not(text):
    assert suspicious(text) == []


def test_lines_are_those_of_the_cell():
    assert suspicious("x = 1\n\nimport ctypes\n")[0].startswith("line 3: ")


def test_what_was_released_does_not_count():
    assert suspicious("import gc\nx = 1", "import gc") == [] != suspicious("import gc\nx = 1")


def test_deep_code_does_not_stop_it():
    assert isinstance(suspicious("x = " + "(" * 5000 + ")" * 5000), list)
    assert isinstance(suspicious("x = " + "-" * 50_000 + "1"), list)


def test_course_is_used():  # keeps the helpers honest: the answers are the source's
    assert "BEGIN SOLUTION" not in json.dumps(answered("lab1")) and Course
