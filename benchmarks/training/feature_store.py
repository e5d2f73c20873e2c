"""Features of a frozen backbone: computed once for a split, stored in the runs folder, and shared by all runs.

The folder `runs/features-<images>-<network>` belongs to the images and to everything that their features depend on, so
that runs of other methods, seeds, schedules and datasets with the same images find it again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..data.augment import as_floats
from ..errors import RunFailed
from ..network import Classifier
from ..nn.modes import evaluation_mode
from ..precision import autocast, rounding
from ..recipe import Recipe
from ..records.environment import environment
from ..records.parts import Environment, Prerequisite
from ..split import Split
from ..utils.atomic_write import write_atomically
from ..utils.locks import find_or_lock
from .run_spec import RunSpec, build_network, normalisation

FILE = "features.safetensors"
BATCH = {"cpu": 32, "cuda": 512}  # images per forward pass
NETWORK = ("backbone", "weights_sha256", "size", "interpolation", "precision", "channels_last")  # of the recipe
OnImages = Callable[[int, int], None]  # number of images done, number of images


@dataclass(frozen=True)
class Features:
    """Features of the images of a split, in their order.

    Attributes:
        values: float32 (N, width), on the CPU.
        seconds: wall time of their computation.
        environment: environment of the process that computed them.
        reused: whether they existed already.
    """

    values: Tensor
    seconds: float
    environment: Environment
    reused: bool = True


def feature_folder(split: Split, spec: RunSpec) -> str:
    """Name of the folder, below the runs folder, with the features that a run's backbone computes of a split."""
    facts = {name: getattr(spec.recipe, name) for name in NETWORK} | {"normalisation": normalisation(spec)}
    network = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"features-{split.checksum[:16]}-{network[:16]}"


def feature_folders(spec: RunSpec) -> list[str]:
    """Names of the folders of all features that a run trains and is evaluated on; none if it uses images."""
    if not spec.recipe.cache or spec.dataset.train.images.dim() == 2:
        return []
    splits = (spec.dataset.train, spec.dataset.train.validation, spec.dataset.test)
    names = [feature_folder(split, spec) for split in splits if split is not None]
    return list(dict.fromkeys(names))


class FeatureStore:
    """Replaces the images of a run's splits by features of its backbone, which are read or computed and stored.

    Args:
        spec: specification of a run with a frozen backbone.
        device: device of the computation.
        runs: folder that contains one folder per run.
        on_images: notified of the progress of a computation.
        wait: whether to wait for another process that computes the features.

    Attributes:
        used: description of all features that were used, for the record.
    """

    def __init__(self, spec: RunSpec, device: torch.device, runs: Path, on_images: OnImages, wait: bool) -> None:
        self.spec, self.device, self.runs, self.on_images, self.wait = spec, device, runs, on_images, wait
        self.used: list[Prerequisite] = []

    def split(self, split: Split) -> Split:
        """The split, and its validation images, with features in place of images, on the device.

        Raises:
            RunFailed: a file cannot be read.
            UserError: a file cannot be written.
            Timeout: another process computes the features, and the store does not wait.
        """
        name = feature_folder(split, self.spec)
        features = self._find(split, self.runs / name)
        self.used.append(self._described(name, features))
        validation = split.validation and self.split(split.validation)
        values, labels = features.values.to(self.device), split.labels.to(self.device)
        return Split(values, labels, split.num_classes, validation)

    def _find(self, split: Split, folder: Path) -> Features:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "run.lock")
        try:
            features = find_or_lock(lambda: read_features(folder / FILE, len(split)), lock, self.wait)
            if features is None:
                features = self._compute(split)
                write_features(folder / FILE, features)
            return features
        finally:
            lock.release()

    def _compute(self, split: Split) -> Features:
        started = time.perf_counter()
        net = build_network(self.spec).to(self.device)
        values = compute_features(net, split, self.spec.recipe, self.on_images)
        return Features(values, time.perf_counter() - started, environment(self.device), reused=False)

    def _described(self, name: str, features: Features) -> Prerequisite:
        origin = features.environment
        return Prerequisite(
            method=self.spec.recipe.weights,
            id=name,
            use="features",
            epochs=0,
            seconds=round(features.seconds, 3),
            reused=features.reused,
            commit=origin.commit,
            dirty=origin.dirty,
            torch=origin.torch,
            device=origin.device,
        )


@torch.no_grad()
def compute_features(
    net: Classifier, split: Split, recipe: Recipe, on_images: OnImages = lambda done, total: None
) -> Tensor:
    """Features of all images of a split: float32 (N, width), on the CPU, in the order of the split.

    Args:
        net: network in any mode, on the device of the computation; it is evaluated.
        split: images, on any device.
        recipe: provides precision and memory format.
        on_images: called after each batch.
    """
    device = net.normalise.mean.device
    parts, done = [], 0
    with evaluation_mode(net):
        for index in torch.arange(len(split), device=split.labels.device).split(BATCH.get(device.type, 32)):
            images = as_floats(split.pixels(index).to(device), recipe)
            with rounding(recipe.precision, images), autocast(recipe.precision, device):
                parts.append(net.features(images).cpu())
            done += len(index)
            on_images(done, len(split))
    return torch.cat(parts)


def read_features(path: Path, count: int) -> Features | None:
    """Read stored features; None if there are none, or if the file is damaged, after a warning.

    Args:
        path: path of the file.
        count: number of images.

    Raises:
        RunFailed: the file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            values, facts = file.get_tensor("features"), file.metadata()
        if facts["sha256"] != _digest(values) or len(values) != count:
            raise ValueError("other contents than were written")
        return Features(values, float(facts["seconds"]), Environment.model_validate_json(facts["environment"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFailed(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"{path} is damaged ({reason}); the features are computed again.", stacklevel=2)
        return None


def write_features(path: Path, features: Features) -> None:
    """Write features with a digest, their time and their environment.

    Raises:
        UserError: the folder is not writable or the disk is full.
    """
    facts = {
        "sha256": _digest(features.values),
        "seconds": str(features.seconds),
        "environment": features.environment.model_dump_json(),
    }
    write_atomically(path, save({"features": features.values.contiguous()}, facts))


def stand_in(split: Split, width: int) -> Split:
    """The split with random features (N, width) in place of images, to measure or count steps without computing them.

    Args:
        split: images and labels.
        width: number of features.
    """
    values = torch.rand(len(split), width, generator=torch.Generator().manual_seed(0)).to(split.labels.device)
    return dataclasses.replace(split, images=values, validation=split.validation and stand_in(split.validation, width))


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().data).hexdigest()
