"""Batched augmentation on the device, with individual parameters per image."""

from __future__ import annotations

from torch import Tensor

from ...recipe import Recipe
from .chain import Augment, Parameters, as_floats
from .crop import CropFlip
from .features import FeatureRows

__all__ = ["Augment", "CropFlip", "Parameters", "as_floats", "make_augment"]


def make_augment(images: Tensor, recipe: Recipe) -> Augment:
    """The augmentation of a recipe for uint8 images (N, 3, H, W); image by image if the recipe is plain.

    Features (N, width) in place of images are not augmented.
    """
    if images.dim() == 2:
        return FeatureRows(images, recipe)
    if recipe.plain:
        from .plain import PlainAugment  # importing torchvision's transforms takes a second

        return PlainAugment(images, recipe)
    return Augment(images, recipe)
