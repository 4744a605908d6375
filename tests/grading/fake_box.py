"""A sandbox that is none: the same calls as vos_teach.grading.sandbox.Box, in this process, for tests of the judge."""

from __future__ import annotations

import copy
import importlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from vos_teach.grading.sandbox import Lost
from vos_teach.lab.cases import Case
from vos_teach.lab.check import NoGradient, NotAttempted, Raised, once


@dataclass(frozen=True)
class Limits:
    wall: float = 60


class Box:
    """lose: text in a cell or a name of an answer -> Lost outcome when that runs."""

    def __init__(self, lose: dict[str, str] | None = None):
        self.level, self.limits, self.lose, self.sessions = "none", Limits(), lose or {}, []

    def session(self, cells: list[str], blocked: Any = (), allow_beside: Any = ()) -> Session:
        self.sessions.append(SimpleNamespace(cells=list(cells), blocked=list(blocked), beside=list(allow_beside)))
        return Session(self)


class Session:
    def __init__(self, box: Box):
        self.box, self.space, self.calls = box, {"__name__": "__main__"}, []
        self.usage = {"cpu": 0.0, "peak_bytes": 0, "wall": 0.0}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def run(self, cells: list[str]) -> list[Any]:
        ran = []
        for i, source in enumerate(cells):
            for text, outcome in self.box.lose.items():
                if text in source:
                    raise Lost(outcome, f"it was {outcome}")
            error = None
            try:
                exec(compile(source, f"cell{i}", "exec"), self.space)
            except BaseException as e:
                error = (type(e).__name__, str(e))
            ran.append(SimpleNamespace(index=i, error=error, seconds=0.0, said=""))
        return ran

    def kind(self, name: str) -> dict[str, Any]:
        value = self.space.get(name)
        return {"bound": name in self.space, "callable": callable(value), "type": type(value).__name__,
                "module": str(getattr(value, "__module__", "")), "nothing": value is None or value is Ellipsis}

    def check(self) -> None:
        if "check" in self.box.lose:
            raise Lost(self.box.lose["check"], "an answer is left over")

    def value(self, name: str) -> Any:
        return self.space[name]

    def call(self, name: str, args: tuple, grad: int | None, prepare: str | None, collect: str | None) -> Any:
        if name in self.box.lose:
            raise Lost(self.box.lose[name], f"it was {self.box.lose[name]}")
        args = copy.deepcopy(args)

        def at(address: str | None) -> Any:
            module, _, function = (address or "").partition(":")
            return getattr(importlib.import_module(module), function) if address else None

        case = Case("", lambda rng: [], lambda c, r: None, grad, at(prepare), at(collect))
        seen = []

        def answer(*given: Any) -> Any:
            seen.append(given)
            return self.space[name](*given)

        from vos_teach.lab.check import Damage

        try:
            try:
                result = once(case, answer, args)
            except Damage:
                result = None
        except (NotAttempted, NotImplementedError, NoGradient):
            raise
        except Exception as error:
            raise Raised(type(error).__name__, str(error)) from None
        return SimpleNamespace(result=result, args_after=args)
