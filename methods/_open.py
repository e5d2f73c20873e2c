"""Noise images apart from natural ones, where a CPU saves what they cannot teach."""

from __future__ import annotations

import torch
from torch import Tensor

from ..benchmarks.dar_batch_norm import noise_rows
from ..benchmarks.network import Classifier


def teaches_the_head_alone(net: Classifier, size: torch.Size) -> bool:
    """Whether no parameter of a routed backbone learns from noise rows, as where every path to it has a batch norm.

    Seen on a few images; neither weights, statistics nor random numbers are touched.

    Args:
        net: in training mode, its batch norms converted with `noise_grad="stop"`.
        size: of an image, (3, H, W).
    """
    weights = [weight for weight in net.backbone.parameters() if weight.requires_grad]
    with torch.random.fork_rng(devices=()), torch.enable_grad(), noise_rows(net.backbone, torch.ones(4).bool()):
        torch.manual_seed(0)
        features = net.features(torch.rand(4, *size))
        score = (features * torch.randn(features.shape)).sum()
    if not (score.requires_grad and weights):
        return True
    gradients = torch.autograd.grad(score, weights, allow_unused=True)
    return not any(bool(gradient.any()) for gradient in gradients if gradient is not None)


def features_apart(net: Classifier, images: Tensor, noise: Tensor) -> Tensor:
    """Features (N, width): natural rows with gradient, noise rows by their own statistics and without.

    Args:
        net: its batch norms routed with `noise_grad="stop"`.
        images: (N, 3, H, W).
        noise: bool (N,); at least two rows are natural, as a batch norm needs.
    """
    if not noise.any():
        return net.features(images)
    with torch.no_grad(), noise_rows(net.backbone, noise[noise]):
        still = net.features(images[noise])
    own = net.features(images[~noise])
    places = torch.cat([(~noise).nonzero(), noise.nonzero()])[:, 0]
    both = torch.cat([own, still])
    return torch.empty_like(both).index_copy(0, places, both)
