"""Lab 1: how the fine-tuning loop is judged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vos_teach.lab.cases import Call, Case, Exercise, Said
from vos_teach.lab.exercises.lab1_beside import Tiny, finetune_collect, finetune_prepare, flat, pixel_loss

# A network and a loss cannot be sent as plain data: lab1_beside.py builds them beside the answer and notes what they
# meet. What it notes is only believed where it hangs together: the judges below compute losses and gradients anew.
STEPS = 12

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
_CHANGED = "the parent's own weights have changed, so the next object starts from this one: train a deep copy"


def of_each(look: Callable[[Call, dict], str | None]) -> Judge:
    """A judge that looks at each result by itself, once it is clear that a network came back."""

    def judge(calls: Sequence[Call], results: Sequence[Any]) -> str | None:
        for call, r in zip(calls, results, strict=True):
            if said := _no_network(call, r) or look(call, r):
                return said
        return None

    return judge


def _parent(call: Call) -> Tiny:
    return Tiny(call[0]["weights"], frozen=call[0].get("frozen", False))


def _no_network(call: Call, r: dict) -> str | None:
    if r["kind"]:
        return Said("return the fine-tuned network", f"not {r['kind']}")
    if r["weights"].shape != flat(_parent(call)).shape or not np.isfinite(r["weights"]).all():
        return Said("return the fine-tuned network: the one that came back is not built like the parent, or not finite")
    return None


def _named(call: Call, row: np.ndarray) -> dict[str, np.ndarray]:
    """A row of all weights, by their names."""
    state, at, out = _parent(call).state_dict(), 0, {}
    for name, value in state.items():
        out[name] = row[at : at + value.numel()].reshape(tuple(value.shape))
        at += value.numel()
    return out


def _network(call: Call, row: np.ndarray) -> Tiny:
    net = _parent(call)
    net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in _named(call, row).items()})
    return net


def leaves_parent(call: Call, r: dict) -> str | None:
    """The parent must be as new for the next object."""
    return Said(_CHANGED) if r["itself"] or not np.array_equal(r["parent"], flat(_parent(call))) else None


def counts_steps(call: Call, r: dict) -> str | None:
    """One update for each step, downhill and with fresh gradients."""
    steps, asked = len(r["images"]), call[3]
    if steps == 0 and asked > 0:
        return Said("the loss that is given was never asked during training: use `loss`, not one of your own")
    if steps != asked:
        return Said("take exactly as many steps as asked for: one loss and one update in each",
                    f"it was asked for {asked} steps and took {steps}")
    if r["stale"]:
        return Said("gradients of earlier steps are still there at backward(): call optimizer.zero_grad() in each step")
    moved = float(np.abs(r["weights"] - flat(_parent(call))).max())
    if (moved > 0) != (asked > 0):
        return Said("the weights have to move with the steps, and without any stay: is optimizer.step() in the loop?",
                    f"{asked} steps, moved by {moved:.3g}")
    return None


def follows_gradients(call: Call, r: dict) -> str | None:
    """What was noted is a training from the parent to the network that came back: gradients are taken anew here."""
    if not len(r["begins"]) == len(r["targets"]) == len(r["images"]):
        return Said("each step asks the loss once, of the network that is trained")
    rows = [*r["begins"], r["weights"]]
    if not np.allclose(rows[0], flat(_parent(call)), atol=1e-6):
        return Said("the first step does not start from the parent's weights")
    along = []
    for x, y, row, after in zip(r["images"], r["targets"], rows[:-1], rows[1:], strict=True):
        net = _network(call, row)
        pixel_loss(net(torch.from_numpy(x).float()), torch.from_numpy(y)).backward()
        slope, moved = zip(*((p.grad.numpy().ravel(), (_named(call, after)[name] - _named(call, row)[name]).ravel())
                             for name, p in net.named_parameters() if p.grad is not None), strict=True)
        slope, moved = np.concatenate(slope), np.concatenate(moved)
        along.append(-(slope @ moved) / max(1e-12, float(np.linalg.norm(slope) * np.linalg.norm(moved))))
    if along[0] < 0.1 or np.mean(along) < 0.05:  # Adam: 0.29 at worst; uphill: negative
        return Said("the weights do not move along the gradient of the loss on what the network is fed")
    return None


def keeps_norms(call: Call, r: dict) -> str | None:
    """BatchNorm's statistics come from ImageNet, not from one frame; the result is ready for use."""
    before, after = _named(call, flat(_parent(call))), _named(call, r["weights"])
    if r["norms"] or any(not np.array_equal(before[k], after[k]) for k in before if "running" in k):
        return Said("BatchNorm ran in training mode: the statistics of one frame replace those of a million; call "
                    "net.eval()")
    if r["training"]:
        return Said("the network that comes back is in training mode: hand it back ready for use, in evaluation mode")
    return None


def moves_together(call: Call, r: dict) -> str | None:
    """What goes into the network is augmented, in [0,1], and its target lies over it."""
    if not r["images"]:
        return Said("the loss that is given was never asked during training: use `loss`, not one of your own")
    images, targets = np.concatenate(r["images"]), np.concatenate(r["targets"])
    if images.max() > 1.001 or images.max() < 0.05:
        return Said("the network wants frames in [0, 1] (see to_tensors)", f"it is fed up to {images.max():.3g}")
    if not np.isin(targets, (0, 1)).all():
        return Said("targets other than 0 and 1 appear: a mask is resampled by nearest neighbour, or ids blend")
    red = images[:, 0] > 0.5
    overlap = np.mean([(a & b).sum() / max(1, (a | b).sum()) for a, b in zip(red, targets > 0, strict=True)])
    if overlap < 0.85:
        return Said("frame and mask are not augmented together: the target does not lie over the object",
                    f"overlap {overlap:.2f}")
    if np.ptp([image.mean() for image in images]) == 0 or len({image.tobytes() for image in images}) < len(images) / 2:
        return Said("the same picture is trained on again and again: augment anew in every step")
    return None


def learns(call: Call, r: dict) -> str | None:
    """The loss on the frame itself has to fall."""
    _, image, mask = call[:3]
    x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 255
    with torch.no_grad():
        before, after = (float(pixel_loss(net(x), torch.from_numpy(mask)[None]))
                         for net in (_parent(call), _network(call, r["weights"])))
    if not after < 0.9 * before:  # honest loops reach 0.72 at worst (50 draws), a step uphill 1.6
        return Said("the loss on frame 0 must fall clearly", f"it went from {before:.3f} to {after:.3f}")
    return None


def keeps_frozen(call: Call, r: dict) -> str | None:
    """A layer that the parent has frozen stays as it is."""
    before, after = _named(call, flat(_parent(call))), _named(call, r["weights"])
    if all(np.array_equal(before[k], after[k]) for k in before if "first" in k):
        return None
    return Said("a layer that the parent keeps frozen (requires_grad False) was trained")


def same_for_same_seed(calls: Sequence[Call], results: Sequence[dict]) -> str | None:
    """Calls: twice the same, another rng, and the first again with the first's own parent."""
    if said := next((said for c, r in zip(calls, results, strict=True) if (said := _no_network(c, r))), None):
        return said
    a, b, c, again = (r["weights"] for r in results)
    if not np.allclose(a, b, atol=1e-6):
        return Said("the same rng gave two different networks: draw every random number from the rng that is given")
    if np.allclose(a, c, atol=1e-6):
        return Said("another rng gave the very same network: draw the augmentation from the rng that is given")
    return None if np.allclose(a, again, atol=1e-6) else Said(_CHANGED)


def thrice(rng: np.random.Generator, **size: Any) -> list[Call]:
    """The same call twice, once with another seed, and the first with its parent, which is no longer new."""
    notes, *rest = finetune_call(rng, **size)
    kept = {**notes, "keep": int(rng.integers(1 << 40))}
    met = {**kept, "again": True}
    first, same, other, again = ((dict(n), *copy.deepcopy(rest)) for n in (kept, notes, notes, met))
    return [first, same, (*other[:4], other[4] + 1), again]


def finetune_case(name: str, judge: Judge, calls: Callable[[np.random.Generator], Sequence[Call]]) -> Case:
    """A case of `finetune`."""
    return Case(name, calls, judge, prepare=finetune_prepare, collect=finetune_collect)


def _one(rng: np.random.Generator) -> list[Call]:
    return [finetune_call(rng)]


FINETUNE = Exercise(
    "lab1.finetune",
    relatives=("vos_teach.online_learning.osvos:finetune", "vos_teach.nn.online:tune"),
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
