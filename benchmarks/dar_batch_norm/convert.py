"""Turn the batch norms of any model into routed ones and back, and hand them the mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from . import layers
from .layers import DAR, Auxiliary, EvalNoise, NoiseGrad, Routed, Routing, Second

Kind = Literal["dar", "auxiliary", "standard"]
MIXINS: dict[str, type[Routed]] = {"dar": DAR, "auxiliary": Auxiliary}
_MADE: dict[tuple[type[Routed], type[_BatchNorm]], type[Routed]] = {}


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

    Parameters, buffers, types, devices, hooks and the training flag stay, so an existing optimiser stays valid.
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
        plain = plain_class(norm)
        if kind != "auxiliary" and isinstance(norm, Auxiliary):
            del norm.noise
        norm.__class__ = plain if kind == "standard" else routed_class(MIXINS[kind], plain)
        if isinstance(norm, Routed):
            norm.route(
                routing,
                noise_grad or ("stop" if kind == "dar" else "full"),
                eval_noise,
                sync or issubclass(plain, SyncBatchNorm),
            )
        if isinstance(norm, Auxiliary) and not hasattr(norm, "noise"):
            norm.add_noise()
            if noise_init == "copy":
                norm.copy_to_noise()
    return model


def batchnorms(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a model, each once, without the second ones of auxiliary layers."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and not isinstance(module, Second)]


def plain_class(norm: _BatchNorm) -> type[_BatchNorm]:
    """The class of a batch norm without routing."""
    plain = type(norm)
    while issubclass(plain, Routed):
        plain = next(base for base in plain.__mro__ if issubclass(base, _BatchNorm) and not issubclass(base, Routed))
    understood = plain.forward in (_BatchNorm.forward, SyncBatchNorm.forward)
    if not understood and not (hasattr(norm, "act") and hasattr(norm, "drop")):
        raise TypeError(f"{plain.__name__} has a forward pass of its own; its routing is not defined.")
    return plain


def routed_class(mixin: type[Routed], plain: type[_BatchNorm]) -> type[Routed]:
    """`DARBatchNorm2d` for DAR and BatchNorm2d; made once, on demand, for other classes."""
    if (mixin, plain) not in _MADE:
        name = f"{'DAR' if mixin is DAR else mixin.__name__}{plain.__name__}"
        found: Any = getattr(layers, name, None)
        if found is None or not issubclass(found, plain):
            found = type(name, (mixin, plain), {"__doc__": f"{mixin.__name__} in front of {plain.__name__}."})
        _MADE[mixin, plain] = found
    return _MADE[mixin, plain]


def copy_to_noise(model: nn.Module) -> None:
    """Give the second norm of every auxiliary batch norm the state of the natural one."""
    for norm in batchnorms(model):
        if isinstance(norm, Auxiliary):
            norm.copy_to_noise()


@contextmanager
def noise_rows(model: nn.Module, mask: Tensor | None) -> Iterator[None]:
    """Within the block, the routed layers of `model` take the rows of `mask` (bool (B,)) for noise.

    Raises:
        ValueError: there is a mask, but the model has batch norms that do not know it.
    """
    if mask is not None:
        _check_converted(model)
    routings = [norm.routing for norm in batchnorms(model) if isinstance(norm, Routed)]
    for routing in routings:
        routing.mask, routing.used = mask, mask is not None
    try:
        yield
    finally:
        for routing in routings:
            routing.mask = None


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
        _check_converted(model)
        self.model = model

    def forward(self, images: Tensor, noise_mask: Tensor | None = None) -> Any:
        """The model's forward pass."""
        with noise_rows(self.model, noise_mask):
            return self.model(images)


def _check_converted(model: nn.Module) -> None:
    norms = batchnorms(model)
    plain = sum(not isinstance(norm, Routed) for norm in norms)
    if plain or not norms:
        raise ValueError(
            f"{plain} of {len(norms)} batch norms of {type(model).__name__} know no noise mask: call convert_batchnorm "
            "after the model is built and before it is wrapped, and use sync=True instead of SyncBatchNorm."
        )
