"""Training and evaluation mode of a network's modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Put all modules into evaluation mode within the block; afterwards each has its previous mode again."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
