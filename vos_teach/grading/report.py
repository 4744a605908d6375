"""report.html of a graded class, for the instructor: one file, everything inside. What students wrote stays text."""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vos_teach import viz
from vos_teach.data.png import write_bytes
from vos_teach.grading.records import FATES, OUTCOMES, Mark, Prepared, Record
from vos_teach.grading.similar import Pair

PAIRS = 40  # shown side by side
LINES = 200  # of an answer in such a pair
WHO = 12  # names in a row
KINDS = {"right": "right", "wrong": "wrong", "not attempted": "none", "by hand": "hand"}  # all others: "bad"
KEY = (("right", "right"), ("wrong", "wrong"), ("none", "not attempted"),
       ("bad", "time-out, out of memory, died, does not parse, cell deleted, tampered"), ("hand", "marked by hand"))
SHORT = {"right": "", "not attempted": "–", "by hand": "hand", "time-out": "time", "out of memory": "memory",
         "does not parse": "parse", "cell deleted": "deleted"}
# Click on a head: sort by that column; numbers by value. There is nothing of the class in here.
SCRIPT = """
document.querySelectorAll("table.sortable").forEach(table => {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(h => h.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((a, b) => {
        const x = key(a), y = key(b), n = parseFloat(x) - parseFloat(y);
        return (Number.isNaN(n) ? x.localeCompare(y) : n) * (up ? 1 : -1);
      });
      body.append(...rows);
    });
  });
});
"""


def write(run: str | Path, class_: Sequence[tuple[Prepared, Record]], pairs: Sequence[Pair] = ()) -> Path:
    """Write RUN/report.html and return its path. run.json and changes.json are read from the run's folder."""
    run = Path(run)
    page = Environment(loader=PackageLoader("vos_teach", "assets"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True).get_template("class_report.html.j2")
    said = _json(run / "run.json", {})
    records = sorted((record for _, record in class_), key=lambda r: r.student)
    names = list(dict.fromkeys(m.exercise for r in records for m in r.marks))
    graded = [r for r in records if r.fate == "graded"]
    head, body = _outcomes(names, records)
    plot, plot_alt = _totals(graded)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    html = page.render(
        lab=said.get("lab") or (records[0].lab if records else "a lab"), students=[_student(r, names) for r in records],
        cards=_cards(records), key=KEY, exercises=[_exercise(name, graded) for name in names],
        outcome_head=head, outcome_body=body, plot=plot, plot_alt=plot_alt,
        held=[{"name": r.student, "fate": r.fate, "flags": r.flags or [r.reason]} for r in records if r.held],
        changes=[{**c, "old": _before(c["old"]), "new": _before(c["new"])} for c in _json(run / "changes.json", [])],
        mistakes=_mistakes(graded), pair_count=len(pairs), pairs=[_pair(p) for p in pairs[:PAIRS]],
        short=[name.partition(".")[2] or name for name in names], points=_number(_points(graded)),
        about=_about(said, records), level_warning=_warning(records), script=SCRIPT, script_hash=f"sha256-{digest}")
    write_bytes(run / "report.html", html.encode("utf-8", "replace"))
    return run / "report.html"


def _json(path: Path, otherwise: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise


def kind(outcome: str) -> str:
    """The colour of an outcome."""
    return KINDS.get(outcome, "bad")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2):g}"


def _machine(record: Record) -> list[Mark]:
    return [m for m in record.marks if m.outcome != "by hand"]


def _total(record: Record) -> float:
    return sum(m.score or 0.0 for m in _machine(record))


def _points(records: Sequence[Record]) -> float:
    return max((sum(m.points for m in _machine(r)) for r in records), default=0.0)


def _cards(records: Sequence[Record]) -> list[tuple[str, str]]:
    fates = Counter(r.fate for r in records)
    cards = [(str(fates[fate]), fate) for fate in FATES if fates[fate]]
    cards += [(str(sum(r.held for r in records)), "to look at")]
    if totals := sorted(_total(r) for r in records if r.fate == "graded"):
        cards += [(_number(sum(totals) / len(totals)), f"points on average, of {_number(_points(records))}"),
                  (_number(totals[len(totals) // 2]), "points in the middle")]
    if waiting := sum(m.outcome == "by hand" for r in records for m in r.marks):
        cards.append((str(waiting), "answers to mark by hand"))
    if repaired := sum(bool(r.repairs) for r in records):
        cards.append((str(repaired), "notebooks repaired"))
    return cards


def _outcomes(names: Sequence[str], records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """How often each outcome came, exercise by exercise; outcomes that never came are left out."""
    counts = {name: Counter(m.outcome for r in records for m in r.marks if m.exercise == name) for name in names}
    seen = [o for o in OUTCOMES if any(counts[name][o] for name in names)]
    return ["exercise", *seen], [[name, *(str(counts[name][o] or "") for o in seen)] for name in names]


def _exercise(name: str, records: Sequence[Record]) -> dict[str, Any]:
    marks = [m for r in records for m in r.marks if m.exercise == name]
    counts = Counter(kind(m.outcome) for m in marks)
    scored = [m for m in marks if m.score is not None and m.points]
    share = f"{100 * sum(m.score / m.points for m in scored) / len(scored):.0f} %" if scored else "–"  # type: ignore[operator]
    return {"name": name, "share": share, "parts": [(k, counts[k]) for k, _ in KEY if counts[k]],
            "said": f"{name}: " + ", ".join(f"{n} {o}" for o, n in sorted(Counter(m.outcome for m in marks).items()))}


def _totals(records: Sequence[Record]) -> tuple[str, str]:
    """The distribution of all points, as SVG, and in words."""
    totals, most = [_total(r) for r in records], _points(records)
    if not totals or not most:
        return "", ""
    figure, axes = viz.axes_of(7.0, 2.6, "points", "students")
    bins = min(12, max(1, round(most)))
    counts, edges, _ = axes.hist(totals, bins=bins, range=(0, most), color=viz.LINES[0], rwidth=0.9)
    axes.yaxis.set_major_locator(viz.MaxNLocator(integer=True))
    axes.set_xlim(0, most)
    alt = "Points of the class: " + ", ".join(f"{_number(a)} to {_number(b)}: {int(n)}" for n, a, b in
                                              zip(counts, edges[:-1], edges[1:], strict=True) if n) + "."
    return viz.svg(figure, "totals"), alt


def _mistakes(records: Sequence[Record]) -> list[dict[str, str]]:
    """What was not right, the most frequent first: by exercise, by usual mistake or case, and by what was said."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        for mark in _machine(record):
            if mark.outcome in ("right", "not attempted"):
                continue
            what = mark.mistake or (f"{mark.outcome}, {'hidden' if mark.hidden else 'public'} case: {mark.case}"
                                    if mark.case else mark.outcome)
            said = "the same" if mark.said == what else mark.said
            groups.setdefault((mark.exercise, what, said), []).append(record.student)
    rows = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [{"exercise": exercise, "what": what, "said": said, "count": str(len(who)),
             "who": ", ".join(who[:WHO]) + (f" and {len(who) - WHO} more" if len(who) > WHO else "")}
            for (exercise, what, said), who in rows]


def _student(record: Record, names: Sequence[str]) -> dict[str, Any]:
    marks = {m.exercise: m for m in record.marks}
    shown = []
    for name in names:
        mark = marks.get(name)
        if mark is None:
            shown.append({"kind": "none", "reason": "", "shown": "–"})
            continue
        words = SHORT.get(mark.outcome, mark.outcome if kind(mark.outcome) == "bad" else "")
        shown.append({"kind": kind(mark.outcome), "reason": f"{mark.outcome}. {mark.reason}",
                      "shown": words or _number(mark.score)})
    return {
        "name": record.student, "fate": record.fate, "reason": record.reason, "held": record.held, "marks": shown,
        "total": _number(_total(record)), "repairs": record.repairs, "seconds": f"{_most(record, 'seconds'):.1f}",
        "peak": f"{_most(record, 'peak') / 2**20:.0f}",
        "reasons": [m for m in _machine(record) if m.outcome != "right"] if record.fate == "graded" else [],
    }


def _most(record: Record, what: str) -> float:
    return max((getattr(m, what) for m in record.marks), default=0)


def _pair(pair: Pair) -> dict[str, Any]:
    left, right = (text.splitlines()[:LINES] for text in (pair.left, pair.right))
    rows: list[tuple[str, str | None, str | None]] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for i in range(max(b - a, d - c)):
            rows.append(("same" if tag == "equal" else tag, left[a + i] if a + i < b else None,
                         right[c + i] if c + i < d else None))
    return {"student": pair.student, "other": pair.other, "where": pair.exercise or "all answers together",
            "likeness": f"{100 * pair.likeness:.0f} %", "weight": pair.weight(), "rows": rows}


def _before(said: Sequence[Any] | None) -> str:
    """(score, outcome, ...) of a change, in words."""
    return "–" if not said or said[:2] == [None, None] else f"{_number(said[0])} ({said[1]})"


def _about(said: dict[str, Any], records: Sequence[Record]) -> list[tuple[str, str]]:
    levels = Counter(r.sandbox or "nothing was run" for r in records)
    seeds = sorted({r.seed for r in records})
    limits = said.get("limits", {})
    rows = [("sandbox", ", ".join(f"{level}: {n}" for level, n in sorted(levels.items()))),
            ("seed of the inputs", ", ".join(map(str, seeds)))]
    if limits:
        rows.append(("limits of each exercise", f"{limits.get('wall', 0):g} s, {limits.get('memory', 0) / 2**30:g} GB"))
    took = sum(r.seconds for r in records)
    rows += [("time of judging", f"{took:.0f} s in all, {took / max(1, len(records)):.1f} s for each submission"),
             ("versions", ", ".join(f"{k} {v}" for k, v in sorted(said.get("versions", {}).items()))),
             ("submissions", str(said.get("submissions", "")))]
    return [row for row in rows if row[1]]


def _warning(records: Sequence[Record]) -> str:
    weak = sorted({r.sandbox for r in records} & {"none"})
    return ("Judged without a sandbox: what these notebooks read, wrote or sent was not limited, and a forged mark "
            "cannot be excluded. Use this for notebooks that you trust.") if weak else ""
