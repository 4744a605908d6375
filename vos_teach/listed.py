"""How the command line's lists are read."""

from __future__ import annotations

from vos_teach.errors import VosError


def names(text: str) -> list[str]:
    """NAME,NAME -> the names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers(option: str, text: str, kind: type = float) -> list:
    """NUMBER,NUMBER -> the numbers, of the given kind; VosError for anything else."""
    try:
        return [kind(s) for s in names(text)]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise VosError(f"{option} is '{text}': write {what} with commas between") from None


def sequences(text: str | None) -> list[str] | None:
    """--sequences -> names, or None where it is not given. VosError where it is given and names nothing."""
    if text is None:
        return None
    if not (found := names(text)):
        raise VosError(f"--sequences is '{text}', which names no sequences: write NAME,NAME")
    return found
