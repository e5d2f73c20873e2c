"""Reference implementation of the augmentation: image by image, with torchvision's operations, slow but readable.

It applies the parameters of the fast path, decoded into operation names and strengths. Tests compare the two
implementations; `bench run --plain` trains with this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from ...recipe import Recipe
from .auto import cifar_policy, operation, strength
from .chain import Augment, Parameters, as_floats

Step = tuple[str, float]  # an operation and its strength


class PlainAugment(Augment):
    """Reference implementation of `Augment` that processes image by image.

    Args:
        images: uint8 (N, 3, H, W).
        recipe: see `Augment`.
    """

    def __init__(self, images: Tensor, recipe: Recipe) -> None:
        super().__init__(images, recipe)
        self.images = images

    def __call__(self, index: Tensor, parameters: Parameters) -> Tensor:
        """Augment the images at `index` (B,) with the parameters of B images: float (B, 3, H, W) in [0, 1]."""
        images = [self._augmented(int(k), Parameters(*(p[row] for p in parameters))) for row, k in enumerate(index)]
        return as_floats(torch.stack(images), self.recipe)

    def _augmented(self, position: int, own: Parameters) -> Tensor:
        cropped = self._resized if self.recipe.crop_scale else self._cropped
        image = cropped(self.images[position], *own.crop.tolist())
        before = self.recipe.cutout_position == "before"
        if self.cutout and before:
            image = cut_out(image, own.hole.tolist(), self.cutout)
        if self.recipe.augment == "autoaugment":
            for row in own.auto:
                name, amount = self._steps[tuple(row.tolist())]
                image = OPERATIONS[name](image, amount)
        if self.recipe.augment == "simclr":
            image = recolour(image.float() / 255, own)
        if self.cutout and not before:
            image = cut_out(image, own.hole.tolist(), self.cutout)
        return image

    def _cropped(self, image: Tensor, mirrored: int, row: int, column: int) -> Tensor:
        """Pad with black, mirror and crop."""
        height, width = image.shape[1:]
        image = F.pad(image, ((self.crop.shifts - 1) // 2,) * 4)
        image = functional.hflip(image) if mirrored else image
        return image[:, row : row + height, column : column + width]

    def _resized(self, image: Tensor, mirrored: int, top: int, left: int, height: int, width: int) -> Tensor:
        """Crop, resize to the original size and mirror; float (3, H, W) in [0, 1]."""
        size = list(image.shape[1:])
        image = functional.resized_crop(image.float() / 255, top, left, height, width, size, antialias=True)
        return functional.hflip(image) if mirrored else image

    @cached_property
    def _steps(self) -> dict[tuple[float, ...], Step]:
        """Map each row of numbers to the operation and strength that it encodes."""
        height, width = self.images.shape[2:]
        steps: dict[tuple[float, ...], Step] = {}
        for name, level in [("Identity", None), *((n, level) for pair in cifar_policy() for n, _, level in pair)]:
            for sign in (-1, 1):
                amount = strength(name, level, sign, height, width)
                row = torch.tensor(operation(name, amount, height, width)).tolist()
                steps[tuple(row)] = name, amount
        return steps


def cut_out(image: Tensor, centre: list[int], side: int) -> Tensor:
    """Set a square of `side` pixels around a pixel (row, column) of an image (3, H, W) to black, clipped at borders."""
    image, (top, left) = image.clone(), (position - side // 2 for position in centre)
    image[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
    return image


def recolour(image: Tensor, own: Parameters) -> Tensor:
    """Apply SimCLR's jitter, greyscale and blur to an image.

    Args:
        image: float (3, H, W) in [0, 1].
        own: augmentation parameters of the image, without the dimension N.
    """
    for step in own.blends[:3]:
        image = blend(image, *step.tolist())
    image = functional.adjust_hue(image, float(own.hue))
    for step in own.blends[3:]:
        image = blend(image, *step.tolist())
    side = float(own.side)
    if side == 0:
        return image
    sigma = math.sqrt(-0.5 / math.log(side / (1 - 2 * side)))  # inverse of `side_weight`
    blurred: Tensor = functional.gaussian_blur(image, [3, 3], [sigma, sigma])
    return blurred


def blend(image: Tensor, factor: float, luma: float, mean: float) -> Tensor:
    """Apply one jitter step or the greyscale to an image, float (3, H, W); for the weights see `colour.blend`."""
    out: Tensor
    if (factor, luma) == (0, 1):
        out = functional.rgb_to_grayscale(image, 3)
    elif luma:
        out = functional.adjust_saturation(image, factor)
    else:
        out = functional.adjust_contrast(image, factor) if mean else functional.adjust_brightness(image, factor)
    return out


def affine(image: Tensor, translate: tuple[int, int], shear: tuple[float, float], centre: list[int] | None) -> Tensor:
    """Translate and shear an image.

    Args:
        image: uint8 (3, H, W).
        translate: shift in pixels, (x, y).
        shear: tangents of the shear angles, (x, y).
        centre: fixed point of the shear, [x, y]; None for the centre of the image.
    """
    degrees = [math.degrees(math.atan(tangent)) for tangent in shear]
    out: Tensor = functional.affine(image, 0.0, list(translate), 1.0, degrees, InterpolationMode.NEAREST, center=centre)
    return out


# The operations of AutoAugment, as functions of an image, uint8 (3, H, W), and a strength.
OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Identity": lambda image, _: image,
    "ShearX": lambda image, amount: affine(image, (0, 0), (amount, 0.0), [0, 0]),
    "ShearY": lambda image, amount: affine(image, (0, 0), (0.0, amount), [0, 0]),
    "TranslateX": lambda image, amount: affine(image, (int(amount), 0), (0.0, 0.0), None),
    "TranslateY": lambda image, amount: affine(image, (0, int(amount)), (0.0, 0.0), None),
    "Rotate": lambda image, amount: functional.rotate(image, amount, InterpolationMode.NEAREST),
    "Brightness": lambda image, amount: functional.adjust_brightness(image, 1 + amount),
    "Color": lambda image, amount: functional.adjust_saturation(image, 1 + amount),
    "Contrast": lambda image, amount: functional.adjust_contrast(image, 1 + amount),
    "Sharpness": lambda image, amount: functional.adjust_sharpness(image, 1 + amount),
    "Posterize": lambda image, amount: functional.posterize(image, int(amount)),
    "Solarize": functional.solarize,
    "Invert": lambda image, _: functional.invert(image),
    "AutoContrast": lambda image, _: functional.autocontrast(image),
    "Equalize": lambda image, _: functional.equalize(image),
}
