"""Record: one finished run as one JSON file, the only input of `report/`.

A record contains counts (correct predictions per class, images per class), never derived metrics. Its `id` is a hash of
everything that determines the run and nothing else, so a run is finished if a valid record with its id exists.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..fields import Count, Fraction, NonNegative, PositiveInt
from ..recipe import Recipe

CONFUSION_LIMIT = 200  # classes; the matrix of more classes would take megabytes
VERSION: Literal[2] = 2  # version of the file format
FACTS = 1  # part of the input of the id; stays 1 when the file format changes


class Part(BaseModel):
    """A part of a record: immutable; NaN, infinity and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetFacts(Part):
    """Dataset of a run."""

    name: str
    profile: str = Field(description="exp, step, or natural (as collected)")
    imbalance: float = Field(ge=1, description="requested ratio; for natural sets, largest class / smallest class")
    checksum: str = Field(description="sha256 of the training and test pixels and labels, in order")
    verified: bool | None = Field(description="source files match the published checksums; null if none are published")
    options: dict[str, Any] = Field(description="the dataset's other options")
    changed: dict[str, Any] = Field(description="options that differ from the dataset's defaults")
    class_names: list[str]
    train_counts: list[PositiveInt]
    test_counts: list[PositiveInt]

    @property
    def label(self) -> str:
        """Name, profile, ratio and changed options, such as `cifar10-lt exp100`."""
        profile = "natural" if self.profile == "natural" else f"{self.profile}{self.imbalance:g}"
        return " ".join([self.name, profile, *(f"{k}={v}" for k, v in sorted(self.changed.items()))])


@dataclass(frozen=True)
class RunFacts:
    """Everything that determines a run; the names of its record and folder derive from it.

    Attributes:
        method: name of the method.
        source: sha256 of the file of a third-party method; else None.
        hyperparameters: all fields of the method.
        changed: hyper-parameters and recipe values that differ from the defaults; used in names, not part of the id.
        dataset: description of the dataset.
        recipe: all fields of the recipe.
        seed: seed of weights, sampling and augmentation.
    """

    method: str
    source: str | None
    hyperparameters: dict[str, Any]
    changed: dict[str, Any]
    dataset: DatasetFacts
    recipe: dict[str, Any]
    seed: int

    @cached_property
    def id(self) -> str:
        """Hash of everything that determines the run, 16 hex digits; independent of machine, folders and versions.

        Only the `recipe_facts` of the recipe enter the hash, so that adding a field does not change ids.
        """
        return self._digest(self.seed)

    @cached_property
    def setting_id(self) -> str:
        """Like `id` but without the seed: equal for runs that differ only in the seed."""
        return self._digest(None)

    def _digest(self, seed: int | None) -> str:
        facts = {
            "schema": FACTS,
            "method": self.method,
            "source": self.source,
            "hyperparameters": self.hyperparameters,
            "dataset": self.dataset.model_dump(include={"name", "profile", "imbalance", "checksum", "options"}),
            "recipe": recipe_facts(self.recipe),
            "seed": seed,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


class Final(Part):
    """The result: test predictions after the last epoch and the method's `finish`."""

    epoch: Count = Field(description="0-based, over all stages")
    correct: list[Count] = Field(description="correct test predictions per class")
    confusion: list[list[Count]] | None = Field(description="[true][predicted], up to 200 classes; else null")


class Best(Part):
    """The best evaluated epoch, selected on the test split: shown next to the result, never as the result."""

    epoch: Count
    correct: list[Count]


class History(Part):
    """Course of the training."""

    loss: list[float] = Field(description="mean training loss of each epoch, over all stages")
    accuracy: list[Fraction] = Field(description="test accuracy at each evaluated epoch")
    evaluated_epochs: list[Count]
    measures: dict[str, list[tuple[Count, float]]] = Field(
        default={}, description="the method's metrics, such as the fraction of rejected images: [epoch, value] pairs"
    )


class Prerequisite(Part):
    """A prerequisite training shared with other runs; see `shared_trainings`."""

    method: str
    id: str = Field(description="id of the run that was trained, completely or in part")
    seed: Count | None = Field(default=None, description="seed of that run; null in older records: this run's seed")
    use: Literal["prefix", "network"] = Field(
        description="prefix: this run's first epochs, included in its cost; network: a finished network, not included "
        "in its cost, although both may share their first epochs"
    )
    epochs: Count
    seconds: NonNegative = Field(description="wall time of these epochs")
    reused: bool = Field(description="whether it already existed; false if it was trained for this run")
    commit: str | None = Field(description="commit of the code that trained it; dirty, torch and device likewise")
    dirty: bool | None = None
    torch: str | None = None
    device: str | None = None


class Cost(Part):
    """Time and memory; the only part that differs between two runs with the same id on the same machine."""

    seconds: NonNegative = Field(description="wall time of the whole run, including evaluation and checkpoints")
    seconds_training: NonNegative
    images_per_second: NonNegative = Field(description="training images / seconds_training")
    peak_memory_bytes: Count = Field(description="of the device on CUDA, of the process on CPU")
    parameters: Count = Field(description="number of parameters of the finished network")
    epochs_per_stage: dict[str, Count]
    resumed: Count = Field(description="how often the run was interrupted and resumed")
    prerequisites: list[Prerequisite] = Field(default=[], description="trainings shared with other runs")


class Environment(Part):
    """Versions, machine and settings of the run."""

    ltbench: str
    commit: str | None
    dirty: bool | None = Field(description="the checkout had uncommitted changes; null outside a checkout")
    python: str
    torch: str
    platform: str
    device: str
    threads: Count
    bf16: bool | None = Field(default=None, description="bfloat16 was measured to be faster; null: not measured")


class Record(Part):
    """One finished run. Shapes and units are documented in its parts."""

    model_config = ConfigDict(title="ltbench record", populate_by_name=True)

    version: Literal[2] = Field(alias="schema", description="version of the file format; not part of the id")
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    method: str
    source: str | None = Field(description="sha256 of the file of a third-party method; else null")
    hyperparameters: dict[str, Any]
    changed: dict[str, Any] = Field(description="hyper-parameters and recipe.* values that differ from the defaults")
    seed: Count
    dataset: DatasetFacts
    recipe: dict[str, Any]
    final: Final
    best: Best
    history: History
    cost: Cost
    environment: Environment

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        self._check_counts()
        if len(self.history.accuracy) != len(self.history.evaluated_epochs):
            raise ValueError("history.accuracy and history.evaluated_epochs differ in length")
        if self.final.epoch != len(self.history.loss) - 1:
            raise ValueError("final.epoch is not the last epoch of history.loss")
        if (expected := self.facts.id) != self.id:
            raise ValueError(f"id is {self.id} but the contents give {expected}: the file was edited by hand")
        return self

    def _check_counts(self) -> None:
        tests, classes = self.dataset.test_counts, len(self.dataset.class_names)
        for name, values in {
            "dataset.train_counts": self.dataset.train_counts,
            "dataset.test_counts": tests,
            "final.correct": self.final.correct,
            "best.correct": self.best.correct,
        }.items():
            if len(values) != classes:
                raise ValueError(f"{name} has {len(values)} entries for {classes} classes")
        for part, correct in (("final", self.final.correct), ("best", self.best.correct)):
            if any(hits > total for hits, total in zip(correct, tests, strict=True)):
                raise ValueError(f"{part}.correct exceeds dataset.test_counts")
        confusion = self.final.confusion
        if confusion is not None:
            if any(len(row) != classes for row in confusion) or [sum(row) for row in confusion] != tests:
                raise ValueError("final.confusion does not sum to dataset.test_counts")
            if [row[k] for k, row in enumerate(confusion)] != self.final.correct:
                raise ValueError("the diagonal of final.confusion is not final.correct")

    @property
    def facts(self) -> RunFacts:
        """Everything that determines the run."""
        return RunFacts(**{field.name: getattr(self, field.name) for field in fields(RunFacts)})

    def to_json(self) -> str:
        """Text of the JSON file: sorted keys, indented by one space, no NaN."""
        return json.dumps(self.model_dump(by_alias=True), sort_keys=True, indent=1, allow_nan=False) + "\n"


def recipe_facts(recipe: dict[str, Any]) -> dict[str, Any]:
    """Values of a recipe that differ from the defaults of `Recipe`; two recipes are equal if these are.

    Records from before a field existed lack it, which means its default.
    """
    defaults = Recipe.model_construct(name="", backbone="", epochs=0).model_dump(mode="json")
    return {key: value for key, value in recipe.items() if defaults.get(key) != value}


def json_schema() -> str:
    """JSON Schema of a record, committed as `benchmarks/records/record.schema.json`."""
    return json.dumps(Record.model_json_schema(by_alias=True), sort_keys=True, indent=1) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
