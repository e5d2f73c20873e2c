"""Tensor operations of OPeN (Zada et al., ICML 2022): choice of the images to replace, and noise images."""

from __future__ import annotations

from torch import Tensor


def noise_fraction(counts: Tensor, delta: float) -> Tensor:
    """Probability, per class, that a drawn image is replaced by noise: (1 - n / n_max) x delta, equation 1; (C,)."""
    return (delta * (1 - counts.double() / counts.max())).float()


def choose_noise(fraction: Tensor, uniform: Tensor) -> Tensor:
    """Mask of the rows to replace by noise, bool (N,).

    Args:
        fraction: replacement probability of each row, see `noise_fraction`, (N,).
        uniform: random numbers (N,) in [0, 1).
    """
    return uniform < fraction


def pure_noise(normal: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normal noise with given mean and std per channel, clipped to [0, 1]; (N, 3, H, W).

    Args:
        normal: standard normal numbers (N, 3, H, W).
        mean: mean of the training pixels, (3, 1, 1).
        std: std of the training pixels, (3, 1, 1).
    """
    return (mean + std * normal).clamp(0, 1)


def additive_noise(images: Tensor, normal: Tensor, strength: float) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] plus noise with a std of `strength` / 255, clipped to [0, 1]."""
    return (images + strength / 255 * normal).clamp(0, 1)
