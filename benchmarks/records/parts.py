"""The parts of a record that hold what a run measured, and what it was made with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..fields import Count as Seed
from ..fields import Fraction

# What a machine can count and measure: numbers beyond it are errors, and would break sums and pictures.
Count = Annotated[int, Field(ge=0, le=2**53)]
PositiveInt = Annotated[int, Field(ge=1, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Float32 = Annotated[float, Field(ge=-3.5e38, le=3.5e38)]


class Part(BaseModel):
    """A part of a record: immutable, without NaN and infinity; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Final(Part):
    """The result: test predictions of the last epoch, after the method's `finish`."""

    epoch: Count = Field(description="0-based, over all stages")
    correct: list[Count] = Field(description="correct test predictions per class")
    confusion: list[list[Count]] | None = Field(description="[true][predicted], up to 200 classes; else null")


class Best(Part):
    """The evaluated epoch with the best accuracy on the test split: shown beside the result, never as the result."""

    epoch: Count
    correct: list[Count]


class History(Part):
    """The course of the training."""

    loss: list[Float32] = Field(description="mean training loss of each epoch")
    accuracy: list[Fraction] = Field(
        description="mean per-class test accuracy at each evaluated epoch; in schema 2 the plain accuracy"
    )
    evaluated_epochs: list[Count]
    measures: dict[str, list[tuple[Count, Float32]]] = Field(
        default={}, description="of the method, such as the fraction of rejected images: pairs of epoch and value"
    )


class Environment(Part):
    """Versions, machine and settings with which the run was computed."""

    ltbench: str
    commit: str | None
    dirty: bool | None = Field(description="the checkout had uncommitted changes; null outside a checkout")
    python: str
    torch: str
    torchvision: str | None = Field(default=None, description="null in records of schema 2; so are the next three")
    timm: str | None = None
    numpy: str | None = None
    cpu: str | None = Field(default=None, description="model name of the processor; null where the system has none")
    platform: str
    device: str
    threads: Count
    bf16: bool | None = Field(default=None, description="measured to be faster; null: not measured any more")


class TrainedEpochs(Part):
    """Epochs that were trained under the same circumstances."""

    epochs: PositiveInt = Field(description="how many, one after the other")
    environment: Environment = Field(description="of the process that trained them")


class Prerequisite(Part):
    """A training that the run builds on and shares with other runs; see `shared_trainings`."""

    method: str
    id: str = Field(description="of the run that it is, or is the beginning of")
    seed: Seed | None = Field(default=None, description="of that run; null in earlier records: the run's own")
    use: Literal["prefix", "network"] = Field(
        description="prefix: the run's own first epochs, which its cost includes; network: a finished network, which "
        "its cost does not include, although both may have begun with the same epochs"
    )
    epochs: Count
    seconds: Seconds = Field(description="of all these epochs")
    reused: bool = Field(description="it existed already; else it was trained for this run")
    commit: str | None = Field(description="of the code that trained the last of them; so are the next three")
    dirty: bool | None = None
    torch: str | None = None
    device: str | None = None
    trained: list[TrainedEpochs] = Field(default=[], description="as in the record itself; empty in schema 2")


class Cost(Part):
    """Time and memory; the only part that differs between two runs of the same id on the same machine."""

    seconds: Seconds = Field(description="wall time of the whole run, evaluation and checkpoints included")
    seconds_training: Seconds
    images_per_second: Annotated[float, Field(ge=0, le=2**63)] = Field(description="training images / seconds_training")
    peak_memory_bytes: Count = Field(description="of the device on CUDA, of the process on CPU")
    parameters: Count = Field(description="trainable parameters of the finished network")
    epochs_per_stage: dict[str, Count]
    resumed: Count = Field(description="how often the run was interrupted and resumed")
    prerequisites: list[Prerequisite] = Field(default=[], description="trainings shared with other runs")
