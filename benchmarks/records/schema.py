"""Record: one finished run as one JSON file, and the only thing that `report/` sees.

A record holds counts (correct predictions per class, images per class), never derived metrics. Its `id` follows from
what determines the run and from nothing else, so a valid record with that id means: finished.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..recipe import Recipe

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
CONFUSION_LIMIT = 200  # classes; a larger matrix would make the record megabytes
VERSION = 2  # of the file's format
FACTS = 1  # stands in the facts that an id is made of and stays, whatever becomes of the file's format


class Part(BaseModel):
    """A part of a record: unknown keys, NaN and infinity are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetFacts(Part):
    """Which images the run saw."""

    name: str
    profile: str = Field(description="exp, step, or natural (as found)")
    imbalance: float = Field(ge=1, description="the ratio asked for; for natural sets largest class / smallest class")
    checksum: str = Field(description="sha256 of the training and test pixels and labels, in order")
    verified: bool | None = Field(description="source files match the published checksums; null: none are published")
    options: dict[str, Any] = Field(description="the dataset's remaining options")
    changed: dict[str, Any] = Field(description="those options that differ from the dataset's defaults")
    class_names: list[str]
    train_counts: list[Annotated[int, Field(ge=1)]]
    test_counts: list[Annotated[int, Field(ge=1)]]

    @property
    def label(self) -> str:
        """Short name with what distinguishes the split, such as `cifar10-lt exp100`."""
        profile = "natural" if self.profile == "natural" else f"{self.profile}{self.imbalance:g}"
        return " ".join([self.name, profile, *(f"{k}={v}" for k, v in sorted(self.changed.items()))])


class Final(Part):
    """The result: test predictions of the last epoch, after the method's `finish`."""

    epoch: Count = Field(description="0-based, over all stages")
    correct: list[Count] = Field(description="correct test predictions per class")
    confusion: list[list[Count]] | None = Field(description="[true][predicted], up to 200 classes; else null")


class Best(Part):
    """The best evaluated epoch, chosen on the test split: never the headline."""

    epoch: Count
    correct: list[Count]


class History(Part):
    """What happened on the way."""

    loss: list[float] = Field(description="mean training loss of each epoch")
    accuracy: list[Share] = Field(description="test accuracy at each evaluated epoch")
    evaluated_epochs: list[Count]
    measures: dict[str, list[tuple[Count, float]]] = Field(
        default={}, description="what the method noted: pairs of epoch and value, such as the share of rejected images"
    )


class Prerequisite(Part):
    """A training that the run builds on and shares with other runs."""

    method: str
    id: str = Field(description="of the run that it is, or is the beginning of")
    use: Literal["prefix", "network"] = Field(
        description="the run's own first epochs, counted in its cost; or a finished network, which is not, though it "
        "may have the same first epochs"
    )
    epochs: Count
    seconds: Seconds = Field(description="of all these epochs")
    reused: bool = Field(description="it was there already; else it was trained for this run")
    commit: str | None = Field(description="of the code that trained it; the next three belong to it, too")
    dirty: bool | None = None
    torch: str | None = None
    device: str | None = None


class Cost(Part):
    """What the run took; the only part that differs between two runs of the same id on the same machine."""

    seconds: Seconds = Field(description="wall time of the whole run, evaluation and checkpoints included")
    seconds_training: Seconds
    images_per_second: Annotated[float, Field(ge=0)] = Field(description="training images / seconds_training")
    peak_memory_bytes: Count = Field(description="of the device on CUDA, of the process on CPU")
    parameters: Count = Field(description="trainable parameters of the finished network")
    epochs_per_stage: dict[str, Count]
    resumed: Count = Field(description="how often the run was interrupted and taken up again")
    prerequisites: list[Prerequisite] = Field(default=[], description="trainings shared with other runs")


class Environment(Part):
    """Where the run took place."""

    ltbench: str
    commit: str | None
    dirty: bool | None = Field(description="the checkout had uncommitted changes; null outside a checkout")
    python: str
    torch: str
    platform: str
    device: str
    threads: Count
    bf16: bool | None = Field(default=None, description="measured to be faster; attacks by gradient follow it")


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
            if any(hit > total for hit, total in zip(correct, tests, strict=True)):
                raise ValueError(f"{part}.correct exceeds dataset.test_counts")
        confusion = self.final.confusion
        if confusion is not None:
            if any(len(row) != classes for row in confusion) or [sum(row) for row in confusion] != tests:
                raise ValueError("final.confusion does not sum to dataset.test_counts")
            if [row[k] for k, row in enumerate(confusion)] != self.final.correct:
                raise ValueError("the diagonal of final.confusion is not final.correct")
        if len(self.history.accuracy) != len(self.history.evaluated_epochs):
            raise ValueError("history.accuracy and history.evaluated_epochs differ in length")
        if self.final.epoch != len(self.history.loss) - 1:
            raise ValueError("final.epoch is not the last epoch of history.loss")
        expected = run_id(self.method, self.source, self.hyperparameters, self.dataset, self.recipe, self.seed)
        if expected != self.id:
            raise ValueError(f"id is {self.id} but the contents give {expected}: something was changed by hand")
        return self

    def to_json(self) -> str:
        """The file's text: sorted keys, two blanks, no NaN."""
        return json.dumps(self.model_dump(by_alias=True), sort_keys=True, indent=1, allow_nan=False) + "\n"


def run_id(
    method: str,
    source: str | None,
    hyperparameters: dict[str, Any],
    dataset: DatasetFacts,
    recipe: dict[str, Any],
    seed: int | None,
) -> str:
    """16 hex digits that follow from what determines a run; not from the machine, the folder or the versions.

    With `seed=None` the id of the setting, which its seeds share. Of a recipe, `recipe_facts` count, so that a field
    added later, with the old behaviour as its default, leaves old ids valid.
    """
    facts = {
        "schema": FACTS,
        "method": method,
        "source": source,
        "hyperparameters": hyperparameters,
        "dataset": dataset.model_dump(include={"name", "profile", "imbalance", "checksum", "options"}),
        "recipe": recipe_facts(recipe),
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def recipe_facts(recipe: dict[str, Any]) -> dict[str, Any]:
    """Those values of a recipe that differ from the defaults of `Recipe`: what tells two recipes apart.

    A record made before a field existed lacks it, which means its default.
    """
    defaults = Recipe.model_construct(name="", backbone="", epochs=0).model_dump(mode="json")
    return {key: value for key, value in recipe.items() if defaults.get(key) != value}


def json_schema() -> str:
    """The JSON Schema of a record, as committed in `benchmarks/records/record.schema.json`."""
    return json.dumps(Record.model_json_schema(by_alias=True), sort_keys=True, indent=1) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
