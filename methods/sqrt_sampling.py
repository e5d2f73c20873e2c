"""Square-root sampling: classes are drawn in proportion to the square root of their size (Mahajan et al. 2018).

Family: sampling
Changes from ERM: images are drawn with replacement; the probability of a class with n_c images is
sqrt(n_c) / sum_j sqrt(n_j), from the first epoch. The length of an epoch stays the same. This is `oversample` with
gamma = 0.5.
Departs from the papers: nothing known.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 71.4, CIFAR-100-LT ratio 100 36.8, where ERM has 72.0
and 37.7 (Zhang et al. 2021, table of their repository); ImageNet-LT, ResNeXt-50, 90 epochs, 46.8 (Kang et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..benchmarks.method import Method, Now
from ._shared.samplers import power_probabilities


@dataclass
class SqrtSampling(Method):
    """Sampling of classes in proportion to the square root of their size."""

    def sampling(self, counts: Tensor, now: Now) -> Tensor:
        """Class probabilities (C,), the same in every epoch."""
        return power_probabilities(counts, 0.5)
