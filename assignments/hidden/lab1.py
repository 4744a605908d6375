"""Hidden cases of lab 1: other sizes, other balances, other mixtures. Instructors only."""

from __future__ import annotations

import numpy as np
import torch

from vos_teach.lab.cases import Case, equals
from vos_teach.lab.exercises.lab1 import (
    adapt_call,
    bce_oracle,
    bce_with_gradient,
    belief,
    logits_and_target,
    targets_oracle,
)
from vos_teach.lab.exercises.lab1_common import blob
from vos_teach.lab.exercises.lab1_finetune import (
    counts_steps,
    finetune_call,
    finetune_case,
    follows_gradients,
    keeps_frozen,
    keeps_norms,
    learns,
    leaves_parent,
    moves_together,
    of_each,
    same_for_same_seed,
    thrice,
)
from vos_teach.lab.exercises.lab1_osmn import (
    gaussian_oracle,
    lopsided,
    modulate_call,
    modulate_oracle,
    modulate_with_gradient,
    one_pixel,
)


def _cut_off(rng: np.random.Generator, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An object that the frame's left border cuts off: only its last two columns are still there."""
    mask = np.zeros((h, w), bool)
    top = int(rng.integers(3, h // 2))
    mask[top : top + h // 3, :2] = True
    return torch.from_numpy(belief(rng, h, w)), torch.from_numpy(mask)


CASES = {
    "lab1.balanced_bce": (
        Case("objects of a video, two leading axes",
             lambda rng: [logits_and_target(rng, 2, 3, 7, 9, share=0.3)],
             equals(bce_oracle, "any number of leading axes: the last two are the image's")),
        Case("three images of very different balance",
             lambda rng: [logits_and_target(rng, 3, 10, 6, share=(0.05, 0.5, 0.9))],
             equals(bce_oracle, "count positives and negatives in each image by itself")),
        Case("the gradient in a batch", lambda rng: [logits_and_target(rng, 2, 6, 7, share=(0.1, 0.6))],
             equals(bce_with_gradient, "value or gradient is wrong"), grad=0),
        Case("an image that is all object, beside one that is not",
             lambda rng: [(torch.tensor(rng.normal(0, 2, (2, 6, 10)), dtype=torch.float32),
                           torch.stack([torch.ones(6, 10), (torch.arange(60).reshape(6, 10) < 9).float()]))],
             equals(bce_oracle, "without negatives every weight of that image is 0")),
        Case("very sure logits, a target of true and false",
             lambda rng: [(z, y.bool()) for z, y in [logits_and_target(rng, 2, 6, 7, share=0.4, strength=200)]],
             equals(bce_oracle, "sigmoid and log overflow one by one: take the cross-entropy of the logits")),
        Case("a frame of another size", lambda rng: [logits_and_target(rng, 24, 31, share=0.02)],
             equals(bce_oracle, "the value is wrong")),
    ),
    "lab1.finetune": (
        finetune_case("the parent is as new afterwards, a round object", of_each(leaves_parent),
                      lambda rng: [finetune_call(rng, 36, 48, 5, round_one=True)]),
        finetune_case("few steps, more steps, none", of_each(counts_steps),
                      lambda rng: [finetune_call(rng, steps=n) for n in (3, 17, 0)]),
        finetune_case("what the network is fed, another size", of_each(moves_together),
                      lambda rng: [finetune_call(rng, 48, 44, 9, round_one=True)]),
        finetune_case("BatchNorm, another size", of_each(keeps_norms),
                      lambda rng: [finetune_call(rng, 32, 72, 6)]),
        finetune_case("it learns a round object", of_each(learns),
                      lambda rng: [finetune_call(rng, 48, 44, 20, round_one=True)]),
        finetune_case("a parent with a frozen layer", of_each(keeps_frozen),
                      lambda rng: [finetune_call(rng, frozen=True)]),
        finetune_case("the same rng, the same network, another size", same_for_same_seed,
                      lambda rng: thrice(rng, h=32, w=48, steps=4)),
        finetune_case("every step goes down its gradient", of_each(follows_gradients),
                      lambda rng: [finetune_call(rng, 36, 52, 8)]),
    ),
    "lab1.online_targets": (
        Case("a taller frame", lambda rng: [adapt_call(rng, 64, 40, 9)],
             equals(targets_oracle, "the selection is wrong")),
        Case("other thresholds and distances",
             lambda rng: [adapt_call(rng, 32, 56, 8, positive=0.6, distance=0.2, erosion=0.07)],
             equals(targets_oracle, "all three options count, and each as a share of the height")),
        Case("a wide frame, sure everywhere",
             lambda rng: [(torch.full((32, 88), 0.995), torch.from_numpy(blob(rng, 32, 88, 7)))],
             equals(targets_oracle, "negatives must win over positives")),
        Case("an object at the border of the frame", lambda rng: [_cut_off(rng, 32, 72)],
             equals(targets_oracle, "what lies beyond the frame is not background: nothing is eroded at the border")),
        Case("an empty mask", lambda rng: [(torch.from_numpy(belief(rng, 24, 40)), torch.zeros(24, 40).bool())],
             equals(targets_oracle, "without a last mask nothing is known: all void, 255")),
        Case("just the threshold, beside just above",
             lambda rng: [(torch.where(torch.arange(40) % 2 == 0, 0.5, 0.625).repeat(32, 1),
                           torch.from_numpy(blob(rng, 32, 40, 7)), 0.5)],
             equals(targets_oracle, "just the threshold is not above it: those pixels stay void")),
    ),
    "lab1.mask_gaussian": (
        Case("another size", lambda rng: [lopsided(rng, 60, 50, 9)],
             equals(gaussian_oracle, "centre or spread is wrong")),
        Case("a tall frame and a stray patch", lambda rng: [lopsided(rng, 90, 52, 11, stray=8)],
             equals(gaussian_oracle, "a few wrong pixels must hardly move it: median and MAD")),
        Case("a single pixel in a small frame", lambda rng: [one_pixel(rng, 240, 64)],
             equals(gaussian_oracle, "the spread is at least 5/480 of the height")),
        Case("an upright line", lambda rng: [(torch.zeros(96, 64).index_put(
            (torch.arange(20, 61), torch.tensor(int(rng.integers(5, 60)))), torch.tensor(1.0)).bool(),)],
             equals(gaussian_oracle, "each axis has its own spread and its own floor")),
        Case("an empty mask in a tall frame", lambda rng: [(torch.zeros(64, 32, dtype=torch.bool),)],
             equals(gaussian_oracle, "an empty mask has no middle: return zeros")),
        Case("a frame that is all object", lambda rng: [(torch.ones(int(rng.integers(20, 31)), 42).bool(),)],
             equals(gaussian_oracle, "of an even number of values the median is the mean of the middle two")),
    ),
    "lab1.modulate": (
        Case("three images of another size", lambda rng: [modulate_call(rng, 3, 5, 7, 4)],
             equals(modulate_oracle, "each image has its own gamma and beta")),
        Case("no batch axis", lambda rng: [modulate_call(rng, 6, 4, 9)],
             equals(modulate_oracle, "any number of leading axes: C, H and W are the last three")),
        Case("as many channels as rows and columns", lambda rng: [modulate_call(rng, 3, 7, 7, 7)],
             equals(modulate_oracle, "gamma belongs to the channels, not to rows or columns")),
        Case("the start, in another size", lambda rng: [modulate_call(rng, 1, 3, 8, 5, start=True)],
             equals(modulate_oracle, "gamma 1 and beta 0 change nothing: so training starts")),
        Case("the gradient for gamma, two images", lambda rng: [modulate_call(rng, 2, 3, 6, 5)],
             equals(modulate_with_gradient, "value or gradient is wrong"), grad=1),
    ),
}

