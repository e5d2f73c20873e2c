"""batches(): one epoch of augmented images from resident tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from .augment import CropFlip
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


def draw(train: Split, probabilities: Tensor | None, random: torch.Generator) -> Tensor:
    """Positions of one epoch's images, int64 (N,), on the CPU; always as many as the training split has.

    Args:
        train: the training split.
        probabilities: per class (C,), up to a factor; a class is drawn, then one of its images, both with replacement.
            None draws each image once, in random order.
        random: a CPU generator.
    """
    if probabilities is None:
        return torch.randperm(len(train), generator=random)
    probabilities = probabilities.detach().cpu().double()
    counts = train.counts.cpu()
    classes = torch.multinomial(probabilities, len(train), replacement=True, generator=random)
    rank = (torch.rand(len(train), generator=random, dtype=torch.float64) * counts[classes]).long()
    by_class = train.labels.cpu().argsort(stable=True)
    return by_class[counts.cumsum(0)[classes] - counts[classes] + rank]


def batches(
    train: Split,
    augment: CropFlip,
    recipe: Recipe,
    probabilities: Tensor | None,
    seed: int,
    stage: str,
    epoch: int,
) -> Iterator[Batch]:
    """The batches of one epoch, on the device of `train`.

    What is drawn follows from the seed, the stage and the epoch alone: it is the same for every method that draws
    alike, on every device, and after a resumption. The epoch's draw is made on the CPU; no batch waits for the device.
    """
    device = train.labels.device
    index = draw(train, probabilities, generator(seed, "draw", stage, epoch))
    parameters = augment.draw(len(index), generator(seed, "augment", stage, epoch)).to(device)
    index = index.to(device)
    size = recipe.batch_size
    end = len(index) // size * size if recipe.drop_last and len(index) >= size else len(index)
    starts = list(range(0, end, size))
    if end % size == 1 and len(starts) > 1:
        starts.pop()  # batch norm may fail on a single image: it joins the batch before it
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        chosen = index[start:stop]
        images = augment(chosen, parameters[start : start + len(chosen)])
        yield Batch(as_floats(images, recipe), train.labels[chosen])


def as_floats(images: Tensor, recipe: Recipe) -> Tensor:
    """Bytes (N, 3, H, W) to floats in [0, 1], in the recipe's memory format."""
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    return images.to(torch.float32, memory_format=layout).div_(255)
