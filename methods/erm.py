"""ERM: empirical risk minimisation, plain cross-entropy on every image once per epoch.

Family: baseline

The baseline of every table. It does nothing about class imbalance.

Changes from ERM: none.
Departs from the papers: nothing known.
Reported: ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 100 70.4, CIFAR-100-LT ratio 100 38.3 (Cao et al. 2019,
Tables 2 and 5; best test epoch). Independent re-runs of CIFAR-10-LT reach 71.2 to 73.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..benchmarks.method import Method


@dataclass
class ERM(Method):
    """Plain cross-entropy: all hooks keep the defaults of `Method`."""

    continued: ClassVar[bool] = True
