"""Mixup: convex combinations of two images of a batch and of their losses (Zhang et al. 2018).

Family: mixing
Changes from ERM: for each batch, a weight w is drawn from Beta(`alpha`, `alpha`) and each image x with label y is
replaced by w x + (1 - w) x', where x', with label y', is the image that a random permutation of the batch assigns to x.
The loss is w L(z, y) + (1 - w) L(z, y') with the logits z and the loss L of the base, cross-entropy by default.
`level=manifold` mixes, instead of the image, the input of one of the backbone's stages, drawn uniformly for each batch;
the input of the first stage is the image (Verma et al. 2019, manifold mixup).
Departs from the paper: nothing known. `alpha=1`, which gives a uniformly distributed weight, is the value of MiSLAS and
Bag of Tricks for CIFAR; MiSLAS uses 0.2 on large datasets. Bag of Tricks trains for 400 epochs (`--set
recipe.epochs=400`), and its manifold mixup always mixes at the same stage.
Reported: ResNet-32, 400 epochs, accuracy: CIFAR-10-LT ratio 100 74.1, ratio 50 78.7, CIFAR-100-LT ratio 100 40.8, ratio
50 45.9; manifold mixup 75.2, 79.6, 39.9, 45.2 (Bag of Tricks, Zhang et al. 2021). ResNet-32, 200 epochs with the recipe
'mislas': CIFAR-10-LT ratio 100 72.8, CIFAR-100-LT ratio 100 39.5 (Zhong et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..benchmarks.method import Batch, NonNegative, Now
from ..benchmarks.network import Classifier
from ._shared.base import OnBase
from ._shared.mixing import draw_mixing, mix, mixed_loss


@dataclass
class Mixup(OnBase):
    """Mixup of images or of feature maps, with the loss of a base.

    Attributes:
        alpha: parameter of the weight's distribution Beta(alpha, alpha): 1 is uniform, small values mix little, 0 not
            at all.
        level: what is mixed: images, or the input of a random stage of the backbone.
    """

    continued: ClassVar[bool] = True  # by mislas

    alpha: NonNegative = 1.0
    level: Literal["input", "manifold"] = "input"

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Mix the images of a batch if `level=input`."""
        return mix(batch, *draw_mixing(batch, self.alpha, now)) if self.level == "input" else batch

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """Weighted sum of the base's losses for both labels."""
        if self.level == "input":
            return mixed_loss(self.criterion, net(batch.images), batch, now)
        weight, order = draw_mixing(batch, self.alpha, now)
        chosen = torch.rand((), generator=now.generator, device=order.device)
        logits = net.classify(mixed_features(net, batch.images, weight, order, chosen))
        pair = batch._replace(second_labels=batch.labels[order], weight=weight.expand(len(order)))
        return mixed_loss(self.criterion, logits, pair, now)


def mixed_features(net: Classifier, images: Tensor, weight: Tensor, order: Tensor, chosen: Tensor) -> Tensor:
    """Features, float32 (N, width), of images whose representations are mixed at the input of one backbone stage.

    Every stage mixes its input, but with a weight of 1 except at the chosen one: the choice then needs no
    synchronisation with the device.

    Args:
        net: network.
        images: pixels (N, 3, H, W) in [0, 1].
        weight: weight of each row, and 1 minus that of its partner, ().
        order: row of each row's partner, int64 (N,).
        chosen: number in [0, 1) that selects one of the backbone's stages, ().
    """
    maps = net.normalise(images)
    for number, stage in enumerate(net.backbone):
        here = (chosen * len(net.backbone)).long() == number
        maps = stage(torch.lerp(maps[order], maps, torch.where(here, weight, 1).to(maps.dtype)))
    features: Tensor = maps.float()
    return features
