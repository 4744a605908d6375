"""How fast a class is graded: plain `nbgrader autograde` against `vos-teach grade` in its sandbox, on two processes.

    python tests/benchmarks/grade.py [--students 24] [--jobs 2] [--lab lab1] [--level bwrap]

One run: honest submissions with right answers to a lab that is cut down to its definitions and what is graded, so that
both execute the same exercises. Whole commands are timed, start and saving of marks included (ours also writes feedback
and report, and first judges the course's own answers). The sandbox's overhead is the difference of the medians of the
seconds per submission, in the sandbox and without, also in this run. Everybody must get full marks, by both. Prints
JSON; exit status 1 if a target is missed: 2.5 times the throughput, a median overhead of 0.2 s.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "grading"))

from classroom import Course, skeleton

from vos_teach.grading.records import read_record


def submissions(course: Course, count: int) -> None:
    """The reference, each with a note of its own, so that no two are the same bytes."""
    for i in range(count):
        mine = course.reference()
        mine["cells"].append({"cell_type": "markdown", "id": f"note{i}", "metadata": {}, "source": f"Notes of {i}."})
        course.submit(f"student{i:02d}", mine)


def timed(command: list[str], folder: Path) -> float:
    """Seconds that a command takes. It must succeed."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={
        **{k: v for k, v in os.environ.items() if not k.startswith("VOS_TEACH")}, "OMP_NUM_THREADS": "1"})
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return seconds


def ours(course: Course, out: Path, level: str, jobs: int) -> tuple[float, list]:
    """(seconds of the whole command, records)."""
    command = [sys.executable, "-m", "vos_teach.cli", "grade", str(course.folder / "submitted"), "--lab", course.lab,
               "--course", str(course.folder), "--out", str(out), "--jobs", str(jobs), "--seed", "1",
               "--sandbox", level]
    seconds = timed(command, course.folder)
    return seconds, [read_record(path) for path in sorted((out / "records").glob("*.json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=24)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--lab", default="lab1")
    parser.add_argument("--level", default="bwrap")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        courses = []
        for name in ("plain", "ours", "open"):  # each has a gradebook of its own
            courses.append(course := Course(Path(work) / name, given.lab, skeleton(given.lab)))
            course("generate_assignment", given.lab, "--force")
            submissions(course, given.students)
        plain = timed([sys.executable, "-m", "nbgrader", "autograde", given.lab], courses[0].folder)
        boxed, records = ours(courses[1], Path(work) / "run", given.level, given.jobs)
        bare, loose = ours(courses[2], Path(work) / "loose", "none", given.jobs)
        full = courses[0].points()
        right = [all(m == full for m in courses[0].marks().values()), *(
            all(m.outcome in ("right", "by hand") for r in rs for m in r.marks) for rs in (records, loose))]
    medians = [statistics.median(r.seconds for r in rs) for rs in (records, loose)]
    result = {
        "students": given.students, "jobs": given.jobs, "lab": given.lab, "level": given.level,
        "plain nbgrader autograde, s": round(plain, 1), "vos-teach grade, s": round(boxed, 1),
        "vos-teach grade without sandbox, s": round(bare, 1), "throughput ratio": round(plain / boxed, 2),
        "median s per submission, sandboxed": round(medians[0], 3), "and without": round(medians[1], 3),
        "median overhead, s": round(medians[0] - medians[1], 3), "all right": right,
    }
    print(json.dumps(result, indent=1))
    sys.exit(not (all(right) and len(records) == given.students and plain / boxed >= 2.5
                  and medians[0] - medians[1] < 0.2))


if __name__ == "__main__":
    main()
