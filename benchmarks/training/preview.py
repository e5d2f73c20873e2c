"""What a method's network is shown in one epoch, without training: for pictures, and to check a new method by eye."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..data.augment import make_augment
from ..data.loader import batches, epoch_generators, generator
from ..errors import UserError
from ..method import Batch, Now, Stage
from ..network import Classifier
from . import checkpoint
from .shared_start import erm_of
from .trainer import RunSpec, attach_source, build_network

MOST = 2048  # images to pass through the method; some take seconds for a batch


@dataclass
class View:
    """Images of the beginning of an epoch, and how many of each class it shows, up to MOST images.

    Attributes:
        state: whose weights the network has, in words.
        pixels: float (M, 3, H, W) in [0, 1], after augmentation and the method's `transform`.
        normalised: the same as the first layer sees them.
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


def view(run: RunSpec, progress: float, runs: Path, keep: int = 512) -> View:
    """One epoch's batches as a run would see them.

    The network is the run's own if `runs` has it, finished or on its way; else that of the ERM run with which it
    begins; else an untrained one.

    Args:
        run: what would be trained.
        progress: share of the run's epochs that lies behind, in [0, 1].
        runs: folder of checkpoints.
        keep: images to return, about.

    Raises:
        UserError: the method needs a trained ERM network, and `runs` has none.
    """
    split = run.dataset.train
    stage, epoch = _moment(run, progress)
    net, state = _network(run, stage, runs)
    random = generator(run.seed, "method", stage.name, epoch)
    augment = make_augment(split.images, run.recipe)
    fresh = partial(augment.fresh, random=generator(run.seed, "fresh", stage.name, epoch))
    now = Now(stage.name, epoch, stage.epochs, random, fresh)
    run.method.begin_epoch(net, split, now)
    probabilities, count = run.method.sampling(split.counts, now), run.method.draws(split.counts, now)
    kept, seen = [], 0
    class_counts, synthetic_counts = torch.zeros(2, split.num_classes)
    stream = batches(split, augment, probabilities, epoch_generators(run.seed, stage.name, epoch), count)
    for before in islice(stream, max(1, MOST // run.recipe.batch_size)):
        images, labels, synthetic, sources, source_labels, towards = _facts(
            before, run.method.transform(before, net, now)
        )
        class_counts.index_add_(0, labels, torch.ones(len(labels)))
        synthetic_counts.index_add_(0, labels, synthetic.float())
        if seen < keep:
            kept.append((images, net.normalise(images), labels, synthetic, sources, source_labels, towards))
            seen += len(labels)
    parts = [torch.cat(part).numpy() for part in zip(*kept, strict=True)]
    return View(state, *parts, class_counts.numpy(), synthetic_counts.numpy())


def _moment(run: RunSpec, progress: float) -> tuple[Stage, int]:
    """The stage and its epoch at a share of the whole run."""
    stages = run.method.stages(run.recipe.epochs)
    total = sum(stage.epochs for stage in stages)
    epoch = min(int(progress * total), total - 1)
    for stage in stages:
        if epoch < stage.epochs:
            return stage, epoch
        epoch -= stage.epochs
    raise AssertionError("a run has epochs")


def _network(run: RunSpec, stage: Stage, runs: Path) -> tuple[Classifier, str]:
    """The network of a run at the beginning of a stage, and whose weights it has."""
    needs, erm = run.method.needs(run.recipe.epochs), runs / erm_of(run).id
    net = build_network(run)
    trained = checkpoint.load_snapshot(erm, run.recipe.epochs) if needs.network else None
    if needs.network and trained is None:
        raise UserError(
            f"{run.name} needs a finished ERM network, and {runs} has none for this dataset, recipe and seed. Give the "
            f"same options to 'bench run --method {run.name}' first, or name its --runs folder."
        )
    attach_source(run, net, trained)
    for each in run.method.stages(run.recipe.epochs):
        run.method.begin_stage(each, net, run.dataset.train)
        if each.name == stage.name:
            break
    finished = runs / run.id / "network.pt"
    if finished.is_file():
        try:
            weights = torch.load(io.BytesIO(finished.read_bytes()), weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(
                f"{finished} is damaged ({error}). Delete it; the picture then needs no network."
            ) from error
        net.load_state_dict(weights, strict=False)
        return net, "finished network"
    if (own := checkpoint.load(runs / run.id)) is not None:
        net.load_state_dict(own["net"], strict=False)
        return net, f"network after epoch {own['number']}"
    if needs.prefix and (shared := checkpoint.load_snapshot(erm, needs.prefix)) is not None:
        net.load_state_dict({key: value for key, value in shared["net"].items() if key in net.state_dict()}, False)
        return net, f"network after {needs.prefix} epochs of ERM"
    return net, "untrained network"


def _facts(before: Batch, batch: Batch) -> tuple[torch.Tensor, ...]:
    """The rows of a batch that hold an image: see `View`."""
    labels = batch.labels if batch.labels.dim() == 1 else batch.labels.argmax(1)
    synthetic = torch.zeros(len(labels), dtype=torch.bool) if batch.synthetic is None else batch.synthetic
    sources, source_labels, towards = before.images[:0], labels[:0], labels[:0]
    rows = labels >= 0
    if batch.origin is not None and batch.towards is not None:
        origin = batch.origin[rows]
        sources, source_labels, towards = before.images[origin], before.labels[origin], batch.towards[rows]
    return batch.images[rows], labels[rows], synthetic[rows], sources, source_labels, towards
