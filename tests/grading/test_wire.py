"""The border's plain data: what goes in comes out, and hostile bytes give one clean error."""

from __future__ import annotations

import contextlib
import json
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vos_teach.grading.sandbox.wire import MAGIC, Opaque, WireError, decode, encode

DTYPES = ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
array = st.sampled_from(DTYPES).flatmap(
    lambda d: arrays.arrays(np.dtype(d), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
tensor = array.filter(lambda a: a.dtype not in (np.uint16, np.uint32, np.uint64)).map(lambda a: torch.tensor(a))
leaf = st.one_of(st.none(), st.booleans(), st.integers(-2**70, 2**70), st.floats(), st.text(max_size=9),
                 st.binary(max_size=9), array, tensor, array.filter(lambda a: a.ndim == 0).map(lambda a: a[()]))
values = st.recursive(leaf, lambda v: st.one_of(
    st.lists(v, max_size=4), st.lists(v, max_size=4).map(tuple), st.dictionaries(st.text(max_size=5), v, max_size=4)),
    max_leaves=12)


def same(a, b) -> bool:
    """An oracle of equality that knows types, dtypes and NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and same(a.numpy(), b.numpy())
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (math.isnan(a) and math.isnan(b))
    return a == b


def plain(value) -> bool:
    """Whether a value consists of the classes of the protocol and of nothing else."""
    if type(value) in (list, tuple):
        return all(map(plain, value))
    if type(value) is dict:
        return all(type(k) is str and plain(v) for k, v in value.items())
    return value is None or type(value) in (bool, int, float, str, bytes, np.ndarray, torch.Tensor, Opaque) or (
        isinstance(value, np.generic) and value.dtype.kind in "biuf")


@settings(deadline=None, max_examples=300)
@given(values)
def test_what_goes_in_comes_out(value):
    back = decode(encode(value))
    assert same(back, value)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_mutated_bytes_give_a_plain_value_or_one_error(data):
    message = bytearray(encode(data.draw(values)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(message) - 1)) if message else 0
        what = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if what == "flip" and message:
            message[at] = data.draw(st.integers(0, 255))
        elif what == "cut":
            del message[at:]
        elif what == "insert":
            message[at:at] = data.draw(st.binary(max_size=9))
        else:
            message[at:at] = message[at:at + 20]
    with contextlib.suppress(WireError):
        assert plain(decode(bytes(message)))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_give_one_error(data):
    for message in (data, MAGIC + data, MAGIC + len(data).to_bytes(4, "big") + data):
        with contextlib.suppress(WireError):
            decode(message)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
              st.sampled_from(["array", "tensor", "number", "dict", "tuple", "list", "bytes", "opaque", "<f4", "|b1"])),
    lambda v: st.one_of(st.lists(v, max_size=5), st.dictionaries(st.text(max_size=3), v, max_size=3)), max_leaves=20)


@settings(deadline=None, max_examples=500)
@given(json_values, st.binary(max_size=64))
def test_any_header_gives_one_error(tree, rest):
    with contextlib.suppress(WireError):
        assert plain(decode(framed(tree, rest)))


def framed(tree, rest: bytes = b"") -> bytes:
    head = tree if isinstance(tree, bytes) else json.dumps(tree).encode("ascii")
    return MAGIC + len(head).to_bytes(4, "big") + head + rest


HOSTILE = {
    "an array larger than its bytes": framed(["array", "<f8", [1 << 30]]),
    "a product that overflows": framed(["array", "<f8", [1 << 30, 1 << 30, 1 << 30]]),
    "nothing, in a huge shape": framed(["array", "<f8", [0, (1 << 31) - 1, (1 << 31) - 1, 1 << 30]]),
    "a negative side": framed(["array", "<f8", [-1]]),
    "true as a side": framed(["array", "|u1", [True]], b"a"),
    "a float as a side": framed(["array", "|u1", [1.0]], b"a"),
    "too many axes": framed(["array", "|u1", [1] * 17], b"a"),
    "an object array": framed(["array", "|O", [1]], b"12345678"),
    "a structured array": framed(["array", "i4,i4", [1]], b"12345678"),
    "complex numbers": framed(["array", "<c8", [1]], b"12345678"),
    "the other byte order": framed(["array", ">f4", [1]], b"1234"),
    "a list as a kind": framed(["array", ["<f4"], [1]], b"1234"),
    "an unsigned tensor": framed(["tensor", "<u8", [1]], b"12345678"),
    "bytes left over": framed(["array", "|u1", [1]], b"ab"),
    "bytes cut short": framed(["bytes", 9], b"ab"),
    "a negative count": framed(["bytes", -1]),
    "an unknown tag": framed(["pickle", "x"]),
    "no tag": framed([]),
    "a number as a tag": framed([1, 2]),
    "a bare object": framed({"a": 1}),
    "a key that is no text": framed(["dict", [1, 2]]),
    "a key that is there twice": framed(["dict", ["a", 1], ["a", 2]]),
    "half an entry": framed(["dict", ["a"]]),
    "an opaque number": framed(["opaque", 1]),
    "too deep": framed(b"[" * 100_000),
    "deep with tags": framed(b'["list",' * 3000 + b"1" + b"]" * 3000),
    "a number of many digits": framed(b"1" * 100_000),
    "not ASCII": framed('"ü"'.encode()),
    "not JSON": framed(b"[1,"),
    "a header that is longer than all": MAGIC + (1 << 31).to_bytes(4, "big") + b"1",
    "too many parts": framed(b'["list"' + b",1" * 300_000 + b"]"),
    "a pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_give_one_error_and_take_no_memory(name):
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode(HOSTILE[name])
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_limits_of_size():
    message = encode(np.zeros(1000))
    with pytest.raises(WireError):
        decode(message, limit=4000)
    with pytest.raises(WireError):
        encode(np.zeros(1000), limit=4000)
    with pytest.raises(WireError):
        encode(["x"] * 300_000)
    with pytest.raises(WireError):
        encode(torch.zeros(1).expand(10**12), limit=1 << 20)  # a small tensor that says it is large


def test_a_bool_is_zero_or_one_whatever_is_sent():
    back = decode(framed(["array", "|b1", [3]], b"\x00\x01\xff"))
    assert back.dtype == bool and back.view(np.uint8).tolist() == [0, 1, 1]


def test_what_is_not_plain_is_opaque():
    class Sneaky(list):
        def __iter__(self):
            raise RuntimeError

        def __len__(self):
            return 10**9

    loop: list = []
    loop.append(loop)
    for value, name in [(object(), "object"), (len, "builtin_function_or_method"), ({1: 2}, "dict"), (1j, "complex"),
                        (np.array([object()]), "ndarray"), (torch.tensor(1j), "Tensor"), (10**5000, "int"),
                        (torch.zeros(2).to_sparse(), "Tensor"), (np.datetime64("2020"), "datetime64")]:
        assert decode(encode(value)) == Opaque(name)
    assert type(decode(encode(loop))) is list
    with pytest.raises(RuntimeError):
        encode(Sneaky())  # an error of the sender's own: its side of the border, its problem
    assert decode(encode("\ud800")) == "?"


def test_what_is_nearly_plain_becomes_plain():
    parameter = torch.nn.Parameter(torch.arange(3.0))
    assert type(decode(encode(parameter))) is torch.Tensor
    assert decode(encode(torch.zeros(2, 3).max(0)))[1].shape == (3,)  # a named tuple
    assert decode(encode(np.arange(6, dtype=">i4").reshape(2, 3).T)).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert decode(encode(torch.arange(6).reshape(2, 3).T.conj())).tolist() == [[0, 3], [1, 4], [2, 5]]
