"""DRW: deferred re-weighting on cross-entropy (Cao et al. 2019).

Family: re-weighting
Changes from ERM: after a fraction `defer` of training, the loss of each image is weighted by the inverse effective
number of its class, and the weighted sum over a batch is divided by the sum of the weights.
Departs from the paper: weights as in the reference code; the paper's algorithm uses 1/n (`--set weighting=inverse`).
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 74.9, CIFAR-100-LT ratio 100 40.7 (Table 3; best test
epoch).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..benchmarks.method import Needs, epochs_before
from ._shared.losses import DeferredWeights


@dataclass
class DRW(DeferredWeights):
    """Cross-entropy with class weights that apply after a fraction of training."""

    def needs(self, epochs: int) -> Needs:
        """The prefix shared with an ERM run: the epochs before the weights apply."""
        return Needs(prefix=epochs_before(self.defer, epochs))
