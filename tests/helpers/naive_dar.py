"""Naive implementation of DAR-BN after the paper's listing, which indexes each group of rows with a mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NaiveDAR(nn.BatchNorm2d):
    """Batch norm of two groups of rows, for inputs with any number of dimensions.

    `mask` marks the noise rows, for all layers of all models; `grad` is the `noise_grad` of the layer under test.
    """

    mask: Tensor | None = None
    grad = "stop"

    def forward(self, input: Tensor) -> Tensor:
        mask = NaiveDAR.mask
        if mask is None or not self.training:
            return super().forward(input)
        out = torch.empty_like(input)
        if (~mask).any():
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            natural = F.batch_norm(
                input[~mask], self.running_mean, self.running_var, self.weight, self.bias, True, momentum, self.eps
            )
            out[~mask] = natural
        if mask.any():
            out[mask] = self.noise(input[mask])
        return out

    def noise(self, rows: Tensor) -> Tensor:
        if self.grad == "stop":
            rows = rows.detach()
        dims = [d for d in range(rows.dim()) if d != 1]
        shape = [1, -1, *[1] * (rows.dim() - 2)]
        mean = rows.mean(dims, keepdim=True)
        variance = ((rows - mean) ** 2).mean(dims, keepdim=True)
        weight, bias = self.weight, self.bias
        if self.grad != "full":
            weight, bias = weight.detach(), bias.detach()  # type: ignore[assignment]
        return (rows - mean) / torch.sqrt(variance + self.eps) * weight.view(shape) + bias.view(shape)


def masks(rows: int) -> list[Tensor]:
    """Masks of the noise rows: none, one, some, all but one, all."""
    position = torch.arange(rows)
    return [position < 0, position == 1, position % 3 == 0, position != 2, position >= 0]
