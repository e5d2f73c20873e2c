"""DRW: deferred re-weighting on cross-entropy (Cao et al. 2019).

Changes from ERM: from `defer` of training on, classes weigh by the inverse effective number of their images, and the
batch is divided by the sum of its samples' weights.
Departs from the paper: weights as in the reference code; the paper's algorithm has 1/n (`--set weighting=inverse`).
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 74.9, CIFAR-100-LT ratio 100 40.7 (Table 3; best test
epoch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..benchmarks.method import BelowOne, Fraction
from ._shared.losses import WeightedCrossEntropy


@dataclass
class DRW(WeightedCrossEntropy):
    """Cross-entropy with deferred class weights.

    Attributes:
        defer: fraction of training before re-weighting (160 of 200 epochs).
        weighting: inverse effective numbers or inverse counts.
        beta: of the effective number; 0 gives ERM.
    """

    defer: Fraction = 0.8
    weighting: Literal["effective", "inverse"] = "effective"
    beta: BelowOne = 0.9999
