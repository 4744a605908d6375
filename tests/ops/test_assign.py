"""Assignments against trying all of them."""

from itertools import permutations

import pytest
import torch

from vos_teach.errors import VosError
from vos_teach.ops.assign import match_instances, match_sequences
from vos_teach.ops.losses import soft_iou


@pytest.mark.parametrize(("slots", "n", "size"), [(1, 1, (1, 1)), (3, 3, (4, 5)), (5, 2, (3, 3)), (4, 0, (2, 2))])
def test_instances_match_as_the_best_of_all_tries(slots, n, size):
    rng = torch.Generator().manual_seed(1)
    for _ in range(10):
        pred, target = torch.rand(slots, *size, generator=rng), (torch.rand(n, *size, generator=rng) < 0.4).float()
        found = match_instances(pred, target).tolist()
        total = lambda choice: sum(soft_iou(pred[s], target[i]).item() for i, s in enumerate(choice))  # noqa: E731,B023
        best = max((total(p) for p in permutations(range(slots), n)), default=0)
        assert len(set(found)) == n and total(found) == pytest.approx(best)


def test_instances_permuted_are_found_again_and_greed_does_not_pay():
    target = torch.eye(4).reshape(4, 2, 2)
    order = [2, 0, 3, 1]
    assert match_instances(target[order], target).tolist() == [1, 3, 0, 2]
    # slot 0 is best for both targets; the first must leave it to the second
    pred = torch.tensor([[[0.6, 0.6]], [[0.5, 0.0]]])
    target = torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]])
    iou = soft_iou(pred[None], target[:, None])  # target, slot
    assert iou[0, 0] > iou[0, 1] and iou[1, 0] > iou[1, 1] and iou.diagonal().sum() < iou.flip(1).diagonal().sum()
    assert match_instances(pred, target).tolist() == [1, 0]


def test_more_objects_than_slots_are_refused():
    with pytest.raises(VosError, match="2 objects cannot be matched with 1 slots"):
        match_instances(torch.zeros(1, 2, 2), torch.zeros(2, 2, 2))
    with pytest.raises(VosError, match="2 instances cannot be matched with 1 queries"):
        match_sequences(torch.zeros(3, 1, 2), torch.ones(3, 2).bool())


@pytest.mark.parametrize(("queries", "instances"), [(1, 1), (4, 3), (5, 2)])
def test_sequences_match_as_the_best_of_all_tries(queries, instances):
    rng = torch.Generator().manual_seed(2)
    for _ in range(10):
        cost = torch.rand(6, queries, instances, generator=rng)
        present = torch.rand(6, instances, generator=rng) < 0.6
        seen = [g for g in range(instances) if present[:, g].any()]
        mean = {(q, g): sum(cost[t, q, g].item() for t in range(6) if present[t, g]) / present[:, g].sum().item()
                for q in range(queries) for g in seen}
        tries = permutations(range(queries), len(seen))
        best = min(sum(mean[q, g] for q, g in zip(p, seen, strict=True)) for p in tries)
        found = match_sequences(cost, present)
        assert [g for _, g in found] == seen and len({q for q, _ in found}) == len(seen)
        assert sum(mean[pair] for pair in found) == pytest.approx(best)


def test_frames_without_the_instance_do_not_count():
    cost = torch.tensor([[[0.0], [1.0]], [[9.0], [1.0]]])  # T,Q,G: query 0 is right where the instance is
    assert match_sequences(cost, torch.tensor([[True], [False]])) == [(0, 0)]
    assert match_sequences(cost, torch.tensor([[True], [True]])) == [(1, 0)]
    assert match_sequences(cost, torch.tensor([[False], [False]])) == []
    with pytest.raises(VosError, match="not finite"):
        match_sequences(cost * float("nan"), torch.ones(2, 1).bool())
