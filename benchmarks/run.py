"""Method + dataset + recipe + seed -> Record."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import checkpoint
from .backbones import build_backbone
from .environment import environment, peak_of_process
from .errors import UserError
from .evaluate import confusion_of, logits_of
from .files import write_whole
from .loader import derive
from .method import Method
from .network import Classifier
from .recipe import Recipe
from .record import (
    CONFUSION_LIMIT,
    Best,
    Cost,
    DatasetFacts,
    Final,
    History,
    Record,
    record_path,
    run_id,
)
from .split import Dataset
from .train import EpochEnd, train


@dataclass(frozen=True)
class Run:
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
        return dataclasses.asdict(self.method)

    @property
    def facts(self) -> DatasetFacts:
        """What the record says of the dataset."""
        return facts_of(self.dataset)

    @property
    def recipe_values(self) -> dict[str, Any]:
        """All fields of the recipe, as the record holds them."""
        return self.recipe.model_dump(mode="json")

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


@dataclass
class Trail:
    """What a run has left behind so far; goes into every checkpoint."""

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    best_epoch: int = -1
    best_correct: list[int] = field(default_factory=list)
    images: int = 0
    seconds: float = 0.0
    seconds_training: float = 0.0
    resumed: int = 0

    def evaluate(self, confusion: Tensor) -> None:
        """Note an evaluation after the latest epoch; an equal accuracy does not replace the best."""
        epoch, correct = len(self.losses) - 1, confusion.diagonal().tolist()
        if sum(correct) > sum(self.best_correct) or self.best_epoch < 0:
            self.best_epoch, self.best_correct = epoch, correct
        self.accuracies.append(sum(correct) / int(confusion.sum()))
        self.evaluated.append(epoch)


class Watcher:
    """Told how a run goes; does nothing by itself. The command line draws its progress line through one."""

    def start(self, run: Run, epochs: int, done: int) -> None:
        """A run of `epochs` epochs over all stages begins, or resumes with `done` of them behind it."""

    def step(self, images: int) -> None:
        """A step with this many images was taken."""

    def epoch(self, trail: Trail) -> None:
        """An epoch ended."""


def execute(run: Run, device: torch.device, runs: Path, watcher: Watcher | None = None) -> Record:
    """Train, evaluate and return the record; resume from `runs/<id>` if a checkpoint is there.

    The last epoch is the result. The test split is evaluated here, by epoch number alone; it never reaches the method.

    Raises:
        UserError: the loss is not finite, a checkpoint does not fit, or a file cannot be written.
    """
    watcher = watcher or Watcher()
    started = time.perf_counter()
    folder = runs / run.id
    with _threads(run.recipe.threads):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        state = checkpoint.load(folder)
        trail = Trail(**state["trail"]) if state else Trail()
        trail.resumed += state is not None
        before = trail.seconds
        stages = run.method.stages(run.recipe.epochs)
        watcher.start(run, sum(stage.epochs for stage in stages), len(trail.losses))

        net = build_network(run).to(device)
        split, test = run.dataset.train.to(device), run.dataset.test.to(device)
        loop = train(run.method, net, split, run.recipe, run.seed, state, watcher.step)
        for end in _fitting(loop, folder):
            trail.losses.append(end.loss)
            trail.images += end.images
            trail.seconds_training += end.seconds
            last = end.stage == len(stages) - 1 and end.epoch + 1 == end.epochs
            if run.recipe.evaluates(end.epoch, end.epochs) and not last:
                trail.evaluate(confusion_of(logits_of(net, test, run.recipe), test.labels))
            trail.seconds = before + time.perf_counter() - started
            _save(folder, trail, end, net)
            watcher.epoch(trail)

        torch.manual_seed(derive(run.seed, "global", "finish"))
        net = run.method.finish(net, split)
        logits = logits_of(net, test, run.recipe)
        confusion = confusion_of(logits, test.labels)
        trail.evaluate(confusion)
        trail.seconds = before + time.perf_counter() - started
        _keep(folder, net, logits, test.labels)
        return _record(run, trail, confusion, net, device)


def build_network(run: Run) -> Classifier:
    """The run's network with its initial weights; the backbone's depend on the seed alone, not on the method."""

    def backbone(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
        with _seeded(derive(run.seed, "backbone")):
            return build_backbone(run.recipe.backbone, norm)

    with _seeded(derive(run.seed, "head")):
        net = run.method.network(backbone, len(run.dataset.class_names))
    net.normalise.set(run.dataset.mean, run.dataset.std)
    return net.to(memory_format=torch.channels_last) if run.recipe.channels_last else net


def _fitting(loop: Iterator[EpochEnd], folder: Path) -> Iterator[EpochEnd]:
    """Turn a state that does not fit the network into a sentence."""
    try:
        yield from loop
    except RuntimeError as error:
        if "Error(s) in loading state_dict" not in str(error):
            raise
        raise UserError(
            f"The checkpoint in {folder} was made by another version of this method. Delete the folder to start again."
        ) from error


def _save(folder: Path, trail: Trail, end: EpochEnd, net: Classifier) -> None:
    state = {
        "stage": end.stage,
        "epoch": end.epoch,
        "net": net.state_dict(),
        "optimiser": end.optimiser.state_dict(),
        "trail": dataclasses.asdict(trail),
    }
    checkpoint.save(folder, state, len(trail.losses))


def _keep(folder: Path, net: Classifier, logits: Tensor, labels: Tensor) -> None:
    """Keep the finished network and its test logits (float16) on this machine."""
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    write_whole(folder / "network.pt", buffer.getvalue(), durable=False)
    buffer = io.BytesIO()
    np.savez(buffer, logits=logits.half().cpu().numpy(), labels=labels.cpu().numpy())
    write_whole(folder / "logits.npz", buffer.getvalue(), durable=False)


def _record(run: Run, trail: Trail, confusion: Tensor, net: Classifier, device: torch.device) -> Record:
    stages = run.method.stages(run.recipe.epochs)
    cuda = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) if cuda else peak_of_process()
    return Record(
        schema=1,
        id=run.id,
        method=run.name,
        source=run.source,
        hyperparameters=run.hyperparameters,
        changed=run.changed,
        seed=run.seed,
        dataset=run.facts,
        recipe=run.recipe_values,
        final=Final(
            epoch=len(trail.losses) - 1,
            correct=confusion.diagonal().tolist(),
            confusion=confusion.tolist() if len(confusion) <= CONFUSION_LIMIT else None,
        ),
        best=Best(epoch=trail.best_epoch, correct=trail.best_correct),
        history=History(loss=trail.losses, accuracy=trail.accuracies, evaluated_epochs=trail.evaluated),
        cost=Cost(
            seconds=round(trail.seconds, 3),
            seconds_training=round(trail.seconds_training, 3),
            images_per_second=round(trail.images / max(trail.seconds_training, 1e-9), 1),
            peak_memory_bytes=peak,
            parameters=sum(parameter.numel() for parameter in net.parameters()),
            epochs_per_stage={stage.name: stage.epochs for stage in stages},
            resumed=trail.resumed,
        ),
        environment=environment(device, run.recipe.threads or torch.get_num_threads()),
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Limit torch to `count` threads; 0 leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


__all__ = ["Run", "Trail", "Watcher", "build_network", "execute", "facts_of"]
