"""The memory of STM and STCN: which frames are kept, where each pixel looks, and how much of memory is ever looked at.

A policy says which frames memory holds while frame t is segmented. It is a plain function, so a student's own is one:

    def mine(t: int) -> list[int]: return [0, t - 1]

What a policy leaves out for one frame is let go and does not come back, even if it asks for it again. Frames in which a
mask was GIVEN are never let go: nothing else in memory is known to be true (where an object is given late, what is
stored of the others in that frame is still an estimate). Beyond that a bank may hold at most `limit` frames; when it is
full the oldest frame without a given mask goes first. So a long video costs no more than a short one with as many given
frames, and what is forgotten is the middle of the past, neither its beginning nor its end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_teach import engine
from vos_teach.clip import Clip, VosError

Policy = Callable[[int], Collection[int]]  # t -> the frames to hold while frame t is segmented; 0 is the first
STRIDE = 16
LEAST = 1e-3  # of the nearest cell's weight: a cell that weighs less is not read


def frames(first: bool = True, last: bool = False, every: int | None = None) -> Policy:
    """A policy of three parts: the first frame, the one before, every n-th (0, n, 2n, ...) of those before.

    Raises VosError for every < 1, and where nothing would be held.
    """
    if every is not None and every < 1:
        raise VosError(f"every is {every}: it must be at least 1")
    if not (first or last or every):
        raise VosError("a memory that holds no frame has nothing to look up: choose first, last or every")

    def policy(t: int) -> list[int]:
        held = {0} if first else set()
        held |= {t - 1} if last else set()
        return sorted(held | set(range(0, t, every) if every else ()))

    return policy


POLICIES = {
    "first": frames(),
    "last": frames(first=False, last=True),
    "first+last": frames(last=True),
    "first+last+every": frames(last=True, every=5),  # STM's
    "first+every": frames(every=5),  # STCN's
}


def chosen(policy: str | Policy) -> Policy:
    """A policy by its name, or itself. Raises VosError for a name that there is not."""
    if not isinstance(policy, str):
        return policy
    if policy not in POLICIES:
        raise VosError(f"policy is '{policy}'; choose from: {', '.join(POLICIES)}, or give a function of t")
    return POLICIES[policy]


@dataclass
class Entry:
    """One frame in memory.

    t       its number, counted from the frame in which the system was started
    frame   3,H,W
    masks   K,H,W in [0,1]: what was believed of it, or known
    key     C,h,w for all objects, or K,C,h,w, one for each
    value   K,Cv,h,w
    given   whether a mask was given in it
    """

    t: int
    frame: Tensor
    masks: Tensor
    key: Tensor
    value: Tensor
    given: bool = False


class Bank:
    """Frames in memory, in order of time. policy: see above; limit: at most so many frames, None for no bound."""

    def __init__(self, policy: Policy, limit: int | None = None):
        if limit is not None and limit < 1:
            raise VosError(f"limit is {limit}: a memory holds at least 1 frame")
        self.policy, self.limit = policy, limit
        self.entries: list[Entry] = []
        self._joined: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def times(self) -> tuple[int, ...]:
        """The frames' numbers."""
        return tuple(entry.t for entry in self.entries)

    def wants(self, t: int, given: bool = False) -> bool:
        """Whether frame t is to be stored, now that it has been segmented."""
        return given or t in self.policy(t + 1)

    def add(self, entry: Entry) -> None:
        """Store a frame, later than all others."""
        self.entries.append(entry)
        self.tidy(entry.t)

    def tidy(self, t: int) -> None:
        """Frame t is done: let go what is not wanted while the next one is segmented, then what is too much."""
        held = set(self.policy(t + 1))
        self.entries = [e for e in self.entries if e.given or e.t in held]
        while self.limit is not None and len(self.entries) > self.limit:
            free = [e for e in self.entries if not e.given]
            if not free:
                break
            self.entries.remove(free[0])
        self._joined = None

    def grow(self, write: Callable[[Entry], tuple[Tensor, Tensor]], count: int) -> None:
        """`count` objects have come: what is remembered of each frame says that they were not there.

        write(entry) -> their keys count,C,h,w (C,h,w where keys belong to no object: those stay) and values
        count,Cv,h,w, given an entry whose masks have `count` empty ones at their end.
        """
        for entry in self.entries:
            entry.masks = torch.cat([entry.masks, entry.masks.new_zeros(count, *entry.masks.shape[-2:])])
            key, value = write(entry)
            entry.key = torch.cat([entry.key, key]) if key.ndim == 4 else entry.key
            entry.value = torch.cat([entry.value, value])
        self._joined = None

    def read(self) -> tuple[Tensor, Tensor]:
        """Keys ...,C,N and values K,Cv,N of all frames: N is frames x h x w, a frame after the other."""
        if self._joined is None:
            self._joined = (torch.cat([e.key.flatten(-2) for e in self.entries], -1),
                            torch.cat([e.value.flatten(-2) for e in self.entries], -1))
        return self._joined


def others(masks: Tensor) -> Tensor:
    """For each object where the other ones are: K,H,W in [0,1] -> K,H,W in [0,1]."""
    return (masks.sum(0, keepdim=True) - masks).clamp(0, 1)


def strongest(affinity: Tensor, top_k: int | None) -> Tensor:
    """Only the top_k memory positions of each query position, scaled so that they sum to 1: ...,N,M -> ...,N,M.

    For a softmax this is the softmax of the top_k scores alone.
    """
    if top_k is None or top_k >= affinity.shape[-2]:
        return affinity
    best, where = affinity.topk(top_k, dim=-2)  # ...,k,M
    return torch.zeros_like(affinity).scatter(-2, where, best / best.sum(-2, keepdim=True))


def looks(system: Any, frame: Tensor, at: tuple[int, int], slot: int = 0) -> Tensor:
    """Where one pixel of a frame looks in memory: T,H,W, one plane for each of `system.bank.times`, summing to 1.

    system: STM or STCN, stopped just before `frame` (3,H,W); at: (y, x); slot: whose keys, where each object has its
    own. A cell of the features is a square of pixels that share its weight, so a plane lies on the frame it looks at.
    """
    whole = whole_cells(frame, at)
    if not len(system.bank):
        raise VosError("nothing is in memory yet: start the system on a clip first")
    with torch.no_grad():
        key = system.net.query(whole).key[0]  # C,h/16,w/16
        affinity = system.net.attend(system.bank.read()[0], key.flatten(1))  # N,M or K,N,M
    place = at[0] // STRIDE * key.shape[-1] + at[1] // STRIDE
    one = (affinity[slot] if affinity.ndim == 3 else affinity)[:, place]  # N
    return over_pixels(one.reshape(len(system.bank), *key.shape[-2:]), frame)


def whole_cells(frame: Tensor, at: tuple[int, int]) -> Tensor:
    """A frame 3,H,W as 1,3,H',W' of whole cells of STRIDE pixels; VosError where pixel `at` (y, x) is not in it."""
    h, w = frame.shape[-2:]
    if not (0 <= at[0] < h and 0 <= at[1] < w):
        raise VosError(f"pixel {at} lies outside the frame of {h} x {w}")
    return F.pad(frame[None], (0, -w % STRIDE, 0, -h % STRIDE), mode="replicate")


def over_pixels(weights: Tensor, frame: Tensor) -> Tensor:
    """Weights of cells T,h,w, each shared out among its pixels: T,H,W as the frame."""
    pixels = (weights / STRIDE**2).repeat_interleave(STRIDE, 1).repeat_interleave(STRIDE, 2)
    return pixels[:, : frame.shape[-2], : frame.shape[-1]]


class Reads:
    """An affinity that notes which cells of which frames are ever among the top_k of any query position, and weigh at
    least LEAST of the nearest one's weight.

    bank: () -> the bank that it reads. Frames count from when they can be read.
    """

    def __init__(self, affinity: Callable[..., Tensor], bank: Callable[[], Bank], top_k: int = 20):
        self.affinity, self.bank, self.top_k = affinity, bank, top_k
        self.cells: dict[int, Tensor] = {}  # frame -> ...,h*w bool

    def __call__(self, mk: Tensor, qk: Tensor) -> Tensor:
        """See the operators."""
        affinity = self.affinity(mk, qk)  # ...,N,M
        weight, best = affinity.topk(min(self.top_k, affinity.shape[-2]), dim=-2)  # ...,k,M
        read = (weight >= LEAST * weight[..., :1, :]).to(affinity)
        hit = torch.zeros_like(affinity[..., 0]).scatter_reduce(-1, best.flatten(-2), read.flatten(-2), "amax") > 0
        times = self.bank().times
        for t, cells in zip(times, hit.chunk(len(times), -1), strict=True):
            before = self.cells.get(t)
            if before is not None and before.ndim == 2 and len(before) < len(cells):  # objects have come
                before = F.pad(before, (0, 0, 0, len(cells) - len(before)))
            self.cells[t] = cells if before is None else before | cells
        return affinity

    @property
    def share(self) -> float:
        """Of all cells that could be read; an object's own memory counts by itself."""
        return torch.cat([cells.flatten() for cells in self.cells.values()]).float().mean().item()


def share_read(system: Any, clip: Clip, height: int | None = None, top_k: int = 20, seed: int = 0) -> float:
    """The share of memory that is ever read on a clip: a cell is, if it is among the top_k of any pixel of any frame,
    with a weight of at least LEAST of the nearest one's.

    STCN's question to the dot product (Cheng et al., NeurIPS 2021, section 4): a key of large norm is in everyone's
    top_k, and the others are stored for nothing.
    """
    reads, own = Reads(system.net.affinity, lambda: system.bank, top_k), system.net.affinity
    system.net.affinity = reads
    try:
        for _ in engine.stream(system, clip, seed, height):
            pass
    finally:
        system.net.affinity = own
    if not reads.cells:
        raise VosError(f"clip '{clip.name}' has no frame after the first mask: nothing was read")
    return reads.share


def padded(masks: Tensor, like: Tensor) -> Tensor:
    """True masks K,h,w as the engine's frames ...,H,W are padded: to the right and below, by the last pixel."""
    grow = (0, like.shape[-1] - masks.shape[-1], 0, like.shape[-2] - masks.shape[-2])
    return F.pad(masks[None].to(like), grow, mode="replicate")[0]


def true_masks(clip: Clip, height: int | None = None, ids: Sequence[int] | None = None) -> Callable[[int], Tensor]:
    """For a system's `truth`: t -> K,h,w bool at the height at which the engine runs it. ids: in their slots' order.

    Objects that a clip gives late have their slots later: so far only for clips whose objects are all given in frame 0.
    """
    small = clip if height is None else clip.resize(height)
    if any(small.starts.values()):
        raise VosError(f"clip '{clip.name}' gives an object late; true masks need all objects in frame 0")
    return lambda t: small.objects(t, ids)
