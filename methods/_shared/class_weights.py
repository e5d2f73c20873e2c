"""Class weights shared by several methods."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """Class weights 1 / E_j scaled to a mean of 1 over the classes, E_j = (1 - beta^n_j) / (1 - beta); float32 (C,).

    Cui et al. 2019 (class-balanced loss), as in the LDAM reference code. Computed in float64 with expm1 and log1p,
    because `1 - 0.9999` in float32 has an error of 2e-4. beta = 0 gives ones.

    Args:
        counts: training images per class, int64 (C,), all positive.
        beta: parameter of the effective number, in [0, 1).
    """
    if beta == 0:
        return torch.ones(len(counts), device=counts.device)
    effective = -torch.expm1(counts.double() * math.log1p(-(1 - beta)))  # the factor 1 / (1 - beta) cancels
    return _to_mean_one(1 / effective)


def inverse_weights(counts: Tensor) -> Tensor:
    """Class weights 1 / n_j scaled to a mean of 1 over the classes; float32 (C,)."""
    return _to_mean_one(1 / counts.double())


def class_weights(counts: Tensor, kind: str, beta: float) -> Tensor:
    """Class weights with a mean of 1; float32 (C,).

    Args:
        counts: training images per class, int64 (C,), all positive.
        kind: `effective` for inverse effective numbers, `inverse` for inverse counts.
        beta: parameter of the effective number, in [0, 1); unused for `inverse`.
    """
    return effective_number_weights(counts, beta) if kind == "effective" else inverse_weights(counts)


def _to_mean_one(weights: Tensor) -> Tensor:
    return (weights * (len(weights) / weights.sum())).float()
