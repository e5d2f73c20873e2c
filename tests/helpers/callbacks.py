"""Callbacks that count epochs or interrupt a run."""

from __future__ import annotations

from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.history import History
from ltbench.benchmarks.training.run_spec import RunSpec


class Counter(Callback):
    """Counts the epochs that are trained with each method."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}

    def start(self, spec: RunSpec, epochs: int, done: int) -> None:
        self.name = spec.name

    def epoch(self, history: object) -> None:
        self.epochs[self.name] = self.epochs.get(self.name, 0) + 1


class StopAfter(Callback):
    """Interrupts a run after `epochs` epochs, when the checkpoint of the last one has been saved."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, history: History) -> None:
        if history.epochs == self.epochs:
            raise KeyboardInterrupt
