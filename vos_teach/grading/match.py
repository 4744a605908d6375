"""Which handed-in cell is which released cell, whatever an editor did to ids, metadata and order.

What speaks for an answer's cell, from strong to weak: that it defines the name that is asked for, its sentinel line,
its grade_id, its id. A released cell without an answer is known by its text, its id, or its place and likeness.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vos_teach.grading.context import look
from vos_teach.grading.reading import Got

DEFINES, SENTINEL, TEXT, CHECKS, GRADE_ID, ID = 5.0, 4.0, 4.0, 3.0, 2.0, 1.5
LIKE = 0.6  # share of a text that must be the same to be known by likeness
_SENTINEL = re.compile(r"(?:>>>\s*(lab\w*\.\w+))|(?:\b(lab\w*\.\w+)\s*[-\u2013\u2014]+\s*your answer)")
_CHECK = re.compile(r"""^\s*check\(\s*["'](lab\w*\.\w+)["']""", re.M)
_STUB = re.compile(r"^[ \t]*raise NotAttempted\b", re.M)


@dataclass(eq=False)
class Place:
    """A released cell. role: "answer", "check", "manual", "code" or "text"; exercise: "lab1.balanced_bce"."""

    number: int
    cell: dict[str, Any]
    role: str
    exercise: str = ""
    source: str = ""

    @property
    def kind(self) -> str:
        """"code" or "markdown"."""
        return self.cell["cell_type"]

    @property
    def short(self) -> str:
        """The name that an answer defines."""
        return self.exercise.partition(".")[2]


@dataclass
class Matched:
    """taken: place number -> the cell that counts; before: place number -> cells that belong just before it.

    own: what is nobody's, in the order handed in; dropped: copies without anything of their own; repairs, flags:
    sentences; absent: exercises whose answer cell is nowhere.
    """

    taken: dict[int, Got] = field(default_factory=dict)
    before: dict[int, list[Got]] = field(default_factory=dict)
    own: list[Got] = field(default_factory=list)
    dropped: list[Got] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def places(release: dict[str, Any]) -> list[Place]:
    """The released cells and what each is for."""
    out = []
    for i, cell in enumerate(release["cells"]):
        about = cell.get("metadata", {}).get("nbgrader", {})
        name = str(about.get("grade_id", "")).removesuffix("-check").replace("-", ".", 1)
        code = cell["cell_type"] == "code"
        role = "manual" if about.get("grade") and about.get("solution") else "check" if about.get("grade") else (
            "answer" if about.get("solution") else "code" if code else "text")
        out.append(Place(i, cell, role, name, "".join(cell["source"])))
    return out


def bare(text: str) -> str:
    """A text without what does not matter when texts are compared: spaces at ends, empty lines, its sentinel."""
    lines = [line.rstrip() for line in text.strip().split("\n")]
    return "\n".join(line for line in lines if line and "keep this line" not in line)


def sentinels(text: str) -> list[str]:
    """The exercises whose sentinels are in a text, in order."""
    return list(dict.fromkeys(a or b for a, b in _SENTINEL.findall(text)))


def defined(text: str) -> frozenset[str]:
    """The names that a cell's text defines; where it is no Python, those that it seems to define."""
    if binds := look(text).binds:
        return binds
    return frozenset(a or b for a, b in re.findall(r"^(?:async +)?(?:def|class) +(\w+)|^(\w+) *=(?!=)", text, re.M))


def attempted(text: str, place: Place) -> bool:
    """Whether an answer is more than what was released."""
    return bare(text) != bare(place.source) and bool(bare(text)) and (
        not _STUB.findall(place.source) or len(_STUB.findall(text)) < len(_STUB.findall(place.source))
        or place.short not in defined(text))


def match(got: Sequence[Got], released: Sequence[Place]) -> Matched:
    """Match a notebook's cells to a release's places."""
    done = Matched()
    cells = [g for g in got if g.source.strip()]
    claims = _claims(cells, released)
    for place in released:
        if place.role in ("answer", "manual"):
            _answer(place, claims.get(place.number, []), done)
        elif place.role == "check":
            _check(place, claims.get(place.number, []), done)
    _plain(cells, released, claims, done)
    _by_name(cells, released, done)
    _by_place(cells, released, done)
    used = _used(done)
    done.own = [g for g in cells if id(g) not in used]
    for place in released:
        if place.role in ("answer", "manual") and place.number not in done.taken:
            done.absent.append(place.exercise)
    gone = [p.exercise for p in released if p.role == "check" and p.number not in done.taken]
    if gone:
        done.repairs.append(f"check cells were missing and are restored: {', '.join(gone)}")
    return done


def _used(done: Matched) -> set[int]:
    return {id(g) for g in [*done.taken.values(), *done.dropped, *(g for b in done.before.values() for g in b)]}


# ---- who claims to be what

def _claims(cells: Sequence[Got], released: Sequence[Place]) -> dict[int, list[Got]]:
    """place number -> the cells that are it rather than any other, in the order handed in."""
    by_grade = {p.cell["metadata"]["nbgrader"]["grade_id"]: p for p in released if p.role in ("answer", "manual",
                                                                                             "check")}
    by_id = {p.cell["id"]: p for p in released if "id" in p.cell}
    answers = {p.exercise: p for p in released if p.role in ("answer", "manual")}
    shorts = {p.short: p for p in released if p.role == "answer"}
    checks = {bare(p.source): p for p in released if p.role == "check"}
    tests = {p.exercise: p for p in released if p.role == "check"}
    texts: dict[str, list[Place]] = {}
    for place in released:
        if place.role in ("code", "text"):
            texts.setdefault(bare(place.source), []).append(place)
    out: dict[int, list[Got]] = {}
    for cell in cells:
        votes: dict[int, float] = {}

        def vote(place: Place | None, weight: float, votes: dict[int, float] = votes) -> None:
            if place is not None:
                votes[place.number] = votes.get(place.number, 0) + weight

        plain = texts.get(bare(cell.source), [])
        if plain:
            there = by_id.get(cell.id)
            vote(there if there in plain else next((p for p in plain if p.number not in out), plain[-1]), TEXT)
        said = [name for name in sentinels(cell.source) if name in answers]
        names = [short for short in defined(cell.source) if short in shorts] if cell.kind != "raw" else []
        labelled = by_grade.get(cell.grade_id), by_id.get(cell.id)
        if len(said) > 1 and not any(p is not None and p.role == "answer" for p in labelled):
            continue  # several answers in one cell of their own
        for name in said:
            vote(answers[name], SENTINEL)
        vote(labelled[0], GRADE_ID)
        vote(labelled[1], ID)
        if said or any(p is not None and p.role == "answer" for p in labelled):
            for short in names:
                vote(shorts[short], DEFINES)
        vote(checks.get(bare(cell.source)), TEXT)
        if any(p is not None and p.role == "check" for p in labelled):
            for name in _CHECK.findall(cell.source):
                vote(tests.get(name), CHECKS)
        if votes:
            best = max(votes, key=lambda number: (votes[number], -number))
            out.setdefault(best, []).append(cell)
    return out


def _answer(place: Place, claims: list[Got], done: Matched) -> None:
    if not claims:
        return
    if place.role == "manual":
        _manual(place, claims, done)
        return
    defining = [g for g in claims if place.short in defined(g.source)]
    tried = [g for g in defining if attempted(g.source, place)]
    if not defining and len(claims) > 1:
        tried = [g for g in claims if attempted(g.source, place)]
    chosen = (tried or defining or claims)[-1]
    done.taken[place.number] = chosen
    others = [g for g in claims if g is not chosen]
    copies = [g for g in others if not attempted(g.source, place) or bare(g.source) == bare(chosen.source)]
    done.dropped += copies
    done.before[place.number] = [g for g in others if g in defining and g not in copies]
    parts = [g for g in others if g not in defining and g not in copies]  # they stay where they are
    if copies or done.before[place.number]:
        done.repairs.append(f"the cell of {place.exercise} is there {1 + len(others) - len(parts)} times (an editor's "
                            f"copies, a duplicated id): cell {chosen.number} counts, the last that was worked on")
    if parts:
        done.repairs.append(f"the cell of {place.exercise} was split: the part that defines {place.short} counts as "
                            "the answer, the others are kept as cells of the student's own")
    answers = {bare(g.source) for g in tried}
    if len(answers) > 1:
        cells = ", ".join(str(g.number) for g in tried)
        done.flags.append(f"{place.exercise}: {len(tried)} answers that differ (cells {cells}); the last counts")
    if chosen.kind != "code":
        done.repairs.append(f"the cell of {place.exercise} was turned into {_called(chosen.kind)} and is code again")
    if chosen.grade_id and chosen.grade_id != place.cell["metadata"]["nbgrader"]["grade_id"]:
        done.repairs.append(f"cell {chosen.number} carried the grade_id '{chosen.grade_id[:60]}', but is the answer to "
                            f"{place.exercise} by its sentinel line or the name that it defines")
    elif place.exercise not in sentinels(chosen.source):
        done.repairs.append(f"the sentinel line of {place.exercise} is gone; its cell was known by its id or its name")


def _manual(place: Place, claims: list[Got], done: Matched) -> None:
    tried = [g for g in claims if attempted(g.source, place)]
    chosen = (tried or claims)[-1]
    done.taken[place.number] = chosen
    others = [g for g in claims if g is not chosen]
    done.dropped += [g for g in others if g not in tried or bare(g.source) == bare(chosen.source)]
    done.before[place.number] = [g for g in others if g not in done.dropped]
    if others:
        done.repairs.append(f"the cell of {place.exercise} is there {len(claims)} times: cell {chosen.number} counts")
    if chosen.kind != "markdown":
        done.repairs.append(f"the cell of {place.exercise} was turned into {_called(chosen.kind)} and is text again")


def _called(kind: str) -> str:
    return {"markdown": "text (markdown)", "raw": "raw text", "code": "code"}[kind]


def _check(place: Place, claims: list[Got], done: Matched) -> None:
    """The check is the released one in any case; what else a student wrote into its cell becomes an own cell."""
    if not claims:
        return
    done.taken[place.number] = claims[0]
    changed = [g for g in claims if bare(g.source) != bare(place.source)]
    done.dropped += claims[1:]
    if changed:
        done.repairs.append(f"the check cell of {place.exercise} was changed and is restored")
    elif any(g.kind != "code" for g in claims):
        done.repairs.append(f"the check cell of {place.exercise} was turned into text and is restored")
    if len(claims) > 1:
        done.repairs.append(f"the check cell of {place.exercise} is there {len(claims)} times: once is enough")
    for cell in changed:
        lines = [line for line in cell.source.split("\n") if line.rstrip() not in place.source.split("\n")]
        rest = "\n".join(lines)
        if cell.kind == "code" and defined(rest):
            done.before.setdefault(place.number, []).append(Got(cell.number, "code", rest))


# ---- released cells without an answer

def _plain(cells: Sequence[Got], released: Sequence[Place], claims: dict[int, list[Got]], done: Matched) -> None:
    for place in released:
        if place.role not in ("code", "text") or not (mine := claims.get(place.number)):
            continue
        same = [g for g in mine if bare(g.source) == bare(place.source)]
        chosen = same[0] if same else max(mine, key=lambda g: _like(g.source, place.source))
        done.taken[place.number] = chosen
        done.dropped += [g for g in same if g is not chosen and g.id and g.id == place.cell.get("id")]
    used = _used(done)
    free = [g for g in cells if id(g) not in used and not sentinels(g.source)]
    for place, near in _gaps(cells, released, done):
        if place.role not in ("code", "text"):
            continue
        fitting = [(g, _like(g.source, place.source)) for g in near if g in free and g.kind == place.kind]
        if fitting and max(like for _, like in fitting) >= LIKE:
            chosen = max(fitting, key=lambda pair: pair[1])[0]
            done.taken[place.number] = chosen
            free.remove(chosen)


def _gaps(cells: Sequence[Got], released: Sequence[Place], done: Matched) -> Iterable[tuple[Place, list[Got]]]:
    """Each place that nothing is matched to, with the cells handed in between its neighbours' cells."""
    at = {id(g): i for i, g in enumerate(cells)}
    known = [p.number for p in released if p.number in done.taken and id(done.taken[p.number]) in at]
    for place in released:
        if place.number in done.taken:
            continue
        low = max((n for n in known if n < place.number), default=None)
        high = min((n for n in known if n > place.number), default=None)
        first = -1 if low is None else at[id(done.taken[low])]
        last = len(cells) if high is None else at[id(done.taken[high])]
        yield place, list(cells[first + 1 : last][:50])


def _like(text: str, other: str) -> float:
    one, two = text[:4000], other[:4000]
    matcher = difflib.SequenceMatcher(None, one, two, autojunk=False)
    if matcher.real_quick_ratio() < LIKE or matcher.quick_ratio() < LIKE:
        return 0.0
    return matcher.ratio()


# ---- what is left: an answer by its name alone, a text by its place alone

def _by_name(cells: Sequence[Got], released: Sequence[Place], done: Matched) -> None:
    """Answers without a cell of their own, or whose cell does not define them: another cell that does, if there is."""
    shorts = {p.short: p for p in released if p.role == "answer"}
    used = _used(done)
    free = [g for g in cells if id(g) not in used and g.kind != "markdown"]
    for place in released:
        if place.role != "answer":
            continue
        has = done.taken.get(place.number)
        if has is not None and place.short in defined(has.source):
            continue
        mine = [g for g in free if place.short in defined(g.source)]
        if not mine:
            continue
        many = [s for s in shorts if s in defined(mine[-1].source)]
        if len(many) > 1 or mine[-1].kind != "code":
            if has is None:
                done.repairs.append(f"{place.exercise} has no cell of its own: cell {mine[-1].number} defines it")
            continue
        done.taken[place.number] = mine[-1]
        done.before.setdefault(place.number, []).extend(mine[:-1])
        for g in mine:
            free.remove(g)
        if has is None:
            done.repairs.append(f"{place.exercise}: its cell's id, grade_id and sentinel line are gone; cell "
                                f"{mine[-1].number} is its answer by the name that it defines")
        elif attempted(has.source, place):
            done.before.setdefault(place.number, []).insert(0, has)
            done.repairs.append(f"{place.exercise} is defined in cell {mine[-1].number}, not in the cell that is meant "
                                "for it")


def _by_place(cells: Sequence[Got], released: Sequence[Place], done: Matched) -> None:
    """A free text whose id and sentinel are gone: the first text of the student's own where it belongs."""
    used = _used(done)
    for place, near in list(_gaps(cells, released, done)):
        if place.role == "manual" and place.number - 1 in done.taken:  # its question is there
            mine = [g for g in near if g.kind == "markdown" and id(g) not in used and not sentinels(g.source)]
            if mine:
                done.taken[place.number] = mine[0]
                done.repairs.append(f"{place.exercise}: its cell's id and sentinel line are gone; the text in its "
                                    "place is taken for it")
