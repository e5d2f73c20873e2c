"""DRS: deferred re-sampling (Cao et al. 2019; deferred oversampling in Zada et al. 2022).

Changes from ERM: from `defer` of training on, images are drawn with replacement so that classes come up by the inverse
effective number of their images (nearly equally often). An epoch keeps its length.
Departs from the paper: the LDAM code for CIFAR builds such a sampler but never uses it; this is the rule as
described, with the weights that the code would use. `--set weighting=inverse` draws all classes exactly equally
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
    """Nearly class-balanced draws from `defer` of training on.

    Attributes:
        defer: fraction of training before re-sampling (160 of 200 epochs).
        weighting: weight of an image: inverse effective number or inverse count of its class.
        beta: of the effective number.
    """

    defer: Moment = 0.8
    weighting: Literal["effective", "inverse"] = "effective"
    beta: BelowOne = 0.9999

    def needs(self, epochs: int) -> Needs:
        """ERM until re-sampling begins."""
        return Needs(prefix=epochs_before(self.defer, epochs))

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Class probability = images x weight per image."""
        if now.progress < self.defer:
            return None
        return counts * class_weights(counts, self.weighting, self.beta)
