"""Sampling and batching of one epoch of augmented images, from images in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..method import Batch, ClassAware, SameImages, Sampling
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


def draw(train: Split, sampling: Sampling, random: torch.Generator, count: int | None = None) -> Tensor:
    """Draw the images of one epoch; return their positions, int64 (count,), on the CPU.

    Args:
        train: training split.
        sampling: unnormalised class probabilities (C,): draw a class, then one of its images, both with replacement;
            or `ClassAware`. None draws each image once, in random order.
        random: a CPU generator.
        count: number of images, ignored if `sampling` is None; None for the size of the training split.
    """
    if sampling is None:
        return torch.randperm(len(train), generator=random)
    count = len(train) if count is None else count
    if isinstance(sampling, ClassAware):
        return _draw_class_aware(train, sampling.per_class, random, count)
    probabilities = sampling.detach().cpu().double()
    counts = train.counts.cpu()
    classes = torch.multinomial(probabilities, count, replacement=True, generator=random)
    rank = (torch.rand(count, generator=random, dtype=torch.float64) * counts[classes]).long()
    by_class = train.labels.cpu().argsort(stable=True)
    return by_class[counts.cumsum(0)[classes] - counts[classes] + rank]


def _draw_class_aware(train: Split, per_class: int, random: torch.Generator, count: int) -> Tensor:
    """Draw `count` images in groups of `per_class` images of one class; see `ClassAware`."""
    counts = train.counts.cpu()
    classes = counts.nonzero().flatten()
    groups = math.ceil(count / per_class)
    order = classes[_cycled(len(classes), groups, random)]
    by_class = train.labels.cpu().argsort(stable=True).split(counts.tolist())
    positions = torch.empty(groups, per_class, dtype=torch.int64)
    for label in classes.tolist():
        rows = order == label
        images = by_class[label]
        positions[rows] = images[_cycled(len(images), int(rows.sum()) * per_class, random)].view(-1, per_class)
    return positions.flatten()[:count]


def _cycled(size: int, count: int, random: torch.Generator) -> Tensor:
    """The first `count` elements of a sequence of random permutations of the numbers below `size`, int64 (count,)."""
    rounds = math.ceil(count / size)
    keys = torch.rand(rounds, size, generator=random, dtype=torch.float64)
    return keys.argsort(1).flatten()[:count]


@dataclass(frozen=True)
class Picked:
    """Positions and augmentation parameters of the images of one batch.

    Attributes:
        index: positions in the training split, int64 (B,).
        parameters: augmentation parameters of each image.
        further: images of the further streams, see `Method.streams`.
    """

    index: Tensor
    parameters: Parameters
    further: tuple[Picked, ...] = ()

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, those of the further streams included."""
        return [self.index, *self.parameters, *(tensor for each in self.further for tensor in each.tensors)]

    def clone(self) -> Picked:
        """A copy with copies of all tensors."""
        parameters = Parameters(*(part.clone() for part in self.parameters))
        return Picked(self.index.clone(), parameters, tuple(each.clone() for each in self.further))


@dataclass(frozen=True)
class Drawn:
    """Positions and augmentation parameters of the images drawn for one epoch; iteration yields a `Picked` per batch.

    All tensors are on the device of the split.

    Attributes:
        index: positions of the images in the training split, int64 (N,).
        parameters: augmentation parameters of each image.
        bounds: first row and end (exclusive) of each batch in `index`.
        further: images of the further streams, see `Method.streams`; their bounds are not used.
    """

    index: Tensor
    parameters: Parameters
    bounds: list[tuple[int, int]]
    further: tuple[Drawn, ...] = ()

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[Picked]:
        for start, stop in self.bounds:
            yield self._rows(slice(start, stop))

    def _rows(self, rows: slice) -> Picked:
        further = tuple(each._rows(rows) for each in self.further)
        return Picked(self.index[rows], self.parameters.rows(rows), further)


def draw_epoch(
    train: Split,
    augment: Augment,
    sampling: Sampling,
    random: Generators,
    count: int | None = None,
    streams: Sequence[Sampling | SameImages] = (),
) -> Drawn:
    """Draw the images of one epoch and their augmentation parameters.

    Both depend only on the generators: they are equal for all methods with the same sampling, on every device, and
    after resuming. Everything is drawn on the CPU once per epoch, so that no batch waits for the device.

    Args:
        train: training split.
        augment: augmentation; its recipe sets the batch size and whether a smaller last batch is dropped.
        sampling: see `draw`.
        random: generators of the epoch, see `epoch_generators`.
        count: see `draw`.
        streams: sampling of each further stream, see `Method.streams`.
    """
    device = train.labels.device
    index = draw(train, sampling, random("draw"), count)
    parameters = augment.draw(len(index), random).to(device)
    recipe, size = augment.recipe, augment.recipe.batch_size
    end = len(index) // size * size if recipe.drop_last and len(index) >= size else len(index)
    starts = [size * number for number in range(recipe.steps_per_epoch(len(index)))]
    bounds = list(zip(starts, [*starts[1:], end], strict=True))
    further = []
    for number, each in enumerate(streams, 1):
        own = partial(_of_stream, random, number)
        positions = index if isinstance(each, SameImages) else _draw_as_many(train, each, own("draw"), len(index))
        further.append(Drawn(positions.to(device), augment.draw(len(index), own).to(device), bounds))
    return Drawn(index.to(device), parameters, bounds, tuple(further))


def _of_stream(random: Generators, number: int, purpose: str) -> torch.Generator:
    """Generator of a further stream for a purpose."""
    return random(f"{purpose} {number}")


def _draw_as_many(train: Split, sampling: Sampling, random: torch.Generator, count: int) -> Tensor:
    """Like `draw`, but draw `count` images even if `sampling` is None, by cycling through the split."""
    return _cycled(len(train), count, random) if sampling is None else draw(train, sampling, random, count)


def batch_of(train: Split, augment: Augment, picked: Picked) -> Batch:
    """The augmented images of a batch and their labels, and those of its further streams."""
    further = tuple(batch_of(train, augment, each) for each in picked.further)
    return Batch(augment(picked.index, picked.parameters), train.labels[picked.index], further=further)


def batches(
    train: Split,
    augment: Augment,
    sampling: Sampling,
    random: Generators,
    streams: Sequence[Sampling | SameImages] = (),
) -> Iterator[Batch]:
    """Iterate over the batches of one epoch, on the device of `train`; for the arguments see `draw_epoch`."""
    for picked in draw_epoch(train, augment, sampling, random, streams=streams):
        yield batch_of(train, augment, picked)
