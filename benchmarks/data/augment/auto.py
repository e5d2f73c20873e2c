"""AutoAugment with the CIFAR-10 policy (Cubuk et al. 2019), batched: a sub-policy is drawn for each image.

A sub-policy is two operations, each with a probability and a magnitude (here: strength). Every operation is encoded as
one row of numbers (`COLUMNS`) for the same four steps: a nearest-neighbour affine map, a look-up table per channel, a
blend with the greyscale image, and a blend with the smoothed image. Steps that an operation does not use are the
identity. Shapes are therefore static, and nothing is read back from the device.

The float32 arithmetic follows torchvision's operations on uint8 tensors step by step, because truncation to bytes
can turn a rounding error into a pixel value that is off by one. Results may differ between devices where a shear or
rotation falls halfway between two pixels.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .colour import LUMA

UNIFORM = 5  # random numbers per image
STEPS = 10  # levels of strength, 0 to 9
# Strength at level 9: tangent of the shear, fraction of width or height, degrees, change of a blend weight. Solarize:
# the threshold (a byte) at level 0.
MAXIMUM = {
    "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 150 / 331, "TranslateY": 150 / 331, "Rotate": 30.0,
    "Brightness": 0.9, "Color": 0.9, "Contrast": 0.9, "Sharpness": 0.9, "Solarize": 255.0,
}  # fmt: skip

# a to f: x' = a x + b y + c, y' = d x + e y + f, from output to input pixels, relative to the centre. mask: bits kept.
# threshold: levels from this one upwards are inverted. image, mean: weights of the image and its mean luma. stretch,
# equalise: 1 or 0. coloured, luma: weights of the image and its luma. sharp, smooth: weights of the image and its
# smoothed version.
COLUMNS = {
    "a": 1, "b": 0, "c": 0, "d": 0, "e": 1, "f": 0, "mask": 255, "threshold": 256, "image": 1, "mean": 0, "stretch": 0,
    "equalise": 0, "coloured": 1, "luma": 0, "sharp": 1, "smooth": 0,
}  # fmt: skip

Policy = list[tuple[tuple[str, float, int | None], tuple[str, float, int | None]]]


def cifar_policy() -> Policy:
    """The 25 sub-policies of torchvision: two operations each, with name, probability and level (None or 0 to 9)."""
    from torchvision.transforms import (
        AutoAugment,
        AutoAugmentPolicy,
    )  # imported here because it takes a second and few runs need it

    return cast(Policy, AutoAugment(AutoAugmentPolicy.CIFAR10).policies)


def strength(name: str, level: int | None, sign: int, height: int, width: int) -> float:
    """Strength of an operation at a level (0 to 9), times `sign` (1 or -1) if it has a direction; 0 without a level."""
    if level is None:
        return 0.0
    if name == "Posterize":
        return 8 - round(4 * level / (STEPS - 1))
    maximum = MAXIMUM[name] * {"TranslateX": width, "TranslateY": height}.get(name, 1)
    # In float32, as in torchvision: a threshold of 170.00000000000003 instead of 170 would miss pixels of value 170.
    ends = (maximum, 0.0) if name == "Solarize" else (0.0, maximum)
    amount = float(torch.linspace(*ends, STEPS, dtype=torch.float32)[level])
    return amount if name == "Solarize" else sign * amount


def operation(name: str, amount: float, height: int, width: int) -> list[float]:
    """Encode an operation as a row, in the order of COLUMNS.

    Args:
        name: torchvision's name of the operation, or "Identity".
        amount: see `strength`.
        height: image height in pixels.
        width: image width in pixels.
    """
    cosine, sine = math.cos(math.radians(amount)), math.sin(math.radians(amount))
    change: dict[str, dict[str, float]] = {
        "Identity": {},
        "ShearX": {"b": amount, "c": amount * height / 2},  # the upper left corner is fixed, not the centre
        "ShearY": {"d": amount, "f": amount * width / 2},
        "TranslateX": {"c": -int(amount)},
        "TranslateY": {"f": -int(amount)},
        "Rotate": {"a": cosine, "b": -sine, "d": sine, "e": cosine},
        "Posterize": {"mask": 256 - 2 ** (8 - int(amount))},
        "Solarize": {"threshold": amount},
        "Invert": {"threshold": 0},
        "AutoContrast": {"stretch": 1},
        "Equalize": {"equalise": 1},
        "Brightness": {"image": 1 + amount},
        "Contrast": {"image": 1 + amount, "mean": 1 - (1 + amount)},
        "Color": {"coloured": 1 + amount, "luma": 1 - (1 + amount)},
        "Sharpness": {"sharp": 1 + amount, "smooth": 1 - (1 + amount)},
    }
    return [float(value) for value in (COLUMNS | change[name]).values()]


class AutoAugment:
    """The CIFAR-10 policy, with every operation precomputed as a row of numbers for one image size.

    Args:
        height: image height in pixels, >= 3.
        width: image width in pixels, >= 3.
    """

    def __init__(self, height: int, width: int) -> None:
        policy = cifar_policy()
        probabilities = [[probability for _, probability, _ in pair] for pair in policy]
        self.probabilities = torch.tensor(probabilities, dtype=torch.float64)  # (25, 2)
        rows = [
            [
                [operation(n, strength(n, level, s, height, width), height, width) for s in (-1, 1)]
                for n, _, level in pair
            ]
            for pair in policy
        ]
        self.rows = torch.tensor(rows, dtype=torch.float64).float()  # (25, 2, 2, 16)
        self.identity = self.rows.new_tensor(list(COLUMNS.values()))

    def draw(self, uniform: Tensor) -> Tensor:
        """Draw the two operations of each image as rows, float (N, 2, 16).

        Args:
            uniform: uniform random numbers, float64 (N, 5) in [0, 1). Column 0 chooses the sub-policy, columns 1 and 2
                decide whether each operation is applied, columns 3 and 4 choose the signs.
        """
        which = (uniform[:, 0] * len(self.rows)).long()
        applied = uniform[:, 1:3] <= self.probabilities[which]
        rows = self.rows[which[:, None], torch.arange(2), (uniform[:, 3:5] >= 0.5).long()]
        return torch.where(applied[:, :, None], rows, self.identity)


def auto_augment(images: Tensor, rows: Tensor) -> Tensor:
    """Apply two operations to each image and return uint8 (B, 3, H, W).

    Args:
        images: uint8 (B, 3, H, W).
        rows: encoded operations, float (B, 2, 16); see COLUMNS.
    """
    for number in range(2):
        images = apply(images, rows[:, number])
    return images


def apply(images: Tensor, row: Tensor) -> Tensor:
    """Apply one encoded operation, a row of `row` (B, 16), to each image of `images`, uint8 (B, 3, H, W)."""
    images = affine(images, row[:, :6]).contiguous()
    coloured, luma, sharp, smooth = row[:, 12:, None, None, None].unbind(1)
    red, green, blue = images.split(1, 1)
    grey = to_bytes(LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).float()
    pixels = images.flatten(2).long()
    table = tables(pixels, row[:, 6:12], grey.mean((1, 2, 3)) * row[:, 9])
    images = table.gather(2, pixels).view_as(images)
    images = to_bytes((images * coloured).add_(grey * luma))
    return to_bytes((images * sharp).add_(smoothed(images).mul_(smooth)))


def to_bytes(images: Tensor) -> Tensor:
    """Clamp floats to [0, 255] in place and truncate them to uint8."""
    return images.clamp_(0, 255).to(torch.uint8)


def affine(images: Tensor, matrix: Tensor) -> Tensor:
    """Apply an affine map with nearest-neighbour sampling to each image; black outside the image.

    Args:
        images: uint8 (B, 3, H, W).
        matrix: coefficients a to f of each image, float (B, 6); see COLUMNS.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[:, None]
    # Scaled before the sum, as in torchvision: this decides some ties.
    a, b, c = (matrix[:, :3, None, None] / (0.5 * width)).unbind(1)
    d, e, f = (matrix[:, 3:, None, None] / (0.5 * height)).unbind(1)
    grid = images.new_empty(len(images), height, width, 2, dtype=torch.float32)
    grid[..., 0] = a * x + b * y + c
    grid[..., 1] = d * x + e * y + f
    moved = F.grid_sample(images.float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved.to(torch.uint8)


def tables(pixels: Tensor, row: Tensor, level: Tensor) -> Tensor:
    """Look-up table of each channel, uint8 (B, 3, 256): the new value of each byte.

    Args:
        pixels: bytes as int64 (B, 3, HW).
        row: columns "mask" to "equalise" of the encoded operation, float (B, 6).
        level: mean luma times its weight, float (B,); added to the weighted image.
    """
    mask, threshold, weight, _, stretch, equalise = row[:, :, None, None].unbind(1)
    ramp = torch.arange(256, device=pixels.device)
    masked = ramp & mask.long()
    blended = torch.where(masked >= threshold, 255 - masked, masked).float()
    blended = (blended * weight).add_(level[:, None, None])
    low, high = (extreme.float()[:, :, None] for extreme in pixels.aminmax(dim=2))
    flat = low == high
    scale = 255 / torch.where(flat, 255.0, high - low)  # a constant channel stays unchanged
    stretched = (ramp - low.masked_fill(flat, 0)) * scale
    out = torch.where(stretch > 0, stretched, blended)
    return to_bytes(torch.where(equalise > 0, equalising_table(pixels, high.long()).float(), out))


def equalising_table(pixels: Tensor, high: Tensor) -> Tensor:
    """Look-up table that equalises the histogram of each channel, int64 (B, 3, 256).

    Args:
        pixels: bytes as int64 (B, 3, HW).
        high: maximum of each channel, int64 (B, 3, 1).
    """
    counts = pixels.new_zeros(*pixels.shape[:2], 256)
    counts.scatter_add_(2, pixels, pixels.new_ones(()).expand_as(pixels))
    step = (pixels.shape[2] - counts.gather(2, high)) // 255
    below = counts.cumsum(2) - counts
    spread = (below + step // 2) // step.clamp(min=1)
    spread[:, :, 0] = 0
    return torch.where(step > 0, spread.clamp_(0, 255), torch.arange(256, device=pixels.device))


def smoothed(images: Tensor) -> Tensor:
    """Smooth images: rounded mean of 3x3 pixels with weight 5 for the centre, else 1; borders stay unchanged.

    Args:
        images: uint8 (B, 3, H, W).

    Returns:
        float32 (B, 3, H, W).
    """
    out = images.float()
    rows = out[:, :, :-2] + out[:, :, 1:-1] + out[:, :, 2:]
    inner = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = inner.add_(out[:, :, 1:-1, 1:-1], alpha=4).div_(13).round_()
    out[:, :, 1:-1, 1:-1] = inner
    return out
