"""The authors' weights in our networks: names and shapes as released, made up of random numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision

from vos_teach import weights
from vos_teach.clip import VosError
from vos_teach.transformers import released as R
from vos_teach.transformers import stcn, stm


def conv(state, name, inputs, outputs, kernel=3, bias=True):
    state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) / math.sqrt(inputs * kernel**2)
    if bias:
        state[f"{name}.bias"] = torch.randn(outputs) / 10


def block(state, name, inputs, outputs):
    conv(state, f"{name}.conv1", inputs, outputs)
    conv(state, f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        conv(state, f"{name}.downsample", inputs, outputs)


def resnet(state, name, kind, layers, channels=3, biases=False):
    """A torchvision ResNet without its last stage and head, under the authors' names."""
    for key, value in getattr(torchvision.models, kind)(weights=None).state_dict().items():
        part, _, rest = key.partition(".")
        if part in ("fc", "layer4"):
            continue
        part = dict(zip(("layer1", "layer2", "layer3"), layers, strict=True)).get(part, part)
        if key == "conv1.weight":
            value = torch.randn(64, channels, 7, 7) / 12
        elif key.endswith("running_mean"):
            value = torch.randn_like(value) / 10
        state[f"{name}.{part}.{rest}"] = value
        if biases and value.ndim == 4:
            state[f"{name}.{part}.{rest.removesuffix('weight')}bias"] = torch.randn(len(value)) / 10


def stm_state():
    state = {}
    for name in ("Encoder_M", "Encoder_Q"):
        resnet(state, name, "resnet50", ("res2", "res3", "res4"))
        state[f"{name}.mean"], state[f"{name}.std"] = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    for name in ("conv1_m", "conv1_o"):
        conv(state, f"Encoder_M.{name}", 1, 64, 7, bias=False)
    for name in ("KV_M_r4", "KV_Q_r4"):
        conv(state, f"{name}.Key", 1024, 128)
        conv(state, f"{name}.Value", 1024, 512)
    conv(state, "Decoder.convFM", 1024, 256)
    block(state, "Decoder.ResMM", 256, 256)
    for name, skip in (("RF3", 512), ("RF2", 256)):
        conv(state, f"Decoder.{name}.convFS", skip, 256)
        block(state, f"Decoder.{name}.ResFS", 256, 256)
        block(state, f"Decoder.{name}.ResMM", 256, 256)
    conv(state, "Decoder.pred2", 256, 2)
    return state


def stcn_state(channels=5):
    state = {}
    resnet(state, "key_encoder", "resnet50", ("res2", "layer2", "layer3"))
    resnet(state, "value_encoder", "resnet18", ("layer1", "layer2", "layer3"), channels, biases=True)
    block(state, "value_encoder.fuser.block1", 1024 + 256, 512)
    block(state, "value_encoder.fuser.block2", 512, 512)
    gate = "value_encoder.fuser.attention"
    for name, inputs, outputs in (("1", 512, 32), ("3", 32, 512)):
        state[f"{gate}.ChannelGate.mlp.{name}.weight"] = torch.randn(outputs, inputs) / math.sqrt(inputs)
        state[f"{gate}.ChannelGate.mlp.{name}.bias"] = torch.randn(outputs) / 10
    conv(state, f"{gate}.SpatialGate.spatial.conv", 2, 1, 7)
    conv(state, "key_proj.key_proj", 1024, 64)
    conv(state, "key_comp", 1024, 512)
    block(state, "decoder.compress", 1024, 512)
    for name, skip, up, out in (("up_16_8", 512, 512, 256), ("up_8_4", 256, 256, 256)):
        conv(state, f"decoder.{name}.skip_conv", skip, up)
        block(state, f"decoder.{name}.out_conv", up, out)
    conv(state, "decoder.pred", 256, 1)
    return state


STATES = {"stm": stm_state, "stcn": stcn_state}
COUNTED = ("weight", "bias")


def network(system):
    module = stm if system == "stm" else stcn
    return module.new_network(module.SCALES["paper"], False).eval()


@pytest.fixture(scope="module", params=["stm", "stcn"])
def filled(request):
    torch.manual_seed(1)
    state, net = STATES[request.param](), network(request.param)
    return request.param, state, net, R.fill(net, request.param, dict(state))


def test_everything_fits_and_the_numbers_agree(filled):
    """As many parameters as the papers' networks, batch normalisation's included; nothing is left on either side."""
    _, state, net, report = filled
    assert report.complete and not report.missing and not report.misfits and not report.unused, str(report)
    theirs = sum(v.numel() for k, v in state.items() if k.rpartition(".")[2] in COUNTED)
    assert sum(p.numel() for p in net.parameters()) == theirs
    own = net.state_dict()
    used = sum(v.numel() for k, v in own.items() if not k.endswith("num_batches_tracked"))
    assert report.numbers == used


def test_the_first_convolution_of_the_memory_is_theirs(filled):
    """Frame and masks through one convolution of theirs (or three), padding included."""
    system, state, net, _ = filled
    frame, masks = torch.rand(1, 3, 64, 96), torch.rand(2, 2, 64, 96)
    normal = (frame - net.encoder.mean) / net.encoder.std
    with torch.no_grad():
        ours = net.writer.before(frame)[torch.tensor([0, 0])] + net.writer.masks(masks)
        if system == "stm":
            e = "Encoder_M"
            theirs = sum(F.conv2d(x, state[f"{e}.{name}.weight"], stride=2, padding=3) for x, name in (
                (normal.expand(2, -1, -1, -1), "conv1"), (masks[:, :1], "conv1_m"), (masks[:, 1:], "conv1_o")))
        else:
            e = "value_encoder.conv1"
            theirs = F.conv2d(torch.cat([normal.expand(2, -1, -1, -1), masks], 1), state[f"{e}.weight"],
                              state[f"{e}.bias"], stride=2, padding=3)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_the_fusion_of_values_is_theirs(filled):
    """STCN's: a block, a gate of channels and of places beside it, a block; step by step from their names."""
    system, state, net, _ = filled
    if system == "stm":
        assert not hasattr(net, "fuse")
        return
    f = "value_encoder.fuser"

    def block_of(name, x):
        def at(which, y):
            return F.conv2d(y, state[f"{f}.{name}.{which}.weight"], state[f"{f}.{name}.{which}.bias"], padding=1)

        straight = at("downsample", x) if f"{f}.{name}.downsample.weight" in state else x
        return straight + at("conv2", F.relu(at("conv1", F.relu(x))))

    x = torch.randn(2, 1024 + 256, 3, 5)
    y = block_of("block1", x)
    gates = torch.zeros(2, 512)
    for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        hidden = F.relu(F.linear(pool(y, 1).flatten(1), state[f"{f}.attention.ChannelGate.mlp.1.weight"],
                                 state[f"{f}.attention.ChannelGate.mlp.1.bias"]))
        gates += F.linear(hidden, state[f"{f}.attention.ChannelGate.mlp.3.weight"],
                          state[f"{f}.attention.ChannelGate.mlp.3.bias"])
    z = y * torch.sigmoid(gates).view(2, 512, 1, 1)
    two = torch.stack([z.max(1).values, z.mean(1)], 1)
    spatial = f"{f}.attention.SpatialGate.spatial.conv"
    z = z * torch.sigmoid(F.conv2d(two, state[f"{spatial}.weight"], state[f"{spatial}.bias"], padding=3))
    with torch.no_grad():
        assert torch.allclose(net.fuse(x), block_of("block2", y + z), atol=1e-3)


def test_the_decoder_is_theirs(filled):
    """Step by step from their names."""
    system, state, net, _ = filled
    f8, f4 = torch.randn(1, 512, 8, 12), torch.randn(1, 256, 16, 24)
    read, value = torch.randn(1, 512, 4, 6), torch.randn(1, 512, 4, 6)

    def at(name, x):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def residual(name, x):
        straight = at(f"{name}.downsample", x) if f"{name}.downsample.weight" in state else x
        return straight + at(f"{name}.conv2", F.relu(at(f"{name}.conv1", F.relu(x))))

    def up(x, by=2):
        return F.interpolate(x, scale_factor=by, mode="bilinear", align_corners=False)

    x = torch.cat([read, value], 1)
    if system == "stm":
        x = residual("Decoder.ResMM", at("Decoder.convFM", x))
        for name, skip in (("RF3", f8), ("RF2", f4)):
            side = residual(f"Decoder.{name}.ResFS", at(f"Decoder.{name}.convFS", skip))
            x = residual(f"Decoder.{name}.ResMM", side + up(x))
        logit = torch.log(torch.softmax(up(at("Decoder.pred2", F.relu(x)), 4), 1)[:, 1].clamp(1e-30))
        logit = torch.sigmoid(logit - torch.log1p(-logit.exp().clamp(max=1 - 1e-7)))
    else:
        x = residual("decoder.compress", x)
        for name, skip in (("up_16_8", f8), ("up_8_4", f4)):
            x = residual(f"decoder.{name}.out_conv", at(f"decoder.{name}.skip_conv", skip) + up(x))
        logit = torch.sigmoid(up(at("decoder.pred", F.relu(x)), 4)[:, 0])
    with torch.no_grad():
        ours = torch.sigmoid(net.decoder(read, value, [torch.zeros(1, 64, 32, 48), f4, f8], torch.tensor([0])))
    assert torch.allclose(ours, logit, atol=1e-4) and ours.std() > 0.01


def test_a_network_of_the_papers_size_runs(filled):
    system, _, net, _ = filled
    segmenter = (stm.STM if system == "stm" else stcn.STCN)(net)
    frame, masks = torch.rand(3, 64, 96), torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, :30, :30], masks[1, 40:, 40:] = True, True
    segmenter.start(frame, masks)
    entry = segmenter.bank.entries[0]
    assert entry.value.shape == (2, 512, 4, 6)
    assert entry.key.shape == ((2, 128, 4, 6) if system == "stm" else (64, 4, 6))
    assert segmenter.step(frame).shape == (3, 64, 96)


def test_all_that_does_not_fit_is_named():
    state = stcn_state()
    del state["key_comp.bias"], state["value_encoder.layer2.0.bn1.running_mean"]
    state["key_proj.key_proj.weight"] = torch.zeros(128, 1024, 3, 3)
    state["head.weight"] = torch.zeros(3)
    net = network("stcn")
    report = R.fill(net, "stcn", state)
    assert not report.complete
    norm = "2.0.bn1.running_mean"
    assert sorted(report.missing) == ["key_comp.bias (ours: query_value.bias)",
                                      f"value_encoder.layer{norm} (ours: writer.trunk.stages.{norm})"]
    assert report.misfits == [("query_key.weight", (64, 1024, 3, 3), "key_proj.key_proj.weight", (128, 1024, 3, 3))]
    assert report.unused == ["head.weight"]
    text = str(report)
    assert all(word in text for word in ("key_comp.bias", "bn1.running_mean", "(128, 1024, 3, 3)", "head.weight",
                                         "NOT written"))


def test_weights_that_know_one_object_get_an_empty_channel():
    net, state = network("stcn"), stcn_state(channels=4)
    report = R.fill(net, "stcn", {f"module.{k}": v for k, v in state.items()})
    assert report.complete and any("one object only" in text for text in report.changed)
    assert torch.equal(net.writer.masks.weight[:, :1], state["value_encoder.conv1.weight"][:, 3:])
    assert not net.writer.masks.weight[:, 1].any()


@pytest.mark.slow
def test_a_file_is_imported_and_can_be_used(tmp_path):
    state = stcn_state()
    torch.save(state, tmp_path / "stcn.pth")
    report = R.import_released("stcn", tmp_path / "stcn.pth", tmp_path / "out.safetensors")
    assert report.out == str(tmp_path / "out.safetensors") and "written to" in str(report)
    system = stcn.stcn(scale="paper", weights=report.out)
    assert torch.allclose(system.net.query_key.weight, state["key_proj.key_proj.weight"], atol=1e-3)
    assert system.limit is None, "the authors' memory has no bound"
    assert weights.metadata(report.out)["system"] == "stcn"
    del state["decoder.pred.bias"]
    torch.save({"network": state, "it": 3}, tmp_path / "cut.pth")
    report = R.import_released("stcn", tmp_path / "cut.pth", tmp_path / "no.safetensors")
    assert report.out is None and not (tmp_path / "no.safetensors").exists()
    assert report.missing == ["decoder.pred.bias (ours: decoder.score.bias)"]


def test_what_is_no_state_dict_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_text("weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, why in (("evil", "more than tensors"), ("text", "no state dict"), ("list", "no table of tensors"),
                      ("none", "fetch the authors' weights first")):
        with pytest.raises(VosError, match=why):
            R.import_released("stm", tmp_path / f"{name}.pth", tmp_path / "out")
    with pytest.raises(VosError, match="choose from: stm, stcn"):
        R.import_released("aot", tmp_path / "text.pth", tmp_path / "out")
