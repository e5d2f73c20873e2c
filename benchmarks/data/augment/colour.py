"""Colour operations of SimCLR and Cutout, batched, with parameters per image.

Nothing here draws at random: `draw_colour` turns uniform numbers into parameters, the other functions apply them. Each
image has its own coin, its own strength and its own order of the four parts of the jitter. All shapes are static and
nothing is read back from the device. A part that an image skips has parameters that change nothing.

Sources: Chen et al. 2020 (SimCLR), DeVries and Taylor 2017 (Cutout); the chain of Zada et al. 2022 (OPeN), appendix
D.2, with the strengths of an independent reproduction, as the paper gives none. Arithmetic: torchvision's on tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

JITTER = 0.4  # brightness, contrast and saturation are multiplied by 1 - 0.4 to 1 + 0.4
HUE = 0.1  # of a turn, either way
JITTERED, GREY, BLURRED = 0.8, 0.2, 0.5  # probabilities
SIGMA = (0.1, 2.0)  # pixels
LUMA = (0.2989, 0.587, 0.114)
UNIFORM = 12  # random numbers per image
NO_BLEND = (1.0, 0.0, 0.0)


def draw_colour(uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Parameters of jitter, greyscale and blur.

    Args:
        uniform: float64 (N, 12) in [0, 1): coin, three factors and hue of the jitter, four sort keys for its order,
            coin of the greyscale, coin and sigma of the blur.

    Returns:
        blends, hue, side: what `recolour` takes.
    """
    jittered, grey, blurred = uniform[:, 0] < JITTERED, uniform[:, 9] < GREY, uniform[:, 10] < BLURRED
    factors = 1 + JITTER * (2 * uniform[:, 1:4] - 1)
    hue = HUE * (2 * uniform[:, 4] - 1)
    blends = arrange(uniform[:, 5:9].argsort(1), factors.where(jittered[:, None], 1.0))
    blends[:, 6] = torch.where(grey[:, None], blends.new_tensor([0.0, 1.0, 0.0]), blends[:, 6])
    side = side_weight(SIGMA[0] + (SIGMA[1] - SIGMA[0]) * uniform[:, 11])
    return blends.float(), (hue * jittered).float(), (side * blurred).float()


def arrange(order: Tensor, factors: Tensor) -> Tensor:
    """The parts of a jitter in an order per image, as steps that are the same for all images.

    Brightness, contrast and saturation are blends, hue is not. Whatever the order, at most three blends come before the
    hue and at most three after it; the steps that an image does not use do nothing. So the costly hue is computed once.

    Args:
        order: int64 (N, 4), a permutation per image: 0 brightness, 1 contrast, 2 saturation, 3 hue; first comes first.
        factors: float (N, 3) of brightness, contrast and saturation; 1 changes nothing.

    Returns:
        Weights (N, 7, 3) for `blend`: three steps before the hue, three after it, one for the greyscale (here idle).
    """
    rank = order.argsort(1)
    after = rank[:, :3] > rank[:, 3:]
    step = rank[:, :3] - after.long() + 3 * after.long()
    blends = factors.new_tensor(NO_BLEND).repeat(len(order), 7, 1)
    rest = 1 - factors
    none = torch.zeros_like(rest)
    luma = torch.stack([none[:, 0], none[:, 1], rest[:, 2]], 1)
    mean = torch.stack([none[:, 0], rest[:, 1], none[:, 2]], 1)
    weights = torch.stack([factors, luma, mean], 2)
    return blends.scatter(1, step[:, :, None].expand(-1, -1, 3), weights)


def side_weight(sigma: Tensor) -> Tensor:
    """Weight of each neighbour in a Gaussian of three taps with `sigma` pixels: below 1/3; the centre has the rest."""
    neighbour = torch.exp(-0.5 / sigma**2)
    return neighbour / (1 + 2 * neighbour)


def recolour(images: Tensor, blends: Tensor, hue: Tensor, side: Tensor) -> Tensor:
    """Jitter, greyscale and blur, in this order.

    Args:
        images: float (B, 3, H, W) in [0, 1], contiguous.
        blends: (B, 7, 3), see `arrange`.
        hue: (B,) in turns.
        side: (B,), see `side_weight`; 0 for no blur.
    """
    for step in range(3):
        images = blend(images, blends[:, step])
    images = turn_hue(images, hue)
    for step in range(3, 7):
        images = blend(images, blends[:, step])
    return blur(images, side)


def luma_of(images: Tensor) -> Tensor:
    """Brightness as seen, float (B, 1, H, W)."""
    red, green, blue = images.split(1, 1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def blend(images: Tensor, weights: Tensor) -> Tensor:
    """A weighted sum of each image, its luma and its mean luma, clamped to [0, 1].

    With weights (f, 0, 0) it is brightness, (f, 0, 1 - f) contrast, (f, 1 - f, 0) saturation, (0, 1, 0) greyscale;
    (1, 0, 0) changes nothing, not even by rounding.

    Args:
        images: float (B, 3, H, W) in [0, 1].
        weights: (B, 3).
    """
    image, luma, mean = weights[:, :, None, None, None].unbind(1)
    grey = luma_of(images)
    level = grey.mean((1, 2, 3), keepdim=True) * mean
    return torch.addcmul(torch.addcmul(level, grey, luma), images, image).clamp_(0, 1)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of each image in HSV space, float (B, 3, H, W); 0 turns change nothing but rounding.

    Value and saturation stay. A channel is `value - chroma * t`, where t falls from 1 to 0 as the hue comes closer to
    the channel's own: on a circle of 6 it is 0 within a distance of 1 from it and 1 beyond 2. Source: the closed form
    of the conversion in Wikipedia's "HSL and HSV".
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # Masks of bools branch per pixel; as floats, 1 where a channel is the largest and else 0, they take a fifth.
    is_red, is_green = (red - value).sign_().add_(1), (green - value).sign_().add_(1)
    hue = torch.lerp((red - green).add_(chroma, alpha=4), (blue - red).add_(chroma, alpha=2), is_green)
    hue = hue.lerp_(green - blue, is_red).div_(chroma.clamp(min=1e-12)).add_(6 * turns[:, None, None])
    hue = hue.sub_((hue / 6).floor_(), alpha=6)  # in [0, 6); a remainder costs ten times as much
    out = torch.empty_like(images)
    for channel, place in enumerate((0, 2, 4)):
        distance = (hue - place).abs_()
        away = torch.minimum(distance, 6 - distance)
        torch.addcmul(value, chroma, away.sub_(1).clamp_(0, 1), value=-1, out=out[:, channel])
    return out


def blur(images: Tensor, side: Tensor) -> Tensor:
    """Gaussian blur with three taps each way and reflected borders, float (B, 3, H, W).

    Args:
        images: float (B, 3, H, W); H and W are 2 or more.
        side: (B,), the weight of each neighbour; 0 changes nothing.
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
    """Blacken a square of each image; what would lie outside the image is clipped.

    Args:
        images: (B, 3, H, W), bytes or floats.
        centres: int64 (B, 2), row and column; the hole begins `side // 2` before it.
        side: of the hole, in pixels.
    """
    row, column = (
        (torch.arange(size, device=images.device) - centres[:, axis, None] + side // 2)
        for axis, size in enumerate(images.shape[2:])
    )
    rows, columns = (row >= 0) & (row < side), (column >= 0) & (column < side)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
