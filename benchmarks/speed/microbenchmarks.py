"""Micro-benchmarks of `bench speed`: the alternatives that it compares."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate

from ..data.augment import Augment, as_floats
from ..data.loader import Picked, batches, epoch_generators
from ..method import Batch
from ..recipe import Recipe
from ..records.environment import threads
from ..training.evaluate import confusion_of, logits_of
from ..training.loop import step, train
from ..training.run_spec import RunSpec, build_network
from . import dataloader_baseline as baseline
from .interleaved import Ratio, Work, alternate, ratio, timed
from .op_counter import Counts, bring_to, count_step, first_picked
from .synthetic import Scale

CPU = torch.device("cpu")
TEST_BATCH = 100  # images, as in published code
MANY = 1000  # epochs of the timed run, more than are ever timed
CHAINS: dict[str, dict[str, Any]] = {
    "crop, flip": {},
    "crop, flip, Cutout, jitter, grey, blur": {"augment": "simclr", "cutout": 16},
    "AutoAugment": {"augment": "autoaugment"},
}


def input_paths(spec: RunSpec, scale: Scale) -> dict[str, Ratio]:
    """Time per augmented, normalised batch on one core: image by image with PIL, relative to ltbench, for each chain.

    The PIL path is timed over `scale.batches` batches, that of ltbench over a whole epoch including its draw.
    """
    ratios = {}
    batches_ours = -(-len(spec.dataset.train) // spec.recipe.batch_size)
    with threads(1):
        for name, changes in CHAINS.items():
            recipe = spec.recipe.model_copy(update=changes)
            variants = {"theirs": _image_by_image(spec, recipe, scale.batches), "ours": _batched(spec, recipe)}
            seconds = alternate(variants, scale.rounds, CPU)
            theirs, ours = ([s / n for s in seconds[k]] for k, n in (("theirs", scale.batches), ("ours", batches_ours)))
            ratios[name] = ratio(theirs, ours)
    return ratios


def _image_by_image(spec: RunSpec, recipe: Recipe, number: int) -> Work:
    split, size = spec.dataset.train, recipe.batch_size
    images = baseline.PILImages(split, baseline.training_transform(recipe, split.images.shape[2], _moments(spec)))

    def work() -> None:
        for first in range(0, number * size, size):
            default_collate([images[k % len(images)] for k in range(first, first + size)])

    return work


def _batched(spec: RunSpec, recipe: Recipe) -> Work:
    augment, net, epochs = Augment(spec.dataset.train.images, recipe), build_network(spec), count()

    def work() -> None:
        for batch in batches(spec.dataset.train, augment, None, epoch_generators(spec.seed, "train", next(epochs))):
            net.normalise(batch.images)

    return work


def against_dataloader(spec: RunSpec, scale: Scale, device: torch.device) -> dict[str, Ratio]:
    """Time of a training epoch of ERM and of an evaluation: baseline loop relative to ltbench.

    Network, images and batch size are the same. The baseline uses PIL images, a DataLoader with workers, channels
    first, float32, torch's default SGD, metrics read after each step, and evaluation in batches of 100. The loop of
    ltbench uses the recipe's precision.
    """
    variants = _our_loop(spec, device) | _common_loop(spec, device, scale.workers)
    with _quiet():
        seconds = alternate(variants, scale.rounds, device, warm_up=False)  # epochs are long enough without
    return {name: ratio(seconds[f"their {name}"], seconds[f"our {name}"]) for name in ("epoch", "evaluation")}


def _our_loop(spec: RunSpec, device: torch.device) -> dict[str, Work]:
    split, test, net = spec.dataset.train.to(device), spec.dataset.test.to(device), build_network(spec).to(device)
    many = dataclasses.replace(spec, recipe=spec.recipe.model_copy(update={"epochs": MANY}))
    epochs = train(many, net, split)
    return {
        "our epoch": lambda: next(epochs),
        "our evaluation": lambda: confusion_of(logits_of(net, test, spec.recipe), test.labels),
    }


def _common_loop(spec: RunSpec, device: torch.device, workers: int) -> dict[str, Work]:
    recipe, size = spec.recipe, spec.dataset.train.images.shape[2]
    net = build_network(spec).to(device).to(memory_format=torch.contiguous_format)
    sgd = torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    images = baseline.PILImages(spec.dataset.train, baseline.training_transform(recipe, size, _moments(spec)))
    test_images = baseline.PILImages(spec.dataset.test, baseline.test_transform(_moments(spec)))
    options: dict[str, Any] = {"num_workers": workers, "pin_memory": device.type == "cuda"}
    with _quiet():
        loader = DataLoader(images, recipe.batch_size, shuffle=True, **options)
        tests = DataLoader(test_images, TEST_BATCH, **options)
    return {
        "their epoch": lambda: baseline.train_epoch(net.backbone, net.head, loader, sgd, device.type),
        "their evaluation": lambda: baseline.evaluate(net.backbone, net.head, tests, device.type),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress DataLoader's warning about more workers than cores; published code often uses that many."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


@dataclass(frozen=True)
class StepCost:
    """Cost of a method's step near the end of training.

    Attributes:
        time: time of the step relative to that of ERM.
        counts: arithmetic, operations and memory of the step.
    """

    time: Ratio
    counts: Counts


def step_costs(
    specs: Sequence[RunSpec], rounds: int, device: torch.device, progress: float = 0.99
) -> dict[str, StepCost]:
    """Cost of each method's step on one batch, on one CPU core or a GPU.

    Args:
        specs: one run of each method, ERM first.
        rounds: number of rounds.
        device: device of the steps.
        progress: fraction of the run that has elapsed, in [0, 1].
    """
    with threads(1):
        variants = {spec.name: repeated_step(spec, progress, device) for spec in specs}
        seconds = alternate(variants, rounds, device)
    erm = specs[0].name
    return {spec.name: StepCost(ratio(seconds[spec.name], seconds[erm]), count_step(spec, progress)) for spec in specs}


def repeated_step(spec: RunSpec, progress: float, device: torch.device) -> Work:
    """Function that takes a step of an untrained run, always on the same batch without augmentation; see `bring_to`."""
    active, now = bring_to(spec, progress, device)
    picked = first_picked(active, now)

    def plain(picked: Picked) -> Batch:
        images = as_floats(active.split.pixels(picked.index), spec.recipe)
        return Batch(images, active.split.labels[picked.index], further=tuple(map(plain, picked.further)))

    batch = plain(picked)
    return lambda: step(active, batch, now)


def convolution_peak(device: torch.device, batch: int = 128) -> float:
    """Peak floating-point operations per second of float32 3x3 convolutions with the sizes of a CIFAR ResNet."""
    return max(_convolution(channels, size, batch, device) for channels, size in ((16, 32), (32, 16), (64, 8)))


def _convolution(channels: int, size: int, batch: int, device: torch.device) -> float:
    layout = torch.channels_last
    images = torch.ones(batch, channels, size, size, device=device).contiguous(memory_format=layout)
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device).to(memory_format=layout)
    with torch.no_grad():
        spent = [timed(lambda: layer(images), device) for _ in range(40)]  # other processes may slow down some of them
    return 2 * 9 * channels**2 * size**2 * batch / min(spent)


def _moments(spec: RunSpec) -> baseline.Moments:
    return spec.dataset.mean, spec.dataset.std
