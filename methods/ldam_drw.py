"""LDAM-DRW: label-distribution-aware margins with deferred re-weighting (Cao et al. 2019).

Changes from ERM: a cosine classifier; the true class's cosine must win by a margin proportional to n^(-1/4), largest
for the rarest class; all cosines times `scale`. From `defer` of training on, classes weigh by the inverse effective
number of their images. The weighted batch is divided by the sum of its weights.
Departs from the paper: follows the reference code, which scales by 30 (absent from the formulas) and weighs by
effective numbers where the paper's algorithm has 1/n (`--set weighting=inverse`).
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 77.0, CIFAR-100-LT ratio 100 42.0 (Tables 2 and 5;
best test epoch). Independent re-runs 77.7 and 42.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..benchmarks.method import Margin
from ._shared.losses import MarginLoss
from ._shared.margins import ldam_margins


@dataclass
class LdamDrw(MarginLoss):
    """LDAM with deferred re-weighting; `defer=1` is LDAM alone.

    Attributes:
        max_margin: margin of the rarest class, as a cosine.
    """

    max_margin: Margin = 0.5

    def margins(self, counts: Tensor) -> Tensor:
        """Margins proportional to n^(-1/4), (C,)."""
        return ldam_margins(counts, self.max_margin)
