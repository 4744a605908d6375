"""Training resumes bit for bit; weights are safetensors or nothing."""

import inspect
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from disk import full_disk
from torch import nn

from vos_teach import registry, train, weights
from vos_teach.clip import Clip, VosError
from vos_teach.nn.recipe import Recipe


def recipe(steps=12, rate=1e-2, **about):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def loss(step, rng):
        x = torch.from_numpy(rng.normal(size=(16, 4))).float()
        return ((net(x)[:, 0] - x.sum(1)) ** 2).mean()

    return Recipe(net, loss, [{"params": list(net.parameters()), "lr": rate}], steps, about)


def breaking(at):
    """A training that dies at step `at`."""
    broken = recipe()
    whole = broken.loss
    broken.loss = lambda step, rng: whole(step, rng) if step < at else 1 / 0
    return broken


def test_a_broken_training_ends_in_the_same_bits(tmp_path):
    whole = train.fit(recipe(), tmp_path / "whole", every=4)
    with pytest.raises(ZeroDivisionError):
        train.fit(breaking(6), tmp_path / "broken", every=4)  # dies between checkpoints: step 4 is kept
    broken = train.fit(recipe(), tmp_path / "broken", every=4)
    assert whole.read_bytes() == broken.read_bytes()
    steps = [json.loads(line)["step"] for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12]


def test_a_training_that_is_stopped_goes_on_where_it_was(tmp_path):
    whole = train.fit(recipe(), tmp_path / "whole", every=4)
    assert train.fit(recipe(), tmp_path / "part", every=4, stop_after=6) is None
    assert not (tmp_path / "part" / "weights.safetensors").exists()
    later = breaking(7)
    with pytest.raises(ZeroDivisionError):  # so steps 0 to 5 were not done again: this one dies before the next save
        train.fit(later, tmp_path / "part", every=4)
    assert torch.load(tmp_path / "part" / "checkpoint.pt", weights_only=True)["step"] == 6
    assert train.fit(recipe(), tmp_path / "part", every=4).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("room", [0, 1000])
def test_a_full_disk_is_said_and_leaves_the_last_checkpoint(tmp_path, room):
    train.fit(recipe(), tmp_path / "run", every=4, stop_after=4)
    before = {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()}
    with full_disk(room), pytest.raises(VosError, match=r"cannot be written .*free some space"):
        train.fit(recipe(), tmp_path / "run", every=4)
    assert {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()} == before
    with full_disk(100), pytest.raises(VosError, match=r"w\.safetensors' cannot be written"):
        weights.save(nn.Linear(30, 20), tmp_path / "new" / "w.safetensors")
    assert not list((tmp_path / "new").iterdir())


def test_a_folder_that_cannot_be_written_is_said_before_any_step(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VosError, match=r"file/run.* cannot be written"):
        train.fit(breaking(0), tmp_path / "file" / "run")


def test_the_same_weights_are_the_same_bytes(tmp_path):
    net, about = nn.Linear(3, 2), {k: k for k in "fobra"}
    assert len({weights.save(net, tmp_path / "w", about) or (tmp_path / "w").read_bytes() for _ in range(9)}) == 1


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


@pytest.mark.parametrize("change", [{"rate": 1e-3}, {"batch": 8}, {"steps": 13}])
def test_another_recipes_checkpoint_is_refused(tmp_path, change):
    train.fit(recipe(batch=4), tmp_path)
    with pytest.raises(VosError, match=f"another training .*{next(iter(change))}"):
        train.fit(recipe(**{"batch": 4, **change}), tmp_path)


def test_another_data_sets_checkpoint_is_refused(tmp_path, monkeypatch):
    a = Clip("a", np.zeros((3, 4, 6, 3), np.uint8), np.ones((3, 4, 6), np.uint8), (1,), (4, 6))
    monkeypatch.setattr(train.registry, "resolve", lambda where: lambda sources, **options: recipe())
    read = {"here": [a], "there": [a]}
    monkeypatch.setattr(train.davis, "read", lambda where, *more: read[where])
    train.run("osvos", ["here"], tmp_path)
    train.run("osvos", ["there"], tmp_path)  # the same clips in another place
    for changed in (replace(a, name="b"), a.cut(0, 2), a.resize(2)):
        read["here"] = [changed]
        with pytest.raises(VosError, match=r"another training .*data"):
            train.run("osvos", ["here"], tmp_path)


@pytest.mark.parametrize("name", [n for n in registry.names() if registry.spec(n).train])
def test_every_registered_training_takes_what_the_command_gives_it(name):
    make = registry.resolve(registry.spec(name).train)
    inspect.signature(make).bind([], scale="small", device="cpu", steps=3)


@pytest.mark.parametrize("content", [{"weight": torch.zeros(1)}, [1, 2]])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(VosError, match="no whole checkpoint"):
        train.fit(recipe(), tmp_path)


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
    for read in (weights.load, weights.metadata):
        with pytest.raises(VosError, match="pickle"):
            read(path)


def test_truncated_and_foreign_weights(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(nn.Linear(3, 2), path)
    with pytest.raises(VosError, match="'weight' is"):
        weights.load_into(nn.Linear(4, 2), path)
    with pytest.raises(VosError, match="unknown tensor 'bias'"):
        weights.load_into(nn.Linear(3, 2, bias=False), path)
    path.write_bytes(path.read_bytes()[:-3])
    for read in (weights.load, weights.metadata):
        with pytest.raises(VosError, match="whole safetensors"):
            read(path)
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
