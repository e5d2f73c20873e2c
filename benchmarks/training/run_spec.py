"""Complete specification of one run, and construction of its network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..data.loader import derive
from ..fields import moments, recorded
from ..method import Method, Needs, Stage, epochs_before
from ..network import Classifier, FrozenBackbone, Head, LinearHead
from ..nn.backbones import build_backbone
from ..nn.weights import Weights
from ..recipe import Recipe
from ..records.schema import DatasetFacts, RunFacts
from ..records.store import record_path
from ..registry import base_of
from ..split import Dataset
from .hook_checks import check_head, check_network, checked_needs, checked_stages

FEW_STEPS = 500  # optimiser steps; a shorter run gets a warning


@dataclass(frozen=True)
class RunSpec:
    """Complete specification of one run: method, dataset, recipe and seed.

    Attributes:
        name: name of the method.
        source: sha256 of the file of a third-party method; else None.
        method: configured method; runs never share one object.
        changed: hyper-parameters and recipe values that differ from the defaults, for file names and tables.
        dataset: dataset with its training and test split.
        recipe: settings shared by all methods.
        seed: seed of weights, sampling and augmentation; the split does not depend on it.
        weights: pretrained weights of the backbone, as named by the recipe; None for random ones.
    """

    name: str
    source: str | None
    method: Method
    changed: dict[str, Any]
    dataset: Dataset
    recipe: Recipe
    seed: int
    weights: Weights | None = None

    @cached_property
    def facts(self) -> RunFacts:
        """Facts that determine the run and its id."""
        hyperparameters, recipe, dataset = recorded(self.method), recorded(self.recipe), dataset_facts(self.dataset)
        return RunFacts(self.name, self.source, hyperparameters, self.changed, dataset, recipe, self.seed)

    @property
    def id(self) -> str:
        """Id of the run; its record has the same id, and its folder the same name."""
        return self.facts.id

    @cached_property
    def stages(self) -> list[Stage]:
        """Stages of training, in order."""
        return checked_stages(self.method, self.recipe.epochs)

    @cached_property
    def needs(self) -> Needs:
        """Prerequisites of the run, as declared by its method."""
        return checked_needs(self.method, self.recipe.epochs)

    @cached_property
    def inactive(self) -> str:
        """Reason why the run uses nothing that its method adds to its base; "" if it does.

        A deferral of 1 gives no reason: it disables the deferred part deliberately, such as `defer=1` of `ldam-drw`,
        which is then LDAM.
        """
        epochs, own = self.recipe.epochs, moments(self.method)
        values = dict(own)
        if base := base_of(self.method):
            values |= {f"base.{name}": value for name, value in moments(base).items()}
        never = {name: value for name, value in values.items() if epochs_before(value, epochs) == epochs and value < 1}
        if never:
            values_text = " and ".join(f"{name} = {value:g}" for name, value in never.items())
            return f"none of its {epochs} epochs reaches {values_text}"
        if self.needs.prefix >= self.epochs and (own or type(self.method).finish is Method.finish):
            return f"all of its {epochs} epochs are those of {self.needs.prefix_of}"
        return ""

    @property
    def cautions(self) -> list[str]:
        """Warnings for the user before the run starts: reasons why its result will be a poor measurement."""
        steps = self.recipe.steps_per_epoch(len(self.dataset.train)) * self.epochs
        few = f"{steps} steps are few to train a network; set more with --epochs or --set recipe.least_steps=2000"
        inactive = f"{self.inactive}; it will not be ranked"
        return [text for text, applies in ((inactive, self.inactive), (few, steps < FEW_STEPS)) if applies]

    @property
    def epochs(self) -> int:
        """Total number of epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def path(self, results: Path) -> Path:
        """Path of the record in the folder `results`."""
        return record_path(results, self.facts)


def dataset_facts(dataset: Dataset) -> DatasetFacts:
    """Description of a dataset for the record."""
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


def build_network(spec: RunSpec) -> Classifier:
    """Build a run's network on the CPU, with initial weights.

    The weights of a given backbone are pretrained or depend only on the seed, so all methods start from the same
    backbone for a seed.

    Raises:
        RunFailed: the hook `head` or `network` returned an invalid value.
    """

    def backbone(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
        with _seeded(derive(spec.seed, "backbone")):
            layers = build_backbone(spec.recipe.backbone, norm, spec.weights)
        return FrozenBackbone.of(layers) if spec.recipe.frozen else layers

    with _seeded(derive(spec.seed, "head")):
        net = spec.method.network(backbone, len(spec.dataset.class_names), _head_of(spec))
    check_network(net, spec.method, "network")
    net.normalise.set(*normalisation(spec))
    net.normalise.size, net.normalise.interpolation = spec.recipe.size, spec.recipe.interpolation
    return net.to(memory_format=torch.channels_last) if spec.recipe.channels_last else net


def normalisation(spec: RunSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel: those of the pretrained weights, else those of the dataset."""
    return (spec.weights and spec.weights.mean_and_std) or (spec.dataset.mean, spec.dataset.std)


def new_head(spec: RunSpec, net: Classifier) -> nn.Module:
    """Build another head for a run's network, on the CPU, with initial weights from torch's default generator."""
    return _head_of(spec)(cast(int, net.backbone.width), len(spec.dataset.class_names))


def _head_of(spec: RunSpec) -> Head:
    head = spec.method.head(LinearHead)
    check_head(head, spec.method)
    return head


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator within the block; restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
