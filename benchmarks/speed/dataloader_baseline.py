"""Baseline loop for timing, typical of published code: PIL images, per-image transforms, DataLoader workers, plain SGD.

The code is written for ltbench, not copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ..recipe import Recipe
from ..split import Split

Moments = tuple[tuple[float, ...], tuple[float, ...]]


class PILImages(Dataset[tuple[Tensor, int]]):
    """A split as a dataset of single images, like torchvision's datasets.

    Args:
        split: split on the CPU.
        transform: function that maps a PIL image to a tensor.
    """

    def __init__(self, split: Split, transform: Callable[[Any], Tensor]) -> None:
        self.pixels = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


class PILCutout:
    """Cutout transform: sets a square at a random centre to black, clipped at the borders.

    Args:
        side: side of the square in pixels.
    """

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Any) -> Any:
        """Apply Cutout to a PIL image in place and return it."""
        width, height = image.size
        left = int(torch.randint(width, ())) - self.side // 2
        top = int(torch.randint(height, ())) - self.side // 2
        image.paste(0, (max(left, 0), max(top, 0), min(left + self.side, width), min(top + self.side, height)))
        return image


def training_transform(recipe: Recipe, size: int, moments: Moments) -> Callable[[Any], Tensor]:
    """Training transforms of a recipe, as a function from a PIL image to a normalised tensor.

    Args:
        recipe: provides the augmentation.
        size: side of the images in pixels.
        moments: mean and standard deviation of each channel.
    """
    crop, flip = transforms.RandomCrop(size, recipe.crop_padding), transforms.RandomHorizontalFlip()
    steps: list[Any] = [crop, flip]
    if recipe.augment == "autoaugment":
        steps = [transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)]
    elif recipe.cutout:
        steps.append(PILCutout(recipe.cutout))
    if recipe.augment == "simclr":
        steps += [
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            transforms.RandomGrayscale(0.2),
            transforms.RandomApply([transforms.GaussianBlur(3, (0.1, 2.0))], 0.5),
        ]
    chain: Callable[[Any], Tensor] = transforms.Compose([*steps, test_transform(moments)])
    return chain


def test_transform(moments: Moments) -> Callable[[Any], Tensor]:
    """Test transforms, as a function from a PIL image to a normalised tensor."""
    chain: Callable[[Any], Tensor] = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*moments)])
    return chain


def train_epoch(
    backbone: nn.Module, head: nn.Module, loader: DataLoader[Any], optimiser: torch.optim.Optimizer, device: str
) -> float:
    """Train for one epoch, reading loss and accuracy after every step, as published code does; return the mean loss."""
    total = hits = count = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        logits = head(backbone(images))
        loss = F.cross_entropy(logits, labels)
        total += loss.item() * len(labels)
        hits += (logits.argmax(1) == labels).sum().item()
        count += len(labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return total / count


@torch.no_grad()
def evaluate(backbone: nn.Module, head: nn.Module, loader: DataLoader[Any], device: str) -> float:
    """Accuracy on a test set, in [0, 1]."""
    backbone.eval()
    hits = count = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        hits += (head(backbone(images)).argmax(1) == labels).sum().item()
        count += len(labels)
    backbone.train()
    return hits / count
