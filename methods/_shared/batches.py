"""Batches with rows that a method made."""

from __future__ import annotations

import torch
from torch import Tensor

from ...benchmarks.method import Batch


def in_layout_of(images: Tensor, model: Tensor) -> Tensor:
    """Images (N, 3, H, W) in the memory format of others, channels last or first."""
    last = model.is_contiguous(memory_format=torch.channels_last)
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def append(batch: Batch, images: Tensor, labels: Tensor) -> Batch:
    """The batch with synthetic rows behind its own: images (M, 3, H, W) and labels (M,)."""
    rows = torch.arange(len(batch.labels) + len(labels), device=batch.labels.device)
    return Batch(
        in_layout_of(torch.cat([batch.images, images]), batch.images),
        torch.cat([batch.labels, labels]),
        rows >= len(batch.labels),
    )
