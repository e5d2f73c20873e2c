"""Class sizes: long-tail and step profiles, and the number of images held out per class. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le

from .errors import UserError

Profile = Literal["exp", "step"]
Ratio = Annotated[float, Ge(1), Le(1e9)]


def long_tail_counts(n_max: int, num_classes: int, ratio: float, profile: Profile = "exp") -> list[int]:
    """Number of images of each class in an imbalance profile, largest class first.

    exp:  n_k = trunc(n_max * (1 / ratio) ** (k / (C - 1))), in double precision, one power per class. A repeated
          product of (1 / ratio) ** (1 / (C - 1)), as in M2m's code, loses an image of the last class in some settings.
    step: n_max for the first C // 2 classes, trunc(n_max * (1 / ratio)) for the others.

    Source: Cao et al. 2019 (LDAM), reference code.

    Args:
        n_max: number of images of the largest class.
        num_classes: number of classes, C.
        ratio: size of the largest class / size of the smallest class, >= 1; 1 gives a balanced set.
        profile: exp or step.

    Raises:
        UserError: the ratio is below 1 or leaves a class without an image.
    """
    if ratio < 1:
        raise UserError(
            f"imbalance = {ratio:g} is out of range: the ratio of the largest to the smallest class must be >= 1."
        )
    factor = 1 / ratio
    if profile == "step":
        counts = [n_max if k < num_classes // 2 else int(n_max * factor) for k in range(num_classes)]
    else:
        last = max(num_classes - 1, 1)
        counts = [int(n_max * factor ** (k / last)) for k in range(num_classes)]
    if counts[-1] == 0:
        raise UserError(
            f"imbalance = {ratio:g} leaves class {num_classes - 1} without an image; use at most {n_max} here."
        )
    return counts


def held_out_count(images: int) -> int:
    """Number of images to hold out for validation from a class of `images`: a tenth, at least 1 and at most 50."""
    return min(50, max(1, images // 10))
