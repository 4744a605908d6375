"""Lab 5a, memory: how its answers are judged. Oracles are loops to be read, not to be fast."""

from __future__ import annotations

from vos_teach.lab.exercises.lab5a_affinity import DOT_AFFINITY, L2_AFFINITY
from vos_teach.lab.exercises.lab5a_memory import LOOK_UP, READOUT, REMEMBER
from vos_teach.lab.exercises.lab5a_merge import SOFT_AGGREGATE

EXERCISES = (DOT_AFFINITY, READOUT, LOOK_UP, REMEMBER, L2_AFFINITY, SOFT_AGGREGATE)
