"""Weight balancing: strong weight decay, then a classifier with bounded class vectors (Alshammari et al. 2022).

Family: decoupled
Changes from ERM: the whole network is trained with the large weight decay `weight_decay` and the learning rate `lr`,
which falls to 0 along half a cosine, without warm-up. A second stage of `second` epochs continues with the classifier
alone: the loss of each image is weighted by the inverse effective number of its class, the weighted sum over a batch is
divided by the sum of the weights, the weight decay is `head_weight_decay`, and the learning rate falls from `lr` to 0
again. After each step, class vectors longer than t are shortened to t, where t = v_min + `threshold` (v_max - v_min)
where v_min and v_max are the lengths of the shortest and the longest class vector after the first stage.
Departs from the paper: the recipe's batch size is kept; the paper has 64. The released code differs from the paper in
ways that are not followed here: it shortens class vectors once per epoch, its balanced loss is a binary cross-entropy
of softmax probabilities, and its first stage has 320 epochs. As in that code, biases are not bounded, and frozen batch
norms normalise with batch statistics and update the running ones. Weight decay helps ERM as well: compare with
`--method erm --set recipe.weight_decay=0.005`.
Reported: ResNet-34, accuracy: CIFAR-100-LT ratio 100 53.4 (first stage alone 46.1; Table 1), 52.0 in the log of the
released code (best test epoch). ResNet-32 has a small fraction of its parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..benchmarks.method import (
    BelowOne,
    Fraction,
    Method,
    NonNegative,
    Now,
    Positive,
    Schedule,
    SmallInt,
    Split,
    Stage,
)
from ..benchmarks.network import Classifier, LinearHead
from ._shared.class_weights import effective_number_weights
from ._shared.decoupled import SECOND

COSINE = Schedule(shape="cosine")


def bound(weight: Tensor, threshold: float) -> Tensor:
    """Largest permitted norm t of the class vectors, ().

    Args:
        weight: class vectors after the first stage (C, d).
        threshold: position of t between the smallest and the largest norm, in [0, 1].
    """
    norms: Tensor = weight.detach().norm(dim=1)
    return norms.min() + threshold * (norms.max() - norms.min())


@torch.no_grad()
def project(weight: Tensor, largest: Tensor) -> None:
    """Shorten the class vectors (C, d) that are longer than `largest` () to that length, in place."""
    norms = weight.norm(dim=1, keepdim=True)
    weight.mul_((largest / norms).clamp(max=1).nan_to_num(nan=1.0))


@dataclass
class WeightBalancing(Method):
    """Strong weight decay, and a second stage that trains a classifier with bounded class vectors.

    Attributes:
        lr: learning rate at the start of each stage.
        weight_decay: coefficient of the L2 penalty in the first stage.
        second: number of epochs of the second stage.
        head_weight_decay: coefficient of the L2 penalty in the second stage.
        beta: parameter of the effective number in the second stage, in [0, 1); 0 gives equal weights.
        threshold: largest permitted norm of a class vector, as a position in [0, 1] between the smallest and the
            largest norm after the first stage.
    """

    lr: Positive = 0.01
    weight_decay: NonNegative = 5e-3
    second: SmallInt = 10
    head_weight_decay: NonNegative = 0.1
    beta: BelowOne = 0.9999
    threshold: Fraction = 0.1

    def stages(self, epochs: int) -> list[Stage]:
        """A stage that trains all layers and a stage that trains the head alone."""
        head = Stage(
            SECOND,
            self.second,
            trained=("head.",),
            lr=self.lr,
            weight_decay=self.head_weight_decay,
            schedule=COSINE,
        )
        return [Stage("train", epochs, lr=self.lr, weight_decay=self.weight_decay, schedule=COSINE), head]

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """In the second stage, compute the class weights (C,) and the largest permitted norm."""
        if stage.name == SECOND:
            self.weights_ = effective_number_weights(train.counts, self.beta)
            net.register_buffer("largest_norm", bound(cast(LinearHead, net.head).weight, self.threshold))

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Cross-entropy of logits (N, C), weighted by class in the second stage."""
        return F.cross_entropy(logits, labels, self.weights_ if now.stage == SECOND else None)

    def after_step(self, net: Classifier, now: Now) -> None:
        """In the second stage, shorten class vectors that are longer than permitted."""
        if now.stage == SECOND:
            project(cast(LinearHead, net.head).weight, net.get_buffer("largest_norm"))

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Remove the buffer with the largest permitted norm."""
        del net.largest_norm
        return net
