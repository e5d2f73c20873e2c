"""Batch normalisation of two groups of rows, each by its own statistics, with static shapes.

There is no boolean indexing: every tensor keeps its shape whatever the mask, so that one graph serves all batches and
nothing waits for the device. Rows are chosen by filling small (rows, channels) tensors, never by multiplication with 0
or 1, because 0 * inf is NaN: whatever noise rows hold cannot reach the natural ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

INTEGERS = {torch.float64: torch.int64, torch.float32: torch.int32}


class Rows(NamedTuple):
    """What follows from a mask alone, computed once for all layers.

    Attributes:
        group: int64 (B,), 0 for natural rows, 1 for noise.
        others: bool (2, 1, B, 1), for each group the rows that are not in it.
        keep: int32 (B,), all bits for natural rows, none for noise.
        sizes: float32 (2, 1), rows of each group.
        present: float32 (2, 1), the same, at least 1.
    """

    group: Tensor
    others: Tensor
    keep: Tensor
    sizes: Tensor
    present: Tensor


def rows_of(mask: Tensor) -> Rows:
    """The rows of a mask, bool (B,), true for noise.

    Raises:
        TypeError: the mask is not of booleans; arithmetic on integers would take every row for a natural one.
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"A noise mask is a tensor of booleans; this one is of {mask.dtype}. Write mask.bool().")
    group, noise = mask.long(), mask.sum(dtype=torch.float32)
    sizes = torch.stack([len(mask) - noise, noise])[:, None]
    others = torch.stack([mask, ~mask])[:, None, :, None]
    return Rows(group, others, (group - 1).int(), sizes, sizes.clamp(min=1))


class NormaliseGroups(torch.autograd.Function):
    """out = gamma_g * (x - mu_g) / sqrt(var_g + eps) + beta_g, where g is the group of the row.

    Statistics, scale and shift are float32 (float64 for float64 inputs), the output has the input's type. The backward
    pass is written by hand: it is what makes the layer cost about what PyTorch's own batch norm costs. It can be taken
    once: second derivatives and torch.func transforms are errors.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        group: Tensor,
        others: Tensor,
        keep: Tensor,
        sizes: Tensor,
        present: Tensor,
        weight: Tensor,
        bias: Tensor,
        noise_weight: Tensor | None,
        noise_bias: Tensor | None,
        eps: float,
        noise_flows: bool,
        noise_learns: bool,
        sync: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalise.

        Args:
            ctx: autograd's.
            x: (B, K, *spatial).
            group: this and the next four, see `Rows`.
            others: see there.
            keep: see there.
            sizes: see there.
            present: see there.
            weight: gamma of natural rows, (K,).
            bias: beta of natural rows.
            noise_weight: gamma of noise rows; None for that of natural ones.
            noise_bias: beta of noise rows; None with `noise_weight`.
            eps: added to variances.
            noise_flows: pass gradient through noise rows; else they are constants.
            noise_learns: noise rows give their gamma and beta gradients.
            sync: statistics over all ranks of the default process group.

        Returns:
            The output, and without gradient: mean and biased variance, each (2, K), natural first, and the elements
            per channel that they come from, (2, 1).
        """
        exact = torch.float64 if x.dtype == torch.float64 else torch.float32
        rows, spatial = Rows(group, others, keep, sizes, present), tuple(range(2, x.dim()))
        if sync:
            sizes = _over_ranks(sizes.clone(), sync)
            present = sizes.clamp(min=1)
        mean = _over_ranks(_per_group(_mean(x, spatial, exact), rows), sync) / present
        centred = _centred(x, mean, rows)
        out = centred * centred  # this buffer becomes the output: fresh memory costs more than the arithmetic
        variance = _over_ranks(_per_group(_mean(out, spatial, exact), rows), sync) / present
        inverse = torch.rsqrt(variance + eps)
        if noise_weight is None or noise_bias is None:
            scale, shift = weight.to(exact) * inverse, bias.to(exact).view(1, -1, *[1] * len(spatial))
        else:
            scale = torch.stack([weight, noise_weight]).to(exact) * inverse
            shift = _per_row(torch.stack([bias, noise_bias]).to(exact), rows, x.dim())
        torch.addcmul(shift, centred, _per_row(scale, rows, x.dim()), out=out)
        count = x.shape[2:].numel()
        ctx.save_for_backward(centred if x.dtype == exact else x, group, others, keep, present, mean, inverse, scale)
        ctx.noise_flows, ctx.noise_learns, ctx.sync, ctx.count = noise_flows, noise_learns, sync, count
        ctx.shared = noise_weight is None
        elements = (sizes * count).to(exact)
        ctx.mark_non_differentiable(mean, variance, elements)
        return out.to(x.dtype), mean, variance, elements

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, gamma and beta of both groups."""
        saved, group, others, keep, present, mean, inverse, scale = ctx.saved_tensors
        rows = Rows(group, others, keep, present, present)
        exact, dims = mean.dtype, grad.dim()
        centred = saved if saved.dtype == exact else _centred(saved, mean, rows)
        grad = grad.to(exact)
        spatial = tuple(range(2, dims))
        into = grad * centred
        bias, weight = _per_group(torch.stack([_sum(grad, spatial), _sum(into, spatial)]), rows).unbind(1)
        weight = weight * inverse
        # dx = scale * (grad - mean of grad - normalised x * mean of (grad * normalised x)), means over the group
        means = _over_ranks(torch.stack([bias, weight * inverse]), ctx.sync) / (present * -ctx.count)
        chosen = torch.cat([means, scale[None]]).index_select(1, group)
        constant, curve, slope = chosen.view(*chosen.shape, *[1] * (dims - 2)).unbind()
        torch.addcmul(constant, centred, curve, out=into).add_(grad).mul_(slope)
        if not ctx.noise_flows:
            _zero_noise(into, rows)
        own: list[Tensor | None] = [weight[0], bias[0]]
        other: list[Tensor | None] = [None, None]
        if ctx.noise_learns and ctx.shared:
            own = [weight.sum(0), bias.sum(0)]
        elif ctx.noise_learns:
            other = [weight[1], bias[1]]
        elif not (ctx.shared or ctx.noise_flows):  # zeros, not nothing: weight decay still reaches them
            other = [torch.zeros_like(weight[1]), torch.zeros_like(bias[1])]
        return into.to(saved.dtype), None, None, None, None, None, *own, *other, None, None, None, None


def _centred(x: Tensor, mean: Tensor, rows: Rows) -> Tensor:
    """Rows minus the mean of their group, in the type of the mean."""
    means = _per_row(mean, rows, x.dim())
    return x - means if x.dtype == mean.dtype else x.to(mean.dtype).sub_(means)


def _mean(x: Tensor, spatial: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return x.mean(spatial, dtype=dtype) if spatial else x.to(dtype)


def _sum(x: Tensor, spatial: tuple[int, ...]) -> Tensor:
    return x.sum(spatial) if spatial else x


def _per_group(values: Tensor, rows: Rows) -> Tensor:
    """Sums (2, ..., K) of (..., B, K) over the rows of each group."""
    others = rows.others if values.dim() == 3 else rows.others[:, 0]
    return torch.where(others, 0, values).sum(-2)


def _per_row(values: Tensor, rows: Rows, dims: int) -> Tensor:
    """Values (2, K) of the group of each row: (B, K, 1, ...)."""
    chosen = values.index_select(0, rows.group)
    return chosen.view(*chosen.shape, *[1] * (dims - 2))


def _zero_noise(x: Tensor, rows: Rows) -> None:
    """Set noise rows to 0 in place, whatever they hold.

    A bitwise and, which is ten times faster on a CPU than filling with a broadcast mask.
    """
    integer = INTEGERS[x.dtype]
    x.view(integer).bitwise_and_(rows.keep.to(integer).view(-1, *[1] * (x.dim() - 1)))


def _over_ranks(values: Tensor, sync: bool) -> Tensor:
    """Sum over all processes; every rank takes part, also one without rows of a group."""
    if sync and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values
