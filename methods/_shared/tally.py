"""Per-epoch counts that stay on the device, so that no step synchronises with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...benchmarks.network import Classifier


@dataclass(frozen=True)
class Tally:
    """Named counts in a non-persistent buffer of the network; methods reset them every epoch.

    Attributes:
        buffer: name of the buffer, which has shape (R,) or (R, C).
        rows: names of the R counts.
    """

    buffer: str
    rows: Sequence[str]

    def attach(self, net: Classifier, zero: Tensor) -> None:
        """Register the buffer, filled with zeros; each count has the shape, dtype and device of `zero`, () or (C,)."""
        net.register_buffer(self.buffer, zero.new_zeros(len(self.rows), *zero.shape), persistent=False)

    def reset(self, net: Classifier) -> None:
        """Set all counts to zero."""
        net.get_buffer(self.buffer).zero_()

    def add(self, net: Classifier, *values: Tensor) -> None:
        """Add one value, () or (C,), to each count, in the order of `rows`."""
        counts = net.get_buffer(self.buffer)
        counts += torch.stack(values)

    def read(self, net: Classifier) -> dict[str, list[float]]:
        """Counts by name, each a list of one or C numbers; the call synchronises with the device."""
        counts = net.get_buffer(self.buffer)
        return dict(zip(self.rows, counts.reshape(len(self.rows), -1).tolist(), strict=True))

    def detach(self, net: Classifier) -> None:
        """Remove the buffer."""
        delattr(net, self.buffer)
