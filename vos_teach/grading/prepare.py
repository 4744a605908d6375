"""What a student handed in -> the released notebook with the student's answers in it. Nothing is executed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vos_teach.grading import harmless
from vos_teach.grading.context import look
from vos_teach.grading.match import Matched, Place, attempted, bare, defined, match, places, sentinels
from vos_teach.grading.reading import ARCHIVES, NOTEBOOKS, TEXTS, Got, Unreadable, cells, read_bytes
from vos_teach.grading.records import Cell, Prepared
from vos_teach.grading.suspicious import suspicious


@dataclass
class _File:
    """A notebook that could be read. found: this lab's exercises in it; done: those that were worked on; others: names
    of other labs' exercises."""

    path: Path
    got: list[Got]
    repairs: list[str]
    matched: Matched
    found: int = 0
    done: int = 0
    others: list[str] = field(default_factory=list)


def prepare(student: str, paths: Sequence[Path], release: dict[str, Any], lab: str, max_bytes: int = 20 << 20,
            ) -> Prepared:
    """Make what a student handed in fit the release. paths: as `collect.find` gives them; release: nbformat's dict.

    Whatever the files are, there is an answer: `fate` and `reason` say what became of them. Same files, same answer.
    """
    out = Prepared(student, lab, files=[path.name for path in paths])
    released = places(release)
    read, bad, digest = [], [], hashlib.sha256()
    for path in sorted(paths, key=lambda p: (p.suffix.lower() not in NOTEBOOKS, p.name)):
        digest.update(path.name.encode("utf-8", "replace") + b"\0")
        if (suffix := path.suffix.lower()) not in NOTEBOOKS + TEXTS or (suffix in TEXTS and read):
            bad.append((path, _other(path)))
            continue
        try:
            data = read_bytes(path, max_bytes)
            digest.update(hashlib.sha256(data).digest())
            got, repairs = cells(path.name, data)
        except Unreadable as why:
            digest.update(str(why).encode("utf-8", "replace"))
            bad.append((path, why))
            continue
        read.append(_look(path, got, repairs, released, lab))
    out.digest = digest.hexdigest()
    notes = [(path, why) for path, why in bad if why.odd]
    out.flags += [f"'{_shown(path)}' {why}" for path, why in notes]
    if not read:
        return _nothing(out, paths, notes)
    chosen = max(read, key=lambda f: (f.done, f.found, f.path.name))
    if len(read) > 1:
        names = ", ".join(f"'{_shown(f.path)}' ({f.done} answers)" for f in read)
        out.flags.append(f"{len(read)} notebooks were handed in: {names}; '{_shown(chosen.path)}' counts")
    if not chosen.found and chosen.others:
        out.fate, out.reason = "wrong lab", (f"'{_shown(chosen.path)}' is another lab's notebook: it has cells of "
                                             f"{', '.join(chosen.others[:3])} and none of {lab}")
        return out
    if not chosen.found:
        out.flags.append(f"'{_shown(chosen.path)}' has none of the cells that {lab} asks for")
    out.repairs += chosen.repairs
    _assemble(out, chosen, release, released)
    return out


def _shown(path: Path) -> str:
    """A file's name, fit to be read."""
    return "".join(c if c.isprintable() else "?" for c in path.name)[:80]


def _other(path: Path) -> Unreadable:
    if path.suffix.lower() in ARCHIVES:
        return Unreadable("is an archive, and archives are not unpacked: unpack it into the student's folder and grade "
                          "again", odd=True)
    return Unreadable("is no notebook", odd=False)


def _nothing(out: Prepared, paths: Sequence[Path], notes: Sequence[tuple[Path, Unreadable]]) -> Prepared:
    notebooks = [(p, why) for p, why in notes if p.suffix.lower() in NOTEBOOKS]
    if notebooks:
        out.fate, out.reason = "unreadable", "; ".join(f"'{_shown(p)}' {why}" for p, why in notebooks)
    else:
        said = "; ".join(f"'{_shown(p)}' {why}" for p, why in notes)
        out.fate, out.reason = "no notebook", "there is no notebook" + (f": {said}" if said else
                                                                        " among the files" if paths else "")
    return out


def _look(path: Path, got: list[Got], repairs: list[str], released: Sequence[Place], lab: str) -> _File:
    """Match a notebook, and count what of this lab and of others is in it."""
    matched = match(got, released)
    answers = [p for p in released if p.role in ("answer", "manual")]
    taken = {p.exercise: matched.taken[p.number] for p in answers if p.number in matched.taken}
    elsewhere = {p.exercise for p in answers if p.role == "answer" and p.exercise not in taken
                 and any(p.short in defined(g.source) for g in matched.own if g.kind == "code")}
    done = sum(attempted(taken[p.exercise].source, p) for p in answers if p.exercise in taken) + len(elsewhere)
    names = [n for g in got for n in [*sentinels(g.source), g.grade_id.removesuffix("-check").replace("-", ".", 1)]]
    others = sorted({n for n in names if n.startswith("lab") and "." in n and not n.startswith(f"{lab}.")})
    return _File(path, got, repairs, matched, len(taken) + len(elsewhere), done, others)


# ---- the notebook

def _assemble(out: Prepared, chosen: _File, release: dict[str, Any], released: Sequence[Place]) -> None:
    matched = chosen.matched
    out.repairs += matched.repairs
    out.flags += matched.flags
    order = _order(matched, released)
    for place in released:
        if place.exercise in matched.absent and place.role == "answer":
            out.missing.append(place.exercise)
            if not any(isinstance(item, Got) and place.short in defined(item.source) for item in order):
                out.repairs.append(f"the answer cell of {place.exercise} was gone and is restored empty")
        elif place.exercise in matched.absent and place.role == "manual":
            out.repairs.append(f"the cell of {place.exercise} was gone and is restored empty")
    gone = sum(p.role in ("code", "text") and p.number not in matched.taken for p in released)
    if gone:
        out.repairs.append(f"{gone} released cells without an answer were gone and are restored")
    if out_of_order(matched, released):
        out.repairs.append("the cells were in another order than released")
    out.repairs += _before(order, matched, released)
    allowed, written, own = harmless.Allowance(), [], 0
    ids = {cell.get("id") for cell in release["cells"]}
    for item in order:
        if isinstance(item, Place):
            cell, about = _place(item, matched.taken.get(item.number), allowed)
        else:
            own += 1
            name = f"own-{own}"
            while name in ids:
                name += "x"
            cell, about = _own(item, name, allowed)
        written.append(cell)
        if about is not None:
            out.cells.append(about)
    if allowed.dropped:
        out.repairs.append(f"{allowed.dropped} outputs were left out: too large, or of a kind that could act in a "
                           "browser")
    out.notebook = {"cells": written, "metadata": release["metadata"], "nbformat": release["nbformat"],
                    "nbformat_minor": release["nbformat_minor"]}
    texts = {cell.get("id"): "".join(cell["source"]) for cell in release["cells"]}
    for about in out.cells:
        if about.origin in ("answer", "own", "changed"):
            out.flags += [f"cell {about.id}, {said}" for said in suspicious(about.source, texts.get(about.id, ""))]


def _order(matched: Matched, released: Sequence[Place]) -> list[Place | Got]:
    """The released cells in their order; each own cell after the released one that it was handed in after."""
    number = {id(g): n for n, g in matched.taken.items()}
    number |= {id(g): n for n, those in matched.before.items() for g in those}
    after: dict[int, list[Got]] = {}
    here = -1
    for cell in sorted([*matched.taken.values(), *matched.own], key=lambda g: g.number):
        if id(cell) in number:
            here = number[id(cell)]
        else:
            after.setdefault(here, []).append(cell)
    out: list[Place | Got] = [*after.get(-1, [])]
    for place in released:
        out += [*matched.before.get(place.number, []), place, *after.get(place.number, [])]
    return out


def out_of_order(matched: Matched, released: Sequence[Place]) -> bool:
    """Whether released cells were moved."""
    numbers = [matched.taken[p.number].number for p in released if p.number in matched.taken]
    return numbers != sorted(numbers)


def _before(order: list[Place | Got], matched: Matched, released: Sequence[Place]) -> list[str]:
    """What an answer needs and what stood before it stands before its check again, where cells were moved."""
    said = []
    for place in released:
        if place.role != "answer" or (answer := matched.taken.get(place.number)) is None:
            continue
        test = next((i for i, x in enumerate(order) if isinstance(x, Place) and x.role == "check"
                     and x.exercise == place.exercise), None)
        if test is None:
            continue
        late = [x for x in order[test:] if isinstance(x, Got) and x.kind == "code" and x.number < answer.number]
        needed, names, grew = [], set(look(answer.source).reads), bool(late)
        while grew:
            grew = False
            for cell in late:
                if cell not in needed and look(cell.source).binds & names:
                    needed.append(cell)
                    names |= look(cell.source).reads
                    grew = True
        for cell in sorted(needed, key=lambda g: g.number):
            order.remove(cell)
            order.insert(order.index(place), cell)
            said.append(f"cell {cell.number} stood before {place.exercise}, which needs it, and does so again")
    return said


def _place(place: Place, cell: Got | None, allowed: harmless.Allowance) -> tuple[dict[str, Any], Cell | None]:
    """A released cell, with what the student wrote into it if it is theirs to write in."""
    source = place.source
    if cell is not None and place.role != "check" and not _same(cell, place):
        source = cell.source if place.kind == "code" or place.role == "code" else harmless.markdown(cell.source)
    written = {"cell_type": place.kind, "id": place.cell["id"], "metadata": place.cell["metadata"], "source": source}
    if place.kind != "code":
        if cell is not None and (pinned := harmless.attachments(cell.attachments)):
            written["attachments"] = pinned
        return written, None
    kept = cell is not None and cell.kind == "code" and place.role != "check"
    written |= {"execution_count": None, "outputs": allowed.kept(cell.outputs) if kept and cell is not None else []}
    origin = place.role if place.role != "code" else "release" if source == place.source else "changed"
    return written, Cell(place.cell["id"], source, origin, place.exercise or None)


def _same(cell: Got, place: Place) -> bool:
    """Whether a released cell came back as it was, or so that what it was cannot be told."""
    if bare(cell.source) == bare(place.source):
        return True
    if place.role == "code" and cell.kind != "code":  # turned into text and changed: is it still code?
        return not look(cell.source).binds and not look(cell.source).reads
    return place.role == "text" and cell.kind != "markdown"


def _own(cell: Got, name: str, allowed: harmless.Allowance) -> tuple[dict[str, Any], Cell | None]:
    if cell.kind == "code":
        return {"cell_type": "code", "id": name, "metadata": {}, "source": cell.source, "execution_count": None,
                "outputs": allowed.kept(cell.outputs)}, Cell(name, cell.source, "own")
    text = harmless.markdown(cell.source) if cell.kind == "markdown" else cell.source
    written: dict[str, Any] = {"cell_type": cell.kind, "id": name, "metadata": {}, "source": text}
    if cell.kind == "markdown" and (pinned := harmless.attachments(cell.attachments)):
        written["attachments"] = pinned
    return written, None
