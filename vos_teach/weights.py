"""Weights as safetensors in half precision, never a pickle. Those that ship lie in assets/weights/, with a card.

All but OSVOS's, from whose trunk most trainings start, are packed there (see packed.py): the same numbers in less room.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from vos_teach import packed
from vos_teach.clip import VosError
from vos_teach.data.png import write_bytes

Net = TypeVar("Net", bound=nn.Module)

SHIPPED = Path(__file__).parent / "assets" / "weights"


def path_of(source: str | Path) -> Path:
    """A shipped system's name, or a file. Raises VosError if there is neither."""
    shipped = SHIPPED / f"{source}.safetensors"
    if shipped.is_file():
        return shipped
    path = Path(source)
    if not path.is_file():
        have = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none"
        raise VosError(f"no weights '{source}': neither a file nor one of those that ship ({have})")
    return path


def load(source: str | Path) -> dict[str, Tensor]:
    """State dict in single precision. Raises VosError for a pickle or anything else that is not safetensors."""
    return {k: v.float() if v.is_floating_point() else v for k, v in stored(path_of(source)).items()}


def stored(path: Path) -> dict[str, Tensor]:
    """A file's tensors as they were saved, packed or not. Raises VosError as `load` does."""
    try:
        tensors, said = load_file(path), _metadata(path).get(packed.KEY)
        if said is None:
            return tensors
        return packed.unpack(tensors, said, load_file(SHIPPED / packed.BASE))
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise _foreign(path) from None


def load_into(model: nn.Module, source: str | Path) -> None:
    """Load weights into a network; every tensor must fit. Raises VosError naming the first that does not."""
    state, own = load(source), model.state_dict()
    for name in sorted(state.keys() ^ own.keys()):
        where = "lacks" if name in own else "has the unknown tensor"
        raise VosError(f"weights '{source}' do not fit {type(model).__name__}: the file {where} '{name}'")
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise VosError(f"weights '{source}' do not fit {type(model).__name__}: '{name}' is {tuple(value.shape)} "
                           f"in the file and {tuple(own[name].shape)} in the network")
    model.load_state_dict(state)


def load_part(part: nn.Module, source: str | Path, name: str) -> None:
    """Load a part of a network, as another network's weights have it under `name` ("trunk"); all of it must fit."""
    inside = {k[len(name) + 1 :]: v for k, v in load(source).items() if k.startswith(f"{name}.")}
    own = part.state_dict()
    if inside.keys() != own.keys() or any(v.shape != own[k].shape for k, v in inside.items()):
        raise VosError(f"weights '{source}' have no '{name}' that fits this {type(part).__name__}: give another file")
    part.load_state_dict(inside)


def started(system: str, make: Callable[[bool], Net], init: str, source: str | Path | None) -> Net:
    """make(pretrained: bool), a network, at its start: with weights ("trained") or with ImageNet's trunk ("imagenet").

    source: of the weights; None where none ship. Raises VosError for another init, and where there are none.
    """
    if init not in ("trained", "imagenet"):
        raise VosError(f"init is '{init}'; choose from: trained, imagenet")
    if init == "imagenet":
        return make(True)
    if source is None:
        raise VosError(f"this scale ships no weights; train some (vos-teach train {system} --scale paper) and give "
                       "their file as weights, or start from init 'imagenet'")
    net = make(False)
    load_into(net, source)
    return net


def save(model: nn.Module, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write a network's weights in half precision, whole or not at all: the same weights give the same bytes."""
    _write({k: (v.half() if v.is_floating_point() else v).detach().cpu().contiguous()
            for k, v in model.state_dict().items()}, path, {k: str(v) for k, v in (metadata or {}).items()})


def pack(source: str | Path, path: str | Path) -> None:
    """Write a file's weights packed, as those are that ship: `load` gives the same. Raises VosError as `load` does."""
    tensors, said = packed.pack(stored(path_of(source)), load_file(SHIPPED / packed.BASE))
    _write(tensors, path, {**metadata(source), packed.KEY: said})


def _write(state: dict[str, Tensor], path: str | Path, about: dict[str, str]) -> None:
    data = to_bytes(state, about)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))  # safetensors shuffles it
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_bytes(path, len(text).to_bytes(8, "little") + text + data[end:])


def metadata(source: str | Path) -> dict[str, str]:
    """What was written beside the weights: seed, steps, data, version. Raises VosError as `load` does."""
    path = path_of(source)
    try:
        return {k: v for k, v in _metadata(path).items() if k != packed.KEY}
    except SafetensorError:
        raise _foreign(path) from None


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def checkpoint(path: Path, **content) -> None:
    """Write a training checkpoint (tensors and plain containers only), whole or not at all."""
    out = io.BytesIO()
    torch.save(content, out)
    write_bytes(path, out.getvalue())


def _foreign(path: Path) -> VosError:
    """What to say of a file that is not safetensors."""
    start = path.read_bytes()[:4]
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return VosError(f"'{path}' is a pickle, which can run any code when it is opened, and was not opened; "
                        f"save the weights as safetensors and give that file")
    return VosError(f"'{path}' is not a whole safetensors file; copy or download it again")
