"""Lab 2: how the recursion over frames is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, equals
from vos_teach.lab.exercises.lab2_beside import Seer, track_collect, track_prepare

# A network cannot be sent as plain data: lab2_beside.py builds a small one. It is simple enough that what a right
# recursion makes of it is known, and touchy enough that a wrong one shows.


def track_oracle(options: dict, frames: Sequence[Tensor], mask: Tensor) -> list[np.ndarray]:
    """Frame by frame: what is above 1/2 is the answer, and the next hint unless it is empty."""
    network, hint = Seer(**options), mask.bool()
    out = [hint.numpy()]
    for t in range(1, len(frames)):
        belief = torch.sigmoid(network(frames[t][None], hint[None])[0])
        found = belief > 0.5
        out.append(found.numpy())
        if found.any():
            hint = found
    return out


def film(rng: np.random.Generator, h: int = 32, w: int = 72, length: int = 8, twin: bool = False,
         gone: tuple[int, ...] = (), fast: bool = False, absent: bool = False) -> Call:
    """A red disc on its way, its rim faint; a twin that stands still; `gone`: frames in which nothing is to be seen.

    While it is gone it waits, so that a tracker that keeps its last mask can find it again.
    """
    y, x = np.mgrid[:h, :w]
    step = 1 if not fast else 2
    at, up, r = 9.0, rng.uniform(0.45, 0.55) * h, 5.0
    stands = (h - 5.0 if rng.random() < 0.5 else 5.0, w - 8.0)
    frames, first = [], None
    for t in range(length):
        picture = rng.uniform(0.02, 0.3, (3, h, w))
        picture[0] = 0
        d = np.hypot(y - up, x - at)
        if t not in gone:
            picture[0][d <= r] = 0.9
            picture[0][(d > r) & (d <= r + 1)] = 0.06  # a logit between 0 and 1/2
            at += step
        if twin:
            picture[0][np.hypot(y - stands[0], x - stands[1]) <= 4] = 0.9
        if first is None:
            first = d <= r + 1
        frames.append(torch.tensor(picture, dtype=torch.float32))
    mask = torch.from_numpy(first) if not absent else torch.zeros(h, w, dtype=torch.bool)
    return {"reach": 3}, frames, mask


def _track(feed: str = "mask", look: int = 0, lost: str = "kept", above: float = 0.0, given: bool = True,
           soft: bool = False, grow: bool = False) -> Callable[..., list]:
    """A recursion with one thing wrong."""

    def wrong(network, frames, mask):
        hint, out = mask.bool(), [mask.bool()]
        for t in range(1, len(frames)):
            logit = network(frames[t + look][None], hint[None])[0]
            found = logit > above
            if grow:
                found = found | out[-1]
            hold = lost == "shown" and not found.any()
            out.append(torch.sigmoid(logit) if soft else hint if hold else found)
            if feed == "first":
                continue
            if feed == "mask" and not found.any() and lost != "gone":
                continue
            hint = {"mask": found, "prob": torch.sigmoid(logit), "logit": logit}[feed]
        return out if given else out[1:]

    return wrong


def track_case(name: str, hint: str, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `track`."""
    return Case(name, calls, equals(track_oracle, hint), prepare=track_prepare, collect=track_collect)


TRACK = Exercise(
    "lab2.track",
    relatives=("vos_teach.mask_propagation.masktrack:OneTracked.step",),
    cases=(
        track_case("a thing on its way", "the masks are wrong: the last MASK goes in beside the NEW frame",
                   lambda rng: [film(rng)]),
        track_case("a twin that stands still", "only 0 and 1 may be fed back: this network takes anything else for a "
                   "hint", lambda rng: [film(rng, twin=True)]),
        track_case("out of sight for two frames", "where nothing is found the answer is empty, and the last mask that "
                   "was found goes in again", lambda rng: [film(rng, gone=(3, 4))]),
        track_case("a clip of one frame", "one mask for each frame, and the first is the one that was given",
                   lambda rng: [film(rng, length=1)]),
    ),
    hints=(
        "Keep two things apart: the list of answers, and the mask that goes in next. The list starts with the mask "
        "that was given; then one frame after the other, from frames[1] on.",
        "network(frame[None], hint[None])[0] is H,W of logits; a probability above 1/2 is a logit above 0. Feed back "
        "that mask, not the logits, and only if it is not empty.",
        "hint, masks = mask, [mask]; for frame in frames[1:]: found = network(frame[None], hint[None])[0] > 0; "
        "masks.append(found); if found.any(): hint = found. Then return masks.",
    ),
    suspects=(
        (_track(feed="prob"), "probabilities are fed back: the network knows masks of 0 and 1 only: threshold first"),
        (_track(feed="logit"), "logits are fed back: the network knows masks of 0 and 1 only: threshold first"),
        (_track(feed="first"), "the first mask goes in at every frame: feed back the last one"),
        (_track(look=-1), "the last frame goes in beside the last mask: it is the NEW frame that is looked at"),
        (_track(lost="gone"), "the empty mask is fed back, so the object is lost for ever: keep the last one found"),
        (_track(lost="shown"), "where nothing is found the answer is empty: the last mask is only the next hint"),
        (_track(above=0.5), "0.5 is a threshold for probabilities: these are logits, whose middle is 0"),
        (_track(given=False), "the given mask is missing: one mask for each frame, the first is the given one"),
        (_track(soft=True), "return masks, true or false: these are probabilities"),
        (_track(grow=True), "each answer is added to the one before: a mask must be able to leave pixels behind"),
    ),
)
