"""LDAM-DRW: label-distribution-aware margins with deferred re-weighting (Cao et al. 2019).

Family: margin
Changes from ERM: a cosine classifier; a margin proportional to n^(-1/4), largest for the rarest class, is subtracted
from the cosine of the true class, and all cosines are multiplied by `scale`. After a fraction `defer` of training, the
loss of each image is weighted by the inverse effective number of its class, and the weighted sum over a batch is
divided by the sum of the weights.
Departs from the paper: follows the reference code, which multiplies by 30 (absent from the formulas) and weights by
effective numbers where the paper's algorithm uses 1/n (`--set weighting=inverse`).
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 77.0, CIFAR-100-LT ratio 100 42.0 (Tables 2 and 5;
best test epoch). Independent re-runs reach 77.7 and 42.5.
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
        max_margin: margin of the rarest class, in units of the cosine.
    """

    max_margin: Margin = 0.5

    def margins(self, counts: Tensor) -> Tensor:
        """Margins proportional to n^(-1/4), (C,)."""
        return ldam_margins(counts, self.max_margin)
