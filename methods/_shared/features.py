"""Features of a whole split, for methods that derive something from them once."""

from __future__ import annotations

import torch
from torch import Tensor

from ...benchmarks.method import Split
from ...benchmarks.network import Classifier
from ...benchmarks.nn.modes import evaluation_mode

BATCH = 500  # images per forward pass


@torch.no_grad()
def features_of(net: Classifier, split: Split) -> tuple[Tensor, Tensor]:
    """Features, float32 (N, width), and labels, int64 (N,), of all images, in the order of the split.

    Images are not augmented, and the network is in evaluation mode; the previous mode of each module is restored.

    Args:
        net: network, on the device of the split.
        split: images and labels.
    """
    positions = torch.arange(len(split), device=split.labels.device)
    with evaluation_mode(net):
        parts = [net.features(split.floats(index)) for index in positions.split(BATCH)]
    return torch.cat(parts), split.labels
