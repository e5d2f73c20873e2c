"""Record: one finished run as one JSON file, the only input of `report/`.

Results are stored as counts (correct predictions per class, images per class); the report derives its metrics from
them. The `id` is a hash of everything that determines the run and nothing else, so a run is finished if a valid record
with its id exists.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from ..fields import Count as Seed
from ..recipe import Recipe
from . import checks
from .parts import Best, Cost, Environment, Final, History, Part, PositiveInt, TrainedEpochs

CONFUSION_LIMIT = 200  # largest number of classes with a confusion matrix; a larger one would take megabytes
VERSION = 5  # version of the file format; increases when a record or `Recipe` gains a field
OLDEST = 2  # oldest version that can be read
FACTS = 1  # hashed into every id; constant, so that ids do not depend on the file version


class DatasetFacts(Part):
    """Description of the dataset of a run."""

    name: str
    profile: str = Field(description="exp, step, or natural (as collected)")
    imbalance: float = Field(
        ge=1, le=2**53, description="requested imbalance ratio; for natural, largest class size / smallest class size"
    )
    checksum: str = Field(description="sha256 of the training and test pixels and labels, in order")
    verified: bool | None = Field(
        description="whether the source files match the published checksums; null if none are published"
    )
    options: dict[str, Any] = Field(description="options of the dataset, except profile, imbalance and local paths")
    changed: dict[str, Any] = Field(description="options that differ from the dataset's defaults")
    class_names: Annotated[list[str], Field(min_length=1)]
    train_counts: list[PositiveInt]
    test_counts: list[PositiveInt]

    @property
    def label(self) -> str:
        """Display name: name, profile with ratio, and changed options, such as `cifar10-lt exp100 holdout=True`."""
        profile = "natural" if self.profile == "natural" else f"{self.profile}{self.imbalance:g}"
        return " ".join([self.name, profile, *(f"{k}={v}" for k, v in sorted(self.changed.items()))])


@dataclass(frozen=True)
class RunFacts:
    """Everything that determines a run; its id and the names of its record and folder derive from it.

    Attributes:
        method: name of the method.
        source: sha256 of the file of a third-party method; else None.
        hyperparameters: field values of the method; see `recorded`.
        changed: hyper-parameters and recipe values that differ from the defaults; used in names, not part of the id.
        dataset: description of the dataset.
        recipe: field values of the recipe; see `recorded`.
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


class Record(Part):
    """Record of one finished run."""

    model_config = ConfigDict(title="ltbench record")

    version: int = Field(
        alias="schema", ge=OLDEST, le=VERSION, description="version of the file format; not part of the id"
    )
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    method: str
    source: str | None = Field(description="sha256 of the file of a third-party method; else null")
    hyperparameters: dict[str, Any]
    changed: dict[str, Any] = Field(description="hyper-parameters and recipe.* values that differ from the defaults")
    seed: Seed
    dataset: DatasetFacts
    recipe: dict[str, Any]
    final: Final
    best: Best
    history: History
    cost: Cost
    environment: Environment = Field(
        description="environment of the last process, which evaluated the network and wrote the record"
    )
    trained: list[TrainedEpochs] = Field(
        default=[], description="environments of the epochs, in order of training; empty in schema 2"
    )
    inactive: str = Field(
        default="", description="reason why the run used nothing that its method adds to its base; empty if it did"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if (expected := self.facts.id) != self.id:
            raise ValueError(f"id is {self.id}, but the contents give {expected}: the file was edited by hand")
        problems = (self._values_problem, self._counts_problem, self._epochs_problem)
        if problem := next(filter(None, (find() for find in problems)), ""):
            raise ValueError(problem)
        return self

    def _values_problem(self) -> str:
        base = self.hyperparameters.get("base_values")
        own = self.hyperparameters | {f"base.{k}": v for k, v in (base if isinstance(base, dict) else {}).items()}
        recipe = {f"recipe.{k}": v for k, v in (_recipe_defaults() | self.recipe).items()}
        data = self.dataset
        return (
            checks.recipe_problem(self.recipe)
            or checks.changed_problem("changed", self.changed, own | recipe)
            or checks.changed_problem("dataset.changed", data.changed, data.options)
        )

    def _counts_problem(self) -> str:
        data, confusion = self.dataset, self.final.confusion
        lists = {
            "dataset.train_counts": data.train_counts,
            "dataset.test_counts": data.test_counts,
            "final.correct": self.final.correct,
            "best.correct": self.best.correct,
        }
        holdout = data.options.get("holdout") is True
        return (
            checks.counts_problem(len(data.class_names), data.test_counts, lists)
            or checks.profile_problem(data.profile, data.imbalance, data.train_counts, holdout)
            or checks.confusion_problem(confusion, self.final.correct, data.test_counts)
        )

    def _epochs_problem(self) -> str:
        history, epochs = self.history, len(self.history.loss)
        if self.final.epoch != epochs - 1 or self.final.epoch not in history.evaluated_epochs[-1:]:
            return "final.epoch is not the last epoch of history.loss and history.evaluated_epochs"
        if sum(self.cost.epochs_per_stage.values()) != epochs:
            return "cost.epochs_per_stage does not sum to the epochs of history.loss"
        if any(epoch >= epochs for pairs in history.measures.values() for epoch, _ in pairs):
            return "history.measures names an epoch that was not trained"
        if any(part.use == "prefix" and part.epochs > epochs for part in self.cost.prerequisites):
            return "cost.prerequisites has a prefix with more epochs than the run"
        for name, parts, total in self._trainings():
            if sum(part.epochs for part in parts) != total and (parts or (name == "record" and self.version > 2)):
                return f"{name}.trained does not sum to the number of trained epochs"
        last, best = (self.accuracy(part.correct) for part in (self.final, self.best))
        if self.best.epoch == self.final.epoch and self.best.correct != self.final.correct:
            return "best.correct and final.correct differ, although they are of the same epoch"
        evaluated = history.evaluated_epochs
        return checks.accuracy_problem(evaluated, history.accuracy, last, (self.best.epoch, best))

    def accuracy(self, correct: list[int]) -> float:
        """Accuracy in [0, 1] as in the record's history: the mean per-class accuracy; in schema 2, over all images.

        Args:
            correct: number of correct test predictions per class.
        """
        metric = checks.class_mean_accuracy if self.version > 2 else checks.plain_accuracy
        return metric(correct, self.dataset.test_counts)

    def _trainings(self) -> list[tuple[str, list[TrainedEpochs], int]]:
        """Name, `trained` and number of epochs of the run and of each training that it builds on."""
        shared = [(f"cost.prerequisites.{k}", p.trained, p.epochs) for k, p in enumerate(self.cost.prerequisites)]
        return [("record", self.trained, len(self.history.loss)), *shared]

    @property
    def facts(self) -> RunFacts:
        """The facts that determine the run and its id."""
        return RunFacts(**{field.name: getattr(self, field.name) for field in fields(RunFacts)})

    def to_json(self) -> str:
        """JSON text of the record: sorted keys, no NaN; fields that were absent when it was read stay absent."""
        return (
            json.dumps(self.model_dump(by_alias=True, exclude_unset=True), sort_keys=True, indent=1, allow_nan=False)
            + "\n"
        )


def recipe_facts(recipe: dict[str, Any]) -> dict[str, Any]:
    """Values of a recipe that differ from the defaults of `Recipe`; recipes with equal facts are equal.

    A field that is absent, as in a record from before the field existed, has its default value.
    """
    return {key: value for key, value in recipe.items() if _recipe_defaults().get(key) != value}


@cache
def _recipe_defaults() -> dict[str, Any]:
    return Recipe.model_construct(name="", backbone="", epochs=0).model_dump(mode="json")


def json_schema() -> str:
    """JSON Schema of a record, committed as `benchmarks/records/record.schema.json`."""
    return json.dumps(Record.model_json_schema(by_alias=True), sort_keys=True, indent=1) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
