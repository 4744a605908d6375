"""Reading a file on a web server in parts: ranges, retries with growing pauses, time-outs."""

from __future__ import annotations

import http.client
import io
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

TRIES, PAUSE, TIMEOUT = 5, 1.0, 30.0  # failures in a row; seconds before the 2nd try, then doubled; seconds
BLOCK = 1 << 16  # bytes read at a time
FAILURES = (OSError, http.client.HTTPException)  # OSError: URLError, time-outs, resets


class Remote(io.RawIOBase):
    """A file on a server that knows ranges, read-only: zipfile reads it as if it were local. Keeps one span."""

    def __init__(self, url: str, size: int):
        self.url, self.size, self.at, self.start, self.data = url, size, 0, 0, b""
        self.fetch(max(0, size - BLOCK), size)  # a zip's directory is at its end

    def holds(self, start: int, end: int) -> bool:
        """Are bytes start..end-1 in memory?"""
        return self.start <= start and end <= self.start + len(self.data)

    def fetch(self, start: int, end: int) -> None:
        """Keep bytes start..end-1."""
        got = bytearray()
        for _, block, _ in blocks(self.url, start, end):
            got += block
        self.start, self.data = start, bytes(got[: end - start])

    def read(self, n: int | None = -1) -> bytes:
        """The next n bytes."""
        end = self.size if n is None or n < 0 else min(self.size, self.at + n)
        if end <= self.at:
            return b""
        if not self.holds(self.at, end):
            self.fetch(self.at, end)
        out = self.data[self.at - self.start : end - self.start]
        self.at = end
        return out

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as files do."""
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        """Where the next read begins."""
        return self.at

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True


class Patience:
    """Counts failures in a row, waits longer after each, and gives up: nothing is asked for for ever."""

    def __init__(self) -> None:
        self.failures = 0

    def after(self, error: Exception, progress: bool = False) -> None:
        """Sleep before the next try, or raise `error`: too many, or one like 404, which waiting does not mend."""
        if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
            raise error
        self.failures = 1 if progress else self.failures + 1
        if self.failures >= TRIES:
            raise error
        time.sleep(PAUSE * 2 ** (self.failures - 1))


def open_range(url: str, start: int, end: int | None) -> tuple[http.client.HTTPResponse, int, int | None]:
    """Ask for bytes start..end-1 (None: to the end) -> answer, its first byte, the file's size if the server says.

    A server that does not know ranges answers from byte 0.
    """
    headers = {"User-Agent": "vos-teach", "Accept-Encoding": "identity"}
    headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
    answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    if answer.status == 206:
        said = re.match(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if said and int(said[1]) == start:
            return answer, start, int(said[2])
        answer.close()
        raise OSError("the server sent another range than it was asked for")
    length = answer.headers.get("Content-Length")
    return answer, 0, int(length) if length else None


def remote_size(url: str) -> int | None:
    """The file's size, or None if the server does not know ranges."""
    patience = Patience()
    while True:
        try:
            answer, _, size = open_range(url, 0, 1)
            answer.close()
            return size if answer.status == 206 else None
        except FAILURES as error:
            patience.after(error)


def blocks(url: str, start: int, end: int | None) -> Iterator[tuple[int, bytes, int | None]]:
    """Bytes start..end-1 as (position, block, size of the file), going on after a drop where it happened.

    With end None a server without ranges may begin again at position 0; else that is an error.
    """
    patience, ranges = Patience(), False
    while True:
        mark = start
        try:
            answer, at, size = open_range(url, start, end)
            with answer:
                if at != start and end is not None:
                    raise OSError("the server ignored the range it was asked for")
                ranges, start, stop = answer.status == 206, at, size if end is None else end
                while (stop is None or start < stop) and (block := answer.read(BLOCK)):
                    yield start, block, size
                    start += len(block)
            if stop is None or start >= stop:
                return
            raise ConnectionError("the connection dropped")
        except FAILURES as error:
            patience.after(error, progress=start - mark >= BLOCK and ranges)
