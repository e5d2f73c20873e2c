"""What a method's network is shown in one epoch, without training: for pictures, and to check a new method by eye."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .augment import Augment
from .loader import batches, generator
from .method import Now
from .run import Run, build_network


@dataclass
class View:
    """Images of the beginning of an epoch, and what of each class the whole epoch shows.

    Attributes:
        pixels: float (M, 3, H, W) in [0, 1], after augmentation and the method's `transform`.
        normalised: the same as the first layer sees them.
        labels: (M,).
        synthetic: bool (M,), rows that are no natural images.
        shown: images per class in the epoch, (C,).
        made: of these, synthetic ones.
    """

    pixels: np.ndarray
    normalised: np.ndarray
    labels: np.ndarray
    synthetic: np.ndarray
    shown: np.ndarray
    made: np.ndarray


def view(run: Run, progress: float, keep: int = 512) -> View:
    """One epoch's batches as a run would see them at `progress` in [0, 1), with an untrained network; first stage."""
    stage, split = run.method.stages(run.recipe.epochs)[0], run.dataset.train
    epoch = min(int(progress * stage.epochs), stage.epochs - 1)
    now = Now(stage.name, epoch, stage.epochs, generator(run.seed, "method", stage.name, epoch))
    net = build_network(run)
    run.method.begin_stage(stage, net, split)
    run.method.begin_epoch(net, split, now)
    probabilities, count = run.method.sampling(split.counts, now), run.method.draws(split.counts, now)
    augment = Augment(split.images, run.recipe)
    kept, seen = [], 0
    shown, made = torch.zeros(2, split.num_classes)
    for batch in batches(split, augment, run.recipe, probabilities, run.seed, stage.name, epoch, count):
        batch = run.method.transform(batch, net, now)
        labels = batch.labels if batch.labels.dim() == 1 else batch.labels.argmax(1)
        synthetic = torch.zeros(len(labels), dtype=torch.bool) if batch.synthetic is None else batch.synthetic
        shown.index_add_(0, labels, torch.ones(len(labels)))
        made.index_add_(0, labels, synthetic.float())
        if seen < keep:
            kept.append((batch.images, net.normalise(batch.images), labels, synthetic))
            seen += len(labels)
    parts = [torch.cat(part).numpy() for part in zip(*kept, strict=True)]
    return View(parts[0], parts[1], parts[2], parts[3], shown.numpy(), made.numpy())
