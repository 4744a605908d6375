"""The one training loop: Adam, cosine schedule, checkpoints that resume bit for bit."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vos_teach import __version__, registry, weights
from vos_teach.clip import VosError
from vos_teach.data import davis, toy
from vos_teach.data.sample import Source
from vos_teach.nn.recipe import Recipe


def run(system: str, data: list[str], out: str | Path, steps: int | None = None, toy_share: float = 0.15,
        toy_clips: int = 200, scale: str = "small", seed: int = 0, device: str = "cpu",
        year: int | None = None) -> Path:
    """Train a registered system on training clips; returns the path of the weights.

    data: "toy", "davis" (the folder in VOS_TEACH_DAVIS) or DAVIS folders, of which only the training split is read.
    year: of DAVIS, 2016 or 2017, needed where both are there.
    """
    spec = registry.spec(system)
    if spec.train is None:
        trained = ", ".join(n for n in registry.names() if registry.spec(n).train)
        raise VosError(f"system '{system}' has nothing to train; choose from: {trained}")
    real = [where for where in data if where != "toy"]
    sources = [
        Source(where, davis.read(folder(where), year, "train", "present"), (1 - toy_share) / len(real))
        for where in real
    ]
    if "toy" in data:
        sources.append(Source("toy", toy.training(toy_clips, seed=seed), toy_share if real else 1.0))
    options = {} if steps is None else {"steps": steps}
    registry.check_device(device)
    recipe = registry.resolve(spec.train)(sources, scale=scale, device=device, **options)
    about = {"system": system, "scale": scale, "clips": [len(source.clips) for source in sources],
             "shares": [round(source.share, 4) for source in sources], "version": __version__}
    return fit(recipe, out, seed, metadata=about)


def folder(where: str) -> str:
    """A data folder as given on the command line: 'davis' stands for the folder in VOS_TEACH_DAVIS."""
    if where != "davis":
        return where
    if not os.environ.get("VOS_TEACH_DAVIS"):
        raise VosError("'davis' means the folder in the environment variable VOS_TEACH_DAVIS, which is not set")
    return os.environ["VOS_TEACH_DAVIS"]


def fit(recipe: Recipe, out: str | Path, seed: int = 0, every: int = 200, metadata: dict | None = None,
        stop_after: int | None = None) -> Path:
    """Train recipe.model; returns the path of the weights, `out`/weights.safetensors.

    Every `every` steps `out`/checkpoint.pt is replaced whole; if it is there at the start, training goes on from
    it and ends in the same bits as an unbroken run (the batch of a step depends on seed and step alone).
    `out`/log.jsonl has a line per `every` steps. stop_after: leave after that many steps of this call (for tests
    and time limits). Raises VosError if the checkpoint belongs to another training.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(recipe.groups, weight_decay=1e-4)
    rates = [group["lr"] for group in optimizer.param_groups]
    key = {"seed": seed, "steps": recipe.steps, **{k: str(v) for k, v in (metadata or {}).items()}}
    step, spent, path = 0, 0.0, out / "checkpoint.pt"
    if path.exists():
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # whatever it holds, it is none of ours
            raise VosError(f"'{path}' is no whole checkpoint: remove it, or choose another --out") from None
        if state["key"] != key:
            raise VosError(f"'{path}' belongs to another training ({state['key']}, not {key}); "
                           f"choose another --out or remove the file")
        recipe.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["seconds"]
    recipe.model.train()
    first, begin, losses = step, time.perf_counter() - spent, []
    bar = tqdm(total=recipe.steps, initial=step, desc="train", unit="step", mininterval=1)
    with bar:
        while step < recipe.steps and (stop_after is None or step - first < stop_after):
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
            if step % every == 0 or step == recipe.steps:
                mean, losses = float(np.mean(losses)), []
                bar.set_postfix(loss=f"{mean:.4f}")
                seconds = time.perf_counter() - begin
                weights.checkpoint(path, key=key, step=step, seconds=seconds, model=recipe.model.state_dict(),
                                   optimizer=optimizer.state_dict())
                with (out / "log.jsonl").open("a") as log:
                    log.write(json.dumps({"step": step, "loss": mean, "seconds": round(seconds, 1)}) + "\n")
    if step == recipe.steps:
        weights.save(recipe.model, out / "weights.safetensors", key)
    return out / "weights.safetensors"
