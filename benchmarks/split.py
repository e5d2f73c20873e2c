"""Splits and datasets, the long-tail and step profiles, and the selection of images for a profile."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from .errors import UserError
from .fields import recorded

Profile = Literal["exp", "step"]
Ratio = Annotated[float, Ge(1), Le(1e9)]


@dataclass(frozen=True)
class Split:
    """Images and labels, resident in memory.

    Attributes:
        images: uint8 (N, 3, H, W).
        labels: int64 (N,), in [0, num_classes).
        num_classes: C, which may exceed the largest label that occurs.
        validation: images held out of a training split for methods that need some; never test images.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    validation: Split | None = None

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8, "images are uint8 (N, 3, H, W)"
        assert self.labels.shape == (len(self.images),), "one label per image"

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def counts(self) -> Tensor:
        """Images per class, int64 (C,), on the split's device."""
        return torch.zeros(self.num_classes, dtype=torch.int64, device=self.labels.device).scatter_add_(
            0, self.labels, torch.ones_like(self.labels)
        )

    def pixels(self, index: Tensor) -> Tensor:
        """Images at `index` (B,): uint8 (B, 3, H, W)."""
        return self.images[index]

    def to(self, device: torch.device) -> Split:
        """The same split on another device."""
        validation = self.validation and self.validation.to(device)
        return Split(self.images.to(device), self.labels.to(device), self.num_classes, validation)

    def take(self, index: Tensor) -> Split:
        """The images at some positions, as a new split."""
        return Split(self.images[index], self.labels[index], self.num_classes)


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, and their description for the record.

    Attributes:
        name: benchmark name, such as `cifar10-lt`.
        mean, std: per channel, of pixels in [0, 1], for the normalisation inside the network.
        profile: `exp`, `step`, or `natural` for an unchanged set.
        imbalance: the requested ratio; for `natural` that of the largest to the smallest class.
        verified: the source files match the published checksums; None if none are published.
        options: the source's options, except paths on this machine.
        changed: the options that differ from the source's defaults, except profile and imbalance.
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
        """sha256 over the pixels and labels (little-endian int32) of both splits, in order."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            digest.update(repr(tuple(split.images.shape)).encode())
            digest.update(split.images.cpu().contiguous().numpy().data)
            digest.update(split.labels.cpu().numpy().astype("<i4").tobytes())
        return digest.hexdigest()

    def holding_out(self) -> Dataset:
        """The same dataset with a tenth of each class held out of the training split, as its `validation`.

        The option `holdout` records it: results on fewer images must not be ranked with those on all of them.

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
            raise UserError(f"holdout leaves nothing of a class with one image. {error}") from error


@dataclass(frozen=True)
class DataRoot:
    """The folder of all downloaded data.

    Attributes:
        path: the folder.
        origin: source of the setting, for error messages.
        allow_unverified: accept files whose checksum differs; the record then says so.
    """

    path: Path
    origin: str
    allow_unverified: bool = False

    @classmethod
    def find(cls, option: str | None = None, allow_unverified: bool = False) -> DataRoot:
        """The folder of the option, else of the variable `LTBENCH_DATA`, else `./data`."""
        if option:
            return cls(Path(option), "--data-root", allow_unverified)
        if variable := os.environ.get("LTBENCH_DATA"):
            return cls(Path(variable), "the variable LTBENCH_DATA", allow_unverified)
        return cls(Path("data"), "the default; set --data-root or LTBENCH_DATA", allow_unverified)


@dataclass
class Source:
    """A dataset plugin: fields are its options (`--imbalance`, `--profile`, `--set dataset.NAME=VALUE`).

    A file `datasets/<name>.py` with one subclass is the dataset `<name>`, dashes for underscores.

    Attributes:
        holdout: hold a tenth of each class out of the training images, for all methods alike.
    """

    recipe: ClassVar[str] = "cifar-short"  # the default recipe
    paths: ClassVar[tuple[str, ...]] = ()  # fields with a path on this machine: left out of the record

    holdout: bool = field(default=False, kw_only=True)

    def described(self) -> dict[str, dict[str, Any]]:
        """The arguments `options` and `changed` of Dataset: all fields except paths, profile, imbalance and holdout.

        `Dataset.holding_out` adds `holdout`.
        """
        left_out = {*self.paths, "profile", "imbalance", "holdout"}
        options = {name: value for name, value in recorded(self).items() if name not in left_out}
        defaults = {f.name: f.default for f in fields(self)}
        changed = {name: value for name, value in options.items() if value != defaults[name]}
        return {"options": options, "changed": changed}

    def load(self, root: DataRoot) -> Dataset:
        """Read the files and build both splits.

        Raises:
            MissingData: a file is missing; the message says how to get it.
            UserError: a file is damaged, or the options do not fit the data.
        """
        raise NotImplementedError

    def download(self, root: DataRoot) -> None:
        """Download the files; an error by default.

        Raises:
            UserError: the dataset needs no download or cannot be downloaded by a program.
        """
        raise UserError("Nothing to download: this dataset needs no download or cannot be downloaded by a program.")


def long_tail_counts(n_max: int, num_classes: int, ratio: float, profile: Profile = "exp") -> list[int]:
    """Images per class of a long-tailed profile, head first.

    exp:  n_k = trunc(n_max * (1 / ratio) ** (k / (C - 1))), in double precision, one power per class. A repeated
          product of (1 / ratio) ** (1 / (C - 1)), as in M2m's code, loses an image of the last class in some settings.
    step: n_max for the first C // 2 classes, trunc(n_max * (1 / ratio)) for the others.

    Source: Cao et al. 2019 (LDAM), reference code. `ratio` 1 is the balanced set.

    Raises:
        UserError: the ratio is below 1 or leaves a class without an image.
    """
    if ratio < 1:
        raise UserError(
            f"imbalance = {ratio:g} is out of range: the ratio of the largest to the smallest class is >= 1."
        )
    factor = 1 / ratio
    if profile == "step":
        counts = [n_max if k < num_classes // 2 else int(n_max * factor) for k in range(num_classes)]
    else:
        last = max(num_classes - 1, 1)
        counts = [int(n_max * factor ** (k / last)) for k in range(num_classes)]
    if counts[-1] == 0:
        raise UserError(
            f"imbalance = {ratio:g} leaves class {num_classes - 1} without an image; at most {n_max} works here."
        )
    return counts


def select(labels: np.ndarray, counts: list[int], selection: str = "shuffled") -> np.ndarray:
    """Positions in `labels` of the images that a profile keeps, class by class.

    Args:
        labels: (N,) integers.
        counts: images to keep of each class.
        selection: `shuffled` is the reference choice of LDAM-DRW and most later code: NumPy's legacy generator with
            seed 0 permutes all positions of a class, and the first are kept, so that subsets of different ratios are
            nested; `seed:<n>` uses another seed; `first` keeps the first of each class in file order (RSG, M2m).

    Returns:
        int64 (sum(counts),).

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
    """Positions of the images held out for validation: min(50, max(1, n // 10)) of a class of n, drawn with seed 0.

    Args:
        labels: (N,) integers.
        num_classes: C.

    Returns:
        int64, sorted.
    """
    generator, held = np.random.RandomState(0), []
    for label in range(num_classes):
        positions = np.flatnonzero(labels == label)
        held.append(generator.permutation(positions)[: min(50, max(1, len(positions) // 10))])
    return np.sort(np.concatenate(held))


def _selection_seed(selection: str) -> int:
    if selection == "shuffled":
        return 0
    kind, _, seed = selection.partition(":")
    if kind == "seed" and seed.isdecimal() and len(seed) <= 10 and int(seed) < 2**32:
        return int(seed)
    raise UserError(f"selection = '{selection}' is unknown. Use 'shuffled', 'first' or 'seed:<number>' (below 2^32).")


def channel_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel over all pixels of all images, on the scale [0, 1]; float64 (3,) each.

    `images` is uint8 (N, 3, H, W). Exact: sums of integers, in chunks, without a float copy of the images.
    """
    total = torch.zeros(2, images.shape[1], dtype=torch.int64, device=images.device)
    for part in images.split(1024):
        levels = part.int()
        total += torch.stack([levels.sum((0, 2, 3)), (levels * levels).sum((0, 2, 3))])
    mean, square = total.double() / (images.numel() // images.shape[1])
    return mean / 255, (square - mean * mean).clamp(min=0).sqrt() / 255


def pixel_statistics(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """`channel_moments` for the normalisation of a dataset; standard deviations are at least 1e-4."""
    mean, std = (moment.tolist() for moment in channel_moments(images))
    return (mean[0], mean[1], mean[2]), (max(std[0], 1e-4), max(std[1], 1e-4), max(std[2], 1e-4))
