"""Weights that ship take three quarters of their room, without loss: what half-precision numbers differ by, compressed.

The bits of a half-precision number, read as a whole number with a sign, are in the order of the numbers; so numbers
that lie near each other differ by little. Nearly all trainings start from the trunk of OSVOS's parent: a tensor that
has a counterpart there is stored as its difference from it, any other one as it is. All numbers of a file make one
stream, lowest bytes first, for lzma. What comes out are the very bits that went in.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_teach.errors import VosError

BASE, KEY, STREAM = "osvos.safetensors", "packed", "packed"  # whose trunk; in the metadata; the tensor of bytes
BYTES = 3  # of a difference: 17 bits


def ordinals(x: Tensor) -> np.ndarray:
    """Half-precision numbers -> whole numbers in their order: neighbours differ by 1; -0 is 0's neighbour below."""
    bits = x.contiguous().view(torch.int16).numpy().ravel().astype(np.int32)
    return np.where(bits < 0, -1 - (bits & 0x7FFF), bits)


def halves(whole: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """The other way round."""
    bits = np.where(whole < 0, (-1 - whole) | 0x8000, whole).astype(np.uint16).view(np.int16)
    return torch.from_numpy(bits.copy()).view(torch.float16).view(shape)


def pack(state: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Tensors -> those to be written, one of bytes in place of all half-precision ones; what metadata says of it."""
    trunk = {name.removeprefix("trunk."): x for name, x in base.items() if name.startswith("trunk.")}
    rows: list[list[Any]] = []
    stream = []
    for name, x in state.items():
        if x.dtype != torch.float16:
            rows.append([name, None, None])
            continue
        near = next((k for k, y in trunk.items() if f".{name}".endswith(f".{k}") and y.shape == x.shape), None)
        rows.append([name, list(x.shape), near])
        stream.append(ordinals(x) - (0 if near is None else ordinals(trunk[near])))
    whole = np.concatenate(stream) if stream else np.zeros(0, np.int32)
    turned = (whole << 1) ^ (whole >> 31)  # 0, -1, 1, -2, ... as 0, 1, 2, 3, ...
    planes = b"".join((turned >> 8 * i & 255).astype(np.uint8).tobytes() for i in range(BYTES))
    data = torch.frombuffer(bytearray(lzma.compress(planes, preset=9)), dtype=torch.uint8)
    plain = {name: x for name, x in state.items() if x.dtype != torch.float16}
    return {**plain, STREAM: data}, json.dumps({"base": mark(trunk), "tensors": rows}, separators=(",", ":"))


def unpack(tensors: Mapping[str, Tensor], said: str, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `pack` was given, bit for bit. VosError for another base, ValueError for what is no such file."""
    trunk = {name.removeprefix("trunk."): x for name, x in base.items() if name.startswith("trunk.")}
    about = json.loads(said)
    if about["base"] != mark(trunk):
        raise VosError(f"these weights are packed with another '{BASE}' than the one that is here: restore "
                       "that one, or pack them anew from the file that training wrote")
    count = sum(math.prod(shape) for _, shape, _ in about["tensors"] if shape is not None)
    box = lzma.LZMADecompressor()
    try:  # one byte more than there may be: or the end is not looked at
        planes = box.decompress(tensors[STREAM].numpy().tobytes(), max_length=BYTES * count + 1)
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from None
    if not box.eof or len(planes) != BYTES * count:
        raise ValueError("the stream is not whole")
    parts = np.frombuffer(planes, np.uint8).reshape(BYTES, count).astype(np.int32)
    turned = sum(part << 8 * i for i, part in enumerate(parts))
    whole, at, out = (turned >> 1) ^ -(turned & 1), 0, {}
    for name, shape, near in about["tensors"]:
        if shape is None:
            out[name] = tensors[name]
            continue
        n = math.prod(shape)
        out[name] = halves(whole[at : at + n] + (0 if near is None else ordinals(trunk[near])), tuple(shape))
        at += n
    return out


def mark(trunk: Mapping[str, Tensor]) -> str:
    """A short hash of the numbers that differences are from."""
    seen = hashlib.sha256()
    for name in sorted(trunk):
        seen.update(name.encode() + ordinals(trunk[name]).tobytes())
    return seen.hexdigest()[:16]
