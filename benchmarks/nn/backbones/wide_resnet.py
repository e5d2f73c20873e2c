"""Wide residual networks (Zagoruyko and Komodakis 2016): pre-activation blocks."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .assembly import Norm, assemble


class WideBlock(nn.Module):
    """Two layers of normalisation, ReLU and 3x3 convolution with a shortcut; optional dropout before the second one.

    If the width changes, the shortcut is a 1x1 convolution that starts after the first ReLU.
    """

    def __init__(self, width_in: int, width: int, stride: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.norm1 = norm(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm2 = norm(width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if width_in != width else None

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, width_in, H, W) to (N, width, H / stride, W / stride)."""
        active = F.relu(self.norm1(maps))
        inner: Tensor = self.conv2(self.dropout(F.relu(self.norm2(self.conv1(active)))))
        shortcut: Tensor = maps if self.shortcut is None else self.shortcut(active)
        return inner + shortcut


def wide_resnet(depth: int, factor: int, dropout: float, norm: Norm) -> nn.Sequential:
    """Wide ResNet of depth 6n + 4: stem, three stages of n blocks with (16, 32, 64) * `factor` channels, pooling."""
    blocks = (depth - 4) // 6
    stages: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 16, 3, 1, 1, bias=False)}
    width = 16
    for number in (1, 2, 3):
        out = 16 * factor * 2 ** (number - 1)
        layers = []
        for block in range(blocks):
            layers.append(WideBlock(width, out, 2 if number > 1 and block == 0 else 1, norm, dropout))
            width = out
        stages[f"stage{number}"] = nn.Sequential(*layers)
    stages["pool"] = nn.Sequential(norm(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return assemble(stages, width)


BACKBONES = {
    "wrn-28-10": partial(wide_resnet, 28, 10, 0.0),
    "wrn-28-10-dropout": partial(wide_resnet, 28, 10, 0.3),
    "wrn-16-2": partial(wide_resnet, 16, 2, 0.0),
}
