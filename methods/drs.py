"""DRS: deferred re-sampling with any loss (Cao et al. 2019; deferred oversampling in Zada et al. 2022).

Family: sampling
Changes from ERM: after a fraction `defer` of training, images are drawn with replacement, each weighted by the inverse
effective number of its class, so that classes are drawn nearly equally often. The length of an epoch stays the same.
The loss is cross-entropy, or that of `base`.
Departs from the paper: the LDAM code for CIFAR builds this sampler but never uses it; this method follows the rule
described in the paper, with the weights of that sampler. `--set weighting=inverse` draws all classes exactly equally
often; `sqrt` and `progressive` are the samplers of `sqrt-sampling` and `progressive-sampling`, deferred (Zhang et al.
2021); as in their code, the t of `progressive` is counted from the start of training, so it is about 0.8 when
re-sampling begins.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 74.5, CIFAR-100-LT ratio 100 40.3 (Cao et al. 2019,
Table 3; best test epoch). Zhang et al. 2021, table of their repository: inverse counts 75.1 and 40.6, `sqrt` 73.2 and
40.4, `progressive` 73.9 and 40.4, where ERM has 72.0 and 37.7.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from torch import Tensor

from ..benchmarks.method import LATER, BelowOne, Moment, Needs, Now
from ._shared.base import OnBase, begins_as_base
from ._shared.samplers import power_probabilities, progressive_probabilities, weighted_probabilities


@dataclass
class DRS(OnBase):
    """Re-balanced sampling after a fraction `defer` of training.

    Attributes:
        base: name of the method whose loss is used; `--set drs.base.NAME=VALUE` sets its hyper-parameters. Its own
            deferred class weights, if it has any, do not apply (`base.defer=1`).
        defer: fraction of training before re-sampling begins (160 of 200 epochs).
        weighting: `effective` and `inverse` draw images with the inverse effective number or the inverse count of their
            class as weight; `sqrt` draws classes in proportion to the square root of their count; `progressive` draws
            them as `progressive-sampling` does at the same epoch.
        beta: parameter of the effective number, in [0, 1); unused for other weightings.
    """

    base: Annotated[str, LATER] = "erm"
    base_values: Annotated[dict[str, Any], LATER] = field(default_factory=dict)
    defer: Moment = 0.8
    weighting: Literal["effective", "inverse", "sqrt", "progressive"] = "effective"
    beta: BelowOne = 0.9999

    def own_values(self) -> dict[str, Any]:
        """Set the base's `defer` to 1, so that classes are balanced by sampling alone."""
        return {"defer": 1.0}

    def needs(self, epochs: int) -> Needs:
        """Needs of the base, and the prefix shared with its run: the epochs before re-sampling begins."""
        return begins_as_base(self, self.defer, epochs)

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Unnormalised class probabilities (C,); None before re-sampling begins."""
        if now.progress < self.defer:
            return None
        if self.weighting == "sqrt":
            return power_probabilities(counts, 0.5)
        if self.weighting == "progressive":
            return progressive_probabilities(counts, now.epoch, now.epochs)
        return weighted_probabilities(counts, self.weighting, self.beta)
