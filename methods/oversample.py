"""Oversampling: rare classes are drawn more often, from the first epoch.

Family: sampling
Changes from ERM: images are drawn with replacement with weight 1 / n^gamma, where n is the size of the image's class,
so that the probability of a class is proportional to n^(1 - gamma). gamma = 0 draws images uniformly, 1 draws classes
uniformly, larger values favour the tail (equation 1 of Kozerawski et al. 2020). The length of an epoch stays the same,
whereas drawing every class as often as the largest would make it longer.
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
    """Class-rebalanced sampling from the first epoch.

    Attributes:
        gamma: strength of rebalancing: 0 draws images uniformly, 1 draws classes uniformly.
    """

    gamma: Exponent = 1.0

    def sampling(self, counts: Tensor, now: Now) -> Tensor:
        """Unnormalised class probabilities (C,), the same in every epoch."""
        return counts.double() ** (1 - self.gamma)
