"""`setup`: what the first cell of every lab calls. It gives the lab's clips, its scale and the student's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vos_teach import __version__
from vos_teach.clip import Clip
from vos_teach.data import davis, toy
from vos_teach.errors import VosError
from vos_teach.lab import own
from vos_teach.lab.folder import work_folder
from vos_teach.registry import check_device, check_scale

CLIPS = ("easy", "occlusion", "look-alike", "re-entry")  # of the toy suite: the same story through all labs


class Shelf(Mapping):
    """Clips by name, each made when first asked for, then kept."""

    def __init__(self, makers: Mapping[str, Callable[[], Clip]]):
        self._makers, self._made = dict(makers), {}  # type: ignore[var-annotated]

    def __getitem__(self, name: str) -> Clip:
        if name not in self._makers:
            raise KeyError(f"there is no clip '{name}' here; choose from: {', '.join(self._makers) or 'none'}")
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __repr__(self) -> str:
        return f"clips: {', '.join(self._makers) or 'none'}"


@dataclass
class Lab:
    """What the cells of a lab share.

    name     "lab1"                          scale, device   for `registry.make` and whoever trains
    work     the student's folder: score card, predictions, operators, own clip
    clips    toy clips "easy", "occlusion", "look-alike", "re-entry", the same in every lab
    real     DAVIS-2016's validation sequences that are in the folder VOS_TEACH_DAVIS; empty where it is not set
    """

    name: str
    scale: str = "toy"
    device: str = "cpu"
    seed: int = 0
    work: Path = field(default_factory=work_folder)
    clips: Mapping[str, Clip] = field(default_factory=dict, repr=False)
    real: Mapping[str, Clip] = field(default_factory=dict, repr=False)

    @property
    def own(self) -> Clip:
        """The student's own clip if one was saved, else the one that ships: two objects that look alike."""
        return own.read(self)


def setup(lab: str, scale: str = "toy", device: str = "cpu") -> Lab:
    """Make a lab ready and say so in one line. Sets the figures' defaults and PyTorch's seed.

    lab: "lab0" and so on. scale: "toy" or "small" ("paper" for who has the hardware). Raises VosError.
    """
    if not (isinstance(lab, str) and lab.startswith("lab") and lab.isalnum()):
        raise VosError(f"a lab is called 'lab0', 'lab1' and so on, not {lab!r}")
    check_scale(scale)
    check_device(device)
    _figures()
    import torch

    ready = Lab(lab, scale, device, clips=Shelf({name: _toy(name) for name in CLIPS}), real=_real())
    torch.manual_seed(ready.seed)
    print(f"Setup complete - vos_teach {__version__} - {device}")
    return ready


def _toy(name: str) -> Callable[[], Clip]:
    number = list(toy.SUITE).index(name)  # the clip that `toy.suite()` has under this name
    return lambda: toy.clip(number, split="val", name=name, **toy.SUITE[name])


def _real() -> Mapping[str, Clip]:
    root = os.environ.get("VOS_TEACH_DAVIS")
    if not root:
        return {}
    return {clip.name: clip for clip in davis.read(root, 2016, "val", "present")}


def _figures() -> None:
    """Defaults for figures that students draw with matplotlib themselves."""
    import logging

    import matplotlib

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    matplotlib.rcParams.update({
        "figure.figsize": (7.0, 3.2), "figure.dpi": 110, "figure.constrained_layout.use": True, "axes.grid": True,
        "grid.alpha": 0.2, "axes.spines.top": False, "axes.spines.right": False, "image.interpolation": "nearest",
    })

