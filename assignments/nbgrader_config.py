"""nbgrader's course: run its commands in this folder, after `vos-teach labs build`.

    nbgrader generate_assignment lab1 --force
    nbgrader autograde lab1           submissions: submitted/STUDENT/lab1/lab1_online_learning.ipynb
    nbgrader generate_feedback lab1
    nbgrader export
    nbgrader export --exporter=vos_teach.grading.exporters.CanvasExport --to canvas.csv      or MoodleExport

`vos-teach grade` does all of this at once, in a sandbox, and writes to the same gradebook.db.

A deadline, where one is wanted: nbgrader db assignment add lab1 --duedate "2027-01-31 23:59:00 Europe/Berlin".
"""

from pathlib import Path

from vos_teach.grading.course import configure, kernels_by_files

c = get_config()  # noqa: F821
configure(c, Path(__file__).parent)
kernels_by_files(c)
