"""DRS: deferred re-sampling (Cao et al. 2019; deferred oversampling in Zada et al. 2022).

Family: sampling
Changes from ERM: after a fraction `defer` of training, images are drawn with replacement, each weighted by the inverse
effective number of its class, so that classes are drawn nearly equally often. The length of an epoch stays the same.
Departs from the paper: the LDAM code for CIFAR builds this sampler but never uses it; implemented here is the rule
described in the paper, with the weights of that sampler. `--set weighting=inverse` draws all classes exactly equally
often.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 74.5, CIFAR-100-LT ratio 100 40.3 (Cao et al. 2019,
Table 3; best test epoch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..benchmarks.method import BelowOne, Method, Moment, Needs, Now, epochs_before
from ._shared.class_weights import class_weights


@dataclass
class DRS(Method):
    """Nearly class-balanced sampling after a fraction `defer` of training.

    Attributes:
        defer: fraction of training before re-sampling begins (160 of 200 epochs).
        weighting: weight of an image: inverse effective number or inverse count of its class.
        beta: parameter of the effective number, in [0, 1).
    """

    defer: Moment = 0.8
    weighting: Literal["effective", "inverse"] = "effective"
    beta: BelowOne = 0.9999

    def needs(self, epochs: int) -> Needs:
        """The prefix shared with an ERM run: the epochs before re-sampling begins."""
        return Needs(prefix=epochs_before(self.defer, epochs))

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Unnormalised class probabilities (C,), class size times weight; None before re-sampling begins."""
        if now.progress < self.defer:
            return None
        return counts * class_weights(counts, self.weighting, self.beta)
