"""Colour operations of SimCLR, and Cutout; batched, with individual parameters per image.

No random numbers are drawn here: `draw_colour` turns uniform numbers into parameters, the other functions apply them.
Which operations are applied, their strength and the order of the four jitter steps vary per image. All shapes are
static and nothing is read back from the device: operations that an image skips have neutral parameters.

Sources: Chen et al. 2020 (SimCLR), DeVries and Taylor 2017 (Cutout). The chain follows Zada et al. 2022 (OPeN),
appendix D.2, with the strengths of an independent reproduction, because the paper gives none. The arithmetic is that of
torchvision on tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

JITTER = 0.4  # brightness, contrast and saturation are multiplied by factors in [1 - 0.4, 1 + 0.4]
HUE = 0.1  # largest hue rotation in turns, in either direction
JITTERED, GREY, BLURRED = 0.8, 0.2, 0.5  # probabilities
SIGMA = (0.1, 2.0)  # pixels
LUMA = (0.2989, 0.587, 0.114)
UNIFORM = 12  # random numbers per image
NO_BLEND = (1.0, 0.0, 0.0)


def draw_colour(uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Convert uniform random numbers to parameters of jitter, greyscale and blur.

    Args:
        uniform: float64 (N, 12) in [0, 1). In order: whether to jitter, three factors and the hue of the jitter, four
            sort keys for the order of its steps, whether to convert to greyscale, whether to blur, sigma of the blur.

    Returns:
        The arguments `blends`, `hue` and `side` of `recolour`.
    """
    jittered, grey, blurred = uniform[:, 0] < JITTERED, uniform[:, 9] < GREY, uniform[:, 10] < BLURRED
    factors = 1 + JITTER * (2 * uniform[:, 1:4] - 1)
    hue = HUE * (2 * uniform[:, 4] - 1)
    blends = arrange(uniform[:, 5:9].argsort(1), factors.where(jittered[:, None], 1.0))
    blends[:, 6] = torch.where(grey[:, None], blends.new_tensor([0.0, 1.0, 0.0]), blends[:, 6])
    side = side_weight(SIGMA[0] + (SIGMA[1] - SIGMA[0]) * uniform[:, 11])
    return blends.float(), (hue * jittered).float(), (side * blurred).float()


def arrange(order: Tensor, factors: Tensor) -> Tensor:
    """Arrange the jitter steps, whose order varies per image, in a layout common to all images.

    Brightness, contrast and saturation are blends; hue is not. In any order, at most three blends precede the hue and
    at most three follow it, and unused steps are the identity. The expensive hue rotation is thus computed only once.

    Args:
        order: int64 (N, 4), for each image a permutation of 0 brightness, 1 contrast, 2 saturation and 3 hue.
        factors: factors of brightness, contrast and saturation, float (N, 3); 1 is the identity.

    Returns:
        Weights (N, 7, 3) for `blend`: three steps before the hue, three after it, one for the greyscale (neutral).
    """
    rank = order.argsort(1)
    after = rank[:, :3] > rank[:, 3:]
    step = rank[:, :3] - after.long() + 3 * after.long()
    blends = factors.new_tensor(NO_BLEND).repeat(len(order), 7, 1)
    rest = 1 - factors
    zero = torch.zeros_like(rest[:, 0])
    luma = torch.stack([zero, zero, rest[:, 2]], 1)
    mean = torch.stack([zero, rest[:, 1], zero], 1)
    weights = torch.stack([factors, luma, mean], 2)
    return blends.scatter(1, step[:, :, None].expand(-1, -1, 3), weights)


def side_weight(sigma: Tensor) -> Tensor:
    """Weight of each of the two neighbours in a three-tap Gaussian kernel of `sigma` pixels, below 1/3."""
    neighbour = torch.exp(-0.5 / sigma**2)
    return neighbour / (1 + 2 * neighbour)


def recolour(images: Tensor, blends: Tensor, hue: Tensor, side: Tensor) -> Tensor:
    """Apply jitter, greyscale and blur to each image, in this order.

    Args:
        images: float (B, 3, H, W) in [0, 1], contiguous.
        blends: weights of the blending steps, (B, 7, 3); see `arrange`.
        hue: hue rotation of each image in turns, (B,).
        side: neighbour weight of the blur, (B,); see `side_weight`. 0 for no blur.
    """
    for step in range(3):
        images = blend(images, blends[:, step])
    images = turn_hue(images, hue)
    for step in range(3, 7):
        images = blend(images, blends[:, step])
    return blur(images, side)


def luma_of(images: Tensor) -> Tensor:
    """Luma (perceived brightness) of images, float (B, 1, H, W)."""
    red, green, blue = images.unbind(1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).unsqueeze(1)


def blend(images: Tensor, weights: Tensor) -> Tensor:
    """Blend each image with its luma and its mean luma: their weighted sum, clamped to [0, 1].

    Weights (f, 0, 0) change brightness, (f, 0, 1 - f) contrast, (f, 1 - f, 0) saturation; (0, 1, 0) is greyscale, and
    (1, 0, 0) is exactly the identity.

    Args:
        images: float (B, 3, H, W) in [0, 1].
        weights: weights of the image, its luma and its mean luma, (B, 3).
    """
    image, luma, mean = weights[:, :, None, None, None].unbind(1)
    grey = luma_of(images)
    level = grey.mean((1, 2, 3), keepdim=True) * mean
    return torch.addcmul(torch.addcmul(level, grey, luma), images, image).clamp_(0, 1)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue of each image, float (B, 3, H, W), in HSV space; 0 turns is the identity up to rounding.

    Value and saturation are unchanged. A channel is `value - chroma * t`, where t depends on the distance between the
    hue and the channel's own hue on a circle of circumference 6: 0 up to a distance of 1, 1 from a distance of 2, and
    linear in between. Source: the closed form of the conversion in Wikipedia's "HSL and HSV".
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # 1.0 where a channel is the largest, else 0.0: five times as fast as boolean masks, which branch per pixel.
    is_red, is_green = (red - value).sign_().add_(1), (green - value).sign_().add_(1)
    hue = torch.lerp((red - green).add_(chroma, alpha=4), (blue - red).add_(chroma, alpha=2), is_green)
    hue = hue.lerp_(green - blue, is_red).div_(chroma.clamp(min=1e-12)).add_(6 * turns[:, None, None])
    hue = hue.sub_((hue / 6).floor_(), alpha=6)  # in [0, 6); torch.remainder is ten times as slow
    out = torch.empty_like(images)
    for channel, own_hue in enumerate((0, 2, 4)):
        distance = (hue - own_hue).abs_()
        away = torch.minimum(distance, 6 - distance)
        torch.addcmul(value, chroma, away.sub_(1).clamp_(0, 1), value=-1, out=out[:, channel])
    return out


def blur(images: Tensor, side: Tensor) -> Tensor:
    """Gaussian blur with three taps per axis and reflected borders.

    Args:
        images: float (B, 3, H, W), with H, W >= 2.
        side: weight of each neighbour, (B,); 0 is the identity.
    """
    side = side[:, None, None, None]
    centre = 1 - 2 * side
    for dim in (2, 3):
        size = images.shape[dim]
        out = images * centre
        out.narrow(dim, 1, size - 1).addcmul_(images.narrow(dim, 0, size - 1), side)
        out.narrow(dim, 0, size - 1).addcmul_(images.narrow(dim, 1, size - 1), side)
        out.narrow(dim, 0, 1).addcmul_(images.narrow(dim, 1, 1), side)
        out.narrow(dim, size - 1, 1).addcmul_(images.narrow(dim, size - 2, 1), side)
        images = out
    return images


def cutout(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Set a square of each image to black, clipped at the borders.

    Args:
        images: (B, 3, H, W), bytes or floats.
        centres: row and column of each centre, int64 (B, 2); the square starts `side // 2` pixels before them.
        side: side of the square in pixels.
    """
    row, column = (
        (torch.arange(size, device=images.device) - centres[:, axis, None] + side // 2)
        for axis, size in enumerate(images.shape[2:])
    )
    rows, columns = (row >= 0) & (row < side), (column >= 0) & (column < side)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
