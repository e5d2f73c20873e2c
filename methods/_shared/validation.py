"""Choice of a hyper-parameter by the accuracy on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def best_on_grid(grid: Sequence[float], logits: Callable[[float], Tensor], labels: Tensor) -> float:
    """The value with the highest mean per-class accuracy on held-out images; the first one in case of a tie.

    Args:
        grid: values to try.
        logits: function that maps a value to the logits (N, C) of the held-out images.
        labels: classes of these images, int64 (N,).
    """
    return max(grid, key=lambda value: class_mean_accuracy(logits(value), labels))


def class_mean_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Mean accuracy, in [0, 1], over the classes that have images.

    Args:
        logits: (N, C).
        labels: int64 (N,).
    """
    sums = torch.zeros(2, logits.shape[1], dtype=torch.float64, device=labels.device)
    hits = (logits.argmax(1) == labels).double()
    sums.index_add_(1, labels, torch.stack([hits, torch.ones_like(hits)]))
    correct, counts = sums[:, sums[1] > 0]
    return float((correct / counts).mean())
