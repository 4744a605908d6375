"""The measures (J, F, T and their statistics) and the protocols that report them (DAVIS, YouTube-VOS)."""

from vos_teach.metrics.measures import boundary_f, decay, jaccard, match_proposals, recall
from vos_teach.metrics.protocols import evaluate
from vos_teach.metrics.stability import temporal_stability

__all__ = ["boundary_f", "decay", "evaluate", "jaccard", "match_proposals", "recall", "temporal_stability"]
