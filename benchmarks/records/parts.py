"""Parts of a record: results, history and cost of a run, its prerequisites and its environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..fields import Count as Seed
from ..fields import Fraction

# Bounds of what a machine can count and measure: larger numbers are errors and would break sums and figures.
Count = Annotated[int, Field(ge=0, le=2**53)]
PositiveInt = Annotated[int, Field(ge=1, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Float32 = Annotated[float, Field(ge=-3.5e38, le=3.5e38)]


class Part(BaseModel):
    """Base class of a record's parts: immutable; NaN, infinity and unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Final(Part):
    """The result of a run: its test predictions after the last epoch and the method's `finish`."""

    epoch: Count = Field(description="number of the last epoch, 0-based, over all stages")
    correct: list[Count] = Field(description="correct test predictions per class")
    confusion: list[list[Count]] | None = Field(description="[true][predicted], up to 200 classes; else null")


class Best(Part):
    """The evaluated epoch with the highest test accuracy: shown beside the result, never as the result."""

    epoch: Count = Field(description="number of the epoch, 0-based, over all stages")
    correct: list[Count] = Field(description="correct test predictions per class")


class History(Part):
    """Losses, test accuracies and metrics over the course of training."""

    loss: list[Float32] = Field(description="mean training loss of each epoch")
    accuracy: list[Fraction] = Field(
        description="mean per-class test accuracy at each evaluated epoch; in schema 2, accuracy over all test images"
    )
    evaluated_epochs: list[Count] = Field(description="numbers of these epochs, 0-based, over all stages")
    measures: dict[str, list[tuple[Count, Float32]]] = Field(
        default={}, description="metrics of the method, by name, such as `rejected`: pairs of epoch and value"
    )


class Environment(Part):
    """Software versions, hardware and number of threads of a process that trained or evaluated a run."""

    ltbench: str
    commit: str | None = Field(description="git commit of the code; null outside a checkout")
    dirty: bool | None = Field(description="whether the code had uncommitted changes; null outside a checkout")
    python: str
    torch: str
    torchvision: str | None = Field(default=None, description="null if not installed, and in schema 2")
    timm: str | None = Field(default=None, description="null if not installed, and in schema 2")
    numpy: str | None = Field(default=None, description="null in schema 2")
    cpu: str | None = Field(default=None, description="model name of the CPU; null if unknown, and in schema 2")
    platform: str = Field(description="operating system and architecture, such as `Linux x86_64`")
    device: str = Field(description="name of the GPU, or `cpu`")
    threads: Count = Field(description="number of CPU threads that torch used")
    bf16: bool | None = Field(
        default=None, description="in old records, whether bfloat16 was measured to be faster; else null"
    )


class TrainedEpochs(Part):
    """Consecutive epochs that were trained in the same environment."""

    epochs: PositiveInt = Field(description="number of epochs")
    environment: Environment = Field(description="environment of the process that trained them")


class Prerequisite(Part):
    """A training that the run builds on and shares with other runs; or the computation of a frozen backbone's features.

    See `shared_trainings` and `feature_store`.
    """

    method: str = Field(description="method that was trained; for features, the name of the pretrained weights")
    id: str = Field(description="id of the run that was trained, completely or in part; for features, their folder")
    seed: Seed | None = Field(default=None, description="seed of that run; null in old records: the same as this run's")
    use: Literal["prefix", "network", "features"] = Field(
        description="prefix: this run continues from these epochs, and its cost includes them; network: this run uses "
        "the finished network, and its cost excludes these epochs, even if its own first epochs are the same; "
        "features: this run trains on features that were computed once, and its cost excludes that time"
    )
    epochs: Count = Field(description="number of epochs trained, over all stages")
    seconds: Seconds = Field(description="wall time of these epochs, evaluation and checkpoints included")
    reused: bool = Field(description="true if the training existed already, false if it was made for this run")
    commit: str | None = Field(description="git commit of the code that trained the last epoch; null if unknown")
    dirty: bool | None = Field(default=None, description="whether that code had uncommitted changes; null if unknown")
    torch: str | None = Field(default=None, description="version of torch that trained the last epoch")
    device: str | None = Field(default=None, description="device that trained the last epoch")
    trained: list[TrainedEpochs] = Field(
        default=[], description="environments of the epochs, in order of training; empty in schema 2"
    )


class Cost(Part):
    """Time and memory that a run took, size of its network, and the trainings that it shares with other runs."""

    seconds: Seconds = Field(description="wall time of the whole run, evaluation and checkpoints included")
    seconds_training: Seconds = Field(description="wall time of the training epochs alone")
    images_per_second: Annotated[float, Field(ge=0, le=2**63)] = Field(description="training images / seconds_training")
    peak_memory_bytes: Count = Field(
        description="peak memory: allocated by torch on a GPU, or resident in the process on a CPU"
    )
    parameters: Count = Field(description="number of parameters of the finished network, frozen ones included")
    epochs_per_stage: dict[str, Count] = Field(description="number of epochs of each stage, by name")
    resumed: Count = Field(description="number of times that the run was interrupted and resumed")
    prerequisites: list[Prerequisite] = Field(default=[], description="trainings shared with other runs")
