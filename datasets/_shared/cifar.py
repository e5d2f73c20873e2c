"""Long-tailed CIFAR: safe loading of the "python version" files, and selection of the training images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ...benchmarks.errors import UserError
from ...benchmarks.split import DataRoot, Dataset, Profile, Ratio, Source, Split, long_tail_counts, select
from .byte_pickle import read_bytes_and_text
from .supply import Supply

# Normalisation used by LDAM-DRW and its successors, also for CIFAR-100. The true standard deviations differ (0.247
# 0.243 0.262 for CIFAR-10), but published results use these values.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)


@dataclass
class CifarLT(Source):
    """Base class of cifar10-lt and cifar100-lt; torchvision provides file names and checksums.

    Attributes:
        supply: expected files and instructions for getting them.
        reference: name of the class in torchvision.datasets that lists file names and checksums.
        labels_key: key of the labels in the dictionary of a data file.
        profile, imbalance, selection, n_max: options, described in the subclasses.
    """

    recipe: ClassVar[str] = "cifar"
    supply: ClassVar[Supply]
    reference: ClassVar[str]
    labels_key: ClassVar[str]

    profile: Profile = "exp"
    imbalance: Ratio = 100
    selection: str = "shuffled"
    n_max: int = 5000

    @property
    def _published(self) -> Any:
        import torchvision.datasets  # takes a second, which `bench list` avoids

        return getattr(torchvision.datasets, self.reference)

    def load(self, root: DataRoot) -> Dataset:
        """Verify and read all files. Training images are sorted by class; test images keep the order of the file.

        Raises:
            MissingData: a file is missing.
            UserError: a file differs from the published one and the root does not allow it, or a file is unreadable.
        """
        verified = self.verify(root)
        published = self._published
        folder = root.path / published.base_folder
        names = self._class_names(folder / published.meta["filename"], published.meta["key"])
        images, labels = self._read_all(folder, published.train_list, len(names))
        counts = long_tail_counts(self.n_max, len(names), self.imbalance, self.profile)
        kept = select(labels, counts, self.selection)
        train = Split(torch.from_numpy(images[kept]), torch.from_numpy(labels[kept]), len(names))
        images, labels = self._read_all(folder, published.test_list, len(names))
        test = Split(torch.from_numpy(images), torch.from_numpy(labels), len(names))
        return Dataset(
            name=self.supply.name,
            train=train,
            test=test,
            class_names=names,
            mean=MEAN,
            std=STD,
            profile=self.profile,
            imbalance=self.imbalance,
            verified=verified,
            **self.described(),
        )

    def verify(self, root: DataRoot) -> bool:
        """Whether every file has its published MD5 checksum.

        Raises:
            MissingData: a file is missing.
            UserError: a file differs and the root does not allow unverified files.
        """
        published = self._published
        expected = dict([*published.train_list, *published.test_list])
        expected[published.meta["filename"]] = published.meta["md5"]
        paths = {name: root.path / published.base_folder / name for name in expected}
        for path in paths.values():
            if not path.is_file():
                raise self.supply.missing(root, path)
        actual = {name: _md5(path) for name, path in paths.items()}
        for name, md5 in expected.items():
            if actual[name] != md5 and not root.allow_unverified:
                raise UserError(
                    f"{self.supply.name}: {paths[name]} is not the published file (expected MD5 {md5}, "
                    f"found {actual[name]}). Get it again ({self.supply.how}), or accept it with --allow-unverified, "
                    "which is noted in the record."
                )
        return actual == expected

    def download(self, root: DataRoot) -> None:
        """Download and unpack the official archive below the root unless verified files are already there.

        Raises:
            UserError: the download fails, or its files differ from the published ones.
        """
        from torchvision.datasets.utils import download_and_extract_archive

        try:
            self.verify(DataRoot(root.path, root.origin))
            return
        except UserError:
            pass  # a missing or different file is replaced by the download
        published = self._published
        try:
            download_and_extract_archive(
                published.url, str(root.path), filename=published.filename, md5=published.tgz_md5
            )
        except (OSError, RuntimeError) as error:  # RuntimeError: the archive's checksum differs
            raise UserError(
                f"{self.supply.name}: the download of {published.filename} failed ({error}). Check the network, "
                f"or download the archive manually and unpack it in {root.path}."
            ) from error
        self.verify(DataRoot(root.path, root.origin))

    def _class_names(self, path: Path, key: str) -> list[str]:
        names = self._read(path).get(key)
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise UserError(f"{self.supply.name}: {path} contains no class names under '{key}'.")
        return names

    def _read_all(self, folder: Path, files: list[list[str]], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (N, 3, 32, 32) and labels int64 (N,) of several files, concatenated in order."""
        parts = [self._images(folder / name, num_classes) for name, _ in files]
        return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])

    def _images(self, path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        content = self._read(path)
        images, labels = content.get("data"), content.get(self.labels_key)
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (3072,):
            shape = getattr(images, "shape", type(images).__name__)
            raise UserError(f"{self.supply.name}: {path} should contain uint8 images (N, 3072) but contains {shape}.")
        if not isinstance(labels, list) or len(labels) != len(images):
            raise UserError(f"{self.supply.name}: {path} contains {len(images)} images but not one label for each.")
        if not all(type(label) is int and 0 <= label < num_classes for label in labels):
            raise UserError(f"{self.supply.name}: {path} contains a label that is not an integer below {num_classes}.")
        return images.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)

    def _read(self, path: Path) -> dict[Any, Any]:
        try:
            content = read_bytes_and_text(path)
            if isinstance(content, dict):
                return content
            raise ValueError("it does not contain a dictionary")
        except Exception as error:  # a damaged pickle can raise nearly any exception
            raise UserError(
                f"{self.supply.name}: {path} is truncated or damaged ({error}). Get it again ({self.supply.how})."
            ) from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
