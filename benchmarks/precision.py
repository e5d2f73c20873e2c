"""Differences between devices: bfloat16 arithmetic, and whether the host may read tensor values within a step.

bfloat16 uses autocast, and is emulated on CPUs without bfloat16 units.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_static_shapes = False


@contextmanager
def static_shapes() -> Iterator[None]:
    """Within the block, treat the CPU like a GPU: read no tensor values on the host and keep all shapes static.

    Lets tests run the GPU code path on a CPU.
    """
    global _static_shapes
    before, _static_shapes = _static_shapes, True
    try:
        yield
    finally:
        _static_shapes = before


def host_reads_freely(tensor: Tensor) -> bool:
    """Whether the host can read the values of a tensor without synchronising.

    True on a CPU, where empty rows can be dropped. False on a GPU, where reading would wait for the device, so shapes
    must stay static. Also false for the fake tensors of the operation counter, which have no values.
    """
    return tensor.device.type == "cpu" and not isinstance(tensor, FakeTensor) and not _static_shapes


def drop_empty(valid: Tensor, *slots: Tensor) -> tuple[Tensor, ...]:
    """Drop invalid slots where the host can read values freely; elsewhere keep all, so that shapes are static.

    Args:
        valid: bool (S,), true for the slots to keep.
        slots: tensors (S, ...); `valid` may be one of them.
    """
    return tuple(part[valid] for part in slots) if host_reads_freely(valid) else slots


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Autocast context for the forward pass; enabled for `bf16`, disabled for `fp32`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def rounding(precision: str, images: Tensor) -> AbstractContextManager[Any]:
    """Context for the forward and backward pass: `Rounding` for `bf16` on a CPU without bfloat16 units, else a no-op.

    PyTorch's own bfloat16 kernels take ten times as long as float32 on such a CPU. The choice depends on the processor
    alone, so the arithmetic never changes within a run on one machine.
    """
    return Rounding() if precision == "bf16" and host_reads_freely(images) and not convolves_bf16() else nullcontext()


def convolves_bf16() -> bool:
    """Whether PyTorch has bfloat16 convolution kernels for this CPU."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Rounding(TorchDispatchMode):
    """Compute convolutions and matrix products of bfloat16 tensors in float32 and round each result to bfloat16 once.

    bfloat16 hardware does the same: products are exact in float32 and accumulated there. Only the order of summation
    differs, as between any two kernels. Other operations, such as attention, are left to PyTorch.
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
