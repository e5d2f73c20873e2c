"""CB-Focal: class-balanced focal loss (Cui et al. 2019, as used in Cao et al. 2019).

Family: re-weighting
Changes from ERM: the loss of an image whose true class is predicted with probability p is multiplied by (1 - p)^gamma
and by the inverse effective number of its class, from the first epoch; the loss of a batch is the plain mean.
Departs from the paper: softmax instead of sigmoids and gamma = 1, as in the reference code of LDAM. That code derives p
from the weighted cross-entropy, so that the class weight also enters the focal factor; here p is the softmax
probability (`--set inside=true` reproduces the code).
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 74.6, CIFAR-100-LT ratio 100 36.0 (Cao et al. 2019,
Tables 2 and 5; best test epoch).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..benchmarks.method import Exponent, Now
from ._shared.losses import ClassWeighted, PerImage, focal_losses


@dataclass
class CBFocal(PerImage, ClassWeighted):
    """Focal loss with class weights.

    Attributes:
        gamma: exponent that down-weights well-classified images; 0 is weighted cross-entropy.
        inside: whether to derive the probability from the weighted cross-entropy (reference code).
    """

    gamma: Exponent = 1.0
    inside: bool = False

    def image_losses(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Weighted focal loss (N,) of logits (N, C) against labels (N,)."""
        return focal_losses(logits, labels, self.gamma, self.current_weights(now), self.inside)
