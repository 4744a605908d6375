"""How fast `evaluate` is: against PyPI's vos-benchmark, against merely decoding, and zero-shot against one-shot.

    python tests/benchmarks/evaluate.py [--data DIR] [--processes 2] [--repeat 3] [--venv DIR]

One run, the same files, the same number of processes. vos-benchmark lives in a virtual environment of its own, made
here (it wants opencv-python, which does not go together with our headless one), and reads a 0/1 copy of the truth, as
do the others. Each timing is of the call alone, in a fresh interpreter with its imports done, the programs taking
turns; the best of `--repeat` counts. Prints JSON; exit status 1 if a target is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
from PIL import Image

CLOCK = """
import json, sys, time
from pathlib import Path
def timed(call):
    start = time.perf_counter()
    value = call()
    print("TIMED", json.dumps({"seconds": time.perf_counter() - start, "value": value}))
"""
OURS = CLOCK + """
from vos_teach.metrics import evaluate
import scipy.optimize, tqdm
if __name__ == "__main__":
    pred, root, task, n = sys.argv[1:]
    timed(lambda: evaluate(pred, root, task, processes=int(n))["J&F"])
"""
THEIRS = CLOCK + """
from vos_benchmark.benchmark import benchmark
if __name__ == "__main__":
    pred, root, _, n = sys.argv[1:]
    truth = root + "/Annotations/480p"
    timed(lambda: float(benchmark([truth], [pred], num_processes=int(n), verbose=False)[0][0]) / 100)
"""
DECODE = CLOCK + """
from concurrent.futures import ProcessPoolExecutor
import numpy as np
from PIL import Image
def decode(path):
    return sum(np.asarray(Image.open(p)).shape[0] > 0 for p in sorted(Path(path).glob("*.png")))
if __name__ == "__main__":
    pred, root, _, n = sys.argv[1:]
    folders = [str(p) for top in (Path(pred), Path(root, "Annotations/480p")) for p in top.iterdir() if p.is_dir()]
    with ProcessPoolExecutor(int(n)) as pool:
        timed(lambda: int(sum(pool.map(decode, folders))))
"""


def build(data: Path, work: Path) -> list[str]:
    """The files all programs read: a 0/1 truth, the OSVOS results, and 20 proposals in every frame."""
    names = sorted(p.name for p in (data / "osvos_results").iterdir() if p.is_dir())
    lists = work / "davis" / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("\n".join(names) + "\n")
    rng = np.random.default_rng(0)
    for name in names:
        for part in ("davis/Annotations/480p", "one-shot", "zero-shot"):
            (work / part / name).mkdir(parents=True)
        for path in sorted((data / "osvos_results" / name).glob("*.png")):
            truth = np.asarray(Image.open(data / "DAVIS/Annotations/480p" / name / path.name)) > 0
            pred = np.asarray(Image.open(path)) > 0
            save(work / "davis/Annotations/480p" / name / path.name, truth)
            save(work / "one-shot" / name / path.name, pred)
            proposals = np.zeros(pred.shape, np.uint8)
            for k in range(2, 21):  # the object's own shape, elsewhere; the object itself on top
                where = (int(rng.integers(-200, 200)), int(rng.integers(-400, 400)))
                proposals[np.roll(pred, where, axis=(0, 1))] = k
            proposals[pred] = 1
            save(work / "zero-shot" / name / path.name, proposals)
    return names


def save(path: Path, mask: np.ndarray) -> None:
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette([v for k in range(256) for v in ((k * 37) % 256, (k * 91) % 256, (k * 53) % 256)])
    image.save(path)


def measure(python: str, script: str, pred: Path, root: Path, task: str, processes: int) -> dict:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([python, script, str(pred), str(root), task, str(processes)],
                          capture_output=True, text=True, env=env, timeout=1800)
    lines = [line for line in done.stdout.splitlines() if line.startswith("TIMED ")]
    if not lines:
        sys.exit(f"{script} failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(lines[-1][6:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("VOS_TEACH_SHARED_DATA", shared)))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--venv", type=Path, help="keep vos-benchmark's environment here and use it again")
    args = parser.parse_args()
    if not (args.data / "osvos_results").is_dir():
        sys.exit(f"real sequences absent: no 'osvos_results' in '{args.data}' (--data DIR or VOS_TEACH_SHARED_DATA)")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        home = args.venv or work / "venv"
        theirs = str(home / ("Scripts" if os.name == "nt" else "bin") / "python")
        if not Path(theirs).exists():
            venv.create(home, with_pip=True)
            subprocess.run([theirs, "-m", "pip", "install", "-q", "vos-benchmark"], check=True)
        names = build(args.data, work)
        for name, text in (("ours", OURS), ("theirs", THEIRS), ("decode", DECODE)):
            (work / f"{name}.py").write_text(text)
        jobs = {
            "one_shot": (sys.executable, "ours", "one-shot"),
            "vos_benchmark": (theirs, "theirs", "one-shot"),
            "decode": (sys.executable, "decode", "one-shot"),
            "zero_shot": (sys.executable, "ours", "zero-shot"),
        }
        runs: dict[str, list[dict]] = {job: [] for job in jobs}
        for _ in range(args.repeat):
            for job, (python, script, task) in jobs.items():
                runs[job].append(measure(python, str(work / f"{script}.py"), work / task, work / "davis", task,
                                         args.processes))
    best = {job: min(r["seconds"] for r in rs) for job, rs in runs.items()}
    ratios = {
        "vos_benchmark / one_shot": (best["vos_benchmark"] / best["one_shot"], ">=", 3.0),
        "one_shot / decode": (best["one_shot"] / best["decode"], "<=", 2.0),
        "zero_shot / one_shot": (best["zero_shot"] / best["one_shot"], "<=", 5.0),
    }
    reached = all(value >= goal if sign == ">=" else value <= goal for value, sign, goal in ratios.values())
    print(json.dumps({
        "sequences": len(names), "processes": args.processes, "pairs": runs["decode"][0]["value"] // 2,
        "J&F": {job: runs[job][0]["value"] for job in ("one_shot", "vos_benchmark", "zero_shot")},
        "seconds": {job: round(s, 3) for job, s in best.items()},
        "ratios": {name: {"value": round(value, 2), "target": f"{sign} {goal:g}"}
                   for name, (value, sign, goal) in ratios.items()},
        "reached": reached,
    }, indent=1))
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main())
