"""DRW: deferred re-weighting on cross-entropy or the loss of another method (Cao et al. 2019).

Family: re-weighting
Changes from ERM: after a fraction `defer` of training, the loss of each image is weighted by the inverse effective
number of its class, and the weighted sum over a batch is divided by the sum of the weights. The loss is cross-entropy,
or that of `base`.
Departs from the paper: weights as in the reference code; the paper's algorithm uses 1/n (`--set weighting=inverse`).
Zhang et al. 2021 use the name for other deferrals too: on balanced softmax, their code defers the prior itself and has
no class weights; on focal loss (sigmoids), it weights by 1/n and divides by the number of images.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 74.9, CIFAR-100-LT ratio 100 40.7 (Table 3; best test
epoch).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import torch.nn.functional as F
from torch import Tensor

from ..benchmarks.errors import UserError
from ..benchmarks.method import LATER, BelowOne, Moment, Needs, Now, Split, Stage
from ..benchmarks.network import Classifier
from ._shared.base import OnBase, begins_as_base
from ._shared.class_weights import class_weights
from ._shared.losses import ClassWeighted, has_image_losses, image_losses, image_weights
from ._shared.soft_labels import expected_loss


@dataclass
class DRW(OnBase):
    """The loss of another method with class weights that apply after a fraction of training.

    Attributes:
        base: name of the method whose loss is weighted, such as `focal`; `--set drw.base.NAME=VALUE` sets its
            hyper-parameters.
        weighting: class weights proportional to the inverse effective number or to the inverse count.
        beta: parameter of the effective number, in [0, 1); 0 gives equal weights.
        defer: fraction of training before re-weighting begins (160 of 200 epochs).
    """

    base: Annotated[str, LATER] = "erm"
    base_values: Annotated[dict[str, Any], LATER] = field(default_factory=dict)
    weighting: Literal["effective", "inverse"] = "effective"
    beta: BelowOne = 0.9999
    defer: Moment = 0.8

    def __post_init__(self) -> None:
        """Fill in the hyper-parameters of the base.

        Raises:
            UserError: the base is unknown, or its loss is not a mean of unweighted losses of single images.
        """
        super().__post_init__()
        base = self.make_base()
        if isinstance(base, ClassWeighted) or not has_image_losses(base):
            raise UserError(
                f"'{self.base}' cannot be the base of DRW, which weights the losses of single images: its loss has "
                "class weights of its own or is not a mean over images. "
                f"Use --method {self.base} without drw, or another base, such as erm or focal."
            )

    def needs(self, epochs: int) -> Needs:
        """Needs of the base, and the prefix shared with its run: the epochs before the weights apply."""
        return begins_as_base(self, self.defer, epochs)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Begin the stage of the base, and compute the class weights (C,)."""
        super().begin_stage(stage, net, train)
        self.weights_ = class_weights(train.counts, self.weighting, self.beta)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Loss of the base, weighted from `defer` on, for logits (N, C) and labels (N,) or (N, C)."""
        if now.progress < self.defer:
            return super().criterion(logits, labels, now)
        if labels.ndim == 2:
            return expected_loss(partial(image_losses, self.base_, now=now), logits, labels, self.weights_)
        if self.base == "erm":
            return F.cross_entropy(logits, labels, self.weights_)
        weights = image_weights(labels, self.weights_)
        return (weights * image_losses(self.base_, logits, labels, now)).sum() / weights.sum()
