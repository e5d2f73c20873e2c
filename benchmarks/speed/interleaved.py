"""Time variants of a piece of work in turn (A B A B ...): what disturbs the machine disturbs all of them."""

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
    """How many times as long one piece of work took as another, by rounds.

    Attributes:
        rounds: one ratio for each round, in the order of time.
        seconds: median time of the first piece of work.
    """

    rounds: tuple[float, ...]
    seconds: float

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        digits = 1 if self.median >= 10 else 2
        return f"{self.median:.{digits}f} [{min(self.rounds):.{digits}f}, {max(self.rounds):.{digits}f}]"


def take_turns(
    variants: Mapping[str, Work], rounds: int, device: torch.device, warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of each variant in each round, after one round that does not count if `warm`."""
    gc.collect()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(-warm, rounds):
        for name, work in variants.items():
            spent = timed(work, device)
            if number >= 0:
                seconds[name].append(spent)
    return seconds


def timed(work: Work, device: torch.device) -> float:
    """Seconds that a piece of work takes, waiting included."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def ratio(slow: list[float], fast: list[float]) -> Ratio:
    """How many times as long `slow` took as `fast`."""
    return Ratio(tuple(a / b for a, b in zip(slow, fast, strict=True)), statistics.median(slow))


def wait(device: torch.device) -> None:
    """Wait for what a GPU has been told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
