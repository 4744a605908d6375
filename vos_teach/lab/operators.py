"""The student's own operators, carried from lab to lab: `keep` stores a function's source, `recall_operator` runs it.

A file in lab.work/operators/ holds the function and what it needs of its notebook: imports, plain constants, and the
student's helper functions. It is their code, on their machine; the grader never reads this folder.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import inspect
import io
import linecache
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_teach.data.png import write_bytes
from vos_teach.errors import VosError
from vos_teach.lab.check import check, find

if TYPE_CHECKING:
    from vos_teach.lab.session import Lab

PLAIN = (bool, int, float, complex, str, bytes, type(None))


def keep(lab: Lab, exercise: str, function: Callable[..., Any]) -> None:
    """Store the student's function so that later labs can run it. It must pass its check first.

    Raises CheckFailed (NotAttempted) where it does not, VosError where it leans on something that cannot be stored.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        check(exercise, function)
    text = source(exercise, function)
    path = _path(lab, exercise)
    _load(text, path, function.__name__)  # what cannot be read back is not stored
    write_bytes(path, text.encode())
    print(f"Kept - {exercise}: later labs will run your {function.__name__}")


def recall_operator(lab: Lab, exercise: str) -> Callable[..., Any]:
    """The student's own function for an exercise if one was kept, else the library's. Says which in one line.

    Raises VosError where there is neither.
    """
    path = _path(lab, exercise)
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
            name = text.splitlines()[0].rpartition(" ")[2]
            function = _load(text, path, name)
            print(f"{exercise}: yours")
            return function
        except Exception as error:
            print(f"{exercise}: yours cannot be loaded ({type(error).__name__}: {error})"[:160])
    library = find(exercise).library
    if library is None:
        raise VosError(f"'{exercise}' was not kept in '{path}', and the library has none: run its lab first")
    module, _, name = library.partition(":")
    print(f"{exercise}: the library's")
    return getattr(importlib.import_module(module), name)


def source(exercise: str, function: Callable[..., Any]) -> str:
    """A file that defines the function and all that it uses. Its first line ends with the function's name."""
    if not isinstance(function, FunctionType):
        raise VosError(f"{exercise}: only a function written with `def` can be kept, not {type(function).__name__}")
    needs: dict[str, str] = {}  # name -> the code that defines it, in the order of need
    _collect(exercise, function, needs)
    lines = [f"# {exercise}: {function.__name__}", "from __future__ import annotations", ""]
    return "\n".join([*lines, *sorted(c for c in needs.values() if "\n" not in c),
                      *(f"\n\n{c}" for c in needs.values() if "\n" in c)]) + "\n"


def _collect(exercise: str, function: FunctionType, needs: dict[str, str]) -> None:
    try:
        text = textwrap.dedent(inspect.getsource(function)).rstrip() + "\n"
    except (OSError, TypeError):
        raise VosError(f"{exercise}: the source of {function.__name__} cannot be found: run its cell again") from None
    if function.__name__ == "<lambda>" or not text.lstrip().startswith(("def ", "@")):
        raise VosError(f"{exercise}: only a function written with `def` can be kept, no lambda")
    if function.__closure__:
        raise VosError(f"{exercise}: {function.__name__} is defined inside another function: define it on its own")
    needs[function.__name__] = ""  # its place is taken: it may call itself
    for name in _names(function, text):
        if name in needs or name not in function.__globals__:
            continue
        value = function.__globals__[name]
        value = value.item() if isinstance(value, np.generic) else value
        home = getattr(value, "__module__", None)
        if isinstance(value, ModuleType):
            needs[name] = f"import {value.__name__} as {name}"
        elif isinstance(value, FunctionType) and (value.__globals__ is function.__globals__
                                                  or str(home).startswith("operators.")):
            _collect(exercise, value, needs)  # their own helper, or an operator of an earlier lab
            if name != value.__name__:
                needs[name] = f"{name} = {value.__name__}\n"
        elif all(isinstance(v, PLAIN) for v in (value if isinstance(value, (tuple, list)) else [value])):
            needs[name] = f"{name} = {value!r}"
        elif home and home in sys.modules and home != "__main__" and hasattr(value, "__qualname__") \
                and getattr(sys.modules[home], value.__qualname__, None) is value:
            needs[name] = f"from {home} import {value.__qualname__} as {name}"
        else:
            raise VosError(f"{exercise}: {function.__name__} uses '{name}' of the notebook, {type(value).__name__}: "
                           "give it as an argument, or make it inside the function")
    del needs[function.__name__]
    needs[function.__name__] = text


def _names(function: FunctionType, text: str) -> list[str]:
    """Global names that the function's code uses, its defaults and decorators included, annotations not."""
    found: dict[str, None] = {}

    def walk(code: CodeType) -> None:
        found.update(dict.fromkeys(code.co_names))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                walk(constant)

    walk(function.__code__)
    definition = ast.parse(text).body[0]
    if isinstance(definition, ast.FunctionDef):
        arguments = definition.args
        outside = [*definition.decorator_list, *arguments.defaults, *(d for d in arguments.kw_defaults if d)]
        found.update({n.id: None for e in outside for n in ast.walk(e) if isinstance(n, ast.Name)})
    return [name for name in found if not hasattr(builtins, name) or name in function.__globals__]


def _load(text: str, path: Path, name: str) -> Callable[..., Any]:
    scope: dict[str, Any] = {"__name__": f"operators.{path.stem}"}
    exec(compile(text, str(path), "exec", dont_inherit=True), scope)
    linecache.cache[str(path)] = (len(text), None, text.splitlines(keepends=True), str(path))  # for tracebacks
    return scope[name]


def _path(lab: Lab, exercise: str) -> Path:
    if not exercise.replace(".", "").replace("_", "").isalnum():
        raise VosError(f"'{exercise}' is no exercise's name")
    return lab.work / "operators" / f"{exercise}.py"
