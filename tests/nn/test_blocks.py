"""Blocks of transformers against the operators and loops that they stand for."""

import math

import pytest
import torch

from vos_teach.clip import VosError
from vos_teach.nn import blocks
from vos_teach.ops.affinity import dot_affinity, readout


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_affinity_and_readout_of_each_head(heads):
    q, k, v = torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(2, 7, 8)
    got = blocks.attend(q, k, v, heads)
    for b in range(2):
        for part in torch.arange(8).chunk(heads):
            affinity = dot_affinity(k[b, :, part].T, q[b, :, part].T)
            assert torch.allclose(got[b, :, part].T, readout(affinity, v[b, :, part].T), atol=1e-5)


def test_positions_are_told_apart_alike_along_each_axis():
    p = blocks.sine_positions((4, 6), 16)
    assert p.shape == (16, 4, 6)
    flat = p.flatten(1).T  # places, channels
    distance = torch.cdist(flat, flat) + 9 * torch.eye(24)
    assert distance.min() > 0.3, "two places look alike"
    own = torch.equal(p[:8, :, 0], p[:8, :, 5]) and torch.equal(p[8:, 0], p[8:, 3])
    assert own, "each axis has channels of its own"
    slowest = p[[0, 4], :, 0]  # sine and cosine of half a wave over the axis
    angle = math.pi * (torch.arange(4) + 0.5) / 4
    assert torch.allclose(slowest, torch.stack([angle.sin(), angle.cos()]), atol=1e-6)
    fastest = torch.atan2(p[3, 1, 0], p[7, 1, 0]) - torch.atan2(p[3, 0, 0], p[7, 0, 0])
    assert torch.allclose(fastest, torch.tensor(math.pi / 2), atol=1e-5), "one wave over four cells"
    assert not blocks.sine_positions((2, 2, 2), 20)[18:].any(), "what is left over"
    with pytest.raises(VosError, match="at least 6"):
        blocks.sine_positions((2, 2, 2), 5)


def test_maps_and_tokens_are_each_others_inverse():
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(blocks.maps(blocks.tokens(x), 4), x) and torch.equal(blocks.tokens(x)[1, 5 + 2], x[1, :, 1, 2])


def test_the_convolution_lets_a_place_hear_its_neighbours_and_no_one_else():
    """Apart from the norm, which is over the whole map."""
    layer = blocks.ConvFeedForward(8, kernel=3)
    layer.layers[1] = torch.nn.Identity()
    x = torch.randn(1, 8, 7, 7)
    other = x.clone()
    other[..., 3, 3] += 1
    changed = (layer(x) - layer(other)).abs().amax(1)[0] > 1e-7
    assert changed[2:5, 2:5].all() and changed.sum() == 9


def test_attention_layers_keep_shapes():
    assert blocks.Attention(8, 2)(torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)).shape == (2, 3, 8)
    assert blocks.FeedForward(8)(torch.randn(2, 3, 8)).shape == (2, 3, 8)
