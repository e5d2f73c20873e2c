"""Turn the batch norms of any model into routed ones and back, and hand them the mask."""

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
    """Convert every batch norm of a model, in place: each keeps its identity and its state and changes its class.

    Parameters, buffers, types, devices, hooks and the training flag stay, so an existing optimiser stays valid; it does
    not know the new parameters of auxiliary batch norms.
    Converting again changes the options. With DistributedDataParallel: build, load, convert, then wrap.

    Args:
        model: any module tree, or a batch norm itself. timm's BatchNormAct2d and SyncBatchNorm are understood.
        kind: `dar`, `auxiliary`, or `standard` to get plain batch norms back.
        noise_grad: see `Routed`; None for `stop` in DAR-BN and `full` in auxiliary batch norm.
        noise_init: state of a new auxiliary batch norm: a copy of the natural one, or fresh.
        eval_noise: see `Routed`.
        sync: see `Routed`; on for layers that were SyncBatchNorm.

    Returns:
        The model.

    Raises:
        ValueError: the model has no batch norm.
        TypeError: it has a batch norm with a forward pass of its own that is not understood.
    """
    norms = batchnorms(model)
    if not norms:
        raise ValueError(
            f"{type(model).__name__} has no batch norm to convert. Models with group, layer or instance norm need no "
            "routing: their rows are normalised one by one."
        )
    routing = Routing()
    for norm in norms:
        plain = understood(norm)
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
    """The batch norms of a model, each once, without the second ones of auxiliary layers."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and not isinstance(module, Second)]


def understood(norm: _BatchNorm) -> type[_BatchNorm]:
    """The class of a batch norm without routing, if its forward pass is one that can be routed."""
    plain = plain_class(type(norm))
    ordinary = plain.forward in (_BatchNorm.forward, SyncBatchNorm.forward)
    if not ordinary and not (hasattr(norm, "act") and hasattr(norm, "drop")):
        raise TypeError(f"{plain.__name__} has a forward pass of its own; its routing is not defined.")
    if getattr(norm, "process_group", None) is not None:
        raise TypeError("A SyncBatchNorm with a process group of its own cannot be routed; only the default group can.")
    return plain


def copy_to_noise(model: nn.Module) -> None:
    """Give the second norm of every auxiliary batch norm the state of the natural one."""
    for norm in batchnorms(model):
        if isinstance(norm, Auxiliary):
            norm.copy_to_noise()


@contextmanager
def noise_rows(model: nn.Module, mask: Tensor | None) -> Iterator[None]:
    """Within the block, the routed layers of `model` take the rows of `mask` (bool (B,)) for noise.

    Blocks may be nested; what was set before is set again at the end.

    Raises:
        TypeError: the mask is not of booleans.
        ValueError: there is a mask, but the model has batch norms that do not know it.
    """
    routings = _routings(model, mask is not None)
    before = _set(routings, mask)
    try:
        yield
    finally:
        _restore(routings, before)


class NoiseAware(nn.Module):
    """A model with routed batch norms whose forward pass takes the mask.

    Example:
        net = NoiseAware(convert_batchnorm(torchvision.models.resnet18()))
        logits = net(images, noise_mask)        # training; noise_mask bool (B,), true for noise images
        net.eval()(images)                      # plain batch norm

    Raises:
        ValueError: the model has a batch norm that is not converted, or none at all.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.routings = _routings(model, True)
        self.model = model

    def forward(self, images: Tensor, noise_mask: Tensor | None = None) -> Any:
        """The model's forward pass."""
        if not torch.compiler.is_compiling():  # layers may have been converted since
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
    """The different routings of a model's layers; if `needed`, every batch norm must have one."""
    norms = batchnorms(model)
    found = {id(norm.routing): norm.routing for norm in norms if isinstance(norm, Routed)}
    plain = sum(not isinstance(norm, Routed) for norm in norms)
    if needed and (plain or not norms):
        raise ValueError(
            f"{plain} of {len(norms)} batch norms of {type(model).__name__} know no noise mask: call convert_batchnorm "
            "after the model is built and before it is wrapped, and use sync=True instead of SyncBatchNorm."
        )
    return list(found.values())
