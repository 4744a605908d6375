"""The one training loop: AdamW (weight decay 1e-4), cosine schedule, checkpoints that resume bit for bit."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vos_teach import __version__, registry, weights
from vos_teach.clip import Clip, VosError
from vos_teach.data import davis, toy
from vos_teach.data.choose import davis_root
from vos_teach.data.png import write_bytes
from vos_teach.data.sample import Source
from vos_teach.nn.recipe import Recipe


def run(system: str, data: list[str], out: str | Path, steps: int | None = None, toy_share: float = 0.05,
        toy_clips: int = 200, scale: str = "small", seed: int = 0, device: str = "cpu",
        year: int | None = None) -> Path:
    """Train a registered system on training clips; returns the path of the weights.

    data: "toy", "davis" (the folder in VOS_TEACH_DAVIS) or DAVIS folders, of which only the training split is read.
    year: of DAVIS, 2016 or 2017, needed where both are there. Raises VosError for what cannot be trained.
    """
    spec = registry.spec(system)
    if spec.train is None:
        trained = ", ".join(n for n in registry.names() if registry.spec(n).train)
        raise VosError(f"system '{system}' has nothing to train; choose from: {trained}")
    registry.check_scale(scale)
    for name, value in (("--steps", steps), ("--toy-clips", toy_clips)):
        if value is not None and value < 1:
            raise VosError(f"{name} is {value}: it must be at least 1")
    if not 0 <= toy_share <= 1:
        raise VosError(f"--toy-share is {toy_share}: it must be from 0 to 1")
    real = {where: davis_root() if where == "davis" else where for where in data if where != "toy"}
    rest = 1 - toy_share if "toy" in data else 1.0
    sources = [
        Source(where, davis.read(root, year, "train", "present"), rest / len(real)) for where, root in real.items()
    ]
    if "toy" in data:
        sources.append(Source("toy", toy.training(toy_clips, seed=seed), toy_share if real else 1.0))
    options = {} if steps is None else {"steps": steps}
    registry.check_device(device)
    recipe = registry.resolve(spec.train)(sources, scale=scale, device=device, **options)
    about = {"system": system, "scale": scale, "clips": [len(source.clips) for source in sources],
             "shares": [round(source.share, 4) for source in sources], "version": __version__,
             "data": [_listing(source.clips) for source in sources]}
    return fit(recipe, out, seed, metadata=about)


def _listing(clips: Sequence[Clip]) -> str:
    """A hash of the clips' names, lengths, sizes and ids: enough to tell data sets apart, wherever they lie."""
    return hashlib.sha256(repr([(c.name, len(c), c.size, c.ids) for c in clips]).encode()).hexdigest()[:16]


def fit(recipe: Recipe, out: str | Path, seed: int = 0, every: int = 200, metadata: dict | None = None,
        stop_after: int | None = None) -> Path | None:
    """Train recipe.model; returns the path of the weights, `out`/weights.safetensors, or None if it stopped before.

    Every `every` steps `out`/checkpoint.pt is replaced whole; if it is there at the start, training goes on from
    it and ends in the same bits as an unbroken run (the batch of a step depends on seed and step alone).
    `out`/log.jsonl has a line for each. stop_after: leave after that many steps of this call, with a checkpoint (for
    time limits). Raises VosError if the checkpoint belongs to another training, if `out` cannot be written or is
    full, and if the loss is no longer a number.
    """
    out = Path(out)
    path, log = out / "checkpoint.pt", out / "log.jsonl"
    write_bytes(log, log.read_bytes() if log.exists() else b"")  # is the folder writable, before hours of work
    optimizer = torch.optim.AdamW(recipe.groups, weight_decay=1e-4)
    rates = [group["lr"] for group in optimizer.param_groups]
    key = {"seed": seed, "steps": recipe.steps, "rates": rates, **recipe.about, **(metadata or {})}
    key = {k: str(v) for k, v in key.items()}
    step, spent = 0, 0.0
    if path.exists():
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            theirs = dict(state["key"])
        except Exception:  # whatever it holds, it is none of ours
            raise VosError(f"'{path}' is no whole checkpoint: remove it, or choose another --out") from None
        if other := sorted(k for k in key.keys() | theirs.keys() if key.get(k) != theirs.get(k)):
            raise VosError(f"'{path}' belongs to another training (other {', '.join(other)}): "
                           "choose another --out or remove the file")
        recipe.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["seconds"]
    recipe.model.train()
    last = recipe.steps if stop_after is None else min(recipe.steps, step + stop_after)
    begin, losses = time.perf_counter() - spent, []
    bar = tqdm(total=recipe.steps, initial=step, desc="train", unit="step", mininterval=1)
    with bar:
        while step < last:
            warm = min(1.0, (step + 1) / 100)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
            loss = recipe.loss(step, np.random.default_rng([seed, step]))
            if not torch.isfinite(loss):
                raise VosError(f"training diverged: the loss at step {step} is {loss.item()}; lower the learning rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(recipe.model.parameters(), 5.0)
            optimizer.step()
            losses.append(loss.item())
            step += 1
            bar.update()
            if step % every == 0 or step == last:
                mean, losses = float(np.mean(losses)), []
                bar.set_postfix(loss=f"{mean:.4f}")
                seconds = time.perf_counter() - begin
                weights.checkpoint(path, key=key, step=step, seconds=seconds, model=recipe.model.state_dict(),
                                   optimizer=optimizer.state_dict())
                line = json.dumps({"step": step, "loss": mean, "seconds": round(seconds, 1)}) + "\n"
                write_bytes(log, log.read_bytes() + line.encode())
    if step < recipe.steps:
        return None
    weights.save(recipe.model, out / "weights.safetensors", key)
    return out / "weights.safetensors"
