"""Tensor operations of BLT (Kozerawski et al., ACCV 2020), vectorised.

On a GPU, shapes are static and no operation synchronises with the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...benchmarks.precision import host_reads_freely
from .rows import draw_columns


def tail_classes(counts: Tensor, most: int) -> Tensor:
    """Mask of the classes with at most `most` training images, bool (C,).

    If there are none, mask of the C // 3 smallest classes, at least one.
    """
    few = counts <= most
    smallest = torch.zeros_like(few)
    smallest[counts.argsort(stable=True)[: max(1, len(counts) // 3)]] = True
    return torch.where(few.any(), few, smallest)


def target_probabilities(confusion: Tensor) -> Tensor:
    """Confusion matrix without its diagonal, each row divided by its sum; (C, C).

    The row of a class without errors is zero.

    Args:
        confusion: counts or sums of probabilities (C, C), [true, predicted].
    """
    errors = confusion.masked_fill(torch.eye(len(confusion), dtype=torch.bool, device=confusion.device), 0)
    return errors / errors.sum(1, keepdim=True).clamp(min=1e-12)


def choose_targets(confusion: Tensor, labels: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Target class of each image, int64 (S,), and whether the image's own class has any errors, bool (S,).

    Args:
        confusion: see `target_probabilities`.
        labels: int64 (S,).
        uniform: random numbers (S,) in [0, 1).
    """
    probabilities = target_probabilities(confusion)[labels]
    return draw_columns(probabilities, uniform), probabilities.sum(1) > 0


def choose_sources(
    tail: Tensor, uniform: Tensor, fraction: float, slots: int, ceil: bool = True
) -> tuple[Tensor, Tensor]:
    """Sample a fraction of the tail rows without replacement: rows int64 (slots,), mask of valid slots (slots,).

    Args:
        tail: mask of the rows of a tail class, bool (N,).
        uniform: random numbers (N,) in [0, 1), which determine the order.
        fraction: fraction of the tail rows to sample.
        slots: number of slots; if more rows are sampled, the rest is dropped.
        ceil: round the number of rows up (paper) instead of down (reference code).
    """
    rows = (uniform + 2 * ~tail).argsort()[:slots]
    return rows, torch.arange(len(rows), device=tail.device) < number_of_sources(tail.sum(), fraction, ceil)


def number_of_sources(tails: Tensor, fraction: float, ceil: bool) -> Tensor:
    """Product of `tails`, (), and `fraction`, rounded up or down with a tolerance for rounding errors; float64 ()."""
    product = tails.double() * fraction
    return (product - 1e-9).ceil() if ceil else (product + 1e-9).floor()


@dataclass(frozen=True)
class Ascent:
    """Settings of the gradient ascent.

    Attributes:
        step: step size, a number or a tensor that broadcasts with the images.
        limit: maximum number of steps.
        accumulate: sum the gradients of all steps instead of clearing them, as the reference code does.
    """

    step: Tensor | float
    limit: int
    accumulate: bool = False


def ascend(
    images: Tensor, logits: Callable[[Tensor], Tensor], target: Tensor, threshold: Tensor, ascent: Ascent
) -> tuple[Tensor, Tensor]:
    """Move images by gradient ascent on the logit of a class until its probability exceeds a threshold.

    Images that have reached their threshold are dropped from further steps where `host_reads_freely` allows it.

    Args:
        images: start images (N, 3, H, W).
        logits: function from images (N, 3, H, W) to logits (N, C).
        target: class whose logit is raised, int64 (N,).
        threshold: probability of the target class above which an image stops, (N,).
        ascent: settings of the ascent.

    Returns:
        The perturbed images, detached, and the number of steps of each image, int64 (N,).
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
