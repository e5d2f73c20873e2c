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

from .method import host_reads_freely

FASTER = 1.2  # a processor with bfloat16 convolves 1.7 times as fast or more, one without a tenth as fast


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a network computes, `fp32` or `bf16`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def rounding(precision: str, images: Tensor) -> AbstractContextManager[Any]:
    """What stands around forward and backward passes in bfloat16 over some images.

    On a CPU without bfloat16, where PyTorch's own kernels take ten times as long as float32, it is `Rounding`;
    elsewhere it is nothing. The kind of processor decides, so that a run has one arithmetic on one machine.
    """
    return Rounding() if precision == "bf16" and host_reads_freely(images) and not convolves_bf16() else nullcontext()


def convolves_bf16() -> bool:
    """Whether PyTorch has kernels for convolutions in bfloat16 on this CPU."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Rounding(TorchDispatchMode):
    """Convolutions and matrix products of bfloat16 tensors in float32, each result rounded to bfloat16 once.

    This is what hardware with bfloat16 computes: its products are exact in float32 and summed there. Only the order
    of a sum is another, as it is between any two kernels. Other operations, such as attention, stay PyTorch's own.
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
