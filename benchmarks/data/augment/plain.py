"""The augmentation once more, one image at a time, with torchvision's operations: slow, and easy to read.

It applies the parameters that the fast path drew, decoded into names and strengths. Tests hold one path against the
other; `bench run --plain` trains with this one.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from ...recipe import Recipe
from . import Augment, Parameters, as_floats
from .auto import cifar_policy, operation, strength

Step = tuple[str, float]  # an operation and its strength


class PlainAugment(Augment):
    """As `Augment`, image by image.

    Args:
        images: uint8 (N, 3, H, W).
        recipe: as there.
    """

    def __init__(self, images: Tensor, recipe: Recipe) -> None:
        super().__init__(images, recipe)
        self.images = images

    def __call__(self, index: Tensor, parameters: Parameters) -> Tensor:
        """Images at `index` (B,) with the parameters of B images applied, float (B, 3, H, W) in [0, 1]."""
        done = [self._one(int(k), Parameters(*(part[row] for part in parameters))) for row, k in enumerate(index)]
        return as_floats(torch.stack(done), self.recipe)

    def _one(self, number: int, own: Parameters) -> Tensor:
        image = self._cropped(self.images[number], *own.crop.tolist())
        before = self.recipe.cutout_position == "before"
        if self.cutout and before:
            image = cut_out(image, own.hole.tolist(), self.cutout)
        if self.recipe.augment == "autoaugment":
            for row in own.auto:
                image = apply_policy(image, *self._steps[tuple(row.tolist())])
        if self.recipe.augment == "simclr":
            image = recolour(image.float() / 255, own)
        if self.cutout and not before:
            image = cut_out(image, own.hole.tolist(), self.cutout)
        return image

    def _cropped(self, image: Tensor, mirrored: int, row: int, column: int) -> Tensor:
        """Pad with black, mirror, cut a window."""
        height, width = image.shape[1:]
        image = F.pad(image, ((self.crop.shifts - 1) // 2,) * 4)
        return functional.crop(functional.hflip(image) if mirrored else image, row, column, height, width)

    @cached_property
    def _steps(self) -> dict[tuple[float, ...], Step]:
        """Which operation of the policy each row of numbers stands for."""
        height, width = self.images.shape[2:]
        found: dict[tuple[float, ...], Step] = {}
        for name, level in [("Identity", None), *((n, level) for pair in cifar_policy() for n, _, level in pair)]:
            for sign in (-1, 1):
                amount = strength(name, level, sign, height, width)
                row = torch.tensor(operation(name, amount, height, width)).tolist()
                found[tuple(row)] = name, amount
        return found


def cut_out(image: Tensor, centre: list[int], side: int) -> Tensor:
    """Blacken a square around a pixel, row and column, of an image (3, H, W)."""
    image, (top, left) = image.clone(), (place - side // 2 for place in centre)
    image[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
    return image


def recolour(image: Tensor, own: Parameters) -> Tensor:
    """SimCLR's jitter, greyscale and blur, float (3, H, W) in [0, 1]."""
    for step in own.blends[:3]:
        image = blend(image, *step.tolist())
    image = functional.adjust_hue(image, float(own.hue))
    for step in own.blends[3:]:
        image = blend(image, *step.tolist())
    side = float(own.side)
    if side == 0:
        return image
    sigma = math.sqrt(-0.5 / math.log(side / (1 - 2 * side)))  # of the Gaussian whose neighbour weighs `side`
    return functional.gaussian_blur(image, [3, 3], [sigma, sigma])


def blend(image: Tensor, factor: float, luma: float, mean: float) -> Tensor:
    """One step of the jitter, or the greyscale; see `arrange` and `blend` of the fast path for the three weights."""
    if (factor, luma) == (0, 1):
        return functional.rgb_to_grayscale(image, 3)
    if luma:
        return functional.adjust_saturation(image, factor)
    return functional.adjust_contrast(image, factor) if mean else functional.adjust_brightness(image, factor)


def apply_policy(image: Tensor, name: str, amount: float) -> Tensor:
    """One operation of AutoAugment, uint8 (3, H, W)."""
    nearest, degrees = InterpolationMode.NEAREST, math.degrees(math.atan(amount))
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], "interpolation": nearest}
    match name:
        case "ShearX":
            return functional.affine(image, **still | {"shear": [degrees, 0.0]}, center=[0, 0])
        case "ShearY":
            return functional.affine(image, **still | {"shear": [0.0, degrees]}, center=[0, 0])
        case "TranslateX":
            return functional.affine(image, **still | {"translate": [int(amount), 0]})
        case "TranslateY":
            return functional.affine(image, **still | {"translate": [0, int(amount)]})
        case "Rotate":
            return functional.rotate(image, amount, nearest)
        case "Brightness":
            return functional.adjust_brightness(image, 1 + amount)
        case "Color":
            return functional.adjust_saturation(image, 1 + amount)
        case "Contrast":
            return functional.adjust_contrast(image, 1 + amount)
        case "Sharpness":
            return functional.adjust_sharpness(image, 1 + amount)
        case "Posterize":
            return functional.posterize(image, int(amount))
        case "Solarize":
            return functional.solarize(image, amount)
        case "Invert":
            return functional.invert(image)
        case "AutoContrast":
            return functional.autocontrast(image)
        case "Equalize":
            return functional.equalize(image)
    return image
