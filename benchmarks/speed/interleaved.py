"""Timing of variants of a piece of work that alternate (A B A B ...): what disturbs the machine disturbs all."""

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
        rounds: one ratio for each round, in temporal order.
        seconds: median time of the first piece of work.
    """

    rounds: tuple[float, ...]
    seconds: float

    @property
    def median(self) -> float:
        """Median of the rounds."""
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
    """Seconds of each variant in each round.

    Args:
        variants: pieces of work by name.
        rounds: each takes all variants once.
        device: that they compute on.
        warm_up: begin with a round that does not count.
        clock: takes the place of `timed`.
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
    """Seconds that a piece of work takes, the wait for the device included."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def ratio(slow: list[float], fast: list[float]) -> Ratio:
    """How many times as long `slow` took as `fast`."""
    return Ratio(tuple(a / b for a, b in zip(slow, fast, strict=True)), statistics.median(slow))


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished its work; on a CPU there is nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
