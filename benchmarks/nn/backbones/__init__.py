"""Backbones: functions that return a plain `nn.Sequential` of named stages with the attribute `width`.

Methods can slice such a backbone. Each module here defines a dictionary `BACKBONES` from names to such functions.
`timm:<model>` selects any timm model.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from torch import nn

from ...errors import unknown
from ..weights import Weights, load_into
from .assembly import Norm

__all__ = ["Norm", "backbone_names", "build_backbone", "check_backbone"]


def _families() -> dict[str, Callable[[Norm], nn.Sequential]]:
    """Map the name of each built-in backbone to the function that builds it."""
    functions: dict[str, Callable[[Norm], nn.Sequential]] = {}
    for module in pkgutil.iter_modules(__path__):
        functions |= getattr(importlib.import_module(f"{__name__}.{module.name}"), "BACKBONES", {})
    return functions


def backbone_names() -> list[str]:
    """Names of the built-in backbones."""
    return sorted(_families())


def build_backbone(name: str, norm: Norm = nn.BatchNorm2d, weights: Weights | None = None) -> nn.Sequential:
    """Build a backbone with new random weights or with pretrained ones.

    Args:
        name: one of `backbone_names()` or `timm:<model>`.
        norm: function that builds the normalisation layer for a number of channels.
        weights: pretrained weights; None for random ones.

    Raises:
        UserError: there is no such backbone, the timm model does not support `norm`, or the weights do not fit.
    """
    if name.startswith("timm:"):
        from .timm_models import timm_backbone

        return timm_backbone(name.removeprefix("timm:"), norm, weights)
    check_backbone(name)
    backbone = _families()[name](norm)
    if weights is not None:
        load_into(backbone, weights.tensors, f"{weights.name} for {name}")
    return backbone


def check_backbone(name: str) -> None:
    """Check that a backbone exists, without building it.

    Raises:
        UserError: there is no backbone with this name.
    """
    if name.startswith("timm:"):
        from .timm_models import check_model

        check_model(name.removeprefix("timm:"))
    elif name not in _families():
        raise unknown("backbone", name, [*backbone_names(), "timm:<model>"])
