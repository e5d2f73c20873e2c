"""One epoch of augmented images, drawn from images in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..method import Batch
from ..split import Split
from .augment import Augment, Parameters

Generators = Callable[[str], torch.Generator]  # purpose -> CPU generator


def derive(seed: int, *purpose: object) -> int:
    """A seed for one purpose: adding a consumer of random numbers leaves those of all others as they are."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")


def generator(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded for one purpose, such as `generator(0, "draw", "train", 17)`."""
    return torch.Generator(device).manual_seed(derive(seed, *purpose))


def epoch_generators(seed: int, stage: str, epoch: int) -> Generators:
    """The generators of one epoch of a run, by purpose: "draw", "augment", "colour", "fresh"."""
    return lambda purpose: generator(seed, purpose, stage, epoch)


def draw(train: Split, probabilities: Tensor | None, random: torch.Generator, count: int | None = None) -> Tensor:
    """Positions of one epoch's images, int64 (count,), on the CPU.

    Args:
        train: the training split.
        probabilities: per class (C,), up to a factor; a class is drawn, then one of its images, both with replacement.
            None draws each image once, in random order.
        random: a CPU generator.
        count: how many, with `probabilities` only; None for as many as the training split has.
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
    """The images of one epoch in order, on the device of the split; iterating yields the batches.

    Attributes:
        index: positions in the training split, int64 (N,).
        parameters: how each image is augmented.
        bounds: first and past-the-last row of each batch.
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
    """Draw the images of one epoch and the parameters of their augmentation.

    Both depend on the generators alone: they are the same for every method that draws alike, on every device, and after
    a resumption. All is drawn on the CPU once per epoch, so that no batch waits for the device.

    Args:
        train: the training split.
        augment: the augmentation; its recipe says how large batches are and whether a smaller last one is dropped.
        probabilities: see `draw`.
        random: the generators of the epoch, see `epoch_generators`.
        count: see `draw`.
    """
    device = train.labels.device
    index = draw(train, probabilities, random("draw"), count)
    parameters = augment.draw(len(index), random).to(device)
    size = augment.recipe.batch_size
    end = len(index) // size * size if augment.recipe.drop_last and len(index) >= size else len(index)
    starts = list(range(0, end, size))
    if end % size == 1 and len(starts) > 1:
        starts.pop()  # batch norm may fail on a single image: it joins the batch before it
    return Drawn(index.to(device), parameters, list(zip(starts, [*starts[1:], end], strict=True)))


def batch_of(train: Split, augment: Augment, index: Tensor, parameters: Parameters) -> Batch:
    """The images at `index` (B,), augmented with the parameters of B images, and their labels."""
    return Batch(augment(index, parameters), train.labels[index])


def batches(
    train: Split, augment: Augment, probabilities: Tensor | None, random: Generators, count: int | None = None
) -> Iterator[Batch]:
    """The batches of one epoch, on the device of `train`; the arguments are those of `draw_epoch`."""
    for index, parameters in draw_epoch(train, augment, probabilities, random, count):
        yield batch_of(train, augment, index, parameters)
