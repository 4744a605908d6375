"""Lab 5b, transformers: how its answers are judged. Oracles are loops to be read, not to be fast."""

from __future__ import annotations

from vos_teach.lab.exercises.lab5b_grid import GRID_ATTENTION, HOPS
from vos_teach.lab.exercises.lab5b_many import ASSIGN_IDENTITIES, MATCH_SEQUENCES
from vos_teach.lab.exercises.lab5b_match import GLOBAL_DISTANCE, REST_DISTANCE
from vos_teach.lab.exercises.lab5b_rows import DRAW_ROWS

EXERCISES = (GRID_ATTENTION, HOPS, GLOBAL_DISTANCE, REST_DISTANCE, ASSIGN_IDENTITIES, DRAW_ROWS, MATCH_SEQUENCES)
