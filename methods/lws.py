"""LWS: one learnable scale per class on the frozen classifier of ERM (Kang et al. 2020).

Family: decoupled
Changes from ERM: a second stage of `second` epochs follows an ERM run. Backbone and classifier are frozen, and the
logits become s_c (w_c . x + b_c) with one scale s_c per class, 1 at the start. The scales are trained with
cross-entropy; batches cycle through the classes with 4 images of each. The final classifier has the weights s_c w_c
and the biases s_c b_c. The learning rate is the recipe's, with 5 epochs of warm-up, and falls to a tenth after one
third and again after two thirds of the stage; the weight decay of the scales is 5e-4.
Departs from the paper: the paper has no experiments on CIFAR; the settings are those of the BagofTricks code. On
ImageNet-LT the paper trains 5 epochs. As in the released code, frozen batch norms normalise with batch statistics and
update the running ones; `norms=eval` keeps those of the first stage.
Reported: ResNet-32, 200 + 30 epochs, accuracy: CIFAR-10-LT ratio 100 72.6, CIFAR-100-LT ratio 100 40.2 (BagofTricks,
README; best test epoch). ResNeXt-50, 90 + 5 epochs, ImageNet-LT 49.9 (Kang et al. 2020).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import cast

from ..benchmarks.method import Split, Stage
from ..benchmarks.network import Classifier, LinearHead
from ._shared.decoupled import SECOND, Decoupled
from ._shared.scaled_head import ScaledHead


@dataclass
class LWS(Decoupled):
    """Learnable weight scaling of the classifier of an ERM run."""

    def second_stage(self) -> Stage:
        """The stage that trains the scales alone."""
        return dataclasses.replace(super().second_stage(), trained=("head.scale",))

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Attach the scales in the second stage."""
        if stage.name == SECOND:
            net.head = ScaledHead(cast(LinearHead, net.head))

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Multiply the weights and biases by the scales."""
        net.head = cast(ScaledHead, net.head).fold()
        return net
