"""Execution of one run, from its specification to its record."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from ..data.loader import derive
from ..method import Method
from ..network import Classifier
from ..nn.average import averaged
from ..records import parts, schema
from ..records.environment import peak_of_process, threads
from ..utils.atomic_write import write_atomically
from ..utils.locks import find_or_lock
from . import checkpoint
from .callbacks import Callback
from .checkpoint import Checkpoint
from .context import Context, Options, make_context
from .evaluate import confusion_of, logits_of
from .history import History
from .hook_checks import check_network, checked_final_measures
from .loop import train
from .run_spec import RunSpec, build_network
from .shared_start import SharedTraining, attach_source, branch_points, prerequisite, shared_trainings


def execute(
    spec: RunSpec,
    device: torch.device,
    runs: Path,
    callback: Callback | None = None,
    wait: bool = True,
    interval: float = 0,
) -> schema.Record:
    """Train and evaluate a run and return its record; resume from a checkpoint in `runs/<id>` if there is one.

    The result is that of the network after the last epoch and the method's `finish`; no epoch is selected by its test
    accuracy, and the method never has access to the test split.

    Args:
        spec: specification of the run.
        device: device to train on.
        runs: folder that contains one folder per run.
        callback: notified of the progress of training.
        wait: whether to wait for another process that trains a prerequisite.
        interval: seconds between checkpoints at least, since epochs may take milliseconds; 0 for one after each epoch.

    Raises:
        UserError: the loss is not finite, a hook returned an invalid value, a checkpoint does not fit, or a file cannot
            be written.
        Timeout: another process is training a prerequisite of this run, and `wait` is false.
    """
    with threads(spec.recipe.threads):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        context = make_context(spec, device, Options(runs, callback or Callback(), wait, interval))
        net = build_network(spec)
        start, history = find_start(spec, net, context)
        net = net.to(device)
        started, seconds_before = time.perf_counter(), history.seconds
        logits = train_epochs(spec, net, start, history, context)
        torch.manual_seed(derive(spec.seed, "global", "finish"))
        net = spec.method.finish(net, context.split)
        check_network(net, spec.method, "finish")
        history.finished(checked_final_measures(spec.method, net))
        if logits is None or type(spec.method).finish is not Method.finish:
            logits = logits_of(net, context.test, spec.recipe)
        confusion = confusion_of(logits, context.test.labels)
        history.evaluated(confusion)
        history.seconds = seconds_before + time.perf_counter() - started
        keep(runs / spec.id, net, logits, context.test.labels)
        return make_record(spec, history, confusion, net, context)


def find_start(
    spec: RunSpec, net: Classifier, context: Context, most: int | None = None
) -> tuple[Checkpoint | None, History]:
    """Starting point of a run: its last checkpoint, else the end of a shared training, else None (first epoch).

    A shared training whose snapshot is missing is run first; see `snapshot_of`, also for errors.

    Args:
        spec: specification of the run.
        net: network of the run; if the method needs another, trained network, it is attached as `net.source`.
        context: shared data and options.
        most: ignore the run's own checkpoints that have more completed epochs than this; None for no limit.

    Returns:
        The checkpoint to restore, or None, and the history up to it.
    """
    folder = context.runs / spec.id
    own, interrupted = checkpoint.load(folder, most), checkpoint.interrupted(folder)
    if own is None:
        start, history = find_shared_start(spec, net, context)
    else:
        own.check(spec, net)
        attach_source(spec, net)  # the checkpoint holds its weights
        start, history = own, own.history
        if not interrupted:  # a snapshot that was trained for another run
            others = [part for part in history.prerequisites if part.id != spec.id]
            itself = SharedTraining(spec, own.number, "prefix")
            history.prerequisites = [*others, prerequisite(itself, own, reused=True)]
    history.resumed += interrupted
    return start, history


def find_shared_start(spec: RunSpec, net: Classifier, context: Context) -> tuple[Checkpoint | None, History]:
    """Starting point of a run without checkpoints of its own; see `find_start`."""
    start, history, prerequisites = None, History(), []
    for shared in shared_trainings(spec):
        snapshot, reused = snapshot_of(shared, context)
        prerequisites.append(prerequisite(shared, snapshot, reused))
        if shared.use == "prefix":
            start, history = snapshot, snapshot.history
        else:
            attach_source(spec, net, snapshot)
    history.prerequisites = prerequisites
    return start, history


def snapshot_of(shared: SharedTraining, context: Context) -> tuple[Checkpoint, bool]:
    """The snapshot at the end of a shared training, and whether it existed already.

    A missing snapshot is trained first and stored in the folder of its run, `runs/<id>`. Processes that need the same
    snapshot wait for one another.

    Raises:
        RunFailed: the snapshot does not fit the run, or its training fails.
        Timeout: another process is training the snapshot, and `context.wait` is false.
    """
    spec, folder = shared.spec, context.runs / shared.spec.id
    folder.mkdir(parents=True, exist_ok=True)
    net, lock = build_network(spec), FileLock(folder / "run.lock")
    try:
        snapshot = find_or_lock(lambda: checkpoint.load_snapshot(folder, shared.epochs), lock, context.wait)
        if snapshot is not None:
            snapshot.check(spec, net)
            return snapshot, True
        start, history = find_start(spec, net, context, most=shared.epochs - 1)
        train_epochs(spec, net.to(context.split.labels.device), start, history, context, until=shared.epochs)
        snapshot = checkpoint.load_snapshot(folder, shared.epochs)
        assert snapshot is not None, "it has just been saved"
        return snapshot, False
    finally:
        lock.release()


def train_epochs(
    spec: RunSpec,
    net: Classifier,
    start: Checkpoint | None,
    history: History,
    context: Context,
    until: int | None = None,
) -> Tensor | None:
    """Train the remaining epochs of a run; evaluate at the epochs set by the recipe and save after every epoch.

    The last epoch of a run is evaluated here only if it is saved as a snapshot, whose history must be complete.

    Args:
        spec: specification of the run.
        net: network of the run, on the device; trained in place.
        start: checkpoint to continue from; None for the first epoch.
        history: training history up to `start`; extended in place.
        context: shared data and options.
        until: stop after this number of epochs, for a shared training; None for all epochs.

    Returns:
        Test logits after the last epoch, before `finish`, float32 (N, C); None if that epoch was not evaluated here.
    """
    folder = context.runs / spec.id
    started, seconds_before = time.perf_counter(), history.seconds
    saved = started
    points = branch_points(spec) | ({until} if until else set())
    newest = checkpoint.load(folder, snapshots=False) if until else None
    further = newest is not None and newest.number > (until or 0)  # then the run's newer checkpoints must be kept
    context.callback.start(spec, until or spec.epochs, history.epochs)
    logits = None
    for end in train(spec, net, context.split, start, context.callback.step):
        history.add(end.loss, end.images, end.seconds, end.measures)
        history.trained_under(context.environment)
        done, logits = history.epochs, None
        if spec.recipe.evaluates(end.now.epoch, end.now.epochs) and (done < spec.epochs or done in points):
            with averaged(net):
                logits = logits_of(net, context.test, spec.recipe)
            history.evaluated(confusion_of(logits, context.test.labels))
        history.seconds = seconds_before + time.perf_counter() - started
        state = Checkpoint.after(end.active, end.now.epoch, history)
        if done in points:  # before the checkpoint: a process killed in between then saves the snapshot again
            checkpoint.save_snapshot(folder, state)
        due = not further and time.perf_counter() - saved >= context.interval
        if due:
            checkpoint.save(folder, state)
            saved = time.perf_counter()
        try:
            context.callback.epoch(history)
        except BaseException:  # the user has asked to stop after this epoch
            if not (due or further):
                checkpoint.save(folder, state)
            raise
        if done == until:
            break
    if until and not further:
        checkpoint.remove(folder)  # only the snapshot is needed from here on
    return logits


def keep(folder: Path, net: Classifier, logits: Tensor, labels: Tensor) -> None:
    """Write the final network (`network.pt`), its test logits in float16, predictions and labels (`logits.npz`).

    The tensors of a frozen backbone are left out.

    Args:
        folder: folder of the run.
        net: final network.
        logits: test logits, float32 (N, C).
        labels: test labels, int64 (N,).
    """
    buffer = io.BytesIO()
    torch.save(net.trained_state(), buffer)
    write_atomically(folder / "network.pt", buffer.getvalue(), durable=False)
    buffer = io.BytesIO()
    predictions = logits.argmax(1).int()  # float16 cannot always tell the two largest logits apart
    arrays = [values.cpu().numpy() for values in (logits.half(), labels, predictions)]
    np.savez(buffer, logits=arrays[0], labels=arrays[1], predictions=arrays[2])
    write_atomically(folder / "logits.npz", buffer.getvalue(), durable=False)


def make_record(spec: RunSpec, history: History, confusion: Tensor, net: Classifier, context: Context) -> schema.Record:
    """Assemble the record of a finished run.

    Args:
        spec: specification of the run.
        history: complete training history.
        confusion: confusion matrix of the result, int64 (C, C).
        net: finished network.
        context: provides the device and the environment.
    """
    facts, device = spec.facts, context.split.labels.device
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_of_process()
    return schema.Record(
        schema=schema.VERSION,
        id=facts.id,
        method=facts.method,
        source=facts.source,
        hyperparameters=facts.hyperparameters,
        changed=facts.changed,
        seed=facts.seed,
        dataset=facts.dataset,
        recipe=facts.recipe,
        final=parts.Final(
            epoch=history.epochs - 1,
            correct=confusion.diagonal().tolist(),
            confusion=confusion.tolist() if len(confusion) <= schema.CONFUSION_LIMIT else None,
        ),
        best=parts.Best(epoch=history.best_epoch, correct=history.correct[history.best_epoch]),
        history=parts.History(
            loss=history.losses,
            accuracy=history.accuracies,
            evaluated_epochs=list(history.correct),
            measures=history.measures,
        ),
        cost=parts.Cost(
            seconds=round(history.seconds, 3),
            seconds_training=round(history.seconds_training, 3),
            images_per_second=round(history.images_per_second, 1),
            peak_memory_bytes=peak,
            parameters=sum(parameter.numel() for parameter in net.parameters()),
            epochs_per_stage={stage.name: stage.epochs for stage in spec.stages},
            resumed=history.resumed,
            prerequisites=[*history.prerequisites, *context.features],
        ),
        environment=context.environment,
        inactive=spec.inactive,
        trained=history.trained,
    )
