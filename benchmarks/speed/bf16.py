"""Speed of bfloat16 convolutions on this machine. For the speed report only; no setting depends on it."""

from __future__ import annotations

import statistics
import time
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


@cache
def bf16_speed(kind: str) -> float:
    """Speed of a 3x3 convolution in bfloat16 relative to float32, the median of interleaved rounds.

    On a GPU the convolution is large enough for launch overhead to be negligible.

    Args:
        kind: type of the device, `cpu` or `cuda`.
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
