"""From what was read in memory to a mask: the decoders of STM and STCN, ours and those of the papers.

Each is (read R,Cv,h,w at stride 16, value B,Cq,h,w of the query, skips fine first, rows R) -> logits R,H,W. A row is
one object of one frame; rows says of which of the B frames. What depends on the frame alone is worked out once per
frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.nn.head import TopDown


def per_row(x: Tensor, rows: Tensor) -> Tensor:
    """Maps of B frames -> of R rows; those of a single frame fit every row as they are."""
    return x if len(x) == 1 else x[rows]


def beside(read: Tensor, value: Tensor, rows: Tensor) -> Tensor:
    """What memory says and what the frame says: R,Cv+Cq,h,w."""
    return torch.cat([read, per_row(value, rows).expand(len(read), -1, -1, -1)], 1)


def larger(x: Tensor, by: int) -> Tensor:
    """Bilinear."""
    return F.interpolate(x, scale_factor=by, mode="bilinear", align_corners=False)


def awake(part: nn.Module) -> None:
    """Weights that keep a signal's strength through ReLUs (He et al., ICCV 2015).

    PyTorch's own start loses three fifths of it in each layer: of a mask that goes in at stride 16 nothing would be
    left at stride 2, and a network that does not hear the mask learns to do without.
    """
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


class Pyramid(TopDown):
    """Ours: the top-down decoder of the course, whose skips of strides 2, 4 and 8 are worked out once per frame.

    The last two of the values are the masks themselves, so what was read of the first of them is a coarse mask already:
    the decoder says what is to be changed in it. So keys are taught to match from the first step on.
    """

    def __init__(self, skips: Sequence[int], value: int, query: int):
        super().__init__((*skips, value + query))
        self.score = nn.Conv2d(16, 1, 1)
        self.trust = nn.Parameter(torch.tensor(3.0))  # in the coarse mask, which lies between -1 and 1
        for part in (self.deep, self.merge, self.last):
            awake(part)
        with torch.no_grad():  # the mask is one channel of many: half of the features start with it, half against
            start = self.side[-1].get_parameter("weight")
            start[:, value - 2, 1, 1] += torch.tensor([1.0, -1.0]).repeat(len(start) // 2)

    def forward(self, read: Tensor, value: Tensor, skips: Sequence[Tensor], rows: Tensor  # type: ignore[override]
                ) -> Tensor:
        """See above."""
        maps = [F.relu(norm(conv(f))) for norm, conv, f in zip(self.norm, self.side, skips, strict=False)]
        top = F.relu(self.norm[-1](self.side[-1](beside(read, value, rows))))  # R,96,h,w
        y = F.relu(self.deep(top)) + top
        for conv, side in zip(reversed(self.merge), reversed(maps), strict=True):
            y = per_row(side, rows) + larger(F.relu(conv(y)), 2)
        score = self.score(F.relu(self.last(y))) + self.trust * larger(read[:, -2:-1], 8)  # R,1,H/2,W/2
        return larger(score, 2)[:, 0]


class ResBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))); where the widths differ x goes through a convolution of its own."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.straight = nn.Conv2d(inputs, outputs, 3, padding=1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """B,inputs,h,w -> B,outputs,h,w."""
        return self.straight(x) + self.second(F.relu(self.first(F.relu(x))))


class Gate(nn.Module):
    """x + x weighed by channel, then by place (CBAM; Woo, Park, Lee, Kweon, ECCV 2018): what the authors of STCN have
    between the two blocks that fuse, though their paper does not dwell on it. Theirs alone; ours does without.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        few = max(1, channels // reduction)
        self.inner, self.outer = nn.Linear(channels, few), nn.Linear(few, channels)
        self.place = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """B,C,h,w -> the same."""
        by_channel = sum(self.outer(F.relu(self.inner(pooled))) for pooled in (x.mean((2, 3)), x.amax((2, 3))))  # B,C
        y = x * torch.sigmoid(by_channel)[..., None, None]
        by_place = self.place(torch.cat([y.amax(1, keepdim=True), y.mean(1, keepdim=True)], 1))  # B,1,h,w
        return x + y * torch.sigmoid(by_place)


class Refine(nn.Module):
    """Twice as large, with a skip. block: the skip goes through a residual block of its own (STM)."""

    def __init__(self, skip: int, inputs: int, outputs: int, block: bool):
        super().__init__()
        side = nn.Conv2d(skip, inputs, 3, padding=1)
        self.side = nn.Sequential(side, ResBlock(inputs, inputs)) if block else side
        self.merge = ResBlock(inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor, rows: Tensor) -> Tensor:
        """R,inputs,h,w and B,skip,2h,2w -> R,outputs,2h,2w."""
        return self.merge(per_row(self.side(skip), rows) + larger(x, 2))


class Published(nn.Module):
    """The papers': two refinements, a score at stride 4.

    widths: at strides 16, 8 and 4; planes: 2 where background and foreground have a score each (STM), whose difference
    is the logit.
    """

    def __init__(self, skips: Sequence[int], value: int, query: int, widths: tuple[int, int, int], planes: int):
        super().__init__()
        stm, (wide, middle, narrow) = planes == 2, widths
        self.start = (nn.Sequential(nn.Conv2d(value + query, wide, 3, padding=1), ResBlock(wide, wide)) if stm
                      else ResBlock(value + query, wide))
        self.up8, self.up4 = Refine(skips[2], wide, middle, stm), Refine(skips[1], middle, narrow, stm)
        self.score = nn.Conv2d(narrow, planes, 3, padding=1)

    def forward(self, read: Tensor, value: Tensor, skips: Sequence[Tensor], rows: Tensor) -> Tensor:
        """See above."""
        x = self.start(beside(read, value, rows))
        x = self.up4(self.up8(x, skips[2], rows), skips[1], rows)
        score = larger(self.score(F.relu(x)), 4)  # R,planes,H,W
        return score[:, -1] - score[:, 0] if score.shape[1] == 2 else score[:, 0]
