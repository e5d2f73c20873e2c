"""Operations on the rows of a batch: categorical draws, number of slots, memory format, appending of rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...benchmarks.method import Batch


def draw_columns(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Sample a column for each row by inverting the cumulative distribution; int64 (N,).

    Unlike torch.multinomial, this does not synchronise with the device.

    Args:
        probabilities: (N, M), rows that sum to 1; a row of zeros gives an arbitrary column.
        uniform: random numbers (N,) in [0, 1).
    """
    # Scaled by the total: a sum below 1 by rounding must not give a column of probability 0.
    cumulated = probabilities.double().cumsum(1)
    reached = (cumulated <= uniform.double()[:, None] * cumulated[:, -1:]).sum(1)
    return reached.clamp(max=probabilities.shape[1] - 1)


def capacity(size: int, probability: float, fraction: float = 1.0) -> int:
    """Number of slots that suffices for a fraction of the marked rows, except in one of about 700 batches (3 std).

    Args:
        size: number of rows of the batch.
        probability: probability that a row is marked.
        fraction: fraction of the marked rows that needs a slot.
    """
    most = size * probability + 3 * math.sqrt(size * probability * (1 - probability))
    return max(1, math.ceil(fraction * min(size, most)))


def layout_of(images: Tensor, model: Tensor) -> Tensor:
    """Images (N, C, H, W) in the memory format of `model`, channels-last or contiguous."""
    last = model.is_contiguous(memory_format=torch.channels_last)
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def append_rows(batch: Batch, images: Tensor, labels: Tensor) -> Batch:
    """Append synthetic images (M, 3, H, W) and their labels (M,) to a batch, marked as synthetic."""
    positions = torch.arange(len(batch.labels) + len(labels), device=batch.labels.device)
    return Batch(
        layout_of(torch.cat([batch.images, images]), batch.images),
        torch.cat([batch.labels, labels]),
        positions >= len(batch.labels),
    )
