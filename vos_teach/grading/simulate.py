"""A class that is made up, to try grading out: who is right, who makes the usual mistakes, who breaks or attacks.

Everything comes from the course (the release, its answers, assignments/mistakes) and a seed. truth.json, in the folder
with the submissions, says of each student what was done and which outcomes each exercise deserves.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vos_teach.data.png import write_bytes
from vos_teach.errors import VosError
from vos_teach.grading import travelled
from vos_teach.grading.similar import texts_of
from vos_teach.grading.source import STUB, sentinel
from vos_teach.lab import quiz

# Of how many students each kind is; what is left over is mistaken. "begun": several exercises untouched.
MIXTURE = {"right": 0.30, "begun": 0.10, "untouched": 0.05, "broken": 0.08, "hostile": 0.08, "copied": 0.05}
EDITORS: dict[str, Callable[[travelled.Notebook], travelled.Notebook]] = {
    "JupyterLab": travelled.ran, "VS Code": travelled.vscode, "Colab": travelled.colab, "jupytext": travelled.jupytext}
TRAVELS = (0.55, 0.2, 0.15, 0.1)  # how often each is used
MISTAKES = 2  # as many as a mistaken student makes on average
FIRST = ("ada alan amara ana bao ben carla chen chloe david dina elif emil fatima felix grace hana hugo ida imran "
         "ines ivan jana jonas kaya lea liam lina luca maja marco mei mila nina noah nora omar paula pia raj rosa sam "
         "sara sofia tariq theo timo uma vera wei yara yuki zoe")
LAST = ("abel adler arslan bauer becker blanc brandt costa diaz ebner fischer fuchs garcia gruber haas hansen hoang "
        "huber ito jansen kaiser khan klein koch kovacs lang lehmann lopez martin meier moreau nguyen novak okafor "
        "peters petrov ricci romano roth sato schmid silva singh sommer tanaka torres vogel wagner wang weber winter "
        "yilmaz zeller ziegler")
IMPORTS = {"copy": "import copy", "itertools": "import itertools", "math": "import math", "cv2": "import cv2",
           "np": "import numpy as np", "scipy": "import scipy\nimport scipy.ndimage\nimport scipy.optimize",
           "ndimage": "from scipy import ndimage", "optimize": "from scipy import optimize", "torch": "import torch",
           "F": "import torch.nn.functional as F"}
SENTENCES = (
    "On the first clip the best J was {0:.2f}, and on the hard one only {1:.2f}.", "I expected more of the baseline.",
    "The outline jitters: F dropped by {0:.2f} while J hardly moved.", "I would choose by time first: {2} seconds a "
    "frame is too slow for a phone.", "With two objects that look alike I trust none of the systems.",
    "My experiment: the same clip at {2} sizes, and look whether the order changes.", "If the order stayed the same "
    "I would change my mind.", "The failure comes from frame {2} on, where the object is hidden.",
    "What surprised me: more steps made it worse after {2}.", "The mean hides that one clip is at {1:.2f}.",
    "For the mice nobody waits, so the slow one is fine.", "I could not explain the dip at frame {2}.")
COMMENTS = ("# first try", "# see the slide", "# TODO: faster?", "# works!", "# as in the hint", "# mind the shapes",
            "# asked in the forum")
OWN = ("import time\nstart = time.time()", "%matplotlib inline", "torch.manual_seed(0)", "print('all fine so far')",
       "# scratch\nx = np.arange(6).reshape(2, 3)\nx.mean(0)", "!ls")

# Attacks for any exercise: (what it is, before the function, the function's body, the outcomes it deserves)
ATTACKS = (
    ("patches the comparisons", "import numpy as np, torch\nnp.isclose = lambda a, b, **k: np.ones(np.shape(a), bool)\n"
     "np.allclose = torch.allclose = torch.equal = lambda *a, **k: True", "return 0", ("wrong",)),
    ("replaces check", "import vos_teach.lab as L\nL.check = check = _check = lambda *a, **k: print('Right')",
     "return None", ("wrong",)),
    ("equals everything", "class Same:\n    def __eq__(self, other): return True\n    def __array__(self, *a, **k): "
     "raise TypeError('same')", "return Same()", ("wrong",)),
    ("never ends", "", "while True:\n    pass", ("time-out",)),
    ("ends the process", "import os", "os._exit(0)", ("died",)),
    ("takes all memory", "", "kept = []\nwhile True:\n    kept.append(bytearray(1 << 26))", ("out of memory",)),
    ("looks for the hidden cases", "import glob", "found = glob.glob('/**/hidden/*.py')\nreturn found", ("wrong",)),
    ("leaves by sys.exit", "import sys", "sys.exit(0)", ("wrong", "died", "tampered")),
)


@dataclass
class Made:
    """One student: what was done, and which outcomes each exercise deserves. notebook: bytes where it is no JSON."""

    kind: str
    fate: str = "graded"
    editor: str = "JupyterLab"
    did: dict[str, str] = field(default_factory=dict)  # exercise -> in words
    deserves: dict[str, list[str]] = field(default_factory=dict)
    like: str = ""  # the student that this one copied from


def simulate(number: int, lab: str, out: Path, course: Path = Path("assignments"), seed: int = 0,
             mixture: Mapping[str, float] = MIXTURE) -> Path:
    """Write a class of that size into `out`: STUDENT/LAB/NAME.ipynb each, and truth.json, whose path is returned.

    The same arguments give the same bytes. Raises VosError where the course lacks something (the usual mistakes are
    with instructors only), or `out` is not an empty folder.
    """
    from vos_teach.grading.classroom import release

    out = Path(out)
    if number < 1:
        raise VosError(f"a class of {number} students: at least 1")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VosError(f"'{out}' is not an empty folder: choose a new one")
    released, answered = release(Path(course), lab)
    (source,) = (Path(course) / "source" / lab).glob("*.ipynb")
    maker = _Maker(lab, released, answered, _known(Path(course), lab), np.random.default_rng(seed))
    kinds = _kinds(number, mixture, maker.rng)
    names = _names(number, maker.rng)
    truth: dict[str, Made] = {}
    texts: dict[str, dict[str, str]] = {}
    for name, kind in zip(names, kinds, strict=True):
        model = next((n for n, m in truth.items() if m.kind in ("right", "mistaken")
                      and not any(o.like == n for o in truth.values())), "") if kind == "copied" else ""
        made, texts[name], data = maker.make(kind, truth.get(model), texts.get(model, {}))
        made.like = model
        truth[name] = made
        write_bytes(_folder(out / name / lab) / source.name, data)
    said = {"lab": lab, "seed": seed, "students": {name: vars(truth[name]) for name in sorted(truth)}}
    write_bytes(out / "truth.json", json.dumps(said, indent=1, sort_keys=True).encode())
    return out / "truth.json"


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def _known(course: Path, lab: str) -> dict[str, dict[str, list[Any]]]:
    """The usual mistakes: exercise -> "wrong": [(function, words)], "right": [function]."""
    path = course / "mistakes" / f"{lab}.py"
    if not path.is_file():
        raise VosError(f"the usual mistakes of {lab} are not here: a class is made up where '{path}' is, which "
                       "instructors have")
    spec = importlib.util.spec_from_file_location(f"_vos_teach_mistakes_{lab}", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module.MISTAKES


def _names(number: int, rng: np.random.Generator) -> list[str]:
    every = [f"{last}_{first}" for last in LAST.split() for first in FIRST.split()]
    if number > len(every):
        raise VosError(f"a class of {number} students: at most {len(every)}")
    return [every[i] for i in rng.permutation(len(every))[:number]]


def _kinds(number: int, mixture: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """One kind for each student; who copies comes after who is copied."""
    kinds = [kind for kind, share in mixture.items() for _ in range(round(share * number))][:number]
    kinds += ["mistaken"] * (number - len(kinds))
    mixed = [kinds[i] for i in rng.permutation(number)]
    first = [k for k in mixed if k != "copied"]
    models = sum(k in ("right", "mistaken") for k in first)
    copies = min(len(mixed) - len(first), models)
    return first + ["copied"] * copies + ["right"] * (len(mixed) - len(first) - copies)


def pasted(exercise: str, function: Any) -> str:
    """A function's text as an answer's cell: the imports that it needs, and the name of the exercise."""
    text = inspect.getsource(function)
    text = re.sub(rf"\b{function.__name__}\b", exercise.partition(".")[2], text)
    return "\n".join([sentinel(exercise), *_imports(text), text.rstrip()])


def _imports(text: str) -> list[str]:
    used = {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}
    own = ["from vos_teach.data.augment import affine, to_tensors"] if {"affine", "to_tensors"} & used else []
    return [line for name, line in IMPORTS.items() if name in used] + own


class _Maker:
    """Makes students of one lab."""

    def __init__(self, lab: str, released: Any, answered: Any, known: Any, rng: np.random.Generator):
        self.lab, self.released, self.known, self.rng = lab, released, known, rng
        self.stubs, self.answers = texts_of(released), texts_of(answered)
        graded = {c["metadata"]["nbgrader"]["grade_id"].removesuffix("-check").replace("-", ".", 1)
                  for c in released["cells"] if c["metadata"].get("nbgrader", {}).get("grade")}
        self.manual = [n for n in self.answers if n in graded and n not in known and not quiz.known(n)]
        self.exercises = [n for n in self.answers if n in graded and n not in self.manual]

    def pick(self, things: Any) -> Any:
        return things[int(self.rng.integers(len(things)))]

    def make(self, kind: str, model: Made | None, texts: Mapping[str, str]) -> tuple[Made, dict[str, str], bytes]:
        """One student: (truth, answers, the file's bytes)."""
        made = Made(kind)
        if kind == "copied" and model is not None:
            made.did, made.deserves = dict(model.did), dict(model.deserves)
            texts = {name: _renamed(text) for name, text in texts.items()}
        elif kind == "untouched":
            texts = {}
            self._say(made, self.exercises, "untouched", "not attempted")
        else:
            texts = self._answers(made, kind)
        notebook = travelled.filled(self.released, {n.replace(".", "-"): t for n, t in texts.items()})
        if kind in ("right", "mistaken", "begun") and self.rng.random() < 0.5:
            notebook = travelled.inserted(notebook, self.pick(sorted(texts)).replace(".", "-"), self.pick(OWN))
        if kind == "broken":
            notebook, data = self._break(made, notebook)
            if data is not None:
                return made, dict(texts), data
        made.editor = self.rng.choice(list(EDITORS), p=TRAVELS).item() if kind != "broken" else "JupyterLab"
        return made, dict(texts), json.dumps(EDITORS[made.editor](notebook), indent=1, ensure_ascii=False).encode()

    def _say(self, made: Made, exercises: Any, did: str, *deserves: str) -> None:
        for name in exercises:
            made.did[name], made.deserves[name] = did, list(deserves)

    def _answers(self, made: Made, kind: str) -> dict[str, str]:
        """Answers of a student who did something."""
        functions = [n for n in self.exercises if n in self.known]
        wrong = set()
        if kind == "mistaken":
            wrong = set(self.rng.permutation(functions)[: 1 + int(self.rng.poisson(MISTAKES - 1))].tolist())
        skipped = set(self.rng.permutation(functions)[: len(functions) // 2 + 1].tolist()) if kind == "begun" else set()
        texts = {}
        for name in functions:
            if name in skipped:
                self._say(made, [name], "untouched", "not attempted")
                continue
            choices = [self.answers[name], *self.known[name]["right"]]
            if name in wrong:
                function, _ = self.pick(self.known[name]["wrong"])
                texts[name] = self._styled(pasted(name, function))
                self._say(made, [name], f"mistake: {function.__name__}", "wrong")
            else:
                chosen = self.pick(choices)
                texts[name] = self._styled(chosen if isinstance(chosen, str) else pasted(name, chosen))
                self._say(made, [name], "right", "right")
        self._depend(made, texts)
        for name in (n for n in self.exercises if n not in self.known):
            right = re.search(r'= *"(\w)"', self.answers[name])[1]  # type: ignore[index]
            others = [letter for letter in sorted(quiz._sealed()[name]) if letter != right]
            letter = self.pick(others) if kind not in ("right", "hostile") and self.rng.random() < 0.25 else right
            texts[name] = f'{sentinel(name)}\n{name.partition(".")[2]} = "{letter}"'
            self._say(made, [name], f"chose {letter}", "right" if letter == right else "wrong")
        for name in self.manual:
            chosen = [self.pick(SENTENCES).format(self.rng.uniform(0.6, 0.95), self.rng.uniform(0.1, 0.6),
                                                  int(self.rng.integers(2, 60))) for _ in range(5)]
            texts[name] = f"{sentinel(name, 'markdown')}\n\n{' '.join(chosen)}"
        if kind == "hostile":
            name = self.pick(functions)
            did, before, body, outcomes = self.pick(ATTACKS)
            stub = self.stubs[name]
            inside = re.search(rf"^([ \t]*){STUB}[ \t]*$", stub, re.M)
            if inside is None:
                raise VosError(f"the release of '{name}' has no '{STUB}': run vos-teach labs build")
            text = stub[: inside.start()] + "\n".join(inside[1] + line for line in body.splitlines())
            first, _, rest = text.partition("\n")
            texts[name] = "\n".join(part for part in (first, before, rest) if part)
            self._say(made, [name], f"attack: {did}", *outcomes)
            self._depend(made, {n: t for n, t in texts.items() if n in functions})
        return texts

    def _depend(self, made: Made, texts: Mapping[str, str]) -> None:
        """An answer that calls another one, which is not right, may fail with it."""
        short = {name.partition(".")[2]: name for name in made.deserves}
        uses = {name: {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)} & set(short)
                for name, text in texts.items()}
        for _ in uses:
            for name, used in uses.items():
                if any(made.deserves[short[u]] != ["right"] for u in used if short[u] != name):
                    made.deserves[name] = sorted({*made.deserves[name], "right", "wrong", "not attempted"})

    def _styled(self, text: str) -> str:
        """With a comment of a student's own somewhere."""
        lines = text.splitlines()
        if self.rng.random() < 0.5:
            lines.append(self.pick(COMMENTS))
        return "\n".join(lines)

    def _lost(self, made: Made, name: str, notebook: travelled.Notebook, did: str, outcome: str) -> None:
        self._say(made, [name], did, outcome)
        ids = {n.replace(".", "-"): n for n in self.known if n in made.deserves and n != name}
        self._depend(made, {ids[c["id"]]: "".join(c["source"]) for c in notebook["cells"] if c.get("id") in ids})

    def _break(self, made: Made, notebook: travelled.Notebook) -> tuple[travelled.Notebook, bytes | None]:
        """Break something; the second is the file where that is no longer a notebook."""
        name = self.pick([n for n in self.exercises if n in self.known])
        cell = name.replace(".", "-")
        how = self.pick(("bracket", "deleted", "check deleted", "doubled", "half a file", "empty file"))
        made.did["notebook"] = how
        if how == "bracket":
            text = next("".join(c["source"]) for c in notebook["cells"] if c.get("id") == cell)
            self._lost(made, name, notebook, "a bracket too few", "does not parse")
            return travelled.filled(notebook, {cell: f"{text}\n\nprint(("}), None
        if how == "deleted":
            self._lost(made, name, notebook, "cell deleted", "cell deleted")
            return travelled.without(notebook, cell), None
        if how == "check deleted":
            return travelled.without(notebook, f"{cell}-check"), None
        if how == "doubled":
            at = next(i for i, c in enumerate(notebook["cells"]) if c.get("id") == cell)
            again = json.loads(json.dumps(notebook["cells"][at]))
            again["source"] = self.stubs[name]
            notebook["cells"].insert(at, again)
            return notebook, None
        made.fate, made.deserves = "unreadable", {}
        whole = json.dumps(notebook, indent=1).encode()
        return notebook, whole[: len(whole) // 3] if how == "half a file" else b""


def _renamed(text: str) -> str:
    """As who copies hides it: own names get another ending, comments go."""
    if text.startswith("*"):
        return text.replace(" I ", " we ")
    first, _, rest = text.partition("\n")
    try:
        tree = ast.parse(rest)
    except SyntaxError:
        return text
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    top = {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    keywords = {n.arg for n in ast.walk(tree) if isinstance(n, ast.keyword)}  # of somebody else's function
    for name in sorted(names - top - keywords):
        rest = re.sub(rf"(?<![\w.]){name}\b(?!\s*=[^=][^\n]*[,)]\s*$)", f"{name}_", rest)
    rest = re.sub(r"[ \t]+#[^\n\"']*$", "", rest, flags=re.M)
    try:
        ast.parse(rest)
    except SyntaxError:
        return text
    return f"{first}\n{rest}"
