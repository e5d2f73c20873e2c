"""Preview of the training images of one epoch, as the network receives them, without training."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..method import Batch
from ..network import Classifier
from ..utils.formatting import counted
from . import checkpoint
from .active_stage import begin_stages, find_epoch
from .checkpoint import Checkpoint
from .run_spec import RunSpec, build_network
from .shared_start import attach_source, shared_trainings
from .state_dicts import load_network

MOST = 2048  # largest number of images to pass through the method; some methods take seconds per batch


@dataclass
class View:
    """First images of an epoch, and class counts over its first MOST images.

    Attributes:
        state: description of the weights used, for the title.
        pixels: float (M, 3, H, W) in [0, 1], images after augmentation and the method's `transform`.
        normalised: float (M, 3, H, W), `pixels` after the network's normalisation.
        labels: int64 (M,); the most probable class if the labels are class probabilities.
        second_labels: int64 (M,), classes of the images that were mixed in; equal to `labels` for unmixed images.
        synthetic: bool (M,), true for rows that are not natural images.
        sources: float (M, 3, H, W), source image of each row, meaningful only for synthetic rows; empty if the method
            provides none.
        source_labels: int64 (M,), labels of `sources`; empty if the method provides none.
        towards: int64 (M,), class that each synthetic row was moved towards; empty if the method provides none.
        class_counts: float (C,), number of images of each class; a mixed image counts for both of its classes, with
            their weights.
        synthetic_counts: float (C,), number of synthetic images of each class.
    """

    state: str
    pixels: np.ndarray
    normalised: np.ndarray
    labels: np.ndarray
    second_labels: np.ndarray
    synthetic: np.ndarray
    sources: np.ndarray
    source_labels: np.ndarray
    towards: np.ndarray
    class_counts: np.ndarray
    synthetic_counts: np.ndarray


def view(spec: RunSpec, progress: float, runs: Path, keep: int = 512) -> View:
    """Draw the first batches of one epoch as a run would, and pass them through the method's `transform`.

    The network has the run's own weights if `runs` contains any, from a finished run or a checkpoint; else those of the
    shared training that the run continues; else initial weights.

    Args:
        spec: specification of the run.
        progress: fraction of the run that has elapsed, in [0, 1].
        runs: folder that contains one folder per run.
        keep: number of images to return, rounded up to whole batches.

    Raises:
        UserError: the method needs a trained network that is not in `runs`, or a file is damaged.
    """
    number, epoch = find_epoch(spec, progress)
    net = build_network(spec)
    attach_source(spec, net, _source_state(spec, runs))
    active = begin_stages(spec, net, spec.dataset.train, number)
    state = _load_weights(spec, net, runs)
    now = active.begin_epoch(epoch)
    class_counts, synthetic_counts = torch.zeros(2, active.split.num_classes)
    rows, count = [], 0
    for picked in islice(active.draw(now), max(1, MOST // spec.recipe.batch_size)):
        batch = active.batch(picked)
        images, labels, second, weight, synthetic, *origins = _image_rows(batch, spec.method.transform(batch, net, now))
        class_counts.index_add_(0, labels, weight).index_add_(0, second, 1 - weight)
        synthetic_counts.index_add_(0, labels, synthetic.float())
        if count < keep:
            rows.append((images, net.normalise(images), labels, second, synthetic, *origins))
            count += len(labels)
    columns = [torch.cat(column) for column in zip(*rows, strict=True)]
    return View(state, *(column.numpy() for column in (*columns, class_counts, synthetic_counts)))


def _source_state(spec: RunSpec, runs: Path) -> Checkpoint | None:
    """Checkpoint of the trained network that the method needs; None if it needs none."""
    for shared in shared_trainings(spec):
        if shared.use == "network":
            snapshot = checkpoint.load_snapshot(runs / shared.spec.id, shared.epochs)
            if snapshot is None:
                raise UserError(
                    f"{spec.name} needs a trained ERM network, but {runs} contains none for this dataset, recipe and "
                    f"seed {shared.spec.seed}. Train it with 'bench run --method {spec.name}' and the same options, or "
                    "set --runs to the runs folder that contains it."
                )
            return snapshot
    return None


def _load_weights(spec: RunSpec, net: Classifier, runs: Path) -> str:
    """Load the most advanced weights available for a run into its network; return their description."""
    finished = runs / spec.id / "network.pt"
    if finished.is_file():
        _load(net, _read_weights(finished), finished)
        return "finished network"
    if (own := checkpoint.load(runs / spec.id)) is not None:
        _load(net, own.net, own.path)
        return f"network after epoch {own.number}"
    for shared in shared_trainings(spec):
        snapshot = checkpoint.load_snapshot(runs / shared.spec.id, shared.epochs) if shared.use == "prefix" else None
        if snapshot is not None:
            _load(net, snapshot.net, snapshot.path)
            name = "ERM" if shared.spec.name == "erm" else shared.spec.name
            return f"network after {counted(shared.epochs, 'epoch')} of {name}"
    return "untrained network"


def _read_weights(path: Path) -> Any:
    try:
        return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types if the file is something else
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is damaged ({reason}). Move it away to draw the picture without it.") from error


def _load(net: Classifier, weights: Any, path: Path) -> None:
    problem = load_network(net, weights, lacks=True, surplus=True) if isinstance(weights, dict) else "no state dict"
    if problem:
        raise UserError(f"{path} contains another network ({problem}). Move it away to draw the picture without it.")


def _image_rows(before: Batch, batch: Batch) -> tuple[Tensor, ...]:
    """Arrays of `View` for all rows that are not empty slots.

    Args:
        before: batch before `transform`.
        batch: batch after `transform`.

    Returns:
        Images, labels, second labels, weights of the labels, synthetic, sources, source_labels and towards.
    """
    labels = batch.labels if batch.labels.dim() == 1 else batch.labels.argmax(1)
    synthetic = torch.zeros(len(labels), dtype=torch.bool) if batch.synthetic is None else batch.synthetic
    sources, source_labels, towards = before.images[:0], labels[:0], labels[:0]
    second = labels if batch.second_labels is None else batch.second_labels
    weight = torch.ones(len(labels)) if batch.weight is None else batch.weight
    rows = labels >= 0
    if batch.origin is not None and batch.towards is not None:
        origin = batch.origin[rows]
        sources, source_labels, towards = before.images[origin], before.labels[origin], batch.towards[rows]
    mixture = labels[rows], second[rows], weight[rows]
    return batch.images[rows], *mixture, synthetic[rows], sources, source_labels, towards
