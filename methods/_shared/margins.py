"""Label-distribution-aware margins and the margin loss (Cao et al. 2019), as pure functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .soft_labels import cross_entropies, expected_loss


def ldam_margins(counts: Tensor, max_margin: float) -> Tensor:
    """Margins proportional to n_j^(-1/4), scaled so that the rarest class has exactly `max_margin`; float32 (C,)."""
    rarity = counts.double() ** -0.25
    return (max_margin * rarity / rarity.max()).float()


def ldam_loss(cosines: Tensor, labels: Tensor, margins: Tensor, scale: float, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of `scale * (cosine - margin)`, the margin on the true class only, as in the reference code.

    Cao et al. 2019, equation 13.

    Args:
        cosines: (N, C), in [-1, 1].
        labels: int64 (N,), or class probabilities (N, C), see `expected_loss`.
        margins: margin of each class (C,), in units of the cosine.
        scale: factor of the cosines; missing from the paper's formulas, but used in the reference code.
        weights: class weights (C,); the sum over the batch is divided by the sum of the weights.
    """

    def logits(cosines: Tensor, labels: Tensor) -> Tensor:
        classes = torch.arange(cosines.shape[1], device=cosines.device)  # one_hot would synchronise with the device
        return scale * (cosines - (labels.unsqueeze(1) == classes).to(cosines.dtype) * margins)

    if labels.ndim == 2:
        return expected_loss(lambda z, y: cross_entropies(logits(z, y), y), cosines, labels, weights)
    return F.cross_entropy(logits(cosines, labels), labels, weights)
