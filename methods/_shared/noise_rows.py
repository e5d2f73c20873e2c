"""Separate forward passes for natural and noise images, which avoid computing unused gradients of noise on a CPU."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ...benchmarks.network import Classifier
from ...benchmarks.nn.dar_batch_norm import noise_rows


def teaches_the_head_alone(net: Classifier, size: torch.Size) -> bool:
    """Whether noise rows pass no gradient to any parameter of a routed backbone.

    This is the case if every parameter is followed by a batch norm. It is tested with four random images on a copy of
    the network with perturbed weights.

    Args:
        net: network in training mode, with batch norms converted with `noise_grad="stop"`.
        size: shape of an image, (3, H, W).
    """
    random = torch.Generator().manual_seed(0)
    twin = copy.deepcopy(net)  # weights are perturbed: a zero-initialised layer would hide gradients
    weights = [weight for weight in twin.backbone.parameters() if weight.requires_grad]
    for weight in weights:
        weight.data += 0.1 * torch.randn(weight.shape, generator=random)
    with torch.random.fork_rng(devices=()), torch.enable_grad(), noise_rows(twin.backbone, torch.ones(4).bool()):
        features = twin.features(torch.rand(4, *size, generator=random))
    score = (features * torch.randn(features.shape, generator=random)).sum()
    if not (score.requires_grad and weights):
        return True
    gradients = torch.autograd.grad(score, weights, allow_unused=True)
    return not any(bool(gradient.any()) for gradient in gradients if gradient is not None)


def features_apart(net: Classifier, images: Tensor, noise: Tensor) -> Tensor:
    """Features (N, width); noise rows are normalised with their own statistics and have no gradients.

    Args:
        net: network with batch norms converted with `noise_grad="stop"`.
        images: (N, 3, H, W).
        noise: mask of the noise rows, bool (N,); batch norm needs at least two natural rows.
    """
    if not noise.any():
        return net.features(images)
    with torch.no_grad(), _without_kept_casts(images), noise_rows(net.backbone, noise[noise]):
        detached = net.features(images[noise])
    natural = net.features(images[~noise])
    rows = torch.cat([(~noise).nonzero(), noise.nonzero()])[:, 0]
    return torch.cat([natural, detached])[rows.argsort()]


def _without_kept_casts(images: Tensor) -> torch.autocast:
    """The current autocast without its cache, because older versions of torch cache casts that have no gradient."""
    kind = images.device.type
    return torch.autocast(
        kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
    )
