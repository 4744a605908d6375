"""AOT's identification (Yang, Wei, Yang, NeurIPS 2021, sec. 4.1): masks of all objects as one map of vectors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vos_teach.errors import VosError


def assign_identities(masks: Tensor, bank: Tensor) -> Tensor:
    """Each pixel gets the vector of the object it belongs to: masks K+1,H,W, background first, bank n+1,C -> C,H,W.

    Masks that are not hard mix vectors. Which object has which vector is the order of the rows: training shuffles it,
    so that no vector comes to mean a kind of object. Raises VosError for more objects than the bank has vectors.
    """
    if len(masks) > len(bank):
        raise VosError(f"{len(masks) - 1} objects are more than the {len(bank) - 1} that this bank tells apart")
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), bank[: len(masks)])


def draw_rows(count: int, rows: int, rng: np.random.Generator) -> Tensor:
    """A clip's identities: which of a bank's rows its background and its objects have, count+1 int64, none twice.

    The background has row 0 in every clip; the objects have any of the others. Raises VosError for too many objects.
    """
    if count > rows - 1:
        raise VosError(f"{count} objects are more than the {rows - 1} that this bank tells apart")
    return torch.tensor([0, *(1 + rng.permutation(rows - 1)[:count])])
