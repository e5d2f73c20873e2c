"""Mixing of the images of a batch (Zhang et al. 2018, mixup): mixing weight, partners, mixed batch and its loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...benchmarks.method import Batch, Now


def draw_mixing(batch: Batch, alpha: float, now: Now) -> tuple[Tensor, Tensor]:
    """Draw the weight and the partners for mixing a batch: weight * image + (1 - weight) * image of the partner.

    Args:
        batch: batch of N images.
        alpha: parameter of the distribution of the weight, see `beta_variate`.
        now: moment of training, which provides the random generator.

    Returns:
        The weight of all images, float (), and the row of each image's partner, int64 (N,), a permutation.
    """
    uniform = torch.rand(2, dtype=torch.float64, generator=now.generator, device=batch.images.device)
    order = torch.rand(len(batch.images), generator=now.generator, device=batch.images.device).argsort()
    return beta_variate(uniform[0], uniform[1], alpha).to(batch.images.dtype), order


def beta_variate(radial: Tensor, angular: Tensor, alpha: float) -> Tensor:
    """Map uniform numbers in [0, 1), float64, to numbers with the distribution Beta(alpha, alpha).

    sqrt(2 alpha) t with t = sqrt(u^(-1 / alpha) - 1) cos(2 pi v) has Student's t distribution with 2 alpha degrees of
    freedom (Bailey 1994), and (1 + t / sqrt(1 + t^2)) / 2 then has the distribution Beta(alpha, alpha). This method
    rejects no samples, so it needs no branch and suits a CUDA graph; arc tangent and sine avoid an overflow for small
    alpha.

    Args:
        radial: 1 - u.
        angular: v.
        alpha: parameter of the distribution, >= 0; 0 gives ones, so that nothing is mixed.
    """
    if alpha == 0:
        return torch.ones_like(radial)
    radius = torch.expm1(-torch.log1p(-radial) / alpha).sqrt()
    return (1 + torch.sin(torch.atan(radius * torch.cos(2 * math.pi * angular)))) / 2


def mix(batch: Batch, weight: Tensor, order: Tensor) -> Batch:
    """Batch of mixed images with both labels and the weight of the first one.

    Args:
        batch: batch of N images.
        weight: weight of the images, ().
        order: row of each image's partner, int64 (N,).
    """
    images = torch.lerp(batch.images[order], batch.images, weight)  # exactly the images if the weight is 1
    return batch._replace(images=images, second_labels=batch.labels[order], weight=weight.expand(len(order)))


def mixed_loss(criterion: Callable[[Tensor, Tensor, Now], Tensor], logits: Tensor, batch: Batch, now: Now) -> Tensor:
    """Loss w L(z, y) + (1 - w) L(z, y') with the same weight w for all rows of a batch.

    Args:
        criterion: loss L of logits (N, C) and labels (N,).
        logits: z (N, C).
        batch: mixed batch with labels y, second labels y' and weight w.
        now: moment of the current step.
    """
    assert batch.second_labels is not None
    assert batch.weight is not None
    weight = batch.weight[0]
    return weight * criterion(logits, batch.labels, now) + (1 - weight) * criterion(logits, batch.second_labels, now)
