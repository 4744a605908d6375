"""Recurrent cells whose state is a map: each pixel remembers, and sees its neighbours' memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]


class ConvLSTMCell(nn.Module):
    """An LSTM whose products are convolutions (Shi et al., NIPS 2015, without peepholes).

        i, f, o = sigmoid(.)   g = tanh(.)   of the four parts of conv([x, h])
        c' = f c + i g         h' = o tanh(c')

    inputs, hidden: channels of x and of the state; kernel: odd. The bias of f starts at 1, so that a new cell keeps.
    """

    def __init__(self, inputs: int, hidden: int, kernel: int = 3):
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, kernel, padding=kernel // 2)
        with torch.no_grad():
            self.conv.bias[hidden : 2 * hidden] = 1.0  # type: ignore[index]

    def forward(self, x: Tensor, state: Pair | None = None) -> Pair:
        """x B,C,H,W, state (h, c) of B,hidden,H,W each, zeros if None -> the next (h, c)."""
        h, c = state if state is not None else self.zeros(x)
        i, f, o, g = self.conv(torch.cat([x, h], 1)).chunk(4, dim=1)  # B,hidden,H,W each
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def zeros(self, x: Tensor) -> Pair:
        """The state of who has seen nothing."""
        h = x.new_zeros(x.shape[0], self.hidden, *x.shape[-2:])
        return h, h


class ConvGRUCell(nn.Module):
    """A GRU whose products are convolutions (Ballas et al., ICLR 2016).

        z, r = sigmoid(.) of the two parts of conv([x, h])      n = tanh(conv([x, r h]))
        h' = (1 - z) h + z n

    inputs, hidden: channels of x and of the state; kernel: odd.
    """

    def __init__(self, inputs: int, hidden: int, kernel: int = 3):
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(inputs + hidden, 2 * hidden, kernel, padding=kernel // 2)
        self.new = nn.Conv2d(inputs + hidden, hidden, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """x B,C,H,W, state h B,hidden,H,W, zeros if None -> the next h."""
        h = state if state is not None else x.new_zeros(x.shape[0], self.hidden, *x.shape[-2:])
        z, r = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, dim=1)  # B,hidden,H,W each
        n = torch.tanh(self.new(torch.cat([x, r * h], 1)))
        return (1 - z) * h + z * n
