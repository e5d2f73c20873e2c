"""Batch normalisation of two groups of rows, each by its own statistics, with static shapes.

There is no boolean indexing: every tensor keeps its shape whatever the mask, so that one graph serves all batches and
nothing waits for the device. Rows are chosen with `where` on small (rows, channels) tensors, never by multiplication
with 0 or 1, because 0 * inf is NaN: whatever noise rows hold cannot reach the natural ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

INTEGERS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}


class NormaliseGroups(torch.autograd.Function):
    """out = gamma_g * (x - mu_g) / sqrt(var_g + eps) + beta_g, where g is the group of the row.

    Statistics, scale and shift are float32 (float64 for float64 inputs), the output has the input's type. The backward
    pass is written by hand: it is what makes the layer cost about what PyTorch's own batch norm costs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor,
        noise_weight: Tensor,
        noise_bias: Tensor,
        eps: float,
        noise_flows: bool,
        sync: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalise.

        Args:
            ctx: autograd's.
            x: (B, K, *spatial).
            mask: bool (B,), true for noise rows.
            weight: gamma of natural rows, (K,).
            bias: beta of natural rows.
            noise_weight: gamma of noise rows.
            noise_bias: beta of noise rows.
            eps: added to variances.
            noise_flows: pass gradient through noise rows; else they are constants.
            sync: statistics over all ranks of the default process group.

        Returns:
            The output, and without gradient: mean and biased variance, each (2, K), natural first, and the elements
            per channel that they come from, (2,).
        """
        exact = torch.float64 if x.dtype == torch.float64 else torch.float32
        spatial = tuple(range(2, x.dim()))
        groups = torch.stack([~mask, mask])
        rows = _over_ranks(groups.sum(1, dtype=exact), sync)
        mean = _over_ranks(_per_group(_mean(x, spatial, exact), groups), sync) / rows.clamp(min=1)[:, None]
        centred = _centred(x, mean, mask)
        out = centred * centred  # this buffer becomes the output: fresh memory costs more than the arithmetic
        squares = _mean(out, spatial, exact)
        variance = _over_ranks(_per_group(squares, groups), sync) / rows.clamp(min=1)[:, None]
        inverse = torch.rsqrt(variance + eps)
        scale = torch.stack([weight, noise_weight]).to(exact) * inverse
        shift = torch.stack([bias, noise_bias]).to(exact)
        torch.addcmul(_per_row(shift, mask, x.dim()), centred, _per_row(scale, mask, x.dim()), out=out)
        elements = rows * x[0, 0].numel()
        ctx.save_for_backward(centred if x.dtype == exact else x, mask, mean, inverse, scale, elements)
        ctx.noise_flows, ctx.sync = noise_flows, sync
        ctx.mark_non_differentiable(mean, variance, elements)
        return out.to(x.dtype), mean, variance, elements

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, gamma and beta of both groups."""
        saved, mask, mean, inverse, scale, elements = ctx.saved_tensors
        exact, dims = mean.dtype, grad.dim()
        centred = saved if saved.dtype == exact else _centred(saved, mean, mask)
        grad = grad.to(exact)
        spatial = tuple(range(2, dims))
        groups = torch.stack([~mask, mask])
        bias = _per_group(_sum(grad, spatial, exact), groups)
        into = grad * centred
        weight = _per_group(_sum(into, spatial, exact), groups) * inverse
        # dx = scale * (grad - mean of grad - normalised x * mean of (grad * normalised x)), means over the group
        means = _over_ranks(torch.stack([bias, weight]), ctx.sync) / elements.clamp(min=1)[:, None]
        constant, curve, slope = (_per_row(v, mask, dims) for v in (-means[0], -means[1] * inverse, scale))
        torch.addcmul(constant, centred, curve, out=into).add_(grad).mul_(slope)
        if not ctx.noise_flows:
            weight, bias = (torch.stack([value[0], torch.zeros_like(value[1])]) for value in (weight, bias))
            _zero_rows(into, mask)
        return into.to(saved.dtype), None, weight[0], bias[0], weight[1], bias[1], None, None, None


def _centred(x: Tensor, mean: Tensor, mask: Tensor) -> Tensor:
    """Rows minus the mean of their group, in the type of the mean."""
    means = _per_row(mean, mask, x.dim())
    return x - means if x.dtype == mean.dtype else x.to(mean.dtype).sub_(means)


def _mean(x: Tensor, spatial: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return x.mean(spatial, dtype=dtype) if spatial else x.to(dtype)


def _sum(x: Tensor, spatial: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return x.sum(spatial, dtype=dtype) if spatial else x.to(dtype)


def _per_group(values: Tensor, groups: Tensor) -> Tensor:
    """Sums (2, K) of (B, K) over the rows of each of two groups, (2, B)."""
    return torch.where(groups[:, :, None], values, 0).sum(1)


def _per_row(values: Tensor, mask: Tensor, dims: int) -> Tensor:
    """Values (2, K) of the group of each row: (B, K, 1, ...)."""
    chosen = torch.where(mask[:, None], values[1], values[0])
    return chosen.view(*chosen.shape, *[1] * (dims - 2))


def _zero_rows(x: Tensor, mask: Tensor) -> None:
    """Set the rows of `mask` to 0 in place, whatever they hold.

    A bitwise and, which is ten times faster on a CPU than `where` or `masked_fill_` with a broadcast mask.
    """
    integer = INTEGERS[x.dtype]
    keep = torch.where(mask, 0, -1).to(integer)
    x.view(integer).bitwise_and_(keep.view(-1, *[1] * (x.dim() - 1)))


def _over_ranks(values: Tensor, sync: bool) -> Tensor:
    """Sum over all processes; every rank takes part, also one without rows of a group."""
    if sync and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values
