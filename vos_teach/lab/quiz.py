"""Multiple choice: one letter, and the explanation that belongs to it.

The questions are written in the labs' sources (assignments/labs/). `vos-teach labs build` puts the explanations into
assets/quiz.json, each sealed with its own letter: nobody reads an answer by chance, and whoever tries all letters
learns no more than by answering. Marks do not depend on that file: the right letters are in assignments/hidden/quiz.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "assets" / "quiz.json"


@cache
def _sealed() -> dict[str, dict[str, str]]:
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


def known(name: str) -> bool:
    """Whether there is a quiz question of that name."""
    return name in _sealed()


def judge(name: str, answer: Any, key: Any = None) -> tuple[bool, str] | None:
    """Whether the letter is right, and its explanation; None if no letter was chosen.

    key: the module assignments/hidden/quiz.py, whose RIGHT[name] then decides instead of the sealed text.
    """
    options = _sealed()[name]
    if answer is None or answer is Ellipsis or answer == "":
        return None
    letter = answer.strip().lower() if isinstance(answer, str) else ""
    if letter not in options:
        return False, f"choose one of {', '.join(repr(o) for o in options)}"
    text = unseal(name, letter, options[letter])
    verdict, _, why = text.partition("\n")
    return (verdict == "right" if key is None else key.RIGHT[name] == letter), why


def seal(name: str, letter: str, right: bool, why: str) -> str:
    """An option's verdict and explanation, packed so that they cannot be read in passing."""
    return base64.b64encode(_mix(name, letter, zlib.compress(f"{'right' if right else 'wrong'}\n{why}".encode(), 9))
                            ).decode()


def unseal(name: str, letter: str, sealed: str) -> str:
    """What was sealed: the verdict, a newline, the explanation."""
    return zlib.decompress(_mix(name, letter, base64.b64decode(sealed))).decode()


def _mix(name: str, letter: str, data: bytes) -> bytes:
    key = b"".join(hashlib.sha256(f"{name}/{letter}/{i}".encode()).digest() for i in range(len(data) // 32 + 1))
    return bytes(a ^ b for a, b in zip(data, key, strict=False))
