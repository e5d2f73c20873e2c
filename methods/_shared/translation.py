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

from .rows import draw_columns

BETAS = (0.999, 0.99, 0.9)


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


def seed_probabilities(accept: Tensor, labels: Tensor) -> Tensor:
    """Probability that row s becomes the seed of row j, float32 (N, N), [j, s]; a row of zeros has no possible seed.

    Args:
        accept: see `acceptance`.
        labels: int64 (N,).
    """
    weights = accept[labels][:, labels].T
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)


class Choice(NamedTuple):
    """What is decided of each row of a batch before any image is made; bool (N,) but for `seeds`.

    Attributes:
        candidate: the drawn image is to be replaced.
        seedless: no other row can be its seed.
        agreed: the coin accepts the seed.
        seeds: row of the seed, int64 (N,); any row where there is none.
    """

    candidate: Tensor
    seedless: Tensor
    agreed: Tensor
    seeds: Tensor

    @property
    def seeded(self) -> Tensor:
        """Candidates with a seed, bool (N,)."""
        return self.candidate & ~self.seedless

    @property
    def chosen(self) -> Tensor:
        """Rows for which an image is made, bool (N,)."""
        return self.seeded & self.agreed


def choose_sources(labels: Tensor, natural: Tensor, accept: Tensor, uniform: Tensor) -> Choice:
    """Decide which rows are to be replaced, and from which other rows their images are made.

    The coin is tossed here, before the attack, on which it does not depend: images that it rejects are never made.

    Args:
        labels: int64 (N,).
        natural: probability per class that a drawn image stays, (C,).
        accept: see `acceptance`.
        uniform: (3, N) in [0, 1): for the candidates, the seeds, the coin.
    """
    candidate = uniform[0] >= natural[labels]
    probabilities = seed_probabilities(accept, labels)
    seeds = draw_columns(probabilities, uniform[1])
    agreed = uniform[2] < accept[labels[seeds], labels]
    return Choice(candidate, probabilities.sum(1) == 0, agreed, seeds)


def fill_slots(chosen: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """The first `slots` chosen rows, then others: row of each slot int64 (slots,), whether it counts bool (slots,)."""
    rows = (~chosen).to(torch.int8).argsort(stable=True)[:slots]
    return rows, chosen[rows]


def random_start(uniform: Tensor, candidates: Tensor | int, per_sample: bool, radius: float = 0.5) -> Tensor:
    """Noise of the attack's start.

    The reference code means to bring each image's noise to a norm of `radius`, but normalises each channel over all
    candidates together, so that an image's noise has a norm of about radius sqrt(3 / candidates).

    Args:
        uniform: (N, 3, H, W) in [-0.5, 0.5).
        candidates: over how many images the reference code would have normalised.
        per_sample: as it was meant.
        radius: the norm.
    """
    if per_sample:
        noise: Tensor = uniform * (radius / uniform.flatten(1).norm(dim=1).clamp(min=radius)).view(-1, 1, 1, 1)
        return noise
    ratio = (len(uniform) / torch.as_tensor(candidates, device=uniform.device).clamp(min=1)).sqrt()
    norms = uniform.square().sum((0, 2, 3), keepdim=True).sqrt()
    return uniform * (radius * ratio / norms.clamp(min=1e-12))


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
