"""Progressively balanced sampling: from uniform over images to uniform over classes (Kang et al. 2020).

Family: sampling
Changes from ERM: images are drawn with replacement; the probability of a class with n_c of the N images is
(1 - t) n_c / N + t / C with C classes, where t grows from 0 in the first epoch to 1 in the last. The length of an epoch
stays the same.
Departs from the papers: t = epoch / (epochs - 1), as in the code of Kang et al.; Zhang et al. use epoch / epochs.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 72.0, CIFAR-100-LT ratio 100 39.0, where ERM has 72.0
and 37.7 (Zhang et al. 2021, table of their repository); ImageNet-LT, ResNeXt-50, 90 epochs, 47.2 (Kang et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..benchmarks.method import Method, Now
from ._shared.samplers import progressive_probabilities


@dataclass
class ProgressiveSampling(Method):
    """Sampling that becomes class-balanced during training."""

    def sampling(self, counts: Tensor, now: Now) -> Tensor:
        """Class probabilities (C,) of the epoch."""
        return progressive_probabilities(counts, now.epoch, now.epochs)
