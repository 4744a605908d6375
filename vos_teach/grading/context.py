"""Which of a notebook's cells an answer needs: found in their text, before anything of them runs.

An answer needs the cells that bind the names it reads, the cells that bind the names that those read, and so on, up to
its check cell and in the notebook's order. Of a released cell only the statements that bind such a name are taken, so
that an exercise does not wait for a training that the lab shows; a student's own cells are taken whole. What cannot be
seen in the text (names made by exec, by magics, by a change of another module) is what `Plan.rest` is for: a second try
with all of the student's own cells.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from vos_teach.grading.records import Cell

FUTURE = "from __future__"  # stands for a name that everything after it needs
STAR = "*"  # stands for any name


@dataclass(frozen=True)
class Part:
    """A cell, or a statement of one: what it binds and what it reads of other cells."""

    source: str
    binds: frozenset[str]
    reads: frozenset[str]


@dataclass(frozen=True)
class Piece:
    """What is to be run of one cell, under the cell's id."""

    id: str
    source: str


@dataclass(frozen=True)
class Plan:
    """What to run before an answer is asked.

    pieces  in order        rest  the student's own and changed cells that are left out, wholly or in part: their ids
    """

    pieces: tuple[Piece, ...]
    rest: tuple[str, ...]


def plain(source: str) -> str:
    """A cell's text as Python: magics and the like become calls, as IPython makes them."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return TransformerManager().transform_cell(source)
    except SyntaxError:
        return source


@lru_cache(maxsize=4096)
def fault(source: str) -> str | None:
    """Why a cell is no Python, in a few words with its line; None if it is."""
    try:
        compile(plain(source), "cell", "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:  # zero bytes; brackets without end
        return str(error) or type(error).__name__
    return None


@lru_cache(maxsize=4096)
def look(source: str) -> Part:
    """What a text binds and reads. A text that is no Python binds and reads nothing."""
    try:
        text = plain(source)
        table = symtable.symtable(text, "cell", "exec")
        binds, reads = _own(table)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                binds.add(FUTURE)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id in binds:
                reads.add(node.target.id)  # symtable counts it as bound only
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Part(source, frozenset(), frozenset())
    return Part(source, frozenset(binds), frozenset(reads))


def _own(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """What a table and those inside it bind and read at the notebook's level."""
    binds, reads, todo = set(), set(), [table]
    while todo:
        inner = todo.pop()
        todo += inner.get_children()
        top = inner is table
        for symbol in inner.get_symbols():
            if not (top or symbol.is_global()):
                continue
            name = symbol.get_name()
            if symbol.is_referenced():
                reads.add(name)
            if symbol.is_assigned() or symbol.is_imported() or (top and symbol.is_namespace()):
                binds.add(name)
    return binds, reads


@lru_cache(maxsize=1024)
def _statements(source: str) -> tuple[Part, ...]:
    """A cell's statements, each looked at by itself; the whole cell where that cannot be done."""
    try:
        return tuple(look(ast.unparse(node)) for node in ast.parse(plain(source)).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return (look(source),)


def plans(cells: Sequence[Cell], exercise: str, gone: bool = False) -> list[Plan]:
    """What to run for an answer: the least that it needs, then, if that left any out, all of the student's own.

    exercise: "lab1.balanced_bce". gone: its answer cell was missing and stands there empty; if another cell binds the
    name, the empty one is left out.
    """
    short = exercise.partition(".")[2]
    end = next((i for i, c in enumerate(cells) if c.origin == "check" and c.exercise == exercise), len(cells))
    before = [c for c in cells[:end] if c.origin != "check"]
    before += [c for c in cells[end:] if c.origin == "answer" and c.exercise == exercise]  # was moved behind its check
    if gone and any(short in look(c.source).binds for c in before if not _is(c, exercise)):
        before = [c for c in before if not _is(c, exercise)]
    least = _plan(before, {short}, [i for i, c in enumerate(before) if _is(c, exercise)])
    if not least.rest:
        return [least]
    own = [i for i, c in enumerate(before) if c.origin in ("own", "changed") or _is(c, exercise)]
    return [least, _plan(before, {short}, own)]


def _is(cell: Cell, exercise: str) -> bool:
    return cell.origin == "answer" and cell.exercise == exercise


def _plan(cells: Sequence[Cell], names: Iterable[str], whole: Sequence[int]) -> Plan:
    """The pieces that bind `names` and all they need. whole: numbers of cells that are taken whatever they bind."""
    parts = [(i, part) for i, cell in enumerate(cells) for part in _parts(cell, i in whole)]
    needed, taken, grew = {FUTURE, STAR, *names}, set(), True
    while grew:
        grew = False
        for n, (i, part) in enumerate(parts):
            if n not in taken and (i in whole or part.binds & needed):
                taken.add(n)
                grew = True
                needed |= part.reads
    pieces, left = [], []
    for i, cell in enumerate(cells):
        mine = [n for n, (j, _) in enumerate(parts) if j == i]
        if source := "\n".join(parts[n][1].source for n in mine if n in taken):
            pieces.append(Piece(cell.id, source))
        if cell.origin in ("own", "changed") and not taken.issuperset(mine):
            left.append(cell.id)
    return Plan(tuple(pieces), tuple(left))


def _parts(cell: Cell, whole: bool) -> tuple[Part, ...]:
    if cell.origin in ("release", "changed") and not whole:
        return _statements(cell.source)
    part = look(cell.source)
    if STAR in _stars(cell.source):
        part = Part(part.source, part.binds | {STAR}, part.reads)
    return (part,)


def _stars(source: str) -> set[str]:
    """{"*"} if a text imports whatever a module has."""
    try:
        tree = ast.parse(plain(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {STAR for node in tree.body if isinstance(node, ast.ImportFrom) and any(a.name == STAR for a in node.names)}


def literal(cells: Sequence[Cell], exercise: str) -> tuple[bool, str]:
    """(True, value) if a quiz's answer is a plain string in its own cell, bound nowhere else before its check."""
    short = exercise.partition(".")[2]
    end = next((i for i, c in enumerate(cells) if c.origin == "check" and c.exercise == exercise), len(cells))
    binding = [c for c in cells[:end] if short in look(c.source).binds]
    if len(binding) != 1 or not _is(binding[0], exercise):
        return False, ""
    try:
        (node,) = ast.parse(binding[0].source).body
        value = ast.literal_eval(node.value) if isinstance(node, ast.Assign) else None  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False, ""
    return (True, value) if isinstance(value, str) and len(node.targets) == 1 else (False, "")  # type: ignore
