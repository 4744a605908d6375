"""Lab 1: how the fine-tuning loop is judged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vos_teach.lab.cases import Call, Case, Exercise, brief
from vos_teach.lab.exercises.lab1_common import _share, _weighted

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
