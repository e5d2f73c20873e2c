"""The arithmetic of M2m (Kim, Jeong, Shin, CVPR 2020), vectorised, with static shapes; nothing is read back.

Rows are images of a class-balanced batch. A candidate row is to become a translated image of its own class, made from
another row of the batch, its seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .slots import draw

BETAS = (0.999, 0.99, 0.9)


class Choice(NamedTuple):
    """Which rows of a batch are to be replaced by a translated image, and the seed of each.

    Attributes:
        seeds: row of the seed of each row, int64 (N,); any row where there is none.
        candidate: bool (N,), rows that are to be replaced. Each is in one of the next three.
        seedless: bool (N,), the batch has no seed for it.
        refused: bool (N,), the coin refuses its seed.
        chosen: bool (N,), its seed is translated.
    """

    seeds: Tensor
    candidate: Tensor
    seedless: Tensor
    refused: Tensor
    chosen: Tensor


def acceptance(counts: Tensor, beta: Tensor | float) -> Tensor:
    """How readily an image of class i becomes one of class k: 1 - beta^max(n_i - n_k, 0), float32 (C, C), [i, k].

    Args:
        counts: training images per class, int64 (C,).
        beta: in [0, 1).
    """
    surplus = (counts[:, None] - counts[None, :]).clamp(min=0).double()
    beta = torch.as_tensor(beta, dtype=torch.float64, device=counts.device)
    return torch.where(surplus > 0, 1 - beta**surplus, 0).float()  # beta = 0: 0^0 is 1


def fitting_beta(counts: Tensor) -> Tensor:
    """The largest beta of BETAS with which most seeds for the smallest class are accepted; else the last.

    With 0.999 that is so where classes have thousands of images; where they have hundreds, nearly all seeds would be
    rejected. Scalar float64.
    """
    chosen = torch.tensor(BETAS[-1], dtype=torch.float64, device=counts.device)
    for beta in reversed(BETAS):
        accept = acceptance(counts, beta)[:, counts.argmin()].double()
        mean = (accept * accept).sum() / accept.sum().clamp(min=1e-12)
        chosen = torch.where(mean >= 0.5, beta, chosen)
    return chosen


def natural_fractions(counts: Tensor) -> Tensor:
    """Probability that a drawn image of a class is no candidate: n / n_max, float32 (C,)."""
    return (counts.double() / counts.max()).float()


def chosen_fractions(natural: Tensor, accept: Tensor) -> Tensor:
    """Probability that a drawn image of a class is chosen where every class is in the batch, float32 (C,).

    Args:
        natural: see `natural_fractions`.
        accept: see `acceptance`.
    """
    return (1 - natural) * ((accept * accept).sum(0) / accept.sum(0).clamp(min=1e-12))


def seed_probabilities(accept: Tensor, labels: Tensor) -> Tensor:
    """Probability that row s becomes the seed of row j, float32 (N, N), [j, s]; a row of zeros has no possible seed.

    Args:
        accept: see `acceptance`.
        labels: int64 (N,).
    """
    weights = accept[labels][:, labels].T
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)


def choose_seeds(labels: Tensor, natural: Tensor, accept: Tensor, uniform: Tensor) -> Choice:
    """Draw candidates and their seeds, and toss the coin before the attack, on which it does not depend.

    Args:
        labels: int64 (N,).
        natural: see `natural_fractions`.
        accept: see `acceptance`.
        uniform: (3, N) in [0, 1): for being a candidate, for the seed, for the coin.
    """
    candidate = uniform[0] >= natural[labels]
    probabilities = seed_probabilities(accept, labels)
    seedless = probabilities.sum(1) == 0
    seeds = draw(probabilities, uniform[1])
    agreed = uniform[2] < accept[labels[seeds], labels]
    seeded = candidate & ~seedless
    return Choice(seeds, candidate, candidate & seedless, seeded & ~agreed, seeded & agreed)


def random_start(uniform: Tensor, candidates: Tensor | int, per_sample: bool, radius: float = 0.5) -> Tensor:
    """Noise that is added before the attack, (N, 3, H, W).

    The reference code means to bring each image's noise to a norm of `radius`, but normalises each channel over all
    candidates together, so that an image's noise has a norm of about radius sqrt(3 / candidates).

    Args:
        uniform: (N, 3, H, W) in [-0.5, 0.5).
        candidates: over how many images the reference code would have normalised.
        per_sample: as it was meant.
        radius: the norm.
    """
    if per_sample:
        return uniform * (radius / uniform.flatten(1).norm(dim=1).clamp(min=radius)).view(-1, 1, 1, 1)
    part = (len(uniform) / torch.as_tensor(candidates, device=uniform.device).clamp(min=1)).sqrt()
    norms = uniform.square().sum((0, 2, 3), keepdim=True).sqrt()
    return uniform * (radius * part / norms.clamp(min=1e-12))


def objective(source: Tensor, own: Tensor, target: Tensor, seed: Tensor, lam: float) -> Tensor:
    """What the attack lowers, per image (N,): the source's cross-entropy towards `target` + lam x own logit of `seed`.

    Args:
        source: logits (N, C) of the frozen network g.
        own: logits (N, C) of the network that is trained.
        target: class to become, int64 (N,).
        seed: class of the seed, int64 (N,).
        lam: >= 0.
    """
    return F.cross_entropy(source, target, reduction="none") + lam * own.gather(1, seed[:, None])[:, 0]


def translate(
    images: Tensor, loss: Callable[[Tensor], Tensor], step: float, iterations: int, valid: Tensor | None = None
) -> Tensor:
    """Move images down a loss by steps of a fixed length in pixel space, staying within [0, 1].

    Args:
        images: (N, 3, H, W) in [0, 1].
        loss: (N, 3, H, W) to (N,).
        step: Euclidean length of a step of one image.
        iterations: how many.
        valid: bool (N,), rows to move; None for all.

    Returns:
        (N, 3, H, W), without gradient.
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


def passes_gate(source: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Whether g gives a translated image its new class with a probability of at least `gamma`, bool (N,).

    Args:
        source: logits (N, C) of the frozen network g.
        target: class of each image, int64 (N,).
        gamma: in [0, 1].
    """
    return source.softmax(1).gather(1, target[:, None])[:, 0] >= gamma
