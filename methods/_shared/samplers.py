"""Class probabilities of samplers, computed from the number of training images per class.

Within a class, images are drawn uniformly.
"""

from __future__ import annotations

from torch import Tensor

from .class_weights import class_weights


def weighted_probabilities(counts: Tensor, kind: str, beta: float) -> Tensor:
    """Unnormalised class probabilities if images have the weights `class_weights(counts, kind, beta)`; float32 (C,)."""
    return counts * class_weights(counts, kind, beta)


def power_probabilities(counts: Tensor, exponent: float) -> Tensor:
    """Class probabilities n_c^q / sum_j n_j^q, 0 for classes without images; float64 (C,), normalised.

    Args:
        counts: training images per class, int64 (C,).
        exponent: q; 1 draws images uniformly, 0 draws classes uniformly.
    """
    powers = counts.double() ** exponent * (counts > 0)
    return powers / powers.sum()


def progressive_probabilities(counts: Tensor, epoch: int, epochs: int) -> Tensor:
    """Class probabilities that change from uniform over images to uniform over classes; float64 (C,), normalised.

    Kang et al. 2020, equation 2, with t = epoch / (epochs - 1) as in the reference code; t = 0 if there is one epoch.

    Args:
        counts: training images per class, int64 (C,).
        epoch: number of the epoch, from 0.
        epochs: number of epochs over which the probabilities change.
    """
    t = epoch / max(1, epochs - 1)
    return (1 - t) * power_probabilities(counts, 1) + t * power_probabilities(counts, 0)
