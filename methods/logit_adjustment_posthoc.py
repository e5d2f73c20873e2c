"""Post-hoc logit adjustment: tau times the log prior is subtracted from ERM's logits (Menon et al. 2021).

Family: prior
Changes from ERM: none during training. Afterwards tau log pi is subtracted from the classifier's biases, where
pi_c = n_c / N is the fraction of training images that belong to class c, which raises the logits of rare classes the
most. tau = 0 gives ERM. `choose=validation` chooses tau from 0, 0.1, ..., 4 by the mean per-class accuracy on images
that are held out of the training split, a tenth of each class, and records the choice as `tau`. The run then trains on
the reduced dataset; for a fair comparison, run the other methods with `--set dataset.holdout=true`.
Departs from the paper: nothing known. The paper's schedule for CIFAR was not verified, so the recipe's is used.
Reported: ResNet-32, tau = 1, accuracy: CIFAR-10-LT ratio 100 77.3, CIFAR-100-LT ratio 100 44.1 (README of the reference
code; ERM there 71.4 and 39.9). With a tuned tau, CIFAR-10-LT ratio 100 80.9 (as quoted by later papers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from ..benchmarks.method import Exponent, Method, Needs, Split
from ..benchmarks.network import Classifier
from ._shared.features import features_of
from ._shared.priors import log_prior
from ._shared.validation import best_on_grid

GRID = [step / 10 for step in range(41)]


@dataclass
class PosthocLogitAdjustment(Method):
    """Classifier of an ERM run, from whose biases a multiple of the log class priors is subtracted.

    Attributes:
        tau: factor of the log priors; unused if it is chosen on held-out images.
        choose: whether tau is fixed or chosen on held-out images.
    """

    tau: Exponent = 1.0
    choose: Literal["fixed", "validation"] = "fixed"

    def needs(self, epochs: int) -> Needs:
        """A complete ERM run as shared prefix, and held-out images (`choose=validation`)."""
        return Needs(prefix=epochs, validation=self.choose == "validation")

    @torch.no_grad()
    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Subtract tau log pi from the biases."""
        self.tau_ = self._best(net, train) if self.choose == "validation" else self.tau
        net.get_parameter("head.bias").sub_(self.tau_ * log_prior(train.counts))
        return net

    def _best(self, net: Classifier, train: Split) -> float:
        """The value of GRID with the highest mean per-class accuracy on the held-out images."""
        assert train.validation is not None, "needs() asked for held-out images"
        features, labels = features_of(net, train.validation)
        logits, prior = net.classify(features), log_prior(train.counts)
        return best_on_grid(GRID, lambda tau: logits - tau * prior, labels)

    def final_measures(self, net: Classifier) -> dict[str, float]:
        """The value of tau, if it was chosen on held-out images."""
        return {"tau": self.tau_} if self.choose == "validation" else {}
