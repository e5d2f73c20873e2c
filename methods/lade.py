"""LADE: balanced softmax with a regulariser that makes logits estimate density ratios (Hong et al. 2021).

Family: prior
Changes from ERM: the loss is the cross-entropy of z + log pi plus `alpha` times the sum over the classes c of pi_c R_c,
where z are the logits, from which the network predicts, and pi_c = n_c / N is the fraction of training images that
belong to class c. R_c = -(m_c - g_c - `lam` g_c^2), where m_c is the mean of z_c over the batch's images of class c, 0
if there are none, and g_c = log mean_i(w exp(z_ic)) over all images i of the batch. It drives z_c towards the logarithm
of the density ratio of class c to a set with equally frequent classes. alpha = 0 gives the balanced softmax.
Departs from the paper: the importance weight w is 1 / (C pi_c), with the class c of the logit, as in the reference
code, which gave the published numbers; the paper divides by the prior of the image's class (`--set importance=label`).
`alpha` and `lam` are those of the code for CIFAR-100-LT at ratio 100.
Reported: CIFAR-100-LT, recipe 'lade' with another backbone, accuracy: ratio 100 45.4, ratio 50 50.5. ResNeXt-50, 180
epochs, ImageNet-LT 53.0 (alpha = 0.05, lam = 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from ..benchmarks.method import Method, NonNegative, Now, Split, Stage
from ..benchmarks.network import Classifier
from ._shared.priors import density_ratio_regulariser, log_prior


@dataclass
class LADE(Method):
    """Balanced softmax with a regulariser for the logit of each class.

    Attributes:
        alpha: weight of the regulariser; 0 is the balanced softmax.
        lam: weight of the squared term within the regulariser.
        importance: class whose prior the importance weight of an image uses: that of the logit (reference code), or the
            label of the image (paper).
    """

    alpha: NonNegative = 0.1
    lam: NonNegative = 0.01
    importance: Literal["logit", "label"] = "logit"

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Compute the log priors (C,)."""
        self.prior_ = log_prior(train.counts)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Balanced softmax loss plus weighted regulariser, of logits (N, C) against labels (N,) or (N, C)."""
        balanced = F.cross_entropy(logits + self.prior_, labels)
        extra = density_ratio_regulariser(logits, labels, self.prior_, self.lam, self.importance == "label")
        return balanced + self.alpha * extra
