"""Logits of a split and their confusion matrix. Evaluation never selects an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.augment import as_floats
from ..network import Classifier
from ..nn.modes import evaluation_mode
from ..precision import autocast, rounding
from ..recipe import Recipe
from ..split import Split

BATCH = {"cpu": 100, "cuda": 2000}  # images per batch; larger feature maps would not fit into a CPU's cache


@torch.no_grad()
def logits_of(net: Classifier, split: Split, recipe: Recipe) -> Tensor:
    """Logits of a whole split in evaluation mode: float32 (N, C), in the split's order, on its device."""
    device = split.labels.device
    positions = torch.arange(len(split), device=device)
    parts = []
    with evaluation_mode(net):
        for index in positions.split(BATCH.get(device.type, 100)):
            images = as_floats(split.pixels(index), recipe)
            with rounding(recipe.precision, images), autocast(recipe.precision, device):
                parts.append(net(images))
    return torch.cat(parts)


def confusion_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Confusion matrix int64 (C, C) on the CPU; rows are true classes, columns predicted ones.

    The diagonal holds the number of correct predictions per class.
    """
    classes = logits.shape[1]
    cells = labels * classes + logits.argmax(1)
    counts = torch.zeros(classes * classes, dtype=torch.int64, device=logits.device)
    return counts.scatter_add_(0, cells, torch.ones_like(cells)).view(classes, classes).cpu()
