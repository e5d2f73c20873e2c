"""Base class of decoupled training: a classifier on the frozen features of an ERM run (Kang et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ...benchmarks.method import ClassAware, Method, Needs, Now, Schedule, SmallInt, Stage

SECOND = "classifier"
PER_CLASS = 4  # number of images drawn from a class in a row
WEIGHT_DECAY = 5e-4
SCHEDULE = Schedule(drops=((1 / 3, 0.1), (2 / 3, 0.1)), warmup=5)  # 30 epochs on CIFAR, drops at 10 and 20


@dataclass
class Decoupled(Method):
    """An ERM run, followed by a stage that trains the head alone on class-aware batches.

    Attributes:
        second: number of epochs of the second stage.
        norms: mode of the backbone's batch norms in the second stage: `statistics` normalises with the statistics of
            the class-aware batches and updates the running ones (reference code); `eval` keeps and uses the running
            statistics of the first stage.
    """

    second: SmallInt = 30
    norms: Literal["statistics", "eval"] = "statistics"

    def stages(self, epochs: int) -> list[Stage]:
        """The epochs of an ERM run, and the second stage."""
        return [Stage("train", epochs), self.second_stage()]

    def second_stage(self) -> Stage:
        """The stage that trains the head, starting from its current weights."""
        return Stage(
            SECOND,
            self.second,
            trained=("head.",),
            frozen_norms=self.norms,
            weight_decay=WEIGHT_DECAY,
            schedule=SCHEDULE,
        )

    def needs(self, epochs: int) -> Needs:
        """A complete ERM run as shared prefix."""
        return Needs(prefix=epochs)

    def sampling(self, counts: Tensor, now: Now) -> ClassAware | None:
        """Class-aware sampling in the second stage; every image once in the first."""
        return ClassAware(PER_CLASS) if now.stage == SECOND else None
