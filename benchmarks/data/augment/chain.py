"""Augmentation of a recipe: parameters are drawn first for many images, then applied batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ...recipe import Recipe
from .auto import UNIFORM as AUTO_UNIFORM
from .auto import AutoAugment, auto_augment
from .colour import UNIFORM as COLOUR_UNIFORM
from .colour import cutout, draw_colour, recolour
from .crop import CropFlip
from .resized_crop import ResizedCrop


class Parameters(NamedTuple):
    """Augmentation parameters of N images; parts that the recipe does not use have shape (N, 0).

    Attributes:
        crop: mirrored (0 or 1), row and column of the crop, int64 (N, 3); see `CropFlip`. For resized crops also
            their height and width, int64 (N, 5); see `ResizedCrop`.
        hole: row and column of the centre of Cutout's square, int64 (N, 2); see `cutout`.
        blends: weights of jitter and greyscale, float (N, 7, 3); see `recolour`.
        hue: hue rotation in turns, float (N,); see `recolour`.
        side: neighbour weight of the blur, float (N,); see `recolour`.
        auto: encoded operations of AutoAugment, float (N, 2, 16); see `auto_augment`.
    """

    crop: Tensor
    hole: Tensor
    blends: Tensor
    hue: Tensor
    side: Tensor
    auto: Tensor

    def rows(self, rows: slice) -> Parameters:
        """Parameters of a slice of the images."""
        return Parameters(*(part[rows] for part in self))

    def to(self, device: torch.device | str) -> Parameters:
        """Copy the parameters to another device."""
        return Parameters(*(part.to(device, non_blocking=True) for part in self))


class Augment:
    """The augmentation of a recipe.

    "basic" crops and flips. "simclr" adds colour jitter, greyscale and blur. "autoaugment" replaces crop, flip and
    Cutout with the CIFAR-10 policy; if the recipe keeps them (`keep_base`), the policy follows the crop. Cutout is
    applied before or after the colour operations or the policy.

    Args:
        images: uint8 (N, 3, H, W), on the device of the batches.
        recipe: provides `augment`, `cutout`, `cutout_position`, `keep_base`, `crop_padding`, `crop_scale`, `flip`,
            `channels_last`.
    """

    def __init__(self, images: Tensor, recipe: Recipe) -> None:
        self.recipe = recipe
        has_base = recipe.augment != "autoaugment" or recipe.keep_base
        self.crop = CropFlip(images, recipe.crop_padding, recipe.flip) if has_base else CropFlip(images, 0, False)
        if recipe.crop_scale:
            self.crop = ResizedCrop(images, recipe.crop_scale, recipe.flip)
        self.cutout = recipe.cutout if has_base else 0
        self.size = torch.tensor(images.shape[2:])
        self.auto = AutoAugment(*images.shape[2:]) if recipe.augment == "autoaugment" else None

    def draw(self, count: int, random: Callable[[str], torch.Generator]) -> Parameters:
        """Draw parameters for `count` images, on the CPU.

        Args:
            count: number of images.
            random: returns the CPU generator for a purpose. Crops use "augment", everything else uses "colour", so that
                a seed gives the same crops in every recipe.
        """
        crop = self.crop.draw(count, random("augment"))
        unused = torch.zeros(count, 0)
        hole, colours, auto = unused.long(), (unused, unused, unused), unused
        if self.cutout or self.recipe.augment != "basic":
            total = 2 + COLOUR_UNIFORM + AUTO_UNIFORM
            uniform = torch.rand(count, total, generator=random("colour"), dtype=torch.float64)
            for_hole, for_colour, for_auto = uniform.split([2, COLOUR_UNIFORM, AUTO_UNIFORM], 1)
            hole = (for_hole * self.size).long() if self.cutout else hole
            colours = draw_colour(for_colour) if self.recipe.augment == "simclr" else colours
            auto = self.auto.draw(for_auto) if self.auto else auto
        return Parameters(crop, hole, *colours, auto)

    def __call__(self, index: Tensor, parameters: Parameters) -> Tensor:
        """Augment the images at `index` (B,) with the parameters of B images: float (B, 3, H, W) in [0, 1]."""
        before = self.recipe.cutout_position == "before"
        images = self.crop(index, parameters.crop)
        if self.cutout and before:
            images = cutout(images, parameters.hole, self.cutout)
        if self.auto:
            images = auto_augment(images, parameters.auto)
        if self.recipe.augment == "simclr":
            images = recolour(images.float().div_(255), parameters.blends, parameters.hue, parameters.side)
        if self.cutout and not before:
            images = cutout(images, parameters.hole, self.cutout)
        return as_floats(images, self.recipe)

    def fresh(self, index: Tensor, random: torch.Generator) -> Tensor:
        """Augment the images at `index` (B,) with new parameters from a CPU generator: float (B, 3, H, W) in [0, 1]."""
        parameters = self.draw(len(index), lambda purpose: random)
        if index.is_cuda:  # copying from pageable memory would make the host wait
            parameters = Parameters(*(part.pin_memory() for part in parameters))
        return self(index, parameters.to(index.device))


def as_floats(images: Tensor, recipe: Recipe) -> Tensor:
    """Convert images (N, 3, H, W), bytes or floats in [0, 1], to floats in [0, 1] in the recipe's memory format.

    Features (N, width) are returned unchanged.
    """
    if images.dim() == 2:
        return images
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    floats = images.to(torch.float32, memory_format=layout)
    return floats if images.is_floating_point() else floats.div_(255)
