"""The only place that knows all systems by name. To add a system: its file, and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from vos_teach.clip import VosError


@dataclass(frozen=True)
class Spec:
    """One system: where it lives and what it is. `build` is "module:callable"; it returns a Segmenter."""

    name: str
    stage: int
    task: Literal["one-shot", "zero-shot"]
    build: str
    paper: str
    what: str
    train: str | None = None  # "module:callable" that trains it, where it is trained
    ordered_slots: bool = False  # True: permuting the objects may change the result
    finetunes: bool = False  # True: takes `seconds` or `steps` of online learning
    weights: bool = False  # True: takes `weights`, a file to use instead of the one that ships


SYSTEMS = {
    spec.name: spec
    for spec in (
        Spec("copy-first", 0, "one-shot", "vos_teach.baselines:CopyFirst", "baseline", "the first mask, for ever"),
        Spec("copy-flow", 0, "one-shot", "vos_teach.baselines:CopyFlow", "baseline", "the first mask, moved by flow"),
        Spec("mask-blind", 0, "one-shot", "vos_teach.online_learning.osvos:mask_blind", "baseline",
             "OSVOS's parent, never told which object was asked for", weights=True),
        Spec("osvos", 1, "one-shot", "vos_teach.online_learning.osvos:osvos", "Caelles et al., CVPR 2017",
             "a network fine-tuned on the first frame, then frame by frame", finetunes=True, weights=True,
             train="vos_teach.online_learning.osvos:recipe"),
        Spec("onavos", 1, "one-shot", "vos_teach.online_learning.onavos:onavos", "Voigtlaender & Leibe, BMVC 2017",
             "OSVOS that goes on learning from the pixels it is sure of", finetunes=True, weights=True,
             train="vos_teach.online_learning.onavos:recipe"),
        Spec("osmn", 1, "one-shot", "vos_teach.online_learning.osmn:osmn", "Yang et al., CVPR 2018",
             "a network that a look at the first frame and the last place modulate; nothing is tuned", weights=True,
             train="vos_teach.online_learning.osmn:recipe"),
        Spec("masktrack", 2, "one-shot", "vos_teach.mask_propagation.masktrack:masktrack", "Perazzi et al., CVPR 2017",
             "the last mask goes in beside the frame; fine-tuned on the first frame", finetunes=True, weights=True,
             train="vos_teach.mask_propagation.masktrack:recipe"),
        Spec("masktrack-offline", 2, "one-shot", "vos_teach.mask_propagation.masktrack:offline",
             "Perazzi et al., CVPR 2017", "the same without fine-tuning: trained on single frames alone", weights=True),
        Spec("fusionseg", 3, "zero-shot", "vos_teach.flow_propagation.fusionseg:fusionseg", "Jain et al., CVPR 2017",
             "an appearance stream and a motion stream, fused: what stands out, what moves, or both", weights=True,
             train="vos_teach.flow_propagation.fusionseg:recipe"),
        Spec("fusionseg-appearance", 3, "zero-shot", "vos_teach.flow_propagation.fusionseg:appearance",
             "Jain et al., CVPR 2017", "its appearance stream alone: what stands out in a frame", weights=True,
             train="vos_teach.flow_propagation.fusionseg:recipe_appearance"),
        Spec("fusionseg-motion", 3, "zero-shot", "vos_teach.flow_propagation.fusionseg:motion",
             "Jain et al., CVPR 2017", "its motion stream alone: what moves otherwise than the camera", weights=True,
             train="vos_teach.flow_propagation.fusionseg:recipe_motion"),
        Spec("maskrnn", 3, "one-shot", "vos_teach.flow_propagation.maskrnn:maskrnn", "Hu et al., NIPS 2017",
             "masks warped by flow, segmented and held in a box: a recurrence whose state is the mask", finetunes=True,
             weights=True, train="vos_teach.flow_propagation.maskrnn:recipe"),
        Spec("lucidtracker", 3, "one-shot", "vos_teach.flow_propagation.lucidtracker:lucidtracker",
             "Khoreva et al., IJCV 2019", "masks warped by flow beside the frame and beside its motion: two streams",
             ordered_slots=True, finetunes=True, weights=True, train="vos_teach.flow_propagation.lucidtracker:recipe"),
        Spec("lucidtracker-one-stream", 3, "one-shot", "vos_teach.flow_propagation.lucidtracker:one_stream",
             "Khoreva et al., IJCV 2019", "the same with frame, motion and masks in one network", ordered_slots=True,
             finetunes=True, weights=True, train="vos_teach.flow_propagation.lucidtracker:recipe_one_stream"),
        Spec("s2s", 4, "one-shot", "vos_teach.rnn.s2s:s2s", "Xu et al., ECCV 2018",
             "a state that is written from the first mask and carried on by a ConvLSTM, for each object", weights=True,
             train="vos_teach.rnn.s2s:recipe"),
        Spec("visual-memory", 4, "zero-shot", "vos_teach.rnn.visual_memory:visual_memory", "Tokmakov et al., ICCV 2017",
             "what has moved once is remembered: a ConvGRU over the whole clip, both ways", weights=True,
             train="vos_teach.rnn.visual_memory:recipe"),
        Spec("rvos", 4, "one-shot", "vos_teach.rnn.rvos:rvos", "Ventura et al., CVPR 2019",
             "recurrent over the objects of a frame and over frames: all objects in one pass", ordered_slots=True,
             weights=True, train="vos_teach.rnn.rvos:recipe"),
        Spec("rvos-zero-shot", 4, "zero-shot", "vos_teach.rnn.rvos:zero_shot", "Ventura et al., CVPR 2019",
             "the same weights without a mask: one object after the other, until it says stop", ordered_slots=True,
             weights=True),
        Spec("rvos-zero-shot-top", 4, "zero-shot", "vos_teach.rnn.rvos:top", "Ventura et al., CVPR 2019",
             "the same, its clearest object alone", ordered_slots=True, weights=True),
        Spec("stm", 5, "one-shot", "vos_teach.transformers.stm:stm", "Oh et al., ICCV 2019",
             "a memory of frames and masks, read by every pixel of a new frame", weights=True,
             train="vos_teach.transformers.stm:recipe"),
        Spec("stcn", 5, "one-shot", "vos_teach.transformers.stcn:stcn", "Cheng et al., NeurIPS 2021",
             "keys without masks: one affinity for all objects, by squared distances", weights=True,
             train="vos_teach.transformers.stcn:recipe"),
        Spec("cfbi", 5, "one-shot", "vos_teach.transformers.cfbi:cfbi", "Yang et al., ECCV 2020",
             "foreground and background matched alike, in the first frame and in the last", weights=True,
             train="vos_teach.transformers.cfbi:recipe"),
        Spec("aot", 5, "one-shot", "vos_teach.transformers.aot:aot", "Yang et al., NeurIPS 2021",
             "each object has an identity; all of them are carried along in one pass", ordered_slots=True, weights=True,
             train="vos_teach.transformers.aot:recipe"),
        Spec("sstvos", 5, "one-shot", "vos_teach.transformers.sstvos:sstvos", "Duke et al., CVPR 2021",
             "sparse attention over space and time inside a segmentation network", weights=True,
             train="vos_teach.transformers.sstvos:recipe"),
        Spec("vistr", 5, "zero-shot", "vos_teach.transformers.vistr:vistr", "Wang et al., CVPR 2021",
             "queries find instances in a window of frames, windows are stitched", ordered_slots=True, weights=True,
             train="vos_teach.transformers.vistr:recipe"),
        Spec("vistr-top", 5, "zero-shot", "vos_teach.transformers.vistr:top", "Wang et al., CVPR 2021",
             "the same, its highest-scored query alone", ordered_slots=True, weights=True),
        Spec("stcn-dot", 5, "one-shot", "vos_teach.transformers.stcn:stcn_dot", "Cheng et al., NeurIPS 2021",
             "the same trained with the dot product, to compare", weights=True,
             train="vos_teach.transformers.stcn:recipe_dot"),
    )
}
SCALES = ("toy", "small", "paper")


def names() -> list[str]:
    """All systems, in the lecture's order."""
    return list(SYSTEMS)


def spec(name: str) -> Spec:
    """The system of that name; VosError lists the names if there is none."""
    if name not in SYSTEMS:
        raise VosError(f"there is no system '{name}'; choose from: {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def make(name: str, device: str = "cpu", scale: str = "small", **options):
    """Build a system, ready for `engine.run`. Unknown options are refused by name."""
    build = resolve(spec(name).build)
    check_scale(scale)
    check_device(device)
    try:
        return build(device=device, scale=scale, **options)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise VosError(f"system '{name}': {str(error).split(') ')[-1]}") from None
        raise


def check_scale(name: str) -> None:
    """VosError unless it is one of the three scales."""
    if name not in SCALES:
        raise VosError(f"there is no scale '{name}'; choose from: {', '.join(SCALES)}")


def check_device(name: str) -> None:
    """VosError unless tensors can be made on this device."""
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):  # an unknown name; a PyTorch without CUDA; no GPU
        raise VosError(f"device '{name}' cannot be used here: choose cpu, or install what it needs") from None


def resolve(where: str):
    """ "module:callable" -> the callable, imported only now."""
    module, attribute = where.split(":")
    return getattr(import_module(module), attribute)
