"""Badge and set-up cell, written from one setting: `repository` in pyproject.toml's [tool.vos_teach]."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vos_teach.errors import VosError

ALWAYS = ("NotAttempted", "check", "hint", "setup")

INSTALL = '''\
# Set-up. It installs vos_teach only where it is missing (as in Colab): from the wheel that the variable
# VOS_TEACH_WHEEL names, or else {otherwise}. What is already installed stays as it is.
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("vos_teach") is None:
    wheel = os.environ.get("VOS_TEACH_WHEEL", "{package}")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", wheel], check=True)
    importlib.invalidate_caches()

from vos_teach.lab import {names}
'''

BODY = '''
SCALE = "toy"  # or "small": larger clips, better results, more time
lab = setup("{lab}", scale=SCALE)
'''


def repository(root: Path) -> str:
    """The project's public address in ROOT/pyproject.toml, or "" while it is undecided."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    path = root / "pyproject.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("vos_teach", {})
    except (OSError, ValueError) as error:
        raise VosError(f"'{path}' cannot be read: {error}") from None
    address = table.get("repository", "")
    if not isinstance(address, str) or (address and not re.fullmatch(r"https://[\w.-]+(/[\w.~-]+)+/?", address)):
        raise VosError(f"'{path}': repository is {address!r}; it is an address that starts with https://, or empty")
    return address.rstrip("/").removesuffix(".git")


def badge(address: str, stem: str) -> str:
    """A notebook's Colab badge; "" while there is no address, or one that Colab cannot open."""
    if not address.startswith("https://github.com/"):
        return ""
    where = address.removeprefix("https://github.com/")
    return ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
            f"(https://colab.research.google.com/github/{where}/blob/main/notebooks/{stem}.ipynb)")


def offered() -> set[str]:
    """The names that vos_teach.lab is made to give to notebooks: its `import NAME as NAME`."""
    tree = ast.parse((Path(__file__).parents[1] / "lab" / "__init__.py").read_text(encoding="utf-8"))
    return {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
            if alias.asname == alias.name}


def _read_names(code: Sequence[str]) -> set[str]:
    """The names that code reads. Code that Python does not understand reads none: it is refused elsewhere."""
    found = set()
    for text in code:
        with suppress(SyntaxError):
            nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)]
            found |= {node.id for node in nodes if isinstance(node.ctx, ast.Load)}
    return found


def setup_cell(lab: str, body: str, code: Sequence[str], address: str = "") -> str:
    """The set-up cell: installation, imports of what the code of the lab uses, then the author's lines or the usual."""
    names = sorted({*ALWAYS, *(offered() & _read_names([body, *code]))}, key=lambda n: (n.islower(), n))
    lines = textwrap.wrap(", ".join(names), 110)
    head = INSTALL.format(
        names=lines[0] if len(lines) == 1 else "(\n    " + "\n    ".join(lines) + ",\n)",
        package=f"vos_teach @ git+{address}" if address else "vos_teach",
        otherwise="from the project's repository" if address else "by its name",
    )
    return head + ("\n" + body.strip("\n") + "\n" if body.strip() else BODY.format(lab=lab)).rstrip("\n")
