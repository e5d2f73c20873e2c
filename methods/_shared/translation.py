"""Tensor operations of M2m (Kim, Jeong, Shin, CVPR 2020), vectorised, with static shapes and no synchronisation.

Rows are images of a class-balanced batch. A candidate is a row whose image may be replaced: the image of another row,
its seed, is translated to the class of the candidate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .rows import draw_columns

BETAS = (0.999, 0.99, 0.9)


def acceptance(counts: Tensor, beta: Tensor | float) -> Tensor:
    """Probability of accepting class i as seed of class k, 1 - beta^max(n_i - n_k, 0); float32 (C, C), [i, k].

    Args:
        counts: training images per class, int64 (C,).
        beta: parameter in [0, 1); with a larger beta, the seed's class must have more images.
    """
    surplus = (counts[:, None] - counts[None, :]).clamp(min=0).double()
    beta = torch.as_tensor(beta, dtype=torch.float64, device=counts.device)
    return torch.where(surplus > 0, 1 - beta**surplus, 0).float()  # beta = 0: 0^0 is 1


def fitting_beta(counts: Tensor) -> Tensor:
    """The largest beta in BETAS with which the smallest class accepts at least half of its seeds; float64 ().

    If there is none, the smallest beta. 0.999 suits classes with thousands of images; with hundreds of images, it would
    reject nearly all seeds.
    """
    chosen = torch.tensor(BETAS[-1], dtype=torch.float64, device=counts.device)
    for beta in reversed(BETAS):
        accept = acceptance(counts, beta)[:, counts.argmin()].double()
        mean = (accept * accept).sum() / accept.sum().clamp(min=1e-12)
        chosen = torch.where(mean >= 0.5, beta, chosen)
    return chosen


def seed_probabilities(accept: Tensor, labels: Tensor) -> Tensor:
    """Probability that row s is chosen as the seed of row j, float32 (N, N), [j, s]; zeros if no row can be its seed.

    Args:
        accept: see `acceptance`.
        labels: int64 (N,).
    """
    weights = accept[labels][:, labels].T
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)


class Choice(NamedTuple):
    """Decisions on the rows of a batch before any image is translated.

    Attributes:
        candidate: mask of the rows whose image is to be replaced, bool (N,).
        seedless: mask of the rows for which no row of the batch can be the seed, bool (N,).
        agreed: mask of the rows whose seed is accepted by the Bernoulli draw, bool (N,).
        seeds: row of the seed of each row, int64 (N,); arbitrary if there is no possible seed.
    """

    candidate: Tensor
    seedless: Tensor
    agreed: Tensor
    seeds: Tensor

    @property
    def seeded(self) -> Tensor:
        """Mask of the candidates that have a seed, bool (N,)."""
        return self.candidate & ~self.seedless

    @property
    def chosen(self) -> Tensor:
        """Mask of the rows for which an image is translated, bool (N,)."""
        return self.seeded & self.agreed


def choose_sources(labels: Tensor, natural: Tensor, accept: Tensor, uniform: Tensor) -> Choice:
    """Choose candidates and their seeds, and draw whether each seed is accepted.

    Acceptance does not depend on the attack, so it is drawn before it: rejected images are never computed.

    Args:
        labels: int64 (N,).
        natural: probability that a drawn image of each class is not a candidate, (C,).
        accept: see `acceptance`.
        uniform: random numbers (3, N) in [0, 1), for candidates, seeds and acceptance.
    """
    candidate = uniform[0] >= natural[labels]
    probabilities = seed_probabilities(accept, labels)
    seeds = draw_columns(probabilities, uniform[1])
    agreed = uniform[2] < accept[labels[seeds], labels]
    return Choice(candidate, probabilities.sum(1) == 0, agreed, seeds)


def fill_slots(chosen: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Assign rows to slots, chosen rows first.

    Args:
        chosen: mask of the rows that need a slot, bool (N,).
        slots: number of slots; if more rows are chosen, the others get none.

    Returns:
        The row of each slot, int64 (slots,), and the mask of the slots with a chosen row, bool (slots,).
    """
    rows = (~chosen).to(torch.int8).argsort(stable=True)[:slots]
    return rows, chosen[rows]


def random_start(uniform: Tensor, candidates: Tensor | int, per_sample: bool, radius: float = 0.5) -> Tensor:
    """Noise added to the seeds at the start of the attack, (N, 3, H, W).

    The reference code intends to scale the noise of each image to a norm of `radius`, but normalises each channel over
    all candidates together, so that the noise of an image has a norm of about radius sqrt(3 / candidates).

    Args:
        uniform: random numbers (N, 3, H, W) in [-0.5, 0.5).
        candidates: number of images over which the reference code would normalise.
        per_sample: scale the noise per image, as intended, instead of as in the reference code.
        radius: Euclidean norm of the noise.
    """
    if per_sample:
        noise: Tensor = uniform * (radius / uniform.flatten(1).norm(dim=1).clamp(min=radius)).view(-1, 1, 1, 1)
        return noise
    ratio = (len(uniform) / torch.as_tensor(candidates, device=uniform.device).clamp(min=1)).sqrt()
    norms = uniform.square().sum((0, 2, 3), keepdim=True).sqrt()
    return uniform * (radius * ratio / norms.clamp(min=1e-12))


def objective(source: Tensor, own: Tensor, target: Tensor, seed: Tensor, lam: float) -> Tensor:
    """Objective that the attack minimises: cross-entropy of g for `target` plus lam x own logit of `seed`; (N,).

    Args:
        source: logits (N, C) of the frozen network g.
        own: logits (N, C) of the network in training.
        target: class to translate to, int64 (N,).
        seed: class of the seed, int64 (N,).
        lam: weight of the seed class's logit, >= 0.
    """
    return F.cross_entropy(source, target, reduction="none") + lam * own.gather(1, seed[:, None])[:, 0]


def translate(
    images: Tensor, loss: Callable[[Tensor], Tensor], step: float, iterations: int, valid: Tensor | None = None
) -> Tensor:
    """Minimise a loss over images by gradient steps of fixed length, clipped to [0, 1].

    Args:
        images: (N, 3, H, W) in [0, 1].
        loss: function from images (N, 3, H, W) to losses (N,).
        step: Euclidean length of a step, per image.
        iterations: number of steps.
        valid: mask of the rows to change, bool (N,); None for all.

    Returns:
        The translated images (N, 3, H, W), detached.
    """
    length = images.new_full((len(images), *[1] * (images.dim() - 1)), step)
    if valid is not None:
        length = length * valid.view(length.shape)
    for _ in range(iterations):
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(images).sum(), images)
        norms = gradient.flatten(1).norm(dim=1).view(length.shape)
        images = (images.detach() - length * gradient / (norms + 1e-10)).clamp(0, 1)
    return images.detach()
