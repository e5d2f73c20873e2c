"""DenseNets for small images (Huang et al. 2017), without bottlenecks or compression."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .assembly import Norm, assemble


class DenseLayer(nn.Module):
    """Normalisation, ReLU and 3x3 convolution; the output is concatenated to the input."""

    def __init__(self, width: int, growth: int, norm: Norm) -> None:
        super().__init__()
        self.norm = norm(width)
        self.conv = nn.Conv2d(width, growth, 3, 1, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, width, H, W) to (N, width + growth, H, W)."""
        return torch.cat([maps, self.conv(F.relu(self.norm(maps)))], 1)


def densenet(depth: int, growth: int, norm: Norm) -> nn.Sequential:
    """DenseNet of depth 3n + 4: stem, three blocks of n layers, and 1x1 convolution and 2x2 mean pooling between them.

    Each pooling is a separate stage, so that the backbone can be split before and after it.
    """
    layers = (depth - 4) // 3
    width = 2 * growth
    stages: dict[str, nn.Module] = {"stem": nn.Conv2d(3, width, 3, 1, 1, bias=False)}
    for number in (1, 2, 3):
        parts: list[nn.Module] = []
        for _ in range(layers):
            parts.append(DenseLayer(width, growth, norm))
            width += growth
        if number < 3:
            parts += [norm(width), nn.ReLU(), nn.Conv2d(width, width, 1, bias=False)]
        stages[f"stage{number}"] = nn.Sequential(*parts)
        if number < 3:
            stages[f"pool{number}"] = nn.AvgPool2d(2)
    stages["pool"] = nn.Sequential(norm(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return assemble(stages, width)


BACKBONES = {"densenet40": partial(densenet, 40, 12)}
