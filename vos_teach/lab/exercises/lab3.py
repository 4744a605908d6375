"""Lab 3, flow propagation: how its answers are judged. Oracles are loops to be read, not to be fast."""

from __future__ import annotations

from vos_teach.lab.exercises.lab3_flow import CONSISTENT, LUCAS_KANADE
from vos_teach.lab.exercises.lab3_streams import AVERAGE_STREAMS, MASK_CHANNELS, SOFTMAX_OVER_OBJECTS
from vos_teach.lab.exercises.lab3_warp import WARP

EXERCISES = (WARP, LUCAS_KANADE, CONSISTENT, AVERAGE_STREAMS, MASK_CHANNELS, SOFTMAX_OVER_OBJECTS)
