"""batches(): one epoch of augmented images from resident tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from .augment import Augment
from .method import Batch
from .recipe import Recipe
from .split import Split


def derive(seed: int, *purpose: object) -> int:
    """A seed for one purpose, so that a new consumer of random numbers changes no other one's."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")


def generator(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded for one purpose, such as `generator(0, "draw", "train", 17)`."""
    return torch.Generator(device).manual_seed(derive(seed, *purpose))


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


def batches(
    train: Split,
    augment: Augment,
    recipe: Recipe,
    probabilities: Tensor | None,
    seed: int,
    stage: str,
    epoch: int,
    count: int | None = None,
) -> Iterator[Batch]:
    """The batches of one epoch, on the device of `train`.

    What is drawn follows from the seed, the stage and the epoch alone: it is the same for every method that draws
    alike, on every device, and after a resumption. The epoch's draw is made on the CPU; no batch waits for the device.
    """
    device = train.labels.device
    index = draw(train, probabilities, generator(seed, "draw", stage, epoch), count)
    parameters = augment.draw(len(index), lambda purpose: generator(seed, purpose, stage, epoch)).to(device)
    index = index.to(device)
    size = recipe.batch_size
    end = len(index) // size * size if recipe.drop_last and len(index) >= size else len(index)
    starts = list(range(0, end, size))
    if end % size == 1 and len(starts) > 1:
        starts.pop()  # batch norm may fail on a single image: it joins the batch before it
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        chosen = index[start:stop]
        images = augment(chosen, parameters.rows(slice(start, start + len(chosen))))
        yield Batch(images, train.labels[chosen])
