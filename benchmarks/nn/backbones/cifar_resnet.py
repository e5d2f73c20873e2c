"""ResNets for small images (He et al. 2016, section 4.2) with parameter-free shortcuts ("option A")."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .assembly import Norm, assemble


class Shortcut(nn.Module):
    """Parameter-free shortcut: takes every second row and column, and adds zero channels on both sides.

    A quarter of the new width is added on each side.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.quarter = width // 4

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, width / 2, H, W) to (N, width, H / 2, W / 2)."""
        return F.pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, self.quarter, self.quarter))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = norm(width)
        self.shortcut = nn.Identity() if stride == 1 else Shortcut(width)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, width_in, H, W) to (N, width, H / stride, W / stride)."""
        inner = F.relu(self.norm1(self.conv1(maps)), inplace=True)
        return F.relu(
            self.norm2(self.conv2(inner)).add_(self.shortcut(maps)), inplace=True
        )  # in-place operations save 4 % of a step on a CPU


def resnet(depth: int, width: int, norm: Norm) -> nn.Sequential:
    """ResNet of depth 6n + 2: stem, three stages of n blocks with 1, 2 and 4 times `width` channels, pooling."""
    blocks = (depth - 2) // 6
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), norm(width), nn.ReLU(inplace=True)),
    }
    width_in = width
    for number in (1, 2, 3):
        out = width * 2 ** (number - 1)
        strides = [1 if number == 1 else 2] + [1] * (blocks - 1)
        layers = []
        for stride in strides:
            layers.append(BasicBlock(width_in, out, stride, norm))
            width_in = out
        stages[f"stage{number}"] = nn.Sequential(*layers)
    stages["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return assemble(stages, width_in)


BACKBONES = {
    "resnet20": partial(resnet, 20, 16),
    "resnet32": partial(resnet, 32, 16),
    "resnet44": partial(resnet, 44, 16),
    "resnet56": partial(resnet, 56, 16),
    "resnet110": partial(resnet, 110, 16),
    "resnet8-narrow": partial(resnet, 8, 8),  # for the 8x8 digits
}
