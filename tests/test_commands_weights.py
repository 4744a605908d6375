"""`vos-teach weights import`: what is said of the authors' file, and how it ends."""

import sys

import pytest
import torch

from vos_teach import commands_weights as C
from vos_teach import weights
from vos_teach.cli import main
from vos_teach.transformers import released, stcn, stm

TINY = stm.Config("tiny", "tiny", 8, 8, 8, 3, (8, 8, 8), None)
STEMS = {"stm": ("Encoder_Q", "Encoder_M"), "stcn": ("key_encoder", "value_encoder")}


def call(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """The command, in this process: its status, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["vos-teach", "weights", *words])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code or 0, *capsys.readouterr()


@pytest.fixture(params=["stm", "stcn"])
def small(request, tmp_path, monkeypatch):
    """(system, its state under the authors' names, a function that saves a state): at a size that takes no time."""
    system, module = request.param, {"stm": stm, "stcn": stcn}[request.param]
    monkeypatch.setitem(module.SCALES, "paper", TINY)
    made = module.new_network

    def new_network(*args, **options):
        net = made(*args, **options)
        net.writer.masks = torch.nn.Conv2d(2, 8, 3, 2, 1, bias=False)  # as large as the frame's filters, as in a ResNet
        return net

    monkeypatch.setattr(module, "new_network", new_network)
    own = [(f"{part}.stages.1.0", f"{stem}.res2.0")  # no pooling stands before it, unlike in a ResNet
           for part, stem in zip(("encoder", "writer.trunk"), STEMS[system], strict=True)]
    monkeypatch.setitem(released.PREFIXES, system, [*own, *released.PREFIXES[system]])
    state = {}
    for name, value in module.new_network(TINY, False).state_dict().items():
        theirs = "masks" if name == "writer.masks.weight" else released.renamed(system, name)
        assert theirs is not None, name
        state[theirs] = torch.rand_like(value)
    masks = state.pop("masks")
    if system == "stm":
        state |= {f"Encoder_M.conv1_{x}.weight": masks[:, i : i + 1].clone() for i, x in enumerate("mo")}
    else:
        state["value_encoder.conv1.weight"] = torch.cat([state["value_encoder.conv1.weight"], masks], 1)

    def save(content, name="authors.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return system, state, save


def test_a_whole_file_is_written_and_can_be_loaded(small, monkeypatch, capsys, tmp_path):
    system, state, save = small
    file = save(state)
    code, said, error = call(monkeypatch, capsys, "import", system, str(file))
    assert (code, error) == (0, "")
    out = tmp_path / "authors.safetensors"
    assert f"written to {out}" in said and f"vos-teach bench {system} --scale paper --weights {out}" in said
    build = {"stm": stm.stm, "stcn": stcn.stcn}[system]
    net = build(scale="paper", weights=str(out)).net
    key = {"stm": "KV_Q_r4.Key.weight", "stcn": "key_proj.key_proj.weight"}[system]
    assert torch.allclose(net.query_key.weight, state[key], atol=1e-3)
    code, _, _ = call(monkeypatch, capsys, "import", system, str(file), "--out", str(tmp_path / "x" / "w.safetensors"))
    assert code == 0 and (tmp_path / "x" / "w.safetensors").read_bytes() == out.read_bytes()
    assert weights.metadata(out)["source"] == "authors.pth"


def test_what_is_missing_or_does_not_fit_is_named_and_nothing_is_written(small, monkeypatch, capsys, tmp_path):
    system, state, save = small
    score = {"stm": "Decoder.pred2", "stcn": "decoder.pred"}[system]
    key = {"stm": "KV_Q_r4.Key", "stcn": "key_proj.key_proj"}[system]
    del state[f"{score}.bias"]
    state[f"{key}.weight"] = state[f"{key}.weight"][:5]
    code, said, error = call(monkeypatch, capsys, "import", system, str(save(state)))
    assert code == 2 and not list(tmp_path.glob("*.safetensors"))
    assert f"missing in the file: {score}.bias (ours: decoder.score.bias)" in said
    assert f"does not fit: query_key.weight is (8, 24, 3, 3), the file's {key}.weight is (5, 24, 3, 3)" in said
    assert "NOT written" in said and "use it" not in said
    assert error.count("\n") == 1 and "1 tensors" in error and "1 do not fit" in error and C.FETCH[system] in error


def test_what_has_no_place_here_is_no_success(small, monkeypatch, capsys, tmp_path):
    system, state, save = small
    state.update({f"extra.{i}.weight": torch.zeros(2) for i in range(20)})
    file = save(state)
    code, said, error = call(monkeypatch, capsys, "import", system, str(file))
    assert code == 2 and "20 tensors" in error and "not all of the authors' network" in error
    assert (tmp_path / "authors.safetensors").is_file() and "use it" not in said
    assert said.count("not used: extra.") == C.MANY and "not used: ... 8 more" in said
    _, said, _ = call(monkeypatch, capsys, "import", system, str(file), "--all")
    assert said.count("not used: extra.") == 20 and "more" not in said


@pytest.mark.parametrize("system", C.FETCH)
def test_a_file_that_is_not_there_is_said_to_be_fetched_from_its_authors(system, monkeypatch, capsys, tmp_path):
    code, said, error = call(monkeypatch, capsys, "import", system, str(tmp_path / "none.pth"))
    assert code == 2 and said == "" and C.FETCH[system] in error and "https://github.com/" in error
    assert C.FETCH.keys() == released.PREFIXES.keys()


def test_what_cannot_be_imported_is_told_in_a_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "text.pth").write_text("weights")
    for words, why in ((("aot", "text.pth"), "choose from: stm, stcn"), (("stm", "text.pth"), "is no state dict"),
                       (("stm", "text.pth", "--out", str(tmp_path / "text.pth")), "choose another --out")):
        code, _, error = call(monkeypatch, capsys, "import", words[0], str(tmp_path / words[1]), *words[2:])
        assert code == 2 and why in error and error.count("\n") == 1
    assert (tmp_path / "text.pth").read_text() == "weights"


def test_reports_are_shortened_by_kind():
    report = "head: 3\n  a: 1\n  a: 2\n  a: 3\n  b: 1\n  written to x"
    assert C.shortened(report, None) == report
    assert C.shortened(report, 2).splitlines() == ["head: 3", "  a: 1", "  a: 2", "  a: ... 1 more, --all names them",
                                                   "  b: 1", "  written to x"]
