"""The arithmetic of OPeN (Zada et al., ICML 2022): which images become noise, and what noise is."""

from __future__ import annotations

from torch import Tensor


def noise_fraction(counts: Tensor, delta: float) -> Tensor:
    """Probability (C,) that a drawn image of a class becomes noise: (1 - n / n_max) x delta (equation 1)."""
    return (delta * (1 - counts.double() / counts.max())).float()


def choose_noise(fraction: Tensor, uniform: Tensor) -> Tensor:
    """Rows that become noise, bool (N,).

    Args:
        fraction: probability of each row, see `noise_fraction`, (N,).
        uniform: (N,) in [0, 1).
    """
    return uniform < fraction


def pure_noise(normal: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Pixels in [0, 1] with a mean and a std per channel, clipped.

    Args:
        normal: standard normal numbers (N, 3, H, W).
        mean: of the pixels, (3, 1, 1).
        std: of the pixels, (3, 1, 1).
    """
    return (mean + std * normal).clamp(0, 1)


def additive_noise(images: Tensor, normal: Tensor, strength: float) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] plus noise with a std of `strength` levels of 255, clipped."""
    return (images + strength / 255 * normal).clamp(0, 1)
