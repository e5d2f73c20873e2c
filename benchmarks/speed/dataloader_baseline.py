"""The loop that most published code has: PIL images, one transform after the other, DataLoader workers, plain SGD.

Written for this suite, copied from nowhere: ltbench is timed against it, and nothing else uses it.
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
    """A split, image by image, as torchvision's datasets return it.

    Args:
        split: on the CPU.
        transform: from a PIL image to a tensor.
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
    """Blackens a square at a random centre, clipped at the borders."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Any) -> Any:
        """A PIL image to the same image with a hole."""
        width, height = image.size
        left = int(torch.randint(width, ())) - self.side // 2
        top = int(torch.randint(height, ())) - self.side // 2
        image.paste(0, (max(left, 0), max(top, 0), min(left + self.side, width), min(top + self.side, height)))
        return image


def training_transform(recipe: Recipe, size: int, moments: Moments) -> Callable[[Any], Tensor]:
    """The transforms of a recipe for one PIL image; `augment` is basic, simclr or autoaugment."""
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
    """A PIL image to a normalised tensor."""
    chain: Callable[[Any], Tensor] = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*moments)])
    return chain


def train_epoch(
    backbone: nn.Module, head: nn.Module, loader: DataLoader[Any], optimiser: torch.optim.Optimizer, device: str
) -> float:
    """One epoch with a running mean of loss and accuracy, read after every step."""
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
    """Accuracy on a test set, batch by batch."""
    backbone.eval()
    hits = count = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        hits += (head(backbone(images)).argmax(1) == labels).sum().item()
        count += len(labels)
    backbone.train()
    return hits / count
