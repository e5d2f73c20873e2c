"""Training history of a run: stored in every checkpoint, and the basis of the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter
from torch import Tensor

from ..records.checks import class_mean_accuracy
from ..records.parts import Environment, Prerequisite, TrainedEpochs


@dataclass
class History:
    """Losses, test results, metrics and time of a run so far.

    Attributes:
        losses: mean training loss of each epoch, over all stages.
        correct: maps each evaluated epoch, counted from 0 over all stages, to the number of correct test predictions
            per class.
        tests: number of test images per class; empty before the first evaluation.
        measures: metrics of the method, by name, each a list of pairs of epoch and value.
        images: number of training images drawn in all epochs.
        seconds: wall time, including evaluation and checkpoints.
        seconds_training: wall time of the training epochs alone.
        resumed: number of times that the run was interrupted and resumed.
        prerequisites: shared trainings that the run builds on.
        trained: environments of the epochs, in order of training.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid", "allow_inf_nan": False}

    losses: list[float] = field(default_factory=list)
    correct: dict[int, list[int]] = field(default_factory=dict)
    tests: list[int] = field(default_factory=list)
    measures: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    seconds_training: float = 0.0
    resumed: int = 0
    prerequisites: list[Prerequisite] = field(default_factory=list)
    trained: list[TrainedEpochs] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Number of completed epochs, over all stages."""
        return len(self.losses)

    @property
    def accuracies(self) -> list[float]:
        """Mean per-class test accuracy at each evaluated epoch, in [0, 1]."""
        return [class_mean_accuracy(correct, self.tests) for correct in self.correct.values()]

    @property
    def best_epoch(self) -> int:
        """The evaluated epoch with the highest mean per-class test accuracy; ties go to the earliest."""
        return max(self.correct, key=lambda epoch: class_mean_accuracy(self.correct[epoch], self.tests))

    @property
    def images_per_second(self) -> float:
        """Training throughput in images per second, without evaluation and checkpoints."""
        return self.images / max(self.seconds_training, 1e-9)

    def add(self, loss: float, images: int, seconds: float, measures: dict[str, float]) -> None:
        """Append an epoch.

        Args:
            loss: mean training loss.
            images: number of training images drawn.
            seconds: wall time of the training.
            measures: the method's metrics, by name.
        """
        for name, value in measures.items():
            self.measures.setdefault(name, []).append((self.epochs, value))
        self.losses.append(loss)
        self.images += images
        self.seconds_training += seconds

    def finished(self, measures: dict[str, float]) -> None:
        """Add metrics of the finished network, by name, to those of the latest epoch."""
        for name, value in measures.items():
            self.measures.setdefault(name, []).append((self.epochs - 1, value))

    def trained_under(self, environment: Environment) -> None:
        """Add the environment in which the latest epoch was trained."""
        before = self.trained.pop() if self.trained and self.trained[-1].environment == environment else None
        self.trained.append(TrainedEpochs(epochs=before.epochs + 1 if before else 1, environment=environment))

    def misfit(self, test_counts: Sequence[int]) -> str:
        """Description of the first inconsistency in the history; "" if there is none.

        Args:
            test_counts: number of test images per class.
        """
        if self.correct and self.tests != list(test_counts):
            return f"it was evaluated on {sum(self.tests)} other test images"
        if any(not 0 <= epoch < self.epochs for epoch in self.correct):
            return "it contains test results of epochs that were not trained"
        for hits in self.correct.values():
            if len(hits) != len(test_counts) or any(not 0 <= a <= b for a, b in zip(hits, test_counts, strict=True)):
                return "its correct predictions do not fit the test images"
        if sum(part.epochs for part in self.trained) != self.epochs:
            return "it does not name the environment of every epoch"
        return ""

    def evaluated(self, confusion: Tensor) -> None:
        """Store the test result after the latest epoch, replacing an earlier one for the same epoch.

        Args:
            confusion: confusion matrix, int64 (C, C); see `confusion_of`.
        """
        self.correct[self.epochs - 1] = confusion.diagonal().tolist()
        self.tests = confusion.sum(1).tolist()

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dict of plain types, for a checkpoint."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return values | {
            "prerequisites": [part.model_dump() for part in self.prerequisites],
            "trained": [part.model_dump() for part in self.trained],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """Inverse of `to_dict`.

        Raises:
            ValueError: a value is missing, unknown or invalid.
        """
        if differing := {each.name for each in dataclasses.fields(cls)} ^ set(values):
            raise ValueError(f"missing or unknown: {', '.join(sorted(map(str, differing)))}")
        return _READER.validate_python(values)


_READER = TypeAdapter(History)
