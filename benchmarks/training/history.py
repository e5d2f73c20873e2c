"""What a run leaves behind while it trains, and who is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .loop import EpochEnd
from .run_spec import RunSpec


@dataclass
class Trail:
    """What a run has left behind so far; goes into every checkpoint."""

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    best_epoch: int = -1
    best_correct: list[int] = field(default_factory=list)
    images: int = 0
    seconds: float = 0.0
    seconds_training: float = 0.0
    resumed: int = 0
    measures: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    prerequisites: list[dict[str, Any]] = field(default_factory=list)

    def note(self, end: EpochEnd) -> None:
        """Note an epoch that ended."""
        for name, value in end.measures.items():
            self.measures.setdefault(name, []).append((len(self.losses), value))
        self.losses.append(end.loss)
        self.images += end.images
        self.seconds_training += end.seconds

    def evaluate(self, confusion: Tensor) -> None:
        """Note an evaluation after the latest epoch, once; an equal accuracy does not replace the best."""
        epoch, correct = len(self.losses) - 1, confusion.diagonal().tolist()
        if epoch in self.evaluated:
            return
        if sum(correct) > sum(self.best_correct) or self.best_epoch < 0:
            self.best_epoch, self.best_correct = epoch, correct
        self.accuracies.append(sum(correct) / int(confusion.sum()))
        self.evaluated.append(epoch)


class Watcher:
    """Told how a run goes; does nothing by itself. The command line draws its progress line through one."""

    def start(self, run: RunSpec, epochs: int, done: int) -> None:
        """A run of `epochs` epochs over all stages begins, or resumes with `done` of them behind it."""

    def step(self, images: int) -> None:
        """A step with this many images was taken."""

    def epoch(self, trail: Trail) -> None:
        """An epoch ended."""
