"""Lab 1, online learning: how its answers are judged. Oracles are loops to be read, not to be fast."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_teach.lab.cases import Call, Case, Exercise, brief, equals

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


def _plain_bce(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")


def _share(target: Tensor, logits: Tensor) -> Tensor:
    return target.to(logits.dtype).mean(dim=(-2, -1), keepdim=True)


def _weighted(logits: Tensor, target: Tensor, positive: Tensor | float, negative: Tensor | float) -> Tensor:
    y = target.to(logits.dtype)
    return (y * positive + (1 - y) * negative) * _plain_bce(logits, target)


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

# ---- finetune -------------------------------------------------------------------------------------------------
# A network and a loss cannot be sent as plain data: `prepare` builds a tiny network that writes down what it is fed,
# and a loss that writes down what it is asked; `collect` reads both and measures the network that came back.

STEPS, RATE = 12, 0.02


class Log:
    """What happened during a fine-tuning. A copy of the network writes into the same log."""

    def __init__(self) -> None:
        self.images, self.targets, self.norms, self.stale = [], [], [], []  # type: ignore[var-annotated]
        self.seen: tuple[Tensor, bool, nn.Module] | None = None

    def __deepcopy__(self, memo: dict) -> Log:
        return self


class Tiny(nn.Module):
    """B,3,H,W in [0,1] -> logits B,H,W: two convolutions with a BatchNorm between; `frozen` fixes the first."""

    def __init__(self, seed: int, width: int = 6, frozen: bool = False):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, 1, 1)
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.tensor(rng.normal(0, 0.3, tuple(p.shape))))
            self.norm.weight.fill_(1)
            self.norm.running_mean.copy_(torch.tensor(rng.normal(0, 0.1, width)))
        self.first.requires_grad_(not frozen)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """See the class; what comes in is noted in the log, if there is one."""
        if "log" in self.__dict__:
            self.log.seen = (x.detach().clone(), self.norm.training, self)
        return self.last(torch.relu(self.norm(self.first(x))))[:, 0]


def reference_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The balanced loss, not the student's own: an error there must not cost marks here."""
    s = _share(target, logits)
    return _weighted(logits, target, 1 - s, s).mean()


def finetune_prepare(call: Call) -> Call:
    """(notes, image, mask, steps, seed) -> (parent, image, mask, loss, steps, rng, rate)."""
    notes, image, mask, steps, seed = call
    parent, log = Tiny(notes["weights"], frozen=notes.get("frozen", False)), Log()
    parent.log = log
    notes.update(parent=parent, log=log, before=copy.deepcopy(parent.state_dict()))

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        value = reference_loss(logits, target)
        if value.requires_grad:
            x, norm, net = log.seen
            log.images.append(x.numpy())
            log.targets.append(np.broadcast_to(target.detach().double().numpy(), logits.shape).copy())
            log.norms.append(norm)
            value.register_hook(lambda slope: log.stale.append(
                any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())))
        return value

    return parent, image, mask, loss, steps, np.random.default_rng(seed), RATE


def finetune_collect(call: Call, result: Any) -> dict[str, Any]:
    """What came of a fine-tuning, as plain data."""
    notes, image, mask = call[:3]
    parent, log, before = (notes.pop(k) for k in ("parent", "log", "before"))
    if not isinstance(result, nn.Module):
        return {"kind": brief(result)}
    after = parent.state_dict()
    said = {
        "kind": "", "itself": result is parent,
        "parent": all(torch.equal(before[k], after[k]) for k in before),
        "steps": len(log.images), "stale": sum(log.stale), "norms": sum(log.norms),
        "training": any(m.training for m in result.modules()),
        "images": log.images, "targets": log.targets,
    }
    result = copy.deepcopy(result).eval()
    state = result.state_dict()
    said["running"] = all(torch.equal(before[k], state[k]) for k in before if "running" in k)
    said["frozen"] = not notes.get("frozen") or all(torch.equal(before[k], state[k]) for k in before if "first" in k)
    said["weights"] = np.concatenate([v.double().flatten().numpy() for v in state.values()])
    original = np.concatenate([v.double().flatten().numpy() for v in before.values()])
    said["moved"] = float(np.abs(said["weights"] - original).max())
    x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 255
    y = torch.from_numpy(mask)[None]
    parent.load_state_dict(before)
    with torch.no_grad():
        said["before"] = float(reference_loss(parent.eval()(x), y))
        said["after"] = float(reference_loss(result(x), y))
    return said


def scene(rng: np.random.Generator, h: int, w: int, round_one: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a red thing left of and above the middle on greenish ground, and its mask."""
    y, x = np.mgrid[:h, :w]
    cy, cx, ry, rx = h * rng.uniform(0.34, 0.4), w * rng.uniform(0.3, 0.36), h / 5, w / 6
    d = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 if round_one else np.maximum(abs(y - cy) / ry, abs(x - cx) / rx)
    mask = (d <= 1).astype(np.uint8)
    frame = np.where(mask[..., None], (215, 60, 60), (40, 110, 90)) + rng.integers(-25, 26, (h, w, 3))
    return frame.clip(0, 255).astype(np.uint8), mask


def finetune_call(rng: np.random.Generator, h: int = 40, w: int = 56, steps: int = STEPS, round_one: bool = False,
                  **notes: Any) -> Call:
    """One object in one frame, a parent, a number of steps, a seed."""
    image, mask = scene(rng, h, w, round_one)
    return {"weights": int(rng.integers(1000)), **notes}, image, mask, steps, int(rng.integers(1000))


Judge = Callable[[Sequence[Call], Sequence[Any]], "str | None"]


def of_each(look: Callable[[Call, dict], str | None]) -> Judge:
    """A judge that looks at each result by itself, once it is clear that a network came back."""

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, r in zip(calls, results, strict=True):
            if r["kind"]:
                return f"return the fine-tuned network, not {r['kind']}"
            if said := look(call, r):
                return said
        return None

    return judge


def leaves_parent(call: Call, r: dict) -> str | None:
    """The parent must be as new for the next object."""
    if r["itself"] or not r["parent"]:
        return "the parent's own weights have changed, so the next object starts from this one: train a deep copy"
    return None


def counts_steps(call: Call, r: dict) -> str | None:
    """One update for each step, with fresh gradients."""
    if r["steps"] == 0 and call[3] > 0:
        return "the loss that is given was never asked during training: use `loss`, not one of your own"
    if r["steps"] != call[3]:
        return f"it was asked for {call[3]} steps and took {r['steps']}: one loss and one update in each step"
    if r["stale"]:
        return "gradients of earlier steps are still there at backward(): call optimizer.zero_grad() in each step"
    if (r["moved"] > 0) != (call[3] > 0):
        return f"after {call[3]} steps the weights have moved by {r['moved']:.3g}: is optimizer.step() in the loop?"
    return None


def keeps_norms(call: Call, r: dict) -> str | None:
    """BatchNorm's statistics come from ImageNet, not from one frame; the result is ready for use."""
    if r["norms"] or not r["running"]:
        return "BatchNorm ran in training mode: the statistics of one frame replace those of a million; call net.eval()"
    if r["training"]:
        return "the network that comes back is in training mode: hand it back ready for use, in evaluation mode"
    return None


def moves_together(call: Call, r: dict) -> str | None:
    """What goes into the network is augmented, in [0,1], and its target lies over it."""
    if not r["images"]:
        return "the loss that is given was never asked during training: use `loss`, not one of your own"
    images, targets = np.concatenate(r["images"]), np.concatenate(r["targets"])
    if images.max() > 1.001 or images.max() < 0.05:
        return f"the network is fed values up to {images.max():.3g}: it wants frames in [0, 1] (see to_tensors)"
    if not np.isin(targets, (0, 1)).all():
        return "targets other than 0 and 1 appear: a mask is resampled by nearest neighbour, or ids blend"
    red = images[:, 0] > 0.5
    overlap = np.mean([(a & b).sum() / max(1, (a | b).sum()) for a, b in zip(red, targets > 0, strict=True)])
    if overlap < 0.85:
        return ("frame and mask are not augmented together: the target does not lie over the object "
                f"(overlap {overlap:.2f})")
    if np.ptp([image.mean() for image in images]) == 0 or len({image.tobytes() for image in images}) < len(images) / 2:
        return "the same picture is trained on again and again: augment anew in every step"
    return None


def learns(call: Call, r: dict) -> str | None:
    """The loss on the frame itself has to fall."""
    if not r["after"] < 0.7 * r["before"]:
        return f"the loss on frame 0 went from {r['before']:.3f} to {r['after']:.3f}: it must fall clearly"
    return None


def keeps_frozen(call: Call, r: dict) -> str | None:
    """A layer that the parent has frozen stays as it is."""
    return None if r["frozen"] else "a layer that the parent keeps frozen (requires_grad False) was trained"


def same_for_same_seed(calls: Sequence[Call], results: Sequence[dict]) -> str | None:
    """Calls: twice the same, then another rng."""
    if r := next((r for r in results if r["kind"]), None):
        return f"return the fine-tuned network, not {r['kind']}"
    a, b, c = (r["weights"] for r in results)
    if not np.allclose(a, b, atol=1e-6):
        return "the same rng gave two different networks: draw every random number from the rng that is given"
    if np.allclose(a, c, atol=1e-6):
        return "another rng gave the very same network: draw the augmentation from the rng that is given"
    return None


def thrice(rng: np.random.Generator, **size: Any) -> list[Call]:
    """The same call twice, then once with another seed."""
    call = finetune_call(rng, **size)
    return [call, copy.deepcopy(call), (*copy.deepcopy(call[:4]), call[4] + 1)]


def finetune_case(name: str, judge: Judge, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `finetune`."""
    return Case(name, calls, judge, prepare=finetune_prepare, collect=finetune_collect)


def _one(rng: np.random.Generator) -> list[Call]:
    return [finetune_call(rng)]


FINETUNE = Exercise(
    "lab1.finetune",
    cases=(
        finetune_case("the parent is as new afterwards", of_each(leaves_parent), _one),
        finetune_case("steps taken", of_each(counts_steps), _one),
        finetune_case("what the network is fed", of_each(moves_together), _one),
        finetune_case("BatchNorm on one frame", of_each(keeps_norms), _one),
        finetune_case("it learns", of_each(learns), _one),
        finetune_case("the same rng, the same network", same_for_same_seed, thrice),
    ),
    hints=(
        "Four lines before the loop (copy, mode, optimizer, nothing else), five inside (augment, tensors, loss, "
        "backward, step), one after it.",
        "copy.deepcopy(parent).eval() leaves the parent alone and BatchNorm in peace. affine(image, mask, rng) turns "
        "and scales frame AND mask alike, to_tensors makes 3,H,W in [0,1] and H,W of them; [None] adds the batch.",
        "for _ in range(steps): x, y = to_tensors(*affine(image, mask, rng)); value = loss(net(x[None]), y[None]); "
        "optimizer.zero_grad(); value.backward(); optimizer.step(). Then return net.",
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


def blob(rng: np.random.Generator, h: int, w: int, radius: float, margin: float = 3) -> np.ndarray:
    """A mask: a lopsided ellipse of about that radius, `margin` pixels away from the border."""
    y, x = np.mgrid[:h, :w]
    ry, rx = radius * rng.uniform(0.8, 1.0), radius * rng.uniform(1.0, 1.3)
    cy, cx = rng.uniform(ry + margin, h - 1 - ry - margin), rng.uniform(rx + margin, w - 1 - rx - margin)
    d = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
    return (d <= 1) & ~((y > cy) & (x > cx) & (d > 0.5))  # a corner bitten off: no two axes are alike


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

# ---- mask_gaussian --------------------------------------------------------------------------------------------


def gaussian_oracle(mask: Tensor) -> np.ndarray:
    """Sort the object's coordinates by hand: middle, and 1.4826 times the middle of the distances to it."""
    on = mask.numpy().astype(bool)
    h, w = on.shape
    out = np.zeros((h, w))
    if not on.any():
        return out
    pixels = [(r, c) for r in range(h) for c in range(w) if on[r, c]]
    (my, sy), (mx, sx) = (_middle([p[axis] for p in pixels], floor=5 / 480 * h) for axis in (0, 1))
    for r in range(h):
        for c in range(w):
            out[r, c] = math.exp(-((r - my) ** 2) / (2 * sy**2) - (c - mx) ** 2 / (2 * sx**2))
    return out


def _middle(values: Sequence[float], floor: float) -> tuple[float, float]:
    def median(v: Sequence[float]) -> float:
        v, n = sorted(v), len(v)
        return (v[(n - 1) // 2] + v[n // 2]) / 2

    m = median(values)
    return m, max(1.4826 * median([abs(v - m) for v in values]), floor)


def _gauss(centre=np.median, spread="mad", factor=1.4826, floor: float | str = "h", swap=False, two=2.0,
           total=False, square=2, joint=False) -> Callable[..., np.ndarray]:
    """A Gaussian with one thing wrong."""

    def wrong(mask):
        on = mask.numpy().astype(bool)
        h, w = on.shape
        y, x = np.nonzero(on)
        if len(y) == 0:
            return np.zeros((h, w))
        least = {"h": 5 / 480 * h, "w": 5 / 480 * w, "px": 5.0, "none": 0.0}[floor]

        def of(v):
            m = centre(v)
            s = v.std() if spread == "std" else factor * np.median(np.abs(v - m))
            return m, s

        (my, sy), (mx, sx) = of(y), of(x)
        if joint:
            sy = sx = max(sy, sx)
        sy, sx = max(sy, least), max(sx, least)
        if swap:
            my, sy, mx, sx = mx, sx, my, sy
        r, c = np.mgrid[:h, :w]
        g = np.exp(-(np.abs(r - my) ** 2) / (two * sy**square) - np.abs(c - mx) ** 2 / (two * sx**square))
        return g / g.sum() if total else g

    return wrong


def lopsided(rng: np.random.Generator, h: int, w: int, radius: float, stray: int = 0) -> Call:
    """A blob, with a patch of `stray` x `stray` pixels far away that does not belong to it."""
    mask = blob(rng, h, w, radius)
    if stray:
        cy, cx = np.argwhere(mask).mean(0)
        r, c = (0 if cy > h / 2 else h - stray), (0 if cx > w / 2 else w - stray)
        mask[r : r + stray, c : c + stray] = True
    return (torch.from_numpy(mask),)


def four_by_two(rng: np.random.Generator, h: int, w: int) -> Call:
    """Two rows of four pixels, the last apart: the middle lies between pixels in both directions."""
    mask = torch.zeros(h, w, dtype=torch.bool)
    row = int(rng.integers(h - 2))
    mask[row : row + 2, [20, 21, 22, 31]] = True
    return (mask,)


def one_pixel(rng: np.random.Generator, h: int, w: int) -> Call:
    """A mask of a single pixel."""
    mask = torch.zeros(h, w, dtype=torch.bool)
    mask[int(rng.integers(h)), int(rng.integers(w))] = True
    return (mask,)


MASK_GAUSSIAN = Exercise(
    "lab1.mask_gaussian",
    cases=(
        Case("a lopsided object", lambda rng: [lopsided(rng, 48, 80, 12)],
             equals(gaussian_oracle, "centre or spread is wrong")),
        Case("a wrong patch far away", lambda rng: [lopsided(rng, 48, 80, 10, stray=6)],
             equals(gaussian_oracle, "a few wrong pixels must hardly move it: median and MAD")),
        Case("a single pixel", lambda rng: [one_pixel(rng, 96, 160)],
             equals(gaussian_oracle, "the spread is at least 5/480 of the height")),
        Case("an empty mask", lambda rng: [(torch.zeros(48, 80, dtype=torch.bool),)],
             equals(gaussian_oracle, "an empty mask has no middle: return zeros")),
        Case("two rows of four pixels", lambda rng: [four_by_two(rng, 40, 64)],
             equals(gaussian_oracle, "of an even number of values the median is the mean of the middle two")),
    ),
    hints=(
        "Take the coordinates of the object's pixels. Where is their middle, along y and along x, and how far is the "
        "middle one of them away from it? Each axis for itself.",
        "y, x = np.nonzero(mask); per axis m = np.median(v) and s = 1.4826 * np.median(abs(v - m)), but at least "
        "5/480 of the height. The factor makes s the standard deviation where the values are normal.",
        "exp(-((rows - my)**2 / (2 sy**2) + (columns - mx)**2 / (2 sx**2))) over the whole frame. Nothing to "
        "normalise: it is 1 in the middle. An empty mask gives zeros.",
    ),
    library="vos_teach.ops.modulate:mask_gaussian",
    suspects=(
        (_gauss(centre=np.mean, spread="std"), "mean and standard deviation follow every stray pixel: median and MAD"),
        (_gauss(spread="std"), "that spread is the standard deviation: take 1.4826 times the MAD"),
        (_gauss(centre=np.mean), "the centre is the mean: take the median, which a stray patch hardly moves"),
        (_gauss(factor=1.0), "the factor 1.4826 is missing: it makes the MAD comparable to a standard deviation"),
        (_gauss(floor="none"), "the floor is missing: the spread is at least 5/480 of the height"),
        (_gauss(floor="px"), "the floor is 5 pixels of 480p: here it is 5/480 of the height"),
        (_gauss(floor="w"), "the floor is a fraction of the height, not of the width"),
        (_gauss(swap=True), "x and y are swapped: np.nonzero gives rows (y) first, columns (x) second"),
        (_gauss(two=1.0), "the 2 is missing: exp(-d**2 / (2 s**2))"),
        (_gauss(square=1), "the spread is not squared: exp(-d**2 / (2 s**2))"),
        (_gauss(total=True), "it sums to 1: its PEAK is to be 1"),
        (_gauss(joint=True), "one spread for both axes: each axis has its own"),
        (_gauss(centre=lambda v: np.sort(v)[(len(v) - 1) // 2]),
         "of an even number of values the median is the mean of the middle two (torch.median takes the lower)"),
    ),
)

# ---- modulate -------------------------------------------------------------------------------------------------


def modulate_oracle(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Number by number: each channel times its own gamma, plus beta at that place."""
    c, h, w = features.shape[-3:]
    f, b, g = features.reshape(-1, c, h, w), beta.reshape(-1, c, h, w), gamma.reshape(-1, c)
    out = torch.zeros(f.shape, dtype=features.dtype)
    for n in range(len(f)):
        for k in range(c):
            for y in range(h):
                for x in range(w):
                    out[n, k, y, x] = g[n, k] * f[n, k, y, x] + b[n, k, y, x]
    return out.reshape(features.shape)


def modulate_with_gradient(features: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """The oracle's value, and the gradient of its sum for gamma: the sum of each channel's features."""
    return modulate_oracle(features, gamma.detach(), beta), features.sum(dim=(-2, -1))


def modulate_call(rng: np.random.Generator, *shape: int, start: bool = False) -> Call:
    """Features ...,C,H,W from 0 up (they come out of a ReLU), gamma ...,C, beta ...,C,H,W; `start`: 1 and 0."""
    features = np.maximum(rng.normal(0.3, 1, shape), 0)
    gamma = np.ones(shape[:-2]) if start else rng.normal(1, 1, shape[:-2])
    beta = np.zeros(shape) if start else rng.normal(0, 1, shape)
    return tuple(torch.tensor(v, dtype=torch.float32) for v in (features, gamma, beta))


MODULATE = Exercise(
    "lab1.modulate",
    cases=(
        Case("one image", lambda rng: [modulate_call(rng, 1, 4, 5, 6)],
             equals(modulate_oracle, "the value is wrong")),
        Case("two images, two objects", lambda rng: [modulate_call(rng, 2, 4, 5, 6)],
             equals(modulate_oracle, "each image has its own gamma and beta")),
        Case("as many channels as columns", lambda rng: [modulate_call(rng, 2, 6, 6, 6)],
             equals(modulate_oracle, "gamma belongs to the channels, not to rows or columns")),
        Case("gamma 1 and beta 0", lambda rng: [modulate_call(rng, 2, 4, 5, 6, start=True)],
             equals(modulate_oracle, "gamma 1 and beta 0 change nothing: so training starts")),
        Case("the gradient for gamma", lambda rng: [modulate_call(rng, 1, 4, 5, 6)],
             equals(modulate_with_gradient, "value or gradient is wrong"), grad=1),
    ),
    hints=(
        "One number per channel, and one map per channel. Which axes does gamma lack?",
        "gamma is ...,C and features are ...,C,H,W: gamma[..., None, None] is ...,C,1,1, and broadcasts over H, W.",
        "gamma[..., None, None] * features + beta. Nothing after it: what is modulated may be negative.",
    ),
    library="vos_teach.ops.modulate:modulate",
    suspects=(
        (lambda f, g, b: torch.relu(g[..., None, None] * f + b), "there is no ReLU after the modulation"),
        (lambda f, g, b: (1 + g)[..., None, None] * f + b, "gamma itself is the factor, not 1 + gamma"),
        (lambda f, g, b: g[..., None, None] * (f + b), "beta is added after the scaling, not before"),
        (lambda f, g, b: g[..., None, None] * f, "beta is missing"),
        (lambda f, g, b: g[..., None, :] * f + b if g.dim() == 1 else g[:, None, None, :] * f + b,
         "gamma was spread along the columns: it belongs to the channels, gamma[..., None, None]"),
        (lambda f, g, b: g[:1, :, None, None] * f + b, "the first image's gamma was used for all images"),
    ),
)

EXERCISES = (BALANCED_BCE, FINETUNE, ONLINE_TARGETS, MASK_GAUSSIAN, MODULATE)
