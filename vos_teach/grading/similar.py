"""Answers that are nearly the same: of two students, or of a student and the library or the course's own answer.

An answer becomes a row of tokens in which own names are numbered, so that renaming and comments change nothing, and
without what the release itself contains. Two rows are alike by RapidFuzz's Indel similarity. That alone would flag
everyone where the right answer is one line. So what they share is also weighed: each run of `RUN` tokens counts the
logarithm of how rare it is, in bits, among all answers that are known (the class, the course's, the library's, the
usual mistakes). What half of the class writes weighs nothing; a pair needs likeness and weight. Found pairs are for a
human to read; no mark is taken away.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import keyword
import math
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vos_teach.grading.records import Prepared, Record

ALIKE = 0.85  # similarity of two answers from which on they are alike
COPIED = 0.97  # the same for the library's text and the course's answer, names included
BITS = 120.0  # what two alike answers must share beyond what is common, for one exercise
TOTAL = 200.0  # and for all exercises together
LENGTH = 60  # runs that such a text must share with it beyond what release and hints say: less may be chance
RUN = 6  # tokens
OTHERS = 20  # students that one imagines who wrote something else: with two hand-ins everything would be common
OWN = "own cells"
LIBRARY, COURSE = "the library", "the course's answer"


@dataclass(frozen=True)
class Pair:
    """Two alike answers. other: a student, or "the library", "the course's answer"; likeness 0 to 1; bits: see above.

    exercise: "lab1.finetune", OWN, or "" for all together. left, right: the two texts.
    """

    student: str
    other: str
    exercise: str
    likeness: float
    bits: float
    left: str = ""
    right: str = ""

    def sentence(self) -> str:
        """For the instructor."""
        where = self.exercise or "all answers together"
        return f"{where}: {100 * self.likeness:.0f} % like {self.other}{self.weight()}"

    def weight(self) -> str:
        """In brackets, what the two share that is rare; nothing where one of them is no student."""
        return "" if self.other in (LIBRARY, COURSE) else f" ({self.bits:.0f} bits beyond what is common)"


def find(class_: Sequence[tuple[Prepared, Record]], release: Mapping[str, Any], answered: Mapping[str, Any],
         known: Mapping[str, Sequence[str]] | None = None) -> list[Pair]:
    """The pairs of a class to look at, the most alike first.

    release: the student's notebook; answered: the one with answers. known: exercise -> texts that count as common, the
    usual mistakes for instance.
    """
    stubs, references = texts_of(release), texts_of(answered)
    answers = {one.student: _answers(one, stubs) for one, _ in class_}
    found: list[Pair] = []
    totals: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for exercise in dict.fromkeys(name for given in answers.values() for name in given):
        library, hints = _told(exercise)
        beside = [t for t in (references.get(exercise, ""), library, *(known or {}).get(exercise, ())) if t]
        group = _Group({s: given[exercise] for s, given in answers.items() if exercise in given},
                       stubs.get(exercise, ""), beside, hints)
        for a, b, likeness, bits in group.pairs():
            totals.setdefault((a, b), []).append((likeness, bits))
            if bits >= BITS:
                found.append(Pair(a, b, exercise, likeness, bits, group.texts[a], group.texts[b]))
        for name, text in ((LIBRARY, library), (COURSE, references.get(exercise, ""))):
            found += [Pair(s, name, exercise, likeness, bits, group.texts[s], text)
                      for s, likeness, bits in group.copies(text)]
    named = {(p.student, p.other) for p in found}
    for (a, b), parts in totals.items():
        if (a, b) not in named and (bits := sum(b for _, b in parts)) >= TOTAL:
            found.append(Pair(a, b, "", sum(v for v, _ in parts) / len(parts), bits,
                              *("\n\n".join(answers[s].values()) for s in (a, b))))
    return sorted(found, key=lambda p: (-p.likeness, -p.bits, p.student, p.other, p.exercise))


def flagged(class_: Sequence[tuple[Prepared, Record]], pairs: Iterable[Pair]) -> list[tuple[Prepared, Record]]:
    """The class with a flag for each pair, its records held; the records that are kept on disk stay as they are."""
    said: dict[str, list[str]] = {}
    for pair in pairs:
        said.setdefault(pair.student, []).append(f"near-identical, {pair.sentence()}")
        said.setdefault(pair.other, []).append(
            f"near-identical, {replace(pair, student=pair.other, other=pair.student).sentence()}")
    return [(one, replace(record, held=True, flags=[*record.flags, *said[one.student]]) if one.student in said
             else record) for one, record in class_]


class _Group:
    """The answers to one exercise.

    stub: what the release has in its cell; beside: texts that count as common; hints: what any student may have read
    """

    def __init__(self, texts: Mapping[str, str], stub: str, beside: Sequence[str], hints: str):
        self.texts = dict(texts)
        self._hints = set(_runs(_words(hints)))
        self._stub = set(_runs(tokens(stub)))
        self._lines = set(map(str.strip, stub.splitlines()))
        self._rows = {name: tokens(self._own(text)) for name, text in self.texts.items()}
        rows = [*self._rows.values(), *(tokens(self._own(text)) for text in beside)]
        self._often = Counter(run for row in rows for run in set(_runs(row)))
        self._all = len(rows) + OTHERS

    def _own(self, text: str) -> str:
        """A text without the lines that the release has."""
        return "\n".join(line for line in text.splitlines() if line.strip() not in self._lines)

    def _bits(self, a: Sequence[str], b: Sequence[str]) -> float:
        shared = set(_runs(a)) & set(_runs(b)) - self._stub
        return sum(max(0.0, math.log2(self._all / (2 * self._often[run]))) for run in sorted(shared))

    def pairs(self) -> list[tuple[str, str, float, float]]:
        """(student, student, likeness, bits) of those that are alike."""
        from rapidfuzz.distance import Indel
        from rapidfuzz.process import cdist

        names = sorted(name for name, row in self._rows.items() if len(row) >= RUN)
        if len(names) < 2:
            return []
        letters: dict[str, str] = {}
        for name in names:
            for token in self._rows[name]:
                letters.setdefault(token, chr(0x100 + len(letters)))
        words = ["".join(letters[t] for t in self._rows[name]) for name in names]
        table = cdist(words, words, scorer=Indel.normalized_similarity, score_cutoff=ALIKE, workers=1)
        return [(a, b, float(table[i, j]), self._bits(self._rows[a], self._rows[b]))
                for i, a in enumerate(names) for j, b in enumerate(names) if i < j and table[i, j] >= ALIKE]

    def copies(self, text: str) -> list[tuple[str, float, float]]:
        """(student, likeness, bits) of those whose answer is that text, names included, beyond what hints say."""
        from rapidfuzz.distance import Indel

        theirs = tokens(self._own(text), names=True)
        telling = set(_runs(_words(" ".join(theirs)))) - self._hints
        if len(telling) < LENGTH:
            return []
        found = []
        for name in sorted(self.texts):
            mine = tokens(self._own(self.texts[name]), names=True)
            likeness = Indel.normalized_similarity(mine, theirs)
            if likeness >= COPIED and len(telling & set(_runs(_words(" ".join(mine))))) >= LENGTH:
                found.append((name, likeness, self._bits(self._rows[name], tokens(self._own(text)))))
        return found


# ---- texts and tokens

def texts_of(notebook: Mapping[str, Any]) -> dict[str, str]:
    """exercise -> the text of its answer's cell, builder's markers taken out."""
    found = {}
    for cell in notebook["cells"]:
        about = cell.get("metadata", {}).get("nbgrader", {})
        if about.get("solution"):
            text = "".join(cell["source"])
            found[about["grade_id"].replace("-", ".", 1)] = re.sub(r"^[ \t]*### (BEGIN|END) SOLUTION[ \t]*\n?", "",
                                                                   text, flags=re.M)
    return found


def _answers(one: Prepared, stubs: Mapping[str, str]) -> dict[str, str]:
    """exercise -> what the student wrote; text answers and own cells too, quizzes and untouched cells not."""
    found: dict[str, str] = {}
    for cell in one.cells:
        if cell.origin == "answer" and cell.exercise and ".q_" not in cell.exercise:
            found[cell.exercise] = f"{found.get(cell.exercise, '')}\n{cell.source}".strip()
        elif cell.origin == "own":
            found[OWN] = f"{found.get(OWN, '')}\n{cell.source}".strip()
    if one.notebook:
        for name, text in texts_of(one.notebook).items():
            if name not in found and ".q_" not in name and name in stubs:
                found[name] = text
    return {name: text for name, text in found.items() if text.strip() != stubs.get(name, "").strip()}


def _told(exercise: str) -> tuple[str, str]:
    """(the text of the library's own answer, the hints); empty where there is none."""
    from vos_teach.errors import VosError
    from vos_teach.lab.check import find as exercise_of

    try:
        spec = exercise_of(exercise)
    except VosError:
        return "", ""
    hints = "\n".join(spec.hints)
    if spec.library is None:
        return "", hints
    module, _, name = spec.library.partition(":")
    try:
        return inspect.getsource(getattr(importlib.import_module(module), name)), hints
    except (AttributeError, OSError, TypeError, ImportError):
        return "", hints


def tokens(text: str, names: bool = False) -> list[str]:
    """Python's tokens without comments, docstrings and layout. Own names are numbered, unless `names`.

    What is no Python (text answers, broken cells) is cut into words.
    """
    row = []
    try:
        tree = ast.parse(text)
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.STRING, tokenize.OP):
                row.append((token.type == tokenize.NAME, token.string, token.start))
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError):
        return _words(text)
    documents = {(n.value.lineno, n.value.col_offset) for n in ast.walk(tree)
                 if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) and isinstance(n.value.value, str)}
    row = [part for part in row if part[2] not in documents]
    if names:
        return [string for _, string, _ in row]
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    number: dict[str, str] = {}
    out, before = [], ""
    for is_name, string, _ in row:
        own = is_name and string in bound and before != "." and not keyword.iskeyword(string)
        out.append(number.setdefault(string, f"v{len(number)}") if own else string)
        before = string
    return out


def _runs(row: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(row[i : i + RUN]) for i in range(len(row) - RUN + 1)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())
