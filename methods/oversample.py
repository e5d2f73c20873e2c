"""Oversampling: rare classes are drawn more often, from the first epoch.

Family: sampling
Changes from ERM: images are drawn with replacement with weight 1 / n^gamma, where n is the size of the image's class,
so that the probability of a class is proportional to n^(1 - gamma). gamma = 0 draws images uniformly, 1 draws classes
uniformly, larger values favour the tail (equation 1 of Kozerawski et al. 2020). The length of an epoch stays the same,
whereas drawing every class as often as the largest would make it longer. `draw=class-aware` cycles through the classes
and draws `per_class` images of each in a row, without repeating an image before its class is exhausted (Kang et al.
2020).
Departs from the papers: nothing known.
Reported: WRN-28-10, 200 epochs, strong augmentation, accuracy: CIFAR-10-LT ratio 100 75.1, CIFAR-100-LT ratio 100
42.5 (Zada et al. 2022, Table 1, 4 runs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from ..benchmarks.errors import UserError
from ..benchmarks.method import LATER, ClassAware, Exponent, Method, Now, SmallInt


@dataclass
class Oversample(Method):
    """Class-rebalanced sampling from the first epoch.

    Attributes:
        gamma: strength of rebalancing: 0 draws images uniformly, 1 draws classes uniformly.
        draw: draw classes and images independently with replacement, or cycle through the classes and the images of
            each; the latter requires gamma = 1.
        per_class: number of images that are drawn from a class in a row if `draw` is `class-aware`.
    """

    gamma: Exponent = 1.0
    draw: Annotated[Literal["independent", "class-aware"], LATER] = "independent"
    per_class: Annotated[SmallInt, LATER] = 4

    def __post_init__(self) -> None:
        """Check that the fields fit together.

        Raises:
            UserError: `draw` is `class-aware` and `gamma` is not 1.
        """
        if self.draw == "class-aware" and self.gamma != 1:
            raise UserError(
                f"gamma = {self.gamma:g}: draw=class-aware draws all classes equally often, which is gamma = 1. "
                "Leave gamma out or use draw=independent."
            )

    def sampling(self, counts: Tensor, now: Now) -> Tensor | ClassAware:
        """Unnormalised class probabilities (C,) or class-aware sampling, the same in every epoch."""
        return ClassAware(self.per_class) if self.draw == "class-aware" else counts.double() ** (1 - self.gamma)
