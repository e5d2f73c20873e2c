"""One run, fully decided, and its network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.loader import derive
from ..fields import recorded
from ..method import Method
from ..network import Classifier, LinearHead
from ..nn.backbones import build_backbone
from ..recipe import Recipe
from ..records.schema import DatasetFacts, run_id
from ..records.store import record_path
from ..split import Dataset


@dataclass(frozen=True)
class RunSpec:
    """One run, fully decided: what is trained on what, and where its record goes.

    Attributes:
        name: the method's name.
        source: sha256 of the file of a method from outside the suite; else None.
        method: the configured plugin; never shared between runs.
        changed: hyper-parameters and recipe values that differ from the defaults, for file names and tables.
        dataset: both splits.
        recipe: all that is equal between methods.
        seed: of weights, draws and augmentation; not of the split.
    """

    name: str
    source: str | None
    method: Method
    changed: dict[str, Any]
    dataset: Dataset
    recipe: Recipe
    seed: int

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """All fields of the method."""
        return recorded(self.method)

    @property
    def facts(self) -> DatasetFacts:
        """What the record says of the dataset."""
        return facts_of(self.dataset)

    @property
    def recipe_values(self) -> dict[str, Any]:
        """All fields of the recipe, as the record holds them."""
        return recorded(self.recipe)

    @property
    def id(self) -> str:
        """What the record's id will be."""
        return run_id(self.name, self.source, self.hyperparameters, self.facts, self.recipe_values, self.seed)

    def path(self, results: Path) -> Path:
        """Where the record goes."""
        return record_path(
            results,
            self.name,
            self.source,
            self.hyperparameters,
            self.changed,
            self.facts,
            self.recipe_values,
            self.seed,
        )


def facts_of(dataset: Dataset) -> DatasetFacts:
    """The record's view of a dataset."""
    return DatasetFacts(
        name=dataset.name,
        profile=dataset.profile,
        imbalance=dataset.imbalance,
        checksum=dataset.checksum,
        verified=dataset.verified,
        options=dataset.options,
        changed=dataset.changed,
        class_names=dataset.class_names,
        train_counts=dataset.train.counts.tolist(),
        test_counts=dataset.test.counts.tolist(),
    )


def build_network(run: RunSpec) -> Classifier:
    """The run's network with its initial weights; the backbone's depend on the seed alone, not on the method."""

    def backbone(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
        with _seeded(derive(run.seed, "backbone")):
            return build_backbone(run.recipe.backbone, norm)

    with _seeded(derive(run.seed, "head")):
        net = run.method.network(backbone, len(run.dataset.class_names), run.method.head(LinearHead))
    net.normalise.set(run.dataset.mean, run.dataset.std)
    return net.to(memory_format=torch.channels_last) if run.recipe.channels_last else net


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
