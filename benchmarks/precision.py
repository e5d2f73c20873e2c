"""Which precision a machine computes in: bfloat16 where it was measured to be faster, else float32."""

from __future__ import annotations

import statistics
import time
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

FASTER = 1.2  # a processor with bfloat16 convolves 1.7 times as fast or more, one without a tenth as fast


def precision(wanted: str, device: torch.device) -> str:
    """`fp32` or `bf16`: what `wanted` means on a device; `auto` is bf16 where that is faster."""
    if wanted == "auto":
        return "bf16" if fast_bf16(device.type) else "fp32"
    return wanted


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a network computes, `fp32` or `bf16`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


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
