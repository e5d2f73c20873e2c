"""The label-distribution-aware margin loss (Cao et al. 2019), as pure functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ldam_margins(counts: Tensor, max_margin: float) -> Tensor:
    """Margins max_margin * n_j^(-1/4) / max_k n_k^(-1/4), float32 (C,): the rarest class gets exactly `max_margin`."""
    rarity = counts.double() ** -0.25
    return (max_margin * rarity / rarity.max()).float()


def ldam_loss(cosines: Tensor, labels: Tensor, margins: Tensor, scale: float, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of `scale * (cosine - margin of the true class)`; Cao et al. 2019, equation 13, reference code.

    Args:
        cosines: (N, C), in [-1, 1].
        labels: int64 (N,) or class probabilities (N, C), by which the margins then count.
        margins: (C,).
        scale: s; absent from the paper's formulas but essential in the code.
        weights: per class (C,); with labels (N,), the batch is then divided by the sum of its samples' weights.
    """
    classes = torch.arange(cosines.shape[1], device=cosines.device)  # one_hot would wait for the device
    target = (labels.unsqueeze(1) == classes).to(cosines.dtype) if labels.ndim == 1 else labels
    return F.cross_entropy(scale * (cosines - target * margins), labels, weights)
