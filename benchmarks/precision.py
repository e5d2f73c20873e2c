"""Which precision a machine computes in: bfloat16 where it was measured to be faster, else float32."""

from __future__ import annotations

import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

FASTER = 1.2  # a processor with bfloat16 convolves 1.7 times as fast or more, one without a tenth as fast
HOPELESS = 0.5  # below it, rounding to bfloat16 around float32 arithmetic is faster


def precision(wanted: str, device: torch.device) -> str:
    """`fp32` or `bf16`: what `wanted` means on a device; `auto` is bf16 where that is faster."""
    if wanted == "auto":
        return "bf16" if fast_bf16(device.type) else "fp32"
    return wanted


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a network computes, `fp32` or `bf16`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def rounding(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """What stands around a step or an evaluation in bfloat16, its backward pass included.

    On a CPU without bfloat16, whose own kernels would take ten times as long as float32, it makes products of
    bfloat16 tensors as `Rounding` does; elsewhere it does nothing.
    """
    needed = precision == "bf16" and device.type == "cpu" and bf16_speed("cpu") < HOPELESS
    return Rounding() if needed else nullcontext()


class Rounding(TorchDispatchMode):
    """Convolutions and matrix products of bfloat16 tensors in float32, each result rounded to bfloat16 once.

    This is what hardware with bfloat16 computes: its products are exact in float32 and summed there. Only the order
    of a sum is another, as it is between any two kernels.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _PRODUCTS or args[0].dtype != torch.bfloat16:
            return func(*args, **(kwargs or {}))
        out = func(*tree_map_only(Tensor, Tensor.float, args), **(kwargs or {}))
        return tree_map_only(Tensor, Tensor.bfloat16, out)


_PRODUCTS = {
    torch.ops.aten.convolution.default,
    torch.ops.aten.convolution_backward.default,
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
}


def fast_bf16(kind: str) -> bool:
    """Whether this machine convolves faster in bfloat16; measured once per process and kind of device."""
    return bf16_speed(kind) >= FASTER


@cache
def bf16_speed(kind: str) -> float:
    """Speed of a 3x3 convolution in bfloat16 relative to float32: the median over rounds in which they take turns.

    On a GPU it is large enough that its launch does not count.

    Args:
        kind: `cpu` or `cuda`.
    """
    size = (16, 64, 8, 8) if kind == "cpu" else (256, 128, 64, 64)
    images = torch.ones(*size, device=kind).contiguous(memory_format=torch.channels_last)
    weights = torch.ones(size[1], size[1], 3, 3, device=kind).contiguous(memory_format=torch.channels_last)
    single, half = (images, weights), (images.bfloat16(), weights.bfloat16())
    _seconds(*single), _seconds(*half)
    return statistics.median(_seconds(*single) / _seconds(*half) for _ in range(5))


@torch.no_grad()
def _seconds(images: Tensor, weights: Tensor) -> float:
    if images.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    F.conv2d(images, weights, padding=1)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
