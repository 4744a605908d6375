"""What `vos-teach evaluate` shows and writes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from vos_teach.errors import VosError as bad


def print_table(result: dict[str, Any]) -> None:
    """A line per sequence, then the global one: the mean over objects."""
    from rich.console import Console
    from rich.table import Table

    measures = [m for m in ("J", "F", "T") if m in result]
    table = Table(title=f"{result['task']}, split {result['split']}", title_justify="left")
    table.add_column("sequence")
    for column in ("objects", "frames", "J&F", *measures):
        table.add_column(column, justify="right")
    for name, s in result["sequences"].items():
        if s["objects"]:
            values = ((s["J"] + s["F"]) / 2, *(s[m] for m in measures))
            table.add_row(name, str(len(s["objects"])), str(s["frames"]), *(f"{v:.3f}" for v in values))
        else:
            table.add_row(name, "0", str(s["frames"]), *("-" for _ in ("J&F", *measures)))
    console = Console(width=None if os.isatty(1) else 120)
    console.print(table)
    parts = [f"J&F {result['J&F']:.4f}"]
    for m in ("J", "F"):
        parts.append("{} mean {mean:.4f} recall {recall:.4f} decay {decay:.4f}".format(m, **result[m]))
    if "T" in result:
        parts.append(f"T {result['T']['mean']:.4f}")
    parts += [f"{key} {result[key]:.4f}" for key in CATEGORY_FIGURES if key in result]
    print(f"global (mean over {result['objects']} objects): " + " | ".join(parts))


CATEGORY_FIGURES = ("overall", "J_seen", "J_unseen", "F_seen", "F_unseen")


def check_writable(path: Path) -> None:
    """VosError if a file could not be written at `path`: said before the work rather than after it."""
    if path.is_dir():
        raise bad(f"'{path}' is a folder; name a file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise bad(f"cannot write '{path}': folder '{path.parent}' does not exist or is read-only")


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write the result, NaN as null; the file is whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(_plain(result), indent=1, allow_nan=False) + "\n")
        os.replace(temporary, path)
    except OSError as error:
        raise bad(f"'{path}' cannot be written ({error.strerror or error}): name another file or free space") from None
    finally:
        temporary.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
