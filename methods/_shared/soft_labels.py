"""Losses for class probabilities instead of labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def expected_loss(
    losses: Callable[[Tensor, Tensor], Tensor], logits: Tensor, probabilities: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean loss over all pairs of image and class, weighted by class probability times class weight; a scalar.

    For one-hot probabilities, it is the mean loss of the images with their labels, weighted by class.

    Args:
        losses: function of logits (M, C) and int64 labels (M,) that returns the loss of each image (M,).
        logits: (N, C).
        probabilities: class probabilities of each image (N, C).
        weights: class weights (C,); None for equal weights.
    """
    rows, classes = probabilities.shape
    labels = torch.arange(classes, device=logits.device).repeat(rows)
    each = losses(logits.repeat_interleave(classes, 0), labels).view(rows, classes)
    weight = probabilities if weights is None else probabilities * weights
    return (weight * each).sum() / weight.sum()


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image (N,) for logits (N, C) and labels int64 (N,)."""
    return F.cross_entropy(logits, labels, reduction="none")
