"""LDAM-DRW: label-distribution-aware margins with deferred re-weighting (Cao et al. 2019).

Family: margin
Changes from ERM: a cosine classifier; a margin proportional to n^(-1/4), largest for the rarest class, is subtracted
from the cosine of the true class, and all cosines are multiplied by `scale`. After a fraction `defer` of training, the
loss of each image is weighted by the inverse effective number of its class, and the weighted sum over a batch is
divided by the sum of the weights.
Departs from the paper: follows the reference code, which multiplies the cosines by 30 (absent from the formulas) and
weights by effective numbers where the paper's algorithm uses 1/n (`--set weighting=inverse`).
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 77.0, CIFAR-100-LT ratio 100 42.0 (Tables 2 and 5;
best test epoch). Independent re-runs reach 77.7 and 42.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..benchmarks.method import Needs
from ._shared.losses import LdamLoss


@dataclass
class LdamDrw(LdamLoss):
    """LDAM with deferred re-weighting; `defer=1` is LDAM alone."""

    def needs(self, epochs: int) -> Needs:
        """The prefix shared with a run of LDAM alone; none for that run itself."""
        return Needs() if self.defer == 1 else super().needs(epochs)
