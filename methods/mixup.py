"""Mixup: convex combinations of two images of a batch and of their losses (Zhang et al. 2018).

Family: mixing
Changes from ERM: for each batch, a weight w is drawn from Beta(`alpha`, `alpha`) and each image x with label y is
replaced by w x + (1 - w) x', where x' with label y' is another image of the batch, chosen by a random permutation. The
loss is w L(z, y) + (1 - w) L(z, y') with the logits z and the loss L of the base, cross-entropy by default.
`level=manifold` mixes, instead of the image, the input of one of the backbone's stages, chosen anew for each batch with
equal probabilities; the input of the first stage is the image (Verma et al. 2019, manifold mixup).
Departs from the paper: nothing known. `alpha=1` is a uniform weight, the value of MiSLAS and Bag of Tricks for CIFAR;
MiSLAS uses 0.2 on large datasets. Bag of Tricks trains for 400 epochs (`--set recipe.epochs=400`), and its manifold
mixup always mixes at the same stage.
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
    """Mixed images and losses, on the loss of a base.

    Attributes:
        alpha: parameter of the weight's distribution Beta(alpha, alpha): 1 is uniform, small values mix little, 0 not
            at all.
        level: what is mixed: images, or the input of a random stage of the backbone.
    """

    continued: ClassVar[bool] = True  # by mislas

    alpha: NonNegative = 1.0
    level: Literal["input", "manifold"] = "input"

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Mix the images of a batch (`level=input`)."""
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
    """Float32 features (N, width) of images whose representations were mixed before one stage of the backbone.

    All stages mix, with a weight of 1 except for the chosen one, so that the choice needs no value on the host.

    Args:
        net: network.
        images: pixels (N, 3, H, W) in [0, 1].
        weight: weight of each row, ().
        order: row of each row's partner, int64 (N,).
        chosen: number in [0, 1) that selects one of the backbone's stages, ().
    """
    maps = net.normalise(images)
    for number, stage in enumerate(net.backbone):
        here = (chosen * len(net.backbone)).long() == number
        maps = stage(torch.lerp(maps[order], maps, torch.where(here, weight, 1).to(maps.dtype)))
    features: Tensor = maps.float()
    return features
