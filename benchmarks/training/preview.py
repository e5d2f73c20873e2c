"""The images that a method's network is shown in one epoch, without training: for pictures and a check by eye."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..method import Batch
from ..network import Classifier
from ..utils.formatting import counted
from . import checkpoint
from .active_stage import begin_stages, find_epoch
from .run_spec import RunSpec, build_network
from .shared_start import attach_source, shared_trainings

MOST = 2048  # images to pass through the method; some methods take seconds for a batch


@dataclass
class View:
    """Images of the beginning of an epoch, and how many of each class are among its first MOST images.

    Attributes:
        state: whose weights the network has, in words.
        pixels: float (M, 3, H, W) in [0, 1], after augmentation and the method's `transform`.
        normalised: the same after the network's normalisation.
        labels: (M,).
        synthetic: bool (M,), rows that are no natural images.
        sources: float (M, 3, H, W), the images that synthetic rows were made from; empty if from none.
        source_labels: (M,) or empty.
        towards: (M,) or empty, classes that synthetic rows were moved towards.
        class_counts: images per class, (C,).
        synthetic_counts: synthetic ones among them.
    """

    state: str
    pixels: np.ndarray
    normalised: np.ndarray
    labels: np.ndarray
    synthetic: np.ndarray
    sources: np.ndarray
    source_labels: np.ndarray
    towards: np.ndarray
    class_counts: np.ndarray
    synthetic_counts: np.ndarray


def view(spec: RunSpec, progress: float, runs: Path, keep: int = 512) -> View:
    """One epoch's batches as a run would see them.

    The network is the run's own if `runs` has it, finished or not; else that of the training that it begins with; else
    an untrained one.

    Args:
        spec: the run.
        progress: fraction of the run that has elapsed, in [0, 1].
        runs: folder of all runs' folders.
        keep: images to return, rounded up to whole batches.

    Raises:
        UserError: the method needs a trained network, and `runs` has none.
    """
    number, epoch = find_epoch(spec, progress)
    net = build_network(spec)
    attach_source(spec, net, _source_weights(spec, runs))
    active = begin_stages(spec, net, spec.dataset.train, number)
    state = _load_weights(spec, net, runs)
    now = active.begin_epoch(epoch)
    class_counts, synthetic_counts = torch.zeros(2, active.split.num_classes)
    rows, count = [], 0
    for index, parameters in islice(active.draw(now), max(1, MOST // spec.recipe.batch_size)):
        batch = active.batch(index, parameters)
        images, labels, synthetic, *origins = _image_rows(batch, spec.method.transform(batch, net, now))
        class_counts.index_add_(0, labels, torch.ones(len(labels)))
        synthetic_counts.index_add_(0, labels, synthetic.float())
        if count < keep:
            rows.append((images, net.normalise(images), labels, synthetic, *origins))
            count += len(labels)
    columns = [torch.cat(column) for column in zip(*rows, strict=True)]
    return View(state, *(column.numpy() for column in (*columns, class_counts, synthetic_counts)))


def _source_weights(spec: RunSpec, runs: Path) -> dict[str, Tensor] | None:
    """State dict of the trained network that the method needs; None if it needs none."""
    for shared in shared_trainings(spec):
        if shared.use == "network":
            snapshot = checkpoint.load_snapshot(runs / shared.spec.id, shared.epochs)
            if snapshot is None:
                raise UserError(
                    f"{spec.name} needs a finished ERM network, and {runs} has none for this dataset, recipe and seed "
                    f"{shared.spec.seed}. Give the same options to 'bench run --method {spec.name}' first, or name its "
                    "--runs folder."
                )
            return snapshot.net
    return None


def _load_weights(spec: RunSpec, net: Classifier, runs: Path) -> str:
    """Load the best available weights of a run; whose they are, in words."""
    finished = runs / spec.id / "network.pt"
    if finished.is_file():
        try:
            weights = torch.load(io.BytesIO(finished.read_bytes()), weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(
                f"{finished} is damaged ({error}). Delete it; the picture then needs no network."
            ) from error
        net.load_state_dict(weights, strict=False)
        return "finished network"
    if (own := checkpoint.load(runs / spec.id)) is not None:
        net.load_state_dict(own.net, strict=False)
        return f"network after epoch {own.number}"
    for shared in shared_trainings(spec):
        snapshot = checkpoint.load_snapshot(runs / shared.spec.id, shared.epochs) if shared.use == "prefix" else None
        if snapshot is not None:
            net.load_state_dict(snapshot.net, strict=False)
            name = "ERM" if shared.spec.name == "erm" else shared.spec.name
            return f"network after {counted(shared.epochs, 'epoch')} of {name}"
    return "untrained network"


def _image_rows(before: Batch, batch: Batch) -> tuple[Tensor, ...]:
    """Rows that hold an image: images, labels, synthetic, sources, source_labels, towards; see `View`."""
    labels = batch.labels if batch.labels.dim() == 1 else batch.labels.argmax(1)
    synthetic = torch.zeros(len(labels), dtype=torch.bool) if batch.synthetic is None else batch.synthetic
    sources, source_labels, towards = before.images[:0], labels[:0], labels[:0]
    rows = labels >= 0
    if batch.origin is not None and batch.towards is not None:
        origin = batch.origin[rows]
        sources, source_labels, towards = before.images[origin], before.labels[origin], batch.towards[rows]
    return batch.images[rows], labels[rows], synthetic[rows], sources, source_labels, towards
