"""DRW: deferred re-weighting on cross-entropy (Cao et al. 2019).

Changes from ERM: from `defer` of training on, classes weigh by the inverse effective number of their images, and the
batch is divided by the sum of its samples' weights.
Departs from the paper: weights as in the reference code; the paper's algorithm has 1/n (`--set weighting=inverse`).
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 74.9, CIFAR-100-LT ratio 100 40.7 (Table 3; best test
epoch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from ..benchmarks.method import BelowOne, Method, Now, Share, Split, Stage
from ..benchmarks.network import Classifier
from ._rebalance import class_weights


@dataclass
class DRW(Method):
    """Cross-entropy, re-weighted late.

    Attributes:
        defer: share of training before re-weighting (160 of 200 epochs).
        weighting: inverse effective numbers or inverse counts.
        beta: of the effective number; 0 gives ERM.
    """

    defer: Share = 0.8
    weighting: Literal["effective", "inverse"] = "effective"
    beta: BelowOne = 0.9999

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Weights from the class counts."""
        self.weights_ = class_weights(train.counts, self.weighting, self.beta)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Cross-entropy, weighted once the deferral ends."""
        return F.cross_entropy(logits, labels, self.weights_ if now.progress >= self.defer else None)
