"""Makes the figures of README and lectures: `python lectures/figures/make.py [NAME ...]`; no name makes them all.

Pictures show toy clips only: DAVIS's frames must not be committed. Curves may come from real sequences; each figure
says from which. The numbers that a figure shows are measured when it is made, with seed 0. stage0.py and its like hold
what draws them.
"""

from __future__ import annotations

import sys
from importlib import import_module

from drawing import HERE, MAKERS, PHOTOS, pixels
from matplotlib.figure import Figure

from vos_teach import viz

for path in sorted(HERE.glob("stage*.py")):
    import_module(path.stem)  # registers its figures


def main(names: list[str]) -> None:
    """Make the named figures, or all: photographs as JPEG, drawings as PNG."""
    if unknown := set(names) - set(MAKERS):
        raise SystemExit(f"there is no figure {', '.join(sorted(unknown))}; choose from: {', '.join(MAKERS)}")
    for name in names or MAKERS:
        try:
            made = MAKERS[name]()
        except LookupError as error:
            print(f"{name}: not measured yet ({error})")
            continue
        suffix = ".jpg" if name in PHOTOS else ".png"
        print(viz.save(HERE / f"{name}{suffix}", pixels(made) if isinstance(made, Figure) else made), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
