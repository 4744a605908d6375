"""Weights as safetensors in half precision, never a pickle. Those that ship lie in assets/weights/, with a card."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vos_teach.clip import VosError

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
    path = path_of(source)
    try:
        return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    except SafetensorError:
        start = path.read_bytes()[:4]
        if start[:2] == b"PK" or start[:1] == b"\x80":
            raise VosError(f"'{path}' is a pickle, which can run any code when it is opened, and was not opened; "
                           f"save the weights as safetensors and give that file") from None
        raise VosError(f"'{path}' is not a whole safetensors file; copy or download it again") from None


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


def save(model: nn.Module, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write a network's weights in half precision, whole or not at all."""
    path = Path(path)
    state = {k: (v.half() if v.is_floating_point() else v).detach().cpu().contiguous()
             for k, v in model.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # created as other files are: safetensors alone would make it readable by its owner only
        mode = temporary.stat().st_mode
        save_file(state, temporary, metadata={k: str(v) for k, v in (metadata or {}).items()})
        temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def metadata(source: str | Path) -> dict[str, str]:
    """What was written beside the weights: seed, steps, data, version."""
    with safe_open(path_of(source), "pt") as file:
        return file.metadata() or {}


def checkpoint(path: Path, **content) -> None:
    """Write a training checkpoint (tensors and plain containers only), whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save(content, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
