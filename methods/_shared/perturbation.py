"""The arithmetic of BLT (Kozerawski et al., ACCV 2020), vectorised.

On a GPU shapes are static and nothing is read back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...benchmarks.method import host_reads_freely
from .rows import draw_columns


def tail_classes(counts: Tensor, most: int) -> Tensor:
    """Classes with at most `most` training images; if there are none, the C // 3 smallest: bool (C,)."""
    few = counts <= most
    smallest = torch.zeros_like(few)
    smallest[counts.argsort(stable=True)[: max(1, len(counts) // 3)]] = True
    return torch.where(few.any(), few, smallest)


def target_probabilities(confusion: Tensor) -> Tensor:
    """Off-diagonal confusion per true class, scaled to a sum of 1; a class that is never mistaken keeps zeros.

    Args:
        confusion: counts or sums of probabilities (C, C), [true, predicted].
    """
    errors = confusion.masked_fill(torch.eye(len(confusion), dtype=torch.bool, device=confusion.device), 0)
    return errors / errors.sum(1, keepdim=True).clamp(min=1e-12)


def choose_targets(confusion: Tensor, labels: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Class to move each image towards, int64 (S,), and whether its own class is ever mistaken, bool (S,).

    Args:
        confusion: see `target_probabilities`.
        labels: int64 (S,).
        uniform: (S,) in [0, 1).
    """
    probabilities = target_probabilities(confusion)[labels]
    return draw_columns(probabilities, uniform), probabilities.sum(1) > 0


def choose_sources(
    tail: Tensor, uniform: Tensor, fraction: float, slots: int, ceil: bool = True
) -> tuple[Tensor, Tensor]:
    """A random fraction of the rows of the tail, without replacement: rows int64 (slots,), which count bool (slots,).

    Args:
        tail: bool (N,), rows of a tail class.
        uniform: (N,) in [0, 1), the random order.
        fraction: of the tail rows, rounded up with `ceil` (paper), else down (reference code).
        slots: number of rows that there is room for.
        ceil: see there.
    """
    rows = (uniform + 2 * ~tail).argsort()[:slots]
    return rows, torch.arange(len(rows), device=tail.device) < number_of_sources(tail.sum(), fraction, ceil)


def number_of_sources(tails: Tensor, fraction: float, ceil: bool) -> Tensor:
    """How many images a fraction of so many tail rows is, (): rounded up or down, despite rounding of the product."""
    product = tails.double() * fraction
    return (product - 1e-9).ceil() if ceil else (product + 1e-9).floor()


@dataclass(frozen=True)
class Ascent:
    """How far images climb.

    Attributes:
        step: factor of the gradient, a number or broadcast over an image.
        limit: steps at most.
        accumulate: never clear the gradient, as the reference code (momentum without damping).
    """

    step: Tensor | float
    limit: int
    accumulate: bool = False


def ascend(
    images: Tensor, logits: Callable[[Tensor], Tensor], target: Tensor, threshold: Tensor, ascent: Ascent
) -> tuple[Tensor, Tensor]:
    """Move images up the logit of a class until its probability exceeds a threshold.

    Args:
        images: (N, ...).
        logits: images to (N, C).
        target: class to move towards, int64 (N,).
        threshold: of its probability, (N,); an image that is above it moves no further.
        ascent: steps.

    Returns:
        The images, without gradient, and how many steps each took, int64 (N,). An image that has arrived is left out of
        further steps where the host reads values freely (`host_reads_freely`).
    """
    moving = torch.ones_like(target, dtype=torch.bool)
    steps, total = torch.zeros_like(target), torch.zeros_like(images)
    result, rows = images.detach().clone(), torch.arange(len(images), device=images.device)
    for _ in range(ascent.limit):
        if host_reads_freely(moving) and not moving.all():
            result[rows] = images
            rows, images, total = rows[moving], images[moving], total[moving]
            target, threshold, moving = target[moving], threshold[moving], moving[moving]
        if not len(rows):
            break
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            scores = logits(images)
            (gradient,) = torch.autograd.grad(scores.gather(1, target[:, None]).sum(), images)
        moving = moving & (scores.detach().softmax(1).gather(1, target[:, None])[:, 0] <= threshold)
        total = total + gradient if ascent.accumulate else gradient
        images = images.detach() + ascent.step * total * moving.view(-1, *[1] * (images.dim() - 1))
        steps.index_add_(0, rows, moving.to(steps.dtype))
    return result.index_copy_(0, rows, images.detach()), steps
