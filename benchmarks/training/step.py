"""One training step: the order of the lines is the order of events."""

from __future__ import annotations

import torch
from torch import Tensor

from ..method import Batch, Method, Now
from ..network import Classifier
from ..precision import autocast, rounding
from ..recipe import Recipe


def step(
    method: Method, net: Classifier, batch: Batch, optimiser: torch.optim.Optimizer, recipe: Recipe, now: Now
) -> Tensor:
    """One step; its loss, a scalar on the device, without gradient. Nothing in here waits for the device."""
    batch = method.transform(batch, net, now)
    with rounding(recipe.precision, batch.images):
        with autocast(recipe.precision, batch.images.device):
            loss = method.loss(net, batch, now)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
    optimiser.step()
    method.after_step(net, now)
    return loss.detach()
