"""Rows of a batch: drawing a column for each, slots for new ones, appending them, memory layout."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...benchmarks.method import Batch


def draw_columns(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """One column per row by inversion of the cumulated probabilities, int64 (N,); torch.multinomial would wait.

    Args:
        probabilities: (N, M), rows that sum to 1, or to 0, which give any column.
        uniform: (N,) in [0, 1).
    """
    # Scaled by the total: a sum that is rounded to less than `uniform` must not give a column of probability 0.
    cumulated = probabilities.double().cumsum(1)
    reached = (cumulated <= uniform.double()[:, None] * cumulated[:, -1:]).sum(1)
    return reached.clamp(max=probabilities.shape[1] - 1)


def capacity(size: int, probability: float, fraction: float = 1.0) -> int:
    """Slots that hold a fraction of the marked rows of a batch, but for once in some 700 batches (3 std).

    Args:
        size: rows of the batch.
        probability: that a row is marked.
        fraction: of the marked rows.
    """
    most = size * probability + 3 * math.sqrt(size * probability * (1 - probability))
    return max(1, math.ceil(fraction * min(size, most)))


def layout_of(images: Tensor, model: Tensor) -> Tensor:
    """Images (N, C, H, W) in the memory layout of others, channels last or not."""
    last = model.is_contiguous(memory_format=torch.channels_last)
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def append_rows(batch: Batch, images: Tensor, labels: Tensor) -> Batch:
    """The batch with synthetic rows behind its own: images (M, 3, H, W) and labels (M,)."""
    positions = torch.arange(len(batch.labels) + len(labels), device=batch.labels.device)
    return Batch(
        layout_of(torch.cat([batch.images, images]), batch.images),
        torch.cat([batch.labels, labels]),
        positions >= len(batch.labels),
    )
