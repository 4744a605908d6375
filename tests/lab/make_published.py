"""Makes vos_teach/assets/davis2016_published.json, an excerpt of DAVIS-2016's published per-frame scores.

    python tests/lab/make_published.py shared/facts/davis2016_val_published.json
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "vos_teach" / "assets" / "davis2016_published.json"
SYSTEMS = {"osvos": "osvos", "masktrack": "msk"}  # our name -> the benchmark's
ABOUT = (
    "PUBLISHED figures, not of this project: scores per frame of the authors' own results on DAVIS-2016 val (480p), "
    "as the DAVIS-2016 benchmark published them (Perazzi et al., A benchmark dataset and evaluation methodology for "
    "video object segmentation, CVPR 2016), for OSVOS (Caelles et al., CVPR 2017) and MaskTrack (Perazzi et al., CVPR "
    "2017). An excerpt, of two systems and two measures: numbers only, rounded; no picture of the data set. The "
    "source states no terms for these numbers; they are quoted as facts, please cite the three papers. J: frames 1 to "
    "n-2. T: pairs of frames from (0, 1) on, in the unit in which the sequence's T is reported (5 times the mean cost "
    "of a pair). null: the mask was empty. Made by tests/lab/make_published.py."
)


def excerpt(scores: dict) -> bytes:
    """The benchmark's scores -> the bytes of our file."""
    out: dict = {"about": ABOUT, "systems": {}}
    for ours, theirs in SYSTEMS.items():
        out["systems"][ours] = {}
        for measure, unit in (("J", 1), ("T", 5)):
            of = scores[theirs][measure]
            curves = {s: [None if math.isnan(v) else round(unit * v, 4) for v in of[s]["raw"]] for s in sorted(of)}
            means = {s: round(of[s]["mean"], 5) for s in sorted(of)}
            out["systems"][ours][measure] = {"means": means, "curves": curves}
    text = json.dumps(out, indent=1)
    text = re.sub(r"\[[^\]]*\]", lambda curve: re.sub(r"\s+", "", curve[0]), text)  # a curve on one line
    return (text + "\n").encode()


if __name__ == "__main__":
    OUT.write_bytes(excerpt(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    print(f"{OUT.name}: {OUT.stat().st_size / 1000:.1f} kB")
