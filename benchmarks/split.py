"""Splits, datasets and the base class of dataset plugins; selection of images for an imbalance profile."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .errors import UserError
from .fields import recorded
from .profiles import Profile as Profile
from .profiles import Ratio as Ratio
from .profiles import held_out_count
from .profiles import long_tail_counts as long_tail_counts


@dataclass(frozen=True)
class Split:
    """Images and labels, resident in memory; or, for a frozen backbone, features that were computed once.

    Attributes:
        images: uint8 (N, 3, H, W); or features, float32 (N, width).
        labels: int64 (N,), in [0, num_classes).
        num_classes: number of classes, C; classes may be empty.
        validation: images held out of the training split for methods that need them; never test images.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    validation: Split | None = None

    def __post_init__(self) -> None:
        kind = (self.images.dtype, self.images.dim())
        assert kind in ((torch.uint8, 4), (torch.float32, 2)), "uint8 (N, 3, H, W) or float32 (N, width)"
        assert self.labels.shape == (len(self.images),), "one label per image"

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def counts(self) -> Tensor:
        """Number of images per class, int64 (C,), on the split's device."""
        return torch.zeros(self.num_classes, dtype=torch.int64, device=self.labels.device).scatter_add_(
            0, self.labels, torch.ones_like(self.labels)
        )

    @cached_property
    def checksum(self) -> str:
        """sha256 over shape and values of the images, 64 hexadecimal digits."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def pixels(self, index: Tensor) -> Tensor:
        """Images at the positions `index` (B,): uint8 (B, 3, H, W), or features (B, width)."""
        return self.images[index]

    def floats(self, index: Tensor) -> Tensor:
        """Images at the positions `index` (B,) as a network receives them: in [0, 1], or features (B, width)."""
        values = self.pixels(index)
        return values if values.is_floating_point() else values.float() / 255

    def to(self, device: torch.device) -> Split:
        """Copy the split to another device."""
        validation = self.validation and self.validation.to(device)
        return Split(self.images.to(device), self.labels.to(device), self.num_classes, validation)

    def take(self, index: Tensor) -> Split:
        """New split of the images at the positions `index` (B,), without validation images."""
        return Split(self.images[index], self.labels[index], self.num_classes)


@dataclass(frozen=True)
class Dataset:
    """Training split, test split, and their description for the record.

    Attributes:
        name: name of the dataset, such as `cifar10-lt`.
        train: training split.
        test: test split.
        class_names: name of each class, in the order of the labels.
        mean: mean of each channel, for pixels in [0, 1]; used by the normalisation inside the network.
        std: standard deviation of each channel, likewise.
        profile: imbalance profile, `exp` or `step`; `natural` for a dataset with its original class sizes.
        imbalance: requested imbalance ratio; for `natural`, size of the largest class / size of the smallest class.
        verified: whether the source files match the published checksums; None if none are published.
        options: options of the dataset plugin, except profile, imbalance and local paths.
        changed: those options that differ from the plugin's defaults.

    Raises:
        UserError: a class has no training or no test image.
    """

    name: str
    train: Split
    test: Split
    class_names: list[str]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    profile: str
    imbalance: float
    verified: bool | None
    options: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for split, what in ((self.train, "training"), (self.test, "test")):
            for name, count in zip(self.class_names, split.counts.tolist(), strict=True):
                if count == 0:
                    raise UserError(
                        f"{self.name}: class '{name}' has no {what} image. Add one, remove the class, "
                        "or ask for a smaller imbalance."
                    )

    @cached_property
    def checksum(self) -> str:
        """sha256 over shape, pixels and labels (little-endian int32) of the training split, then of the test split."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            digest.update(repr(tuple(split.images.shape)).encode())
            digest.update(split.images.cpu().contiguous().numpy().data)
            digest.update(split.labels.cpu().numpy().astype("<i4").tobytes())
        return digest.hexdigest()

    def holding_out(self) -> Dataset:
        """The same dataset with the images of `held_out` moved from the training split to `train.validation`.

        A dataset that already has validation images is returned unchanged. The record has `holdout` among the options,
        since results on fewer training images must not be ranked with results on all of them.

        Raises:
            UserError: a class has a single image.
        """
        if self.train.validation is not None:
            return self
        out = held_out(self.train.labels.numpy(), self.train.num_classes)
        rest = np.setdiff1d(np.arange(len(self.train)), out)
        train = replace(self.train.take(torch.from_numpy(rest)), validation=self.train.take(torch.from_numpy(out)))
        options, changed = ({**facts, "holdout": True} for facts in (self.options, self.changed))
        try:
            return replace(self, train=train, options=options, changed=changed)
        except UserError as error:
            raise UserError(f"holdout would take the only image of a class. {error}") from error


@dataclass(frozen=True)
class DataRoot:
    """Folder of the downloaded datasets.

    Attributes:
        path: path of the folder.
        origin: text for error messages that names the option or variable that set the path.
        allow_unverified: whether to accept files whose checksum differs; the record then has `verified` = false.
    """

    path: Path
    origin: str
    allow_unverified: bool = False

    @classmethod
    def find(cls, option: str | None = None, allow_unverified: bool = False) -> DataRoot:
        """The folder named by the command-line option, else by the variable `LTBENCH_DATA`, else `./data`."""
        if option:
            return cls(Path(option), "--data-root", allow_unverified)
        if variable := os.environ.get("LTBENCH_DATA"):
            return cls(Path(variable), "the variable LTBENCH_DATA", allow_unverified)
        return cls(Path("data"), "the default; set --data-root or LTBENCH_DATA", allow_unverified)


@dataclass
class Source:
    """Base class of dataset plugins: fields are options (`--imbalance`, `--profile`, `--set dataset.NAME=VALUE`).

    A file `datasets/<name>.py` with one subclass defines the dataset `<name>`, with dashes for underscores.

    Attributes:
        holdout: hold out a tenth of each class (1 to 50 training images) for validation, for all methods.
    """

    recipe: ClassVar[str] = "cifar-short"  # the default recipe
    paths: ClassVar[tuple[str, ...]] = ()  # fields that are local paths; left out of records
    decodes: ClassVar[bool] = False  # whether a field `size` sets the size of images, by default the recipe's

    holdout: bool = field(default=False, kw_only=True)

    def described(self) -> dict[str, dict[str, Any]]:
        """Keyword arguments `options` and `changed` for `Dataset`.

        They contain all fields except paths, profile, imbalance and holdout; `Dataset.holding_out` adds `holdout`.
        """
        left_out = {*self.paths, "profile", "imbalance", "holdout"}
        options = {name: value for name, value in recorded(self).items() if name not in left_out}
        defaults = {f.name: f.default for f in fields(self)}
        changed = {name: value for name, value in options.items() if value != defaults[name]}
        return {"options": options, "changed": changed}

    def load(self, root: DataRoot) -> Dataset:
        """Read the files and build both splits.

        Raises:
            MissingData: a file is missing; the message explains how to get it.
            UserError: a file is damaged, or the options do not fit the data.
        """
        raise NotImplementedError

    def download(self, root: DataRoot) -> None:
        """Download the files; by default an error.

        Raises:
            UserError: the dataset needs no download or cannot be downloaded automatically.
        """
        raise UserError("Nothing to download: this dataset needs no download or cannot be downloaded automatically.")


def select(labels: np.ndarray, counts: list[int], selection: str = "shuffled") -> np.ndarray:
    """Select the images of a profile and return their positions in `labels`, class by class.

    Args:
        labels: integers (N,).
        counts: number of images to select from each class.
        selection: `shuffled` is the choice of LDAM-DRW and most later code: NumPy's legacy generator with seed 0
            permutes the positions of a class and the first ones are selected, so subsets of different ratios are
            nested. `seed:<n>` uses another seed; `first` selects the first images of each class in file order (RSG,
            M2m).

    Returns:
        Positions, int64 (sum(counts),).

    Raises:
        UserError: a class has too few images, or the selection is unknown.
    """
    generator = np.random.RandomState(_selection_seed(selection)) if selection != "first" else None
    kept = []
    for label, count in enumerate(counts):
        positions = np.flatnonzero(labels == label)
        if count > len(positions):
            raise UserError(f"Class {label} has {len(positions)} images but the profile asks for {count}; lower n_max.")
        order = np.arange(len(positions)) if generator is None else generator.permutation(len(positions))
        kept.append(positions[order[:count]])
    return np.concatenate(kept)


def held_out(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Positions of the images held out for validation: `held_out_count` of each class, drawn with seed 0.

    Args:
        labels: integers (N,).
        num_classes: number of classes, C.

    Returns:
        Positions in increasing order, int64 (M,).
    """
    generator, held = np.random.RandomState(0), []
    for label in range(num_classes):
        positions = np.flatnonzero(labels == label)
        held.append(generator.permutation(positions)[: held_out_count(len(positions))])
    return np.sort(np.concatenate(held))


def _selection_seed(selection: str) -> int:
    if selection == "shuffled":
        return 0
    kind, _, seed = selection.partition(":")
    if kind == "seed" and seed.isdecimal() and len(seed) <= 10 and int(seed) < 2**32:
        return int(seed)
    raise UserError(f"selection = '{selection}' is unknown. Use 'shuffled', 'first' or 'seed:<number>' (below 2^32).")


def channel_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all pixels, scaled to [0, 1]; float64 (3,) each.

    Sums are exact: they are accumulated as integers, in chunks, without a float copy of the images.

    Args:
        images: uint8 (N, 3, H, W).
    """
    total = torch.zeros(2, images.shape[1], dtype=torch.int64, device=images.device)
    for part in images.split(1024):
        levels = part.int()
        total += torch.stack([levels.sum((0, 2, 3)), (levels * levels).sum((0, 2, 3))])
    mean, square = total.double() / (images.numel() // images.shape[1])
    return mean / 255, (square - mean * mean).clamp(min=0).sqrt() / 255


def pixel_statistics(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel, the latter at least 1e-4; see `channel_moments`."""
    mean, std = (moment.tolist() for moment in channel_moments(images))
    return (mean[0], mean[1], mean[2]), (max(std[0], 1e-4), max(std[1], 1e-4), max(std[2], 1e-4))
