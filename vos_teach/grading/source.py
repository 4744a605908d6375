"""A lab's source (jupytext percent, answers inside) -> the notebook that nbgrader calls its source.

Light tags in the cell markers say what a cell is; here they become nbgrader's metadata:

    # %% setup                                     the builder's installation and imports, then the cell's own lines
    # %% answer="lab1.name"                        a function; what is between BEGIN and END SOLUTION is taken out
    # %% check="lab1.name" points=3                check("lab1.name", name); the hidden cases are added
    # %% [markdown] quiz="lab1.q" points=1         question, options, and why each is right or wrong
    # %% [markdown] manual="lab1.r" points=4       question; a model answer after BEGIN SOLUTION

What stands before the first marker is a note to authors and goes nowhere.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from vos_teach.errors import VosError
from vos_teach.grading.setup import badge, setup_cell
from vos_teach.lab.check import find

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
HIDE, UNHIDE = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
STUB = "raise NotAttempted"
TAGS = {"setup": set(), "answer": set(), "check": {"points"}, "quiz": {"points"}, "manual": {"points"}}
MARKDOWN = {"quiz", "manual"}  # the other tags belong to code


@dataclass(frozen=True)
class Cell:
    """One cell as its author wrote it. where: "lab1_x.py, line 40"; tag, name: "check", "lab1.balanced_bce"."""

    where: str
    kind: str
    text: str
    tag: str = ""
    name: str = ""
    points: float = 0

    @property
    def id(self) -> str:
        """The exercise's name as nbgrader takes it: lab1-balanced_bce."""
        return self.name.replace(".", "-")

    @property
    def short(self) -> str:
        """The exercise's name without the lab: balanced_bce."""
        return self.name.partition(".")[2]


@dataclass(frozen=True)
class Question:
    """A multiple-choice question. options: letter -> (right, why)."""

    name: str
    text: str
    options: dict[str, tuple[bool, str]]

    @property
    def right(self) -> str:
        """The letter that is right."""
        return next(letter for letter, (right, _) in self.options.items() if right)


def read(path: Path) -> list[Cell]:
    """The cells of a source, each with its tag. Raises VosError for a tag that is unknown, incomplete or misplaced."""
    import jupytext

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VosError(f"the lab '{path}' cannot be read: {error}") from None
    starts = [i for i, line in enumerate(lines) if re.match(r"# %%( |$)", line)]
    if not starts:
        raise VosError(f"the lab '{path}' has no cells: each starts with a line '# %%'")
    notebook = jupytext.reads("\n".join(lines[starts[0]:]) + "\n", fmt="py:percent")
    if len(notebook.cells) != len(starts):
        raise VosError(f"the lab '{path}' has {len(starts)} lines '# %%' but {len(notebook.cells)} cells: "
                       "is one of them inside a text?")
    return [_cell(f"{path.name}, line {start + 1}", path.stem.partition("_")[0], cell)
            for start, cell in zip(starts, notebook.cells, strict=True)]


def _cell(where: str, lab: str, cell: Any) -> Cell:
    tags = {k: v for k, v in cell.metadata.items() if k != "lines_to_next_cell"}
    if (title := tags.pop("title", None)) is not None:
        tags[title] = None
    if not tags:
        text = Cell(where, cell.cell_type, cell.source)
        for word in ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN TESTS", "END HIDDEN TESTS"):
            if word in cell.source:
                _bad(text, f"'{word}' in a cell without a tag: give its marker answer=\"{lab}.NAME\"")
        return text
    tag = next((t for t in TAGS if t in tags), None)
    extra = sorted(set(tags) - {tag} - TAGS.get(tag or "", set()))
    here = Cell(where, cell.cell_type, cell.source, tag or "")
    if tag is None or extra:
        _bad(here, f"unknown tag '{(extra or sorted(tags))[0]}'"
             + (f" beside {tag}=" if tag else f": choose from {', '.join(TAGS)}"))
    if cell.cell_type != ("markdown" if tag in MARKDOWN else "code"):
        _bad(here, f"'{tag}' belongs to a {'[markdown]' if tag in MARKDOWN else 'code'} cell")
    if tag == "setup":
        return here
    name, points = tags[tag], tags.get("points")
    if not isinstance(name, str) or not re.fullmatch(rf"{re.escape(lab)}\.[A-Za-z_]\w{{0,40}}", name):
        _bad(here, f"{tag}={name!r}: write {tag}=\"{lab}.NAME\", with a NAME that Python allows")
    if "points" in TAGS[tag] and (isinstance(points, bool) or not isinstance(points, (int, float)) or points <= 0):
        _bad(here, f"{tag}=\"{name}\" needs its points: add points=1 or more")
    return Cell(where, cell.cell_type, cell.source, tag, name, points or 0)


def _bad(cell: Cell, why: str) -> NoReturn:
    raise VosError(f"{cell.where}: {why}")


def expand(path: Path, repository: str = "") -> tuple[Any, list[Question]]:
    """A source -> (notebook with answers and hidden regions, its quiz questions). Raises VosError for any misuse."""
    from nbformat.v4 import new_notebook

    cells = read(path)
    _consistent(path, cells)
    out: list[Any] = []
    questions = []
    if shown := badge(repository, path.stem):
        out.append(_new("markdown", "badge", shown))
    for cell in cells:
        if cell.tag == "quiz":
            questions.append(question(cell))
            out += _quiz(cell, questions[-1])
        elif cell.tag == "setup":
            text = setup_cell(path.stem.partition("_")[0], cell.text,
                              [c.text for c in cells if c.kind == "code"], repository)
            out.append(_new("code", "setup", text))
        else:
            out += _plain(cell) if not cell.tag else _answer(cell) if cell.tag == "answer" else (
                _check(cell, cell.text) if cell.tag == "check" else _manual(cell))
    _number(out)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=out, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.nbformat_minor = 5
    return notebook, questions


# ---- one kind of cell each

def _new(kind: str, name: str, text: str, **nbgrader: Any) -> Any:
    from nbformat.v4 import new_code_cell, new_markdown_cell

    cell = (new_code_cell if kind == "code" else new_markdown_cell)(text)
    cell["id"] = name
    if nbgrader:
        cell.metadata["nbgrader"] = {"schema_version": 3, "task": False, "grade": False, "solution": False,
                                     "locked": False, **nbgrader}
    return cell


def _plain(cell: Cell) -> list[Any]:
    if not cell.text.strip():
        _bad(cell, "an empty cell: fill it or take its marker out")
    if cell.kind == "code":
        _parse(cell, cell.text)
    return [_new(cell.kind, "", cell.text)]


def sentinel(name: str, kind: str = "code") -> str:
    """The first line of an answer cell, by which it is recognised when an editor has lost ids and metadata."""
    said = f"{name} - your answer; keep this line"
    return f"# >>> {said}" if kind == "code" else f"*{said}*"


def _answer(cell: Cell) -> list[Any]:
    region = re.findall(rf"^[ \t]*{BEGIN}[ \t]*$|^[ \t]*{END}[ \t]*$", cell.text, re.M)
    if [r.strip() for r in region] != [BEGIN, END] * (len(region) // 2) or not region:
        _bad(cell, f"the answer '{cell.name}' needs its solution between the lines '{BEGIN}' and '{END}'")
    released = stubbed(cell.text)
    tree = _parse(cell, released, "without its solution ")
    if any(isinstance(node, ast.Raise) for node in tree.body):
        _bad(cell, f"the solution of '{cell.name}' is not inside its function: keep 'def', arguments and docstring "
                   "outside, so that nothing fails before the function is called")
    defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    if cell.short not in defined:
        _bad(cell, f"the answer '{cell.name}' does not define '{cell.short}' outside its solution")
    return [_new("code", cell.id, f"{sentinel(cell.name)}\n{cell.text}", grade_id=cell.id, solution=True)]


def stubbed(text: str) -> str:
    """An answer's text with the stub instead of its solution, as nbgrader will leave it."""
    return re.sub(rf"^([ \t]*){BEGIN}.*?{END}[ \t]*$", rf"\1{STUB}", text, flags=re.M | re.S)


def _check(cell: Cell, text: str) -> list[Any]:
    body = _parse(cell, text).body
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None
    if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "check" and not call.keywords
            and len(call.args) == 2 and isinstance(call.args[1], ast.Name)
            and isinstance(call.args[0], ast.Constant) and call.args[0].value == cell.name):
        _bad(cell, f"a check cell holds one line, check(\"{cell.name}\", {cell.short}); "
                   "what else there is goes into a cell of its own")
    # Both regions import check anew: a student who uses that name for something else loses no mark by it.
    text = (f"{HIDE}\nfrom vos_teach.lab import check\n{UNHIDE}\n{text}\n{HIDE}\n"
            f"from vos_teach.lab import check as _check\n\n"
            f"_check(\"{cell.name}\", {ast.unparse(call.args[1])}, hidden=True)\n{UNHIDE}")
    return [_new("code", f"{cell.id}-check", text, grade_id=f"{cell.id}-check", grade=True, locked=True,
                 points=cell.points)]


def _quiz(cell: Cell, asked: Question) -> list[Any]:
    solution = f"{BEGIN}\n{cell.short} = \"{asked.right}\"\n{END}"
    answer = _new("code", cell.id, f"{sentinel(cell.name)}\n{solution}", grade_id=cell.id, solution=True)
    return [_new("markdown", f"{cell.id}-question", asked.text), answer,
            *_check(cell, f"check(\"{cell.name}\", {cell.short})")]


def question(cell: Cell) -> Question:
    """The question of a quiz cell. Raises VosError unless exactly one of two or more options is right."""
    lines = cell.text.rstrip().splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"[-*] +[a-z]\) ", line)]
    letters = [lines[i].lstrip("-* ")[0] for i in starts]
    if letters != list("abcdefghijkl"[:len(letters)]) or len(letters) < 2:
        _bad(cell, f"quiz \"{cell.name}\" needs options '- a) text', '- b) text', ... in the order of their letters")
    if not (head := "\n".join(lines[:starts[0]]).strip()):
        _bad(cell, f"quiz \"{cell.name}\" has options but no question before them")
    shown, options = [], {}
    for letter, first, last in zip(letters, starts, [*starts[1:], len(lines)], strict=True):
        said = [i for i in range(first + 1, last) if re.match(r"\s+(Wrong|Right):", lines[i])]
        if len(said) != 1 or any(line.strip() and not line[0].isspace() for line in lines[first + 1:last]):
            _bad(cell, f"option {letter}) of quiz \"{cell.name}\" needs one indented line 'Wrong: why' or 'Right: why'")
        verdict, _, why = " ".join(line.strip() for line in lines[said[0]:last] if line.strip()).partition(":")
        if not why.strip():
            _bad(cell, f"option {letter}) of quiz \"{cell.name}\" does not say why it is {verdict.lower()}")
        shown += [line.rstrip() for line in lines[first:said[0]] if line.strip()]
        options[letter] = (verdict == "Right", why.strip())
    if sum(right for right, _ in options.values()) != 1:
        _bad(cell, f"quiz \"{cell.name}\" needs exactly one option with 'Right:'")
    return Question(cell.name, head + "\n\n" + "\n".join(shown), options)


def _manual(cell: Cell) -> list[Any]:
    prompt, begin, rest = cell.text.partition(BEGIN)
    model = rest.partition(END)[0].strip()
    if not begin or not prompt.strip() or not model:
        _bad(cell, f"manual \"{cell.name}\" needs a question, then a line '{BEGIN}', then a model answer")
    text = f"{sentinel(cell.name, 'markdown')}\n\n{BEGIN}\n{model}\n{END}"
    return [_new("markdown", f"{cell.id}-question", prompt.strip()),
            _new("markdown", cell.id, text, grade_id=cell.id, grade=True, solution=True, points=cell.points)]


def _parse(cell: Cell, text: str, when: str = "") -> ast.Module:
    try:
        return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", text, flags=re.M))  # a magic is a line of its own
    except SyntaxError as error:
        _bad(cell, f"{when}the cell is no valid Python: {error.msg} in line {error.lineno} of it")


# ---- the notebook as a whole

def _consistent(path: Path, cells: list[Cell]) -> None:
    """VosError unless names are unique, every answer has its check after it, and there is one set-up cell before."""
    seen: dict[tuple[str, str], int] = {}
    for i, cell in enumerate(cells):
        if cell.tag in ("", "setup"):
            continue
        key = ("check" if cell.tag == "check" else "answer", cell.name)
        if key in seen:
            _bad(cell, f"the name '{cell.name}' is used twice ({cells[seen[key]].where}): choose another")
        seen[key] = i
    setups = [cell for cell in cells if cell.tag == "setup"]
    if len(setups) != 1:
        raise VosError(f"{path.name} has {len(setups)} cells '# %% setup': it needs one, before all other code")
    first = next(cell for cell in cells if cell.kind == "code")
    if first.tag != "setup":
        _bad(first, "code before the cell '# %% setup': move it behind that")
    for i, cell in enumerate(cells):
        if cell.tag == "check":
            if cells[seen.get(("answer", cell.name), i)].tag != "answer" or seen[("answer", cell.name)] > i:
                _bad(cell, f"check=\"{cell.name}\" has no cell answer=\"{cell.name}\" before it")
            try:
                find(cell.name)
            except VosError as error:
                _bad(cell, str(error))
        if cell.tag == "answer" and ("check", cell.name) not in seen:
            _bad(cell, f"nothing checks answer=\"{cell.name}\": add a cell check=\"{cell.name}\" points=1 after it")


def _number(cells: Iterable[Any]) -> None:
    """Ids for the cells without a name: of their text, so that a change here does not rename cells there."""
    seen: dict[str, int] = {}
    for cell in cells:
        if not cell["id"]:
            name = f"{cell.cell_type}-{hashlib.sha256(cell.source.encode()).hexdigest()[:10]}"
            seen[name] = seen.get(name, 0) + 1
            cell["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
