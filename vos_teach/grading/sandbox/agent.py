"""The process that runs student code: it answers the grader's requests, one after the other, until it is killed.

Everything it says is hostile to who reads it: student code shares its memory. What it uses itself is taken in hand
before student code runs, so that an honest student who patches something does not saw off the branch.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from vos_teach.grading.sandbox import shell as shells
from vos_teach.grading.sandbox import wire
from vos_teach.lab.cases import duplicate
from vos_teach.lab.check import NotAttempted

_read, _write, _clock = os.read, os.write, time.perf_counter
_encode, _decode, _duplicate = wire.encode, wire.decode, duplicate
_type, _str, _callable, _isinstance, _enumerate = type, str, callable, isinstance, enumerate
_grad = torch.autograd.grad
_Tensor, _Opaque, _WireError, _NotAttempted = torch.Tensor, wire.Opaque, wire.WireError, NotAttempted
BROKEN, NO_ROOM = 70, 71  # exit codes: the connection is broken; no memory was left even to answer
NO_MEMORY = ("can't allocate memory", "insufficient memory", "cannot allocate memory", "std::bad_alloc",
             "not enough memory")


def find(name: str) -> Callable[..., Any]:
    """The function that "module:function" names."""
    module, _, path = name.partition(":")
    return functools.reduce(getattr, path.split("."), importlib.import_module(module))  # type: ignore[arg-type]


class Agent:
    """Answers requests. beside: the modules whose `prepare` and `collect` may be asked for."""

    def __init__(self, fd: int, shell: Any, output: int, reply: int, beside: list[str]):
        self.fd, self.shell, self.reply = fd, shell, reply
        self.tail, self.text = shells.stream(min(output, reply // 2))
        self.deaf = shells.stream(0)[1]
        self.asked = {"run": self.do_run, "kind": self.do_kind, "value": self.do_value, "call": self.do_call,
                      "check": lambda: {}}
        self.beside: dict[str, Callable[..., Any]] = {}
        for module in beside:
            for name, value in vars(importlib.import_module(module)).items():
                if _callable(value) and getattr(value, "__module__", None) == module:
                    self.beside[f"{module}:{name}"] = value

    def serve(self) -> None:
        """Answer until the other side is gone."""
        while True:
            request = _decode(self.take(int.from_bytes(self.take(4), "big")), 1 << 32)
            token = request.pop("token")
            try:
                said = self.asked[request.pop("do")](**request)
            except MemoryError:
                said = {"memory": True}
            said["token"] = token
            self.give(self.packed(said))

    def packed(self, said: dict[str, Any]) -> bytes:
        """An answer as bytes, its length before it; what cannot be sent becomes a word on why."""
        try:
            data = _encode(said, self.reply)
        except MemoryError:
            data = _encode({"memory": True, "token": said["token"]})
        except _WireError:
            data = _encode({**said, "result": _Opaque("value too large to be sent"), "after": ()})
        except BaseException:  # a class of the student's own that does not let itself be looked at
            data = _encode({**said, "result": _Opaque(_type(said.get("result")).__name__), "after": ()})
        return len(data).to_bytes(4, "big") + data

    def take(self, count: int) -> bytes:
        """Exactly so many bytes; the end of everything if there are no more."""
        parts = []
        while count:
            part = _read(self.fd, min(count, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def give(self, data: bytes) -> None:
        """Write all of it."""
        view = memoryview(data)
        while view:
            view = view[_write(self.fd, view[:1 << 20]):]

    def do_run(self, cell: str) -> dict[str, Any]:
        """Execute a cell."""
        self.tail.take()
        begin, error = _clock(), None
        with shells.heard_by(self.text):
            try:
                result = self.shell.run_cell(cell, store_history=True)
                error = result.error_before_exec or result.error_in_exec
            except BaseException as raised:  # of a patched shell
                error = raised
        return {"error": None if error is None else _describe(error), "seconds": _clock() - begin,
                "said": self.tail.take()}

    def do_kind(self, name: str) -> dict[str, Any]:
        """What a name is bound to."""
        space = self.shell.user_ns
        if name not in space:
            return {"bound": False, "callable": False, "type": "", "module": ""}
        value = inner = space[name]
        try:
            while _isinstance(inner, functools.partial):
                inner = inner.func
            module = _str(getattr(inspect.unwrap(inner), "__module__", ""))
        except BaseException:
            module = ""
        return {"bound": True, "callable": _callable(value), "type": _type(value).__name__, "module": module,
                "nothing": value is None or value is Ellipsis}

    def do_value(self, name: str) -> dict[str, Any]:
        """The value of a name, None if it has none."""
        return {"result": self.shell.user_ns.get(name)}

    def do_call(self, name: str, args: tuple, grad: int | None, prepare: str | None, collect: str | None
                ) -> dict[str, Any]:
        """One call of the student's function, as lab/check.py's `once` makes it."""
        if name not in self.shell.user_ns:
            return {"not attempted": True}
        answer = self.shell.user_ns[name]
        try:
            with warnings.catch_warnings(), shells.heard_by(self.deaf):
                warnings.simplefilter("ignore")
                call = args
                if grad is not None:
                    call = tuple([a.requires_grad_() if i == grad else a for i, a in _enumerate(call)])
                ready = self.ask_beside(prepare)(call) if prepare else call
                result = answer(*ready)
                if grad is not None:
                    if not _isinstance(result, _Tensor) or not result.requires_grad:
                        return {"no gradient": True}
                    (slope,) = _grad(result.sum(), call[grad], allow_unused=True)
                    if slope is None:
                        return {"no gradient": True}
                    result = (result.detach(), slope)
                after = _duplicate(call) if collect and all(_plain(a) for a in call) else call
                if collect:
                    result = self.ask_beside(collect)(call, result)
            return {"result": result, "after": tuple(after)}
        except (_NotAttempted, NotImplementedError):
            return {"not attempted": True}
        except MemoryError:
            return {"memory": True}
        except BaseException as error:
            name, message = _describe(error)
            if any(n in message.lower() for n in NO_MEMORY):
                return {"memory": True}
            return {"raised": [name, message]}

    def ask_beside(self, name: str) -> Callable[..., Any]:
        """A function of one of the modules that were agreed upon."""
        if name not in self.beside:
            raise PermissionError(f"{name} is no function of the modules that run beside answers here")
        return self.beside[name]


def _plain(value: Any) -> bool:
    return _isinstance(value, (_Tensor, int, float, str)) or _type(value).__module__ == "numpy"


def _describe(error: BaseException) -> list[str]:
    """An error's class and message, whatever its class does when asked."""
    try:
        message = _str(error)[:2000]
    except BaseException:
        message = ""
    return [_type(error).__name__[:200], message]


def ready(agent: Agent, facts: dict[str, Any]) -> None:
    """The first thing that is said: how this process was confined."""
    data = _encode(facts)
    agent.give(len(data).to_bytes(4, "big") + data)
    sys.stdin = open(os.devnull)  # noqa: SIM115
