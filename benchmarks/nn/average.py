"""Exponential moving average of a network's weights, for evaluation and for the finished network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

NAME = "average"  # of the module in the network
OTHERS = (f"{NAME}.", "source.")  # names that do not belong to the network itself


class Average(nn.Module):
    """Moving average of floating-point parameters and buffers: a += (1 - d) (w - a) after each step.

    Running statistics are averaged like weights, since they belong to them. In step t, from 0, d is at most
    (1 + t) / (10 + t), so that a short training is not dominated by its initial weights. The averages are buffers, in
    one `state_dict` with the network that the module is attached to.

    Args:
        tensors: tensors to average, by name; their contents are followed, in place.
        decay: largest d, in [0, 1).
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        super().__init__()
        self.decay, self.tensors = decay, [tensor.detach() for tensor in tensors.values()]
        self.names = [name.replace(".", "/") for name in tensors]
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), device=self.tensors[0].device))
        for name, tensor in zip(self.names, self.tensors, strict=True):
            self.register_buffer(name, tensor.clone())

    @property
    def values(self) -> list[Tensor]:
        """The averages, in the order of the tensors."""
        return [self.get_buffer(name) for name in self.names]

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the current tensors; never waits for the device."""
        decay = ((1 + self.steps) / (10 + self.steps)).clamp(max=self.decay)
        gaps = torch._foreach_sub(self.tensors, self.values)
        torch._foreach_mul_(gaps, 1 - decay)
        torch._foreach_add_(self.values, gaps)
        self.steps += 1

    @torch.no_grad()
    def take(self) -> None:
        """Replace the tensors by their averages."""
        torch._foreach_copy_(self.tensors, self.values)


def attach_average(net: nn.Module, constant: tuple[str, ...], decay: float) -> None:
    """Attach an average of the network's floating-point tensors as `net.average`, beginning with their current values.

    Args:
        net: network, on its device.
        constant: prefixes of names that training does not change.
        decay: see `Average`; with 0, nothing is attached.
    """
    if decay:
        state = net.state_dict(keep_vars=True)
        own = {name: value for name, value in state.items() if not name.startswith((*constant, *OTHERS))}
        floats = {name: value for name, value in own.items() if value.is_floating_point()}
        net.add_module(NAME, Average(floats, decay))


def average_of(net: nn.Module) -> Average | None:
    """The average that is attached to a network, or None."""
    return cast("Average | None", getattr(net, NAME, None))


def take_average(net: nn.Module) -> None:
    """Replace the network's tensors by their averages, and detach the average; do nothing if there is none."""
    if average := average_of(net):
        average.take()
        delattr(net, NAME)


@contextmanager
def averaged(net: nn.Module) -> Iterator[None]:
    """Within the block, the network has its averaged tensors; afterwards the current ones again."""
    average = average_of(net)
    if average is None:
        yield
        return
    current = [tensor.clone() for tensor in average.tensors]
    average.take()
    try:
        yield
    finally:
        torch._foreach_copy_(average.tensors, current)


def finished_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a network with the averages, if it contains any, in place of the tensors."""
    own = {name: value for name, value in state.items() if not name.startswith(f"{NAME}.")}
    return {name: state.get(f"{NAME}.{name.replace('.', '/')}", value) for name, value in own.items()}
