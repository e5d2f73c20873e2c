"""NCM: the class whose mean feature is nearest, on the features of ERM (Kang et al. 2020).

Family: decoupled
Changes from ERM: none during training. Afterwards the features f of all training images, not augmented and in
evaluation mode, are mapped to g(f); class c is represented by the mean m_c of its g(f), and its score is
-|g(f) - m_c|^2. `space=raw` means g(f) = f; `l2` divides f by its norm; `centred-l2`, the default, first subtracts the
mean of all training features. The means are not normalised again.
Departs from the paper: there, class means are scaled to length 1 and compared by cosine or Euclidean distance; the
three spaces are those of the released code. The scores rank the classes but are not log-probabilities, so calibration
errors of this method are not meaningful.
Reported: ResNeXt-50, 90 epochs, accuracy: ImageNet-LT 47.3 (many 56.6, medium 45.3, few 28.1; Kang et al. 2020). No
published number on CIFAR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..benchmarks.method import Backbone, Method, Needs, Split, Stage
from ..benchmarks.network import Classifier, Head
from ._shared.erm_head import network_and_erm_head
from ._shared.features import features_of

Space = Literal["raw", "l2", "centred-l2"]


class NearestMean(nn.Module):
    """Head with scores -|g(f) - m_c|^2 for features f, where m_c is the mean of the mapped features g(f) of class c.

    Args:
        width: number of features.
        num_classes: number of classes, C.
        space: name of the map g; see the method card.

    Attributes:
        centre: vector (width,) that g subtracts; zero unless the space is "centred-l2".
        means: class means (C, width).
    """

    def __init__(self, width: int, num_classes: int, space: Space) -> None:
        super().__init__()
        self.space = space
        self.centre: Tensor
        self.means: Tensor
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("means", torch.zeros(num_classes, width))

    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Compute the centre and the class means from training features.

        Args:
            features: (N, width).
            labels: int64 (N,); every class occurs.
        """
        if self.space == "centred-l2":
            self.centre.copy_(features.double().mean(0))
        mapped = self.mapped(features).double()
        counts = torch.bincount(labels, minlength=len(self.means))
        sums = torch.zeros_like(self.means, dtype=torch.float64).index_add_(0, labels, mapped)
        self.means.copy_(sums / counts[:, None])

    def mapped(self, features: Tensor) -> Tensor:
        """Mapped features g(f) of features f, both (N, width)."""
        centred = features - self.centre
        return centred if self.space == "raw" else F.normalize(centred, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, width) to scores (N, C), at most 0."""
        # for large inputs, torch would use a matrix product, which loses digits to cancellation
        distances = torch.cdist(self.mapped(features), self.means, compute_mode="donot_use_mm_for_euclid_dist")
        return -(distances**2)


@dataclass
class NCM(Method):
    """Nearest class mean in the feature space of an ERM run.

    Attributes:
        space: features that are averaged and compared: unchanged, scaled to length 1, or centred and then scaled to
            length 1.
    """

    space: Space = "centred-l2"

    def needs(self, epochs: int) -> Needs:
        """A complete ERM run as shared prefix."""
        return Needs(prefix=epochs)

    def head(self, default: Head) -> Head:
        """The nearest-mean head."""
        return partial(NearestMean, space=self.space)

    def network(self, backbone: Backbone, num_classes: int, head: Head) -> Classifier:
        """The final network; the linear head for training is initialised first, with the weights of an ERM run."""
        net, self.head_ = network_and_erm_head(backbone, num_classes, head)
        return net

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Replace the nearest-mean head by the linear head until the end of training."""
        net.head = self.head_

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Replace the linear head by class means of the training features."""
        features, labels = features_of(net, train)
        head = NearestMean(features.shape[1], train.num_classes, self.space).to(features.device)
        head.fit(features, labels)
        net.head = head
        return net
