"""Record: one finished run as one JSON file, and the only thing that `report/` reads.

A record holds counts (correct predictions per class, images per class), never derived metrics. Its `id` is a hash of
what determines the run and of nothing else, so a valid record with that id means that the run is finished.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..fields import Count, Fraction
from ..recipe import Recipe

NonNegative = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
CONFUSION_LIMIT = 200  # classes; the matrix of more classes would take megabytes
VERSION: Literal[2] = 2  # of the file's format
FACTS = 1  # part of what an id is computed from; it never changes, whatever becomes of the file's format


class Part(BaseModel):
    """A part of a record: immutable, without NaN and infinity; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetFacts(Part):
    """The images of a run."""

    name: str
    profile: str = Field(description="exp, step, or natural (as collected)")
    imbalance: float = Field(ge=1, description="the requested ratio; for natural sets largest class / smallest class")
    checksum: str = Field(description="sha256 of the training and test pixels and labels, in order")
    verified: bool | None = Field(description="source files match the published checksums; null: none are published")
    options: dict[str, Any] = Field(description="the dataset's remaining options")
    changed: dict[str, Any] = Field(description="those options that differ from the dataset's defaults")
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
    """What determines a run, and what its record and its folder are named after.

    Attributes:
        method: its name.
        source: sha256 of the file of a method from outside the suite; else None.
        hyperparameters: all of them.
        changed: hyper-parameters and recipe values that differ from the defaults; for names only, no part of the id.
        dataset: the images.
        recipe: all its values.
        seed: of weights, draws and augmentation.
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
        """16 hex digits that depend on what determines the run, and not on the machine, the folder or versions.

        Of the recipe, `recipe_facts` count: a field that is added later leaves ids as they are.
        """
        return self._digest(self.seed)

    @cached_property
    def setting_id(self) -> str:
        """The same without the seed: equal for runs that differ in the seed alone."""
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
    """The result: test predictions of the last epoch, after the method's `finish`."""

    epoch: Count = Field(description="0-based, over all stages")
    correct: list[Count] = Field(description="correct test predictions per class")
    confusion: list[list[Count]] | None = Field(description="[true][predicted], up to 200 classes; else null")


class Best(Part):
    """The best evaluated epoch, chosen on the test split: shown beside the result, never as the result."""

    epoch: Count
    correct: list[Count]


class History(Part):
    """The course of the training."""

    loss: list[float] = Field(description="mean training loss of each epoch")
    accuracy: list[Fraction] = Field(description="test accuracy at each evaluated epoch")
    evaluated_epochs: list[Count]
    measures: dict[str, list[tuple[Count, float]]] = Field(
        default={}, description="of the method, such as the fraction of rejected images: pairs of epoch and value"
    )


class Prerequisite(Part):
    """A training that the run builds on and shares with other runs; see `shared_trainings`."""

    method: str
    id: str = Field(description="of the run that it is, or is the beginning of")
    seed: Count | None = Field(default=None, description="of that run; null in earlier records: the run's own")
    use: Literal["prefix", "network"] = Field(
        description="prefix: the run's own first epochs, which its cost includes; network: a finished network, which "
        "its cost does not include, although both may have begun with the same epochs"
    )
    epochs: Count
    seconds: NonNegative = Field(description="of all these epochs")
    reused: bool = Field(description="it existed already; else it was trained for this run")
    commit: str | None = Field(description="of the code that trained it; so are the next three")
    dirty: bool | None = None
    torch: str | None = None
    device: str | None = None


class Cost(Part):
    """Time and memory; the only part that differs between two runs of the same id on the same machine."""

    seconds: NonNegative = Field(description="wall time of the whole run, evaluation and checkpoints included")
    seconds_training: NonNegative
    images_per_second: NonNegative = Field(description="training images / seconds_training")
    peak_memory_bytes: Count = Field(description="of the device on CUDA, of the process on CPU")
    parameters: Count = Field(description="trainable parameters of the finished network")
    epochs_per_stage: dict[str, Count]
    resumed: Count = Field(description="how often the run was interrupted and resumed")
    prerequisites: list[Prerequisite] = Field(default=[], description="trainings shared with other runs")


class Environment(Part):
    """Versions, machine and settings with which the run was computed."""

    ltbench: str
    commit: str | None
    dirty: bool | None = Field(description="the checkout had uncommitted changes; null outside a checkout")
    python: str
    torch: str
    platform: str
    device: str
    threads: Count
    bf16: bool | None = Field(default=None, description="measured to be faster; null: not measured any more")


class Record(Part):
    """One finished run. See the parts for shapes and units."""

    model_config = ConfigDict(title="ltbench record", populate_by_name=True)

    version: Literal[2] = Field(alias="schema", description="of the file's format; no part of the id")
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    method: str
    source: str | None = Field(description="sha256 of the file of a method from outside the suite; else null")
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
            raise ValueError(f"id is {self.id} but the contents give {expected}: something was changed by hand")
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
        """What determines the run."""
        return RunFacts(**{field.name: getattr(self, field.name) for field in fields(RunFacts)})

    def to_json(self) -> str:
        """The text of the file: sorted keys, an indent of one blank, no NaN."""
        return json.dumps(self.model_dump(by_alias=True), sort_keys=True, indent=1, allow_nan=False) + "\n"


def recipe_facts(recipe: dict[str, Any]) -> dict[str, Any]:
    """Those values of a recipe that differ from the defaults of `Recipe`: what tells two recipes apart.

    A record made before a field existed lacks it, which means its default.
    """
    defaults = Recipe.model_construct(name="", backbone="", epochs=0).model_dump(mode="json")
    return {key: value for key, value in recipe.items() if defaults.get(key) != value}


def json_schema() -> str:
    """The JSON Schema of a record, which is committed as `benchmarks/records/record.schema.json`."""
    return json.dumps(Record.model_json_schema(by_alias=True), sort_keys=True, indent=1) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
