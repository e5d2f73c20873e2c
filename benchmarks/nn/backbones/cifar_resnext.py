"""ResNeXts for small images (Xie et al. 2017, section 5.3): bottlenecks with grouped convolutions."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .assembly import Norm, assemble


class Bottleneck(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions with a shortcut, which is a 1x1 convolution if the width changes."""

    def __init__(self, width_in: int, inner: int, width: int, stride: int, groups: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, inner, 1, bias=False)
        self.norm1 = norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.norm2 = norm(inner)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False)
        self.norm3 = norm(width)
        self.shortcut: nn.Module = nn.Identity()
        if width_in != width:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), norm(width))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, width_in, H, W) to (N, width, H / stride, W / stride)."""
        inner = F.relu(self.norm1(self.conv1(maps)), inplace=True)
        inner = F.relu(self.norm2(self.conv2(inner)), inplace=True)
        return F.relu(self.norm3(self.conv3(inner)).add_(self.shortcut(maps)), inplace=True)


def resnext(depth: int, groups: int, group_width: int, norm: Norm) -> nn.Sequential:
    """ResNeXt of depth 9n + 2: stem, three stages of n blocks with 256, 512 and 1024 channels, pooling."""
    blocks = (depth - 2) // 9
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), norm(64), nn.ReLU(inplace=True)),
    }
    width = 64
    for number in (1, 2, 3):
        factor = 2 ** (number - 1)
        layers = []
        for block in range(blocks):
            stride = 2 if number > 1 and block == 0 else 1
            layers.append(Bottleneck(width, groups * group_width * factor, 256 * factor, stride, groups, norm))
            width = 256 * factor
        stages[f"stage{number}"] = nn.Sequential(*layers)
    stages["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return assemble(stages, width)


BACKBONES = {"resnext29-8x64d": partial(resnext, 29, 8, 64)}
