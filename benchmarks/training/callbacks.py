"""Interface for following the progress of a run."""

from __future__ import annotations

from .history import History
from .run_spec import RunSpec


class Callback:
    """Callback of a training run; the methods do nothing by default. `ProgressLine` is one implementation."""

    def features(self, spec: RunSpec, done: int, total: int) -> None:
        """Called before training while the features of a frozen backbone are computed, after each batch.

        Args:
            spec: specification of the run.
            done: number of images whose features have been computed.
            total: number of images of the split.
        """

    def start(self, spec: RunSpec, epochs: int, done: int) -> None:
        """Called before training starts or resumes.

        Args:
            spec: specification of the run.
            epochs: number of epochs to train in all, over all stages.
            done: number of these epochs that have already been trained.
        """

    def step(self, images: int) -> None:
        """Called after each training step with its number of images; must not wait for the device."""

    def epoch(self, history: History) -> None:
        """Called after an epoch has been saved."""
