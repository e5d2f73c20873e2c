"""Features of a frozen backbone in place of images; nothing is augmented."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...recipe import Recipe
from .chain import Augment, Parameters


class FeatureRows(Augment):
    """Reads features at given positions; its parameters are empty.

    Args:
        features: float32 (N, width), on the device of the batches.
        recipe: provides the batch size.
    """

    def __init__(self, features: Tensor, recipe: Recipe) -> None:
        self.recipe, self.features = recipe, features

    def draw(self, count: int, random: Callable[[str], torch.Generator]) -> Parameters:
        """Empty parameters for `count` rows."""
        none = torch.zeros(count, 0)
        return Parameters(none.long(), none.long(), none, none, none, none)

    def __call__(self, index: Tensor, parameters: Parameters) -> Tensor:
        """Features (B, width) at the positions `index` (B,)."""
        return self.features[index]

    def crop(self, index: Tensor, parameters: Tensor) -> Tensor:
        """Features (B, width) at the positions `index` (B,)."""
        return self.features[index]
