"""The authors' own weights in our classes, at scale `paper`: STM (seoungwugoh/STM) and STCN (hkchengrex/STCN).

Their files are fetched by who wants them; nothing of them is here. The networks are the same, the names are not:

    ours                      theirs, STM                    theirs, STCN
    encoder.stages.0.0, .0.1  Encoder_Q.conv1, bn1           key_encoder.conv1, bn1
    encoder.stages.1.1, 2, 3  Encoder_Q.res2, res3, res4     key_encoder.res2, layer2, layer3
    query_key, query_value    KV_Q_r4.Key, Value             key_proj.key_proj, key_comp
    writer.trunk.stages...    Encoder_M.conv1, ...           value_encoder.conv1, ..., layer3
    writer.masks              Encoder_M.conv1_m, conv1_o     value_encoder.conv1, its channels after the third
    memory_key, memory_value  KV_M_r4.Key, Value             -
    fuse                      -                              value_encoder.fuser.block1, attention, block2
    decoder                   Decoder.convFM, ResMM, ...     decoder.compress, up_16_8, ...

STCN's weights after the first part of their training know no other objects (`conv1` has four channels); the missing one
is zeros, as in the authors' own evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vos_teach import weights
from vos_teach.clip import VosError
from vos_teach.transformers import stcn, stm

NEEDLESS = ("num_batches_tracked", ".mean", ".std")  # counters; the normalisation, which ours knows
State = dict[str, Tensor]


@dataclass
class Report:
    """What became of a file's tensors.

    loaded     how many numbers and tensors of ours were filled
    changed    what was not taken as it stands, in a sentence each
    missing    ours that the file does not fill
    misfits    (ours, our shape, theirs, their shape)
    unused     theirs that nothing of ours takes
    """

    system: str
    file: str
    numbers: int = 0
    loaded: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    misfits: list[tuple[str, tuple[int, ...], str, tuple[int, ...]]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    out: str | None = None  # the file written; None if something is missing or does not fit

    @property
    def complete(self) -> bool:
        """Whether every tensor of ours was filled."""
        return not (self.missing or self.misfits)

    def __str__(self) -> str:
        lines = [f"{self.system} from {self.file}: {len(self.loaded)} tensors, {self.numbers:,} numbers"]
        lines += [f"  changed: {text}" for text in self.changed]
        lines += [f"  missing in the file: {name}" for name in self.missing]
        lines += [f"  does not fit: {a} is {b}, the file's {c} is {d}" for a, b, c, d in self.misfits]
        lines += [f"  not used: {name}" for name in self.unused]
        lines.append(f"  written to {self.out}" if self.out else "  NOT written: the network would not be whole")
        return "\n".join(lines)


def resnet(own: str, theirs: str, layers: tuple[str, str, str]) -> list[tuple[str, str]]:
    """Prefixes of a ResNet cut at stride 16."""
    return [(f"{own}.stages.0.0", f"{theirs}.conv1"), (f"{own}.stages.0.1", f"{theirs}.bn1"),
            (f"{own}.stages.1.1", f"{theirs}.{layers[0]}"), (f"{own}.stages.2", f"{theirs}.{layers[1]}"),
            (f"{own}.stages.3", f"{theirs}.{layers[2]}")]


def block(own: str, theirs: str) -> list[tuple[str, str]]:
    """Prefixes of a residual block."""
    return [(f"{own}.first", f"{theirs}.conv1"), (f"{own}.second", f"{theirs}.conv2"),
            (f"{own}.straight", f"{theirs}.downsample")]


PREFIXES: dict[str, list[tuple[str, str]]] = {
    "stm": [
        *resnet("encoder", "Encoder_Q", ("res2", "res3", "res4")),
        *resnet("writer.trunk", "Encoder_M", ("res2", "res3", "res4")),
        ("query_key", "KV_Q_r4.Key"), ("query_value", "KV_Q_r4.Value"),
        ("memory_key", "KV_M_r4.Key"), ("memory_value", "KV_M_r4.Value"),
        ("decoder.start.0", "Decoder.convFM"), *block("decoder.start.1", "Decoder.ResMM"),
        *(pair for own, theirs in (("decoder.up8", "Decoder.RF3"), ("decoder.up4", "Decoder.RF2")) for pair in
          ((f"{own}.side.0", f"{theirs}.convFS"), *block(f"{own}.side.1", f"{theirs}.ResFS"),
           *block(f"{own}.merge", f"{theirs}.ResMM"))),
        ("decoder.score", "Decoder.pred2"),
    ],
    "stcn": [
        *resnet("encoder", "key_encoder", ("res2", "layer2", "layer3")),
        *resnet("writer.trunk", "value_encoder", ("layer1", "layer2", "layer3")),
        ("query_key", "key_proj.key_proj"), ("query_value", "key_comp"),
        *block("fuse.0", "value_encoder.fuser.block1"), *block("fuse.2", "value_encoder.fuser.block2"),
        ("fuse.1.inner", "value_encoder.fuser.attention.ChannelGate.mlp.1"),
        ("fuse.1.outer", "value_encoder.fuser.attention.ChannelGate.mlp.3"),
        ("fuse.1.place", "value_encoder.fuser.attention.SpatialGate.spatial.conv"),
        *block("decoder.start", "decoder.compress"),
        *(pair for own, theirs in (("decoder.up8", "decoder.up_16_8"), ("decoder.up4", "decoder.up_8_4")) for pair in
          ((f"{own}.side", f"{theirs}.skip_conv"), *block(f"{own}.merge", f"{theirs}.out_conv"))),
        ("decoder.score", "decoder.pred"),
    ],
}


def renamed(system: str, name: str) -> str | None:
    """Their name of one of our tensors; None: it has none."""
    for own, theirs in PREFIXES[system]:
        if name.startswith(f"{own}."):
            return theirs + name[len(own) :]
    return None


def prepared(system: str, state: State) -> tuple[State, list[str]]:
    """Their state dict with the masks' filters under a name of their own, and what was changed."""
    state, said = {k.removeprefix("module."): v for k, v in state.items()}, []
    first = state.get("value_encoder.conv1.weight")
    if system == "stm" and {"Encoder_M.conv1_m.weight", "Encoder_M.conv1_o.weight"} <= state.keys():
        both = state.pop("Encoder_M.conv1_m.weight"), state.pop("Encoder_M.conv1_o.weight")
        state["masks"] = torch.cat(both, 1)
        said.append("conv1_m and conv1_o are one convolution of two channels")
    elif system == "stcn" and first is not None and first.ndim == 4 and first.shape[1] in (4, 5):
        state["value_encoder.conv1.weight"], masks = first[:, :3], first[:, 3:]
        said.append("conv1 of the value encoder is parted into the frame's channels and the masks'")
        if masks.shape[1] == 1:
            masks = torch.cat([masks, torch.zeros_like(masks)], 1)
            said.append("the file knows one object only: the channel of the others' masks is zeros")
        state["masks"] = masks
    return state, said


def fill(network: torch.nn.Module, system: str, state: State, file: str = "state dict") -> Report:
    """Load the authors' state dict into our network of scale `paper`: what fits; the report says the rest."""
    state, said = prepared(system, state)
    own = network.state_dict()
    report, taken = Report(system, file, changed=said), set()
    for name, value in own.items():
        theirs = "masks" if name == "writer.masks.weight" else renamed(system, name)
        if name.endswith(NEEDLESS[0]):
            taken.add(theirs)
        elif theirs is None or theirs not in state:
            report.missing.append(name if theirs in (None, "masks") else f"{theirs} (ours: {name})")
        elif state[theirs].shape != value.shape:
            report.misfits.append((name, tuple(value.shape), theirs, tuple(state[theirs].shape)))
            taken.add(theirs)
        else:
            own[name] = state[theirs].to(value)
            report.loaded.append(name)
            report.numbers += value.numel()
            taken.add(theirs)
    report.unused = [k for k in state if k not in taken and not k.endswith(NEEDLESS)]
    network.load_state_dict(own)
    return report


def import_released(system: str, file: str | Path, out: str | Path) -> Report:
    """The authors' file of "stm" or "stcn" -> ours (safetensors), for `weights` at scale `paper`, if all of it fits.

    The file is read as tensors alone: what else a pickle may hold is refused. Raises VosError for another system and
    for what is no state dict; what does not fit is in the report, and then nothing is written.
    """
    if system not in PREFIXES:
        raise VosError(f"there are no released weights of '{system}' to import; choose from: {', '.join(PREFIXES)}")
    state = read(file)
    module = stm if system == "stm" else stcn
    network = module.new_network(module.SCALES["paper"], pretrained=False)
    report = fill(network, system, state, str(file))
    if report.complete:
        weights.save(network, out, {"system": system, "scale": "paper", "source": Path(file).name})
        report.out = str(out)
    return report


def read(file: str | Path) -> State:
    """A file of torch.save -> names and tensors. Raises VosError for anything else."""
    if not Path(file).is_file():
        raise VosError(f"'{file}' is no file: fetch the authors' weights first")
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # of many kinds, the unpickler's own among them: it reads what anybody may have written
        raise VosError(f"'{file}' is no state dict of PyTorch, or holds more than tensors: it was not loaded") from None
    for inner in _inside(content):
        if inner and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in inner.items()):
            return dict(inner)
    raise VosError(f"'{file}' holds no table of tensors by name: give the file that the authors released")


def _inside(content: Any) -> Iterator[dict]:
    """The content, and what training programs often wrap it in."""
    if isinstance(content, dict):
        yield content
        for key in ("network", "state_dict", "model"):
            if isinstance(content.get(key), dict):
                yield content[key]
