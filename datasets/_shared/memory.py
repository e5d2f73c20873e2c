"""Whether the images of a dataset fit into the memory."""

from __future__ import annotations

from pathlib import Path

from ...benchmarks.errors import UserError


def check_memory(name: str, train: int, test: int, size: int, available: int | None) -> None:
    """Refuse a dataset that exceeds the memory before an hour of decoding.

    Training keeps the images and padded copies of them and of their mirror images: under five times their bytes.

    Args:
        name: of the dataset.
        train: number of its training images.
        test: number of its test images.
        size: height and width of an image.
        available: bytes, see `available_memory`.

    Raises:
        UserError: they exceed 80 % of the memory; the message names a size that fits.
    """
    images = 5 * train + test
    needed = images * 3 * size**2
    if available is not None and needed > 0.8 * available:  # training needs some too
        fits = int((0.8 * available / (3 * images)) ** 0.5)
        raise UserError(
            f"{name}: {train + test} images of {size}x{size} need {needed / 1e9:.1f} GB of memory; "
            f"{available / 1e9:.1f} GB are free. Use a size of at most {fits}."
        )


def available_memory() -> int | None:
    """Bytes available without swapping, or None if the system does not report them."""
    try:
        with Path("/proc/meminfo").open() as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
