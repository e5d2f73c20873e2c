"""Balanced softmax: the class prior is added to the logits inside the training loss (Ren et al. 2020).

Family: prior
Changes from ERM: the loss is the cross-entropy of z + log pi, where z are the logits and pi_c = n_c / N is the fraction
of training images that belong to class c. The sum then models the imbalanced training set, whereas z alone, from which
the network predicts, models a set with equally frequent classes.
`decoupled=true` is the decoupled form: after an ERM run, the backbone is frozen, and a second stage of `second` epochs
trains a new linear classifier with this loss, on every image once per epoch, with a cosine schedule from a learning
rate of 0.1.
Departs from the paper: no known differences in the loss. In the decoupled form, the first stage uses plain
cross-entropy, as in the reference code for the meta sampler, and can be shared with an ERM run. The paper's second
stage has 2000 steps with batches of 512 images; 20 epochs of CIFAR-10-LT at ratio 100 are about 2000 steps with batches
of 128. Frozen batch norms normalise with batch statistics and update the running ones, as in the released code of
decoupled training. With any sampling other than every image once, the loss over-corrects, because pi is the prior of
the training set, not of the sampled images.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 77.5, ratio 50 81.1, CIFAR-100-LT ratio 100 43.0, ratio
50 46.6 (BagofTricks, README; best test epoch). ResNet-32, recipe 'balms', ratio 200: CIFAR-10-LT 79.8, decoupled 81.8,
CIFAR-100-LT 46.7, decoupled 47.2 (README of the reference code).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..benchmarks.method import Needs, Now, Schedule, SmallInt, Split, Stage
from ..benchmarks.network import Classifier
from ._shared.decoupled import SECOND
from ._shared.losses import PerImage
from ._shared.priors import adjusted_losses, log_prior

RATE = 0.1  # learning rate at the start of the second stage


@dataclass
class BalancedSoftmax(PerImage):
    """Cross-entropy of logits to which the log priors of the classes are added.

    Attributes:
        decoupled: whether to train only a new classifier with this loss, after an ERM run, instead of the whole
            network.
        second: number of epochs of the second stage (`decoupled=true`).
    """

    decoupled: bool = False
    second: SmallInt = 20

    def stages(self, epochs: int) -> list[Stage]:
        """A single stage; in the decoupled form, the epochs of an ERM run and a stage that trains a new head."""
        first = Stage("train", epochs)
        second = Stage(SECOND, self.second, trained=("head.",), fresh_head=True, lr=RATE, schedule=Schedule("cosine"))
        return [first, second] if self.decoupled else [first]

    def needs(self, epochs: int) -> Needs:
        """A complete ERM run as shared prefix in the decoupled form, otherwise nothing."""
        return Needs(prefix=epochs if self.decoupled else 0)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Compute the log priors (C,)."""
        self.prior_ = log_prior(train.counts)

    def image_losses(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Cross-entropy (N,) of the adjusted logits (N, C) against labels (N,) or (N, C)."""
        return adjusted_losses(logits, labels, self.prior_)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Mean of the image losses; in the first stage of the decoupled form, plain cross-entropy."""
        if self.decoupled and now.stage != SECOND:
            return F.cross_entropy(logits, labels)
        return super().criterion(logits, labels, now)
