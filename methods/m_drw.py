"""M-DRW: one margin for all classes with deferred re-weighting (Cao et al. 2019, baseline).

Changes from ERM: LDAM-DRW with the same margin for every class (additive-margin softmax): a cosine classifier; the true
class's cosine must win by `margin`; all cosines times `scale`. From `defer` of training on, classes weigh by the
inverse effective number of their images, and the batch is divided by the sum of its samples' weights.
Departs from the paper: the margin is not stated there, only that it is a tuned constant, and no code has the method;
0.35 is the usual value for a scale of 30.
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
    """A margin that does not depend on the class, with deferred re-weighting.

    Attributes:
        margin: of every class, as a cosine.
    """

    margin: Margin = 0.35

    def margins(self, counts: Tensor) -> Tensor:
        """The same margin for every class, (C,)."""
        return torch.full(counts.shape, self.margin, device=counts.device)
