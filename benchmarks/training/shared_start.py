"""Epochs of a run, and the ERM trainings that runs build on: trained once per dataset, recipe and seed, then reused."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout

from ..errors import UserError
from ..method import Needs, epochs_before
from ..network import Classifier
from ..records.environment import environment
from ..registry import configure, load
from ..split import Split
from . import checkpoint
from .evaluate import confusion_of, logits_of
from .history import Trail, Watcher
from .loop import EpochEnd, names_of, train
from .run_spec import RunSpec, build_network


@dataclass(frozen=True)
class SharedTraining:
    """A training that a run builds on and shares with other runs.

    Attributes:
        spec: the run that it is, or is the beginning of.
        epochs: how many of its epochs, over all stages.
        use: the run begins with these epochs, or attaches the network after them.
    """

    spec: RunSpec
    epochs: int
    use: Literal["prefix", "network"]


def shared_trainings(spec: RunSpec) -> list[SharedTraining]:
    """The trainings that a run builds on directly, as its method's `needs` says.

    Raises:
        UserError: the method would begin with itself.
    """
    needs = spec.method.needs(spec.recipe.epochs)
    shared = []
    if needs.prefix:
        shared.append(SharedTraining(_beginning_of(spec, needs), needs.prefix, "prefix"))
    if needs.network:
        seed = spec.seed ^ 1 if needs.other_seed else spec.seed
        shared.append(SharedTraining(_default_spec(spec, "erm", seed), spec.recipe.epochs, "network"))
    return shared


def _beginning_of(spec: RunSpec, needs: Needs) -> RunSpec:
    """The run whose first epochs a run shares; if these are in turn the first ones of a third run, that one."""
    names = [spec.name]
    first = _default_spec(spec, needs.prefix_of, spec.seed)
    while (inner := first.method.needs(spec.recipe.epochs)).prefix >= needs.prefix:
        names.append(first.name)
        if inner.prefix_of in names:
            raise UserError(f"{' begins as '.join([*names, inner.prefix_of])}: needs() must name another method.")
        first = _default_spec(spec, inner.prefix_of, spec.seed)
    return first


def _default_spec(spec: RunSpec, name: str, seed: int) -> RunSpec:
    """The run of a method with its default values on the same dataset, with the same recipe."""
    plugin = load("methods", name)
    changed = {field: value for field, value in spec.changed.items() if field.startswith("recipe.")}
    return RunSpec(plugin.name, plugin.source, configure(plugin, {}), changed, spec.dataset, spec.recipe, seed)


def erm_of(run: RunSpec) -> RunSpec:
    """The ERM run on the same dataset, with the same recipe and seed."""
    return _default_spec(run, "erm", run.seed)


def snapshot_of(
    run: RunSpec, epochs: int, device: torch.device, runs: Path, watcher: Watcher, wait: bool = True
) -> tuple[dict[str, Any], bool]:
    """The checkpoint of a run's ERM run after some of its epochs, and whether it was there already.

    It stands in the folder of the ERM run, `runs/<id>`; what is missing of it is trained. Processes that need the same
    take turns.

    Raises:
        Timeout: another process is at it, and `wait` is false.
    """
    erm = erm_of(run)
    folder = runs / erm.id
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "run.lock")
    while (state := checkpoint.load_snapshot(folder, epochs)) is None and not lock.is_locked:
        try:
            lock.acquire(timeout=1 if wait else 0)
        except Timeout:
            if not wait:
                raise
    try:
        if state is not None:
            return state, True
        state = checkpoint.load(folder, most=epochs - 1)  # the epoch that ends there makes the snapshot
        trail = Trail(**state["trail"]) if state else Trail()
        trail.resumed += checkpoint.interrupted(folder)
        net = build_network(erm).to(device)
        split, test = erm.dataset.train.to(device), erm.dataset.test.to(device)
        train_epochs(erm, net, split, test, folder, state, trail, watcher, until=epochs)
    finally:
        lock.release()
    state = checkpoint.load_snapshot(folder, epochs)
    assert state is not None, "train_epochs has saved it"
    return state, False


def fact(run: RunSpec, use: str, state: dict[str, Any], reused: bool) -> dict[str, Any]:
    """What the record says of a prerequisite."""
    known = state.get("environment", {})  # snapshots of earlier versions do not tell
    return {
        "method": "erm", "id": erm_of(run).id, "use": use, "epochs": state["number"],
        "seconds": round(state["trail"]["seconds"], 3), "reused": reused,
        **{name: known.get(name) for name in ("commit", "dirty", "torch", "device")},
    }  # fmt: skip


def train_epochs(
    run: RunSpec,
    net: Classifier,
    split: Split,
    test: Split,
    folder: Path,
    state: dict[str, Any] | None,
    trail: Trail,
    watcher: Watcher,
    until: int | None = None,
) -> None:
    """Train from a checkpoint to the end, or until so many epochs lie behind; evaluate by epoch number, save each one.

    ERM runs leave snapshots where others start from: before the first drop of the learning rate, at the end, at
    `until`.
    """
    started, before = time.perf_counter(), trail.seconds
    place = environment(split.labels.device, torch.get_num_threads()).model_dump()
    newest = checkpoint.load(folder, snapshots=False) if until else None
    ahead = newest is not None and newest["number"] > (until or 0)  # the run itself is further on: leave its files
    total = sum(stage.epochs for stage in run.method.stages(run.recipe.epochs))
    points = _branch_points(run) | ({until} if until else set())
    watcher.start(run, until or total, len(trail.losses))
    for end in _fitting(train(run.method, net, split, run.recipe, run.seed, state, watcher.step), folder):
        trail.note(end)
        done, due = len(trail.losses), run.recipe.evaluates(end.epoch, end.epochs)
        if due and done < total:
            trail.evaluate(confusion_of(logits_of(net, test, run.recipe), test.labels))
        trail.seconds = before + time.perf_counter() - started
        if done in points:  # before the checkpoint: one that is killed in between makes it again
            shared = copy.deepcopy(trail)
            if due:
                shared.evaluate(confusion_of(logits_of(net, test, run.recipe), test.labels))
            checkpoint.save_snapshot(folder, _state(net, end, shared, place), done)
        if not ahead:
            checkpoint.save(folder, _state(net, end, trail, place), done)
        watcher.epoch(trail)
        if done == until:
            break
    if until and not ahead:
        checkpoint.remove(folder)  # the snapshot is all that is needed


def _branch_points(run: RunSpec) -> set[int]:
    if run.name != "erm" or run.source:
        return set()
    epochs = run.recipe.epochs
    first = min((share for share, _ in run.recipe.drops), default=1.0)
    return {epochs_before(first, epochs), epochs}


def _state(net: Classifier, end: EpochEnd, trail: Trail, place: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": end.stage,
        "epoch": end.epoch,
        "net": net.state_dict(),
        "optimiser": end.optimiser.state_dict(),
        "parameters": names_of(net, end.optimiser),
        "trail": dataclasses.asdict(trail),
        "environment": place,
    }


def _fitting(loop: Iterator[EpochEnd], folder: Path) -> Iterator[EpochEnd]:
    """Turn a state that does not fit the network into a sentence."""
    try:
        yield from loop
    except RuntimeError as error:
        if "Error(s) in loading state_dict" not in str(error):
            raise
        raise UserError(
            f"The checkpoint in {folder} was made by another version of this method. Delete the folder to start again."
        ) from error
