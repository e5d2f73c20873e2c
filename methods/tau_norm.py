"""Tau-norm: class vectors of the ERM classifier divided by a power of their norms (Kang et al. 2020).

Family: decoupled
Changes from ERM: none during training. Afterwards the classifier has the weights w_c / |w_c|^tau and no biases, which
lowers the logits of frequent classes, whose vectors have grown longest. tau = 0 leaves the weights as they are, tau = 1
gives all class vectors the same length. `choose=validation` chooses tau from 0, 0.1, ..., 2 by the mean per-class
accuracy on images that are held out of the training split, a tenth of each class, and records the choice as `tau`. The
run then trains on the reduced dataset; for a fair comparison, run the other methods with `--set dataset.holdout=true`.
Departs from the paper: the paper chooses tau on a validation split; CIFAR-LT has none, and 1 is the usual value there.
The norms grow with class sizes when trained with SGD, but not necessarily with adaptive optimisers.
Reported: ResNet-32, 200 epochs, tau = 1, accuracy: CIFAR-10-LT ratio 100 72.7, CIFAR-100-LT ratio 100 41.0
(BagofTricks, README; best test epoch; keeps the biases). ResNeXt-50, 90 epochs, ImageNet-LT 49.4 (Kang et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from ..benchmarks.method import Exponent, Method, Needs, Split
from ..benchmarks.network import Classifier, LinearHead
from ._shared.features import features_of
from ._shared.validation import best_on_grid

GRID = [step / 10 for step in range(21)]


def normalised(weight: Tensor, tau: float) -> Tensor:
    """Class vectors w_c / |w_c|^tau, (C, d); a zero vector stays zero.

    Args:
        weight: class vectors w_c (C, d).
        tau: exponent of the norms, >= 0.
    """
    norms = weight.norm(dim=1, keepdim=True)
    return torch.where(norms > 0, weight / norms**tau, 0)


@dataclass
class TauNorm(Method):
    """Classifier of an ERM run, with its class vectors divided by a power of their norms.

    Attributes:
        tau: exponent of the norms; unused if it is chosen on held-out images.
        choose: whether tau is fixed or chosen on held-out images.
    """

    tau: Exponent = 1.0
    choose: Literal["fixed", "validation"] = "fixed"

    def needs(self, epochs: int) -> Needs:
        """A complete ERM run as shared prefix, and held-out images (`choose=validation`)."""
        return Needs(prefix=epochs, validation=self.choose == "validation")

    @torch.no_grad()
    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Normalise the class vectors and set the biases to zero."""
        head = cast(LinearHead, net.head)
        self.tau_ = self._best(net, train) if self.choose == "validation" else self.tau
        head.weight.copy_(normalised(head.weight, self.tau_))
        head.bias.zero_()
        return net

    def _best(self, net: Classifier, train: Split) -> float:
        """The value of GRID with the highest mean per-class accuracy on the held-out images."""
        assert train.validation is not None, "needs() asked for held-out images"
        weight = cast(LinearHead, net.head).weight
        features, labels = features_of(net, train.validation)
        return best_on_grid(GRID, lambda tau: features @ normalised(weight, tau).T, labels)

    def final_measures(self, net: Classifier) -> dict[str, float]:
        """The value of tau, if it was chosen on held-out images."""
        return {"tau": self.tau_} if self.choose == "validation" else {}
