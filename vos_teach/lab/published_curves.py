"""What the authors of OSVOS and MaskTrack reached on DAVIS-2016, frame by frame: published figures, never ours."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vos_teach.errors import VosError

FILE = Path(__file__).parents[1] / "assets" / "davis2016_published.json"
SYSTEMS = {"osvos": "OSVOS", "masktrack": "MaskTrack"}
FIRST = {"J": 1, "T": 0}  # the frame of the first value; T's is of frames 0 and 1


@cache
def _file() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def published(sequence: str, system: str, measure: str = "T") -> np.ndarray:
    """The published curve of one system on one sequence of DAVIS-2016 val; NaN where the mask was empty.

    sequence  "blackswan", "breakdance", ...: the 20 of val      system  "osvos" or "masktrack"
    measure   "J": values of frames 1, 2, ...; "T": of the pairs (0, 1), (1, 2), ..., in the unit in which it is
              reported (lower is steadier), so that the curve's mean is the sequence's T
    """
    curves = _of(system, measure)["curves"]
    if sequence not in curves:
        raise VosError(f"there is no published curve of '{sequence}' here; choose from: {', '.join(curves)}")
    return np.array([np.nan if v is None else v for v in curves[sequence]], float)


def published_means(system: str, measure: str = "T") -> dict[str, float]:
    """The published mean of each of the 20 sequences of DAVIS-2016 val."""
    return dict(_of(system, measure)["means"])


def about() -> str:
    """Where the figures come from."""
    return _file()["about"]


def _of(system: str, measure: str) -> dict[str, Any]:
    key = str(system).lower()
    if key not in SYSTEMS:
        raise VosError(f"there are published curves of {' and '.join(SYSTEMS)}, not of '{system}'")
    if measure not in FIRST:
        raise VosError(f"there are published curves of {' and '.join(FIRST)}, not of '{measure}'")
    return _file()["systems"][key][measure]
