"""SSP: self-supervised pre-training, then any method from that backbone (Yang and Xu 2020).

Family: pre-training
Changes from ERM: a first stage trains the backbone without class labels, for `length` times the epochs of the recipe
and with its schedule. Each image of a batch is rotated counter-clockwise by k quarter turns, k = 0, 1, 2, 3 equally
often and at random, and a separate linear head, trained with cross-entropy, predicts k. Then `base` runs in full, with
its own stages, sampling, loss and head. It starts from the weights and the batch-norm statistics of the pre-trained
backbone; its head has its usual initial weights. `length=0` gives the base alone.
Cost: the pre-training doubles the number of epochs. As a control, train the base alone for twice as many epochs.
Departs from the paper: rotation prediction is used for large images as well, where the paper uses MoCo.
Base: any method of the suite except this one. Epochs that the base would share with a run of another method are trained
again, because they start from other weights. All bases with the linear head and the unchanged network share one
pre-training.
Reported: ResNet-32, 200 + 200 epochs, accuracy on LDAM-DRW at ratio 100 / 50: CIFAR-10-LT 77.8 / 82.1, CIFAR-100-LT
43.4 / 47.1 (Wang et al. 2021, Table 6). With cross-entropy (`base=erm`) and class-balanced sampling
(`base=oversample`) at ratio 100 / 50 / 10: CIFAR-10-LT 73.5 / 78.2 / 87.7 and 76.5 / 80.4 / 88.4, CIFAR-100-LT 40.4 /
45.0 / 57.1 and 43.1 / 47.1 / 58.1 (the authors' repository). Users report lower numbers than the authors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from ..benchmarks.method import Method, Needs, NonNegative, Split, Stage
from ..benchmarks.network import Classifier, LinearHead
from ._shared.rotation import Rotation, detach_rotation_head
from ._shared.whole_base import WholeBase

PRETEXT = "pretext"  # name of the first stage


@dataclass
class SSP(WholeBase):
    """Pre-training by rotation prediction, then a method that starts from the pre-trained backbone.

    Attributes:
        base: name of the method that follows.
        length: epochs of the pre-training, as a multiple of the epochs of the recipe.
    """

    trains_backbone: ClassVar[bool] = True

    base: str = "ldam-drw"
    length: NonNegative = 1.0

    def __post_init__(self) -> None:
        """Create the base and the pretext task.

        Raises:
            UserError: the base is invalid (see `WholeBase`).
        """
        super().__post_init__()
        self.pretext_ = Rotation()

    def acting(self, stage: str) -> Method:
        """Rotation prediction in the first stage, the base in all others."""
        return self.pretext_ if stage == PRETEXT else self.base_

    def stages(self, epochs: int) -> list[Stage]:
        """The pre-training, which does not train the classifier's head, and then the stages of the base."""
        length = math.ceil(self.length * epochs)
        pretext = Stage(PRETEXT, length, trained=("backbone.", "rotation."))
        return [pretext, *super().stages(epochs)] if length else super().stages(epochs)

    def needs(self, epochs: int) -> Needs:
        """Needs of the base; if it has ERM's network, also the pre-training, shared with a run whose base is ERM."""
        needs, base = super().needs(epochs), self.base_
        plain = type(base).network is Method.network and base.head(LinearHead) is LinearHead
        if self.base == "erm" or not plain or not self.length:
            return needs
        prefix, values = min(math.ceil(self.length * epochs), epochs), {"base": "erm", "length": self.length}
        return replace(needs, prefix=prefix, prefix_of="ssp", prefix_values=values)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> Stage | None:
        """After the pre-training, remove its head; then begin the stage of the acting method."""
        if stage.name != PRETEXT:
            detach_rotation_head(net)
        return super().begin_stage(stage, net, train)
