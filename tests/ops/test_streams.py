"""Streams and slots against loops over pixels, and where the answer is known."""

import math

import numpy as np
import pytest
import torch

from vos_teach.clip import VosError
from vos_teach.ops.streams import average_streams, mask_channels, softmax_over_objects


def by_hand(column, allowed):
    """Softmax of one pixel's logits over the allowed channels, in plain Python."""
    top = max(v for v, a in zip(column, allowed, strict=True) if a)
    e = [math.exp(v - top) if a else 0.0 for v, a in zip(column, allowed, strict=True)]
    return [v / sum(e) for v in e]


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_streams_are_averaged_as_distributions(streams):
    logits = [torch.randn(2, 3, 4, 5, dtype=torch.float64) * 5 for _ in range(streams)]
    found = average_streams(*logits)
    for b, y, x in np.ndindex(2, 4, 5):
        each = [by_hand(s[b, :, y, x].tolist(), [True] * 3) for s in logits]
        assert np.allclose(found[b, :, y, x], np.mean(each, 0))


def test_equal_streams_equal_one_and_a_loud_stream_has_one_voice():
    x = torch.randn(3, 6, 7)
    assert torch.allclose(average_streams(x, x), torch.softmax(x, 0))
    loud = torch.zeros(2, 1, 1)
    loud[1] = 1000.0
    assert torch.allclose(average_streams(loud, -loud / 1000 * math.log(3)).flatten(), torch.tensor([0.375, 0.625]))


def test_streams_that_do_not_fit_are_refused():
    with pytest.raises(VosError, match="no stream"):
        average_streams()
    with pytest.raises(VosError, match=r"\(2, 4, 4\), \(3, 4, 4\)"):
        average_streams(torch.zeros(2, 4, 4), torch.zeros(3, 4, 4))


@pytest.mark.parametrize("present", [[True] * 4, [True, False, True, False], [False] * 4])
def test_only_present_objects_share_the_pixels(present):
    logits = torch.randn(2, 5, 3, 4, dtype=torch.float64) * 3
    found = softmax_over_objects(logits, torch.tensor(present))
    for b, y, x in np.ndindex(2, 3, 4):
        assert np.allclose(found[b, :, y, x], by_hand(logits[b, :, y, x].tolist(), [True, *present]))
    absent = found[:, 1:][:, ~torch.tensor(present)]
    assert (absent == 0).all(), "exactly 0, not nearly"


def test_presence_may_differ_within_a_batch_and_gradients_stay_finite():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    found = softmax_over_objects(logits, torch.tensor([[True, False], [False, True]]))
    assert (found[0, 2] == 0).all() and (found[1, 1] == 0).all() and (found[0, 1] > 0).all()
    found[:, 0].sum().backward()
    assert torch.isfinite(logits.grad).all() and (logits.grad[0, 2] == 0).all()


def test_the_slots_must_fit_the_channels():
    with pytest.raises(VosError, match="2 slots do not go with 4 channels"):
        softmax_over_objects(torch.zeros(4, 2, 2), torch.ones(2).bool())


def test_masks_lie_in_their_slots():
    masks = torch.rand(2, 4, 5) > 0.5
    found = mask_channels(masks, 5)
    assert found.shape == (5, 4, 5) and found.dtype == torch.float32
    assert torch.equal(found[:2], masks.float()) and not found[2:].any()
    soft = torch.rand(3, 4, 5)
    assert torch.equal(mask_channels(soft, 3), soft)
    assert not mask_channels(torch.zeros(0, 4, 5), 2).any()
    with pytest.raises(VosError, match="6 objects do not fit into 5 slots"):
        mask_channels(torch.zeros(6, 4, 5), 5)
