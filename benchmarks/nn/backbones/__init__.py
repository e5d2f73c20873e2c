"""Backbones: functions that return a plain `nn.Sequential` of named stages with `.width`; a method can slice it.

Every module here has a dictionary `BACKBONES` from name to function. `timm:<model>` is any model of timm.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from torch import nn

from ...errors import UserError, unknown

Norm = Callable[[int], nn.Module]


def _families() -> dict[str, Callable[..., nn.Sequential]]:
    found: dict[str, Callable[..., nn.Sequential]] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= getattr(importlib.import_module(f"{__name__}.{module.name}"), "BACKBONES", {})
    return found


def backbone_names() -> list[str]:
    """Names of the suite's own backbones."""
    return sorted(_families())


def build_backbone(name: str, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """Build a backbone with freshly drawn weights.

    Args:
        name: one of `backbone_names()` or `timm:<model>`.
        norm: makes the normalisation layer for a number of channels; passed down instead of replacing layers
        afterwards.

    Raises:
        UserError: no such backbone.
    """
    if name.startswith("timm:"):
        from .timm_models import timm_backbone

        return timm_backbone(name.removeprefix("timm:"), norm)
    check_backbone(name)
    return _families()[name](norm)


def check_backbone(name: str) -> None:
    """Raise the error for an unknown backbone, without building one."""
    if name.startswith("timm:"):
        from .timm_models import check_model

        check_model(name.removeprefix("timm:"))
    elif name not in _families():
        raise unknown("backbone", name, [*backbone_names(), "timm:<model>"])


def finish(stages: dict[str, nn.Module], width: int) -> nn.Sequential:
    """Join named stages into a backbone and draw the weights of its convolutions.

    Kaiming normal over the fan-in (standard deviation sqrt(2 / fan-in)), as in the reference code of LDAM.
    """
    backbone = nn.Sequential()
    for name, stage in stages.items():
        backbone.add_module(name, stage)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    backbone.width = width  # type: ignore[assignment]  # a plain attribute, so that slices stay plain Sequentials
    return backbone


__all__ = ["Norm", "UserError", "backbone_names", "build_backbone", "check_backbone", "finish"]
