"""Focal loss on softmax: well-classified images count less (Lin et al. 2017, as used in Cao et al. 2019).

Family: re-weighting
Changes from ERM: the loss of an image whose true class is predicted with probability p is multiplied by (1 - p)^gamma;
the loss of a batch is the plain mean.
Departs from the paper: softmax instead of sigmoids, and gamma = 1 instead of 2, as in the reference code of LDAM.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 70.4, CIFAR-100-LT ratio 100 38.4 (Cao et al. 2019,
Tables 2 and 5; best test epoch).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..benchmarks.method import Exponent, Now
from ._shared.losses import PerImage, focal_losses


@dataclass
class Focal(PerImage):
    """Cross-entropy that down-weights well-classified images.

    Attributes:
        gamma: exponent that down-weights well-classified images; 0 is ERM.
    """

    gamma: Exponent = 1.0

    def image_losses(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Focal loss (N,) of logits (N, C) against labels (N,)."""
        return focal_losses(logits, labels, self.gamma)
