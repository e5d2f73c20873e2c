"""Features of a frozen backbone in place of images; nothing is augmented."""

from __future__ import annotations

import torch
from torch import Tensor

from ...recipe import Recipe
from .chain import Augment
from .crop import CropFlip


class Rows(CropFlip):
    """Takes the place of crops of images: rows of a table, without parameters.

    Args:
        features: float32 (N, width), on the device of the batches.
    """

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Empty parameters, int64 (count, 0)."""
        return torch.zeros(count, 0, dtype=torch.int64)

    def __call__(self, index: Tensor, parameters: Tensor) -> Tensor:
        """Features (B, width) at the positions `index` (B,)."""
        return self.features[index]


class FeatureRows(Augment):
    """Augmentation that leaves features unchanged, of a recipe without augmentation.

    Args:
        features: float32 (N, width), on the device of the batches.
        recipe: provides the batch size.
    """

    def __init__(self, features: Tensor, recipe: Recipe) -> None:
        self.recipe, self.crop, self.cutout, self.auto = recipe, Rows(features), 0, None
