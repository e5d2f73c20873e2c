"""DAR-BN and auxiliary batch norm as layers (Zada et al., ICML 2022, section 4 and appendix E)."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .arithmetic import NormaliseGroups, Rows, rows_of

NoiseGrad = Literal["stop", "affine_frozen", "full"]
EvalNoise = Literal["running", "batch"]


class Routing:
    """The noise rows of the current batch, shared by all layers of a model.

    Not a buffer, because DistributedDataParallel would overwrite every rank's mask with that of rank 0; not a module,
    because it does not belong in a state dict.

    Attributes:
        rows: rows of the current batch; None without routing.
        used: whether the latest forward pass had a mask.
    """

    def __init__(self) -> None:
        self.rows: Rows | None = None
        self.used = False


class Routed(_BatchNorm):
    """Base class of DAR-BN and auxiliary batch norm; a mixin placed before a batch norm class.

    Without a mask, and in evaluation mode with `eval_noise="running"`, the layer equals its plain batch norm: bit for
    bit, or up to rounding with `sync` in training mode. With a mask in training mode, natural and noise rows are each
    normalised with their own statistics. The layer's running statistics track only natural rows, and do not change if a
    batch has fewer than two natural elements per channel.

    Args:
        args: positional arguments of the batch norm.
        noise_grad: gradients through noise rows. `stop`: none, their output is a constant (listing 1 of the paper).
            `affine_frozen`: to the input, but not to gamma and beta (equation 13). `full`: to all.
        eval_noise: behaviour in evaluation mode. `running` ignores the mask (with a warning if gradients are taken);
            `batch` normalises noise rows with their own statistics, for analysis and for layers frozen during training.
        sync: compute statistics over all processes of torch.distributed's default group, as SyncBatchNorm does.
        others: keyword arguments of the batch norm.
    """

    def __init__(
        self,
        *args: Any,
        noise_grad: NoiseGrad = "stop",
        eval_noise: EvalNoise = "running",
        sync: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(*args, **others)
        self.route(Routing(), noise_grad, eval_noise, sync)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the mixin and the plain class instead of the routed class, which may have been created on demand."""
        mixin = DAR if isinstance(self, DAR) else Auxiliary
        return _blank, (mixin, plain_class(type(self))), self.__dict__

    def route(self, routing: Routing, noise_grad: NoiseGrad, eval_noise: EvalNoise, sync: bool) -> None:
        """Set the routing, which provides the mask, and the options; see the class."""
        self.routing, self.noise_grad, self.eval_noise, self.sync = routing, noise_grad, eval_noise, sync

    def unroute(self) -> None:
        """Remove the attributes set by `route`, before the class is changed back to the plain one."""
        del self.routing, self.noise_grad, self.eval_noise, self.sync

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, K, *spatial); shape and dtype are unchanged.

        Raises:
            ValueError: the mask does not have one entry per row.
            RuntimeError: the mask is lost, because the layer runs under DataParallel or is recomputed in the backward
                pass.
        """
        rows = self.routing.rows
        if rows is None and self.sync and self.training:
            rows = rows_of(torch.zeros(len(input), dtype=torch.bool, device=input.device))
        if rows is None or not (self.training or self.eval_noise == "batch"):
            self._unrouted(rows, input)
            return super().forward(input)
        if getattr(self, "_is_replica", False):
            raise RuntimeError("DataParallel splits the batch but not the mask; use DistributedDataParallel.")
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if len(rows.group) != len(input):
            raise ValueError(
                f"The noise mask has {len(rows.group)} entries but the layer's input has {len(input)} rows. If the "
                "model merges other dimensions into the batch, use mask.repeat_interleave."
            )
        return self._tail(self._routed(input, rows))

    def _routed(self, x: Tensor, rows: Rows) -> Tensor:
        affine = (*self._affine(self, x), *self._noise_affine(x))
        flows, learns = self.noise_grad != "stop", self.noise_grad == "full"
        out: Tensor
        out, mean, variance, elements = NormaliseGroups.apply(x, *rows, *affine, self.eps, flows, learns, self.sync)
        if self.training:
            self._track(mean, variance, elements)
            return out
        noise = (rows.group == 1).view(-1, *[1] * (x.dim() - 1))
        natural = torch.where(noise, 0, x)  # a non-finite noise row would make the gradient of gamma NaN (0 * inf)
        running = nn.functional.batch_norm(
            natural, self.running_mean, self.running_var, self.weight, self.bias, self.running_mean is None, 0, self.eps
        )
        return torch.where(noise, out, running)

    def _tail(self, out: Tensor) -> Tensor:
        """Apply dropout and activation of timm's BatchNormAct2d; other layers have none."""
        drop, act = getattr(self, "drop", None), getattr(self, "act", None)
        if drop is not None and act is not None:
            out = act(drop(out))
        return out

    def _noise_affine(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Gamma and beta of noise rows; (None, None) if they are shared with natural rows."""
        raise NotImplementedError

    def _affine(self, norm: _BatchNorm, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gamma and beta of a batch norm; ones and zeros if it has none."""
        if norm.affine:
            return norm.weight, norm.bias
        return torch.ones(self.num_features, device=x.device), torch.zeros(self.num_features, device=x.device)

    def _track(self, mean: Tensor, variance: Tensor, elements: Tensor) -> None:
        _follow(self, mean[0], variance[0], elements[0, 0])

    def _unrouted(self, rows: Rows | None, input: Tensor) -> None:
        """Detect a lost mask: warn if a layer is frozen in evaluation mode, raise if it is recomputed in backward."""
        if torch.compiler.is_compiling():
            return
        if rows is not None and torch.is_grad_enabled() and input.requires_grad:
            warnings.warn(
                "A batch norm in evaluation mode ignores the noise mask while gradients are taken. For layers frozen "
                "during training, use convert_batchnorm(..., eval_noise='batch').",
                stacklevel=4,
            )
        if rows is None and torch._C._current_graph_task_id() == -1:  # no backward pass is running
            self.routing.used = False
        elif self.training and self.routing.used:
            raise RuntimeError(
                "A routed layer is recomputed in the backward pass, where the noise mask is no longer set (activation "
                "checkpointing). Checkpoint a function that takes the mask and sets it: "
                "with noise_rows(model, mask): ..."
            )

    def extra_repr(self) -> str:
        """Description of the batch norm, with the routing options."""
        options: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{options}, noise_grad={self.noise_grad}, sync={self.sync}"


@torch.no_grad()
def _follow(norm: _BatchNorm, mean: Tensor, variance: Tensor, elements: Tensor) -> None:
    """Update running statistics if there are at least two elements per channel, without data-dependent branches."""
    if not norm.track_running_stats or norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    enough = elements >= 2
    norm.num_batches_tracked.add_(enough)
    step = enough.to(norm.running_mean.dtype)
    step = step / norm.num_batches_tracked.clamp(min=1) if norm.momentum is None else step * norm.momentum
    unbiased = variance * (elements / (elements - 1).clamp(min=1))
    norm.running_mean.lerp_(mean.to(step.dtype), step)
    norm.running_var.lerp_(unbiased.to(step.dtype), step)


class DAR(Routed):
    """DAR-BN: noise rows have their own statistics but share gamma and beta. The state-dict keys are unchanged."""

    def _noise_affine(self, x: Tensor) -> tuple[None, None]:
        return None, None


class Auxiliary(Routed):
    """Auxiliary batch norm, an ablation: noise rows have a complete separate batch norm (child `noise`).

    Without a mask, and in evaluation mode with `eval_noise="running"`, the natural batch norm is used for all rows.
    """

    def __init__(self, *args: Any, noise_grad: NoiseGrad = "full", **others: Any) -> None:
        super().__init__(*args, noise_grad=noise_grad, **others)
        self.add_noise()

    def add_noise(self) -> None:
        """Attach the batch norm for noise rows, in its initial state."""
        like = self.weight if self.affine else self.running_mean
        kind: dict[str, Any] = {} if like is None else {"device": like.device, "dtype": like.dtype}
        self.noise = Second(self.num_features, self.eps, self.momentum, self.affine, self.track_running_stats, **kind)
        for own, new in zip(self.parameters(recurse=False), self.noise.parameters(), strict=True):
            new.requires_grad_(own.requires_grad)

    def copy_to_noise(self) -> None:
        """Copy parameters and statistics for natural rows to those for noise rows."""
        own = {key: value for key, value in self.state_dict().items() if key in self.noise.state_dict()}
        self.noise.load_state_dict(own)

    def _noise_affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._affine(self.noise, x)

    def _track(self, mean: Tensor, variance: Tensor, elements: Tensor) -> None:
        super()._track(mean, variance, elements)
        _follow(self.noise, mean[1], variance[1], elements[1, 0])


class Second(_BatchNorm):
    """Parameters and running statistics for noise rows; never called."""


class DARBatchNorm1d(DAR, nn.BatchNorm1d):
    """DAR-BN of (B, K) or (B, K, L)."""


class DARBatchNorm2d(DAR, nn.BatchNorm2d):
    """DAR-BN of (B, K, H, W)."""


class DARBatchNorm3d(DAR, nn.BatchNorm3d):
    """DAR-BN of (B, K, D, H, W)."""


class AuxiliaryBatchNorm1d(Auxiliary, nn.BatchNorm1d):
    """Auxiliary batch norm of (B, K) or (B, K, L)."""


class AuxiliaryBatchNorm2d(Auxiliary, nn.BatchNorm2d):
    """Auxiliary batch norm of (B, K, H, W)."""


class AuxiliaryBatchNorm3d(Auxiliary, nn.BatchNorm3d):
    """Auxiliary batch norm of (B, K, D, H, W)."""


_ROUTED: dict[tuple[type[Routed], type[_BatchNorm]], type[Routed]] = {
    (DAR, nn.BatchNorm1d): DARBatchNorm1d,
    (DAR, nn.BatchNorm2d): DARBatchNorm2d,
    (DAR, nn.BatchNorm3d): DARBatchNorm3d,
    (Auxiliary, nn.BatchNorm1d): AuxiliaryBatchNorm1d,
    (Auxiliary, nn.BatchNorm2d): AuxiliaryBatchNorm2d,
    (Auxiliary, nn.BatchNorm3d): AuxiliaryBatchNorm3d,
}


def plain_class(cls: type[_BatchNorm]) -> type[_BatchNorm]:
    """The plain batch norm class that a routed class derives from; other classes are returned unchanged."""
    while issubclass(cls, Routed):
        cls = next(base for base in cls.__mro__ if issubclass(base, _BatchNorm) and not issubclass(base, Routed))
    return cls


def routed_class(mixin: type[Routed], plain: type[_BatchNorm]) -> type[Routed]:
    """Routed class for a mixin and a plain class, such as `DARBatchNorm2d`; created on demand and cached."""
    if (mixin, plain) not in _ROUTED:
        name = f"{'DAR' if mixin is DAR else mixin.__name__}{plain.__name__}"
        cls: Any = type(name, (mixin, plain), {"__doc__": f"{mixin.__name__} version of {plain.__name__}."})
        _ROUTED[mixin, plain] = cls
    return _ROUTED[mixin, plain]


def _blank(mixin: type[Routed], plain: type[_BatchNorm]) -> Routed:
    """Uninitialised instance of a routed class, for unpickling."""
    cls = routed_class(mixin, plain)
    return cls.__new__(cls)
