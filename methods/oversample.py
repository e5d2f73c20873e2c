"""Oversampling: rare classes are drawn more often, from the first epoch.

Changes from ERM: images are drawn with replacement with weight 1 / n^gamma, n the size of the image's class: class
probability n^(1 - gamma) / sum. gamma 0 draws images uniformly, 1 classes uniformly, more favours the tail (the
balancer of Kozerawski et al. 2020, equation 1). An epoch keeps its length; drawing every class as often as the
largest would make it longer.
Departs from the papers: nothing known.
Reported: WRN-28-10, 200 epochs, strong augmentation, accuracy: CIFAR-10-LT ratio 100 75.1, CIFAR-100-LT ratio 100
42.5 (Zada et al. 2022, Table 1, 4 runs).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..benchmarks.method import Exponent, Method, Now


@dataclass
class Oversample(Method):
    """Weighted draws.

    Attributes:
        gamma: exponent of the class size; 1 balances the classes.
    """

    gamma: Exponent = 1.0

    def sampling(self, counts: Tensor, now: Now) -> Tensor:
        """Class probabilities, the same in every epoch."""
        return counts.double() ** (1 - self.gamma)
