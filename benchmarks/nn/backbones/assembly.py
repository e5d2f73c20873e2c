"""Assembly of a backbone from named stages."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Norm = Callable[[int], nn.Module]  # number of channels -> normalisation layer


def assemble(stages: dict[str, nn.Module], width: int) -> nn.Sequential:
    """Join named stages into a backbone and initialise its convolutions.

    Weights are Kaiming normal with fan-in (standard deviation sqrt(2 / fan-in)), as in the reference code of LDAM.

    Args:
        stages: modules by name, in the order of the forward pass.
        width: number of features that the last stage returns.
    """
    backbone = join(stages, width)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return backbone


def join(stages: dict[str, nn.Module], width: int) -> nn.Sequential:
    """Join named stages into a plain `nn.Sequential` whose attribute `width` is the number of features."""
    backbone = nn.Sequential()
    for name, stage in stages.items():
        backbone.add_module(name, stage)
    backbone.width = width  # type: ignore[assignment]  # a plain attribute, so that slices stay plain Sequentials
    return backbone
