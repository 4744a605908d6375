"""One exercise of one student, seen from the grader: requests, answers, deadlines, and how it ended.

Deadlines are kept here, outside. What comes back is plain data (wire.py) from a process that may be hostile: it is
bounded, and whatever breaks the protocol ends the session as "tampered".
"""

from __future__ import annotations

import contextlib
import secrets
import select
import signal
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vos_teach.errors import VosError
from vos_teach.grading.sandbox import wire
from vos_teach.lab.check import NoGradient, NotAttempted, Raised

if TYPE_CHECKING:
    from vos_teach.grading.sandbox.box import Box

BROKEN, NO_ROOM = 70, 71  # as in agent.py
GRACE = 30.0  # seconds for the warm interpreter to fork or to bury a session


@dataclass(frozen=True)
class Limits:
    """What a session may take.

    wall     seconds during which the grader waits for it, all requests together
    cpu      seconds of processor time      memory   bytes of address space beyond the warm interpreter's
    output   bytes kept of what a cell prints (the end of it); more is forgotten and costs nothing
    reply    bytes of an answer             scratch  bytes of files
    start    seconds for the warm interpreter to start
    """

    wall: float = 60
    cpu: float = 60
    memory: int = 3 << 30
    output: int = 1 << 20
    reply: int = 64 << 20
    scratch: int = 64 << 20
    start: float = 60


class Lost(BaseException):
    """A session is over before its time. No Exception, so that it passes through whatever judges answers.

    outcome: "time-out", "out of memory", "died" or "tampered"; reason: one sentence
    """

    def __init__(self, outcome: str, reason: str):
        super().__init__(f"{outcome}: {reason}")
        self.outcome, self.reason = outcome, reason


@dataclass(frozen=True)
class Ran:
    """A cell that was executed. error: (class, message) or None; said: the end of what it printed."""

    index: int
    error: tuple[str, str] | None
    seconds: float
    said: str


@dataclass(frozen=True)
class Reply:
    """A call's result, and its arguments as they were afterwards."""

    result: Any
    args_after: tuple


@dataclass
class Session:
    """One student's code for one exercise, in a process of its own. A context: at its end all in it is killed."""

    box: Box
    number: int
    socket: socket.socket
    cells: list[str]
    usage: dict[str, float] = field(default_factory=lambda: {"cpu": 0.0, "peak_bytes": 0, "wall": 0.0})
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.socket.setblocking(False)
        self._left, self._over = self.box.limits.wall, False
        self.report: dict[str, Any] = {}
        try:
            self.facts = self._receive(time.monotonic() + GRACE)
        except Lost as lost:
            raise VosError(f"a session could not be opened: {lost.reason} {self.report.get('failed', '')}") from None
        if not isinstance(self.facts, dict) or not self.facts.get("ready"):
            self.end()
            raise VosError(f"a session could not be opened: {self.facts.get('why', '')}")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self, gone: bool = False) -> None:
        """Kill everything in it. May be called again. gone: it closed its socket, so give it a moment to end itself."""
        if self._over:
            return
        self._over = True
        self.report = self.box._close(self.number, gone)
        self.socket.close()
        self.usage = {"cpu": float(self.report.get("cpu", 0)), "peak_bytes": int(self.report.get("peak", 0)),
                      "wall": float(self.report.get("wall", 0))}

    def run(self, cells: Iterable[str] | None = None) -> list[Ran]:
        """Execute cells in order; an error does not stop the next. A `Lost` raised here has `.ran`, what ran before."""
        done: list[Ran] = []
        for index, cell in enumerate(self.cells if cells is None else cells):
            try:
                said = self._ask({"do": "run", "cell": wire.clean(cell)})
                error, seconds, text = said.get("error"), said.get("seconds"), said.get("said")
                if not (error is None or _texts(error, 2)) or type(seconds) is not float or type(text) is not bytes:
                    raise self._lose("tampered", "what came back from running a cell is not what the sandbox sends")
            except Lost as lost:
                lost.ran = done  # type: ignore[attr-defined]
                raise
            done.append(Ran(index, None if error is None else (error[0][:200], error[1][:2000]), seconds,
                            text[-self.box.limits.output:].decode("utf-8", "replace")))
        return done

    def kind(self, name: str) -> dict[str, Any]:
        """What a name is bound to, as the session says: bound, callable, type, module, nothing (None or ...)."""
        said = self._ask({"do": "kind", "name": name})
        wanted = {"bound": bool, "callable": bool, "type": str, "module": str}
        if any(type(said.get(k)) is not t for k, t in wanted.items()):
            raise self._lose("tampered", "what came back about a name is not what the sandbox sends")
        return {**{k: said[k][:200] if t is str else said[k] for k, t in wanted.items()},
                "nothing": said.get("nothing") is True}

    def value(self, name: str) -> Any:
        """The value of a name as plain data; None if there is none."""
        return self._ask({"do": "value", "name": name}).get("result")

    def call(self, name: str, args: tuple, grad: int | None = None, prepare: str | None = None,
             collect: str | None = None) -> Reply:
        """One call of the student's function. Raises Raised, NotAttempted, NoGradient or Lost."""
        said = self._ask({"do": "call", "name": name, "args": tuple(args), "grad": grad, "prepare": prepare,
                          "collect": collect})
        if said.get("not attempted") is True:
            raise NotAttempted
        if said.get("no gradient") is True:
            raise NoGradient
        if _texts(said.get("raised"), 2):
            raise Raised(said["raised"][0][:200], said["raised"][1][:2000])
        if "result" not in said or type(said.get("after")) is not tuple:
            raise self._lose("tampered", "what came back from a call is not what the sandbox sends")
        return Reply(said["result"], said["after"])

    def check(self) -> None:
        """Ask whether all is in order. Lost if it is gone, or if an earlier answer was forged and one is left over."""
        self._ask({"do": "check"})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._over:
            raise Lost("died", "the session is over")
        if select.select([self.socket], [], [], 0)[0]:
            self._unasked()
        token = secrets.randbits(60)  # a forger inside can find it, but then the true answer is one too many
        data = wire.encode({**request, "token": token}, 1 << 31)
        begin = time.monotonic()
        try:
            self._send(len(data).to_bytes(4, "big") + data, begin + self._left)
            said = self._receive(begin + self._left)
        finally:
            self._left -= time.monotonic() - begin
        if type(said) is not dict or said.get("token") != token:
            raise self._lose("tampered", "what came back is not the answer to what was asked")
        if said.get("memory") is True:
            raise self._lose("out of memory", f"it asked for more than the {_size(self.box.limits.memory)} allowed")
        return said

    def _unasked(self) -> None:
        """There is something to read before anything was asked: an end, or a forgery."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            if self.socket.recv(1):
                raise self._lose("tampered", "it sent an answer that nobody had asked for")
        raise self._ended()

    def _send(self, data: bytes, end: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(end, write=True)
            try:
                view = view[self.socket.send(view[:1 << 18]):]
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionError):
                raise self._ended() from None

    def _receive(self, end: float) -> Any:
        size = int.from_bytes(self._exactly(4, end), "big")
        if size > self.box.limits.reply + (1 << 16):
            raise self._lose("tampered", "it sent more than an answer can be")
        try:
            return wire.decode(self._exactly(size, end), size)
        except wire.WireError as error:
            raise self._lose("tampered", f"what it sent is no message of the sandbox's ({error})") from None

    def _exactly(self, count: int, end: float) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            self._wait(end)
            try:
                part = self.socket.recv(min(count - len(parts), 1 << 20))
            except BlockingIOError:
                continue
            except ConnectionError:
                part = b""
            if not part:
                raise self._ended()
            parts += part
        return bytes(parts)

    def _wait(self, end: float, write: bool = False) -> None:
        left = end - time.monotonic()
        able = select.select([] if write else [self.socket], [self.socket] if write else [], [], max(0, left))
        if left <= 0 or not (able[0] or able[1]):
            raise self._lose("time-out", f"it was not done after {self.box.limits.wall:g} s")

    def _lose(self, outcome: str, reason: str) -> Lost:
        self.end()
        return Lost(outcome, reason)

    def _ended(self) -> Lost:
        """It is gone: why."""
        self.end(gone=True)
        said, limits = self.report, self.box.limits
        code, cpu = said.get("code"), said.get("cpu", 0.0)
        if said.get("guard") == "threads":
            return Lost("died", "it was ended: it started too many threads")
        if said.get("guard") == "scratch":
            return Lost("died", f"it was ended: it wrote more than {_size(limits.scratch)} of files")
        if code is None:
            return Lost("died", f"its process is gone ({str(said.get('failed', ''))[-200:]})")
        # the kernel counts in ticks, so on a busy machine it may end a process somewhat before its time
        if code == -signal.SIGXCPU or (code < 0 and cpu >= 0.8 * limits.cpu):
            return Lost("time-out", f"it used up its {limits.cpu:g} s of processor time")
        if code == BROKEN or (code == -signal.SIGKILL and said.get("killed")):
            return Lost("tampered", "it closed its connection to the grader")
        if code in (-signal.SIGKILL, NO_ROOM) or "bad_alloc" in said.get("tail", "") or (
                code < 0 and said.get("peak", 0) > 0.7 * limits.memory):
            return Lost("out of memory", "it was ended by the system for the memory that it took")
        if code < 0:
            return Lost("died", f"its process was ended by {_signal(-code)}")
        return Lost("died", f"its process ended itself with exit code {code}")


def _texts(value: Any, count: int) -> bool:
    return type(value) is list and len(value) == count and all(type(v) is str for v in value)


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 1 << 30 else f"{count / 2**20:.3g} MiB"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
