"""cRT: a new linear classifier on the frozen features of ERM, trained on class-aware batches (Kang et al. 2020).

Family: decoupled
Changes from ERM: a second stage of `second` epochs follows an ERM run. The backbone is frozen, the linear classifier
gets new initial weights and is trained alone with cross-entropy; batches cycle through the classes with 4 images of
each. The learning rate is the recipe's, with 5 epochs of warm-up, and falls to a tenth after one third and again after
two thirds of the stage; the weight decay is 5e-4.
Departs from the paper: the paper has no experiments on CIFAR; the settings are those of the BagofTricks code. On
ImageNet-LT the paper trains 10 epochs with a cosine schedule. As in the released code, frozen batch norms normalise
with batch statistics and update the running ones; `norms=eval` keeps those of the first stage.
Reported: ResNet-32, 200 + 30 epochs, accuracy: CIFAR-10-LT ratio 100 75.0, CIFAR-100-LT ratio 100 40.3 (BagofTricks,
README; best test epoch). ResNeXt-50, 90 + 10 epochs, ImageNet-LT 49.6 (Kang et al. 2020); the released model reaches
that on the validation split and 48.1 on the test split.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..benchmarks.method import Stage
from ._shared.decoupled import Decoupled


@dataclass
class CRT(Decoupled):
    """Classifier re-training on the features of an ERM run."""

    def second_stage(self) -> Stage:
        """The stage that trains a new head."""
        return dataclasses.replace(super().second_stage(), fresh_head=True)
