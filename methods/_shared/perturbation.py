"""The arithmetic of BLT (Kozerawski et al., ACCV 2020), vectorised.

On a GPU shapes are static and nothing is read back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...benchmarks.method import readable


def tail_classes(counts: Tensor, most: int) -> Tensor:
    """Classes with at most `most` training images; if there are none, the C // 3 smallest: bool (C,)."""
    few = counts <= most
    smallest = torch.zeros_like(few)
    smallest[counts.argsort(stable=True)[: max(1, len(counts) // 3)]] = True
    return torch.where(few.any(), few, smallest)


def target_chances(confusion: Tensor) -> Tensor:
    """Off-diagonal confusion per true class, scaled to a sum of 1; a class that is never mistaken keeps zeros.

    Args:
        confusion: counts or sums of probabilities (C, C), [true, predicted].
    """
    errors = confusion.masked_fill(torch.eye(len(confusion), dtype=torch.bool, device=confusion.device), 0)
    return errors / errors.sum(1, keepdim=True).clamp(min=1e-12)


def draw_classes(chances: Tensor, uniform: Tensor) -> Tensor:
    """One class per row by inversion of the cumulated chances: int64 (N,).

    Args:
        chances: (N, C), rows that sum to 1; a row of zeros gives any class.
        uniform: (N,) in [0, 1).
    """
    cumulated = chances.double().cumsum(1)
    reached = (cumulated <= uniform.double()[:, None] * cumulated[:, -1:]).sum(1)
    return reached.clamp(max=chances.shape[1] - 1)


def pick(tail: Tensor, uniform: Tensor, share: float, slots: int, ceil: bool = True) -> tuple[Tensor, Tensor]:
    """A random `share` of the rows marked `tail`, without replacement: rows int64 (slots,), which count bool (slots,).

    Args:
        tail: bool (N,).
        uniform: (N,) in [0, 1), the random order.
        share: of the marked rows, rounded up with `ceil` (paper), else down (reference code).
        slots: room for so many.
        ceil: see there.
    """
    rows = (uniform + 2 * ~tail).argsort()[:slots]
    return rows, torch.arange(len(rows), device=tail.device) < wanted(tail.sum(), share, ceil)


def wanted(tails: Tensor, share: float, ceil: bool) -> Tensor:
    """How many images `share` of so many tail rows are, (): rounded up or down, products of decimals forgiven."""
    product = tails.double() * share
    return (product - 1e-9).ceil() if ceil else (product + 1e-9).floor()


def capacity(share: float, tail_share: float, size: int) -> int:
    """Slots that hold `share` of the tail rows of a batch but once in some 700 batches (three deviations).

    Args:
        share: of the tail rows.
        tail_share: probability that a drawn row is one.
        size: rows of the batch.
    """
    rows = size * tail_share + 3 * (size * tail_share * (1 - tail_share)) ** 0.5
    return max(1, math.ceil(share * min(size, rows)))


def ascend(
    images: Tensor,
    logits: Callable[[Tensor], Tensor],
    target: Tensor,
    threshold: Tensor,
    step: Tensor | float,
    limit: int,
    accumulate: bool = False,
) -> tuple[Tensor, Tensor]:
    """Move images up the logit of a class until its probability exceeds a threshold, `limit` steps at most.

    Args:
        images: (N, ...).
        logits: images to (N, C).
        target: class to move towards, int64 (N,).
        threshold: of its probability, (N,); an image that is above it stands still.
        step: factor of the gradient, a number or broadcast over an image.
        limit: how many steps.
        accumulate: never clear the gradient, as the reference code (momentum without damping).

    Returns:
        The images, without gradient, and how many steps each took, int64 (N,). What stands still is left out of
        further steps where a look costs nothing (`readable`).
    """
    moving = torch.ones_like(target, dtype=torch.bool)
    steps, total = torch.zeros_like(target), torch.zeros_like(images)
    made, held = images.detach().clone(), torch.arange(len(images), device=images.device)
    for _ in range(limit):
        if readable(moving) and not moving.all():
            made[held] = images
            held, images, total = held[moving], images[moving], total[moving]
            target, threshold, moving = target[moving], threshold[moving], moving[moving]
        if not len(held):
            break
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            scores = logits(images)
            (gradient,) = torch.autograd.grad(scores.gather(1, target[:, None]).sum(), images)
        moving = moving & (scores.detach().softmax(1).gather(1, target[:, None])[:, 0] <= threshold)
        total = total + gradient if accumulate else gradient
        images = images.detach() + step * total * moving.view(-1, *[1] * (images.dim() - 1))
        steps.index_add_(0, held, moving.to(steps.dtype))
    return made.index_copy_(0, held, images.detach()), steps
