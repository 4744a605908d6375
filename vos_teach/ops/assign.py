"""Which prediction is which object: assignments of least cost (scipy's Hungarian method)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vos_teach.errors import VosError
from vos_teach.ops.losses import soft_iou


def match_instances(pred: Tensor, target: Tensor) -> Tensor:
    """RVOS: slots for objects, so that the sum of their soft IoU is greatest (Ventura et al., CVPR 2019, sec. 3.3).

    pred P,H,W in [0,1], target n,H,W of 0 and 1, P >= n -> n int64: result[i] is the slot of target i, each slot at
    most once. No gradient flows through the choice. Raises VosError for more targets than slots.
    """
    if len(target) > len(pred):
        raise VosError(f"{len(target)} objects cannot be matched with {len(pred)} slots: give at least as many slots")
    iou = soft_iou(pred.detach()[None], target[:, None].to(pred.dtype))  # n,P
    _, slots = linear_sum_assignment(iou.cpu().numpy(), maximize=True)
    return torch.as_tensor(slots, dtype=torch.int64, device=pred.device)


def match_sequences(cost: Tensor, present: Tensor) -> list[tuple[int, int]]:
    """VisTR: queries for instances, once for a whole clip (Wang et al., CVPR 2021, sec. 3.2).

    cost T,Q,G of query q against instance g in frame t; present T,G bool -> pairs (query, instance), by instance. An
    instance's cost is the mean over the frames in which it is present; one that never is gets no query. Raises VosError
    for more present instances than queries, and for a cost that is not finite where it counts.
    """
    value, there = cost.detach().double().cpu().numpy(), present.cpu().numpy().astype(bool)
    seen = np.flatnonzero(there.any(0))
    if len(seen) > value.shape[1]:
        raise VosError(f"{len(seen)} instances cannot be matched with {value.shape[1]} queries: give more queries")
    mean = np.stack([value[there[:, g], :, g].mean(0) for g in seen], 1) if len(seen) else np.zeros((value.shape[1], 0))
    if not np.isfinite(mean).all():
        raise VosError("the cost of a match is not finite: look at what the network gives")
    queries, columns = linear_sum_assignment(mean)  # Q,G'
    return sorted(((int(q), int(seen[g])) for q, g in zip(queries, columns, strict=True)), key=lambda pair: pair[1])
