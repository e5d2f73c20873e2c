"""CB-RW: cross-entropy with class-balanced weights from the first epoch (Cui et al. 2019).

Family: re-weighting
Changes from ERM: the loss of each image is weighted by the inverse effective number of its class, and the weighted sum
over a batch is divided by the sum of the weights. DRW does the same, but only in the last part of training.
Departs from the paper: softmax cross-entropy with beta 0.9999, as in the reference code of LDAM.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 72.4, CIFAR-100-LT ratio 100 34.0 (Cao et al. 2019,
Tables 2 and 5; best test epoch).
"""

from __future__ import annotations

from dataclasses import dataclass

from ._shared.losses import ClassWeighted


@dataclass
class CBRW(ClassWeighted):
    """Cross-entropy with class-balanced weights from the first epoch."""
