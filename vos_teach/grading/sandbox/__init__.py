"""Where student code runs: a warm interpreter behind a wall, a fork of it for each exercise, plain data between."""

from vos_teach.grading.sandbox.box import Box, Limits, Lost, Ran, Reply, Session
from vos_teach.grading.sandbox.levels import LEVELS, choose, probe

__all__ = ["LEVELS", "Box", "Limits", "Lost", "Ran", "Reply", "Session", "choose", "probe"]
