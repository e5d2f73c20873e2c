"""Rows of a batch: drawing one per row, slots for those that are made, memory layout."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def draw_columns(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """One column per row by inversion of the cumulated probabilities, int64 (N,); torch.multinomial waits for the host.

    Args:
        probabilities: (N, M), rows that sum to 1, or to 0, which give any column.
        uniform: (N,) in [0, 1).
    """
    # One rank below the total: a sum that is rounded to less than `uniform` must not give a column of probability 0.
    cumulated = probabilities.double().cumsum(1)
    reached = (cumulated <= uniform.double()[:, None] * cumulated[:, -1:]).sum(1)
    return reached.clamp(max=probabilities.shape[1] - 1)


def upper_count(size: int, probability: float) -> float:
    """Rows of a batch of `size` that are chosen with `probability` each, but for once in some 700 batches (3 std)."""
    return size * probability + 3 * math.sqrt(size * probability * (1 - probability))


def layout_of(images: Tensor, model: Tensor) -> Tensor:
    """Images (N, C, H, W) in the memory layout of others, channels last or not."""
    last = model.is_contiguous(memory_format=torch.channels_last)
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
