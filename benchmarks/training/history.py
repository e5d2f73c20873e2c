"""What a run has gathered so far; part of every checkpoint, and what its record is made of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..records.parts import Prerequisite


@dataclass
class History:
    """Losses, accuracies, measures and seconds of a run.

    Attributes:
        losses: mean training loss of each epoch, over all stages.
        correct: epoch to the correct test predictions per class after it.
        tests: test images.
        measures: name to pairs of epoch and value, from the method's `measures`.
        images: training images of all epochs.
        seconds: wall time, evaluation and checkpoints included.
        seconds_training: wall time of the epochs alone.
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
        """Epochs that have ended, over all stages."""
        return len(self.losses)

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy at each evaluated epoch, in [0, 1]."""
        return [sum(correct) / self.tests for correct in self.correct.values()]

    @property
    def best_epoch(self) -> int:
        """The evaluated epoch with the most correct predictions; of equal ones the first."""
        return max(self.correct, key=lambda epoch: sum(self.correct[epoch]))

    @property
    def images_per_second(self) -> float:
        """Training images per second of training."""
        return self.images / max(self.seconds_training, 1e-9)

    def add(self, loss: float, images: int, seconds: float, measures: dict[str, float]) -> None:
        """Note an epoch that ended: mean loss, training images, wall time, measures of the method."""
        for name, value in measures.items():
            self.measures.setdefault(name, []).append((self.epochs, value))
        self.losses.append(loss)
        self.images += images
        self.seconds_training += seconds

    def evaluated(self, confusion: Tensor) -> None:
        """Note the test predictions after the latest epoch, in place of earlier ones after the same epoch.

        Args:
            confusion: int64 (C, C), see `confusion_of`.
        """
        self.correct[self.epochs - 1] = confusion.diagonal().tolist()
        self.tests = int(confusion.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return values | {"prerequisites": [part.model_dump() for part in self.prerequisites]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """The history that `to_dict` described.

        Raises:
            ValueError: a value is missing, unknown or not valid.
        """
        if differing := {each.name for each in dataclasses.fields(cls)} ^ set(values):
            raise ValueError(f"missing or unknown: {', '.join(sorted(differing))}")
        return cls(**values | {"prerequisites": [Prerequisite(**part) for part in values["prerequisites"]]})
