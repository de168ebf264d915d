"""The residual trunk: torchvision's ResNet in layout and in the names of its state dict, so that weights of ImageNet fit.

The last layer (`fc`) is left out: what it would classify is the embedding here.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wheeltapper.schemas.errors import InputError

RESNET34_BLOCKS, RESNET34_WIDTHS = (3, 4, 6, 3), (64, 128, 256, 512)
# Mean and deviation of ImageNet's pixels over its three colours, for weights that were trained on them.
IMAGENET_MEAN, IMAGENET_SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, image: Tensor) -> Tensor:
        around = image if self.downsample is None else self.downsample(image)
        inner = torch.relu(self.bn1(self.conv1(image)))
        return torch.relu(self.bn2(self.conv2(inner)) + around)


class Trunk(nn.Module):
    """[N, inputs, H, W] -> [N, widths[-1], ceil(H / stride), ceil(W / stride)].

    Args:
        inputs: channels of the image.
        blocks, widths: of its layers, as many as there are.
    """

    def __init__(
        self, inputs: int = 3, blocks: Sequence[int] = RESNET34_BLOCKS, widths: Sequence[int] = RESNET34_WIDTHS
    ) -> None:
        super().__init__()
        self.inputs, self.depth, self.width = inputs, len(blocks), widths[-1]
        self.stride = 4 * 2 ** (len(blocks) - 1)
        self.conv1 = nn.Conv2d(inputs, widths[0], 7, 2, 3, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = widths[0]
        for number, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            first = BasicBlock(before, width, 1 if number == 1 else 2)
            layer = nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(count - 1)))
            self.add_module(f"layer{number}", layer)
            before = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        features = self.maxpool(torch.relu(self.bn1(self.conv1(image))))
        for number in range(1, self.depth + 1):
            features = self.get_submodule(f"layer{number}")(features)
        return cast(Tensor, features)

    def load_file(self, path: Path) -> str:
        """Take weights over from a file of torchvision's, e.g. 'resnet34-b627a593.pth'; `fc` is left out.

        An image of other than three channels gets the filters' sum over the colours, which sees grey as they did.

        Returns:
            The file's sha256, for the manifest.

        Raises:
            InputError: it cannot be read, or holds weights of another network.
        """
        try:
            # weights_only: a file of weights is data; nothing in it may run.
            found = torch.load(path, map_location="cpu", weights_only=True)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except Exception as error:  # torch raises unrelated types for a damaged file
            raise InputError(
                f"weights: {path} cannot be read ({type(error).__name__}); expected a state dict of torchvision's resnet34, "
                "saved by torch.save"
            ) from error
        own = self.state_dict()
        given = (
            {name: value for name, value in found.items() if not name.startswith("fc.")}
            if isinstance(found, dict)
            else {}
        )
        wrong = sorted(own.keys() - given.keys() - _counters(own)) + sorted(given.keys() - own.keys())
        if not wrong and self.inputs != given["conv1.weight"].shape[1]:
            given["conv1.weight"] = (
                given["conv1.weight"].sum(1, keepdim=True).repeat(1, self.inputs, 1, 1) / self.inputs
            )
        wrong = wrong or [name for name in given if given[name].shape != own[name].shape]
        if wrong:
            raise InputError(
                f"weights: {path} is not of this trunk: '{wrong[0]}' is missing, not known or of another shape; expected a "
                "state dict of torchvision's resnet34 and the setting trunk=resnet34"
            )
        self.load_state_dict({**own, **given})
        return digest


def _counters(state: dict[str, Tensor]) -> set[str]:
    """Names that old files do not have."""
    return {name for name in state if name.endswith("num_batches_tracked")}


def folded(trunk: Trunk) -> Trunk:
    """A copy for inference whose batch normalisations are part of the convolutions before them."""
    trunk = copy.deepcopy(trunk).eval()
    for module in list(trunk.modules()):
        if isinstance(module, (Trunk, BasicBlock)):
            _fold(module, "conv1", "bn1")
        if isinstance(module, BasicBlock):
            _fold(module, "conv2", "bn2")
            if module.downsample is not None:
                _fold(module.downsample, "0", "1")
    return trunk


def _fold(owner: nn.Module, convolution: str, norm: str) -> None:
    fused = fuse_conv_bn_eval(
        cast(nn.Conv2d, owner.get_submodule(convolution)), cast(nn.BatchNorm2d, owner.get_submodule(norm))
    )
    setattr(owner, convolution, fused)
    setattr(owner, norm, nn.Identity())
