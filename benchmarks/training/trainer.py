"""Method + dataset + recipe + seed -> Record."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.loader import derive
from ..network import Classifier, Frozen
from ..records.environment import environment, peak_of_process, threads
from ..records.schema import CONFUSION_LIMIT, VERSION, Best, Cost, Final, History, Prerequisite, Record
from ..utils.atomic_write import write_atomically
from . import checkpoint
from .evaluate import confusion_of, logits_of
from .history import Trail, Watcher
from .run_spec import RunSpec, build_network, facts_of
from .shared_start import erm_of, fact, snapshot_of, train_epochs


def execute(
    run: RunSpec, device: torch.device, runs: Path, watcher: Watcher | None = None, wait: bool = True
) -> Record:
    """Train, evaluate and return the record; resume from `runs/<id>` if a checkpoint is there.

    The last epoch is the result. The test split is evaluated here, by epoch number alone; it never reaches the method.

    Raises:
        UserError: the loss is not finite, a checkpoint does not fit, or a file cannot be written.
        Timeout: another process trains what this run builds on, and `wait` is false.
    """
    watcher = watcher or Watcher()
    folder = runs / run.id
    with threads(run.recipe.threads):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        state = checkpoint.load(folder)
        resumed = checkpoint.interrupted(folder)
        net = build_network(run)
        if state is None:
            state, given = _begin(run, net, device, runs, watcher, wait)
        else:  # its own checkpoint; or, of an ERM run, what was trained for another run
            given = [] if resumed else [fact(run, "prefix", state, True)]
            attach_source(run, net)
        started = time.perf_counter()
        trail = Trail(**state["trail"]) if state else Trail()
        trail.resumed += resumed
        trail.prerequisites = trail.prerequisites if resumed else given
        before = trail.seconds

        net = net.to(device)
        split, test = run.dataset.train.to(device), run.dataset.test.to(device)
        train_epochs(run, net, split, test, folder, state, trail, watcher)
        torch.manual_seed(derive(run.seed, "global", "finish"))
        net = run.method.finish(net, split)
        logits = logits_of(net, test, run.recipe)
        confusion = confusion_of(logits, test.labels)
        trail.evaluate(confusion)
        trail.seconds = before + time.perf_counter() - started
        _keep(folder, net, logits, test.labels)
        return _record(run, trail, confusion, net, device)


def attach_source(run: RunSpec, net: Classifier, trained: dict[str, Any] | None = None) -> None:
    """Attach an ERM network as `net.source` where the method needs one; its weights follow, unless given here."""
    if run.method.needs(run.recipe.epochs).network:
        source = build_network(erm_of(run))
        if trained is not None:
            source.load_state_dict(trained["net"])
        net.source = Frozen(source)


def _begin(
    run: RunSpec, net: Classifier, device: torch.device, runs: Path, watcher: Watcher, wait: bool
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Where a new run starts from: a checkpoint of the ERM run or None, and what the record says of it."""
    needs, facts, state = run.method.needs(run.recipe.epochs), [], None
    if needs.prefix:
        state, reused = snapshot_of(run, needs.prefix, device, runs, watcher, wait)
        state["shared"] = True
        facts.append(fact(run, "prefix", state, reused))
    if needs.network:
        trained, reused = snapshot_of(run, run.recipe.epochs, device, runs, watcher, wait)
        attach_source(run, net, trained)
        facts.append(fact(run, "network", trained, reused))
    return state, facts


def _keep(folder: Path, net: Classifier, logits: Tensor, labels: Tensor) -> None:
    """Keep the finished network and its test logits (float16) on this machine."""
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    write_atomically(folder / "network.pt", buffer.getvalue(), durable=False)
    buffer = io.BytesIO()
    np.savez(buffer, logits=logits.half().cpu().numpy(), labels=labels.cpu().numpy())
    write_atomically(folder / "logits.npz", buffer.getvalue(), durable=False)


def _record(run: RunSpec, trail: Trail, confusion: Tensor, net: Classifier, device: torch.device) -> Record:
    stages = run.method.stages(run.recipe.epochs)
    cuda = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) if cuda else peak_of_process()
    return Record(
        schema=VERSION,
        id=run.id,
        method=run.name,
        source=run.source,
        hyperparameters=run.hyperparameters,
        changed=run.changed,
        seed=run.seed,
        dataset=run.facts,
        recipe=run.recipe_values,
        final=Final(
            epoch=len(trail.losses) - 1,
            correct=confusion.diagonal().tolist(),
            confusion=confusion.tolist() if len(confusion) <= CONFUSION_LIMIT else None,
        ),
        best=Best(epoch=trail.best_epoch, correct=trail.best_correct),
        history=History(
            loss=trail.losses,
            accuracy=trail.accuracies,
            evaluated_epochs=trail.evaluated,
            measures=trail.measures,
        ),
        cost=Cost(
            seconds=round(trail.seconds, 3),
            seconds_training=round(trail.seconds_training, 3),
            images_per_second=round(trail.images / max(trail.seconds_training, 1e-9), 1),
            peak_memory_bytes=peak,
            parameters=sum(parameter.numel() for parameter in net.parameters()),
            epochs_per_stage={stage.name: stage.epochs for stage in stages},
            resumed=trail.resumed,
            prerequisites=[Prerequisite(**facts) for facts in trail.prerequisites],
        ),
        environment=environment(device, run.recipe.threads or torch.get_num_threads()),
    )


__all__ = ["RunSpec", "Trail", "Watcher", "attach_source", "build_network", "execute", "facts_of"]
