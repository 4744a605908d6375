"""Packed weights give back every bit; a damaged file, or another base, is told in a sentence."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vos_teach import packed, weights
from vos_teach.clip import VosError


def bits(x):
    return x.view(torch.int16) if x.dtype == torch.float16 else x


def every_half():
    """All 65,536 of them: also infinities, not-a-numbers, both zeros."""
    return torch.from_numpy(np.arange(65536, dtype=np.uint16).view(np.int16).copy()).view(torch.float16)


def test_every_half_precision_number_has_its_place():
    x = every_half()
    whole = packed.ordinals(x)
    assert len(set(whole.tolist())) == 65536 and torch.equal(bits(packed.halves(whole, (256, 256))).ravel(), bits(x))
    real = x[x.isfinite()].double().numpy()
    order = np.argsort(packed.ordinals(x[x.isfinite()]))
    assert (np.diff(real[order]) >= 0).all(), "the order of the numbers is that of their places"


def test_what_comes_out_went_in():
    base = {"trunk.stages.0.weight": every_half().roll(7), "trunk.b": torch.randn(3).half(), "score": torch.ones(2)}
    state = {"far.stages.0.weight": every_half(), "stages.0.weight": every_half().flip(0), "b": torch.randn(4).half(),
             "xb": torch.randn(3).half(), "count": torch.tensor(5), "empty": torch.zeros(0, 3).half(),
             "single": torch.tensor(1.5).half(), "sure": torch.randn(2, 2)}
    tensors, said = packed.pack(state, base)
    near = {name: near for name, _, near in json.loads(said)["tensors"]}
    assert near["far.stages.0.weight"] == near["stages.0.weight"] == "stages.0.weight"
    assert near["b"] is near["xb"] is near["empty"] is None, "of another shape; no part of the name; none"
    assert set(tensors) == {"count", "sure", packed.STREAM} and tensors[packed.STREAM].dtype == torch.uint8
    out = packed.unpack(tensors, said, base)
    assert list(out) == list(state)
    assert all(torch.equal(bits(out[k]), bits(v)) and out[k].shape == v.shape for k, v in state.items())
    for changed in ({}, {**base, "trunk.b": base["trunk.b"] + 1}):
        with pytest.raises(VosError, match=r"another 'osvos\.safetensors'"):
            packed.unpack(tensors, said, changed)
    assert packed.unpack(*packed.pack({}, base), base) == {}


def test_near_numbers_take_less_room():
    first = torch.randn(50_000).half()
    near = {"x": (first.float() * (1 + 0.02 * torch.randn(50_000))).half()}
    size = {name: packed.pack(near, base)[0][packed.STREAM].numel()
            for name, base in (("alone", {}), ("beside", {"trunk.x": first}))}
    assert size["beside"] < 0.7 * size["alone"] and size["alone"] < 2 * 50_000


@pytest.fixture
def files(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    weights.save(net, tmp_path / "plain.safetensors", {"seed": 0, "packed by": "nobody"})
    weights.pack(tmp_path / "plain.safetensors", tmp_path / "packed.safetensors")
    return net, tmp_path / "plain.safetensors", tmp_path / "packed.safetensors"


def test_a_packed_file_is_read_as_the_plain_one(files, tmp_path):
    net, plain, small = files
    one, two = weights.load(plain), weights.load(small)
    assert list(one) == list(two) and all(torch.equal(one[k], two[k]) for k in one)
    assert weights.metadata(plain) == weights.metadata(small) == {"packed by": "nobody", "seed": "0"}
    assert packed.STREAM in load_file(small) and packed.STREAM not in load_file(plain)
    weights.load_into(net, small)
    weights.pack(small, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == small.read_bytes()


@pytest.mark.parametrize("spoil", [
    lambda t, said: (t, said[:-4]), lambda t, said: (t, "[]"), lambda t, said: (t, said.replace("8,3,3,3", "8,3,3,4")),
    lambda t, said: ({**t, packed.STREAM: t[packed.STREAM][:-20]}, said),
    lambda t, said: ({**t, packed.STREAM: t[packed.STREAM].flip(0)}, said),
    lambda t, said: ({k: v for k, v in t.items() if k != packed.STREAM} | {"x": torch.ones(1)}, said)])
def test_a_damaged_packed_file_is_told_in_a_sentence(files, spoil):
    small = files[2]
    tensors, said = spoil(load_file(small), weights._metadata(small)[packed.KEY])
    save_file({k: v.contiguous() for k, v in tensors.items()}, small, {packed.KEY: said})
    with pytest.raises(VosError, match="not a whole safetensors file"):
        weights.load(small)


def test_what_ships_is_packed_but_for_the_base():
    for path in sorted(weights.SHIPPED.glob("*.safetensors")):
        tensors = load_file(path)
        assert (packed.STREAM in tensors) is (path.name != packed.BASE), path.name
        assert all(x.dtype in (torch.float16, torch.int64) for x in weights.stored(path).values()), path.name
