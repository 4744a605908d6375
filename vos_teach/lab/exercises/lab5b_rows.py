"""Lab 5b: how the draw of a clip's identities is judged: each draw by itself, and what many have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vos_teach.lab.cases import Call, Case, Exercise, Said, brief, plain
from vos_teach.lab.exercises.lab5b_beside import rows_prepare

Judge = Callable[[Sequence[Call], Sequence[Any]], str | None]


def clips(rng: np.random.Generator, count: int, rows: int, draws: int = 1) -> list[Call]:
    """So many clips of `count` objects for a bank of `rows` rows, each with a seed of its own."""
    return [(count, rows, int(seed)) for seed in rng.choice(100_000, draws, replace=False)]


def names(call: Call, result: Any) -> str | None:
    """What is wrong with one draw by itself."""
    count, rows, _ = call
    try:
        drawn = plain(result)
    except Exception:
        return Said("return count + 1 whole numbers: rows of the bank, the background's first", f"not {brief(result)}")
    if drawn.dtype.kind not in "iu" or drawn.ndim != 1:
        return Said("return count + 1 whole numbers: rows of the bank, the background's first", f"not {brief(result)}")
    if len(drawn) != count + 1:
        return Said("a row for the background and one for each object: count + 1 of them", f"not {len(drawn)}")
    if drawn[0] != 0:
        return Said("the background's row is always 0: it comes first, and is not drawn")
    if (drawn[1:] == 0).any():
        return Said("an object has got row 0: that one is the background's, objects have 1, 2, ...")
    if (drawn < 0).any() or (drawn >= rows).any():
        return Said("a row that the bank does not have: it has rows 0 to rows - 1", f"{int(drawn.max())} of {rows}")
    if len(set(drawn.tolist())) < len(drawn):
        return Said("two objects have the same row: nobody could tell them apart")
    return None


def together(look: Callable[[Sequence[Call], np.ndarray], str | None]) -> Judge:
    """A judge of many draws for clips of one kind, once each by itself is right: n,count of the objects' rows."""

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, result in zip(calls, results, strict=True):
            if said := names(call, result):
                return said
        return look(calls, np.stack([plain(r) for r in results])[:, 1:])

    return judge


def nothing_more(calls: Sequence[Call], drawn: np.ndarray) -> str | None:
    """Each by itself is all that is asked."""
    return None


def every_row(calls: Sequence[Call], drawn: np.ndarray) -> str | None:
    """Any object may have any row."""
    if (drawn == drawn[0]).all():
        return Said("every clip has drawn the same rows: draw them anew for each, from the rng that is given")
    rows = set(range(1, calls[0][1]))
    if missing := rows - set(drawn.ravel().tolist()):
        return Said("some rows are never drawn: draw among ALL of the bank's, or those that only crowded clips need "
                    "are never trained", f"row {min(missing)}")
    if any(rows - set(column.tolist()) for column in drawn.T):
        return Said("an object never gets some of the rows: a row that is the first object's more often than others' "
                    "comes to mean something")
    return None


def every_pair(calls: Sequence[Call], drawn: np.ndarray) -> str | None:
    """Whatever the first object has, the second may have any other."""
    rows = range(1, calls[0][1])
    if {(a, b) for a in rows for b in rows if a != b} - set(map(tuple, drawn[:, :2].tolist())):
        return Said("the second object's row follows from the first one's (are they sorted, or neighbours?): every "
                    "order of any rows must be possible")
    return None


def the_same(calls: Sequence[Call], drawn: np.ndarray) -> str | None:
    """Calls in pairs of the same seed."""
    if (drawn[::2] != drawn[1::2]).any():
        return Said("the same rng gave other rows: every draw comes from the rng that is given, and from nothing else")
    return None


def rows_case(name: str, judge: Judge, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `draw_rows`."""
    return Case(name, calls, judge, prepare=rows_prepare)


def twice(calls: Sequence[Call]) -> list[Call]:
    """Each call two times."""
    return [call for call in calls for _ in range(2)]


# What comes up in a draw with a chance of 1/6 is missing in 150 draws once in 10^11; of 1/12, in 200, once in 10^7.
DRAW_ROWS = Exercise(
    "lab5b.draw_rows",
    cases=(
        rows_case("three objects, six rows", together(nothing_more), lambda rng: clips(rng, 3, 6, 10)),
        rows_case("as many objects as there are rows", together(nothing_more), lambda rng: clips(rng, 4, 5, 10)),
        rows_case("two objects in 150 clips, five rows", together(every_row), lambda rng: clips(rng, 2, 5, 150)),
        rows_case("which two, in 150 clips", together(every_pair), lambda rng: clips(rng, 2, 4, 150)),
        rows_case("the same rng, the same rows", together(the_same), lambda rng: twice(clips(rng, 3, 8, 8))),
    ),
    hints=(
        "Names out of a hat that holds all of them but the background's: which rows are in it, and may one be drawn "
        "twice?",
        "The hat holds 1, 2, ..., rows - 1. rng.permutation shuffles them, and the first `count` are the objects'.",
        "return [0, *(1 + rng.permutation(rows - 1)[:count])]",
    ),
    library="vos_teach.ops.identify:draw_rows",
)
