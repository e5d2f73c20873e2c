"""LDAM-DRS: label-distribution-aware margins with deferred re-sampling (Cao et al. 2019; Wang et al. 2021).

Family: margin
Changes from ERM: the cosine classifier and margins of LDAM-DRW: with n_c images of class c, the loss is the
cross-entropy of scale * (cos_c - m_c * [c is the true class]), and m_c is proportional to n_c^(-1/4). After a fraction
`defer` of training, images are drawn with replacement, each weighted by the inverse effective number of its class; the
loss stays unweighted. The length of an epoch stays the same.
Departs from the paper: nothing known. RSG's code uses `max_margin` 0.3 on ImageNet-LT; with a `scale` of 50, 0.1 on
iNaturalist 2018 and 0.2 on Places-LT.
Reported: ImageNet-LT, ResNeXt-50, 100 epochs, accuracy 51.4; iNaturalist 2018, ResNet-50, 180 epochs, 67.3; Places-LT,
pretrained ResNet-152, 30 epochs, 38.6 (as a compared method in Wang et al. 2021). No number for CIFAR.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..benchmarks.method import Now
from ._shared.losses import LdamLoss
from ._shared.samplers import weighted_probabilities


@dataclass
class LdamDrs(LdamLoss):
    """LDAM with deferred re-sampling.

    Attributes:
        defer: fraction of training before re-sampling begins (160 of 200 epochs).
        weighting: weight of an image: inverse effective number or inverse count of its class.
    """

    def current_weights(self, now: Now) -> Tensor | None:
        """None: the loss is unweighted."""
        return None

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Unnormalised class probabilities (C,): class size times weight. None before re-sampling begins."""
        return None if now.progress < self.defer else weighted_probabilities(counts, self.weighting, self.beta)
