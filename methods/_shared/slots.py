"""Slots: rows of a batch that a method works on, as many as fit almost always, so that shapes are static."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def capacity(probability: float, size: int, fraction: float = 1.0) -> int:
    """Slots that hold a fraction of the marked rows of a batch, but once in some 700 batches (three std).

    Args:
        probability: that a row is marked.
        size: rows of the batch.
        fraction: of the marked rows.
    """
    rows = size * probability + 3 * (size * probability * (1 - probability)) ** 0.5
    return max(1, math.ceil(fraction * min(size, rows)))


def fill_slots(marked: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """The first `slots` marked rows, then others: row of each slot int64 (slots,), whether it is marked bool (slots,)."""
    rows = (~marked).to(torch.int8).argsort(stable=True)[:slots]
    return rows, marked[rows]


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """One column for each row, by inversion of the cumulated probabilities: int64 (N,).

    torch.multinomial would read a value back.

    Args:
        probabilities: (N, C), rows that sum to 1; a row of zeros gives any column.
        uniform: (N,) in [0, 1).
    """
    # Scaled by the total: a sum that is rounded to less than `uniform` must not give a column of probability 0.
    cumulated = probabilities.double().cumsum(1)
    reached = (cumulated <= uniform.double()[:, None] * cumulated[:, -1:]).sum(1)
    return reached.clamp(max=probabilities.shape[1] - 1)
