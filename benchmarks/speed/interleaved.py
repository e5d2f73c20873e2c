"""Interleaved timing (A B A B ...) of alternative functions, so that other load on the machine affects all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Work = Callable[[], Any]


@dataclass(frozen=True)
class Ratio:
    """Ratio of the times of two functions.

    Attributes:
        rounds: ratio in each round, in temporal order.
        seconds: median time of the first function.
    """

    rounds: tuple[float, ...]
    seconds: float

    @property
    def median(self) -> float:
        """Median ratio over the rounds."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        digits = 1 if self.median >= 10 else 2
        return f"{self.median:.{digits}f} [{min(self.rounds):.{digits}f}, {max(self.rounds):.{digits}f}]"


def alternate(
    variants: Mapping[str, Work],
    rounds: int,
    device: torch.device,
    warm_up: bool = True,
    clock: Callable[[Work, torch.device], float] | None = None,
) -> dict[str, list[float]]:
    """Time functions in turn; return the seconds of each function in each round, by name.

    Args:
        variants: functions to time, by name.
        rounds: number of rounds; each round calls every function once.
        device: device that the functions compute on.
        warm_up: whether to start with a round that is not counted.
        clock: replaces `timed`, for tests.
    """
    clock = clock or timed
    gc.collect()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(-warm_up, rounds):
        for name, work in variants.items():
            spent = clock(work, device)
            if number >= 0:
                seconds[name].append(spent)
    return seconds


def timed(work: Work, device: torch.device) -> float:
    """Wall time of a function in seconds, including all work that it queues on the device."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def ratio(slow: list[float], fast: list[float]) -> Ratio:
    """Ratio of the times `slow` to the times `fast` in the same rounds, both in seconds."""
    return Ratio(tuple(a / b for a, b in zip(slow, fast, strict=True)), statistics.median(slow))


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished all queued work; do nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
