"""A notebook as editors give it back, and small changes to one: for simulated classes and for tests.

Notebooks are nbformat's dicts. Every function returns a new one and leaves what it was given as it is.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vos_teach.errors import VosError

Notebook = dict[str, Any]


def notebook(cells: Sequence[dict[str, Any]]) -> Notebook:
    """A notebook of these cells."""
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {"cells": list(cells), "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
            "nbformat": 4, "nbformat_minor": 5}


def code(text: str, name: str, **metadata: Any) -> dict[str, Any]:
    """A code cell of that id."""
    return {"cell_type": "code", "id": name, "metadata": metadata, "source": text, "outputs": [],
            "execution_count": None}


def filled(given: Notebook, answers: Mapping[str, str]) -> Notebook:
    """With the texts of these cells (by id) replaced. Raises VosError for an id that it does not have."""
    out = copy.deepcopy(given)
    if unknown := set(answers) - {cell.get("id") for cell in out["cells"]}:
        raise VosError(f"the notebook has no cell '{sorted(unknown)[0]}'")
    for cell in out["cells"]:
        if cell.get("id") in answers:
            cell["source"] = answers[cell["id"]]
    return out


def inserted(given: Notebook, before: str, text: str, name: str = "") -> Notebook:
    """With an own code cell before the cell of that id."""
    out = copy.deepcopy(given)
    at = next((i for i, cell in enumerate(out["cells"]) if cell.get("id") == before), None)
    if at is None:
        raise VosError(f"the notebook has no cell '{before}'")
    out["cells"].insert(at, code(text, name or f"own-{_digest(before, text)}"))
    return out


def without(given: Notebook, *names: str) -> Notebook:
    """Without the cells of these ids."""
    out = copy.deepcopy(given)
    out["cells"] = [cell for cell in out["cells"] if cell.get("id") not in names]
    return out


def ran(given: Notebook) -> Notebook:
    """As after a session: execution counts, a warning and an old error among the outputs."""
    out = copy.deepcopy(given)
    count = 0
    for cell in out["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = [{"output_type": "stream", "name": "stderr", "text": ["UserWarning: an old warning\n"]}]
            if count % 7 == 0:
                cell["outputs"].append({"output_type": "error", "ename": "NameError", "evalue": "name 'np' is not "
                                        "defined", "traceback": ["NameError: name 'np' is not defined"]})
    return out


def colab(given: Notebook) -> Notebook:
    """Google Colab at its worst: nbgrader's metadata and the cells' ids are gone, its own are there."""
    out = ran(given)
    for i, cell in enumerate(out["cells"]):
        cell.pop("id", None)
        cell["metadata"] = {"id": _digest("colab", str(i)), "colab": {"base_uri": "https://localhost:8080/"},
                            "outputId": _digest("out", str(i))}
        cell["source"] = _lines(cell["source"])
    out["metadata"] = {"colab": {"provenance": [], "toc_visible": True}, "accelerator": "GPU",
                       "kernelspec": {"name": "python3", "display_name": "Python 3"},
                       "language_info": {"name": "python"}}
    out["nbformat_minor"] = 0
    return out


def vscode(given: Notebook) -> Notebook:
    """VS Code: metadata and ids are kept, its own is added, and a check that was run twice is there twice."""
    out = ran(given)
    cells = []
    for cell in out["cells"]:
        cell["metadata"]["vscode"] = {"languageId": "python"}
        cell["source"] = _lines(cell["source"])
        cells.append(cell)
        if cell.get("id", "").endswith("_bce-check"):
            cells.append(copy.deepcopy(cell))
    out["cells"] = cells
    out["metadata"] = {"kernelspec": {"display_name": ".venv", "language": "python", "name": "python3"},
                       "language_info": {"name": "python", "version": "3.12.3", "codemirror_mode": {"name": "ipython"}}}
    return out


def jupytext(given: Notebook) -> Notebook:
    """Out to a script and back: nbgrader's metadata are kept, every id is new, there are no outputs."""
    import jupytext as library
    import nbformat

    text = library.writes(nbformat.reads(json.dumps(given), 4), fmt="py:percent")
    back = _plain(library.reads(text, fmt="py:percent"))
    for i, cell in enumerate(back["cells"]):  # drawn at random otherwise
        cell["id"] = _digest("jupytext", str(i), cell["source"])
    return back


def _plain(value: Any) -> Any:
    """nbformat's own dicts as Python's."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _lines(text: Any) -> list[str]:
    """A cell's text as most editors write it: a list of lines, each with its end."""
    return re.findall(r"[^\n]*\n|[^\n]+", "".join(text))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
