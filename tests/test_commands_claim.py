"""`vos-teach claim ...` of stage 5: what is asked for reaches the claims, and what they found is printed."""

import sys
from pathlib import Path

import pytest

from vos_teach import claims_memory, claims_objects
from vos_teach.cli import main
from vos_teach.data import choose, toy


@pytest.fixture
def asked(monkeypatch):
    """Claims that note what they are asked; clips of one, two and no objects... -> name -> (arguments, options)."""
    seen: dict = {}
    for module, name in ((claims_memory, "memory"), (claims_memory, "affinity"), (claims_objects, "identities"),
                         (claims_objects, "backbone")):
        monkeypatch.setattr(module, name, lambda *args, n=name, **options: seen.setdefault(n, (args, options)))
        monkeypatch.setattr(module, f"{name}_table", lambda found, n=name: f"the table of {n}")
    clips = [toy.clip(n, objects=n, distractors=0, name=f"{n}") for n in (1, 2)]
    monkeypatch.setattr(choose, "clips", lambda data, *_: (clips, data, "toy" if data == "toy" else "small"))
    monkeypatch.setattr(claims_objects, "crowd", lambda: "a crowd")
    return seen


def call(monkeypatch, capsys, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["vos-teach", "claim", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["memory", "affinity", "identities", "backbone"])
def test_a_claim_is_run_and_told(name, asked, monkeypatch, capsys, tmp_path):
    said = call(monkeypatch, capsys, name, "--out", str(tmp_path), "--height", "180")
    assert f"the table of {name}" in said and f"written: {tmp_path / name}.md" in said
    args, _ = asked[name]
    assert args[1:3] == (Path(tmp_path), 180)
    chosen = args[0] if isinstance(args[0], str) else [c.name for c in args[0]]
    assert chosen == {"memory": [], "affinity": ["1", "2"]}.get(name, "a crowd")


def test_memory_takes_clips_and_systems(asked, monkeypatch, capsys, tmp_path):
    call(monkeypatch, capsys, "memory", "--data", "davis", "--systems", "stcn,stm", "--out", str(tmp_path))
    args, _ = asked["memory"]
    assert [c.name for c in args[0]] == ["1", "2"] and args[2:] == (240, ["stcn", "stm"])


@pytest.mark.parametrize("name", ["identities", "backbone"])
def test_of_given_clips_the_one_with_the_most_objects(name, asked, monkeypatch, capsys, tmp_path):
    call(monkeypatch, capsys, name, "--data", "somewhere", "--out", str(tmp_path))
    assert asked[name][0][0].name == "2"
