"""The training loop and the training step, shared by all methods."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import RunFailed
from ..method import Batch, Now
from ..network import Classifier
from ..nn.average import average_of
from ..precision import autocast, rounding
from ..split import Split
from .active_stage import ActiveStage, active_stages
from .checkpoint import Checkpoint
from .cuda_graph import MakeStepTaker, record_steps
from .hook_checks import checked_measures
from .optimiser import clip_gradient
from .run_spec import RunSpec


@dataclass(frozen=True)
class EpochEnd:
    """Report of the loop after an epoch.

    Attributes:
        active: stage that the epoch belongs to.
        now: stage and number of the epoch, as the method's hooks receive them.
        loss: mean training loss over the steps.
        images: number of training images drawn.
        seconds: wall time of training in this epoch, without evaluation, checkpoints and the hook `measures`.
        measures: the method's metrics, by name.
    """

    active: ActiveStage
    now: Now
    loss: float
    images: int
    seconds: float
    measures: dict[str, float]


def train(
    spec: RunSpec,
    net: Classifier,
    split: Split,
    start: Checkpoint | None = None,
    on_step: Callable[[int], None] = lambda images: None,
    record: MakeStepTaker = record_steps,
) -> Iterator[EpochEnd]:
    """Train a network through all stages of a run; yield after each epoch.

    Args:
        spec: specification of the run.
        net: network in training mode, on the device of the split; trained in place.
        split: training split.
        start: checkpoint to continue from, of this run or of the training whose first epochs it shares; None to start
            at the first epoch.
        on_step: called after each step with the number of images; must not wait for the device.
        record: replaces `record_steps`, for tests.

    Raises:
        RunFailed: the loss is not finite, a hook returned an invalid value, or the checkpoint does not fit.
    """
    for active in active_stages(spec, net, split):
        first = 0
        if start is not None and active.number < start.stage:
            continue
        if start is not None and active.number == start.stage:
            start.restore(active)
            first = start.epoch + 1
        recorded = record(active, step)
        for epoch in range(first, active.stage.epochs):
            started = time.perf_counter()
            now = active.begin_epoch(epoch)
            if recorded:
                recorded.begin_epoch(now)
            drawn = active.draw(now)
            total, images = torch.zeros((), device=split.labels.device), 0
            for picked in drawn:
                if recorded:
                    total += recorded.step(picked)
                else:
                    total += step(active, active.batch(picked), now)
                images += len(picked.index)
                on_step(len(picked.index))
            loss = float(total) / max(len(drawn), 1)  # the host waits for the device only here, once per epoch
            active.checks.settle()
            if not math.isfinite(loss):
                raise RunFailed(
                    f"The loss became {loss} in epoch {epoch} of stage '{now.stage}'. Lower the learning rate "
                    "(--set recipe.lr=...) or change the method's hyper-parameters."
                )
            seconds = time.perf_counter() - started
            yield EpochEnd(active, now, loss, images, seconds, checked_measures(spec.method, net, now))


def step(active: ActiveStage, batch: Batch, now: Now) -> Tensor:
    """Take an optimiser step on a batch; return the loss, a detached scalar. Never waits for the device."""
    method, net, optimiser, precision = active.spec.method, active.net, active.optimiser, active.spec.recipe.precision
    drawn, batch = batch, method.transform(batch, net, now)
    active.checks.batch(batch, drawn)
    batch = smoothed(batch, active.spec.recipe.label_smoothing, active.split.num_classes)
    with rounding(precision, batch.images):
        with autocast(precision, batch.images.device):
            loss = method.loss(net, batch, now)
        active.checks.loss(loss)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
    clip_gradient(optimiser, active.spec.recipe.clip_norm)
    optimiser.step()
    method.after_step(net, now)
    if average := average_of(net):
        average.update()
    return loss.detach()


def smoothed(batch: Batch, smoothing: float, classes: int) -> Batch:
    """The batch with labels (N, C) of which the part `smoothing` is spread evenly over all classes; 0 for no change."""
    if not smoothing:
        return batch
    labels = F.one_hot(batch.labels, classes) * (1 - smoothing) + smoothing / classes
    return batch._replace(labels=labels)
