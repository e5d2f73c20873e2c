"""The linear head of an ERM run, for methods whose first stage is that run and whose final head is another one."""

from __future__ import annotations

from typing import cast

from ...benchmarks.method import Backbone
from ...benchmarks.network import Classifier, Head, LinearHead


def network_and_erm_head(backbone: Backbone, num_classes: int, head: Head) -> tuple[Classifier, LinearHead]:
    """A network with its final head, and the linear head that replaces it while the network trains as in ERM.

    The linear head draws its initial weights first, so they are those of an ERM run.

    Args:
        backbone: function that builds a backbone.
        num_classes: number of classes, C.
        head: builder of the final head.
    """
    layers = backbone()
    linear = LinearHead(cast(int, layers.width), num_classes)
    return Classifier(layers, head, num_classes), linear
