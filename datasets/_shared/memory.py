"""Check that the images of a dataset fit into memory."""

from __future__ import annotations

from pathlib import Path

from ...benchmarks.errors import UserError


def check_memory(name: str, train: int, test: int, size: int, available: int | None) -> None:
    """Raise an error, before any image is decoded, if the images would not fit into memory.

    The training images are estimated at five times their size, because augmentation also stores padded copies of them
    and of their mirror images.

    Args:
        name: name of the dataset, for the message.
        train: number of training images.
        test: number of test images.
        size: height and width of an image in pixels.
        available: available memory in bytes, see `available_memory`; None skips the check.

    Raises:
        UserError: the images need more than 80 % of the available memory; the message names a size that fits.
    """
    images = 5 * train + test
    needed = images * 3 * size**2
    if available is not None and needed > 0.8 * available:  # the rest is for training
        fits = int((0.8 * available / (3 * images)) ** 0.5)
        raise UserError(
            f"{name}: {train + test} images of {size}x{size} need {needed / 1e9:.1f} GB of memory; "
            f"{available / 1e9:.1f} GB are free. Use a size of at most {fits}."
        )


def available_memory() -> int | None:
    """Memory in bytes that is available without swapping, or None if the system does not report it."""
    try:
        with Path("/proc/meminfo").open() as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
