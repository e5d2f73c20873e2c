"""What is timed against what."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate

from ..data.augment import Augment
from ..data.loader import batches, draw_epoch, epoch_generators, generator
from ..method import Batch, Method, Now
from ..recipe import Recipe
from ..records.environment import threads
from ..training.cuda_graph import Steps
from ..training.evaluate import confusion_of, logits_of
from ..training.loop import frozen_but, make_optimiser, run_epoch
from ..training.run_spec import RunSpec, build_network
from ..training.step import step
from . import dataloader_baseline as rivals
from .interleaved import Ratio, Work, ratio, take_turns, timed
from .op_counter import Counts, Ready, count_step, make_ready

CPU = torch.device("cpu")
WORKERS = 4
TEST_BATCH = 100  # images; what published loops evaluate at once
SHORT = 10  # batches of the image-by-image path in a turn: a whole epoch of it takes long
CHAINS: dict[str, dict[str, Any]] = {
    "crop, flip": {},
    "crop, flip, Cutout, jitter, grey, blur": {"augment": "simclr", "cutout": 16},
    "AutoAugment": {"augment": "autoaugment"},
}


def input_paths(run: RunSpec, rounds: int) -> dict[str, Ratio]:
    """Augmented, normalised batches on one core, for each chain: one image at a time through PIL against ours.

    Theirs is timed over SHORT batches, ours over a whole epoch with its draw; both as seconds a batch.
    """
    found = {}
    batches_ours = -(-len(run.dataset.train) // run.recipe.batch_size)
    with threads(1):
        for name, changes in CHAINS.items():
            recipe = run.recipe.model_copy(update=changes)
            variants = {"theirs": _image_by_image(run, recipe), "ours": _batched(run, recipe)}
            seconds = take_turns(variants, rounds, CPU)
            theirs, ours = ([s / n for s in seconds[k]] for k, n in (("theirs", SHORT), ("ours", batches_ours)))
            found[name] = ratio(theirs, ours)
    return found


def _image_by_image(run: RunSpec, recipe: Recipe) -> Work:
    split, size = run.dataset.train, recipe.batch_size
    images = rivals.PILImages(split, rivals.training_transform(recipe, split.images.shape[2], _moments(run)))

    def work() -> None:
        for first in range(0, SHORT * size, size):
            default_collate([images[k % len(images)] for k in range(first, first + size)])

    return work


def _batched(run: RunSpec, recipe: Recipe) -> Work:
    augment, net, epochs = Augment(run.dataset.train.images, recipe), build_network(run), count()

    def work() -> None:
        for batch in batches(run.dataset.train, augment, None, epoch_generators(run.seed, "train", next(epochs))):
            net.normalise(batch.images)

    return work


def against_dataloader(run: RunSpec, rounds: int, device: torch.device) -> dict[str, Ratio]:
    """A training epoch and an evaluation: the common loop against ours; same network, images, batches and steps.

    Theirs: PIL images, DataLoader with 4 workers, channels first, float32, torch's default SGD, meters read after each
    step, evaluation in batches of 100. Ours is timed in the recipe's precision.
    """
    train, test = run.dataset.train.to(device), run.dataset.test.to(device)
    recipe, epochs = run.recipe, count()
    net = build_network(run).to(device)
    optimiser, augment = make_optimiser(net, recipe), Augment(train.images, recipe)

    ours, random = Steps(Method(), net, train, augment, optimiser, recipe), generator(run.seed, "method", device=device)

    def our_epoch() -> None:
        ours.begin(Now("train", 0, 1, random), recipe.lr)
        drawn = draw_epoch(train, augment, None, epoch_generators(run.seed, "train", next(epochs)))
        run_epoch(ours, drawn, lambda images: None)

    def our_evaluation() -> None:
        confusion_of(logits_of(net, test, recipe), test.labels)

    plain = build_network(run).to(device).to(memory_format=torch.contiguous_format)
    sgd = torch.optim.SGD(plain.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    size, place = train.images.shape[2], device.type
    seen = rivals.PILImages(run.dataset.train, rivals.training_transform(recipe, size, _moments(run)))
    unseen = rivals.PILImages(run.dataset.test, rivals.test_transform(_moments(run)))
    settings: dict[str, Any] = {"num_workers": WORKERS, "pin_memory": place == "cuda"}
    with _quiet():
        loader = DataLoader(seen, recipe.batch_size, shuffle=True, **settings)
        tests = DataLoader(unseen, TEST_BATCH, **settings)
    variants: dict[str, Work] = {
        "their epoch": lambda: rivals.train_epoch(plain.backbone, plain.head, loader, sgd, place),
        "our epoch": our_epoch,
        "their evaluation": lambda: rivals.evaluate(plain.backbone, plain.head, tests, place),
        "our evaluation": our_evaluation,
    }
    with _quiet():
        seconds = take_turns(variants, rounds, device, warm=False)  # an epoch is long enough to warm up in
    return {name: ratio(seconds[f"their {name}"], seconds[f"our {name}"]) for name in ("epoch", "evaluation")}


@contextmanager
def _quiet() -> Iterator[None]:
    """More workers than cores: so it is in published code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


@dataclass(frozen=True)
class StepCost:
    """A method's step, late in training.

    Attributes:
        time: against ERM's.
        counts: arithmetic, operations, memory.
    """

    time: Ratio
    counts: Counts


def steps(runs: Sequence[RunSpec], rounds: int, device: torch.device, late: float = 0.99) -> dict[str, StepCost]:
    """A step of each method on one fixed batch against ERM's, on one core of a CPU or on a GPU; `runs[0]` is ERM's."""
    with threads(1):
        ready = {run.name: stepper(make_ready(run, late, device)) for run in runs}
        seconds = take_turns(ready, rounds, device)
    erm = runs[0].name
    return {run.name: StepCost(ratio(seconds[run.name], seconds[erm]), count_step(run, late)) for run in runs}


def stepper(ready: Ready) -> Work:
    """A function that takes a step of the method on the batch that was drawn, without augmentation."""
    run, net, device = ready.run, ready.net, ready.index.device
    split = run.dataset.train.to(device)
    layout = torch.channels_last if run.recipe.channels_last else torch.contiguous_format
    images = (split.pixels(ready.index).float() / 255).contiguous(memory_format=layout)
    batch = Batch(images, split.labels[ready.index])
    with frozen_but(net, ready.stage.trained):
        optimiser = make_optimiser(net, run.recipe, ready.stage.slower)

    def work() -> None:
        with frozen_but(net, ready.stage.trained):
            step(run.method, net, batch, optimiser, run.recipe, ready.now)

    return work


def convolution_peak(device: torch.device, batch: int = 128) -> float:
    """The most floating-point operations a second of a 3x3 convolution, over the sizes of a CIFAR ResNet, float32."""
    return max(_convolution(channels, size, batch, device) for channels, size in ((16, 32), (32, 16), (64, 8)))


def _convolution(channels: int, size: int, batch: int, device: torch.device) -> float:
    layout = torch.channels_last
    images = torch.ones(batch, channels, size, size, device=device).contiguous(memory_format=layout)
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device).to(memory_format=layout)
    with torch.no_grad():
        spent = [timed(lambda: layer(images), device) for _ in range(40)]  # the best of many: others disturb
    return 2 * 9 * channels**2 * size**2 * batch / min(spent)


def _moments(run: RunSpec) -> rivals.Moments:
    return run.dataset.mean, run.dataset.std
