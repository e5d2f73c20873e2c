"""Training history of a run: stored in every checkpoint, and the basis of the record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..records.schema import Prerequisite


@dataclass
class History:
    """Losses, accuracies, measures and seconds of a run.

    Attributes:
        losses: mean training loss of each epoch, over all stages.
        correct: maps each evaluated epoch to the number of correct test predictions per class.
        tests: number of test images.
        measures: maps each name in the method's `measures` to pairs of epoch and value.
        images: number of training images drawn in all epochs.
        seconds: wall time, including evaluation and checkpoints.
        seconds_training: wall time of the training epochs alone.
        resumed: how often the run was interrupted and resumed.
        prerequisites: the shared trainings that the run builds on.
    """

    losses: list[float] = field(default_factory=list)
    correct: dict[int, list[int]] = field(default_factory=dict)
    tests: int = 0
    measures: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    seconds_training: float = 0.0
    resumed: int = 0
    prerequisites: list[Prerequisite] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Number of completed epochs, over all stages."""
        return len(self.losses)

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy at each evaluated epoch, in [0, 1]."""
        return [sum(correct) / self.tests for correct in self.correct.values()]

    @property
    def best_epoch(self) -> int:
        """The evaluated epoch with the most correct predictions; ties go to the earliest."""
        return max(self.correct, key=lambda epoch: sum(self.correct[epoch]))

    @property
    def images_per_second(self) -> float:
        """Training throughput."""
        return self.images / max(self.seconds_training, 1e-9)

    def add(self, loss: float, images: int, seconds: float, measures: dict[str, float]) -> None:
        """Append an epoch: mean loss, number of training images, wall time in seconds, the method's metrics."""
        for name, value in measures.items():
            self.measures.setdefault(name, []).append((self.epochs, value))
        self.losses.append(loss)
        self.images += images
        self.seconds_training += seconds

    def evaluated(self, confusion: Tensor) -> None:
        """Store the test result after the latest epoch, replacing an earlier one for the same epoch.

        Args:
            confusion: int64 (C, C), see `confusion_of`.
        """
        self.correct[self.epochs - 1] = confusion.diagonal().tolist()
        self.tests = int(confusion.sum())

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict, for a checkpoint."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return values | {"prerequisites": [part.model_dump() for part in self.prerequisites]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """Inverse of `to_dict`.

        Raises:
            ValueError: a value is missing, unknown or invalid.
        """
        if differing := {each.name for each in dataclasses.fields(cls)} ^ set(values):
            raise ValueError(f"missing or unknown: {', '.join(sorted(differing))}")
        return cls(**values | {"prerequisites": [Prerequisite(**part) for part in values["prerequisites"]]})
