"""Lab 1, online learning: how its answers are judged. Oracles are loops to be read, not to be fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vos_teach.lab.cases import Call, Case, Exercise, equals
from vos_teach.lab.exercises.lab1_common import _plain_bce, _share, _weighted, blob
from vos_teach.lab.exercises.lab1_finetune import FINETUNE
from vos_teach.lab.exercises.lab1_osmn import MASK_GAUSSIAN, MODULATE

# ---- balanced_bce ---------------------------------------------------------------------------------------------


def bce_oracle(logits: Tensor, target: Tensor) -> Tensor:
    """Pixel by pixel: log(1 + e^z), with z the logit that speaks against the truth, times the OTHER class's share."""
    h, w = logits.shape[-2:]
    total, pixels = torch.zeros((), dtype=torch.float64), 0
    for z, y in zip(logits.reshape(-1, h, w), target.reshape(-1, h, w), strict=True):
        share = float(y.double().mean())  # N+/N of this image alone
        for r in range(h):
            for c in range(w):
                true = bool(y[r, c])
                weight = 1 - share if true else share
                against = -z[r, c].double() if true else z[r, c].double()
                total = total + weight * F.softplus(against)
                pixels += 1
    return total / pixels


def bce_with_gradient(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The oracle's value and its gradient for the logits."""
    logits = logits.detach().clone().requires_grad_()
    value = bce_oracle(logits, target)
    return value.detach(), torch.autograd.grad(value, logits)[0]


def logits_and_target(rng: np.random.Generator, *shape: int, share: float | Sequence[float] = 0.2,
                      strength: float = 2.0) -> Call:
    """Random logits, and a random target with about that share of ones (one share per image of a batch)."""
    share = np.reshape(share, (-1, *(1,) * (len(shape) - 1))) if np.ndim(share) else share
    target = rng.random(shape) < share
    target[..., 0, 0], target[..., 0, 1] = True, False  # both classes are there
    logits = rng.normal(0, strength, shape)
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)


def _swapped(logits, target):
    s = _share(target, logits)
    return _weighted(logits, target, s, 1 - s).mean()


def _of_batch(logits, target):
    s = target.to(logits.dtype).mean()
    return _weighted(logits, target, 1 - s, s).mean()


def _summed(logits, target):
    s = _share(target, logits)
    return _weighted(logits, target, 1 - s, s).sum()


def _pos_weight(logits, target):
    s = _share(target, logits)
    return _weighted(logits, target, (1 - s) / s, 1.0).mean()


def _two_means(logits, target):
    s = _share(target, logits)
    return (_weighted(logits, target, 0.5 / s, 0.5 / (1 - s))).mean()


def _twice(logits, target):
    s = _share(target, logits)
    return _weighted(torch.sigmoid(logits), target, 1 - s, s).mean()


BALANCED_BCE = Exercise(
    "lab1.balanced_bce",
    cases=(
        Case("one image with a small object", lambda rng: [logits_and_target(rng, 12, 16, share=0.1)],
             equals(bce_oracle, "the value is wrong")),
        Case("a batch of a small and a large object",
             lambda rng: [logits_and_target(rng, 2, 8, 12, share=(0.1, 0.7))],
             equals(bce_oracle, "count positives and negatives in each image by itself")),
        Case("the gradient", lambda rng: [logits_and_target(rng, 8, 12, share=0.3)],
             equals(bce_with_gradient, "value or gradient is wrong"), grad=0),
        Case("an image without any object is worth exactly 0",
             lambda rng: [(torch.tensor(rng.normal(0, 2, (8, 12)), dtype=torch.float32), torch.zeros(8, 12))],
             equals(bce_oracle, "without positives every weight is 0, so the loss is 0")),
        Case("very sure logits, right and wrong",
             lambda rng: [logits_and_target(rng, 8, 12, share=0.3, strength=150)],
             equals(bce_oracle, "sigmoid and log overflow one by one: take the cross-entropy of the logits")),
        Case("a target of true and false",
             lambda rng: [(z, y.bool()) for z, y in [logits_and_target(rng, 8, 12, share=0.3)]],
             equals(bce_oracle, "the target may be bool: convert it to the logits' type first")),
    ),
    hints=(
        "How many pixels of each class does an image have? A rare class must weigh more, so its weight is the share of "
        "the OTHER class.",
        "Per image: positive = target.mean(dim=(-2, -1), keepdim=True). A pixel that is 1 weighs 1 - positive, a pixel "
        "that is 0 weighs positive. F.binary_cross_entropy_with_logits(..., reduction='none') gives the loss of each "
        "pixel.",
        "target = target.to(logits.dtype); positive = ...; weight = target * (1 - positive) + (1 - target) * positive; "
        "then the mean of weight * loss over ALL pixels.",
    ),
    library="vos_teach.ops.losses:balanced_bce",
    suspects=(
        (_swapped, "the weights are swapped: a positive pixel weighs N-/N, the share of the other class"),
        (_of_batch, "the shares are counted over the whole batch: each image has its own balance"),
        (lambda z, y: _plain_bce(z, y).mean(), "the classes are not balanced: this is the plain cross-entropy"),
        (_summed, "this is the sum: take the mean over all pixels"),
        (_pos_weight, "only the positives are weighted (N-/N+): the weights are N-/N and N+/N, which sum to 1"),
        (_two_means, "this is the mean of the two classes' means: weigh with N-/N and N+/N, then one mean over pixels"),
        (_twice, "the sigmoid is applied twice: binary_cross_entropy_with_logits has its own"),
    ),
)

# ---- online_targets -------------------------------------------------------------------------------------------


def targets_oracle(prob: Tensor, last_mask: Tensor, positive: float = 0.97, distance: float = 220 / 480,
                   erosion: float = 15 / 480) -> np.ndarray:
    """Pixel by pixel: the eroded mask, then the distance to its nearest pixel, then the three classes."""
    p, mask = prob.numpy(), last_mask.numpy().astype(bool)
    h, w = mask.shape
    inside = [(r, c) for r in range(h) for c in range(w) if mask[r, c]]
    outside = np.argwhere(~mask)
    core = [(r, c) for r, c in inside
            if not len(outside) or min((outside[:, 0] - r) ** 2 + (outside[:, 1] - c) ** 2) > (erosion * h) ** 2]
    out = np.full((h, w), 255)
    if not core:
        return out
    cores = np.array(core)
    for r in range(h):
        for c in range(w):
            far = min((cores[:, 0] - r) ** 2 + (cores[:, 1] - c) ** 2) > (distance * h) ** 2
            if far:
                out[r, c] = 0
            elif p[r, c] > positive:
                out[r, c] = 1
    return out


def belief(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A probability map in which a third of the pixels is very sure, everywhere in the frame."""
    coarse = rng.random((h // 4 + 2, w // 4 + 2))
    p = np.kron(coarse, np.ones((4, 4)))[:h, :w]
    return np.where(p > 0.66, 0.985, p).astype(np.float32)


def adapt_call(rng: np.random.Generator, h: int = 32, w: int = 64, radius: float = 7, **options: float) -> Call:
    """prob, last_mask, and the options in their order."""
    prob, mask = torch.from_numpy(belief(rng, h, w)), torch.from_numpy(blob(rng, h, w, radius))
    return (prob, mask, *options.values())


def _rule(win: str = "negative", erode: bool = True, measure: str = "euclid", size: str = "h",
          void: int = 255, strict: bool = True, empty: int | None = None, beyond: int = 1
          ) -> Callable[..., np.ndarray]:
    """A selection with one thing wrong."""
    from scipy.ndimage import distance_transform_cdt, distance_transform_edt

    def wrong(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
        p, mask = prob.numpy(), last_mask.numpy().astype(bool)
        unit = mask.shape[0] if size == "h" else mask.shape[1] if size == "w" else 480
        core = distance_transform_edt(np.pad(mask, 1, constant_values=beyond))[1:-1, 1:-1] > erosion * unit
        core = core & mask if erode else mask
        out = np.full(mask.shape, void)
        if not core.any():
            return out if empty is None else np.full(mask.shape, empty)
        if measure == "euclid":
            far = distance_transform_edt(~core) > distance * unit
        elif measure == "inside":
            far = distance_transform_edt(core) > distance * unit
        elif measure == "city":
            far = distance_transform_cdt(~core, "taxicab") > distance * unit
        else:
            far = ~mask
        sure = p > positive if strict else p >= positive
        first, second = ((sure, 1), (far, 0)) if win == "negative" else ((far, 0), (sure, 1))
        for where, label in (first, second):
            out[where] = label
        return out

    return wrong


ONLINE_TARGETS = Exercise(
    "lab1.online_targets",
    cases=(
        Case("a thing in the middle of its frame", lambda rng: [adapt_call(rng)],
             equals(targets_oracle, "the selection is wrong")),
        Case("very sure, and very far",
             lambda rng: [(torch.full((32, 64), 0.99), torch.from_numpy(blob(rng, 32, 64, 6)))],
             equals(targets_oracle, "negatives must win over positives")),
        Case("a larger frame", lambda rng: [adapt_call(rng, 64, 48, 11)],
             equals(targets_oracle, "distances are fractions of the frame's height, whatever its size")),
        Case("a probability of just the threshold",
             lambda rng: [(torch.full((32, 64), 0.75), torch.from_numpy(blob(rng, 32, 64, 6)), 0.75)],
             equals(targets_oracle, "just the threshold is not above it: those pixels stay void")),
        Case("a mask that erosion eats up",
             lambda rng: [(torch.from_numpy(belief(rng, 32, 64)), torch.zeros(32, 64, dtype=torch.bool).index_put(
                 (torch.tensor(int(rng.integers(8, 24))), torch.tensor([20, 21, 22])), torch.tensor(True)))],
             equals(targets_oracle, "nothing is left after the erosion, so nothing is known: all void, 255")),
    ),
    hints=(
        "Three classes, in this order: all void; then the sure pixels; then the far ones, which overwrite the sure "
        "ones, because what jumped across the frame is not the object.",
        "Erosion and distance are the same tool: scipy.ndimage.distance_transform_edt(x) gives each true pixel its "
        "distance to the nearest false one. So core = edt(mask) > erosion * H, and far = edt(~core) > distance * H.",
        "out = full of 255; if core is empty return it; out[prob > positive] = 1; out[far] = 0. H is mask.shape[-2], "
        "and both distances are fractions of it.",
    ),
    library="vos_teach.ops.adapt:online_targets",
    suspects=(
        (_rule(win="positive"), "negatives must win: a sure pixel that is too far away is 0, not 1"),
        (_rule(erode=False), "the mask was not eroded: measure the distance from its core"),
        (_rule(measure="city"), "that is not the Euclidean distance: use distance_transform_edt"),
        (_rule(measure="inside"), "the distance is measured inside the mask: it is that of the OUTSIDE pixels to it"),
        (_rule(measure="mask"), "all pixels outside the mask became negatives: only those farther than the distance"),
        (_rule(beyond=0), "what lies beyond the frame is not background: nothing is eroded at its border"),
        (_rule(size="w"), "distances are fractions of the height H, not of the width"),
        (_rule(size="480"), "distances are in pixels of 480p: they are fractions of this frame's height"),
        (_rule(empty=0), "nothing is left after the erosion, so nothing is known: all void (255), not all negative"),
        (_rule(void=0), "what is neither sure nor far is void: 255, so that nobody trains on it, not 0"),
        (_rule(strict=False), "just the threshold is not above it: positives are prob > positive"),
    ),
)

EXERCISES = (BALANCED_BCE, FINETUNE, ONLINE_TARGETS, MASK_GAUSSIAN, MODULATE)
