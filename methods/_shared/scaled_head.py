"""A linear head whose logits are multiplied by one learnable scale per class (Kang et al. 2020, LWS)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...benchmarks.network import LinearHead


class ScaledHead(nn.Module):
    """Head with logits s_c (w_c . x + b_c); it takes over the weights w and biases b of a linear head.

    Args:
        head: linear head of C classes.

    Attributes:
        scale: trainable scales s of the classes (C,), initially 1, so that the logits are those of `head`.
    """

    def __init__(self, head: LinearHead) -> None:
        super().__init__()
        self.weight, self.bias = head.weight, head.bias
        self.scale = nn.Parameter(torch.ones_like(head.bias))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, width) to scaled logits (N, C)."""
        return self.scale * nn.functional.linear(features, self.weight, self.bias)

    @torch.no_grad()
    def fold(self) -> LinearHead:
        """A linear head with the same logits: weights s_c w_c and biases s_c b_c; both require gradients."""
        classes, width = self.weight.shape
        head = LinearHead(width, classes, device=self.weight.device, dtype=self.weight.dtype)
        head.weight.copy_(self.scale[:, None] * self.weight)
        head.bias.copy_(self.scale * self.bias)
        return head
