"""Conversion of a model's batch norms to routed ones and back; a context and a wrapper that set their noise mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from .arithmetic import Rows, rows_of
from .layers import DAR, Auxiliary, EvalNoise, NoiseGrad, Routed, Routing, Second, plain_class, routed_class

Kind = Literal["dar", "auxiliary", "standard"]


def convert_batchnorm(
    model: nn.Module,
    kind: Kind = "dar",
    *,
    noise_grad: NoiseGrad | None = None,
    noise_init: Literal["copy", "fresh"] = "copy",
    eval_noise: EvalNoise = "running",
    sync: bool = False,
) -> nn.Module:
    """Convert all batch norms of a model in place: only their class changes, not their identity or state.

    Parameters, buffers, dtypes, devices, hooks and the training flag are unchanged. An existing optimiser stays valid
    but lacks the new parameters of auxiliary batch norms. Converting again changes the options. With
    DistributedDataParallel: build, load, convert, then wrap.

    Args:
        model: any module tree, or a single batch norm. timm's BatchNormAct2d and SyncBatchNorm are supported.
        kind: `dar`, `auxiliary`, or `standard` to restore plain batch norms.
        noise_grad: see `Routed`; None for `stop` with DAR-BN and `full` with auxiliary batch norm.
        noise_init: initial state of a new auxiliary batch norm: `copy` of the natural one, or PyTorch's defaults.
        eval_noise: see `Routed`.
        sync: see `Routed`; always true for former SyncBatchNorm layers.

    Returns:
        The model.

    Raises:
        ValueError: the model has no batch norm.
        TypeError: a batch norm has a custom forward pass or process group, which cannot be routed.
    """
    norms = batchnorms(model)
    if not norms:
        raise ValueError(
            f"{type(model).__name__} has no batch norm to convert. Models with group, layer or instance norm need no "
            "routing: these normalise each row separately."
        )
    routing = Routing()
    for norm in norms:
        plain = routable_class(norm)
        if isinstance(norm, Auxiliary) and kind != "auxiliary":
            del norm.noise
        if isinstance(norm, Routed) and kind == "standard":
            norm.unroute()
        norm.__class__ = plain if kind == "standard" else routed_class(DAR if kind == "dar" else Auxiliary, plain)
        if isinstance(norm, Routed):
            gradient = noise_grad or ("stop" if kind == "dar" else "full")
            norm.route(routing, gradient, eval_noise, sync or issubclass(plain, SyncBatchNorm))
        if isinstance(norm, Auxiliary) and not hasattr(norm, "noise"):
            norm.add_noise()
            if noise_init == "copy":
                norm.copy_to_noise()
    return model


def batchnorms(model: nn.Module) -> list[_BatchNorm]:
    """All batch norms of a model, except the second ones of auxiliary layers."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and not isinstance(module, Second)]


def routable_class(norm: _BatchNorm) -> type[_BatchNorm]:
    """The class of a batch norm without routing.

    Raises:
        TypeError: the layer has a custom forward pass or a custom process group, which cannot be routed.
    """
    plain = plain_class(type(norm))
    ordinary = plain.forward in (_BatchNorm.forward, SyncBatchNorm.forward)
    if not ordinary and not (hasattr(norm, "act") and hasattr(norm, "drop")):
        raise TypeError(f"{plain.__name__} has a custom forward pass, for which routing is not defined.")
    if getattr(norm, "process_group", None) is not None:
        raise TypeError("A SyncBatchNorm with a custom process group cannot be routed; use the default group.")
    return plain


def copy_to_noise(model: nn.Module) -> None:
    """Copy parameters and statistics for natural rows to those for noise rows, in all auxiliary batch norms."""
    for norm in batchnorms(model):
        if isinstance(norm, Auxiliary):
            norm.copy_to_noise()


@contextmanager
def noise_rows(model: nn.Module, mask: Tensor | None) -> Iterator[None]:
    """Within the block, the routed layers of `model` treat the rows of `mask` (bool (B,)) as noise.

    Blocks may be nested; the previous mask is restored at the end.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: `mask` is not None, but the model has no batch norm or one that is not routed.
    """
    routings = _routings(model, mask is not None)
    before = _set(routings, mask)
    try:
        yield
    finally:
        _restore(routings, before)


class NoiseAware(nn.Module):
    """Wrapper of a model with routed batch norms; its forward pass takes the noise mask.

    Example:
        net = NoiseAware(convert_batchnorm(torchvision.models.resnet18()))
        logits = net(images, noise_mask)        # training; noise_mask bool (B,), true for noise images
        net.eval()(images)                      # plain batch norm

    Raises:
        ValueError: the model has no batch norm, or one that has not been converted.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.routings = _routings(model, True)
        self.model = model

    def forward(self, images: Tensor, noise_mask: Tensor | None = None) -> Any:
        """Run the model on images (B, ...); `noise_mask` is bool (B,), true for noise images."""
        if not torch.compiler.is_compiling():  # layers may have been converted in the meantime
            self.routings = _routings(self.model, noise_mask is not None)
        before = _set(self.routings, noise_mask)
        try:
            return self.model(images)
        finally:
            _restore(self.routings, before)


def _set(routings: list[Routing], mask: Tensor | None) -> list[Rows | None]:
    rows = None if mask is None else rows_of(mask)
    before = [routing.rows for routing in routings]
    for routing in routings:
        routing.rows, routing.used = rows, rows is not None
    return before


def _restore(routings: list[Routing], before: list[Rows | None]) -> None:
    for routing, rows in zip(routings, before, strict=True):
        routing.rows = rows


def _routings(model: nn.Module, needed: bool) -> list[Routing]:
    """The distinct routings of a model's layers.

    Args:
        model: any module.
        needed: whether every batch norm must have a routing.

    Raises:
        ValueError: a routing is needed, but the model has no batch norm or one without routing.
    """
    norms = batchnorms(model)
    routings = {id(norm.routing): norm.routing for norm in norms if isinstance(norm, Routed)}
    plain = sum(not isinstance(norm, Routed) for norm in norms)
    if needed and (plain or not norms):
        raise ValueError(
            f"{plain} of {len(norms)} batch norms of {type(model).__name__} take no noise mask. Call convert_batchnorm "
            "after building the model and before wrapping it, and use sync=True instead of SyncBatchNorm."
        )
    return list(routings.values())
