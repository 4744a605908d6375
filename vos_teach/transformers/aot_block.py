"""AOT's long short-term transformer block: what it looks at, and where whose each place is comes in (section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos_teach.nn.blocks import Attention, ConvFeedForward, attend, maps, sine_positions, tokens
from vos_teach.ops.attention import window_attention

Pair = tuple[Tensor, Tensor]  # key and value, B,N,C each


class Block(nn.Module):
    """Self-attention (if `own`), long- and short-term attention, feed-forward; each adds to what came in."""

    def __init__(self, channels: int, heads: int, window: int, own: bool):
        super().__init__()
        self.heads, self.window = heads, window
        self.own = Attention(channels, heads) if own else None
        self.norm_own = nn.LayerNorm(channels) if own else None
        self.norm = nn.LayerNorm(channels)
        self.key, self.value, self.mix, self.long, self.short = (nn.Linear(channels, channels) for _ in range(5))
        away = (torch.arange(window) - window // 2).square() / 2
        self.bias = nn.Parameter((-away[:, None] - away).flatten().repeat(heads, 1))  # starts near the same place
        self.norm_feed, self.feed = nn.GroupNorm(8, channels), ConvFeedForward(channels)
        for layer, gain in ((self.mix, 1.0), (self.short, 1.0), (self.long, 0.2)):
            layer.weight.data.copy_(gain * torch.eye(channels))  # an identity that is read arrives as it was written

    def forward(self, x: Tensor, long: Pair | None, short: Pair | None, ident: Tensor | None = None
                ) -> tuple[Tensor, Pair]:
        """x B,C,H,W -> the next x, and this frame's key and value, without identity yet.

        ident B,C,H,W: of this frame, which is then its own memory; else long and short are.
        """
        h, w = x.shape[-2:]
        if self.own is not None and self.norm_own is not None:
            v = self.norm_own(tokens(x))
            k = v + tokens(sine_positions((h, w), v.shape[-1]).to(v)[None])
            x = x + maps(self.own(k, k, v), h)
        t = self.norm(tokens(x))  # B,HW,C
        now = self.key(t), self.value(t)
        if ident is not None:
            long = short = self.remember(now, ident)
        assert long is not None and short is not None, "a frame without identities needs a memory"
        far = self.long(attend(now[0], *long, self.heads))
        q, k, v = (maps(part, h).unflatten(1, (self.heads, -1)) for part in (now[0], *short))  # B,heads,C/heads,H,W
        near = self.short(tokens(window_attention(q, k, v, self.window, self.bias).flatten(1, 2)))
        x = x + maps(far + near, h)
        return x + self.feed(self.norm_feed(x)), now

    def remember(self, now: Pair, ident: Tensor) -> Pair:
        """A frame's key and value, and whose each place is (B,C,H,W) -> what memory holds."""
        return now[0], self.mix(now[1] + tokens(ident))
