"""Remix: mixup whose label weights favour the smaller of two classes (Chou et al. 2020).

Family: mixing
Changes from ERM: images are mixed as in mixup: x is replaced by w x + (1 - w) x', with w drawn from Beta(`alpha`,
`alpha`) for each batch. The weight of the labels depends on the sizes n and n' of the classes of x and x': the label of
x has weight 0 if n / n' >= `kappa` and w < `tau`, weight 1 if n / n' <= 1 / `kappa` and 1 - w < `tau`, and otherwise
weight w; the label of x' has the remaining weight. The loss of an image is the sum of the losses of both labels with
these weights, and the loss of a batch is the mean over its images.
Departs from the paper: nothing known. The code of Bag of Tricks multiplies these weights by losses that are
already averaged over the batch, so that a pair's weights are not applied to its own losses; this is not reproduced.
Reported: ResNet-32, 400 epochs, accuracy: CIFAR-10-LT ratio 100 73.4, ratio 50 79.3, CIFAR-100-LT ratio 100 41.4, ratio
50 45.7 (Bag of Tricks, Zhang et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..benchmarks.errors import UserError
from ..benchmarks.method import Batch, Fraction, NonNegative, Now, Ratio, Split, Stage
from ..benchmarks.network import Classifier
from ._shared.base import OnBase
from ._shared.losses import has_image_losses, image_losses
from ._shared.mixing import draw_mixing, mix


@dataclass
class Remix(OnBase):
    """Mixed images with label weights that favour the smaller class, on the loss of a base.

    Attributes:
        alpha: parameter of the weight's distribution Beta(alpha, alpha): 1 is uniform, small values mix little, 0 not
            at all.
        kappa: ratio of class sizes from which the smaller class can get the whole label; a value above the largest
            ratio in the dataset gives mixup.
        tau: the smaller class gets the whole label if the weight of the image of the larger class is below this.
    """

    alpha: NonNegative = 1.0
    kappa: Ratio = 3.0
    tau: Fraction = 0.5

    def __post_init__(self) -> None:
        """Fill in the hyper-parameters of the base and check that its loss is a mean over images.

        Raises:
            UserError: the base is invalid (see `OnBase`), or its loss is not a mean over images.
        """
        super().__post_init__()
        if not has_image_losses(self.make_base()):
            raise UserError(
                f"base = {self.base}: remix weights the losses of single images, but the loss of '{self.base}' is not "
                "their mean. Choose a base such as erm or focal."
            )

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> Stage | None:
        """Begin the stage of the base and keep the class sizes."""
        self.counts_ = train.counts
        return super().begin_stage(stage, net, train)

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Mix the images of a batch and weight their labels by class size."""
        weight, order = draw_mixing(batch, self.alpha, now)
        sizes = self.counts_[batch.labels]
        weights = label_weights(sizes, sizes[order], weight, self.kappa, self.tau)
        return mix(batch, weight, order)._replace(weight=weights)

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """Mean over the images of the weighted sum of the base's losses for both labels."""
        assert batch.second_labels is not None
        assert batch.weight is not None
        logits = net(batch.images)
        first, second = (image_losses(self.base_, logits, y, now) for y in (batch.labels, batch.second_labels))
        return (batch.weight * first + (1 - batch.weight) * second).mean()


def label_weights(sizes: Tensor, partners: Tensor, weight: Tensor, kappa: float, tau: float) -> Tensor:
    """Weight of the first label of each mixed image (N,), by the rule of the paper (equation 10).

    Args:
        sizes: number of training images of the class of each image, int64 (N,), all positive.
        partners: number of training images of the class of each image's partner, int64 (N,), all positive.
        weight: weight w with which the images were mixed, float ().
        kappa: ratio of class sizes from which the smaller class can get the whole label.
        tau: the smaller class gets the whole label if the weight of the image of the larger class is below this.
    """
    ratio = sizes.double() / partners
    larger, smaller = (ratio >= kappa) & (weight < tau), (ratio <= 1 / kappa) & (1 - weight < tau)
    return torch.where(larger, 0, torch.where(smaller, 1, weight))
