"""Random crops of varying size and shape, resized to the size of the image, for a whole batch at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .crop import CropFlip

RATIOS = (3 / 4, 4 / 3)  # smallest and largest width / height of a crop
ATTEMPTS = 10  # draws of a crop that fits into the image, before the whole image is taken


class ResizedCrop(CropFlip):
    """Random crop of a fraction of the area, resized to the original size with antialiasing, and random flip.

    Area and aspect ratio are drawn as in Szegedy et al. 2015: the area evenly, the ratio evenly in its logarithm. Each
    row and column of the result is a weighted sum of rows and columns of the crop (triangle filter), so that crops of
    any size are a product of matrices of one shape.

    Args:
        images: uint8 (N, 3, H, W), on the device of the batches.
        smallest: smallest fraction of the area, in (0, 1].
        flip: mirror each image with probability 1/2.
    """

    def __init__(self, images: Tensor, smallest: float, flip: bool) -> None:
        self.images, self.smallest, self.mirrors = images, smallest, 2 if flip else 1

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw parameters, int64 (count, 5) on the CPU: mirrored (0 or 1); top, left, height and width of the crop."""
        height, width = self.images.shape[2:]
        uniform = torch.rand(count, 2 * ATTEMPTS + 3, generator=generator, dtype=torch.float64)
        area = height * width * (self.smallest + (1 - self.smallest) * uniform[:, :ATTEMPTS])
        low, high = map(math.log, RATIOS)
        ratio = (low + (high - low) * uniform[:, ATTEMPTS : 2 * ATTEMPTS]).exp()
        heights, widths = (area / ratio).sqrt().round().long(), (area * ratio).sqrt().round().long()
        fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
        first = fits.int().argmax(1, keepdim=True)
        rows, columns = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]
        rows, columns = (torch.where(fits.any(1), own, whole) for own, whole in ((rows, height), (columns, width)))
        place, mirrored = uniform[:, -3:-1], (uniform[:, -1] * self.mirrors).long()
        top, left = ((height - rows + 1) * place[:, 0]).long(), ((width - columns + 1) * place[:, 1]).long()
        return torch.stack([mirrored, top, left, rows, columns], 1)

    def __call__(self, index: Tensor, parameters: Tensor) -> Tensor:
        """Crop, resize and flip the images at `index` (B,) with `parameters` (B, 5): float (B, 3, H, W) in [0, 1]."""
        mirrored, top, left, rows, columns = parameters.unbind(1)
        height, width = self.images.shape[2:]
        down, across = resampling(top, rows, height), resampling(left, columns, width)
        across = torch.where(mirrored[:, None, None] > 0, across.flip(1), across)
        images = self.images[index].float() / 255
        return down[:, None] @ images @ across.transpose(1, 2)[:, None]


def resampling(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Weights of the pixels of a line for those of a crop of it that is resized to `size` pixels: (B, size, size).

    Pixel i of the result has its centre at (i + 0.5) length / size in the crop. Pixels of the crop are weighted by a
    triangle around it, of one pixel to each side, or of length / size pixels if the crop is reduced.

    Args:
        start: first pixel of the crop, int64 (B,).
        length: number of pixels of the crop, int64 (B,).
        size: number of pixels of the line.
    """
    pixels = torch.arange(size, device=start.device)
    scale = (length / size)[:, None, None]
    centres = (pixels[:, None] + 0.5) * scale
    inside = (pixels >= start[:, None]) & (pixels < (start + length)[:, None])
    distances = (pixels - start[:, None] + 0.5)[:, None] - centres
    weights = (1 - distances.abs() / scale.clamp(min=1)).clamp(min=0) * inside[:, None]
    return weights / weights.sum(2, keepdim=True)
