"""The plain data that crosses the sandbox's border, as bytes: what is inside is believed by nobody.

A message is 4 bytes magic, 4 bytes header length (big-endian), a JSON header, then the raw buffers in the order in
which the header names them. None, bool, int, float and str stand in the header as themselves; all else is a list whose
first item is its tag. Sizes, shapes and depth are looked at before anything is allocated for them. There is no pickle,
and nothing that is decoded has a class of the sender's choice.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MAGIC = b"VW1\n"
HEADER = 4 << 20  # bytes of JSON at most: parsed, it may take some 25 times that
NODES, DEPTH, AXES, SIDE = 200_000, 32, 16, 1 << 31
DTYPES = {str(np.dtype(t).newbyteorder("<").str): np.dtype(t).newbyteorder("<") for t in (
    "bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")}
TORCH = {"|b1": torch.bool, "|i1": torch.int8, "<i2": torch.int16, "<i4": torch.int32, "<i8": torch.int64,
         "|u1": torch.uint8, "<f2": torch.float16, "<f4": torch.float32, "<f8": torch.float64}
_SAME_TORCH = set(TORCH.values())


class WireError(Exception):
    """Bytes that are no message, or a value that is larger than the limit."""


@dataclass(frozen=True)
class Opaque:
    """Stands for a value that is no plain data: the name of its type, at most 100 characters, as the sender says."""

    typename: str


def encode(value: Any, limit: int = 64 << 20) -> bytes:
    """A value as bytes. What is no plain data becomes Opaque; WireError if it takes more than `limit` bytes."""
    return _Writer(limit).message(value)


def decode(data: bytes, limit: int = 64 << 20) -> Any:
    """The value of such bytes, from a sender who may wish us ill. WireError for whatever is not right with them."""
    try:
        return _Reader(data, limit).message()
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, RuntimeError) as error:
        raise WireError(f"not a message: {type(error).__name__}") from None


def clean(text: str, most: int | None = None) -> str:
    """Text that UTF-8 can hold: lone surrogates become question marks; cut to `most` characters."""
    return str.encode(text if most is None else text[:most], "utf-8", "replace").decode("utf-8")


class _Writer:
    def __init__(self, limit: int):
        self.limit, self.room, self.nodes, self.buffers = limit, limit, 0, []  # type: ignore[var-annotated]

    def message(self, value: Any) -> bytes:
        header = json.dumps(self.node(value, 0), separators=(",", ":")).encode("ascii")
        if len(header) > HEADER or len(header) + 8 > self.room:
            raise WireError("the value is too large to be sent")
        return b"".join([MAGIC, len(header).to_bytes(4, "big"), header, *self.buffers])

    def buffer(self, data: bytes | memoryview) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise WireError("the value is too large to be sent")
        self.buffers.append(data)

    def node(self, value: Any, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > NODES:
            raise WireError("the value has too many parts to be sent")
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            return value if value.bit_length() < 4096 else _opaque(value)
        if isinstance(value, str):
            return clean(value)
        if kind in (bytes, bytearray):
            self.buffer(bytes(value))
            return ["bytes", len(value)]
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.asarray(value)
            return self.array("array" if isinstance(value, np.ndarray) else "number", array) or _opaque(value)
        if isinstance(value, Opaque):
            return ["opaque", clean(value.typename, 100)]
        if depth < DEPTH and isinstance(value, (list, tuple)):
            tag = "list" if isinstance(value, list) else "tuple"
            return [tag, *(self.node(v, depth + 1) for v in value)]
        if depth < DEPTH and isinstance(value, dict) and all(type(k) is str for k in value):
            return ["dict", *((clean(k), self.node(v, depth + 1)) for k, v in value.items())]
        if isinstance(value, (int, float)):  # a subclass: an IntEnum, for example
            return self.node(int(value) if isinstance(value, int) else float(value), depth)
        return _opaque(value)

    def array(self, tag: str, array: np.ndarray) -> Any:
        """The header's part of an array, its bytes put aside; None if it is of no kind that travels."""
        if array.dtype.kind not in "biuf" or array.ndim > AXES or array.dtype.newbyteorder("<").str not in DTYPES:
            return None
        if array.nbytes > self.room:
            raise WireError("the value is too large to be sent")
        dtype = array.dtype.newbyteorder("<")
        self.buffer(array.astype(dtype, order="C", copy=False).tobytes())
        return [tag, dtype.str, list(array.shape)]

    def tensor(self, tensor: torch.Tensor) -> Any:
        if tensor.layout is not torch.strided or tensor.dtype not in _SAME_TORCH or tensor.device.type == "meta":
            return _opaque(tensor)
        if tensor.numel() * tensor.element_size() > self.room:
            raise WireError("the value is too large to be sent")
        array = tensor.detach().cpu().resolve_conj().resolve_neg().numpy()
        return self.array("tensor", array) or _opaque(tensor)


def _opaque(value: Any) -> list[str]:
    return ["opaque", clean(type.__getattribute__(type(value), "__name__"), 100)]


class _Reader:
    def __init__(self, data: bytes, limit: int):
        self.data, self.limit, self.nodes = data, limit, 0

    def message(self) -> Any:
        data = self.data
        if len(data) > self.limit:
            raise WireError(f"a message of {len(data)} bytes: at most {self.limit} are taken")
        if len(data) < 8 or data[:4] != MAGIC:
            raise WireError("not a message: wrong beginning")
        size = int.from_bytes(data[4:8], "big")
        if size > min(HEADER, len(data) - 8):
            raise WireError("not a message: its header is too long")
        header = bytes(data[8:8 + size])
        if not header.isascii():
            raise WireError("not a message: its header is not ASCII")
        tree = json.loads(header)
        self.at = 8 + size
        value = self.node(tree, 0)
        if self.at != len(data):
            raise WireError("not a message: bytes are left over")
        return value

    def take(self, count: int) -> memoryview:
        if type(count) is not int or not 0 <= count <= len(self.data) - self.at:
            raise WireError("not a message: its buffers are cut short")
        self.at += count
        return memoryview(self.data)[self.at - count:self.at]

    def node(self, node: Any, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > NODES or depth > DEPTH + 1:
            raise WireError("not a message: too many parts, or nested too deeply")
        if type(node) is str:
            return clean(node)
        if node is None or type(node) in (bool, int, float):
            return node
        if type(node) is not list or not node or type(node[0]) is not str:
            raise WireError("not a message: an unknown part")
        tag, rest = node[0], node[1:]
        if tag == "list":
            return [self.node(n, depth + 1) for n in rest]
        if tag == "tuple":
            return tuple(self.node(n, depth + 1) for n in rest)
        if tag == "dict":
            found = {self.key(k): self.node(n, depth + 1) for k, n in rest}
            if len(found) != len(rest):
                raise WireError("not a message: a key is there twice")
            return found
        if tag == "bytes":
            (count,) = rest
            return bytes(self.take(count))
        if tag == "opaque":
            (name,) = rest
            return Opaque(self.key(name)[:100])
        if tag in ("array", "number", "tensor"):
            return self.array(tag, *rest)
        raise WireError("not a message: an unknown tag")

    @staticmethod
    def key(name: Any) -> str:
        if type(name) is not str:
            raise WireError("not a message: a key is no text")
        return clean(name)

    def array(self, tag: str, code: Any, shape: Any) -> Any:
        if type(code) is not str or code not in DTYPES or type(shape) is not list or len(shape) > AXES:
            raise WireError("not a message: an array of an unknown kind")
        if not all(type(n) is int and 0 <= n < SIDE for n in shape) or math.prod(n or 1 for n in shape) > 1 << 48:
            raise WireError("not a message: an array of an impossible shape")
        dtype = DTYPES[code]
        raw = np.frombuffer(self.take(math.prod(shape) * dtype.itemsize), np.uint8 if code == "|b1" else dtype)
        raw = (raw != 0) if code == "|b1" else raw.astype(dtype.newbyteorder("="))  # a bool is 0 or 1, whatever came
        array = raw.reshape(shape)
        if tag == "tensor":
            if code not in TORCH:
                raise WireError("not a message: a tensor of an unknown kind")
            return torch.from_numpy(array)
        if tag == "number":
            if shape:
                raise WireError("not a message: a number with a shape")
            return array[()]
        return array
