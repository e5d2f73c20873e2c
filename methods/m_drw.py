"""M-DRW: one margin for all classes with deferred re-weighting (Cao et al. 2019, baseline).

Family: margin
Changes from ERM: LDAM-DRW with the same margin for every class (additive-margin softmax): a cosine classifier;
`margin` is subtracted from the cosine of the true class, and all cosines are multiplied by `scale`. After a fraction
`defer` of training, the loss of each image is weighted by the inverse effective number of its class, and the weighted
sum over a batch is divided by the sum of the weights.
Departs from the paper: the paper calls the margin a tuned constant without stating its value, and no released code
contains this method; 0.35 is the usual value for a scale of 30.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 75.1, CIFAR-100-LT ratio 100 40.5 (Tables 2 and 5; best
test epoch).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..benchmarks.method import Margin
from ._shared.losses import MarginLoss


@dataclass
class MDrw(MarginLoss):
    """A class-independent margin with deferred re-weighting.

    Attributes:
        margin: margin of every class, in units of the cosine.
    """

    margin: Margin = 0.35

    def margins(self, counts: Tensor) -> Tensor:
        """The same margin for every class, (C,)."""
        return torch.full(counts.shape, self.margin, device=counts.device)
