"""A file that somebody handed in -> cells. Nothing in it is believed: not its encoding, its types, or its depth."""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOTEBOOKS = (".ipynb",)
TEXTS = (".py", ".md", ".rmd")  # what jupytext writes of a notebook
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z")
KINDS = {"code": "code", "markdown": "markdown", "raw": "raw", "heading": "markdown", "html": "markdown"}
MOST_CELLS = 50_000


class Unreadable(Exception):
    """Why a file is no notebook, in words that follow its name. odd: a human should look at it."""

    def __init__(self, why: str, odd: bool = True):
        super().__init__(why)
        self.odd = odd


@dataclass(eq=False)
class Got:
    """A cell as handed in. number: from 1, in its file; id, grade_id: "" where there is none."""

    number: int
    kind: str
    source: str
    id: str = ""
    grade_id: str = ""
    outputs: list[Any] = field(default_factory=list)
    attachments: dict[str, Any] = field(default_factory=dict)


def read_bytes(path: Path, most: int) -> bytes:
    """A plain file's bytes. Raises Unreadable for links, pipes, devices, and more than `most` bytes; waits for none."""
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise Unreadable("is a link, and links are not followed")
        there = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
                        | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror or error})") from None
    try:
        about = os.fstat(there)
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable("is no plain file")
        if about.st_size > most:
            raise Unreadable(f"is too large: {about.st_size / 1e6:.1f} MB, and {most / 1e6:.0f} MB are read")
        with os.fdopen(os.dup(there), "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise Unreadable(f"is too large: more than {most / 1e6:.0f} MB")
        return data
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror or error})") from None
    finally:
        os.close(there)


def cells(name: str, data: bytes) -> tuple[list[Got], list[str]]:
    """The cells of a notebook or of a text that jupytext knows, and what had to be repaired to read it.

    Raises Unreadable.
    """
    if not data.strip(b"\0 \t\r\n"):
        raise Unreadable("is empty")
    for start, what in ((b"PK\x03\x04", "a zip archive"), (b"%PDF", "a PDF"), (b"<!DOCTYPE", "a web page"),
                        (b"<html", "a web page")):
        if data.startswith(start):
            raise Unreadable(f"is {what}, not a notebook")
    suffix = Path(name).suffix.lower()
    return _text(suffix, data) if suffix in TEXTS else _notebook(data)


def _notebook(data: bytes) -> tuple[list[Got], list[str]]:
    whole, repairs = _json(data)
    if not isinstance(whole, dict):
        raise Unreadable("is JSON, but no notebook")
    listed = whole.get("cells")
    if listed is None and isinstance(whole.get("worksheets"), list):  # before nbformat 4
        sheets = [sheet.get("cells") for sheet in whole["worksheets"] if isinstance(sheet, dict)]
        listed = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
        repairs.append("the notebook was in an old format (nbformat 3)")
    if not isinstance(listed, list):
        raise Unreadable("is JSON, but no notebook: it has no list of cells")
    if len(listed) > MOST_CELLS:
        raise Unreadable(f"is too large: it has {len(listed)} cells")
    got, odd = [], 0
    for i, cell in enumerate(listed):
        if isinstance(cell, dict):
            read, whole_cell = _cell(i + 1, cell)
            got.append(read)
            odd += not whole_cell
        else:
            odd += 1
    if odd:
        repairs.append(f"{odd} of {len(listed)} cells were not as a notebook's cells are; what could be read was kept")
    return got, repairs


def _json(data: bytes) -> tuple[Any, list[str]]:
    """Parsed, in the first encoding in which it is JSON."""
    why = ""
    for encoding in _encodings(data):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        try:
            return json.loads(text.lstrip("\ufeff"), parse_int=_integer), _how(encoding)
        except RecursionError:
            raise Unreadable("is nested too deep to be a notebook") from None
        except MemoryError:
            raise Unreadable("is too large to be read") from None
        except ValueError as error:
            why = why or str(error)
    raise Unreadable(f"is no JSON, so no notebook ({why[:80]}): was it cut short or edited as text?")


def _encodings(data: bytes) -> tuple[str, ...]:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ("utf-16",)
    if data.startswith(codecs.BOM_UTF8):
        return ("utf-8-sig",)
    if data[:4].count(b"\0") >= 2:
        return ("utf-16-le", "utf-16-be")
    return "utf-8", "cp1252", "latin-1"


def _how(encoding: str) -> list[str]:
    return [] if encoding.startswith("utf-8") else [f"the file was not in UTF-8: it was read as {encoding}"]


def _integer(digits: str) -> int:
    return int(digits) if len(digits) < 20 else 0  # thousands of digits: Python refuses, and nothing needs them


def _cell(number: int, cell: dict[str, Any]) -> tuple[Got, bool]:
    """A cell, and whether it was as it should be."""
    about = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
    grading = about.get("nbgrader") if isinstance(about.get("nbgrader"), dict) else {}
    source = joined(cell["source"] if "source" in cell else cell.get("input"))
    kind = cell.get("cell_type")
    kind = KINDS.get(kind) if isinstance(kind, str) else None
    if cell.get("cell_type") == "heading" and source is not None:
        source = f"# {source}"
    outputs = cell.get("outputs") if isinstance(cell.get("outputs"), list) else []
    pinned = cell.get("attachments") if isinstance(cell.get("attachments"), dict) else {}
    return Got(number, kind or "raw", source or "", _word(cell.get("id")), _word(grading.get("grade_id")), outputs,
               pinned), kind is not None and source is not None


def joined(value: Any) -> str | None:
    """A text that may be a list of lines; None if it is neither. One kind of line's end, no half characters."""
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    if not isinstance(value, str):
        return None
    return re.sub("[\ud800-\udfff]", "\ufffd", value.replace("\r\n", "\n").replace("\r", "\n"))


def _word(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= 200 else ""


def _text(suffix: str, data: bytes) -> tuple[list[Got], list[str]]:
    """A notebook as a script or a text, by jupytext, which runs nothing."""
    import jupytext

    text, how = _decoded(data)
    if not re.search(r"lab\d\w*\.\w+ - your answer|^ *check\([\"']lab\d", text, re.M):
        raise Unreadable("is a text that holds nothing of a lab", odd=False)
    try:
        notebook = jupytext.reads(text, fmt=suffix if suffix != ".rmd" else ".Rmd")
        read = [_cell(i + 1, dict(cell))[0] for i, cell in enumerate(notebook.cells)]
    except Exception as error:  # of what jupytext, nbformat and yaml raise nothing is promised
        raise Unreadable(f"could not be read as a notebook by jupytext ({type(error).__name__})") from None
    return read, [*how, f"it was handed in as a {suffix} file and read with jupytext"]


def _decoded(data: bytes) -> tuple[str, list[str]]:
    for encoding in _encodings(data):
        try:
            return joined(data.decode(encoding)) or "", _how(encoding)
        except UnicodeDecodeError:
            continue
    raise Unreadable("is no text")
