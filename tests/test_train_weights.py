"""Training resumes bit for bit; weights are safetensors or nothing."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from vos_teach import train, weights
from vos_teach.clip import VosError
from vos_teach.nn.recipe import Recipe


def recipe(steps=12):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def loss(step, rng):
        x = torch.from_numpy(rng.normal(size=(16, 4))).float()
        return ((net(x)[:, 0] - x.sum(1)) ** 2).mean()

    return Recipe(net, loss, [{"params": list(net.parameters()), "lr": 1e-2}], steps)


def test_a_broken_training_ends_in_the_same_bits(tmp_path):
    whole = train.fit(recipe(), tmp_path / "whole", every=4)
    train.fit(recipe(), tmp_path / "broken", every=4, stop_after=6)  # dies between checkpoints: step 4 is kept
    broken = train.fit(recipe(), tmp_path / "broken", every=4)
    assert whole.read_bytes() == broken.read_bytes()
    steps = [json.loads(line)["step"] for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12]


def test_another_seed_gives_other_weights(tmp_path):
    a, b = (weights.load(train.fit(recipe(), tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    assert any(not torch.equal(a[k], b[k]) for k in a)


def test_training_learns(tmp_path):
    train.fit(recipe(300), tmp_path, every=50)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]


def test_another_trainings_checkpoint_is_refused(tmp_path):
    train.fit(recipe(), tmp_path, seed=0)
    with pytest.raises(VosError, match="another training"):
        train.fit(recipe(), tmp_path, seed=1)


def test_divergence_is_said(tmp_path):
    bad = recipe()
    bad.loss = lambda step, rng: next(bad.model.parameters()).sum() * float("nan")
    with pytest.raises(VosError, match="diverged"):
        train.fit(bad, tmp_path)


def test_round_trip_in_half_precision(tmp_path):
    net = nn.Linear(3, 2)
    weights.save(net, tmp_path / "w.safetensors", {"seed": 0})
    other = nn.Linear(3, 2)
    weights.load_into(other, tmp_path / "w.safetensors")
    assert torch.equal(other.weight, net.weight.half().float())
    assert weights.metadata(tmp_path / "w.safetensors") == {"seed": "0"}
    assert not list(tmp_path.glob(".*")), "no temporary file is left"


@pytest.mark.parametrize("make", [
    lambda p: torch.save({"weight": torch.zeros(1)}, p),
    lambda p: p.write_bytes(pickle.dumps({"weight": np.zeros(1)})),
])
def test_a_pickle_is_refused_without_being_opened(tmp_path, make):
    path = tmp_path / "w.safetensors"
    make(path)
    with pytest.raises(VosError, match="pickle"):
        weights.load(path)


def test_truncated_and_foreign_weights(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(nn.Linear(3, 2), path)
    with pytest.raises(VosError, match="'weight' is"):
        weights.load_into(nn.Linear(4, 2), path)
    with pytest.raises(VosError, match="unknown tensor 'bias'"):
        weights.load_into(nn.Linear(3, 2, bias=False), path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(VosError, match="whole safetensors"):
        weights.load(path)
    with pytest.raises(VosError, match="neither a file"):
        weights.load("nothing")


def test_what_ships_is_small_and_has_a_card():
    files = sorted(weights.SHIPPED.glob("*.safetensors"))
    assert files, "no weights ship"
    for file in files:
        assert file.stat().st_size < 4e6
        card = file.with_suffix(".md")
        assert card.is_file(), f"{file.name} has no model card"
        for word in ("Data", "Terms", "Seed", "Command", "Scores"):
            assert word in card.read_text(encoding="utf-8"), f"{card.name} says nothing of: {word}"
