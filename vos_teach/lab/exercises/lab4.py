"""Lab 4, recurrent networks: how its answers are judged. Oracles are loops to be read, not to be fast."""

from __future__ import annotations

from vos_teach.lab.exercises.lab4_cells import CONVLSTM, SPACE_TIME
from vos_teach.lab.exercises.lab4_loops import FIND_OBJECTS, UNROLL
from vos_teach.lab.exercises.lab4_match import MATCH_INSTANCES, SOFT_IOU

EXERCISES = (CONVLSTM, UNROLL, FIND_OBJECTS, SOFT_IOU, MATCH_INSTANCES, SPACE_TIME)
