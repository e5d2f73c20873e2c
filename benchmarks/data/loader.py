"""Sampling and batching of one epoch of augmented images, from images in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..method import Batch
from ..split import Split
from .augment import Augment, Parameters

Generators = Callable[[str], torch.Generator]  # purpose of the random numbers -> CPU generator


def derive(seed: int, *purpose: object) -> int:
    """Derive a seed for one purpose from the run's seed, so that a new consumer of random numbers affects no other."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")


def generator(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """Random generator seeded for one purpose, such as `generator(0, "draw", "train", 17)`."""
    return torch.Generator(device).manual_seed(derive(seed, *purpose))


def epoch_generators(seed: int, stage: str, epoch: int) -> Generators:
    """Function that returns the generator of one epoch for a purpose, such as "draw", "augment" or "colour"."""
    return lambda purpose: generator(seed, purpose, stage, epoch)


def draw(train: Split, probabilities: Tensor | None, random: torch.Generator, count: int | None = None) -> Tensor:
    """Draw the images of one epoch; return their positions, int64 (count,), on the CPU.

    Args:
        train: training split.
        probabilities: unnormalised class probabilities (C,): draw a class, then one of its images, both with
            replacement. None draws each image once, in random order.
        random: a CPU generator.
        count: number of images, used only with `probabilities`; None for the size of the training split.
    """
    if probabilities is None:
        return torch.randperm(len(train), generator=random)
    count = len(train) if count is None else count
    probabilities = probabilities.detach().cpu().double()
    counts = train.counts.cpu()
    classes = torch.multinomial(probabilities, count, replacement=True, generator=random)
    rank = (torch.rand(count, generator=random, dtype=torch.float64) * counts[classes]).long()
    by_class = train.labels.cpu().argsort(stable=True)
    return by_class[counts.cumsum(0)[classes] - counts[classes] + rank]


@dataclass(frozen=True)
class Drawn:
    """The images drawn for one epoch, on the device of the split; iteration yields index and parameters of each batch.

    Attributes:
        index: positions of the images in the training split, int64 (N,).
        parameters: augmentation parameters of each image.
        bounds: first row and end (exclusive) of each batch in `index`.
    """

    index: Tensor
    parameters: Parameters
    bounds: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[tuple[Tensor, Parameters]]:
        for start, stop in self.bounds:
            yield self.index[start:stop], self.parameters.rows(slice(start, stop))


def draw_epoch(
    train: Split, augment: Augment, probabilities: Tensor | None, random: Generators, count: int | None = None
) -> Drawn:
    """Draw the images of one epoch and their augmentation parameters.

    Both depend only on the generators: they are equal for all methods with the same sampling, on every device, and
    after resuming. Everything is drawn on the CPU once per epoch, so that no batch waits for the device.

    Args:
        train: training split.
        augment: augmentation; its recipe sets the batch size and whether a smaller last batch is dropped.
        probabilities: see `draw`.
        random: generators of the epoch, see `epoch_generators`.
        count: see `draw`.
    """
    device = train.labels.device
    index = draw(train, probabilities, random("draw"), count)
    parameters = augment.draw(len(index), random).to(device)
    recipe, size = augment.recipe, augment.recipe.batch_size
    end = len(index) // size * size if recipe.drop_last and len(index) >= size else len(index)
    starts = [size * number for number in range(recipe.steps_per_epoch(len(index)))]
    return Drawn(index.to(device), parameters, list(zip(starts, [*starts[1:], end], strict=True)))


def batch_of(train: Split, augment: Augment, index: Tensor, parameters: Parameters) -> Batch:
    """Batch of the images at `index` (B,), augmented with the parameters of B images, and their labels."""
    return Batch(augment(index, parameters), train.labels[index])


def batches(
    train: Split, augment: Augment, probabilities: Tensor | None, random: Generators, count: int | None = None
) -> Iterator[Batch]:
    """Iterate over the batches of one epoch, on the device of `train`; for the arguments see `draw_epoch`."""
    for index, parameters in draw_epoch(train, augment, probabilities, random, count):
        yield batch_of(train, augment, index, parameters)
