"""The arithmetic of a run: autocast for bfloat16, and how a CPU without bfloat16 units computes it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from .method import host_reads_freely


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
