"""Counts of an epoch that stay on the device, so that no step waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...benchmarks.network import Classifier


@dataclass(frozen=True)
class Tally:
    """Named counts in a buffer of the network, which is not saved: each epoch begins with zeros.

    Attributes:
        buffer: name of the buffer, (R,) or (R, C).
        rows: names of the R counts.
    """

    buffer: str
    rows: Sequence[str]

    def attach(self, net: Classifier, zero: Tensor) -> None:
        """Give the network the buffer, at zero; `zero`, () or (C,), has the type and the device of a count."""
        net.register_buffer(self.buffer, zero.new_zeros(len(self.rows), *zero.shape), persistent=False)

    def reset(self, net: Classifier) -> None:
        """Set all counts to zero."""
        net.get_buffer(self.buffer).zero_()

    def add(self, net: Classifier, *values: Tensor) -> None:
        """Add one value per row, () or (C,) each."""
        counts = net.get_buffer(self.buffer)
        counts += torch.stack(values)

    def read(self, net: Classifier) -> dict[str, list[float]]:
        """All counts as numbers, per row a list of C, or of one; waits for the device, so not within a step."""
        counts = net.get_buffer(self.buffer)
        return dict(zip(self.rows, counts.reshape(len(self.rows), -1).tolist(), strict=True))

    def detach(self, net: Classifier) -> None:
        """Remove the buffer."""
        delattr(net, self.buffer)
