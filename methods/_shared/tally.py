"""Counters on the device: a step adds to them, and the host reads them once an epoch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...benchmarks.network import Classifier


class Tally:
    """Counters of one epoch, kept as a buffer of the network that no state dict holds.

    Args:
        buffer: name of the buffer.
        names: of the counters.
    """

    def __init__(self, buffer: str, *names: str) -> None:
        self.buffer, self.names = buffer, names

    def attach(self, net: Classifier, like: Tensor) -> None:
        """Start with zeros of the shape, type and device of `like`, for each counter."""
        net.register_buffer(self.buffer, like.new_zeros(len(self.names), *like.shape), persistent=False)

    def clear(self, net: Classifier) -> None:
        """Set all counters to zero."""
        net.get_buffer(self.buffer).zero_()

    def add(self, net: Classifier, **counts: Tensor) -> None:
        """Add to every counter; nothing is read back from the device."""
        net.get_buffer(self.buffer).add_(torch.stack([counts[name] for name in self.names]))

    def read(self, net: Classifier) -> dict[str, Any]:
        """Counters by name, as numbers or lists; waits for the device."""
        return dict(zip(self.names, net.get_buffer(self.buffer).tolist(), strict=True))

    def remove(self, net: Classifier) -> None:
        """Take the buffer off the network."""
        delattr(net, self.buffer)
