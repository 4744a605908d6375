"""A disk that is full, for tests."""

import contextlib

import pytest


@contextlib.contextmanager
def full_disk(room: int = 700):
    """No file may grow beyond `room` bytes: what a full disk looks like to whoever writes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
