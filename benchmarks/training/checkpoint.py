"""Checkpoints: the state of a run after an epoch, written atomically and checked when it is read.

A run keeps the last two in its folder `runs/<id>`, and snapshots: checkpoints that stay, as other runs start from them.
On disk a checkpoint is a plain dict, so that it is loaded without executing anything.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..network import Classifier
from ..records.parts import Environment
from ..utils.atomic_write import write_atomically
from .active_stage import ActiveStage
from .history import History
from .optimiser import parameter_names
from .run_spec import RunSpec

FORMAT = 2
SLOTS = ("checkpoint-a.pt", "checkpoint-b.pt")
DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Attributes:
        run: id of the run.
        stage: number of the stage, from 0.
        epoch: the epoch that ended, from 0, within the stage.
        net: state dict of the network; it is the whole trained state.
        optimiser: state dict of the optimiser.
        parameters: names of the parameters, in the order in which the optimiser numbers them.
        history: of the run so far.
        environment: where the epoch was trained.
        path: the file that it was read from.
    """

    run: str
    stage: int
    epoch: int
    net: dict[str, Tensor]
    optimiser: dict[str, Any]
    parameters: list[str]
    history: History
    environment: Environment
    path: Path = Path()

    @property
    def number(self) -> int:
        """Epochs that have ended, over all stages."""
        return self.history.epochs

    @classmethod
    def after(cls, active: ActiveStage, epoch: int, history: History, environment: Environment) -> Checkpoint:
        """The state after an epoch of a stage; it shares its tensors with the network."""
        names = parameter_names(active.net, active.optimiser)
        net, optimiser = active.net.state_dict(), active.optimiser.state_dict()
        return cls(active.spec.id, active.number, epoch, net, optimiser, names, history, environment)

    def restore(self, active: ActiveStage) -> None:
        """Bring network and optimiser to this state.

        If it is the state of another run, with which the run of `active` begins, what only the latter's network has
        keeps its initial state: in those epochs nothing has touched it.

        Raises:
            UserError: the state does not fit.
        """
        if self.run == active.spec.id:
            self._restore_own(active)
        else:
            self._restore_shared(active)

    def _restore_own(self, active: ActiveStage) -> None:
        problem = _load_network(active.net, self.net) or _optimiser_problem(active.optimiser, self.optimiser)
        if problem:
            raise _other_method(self.path, problem)
        active.optimiser.load_state_dict(self.optimiser)

    def _restore_shared(self, active: ActiveStage) -> None:
        problem = _load_network(active.net, self.net, partial=True)
        if problem:
            name = active.spec.method.needs(active.spec.recipe.epochs).prefix_of
            raise UserError(
                f"The method's needs() says that it begins as {name}, but {name}'s weights do not fit: {problem}."
            )
        numbers = {name: number for number, name in enumerate(self.parameters)}
        own, shared = active.optimiser.state_dict(), self.optimiser["state"]
        for number, name in enumerate(parameter_names(active.net, active.optimiser)):
            if numbers.get(name) in shared:
                own["state"][number] = shared[numbers[name]]
        active.optimiser.load_state_dict(own)

    def check(self, spec: RunSpec, net: Classifier) -> None:
        """Check that this can be the state of a run.

        Args:
            spec: the run.
            net: its network, before the first stage.

        Raises:
            UserError: there is no such epoch, or the network lacks a tensor.
        """
        before = sum(stage.epochs for stage in spec.stages[: self.stage])
        lacking = ", ".join(sorted(net.state_dict().keys() - self.net.keys()))
        if not 0 <= self.stage < len(spec.stages) or not 0 <= self.epoch < spec.stages[self.stage].epochs:
            problem = f"epoch {self.epoch} of stage {self.stage} does not exist"
        elif self.number != before + self.epoch + 1:
            problem = f"it has {self.number} losses after {before + self.epoch + 1} epochs"
        elif lacking:
            problem = f"{lacking} is missing"
        else:
            return
        raise _other_method(self.path, problem)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint over the older of the two in a run's folder.

    The file is a sha256 digest and the output of `torch.save`. There is no wait for the disk: a killed process loses
    nothing, and after a power cut the digest tells whether the newer file is whole.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    _write(folder / SLOTS[checkpoint.number % 2], checkpoint)


def save_snapshot(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint that stays, for other runs to start from."""
    _write(snapshot_path(folder, checkpoint.number), checkpoint)


def load(folder: Path, most: int | None = None, snapshots: bool = True) -> Checkpoint | None:
    """The newest checkpoint or snapshot in a run's folder, on the CPU; None if there is none.

    A damaged one is left out with a warning.

    Args:
        folder: of the run; its name is the run's id.
        most: leave out those after more epochs.
        snapshots: consider snapshots as well.

    Raises:
        UserError: a file is not a checkpoint of this run in this version's format.
    """
    paths = [folder / name for name in SLOTS]
    if snapshots:
        paths += [path for path in folder.glob("epoch-*.pt") if most is None or path <= snapshot_path(folder, most)]
    checkpoints = [checkpoint for path in paths if (checkpoint := _read(path)) is not None]
    candidates = [checkpoint for checkpoint in checkpoints if most is None or checkpoint.number <= most]
    return max(candidates, key=lambda checkpoint: checkpoint.number, default=None)


def load_snapshot(folder: Path, epochs: int) -> Checkpoint | None:
    """The snapshot of a run after some epochs, on the CPU; None if it does not exist or is damaged.

    Raises:
        UserError: as `load`.
    """
    return _read(snapshot_path(folder, epochs))


def interrupted(folder: Path) -> bool:
    """Whether a run was stopped before its end: only then there are checkpoints beside snapshots."""
    return any((folder / name).exists() for name in SLOTS)


def remove(folder: Path) -> None:
    """Delete the checkpoints of a finished run; its snapshots stay."""
    for name in SLOTS:
        (folder / name).unlink(missing_ok=True)


def snapshot_path(folder: Path, epochs: int) -> Path:
    """Path of the snapshot after some epochs in a run's folder."""
    return folder / f"epoch-{epochs:05d}.pt"


def _write(path: Path, checkpoint: Checkpoint) -> None:
    values = {each.name: getattr(checkpoint, each.name) for each in dataclasses.fields(Checkpoint)}
    del values["path"]
    plain = {"history": checkpoint.history.to_dict(), "environment": checkpoint.environment.model_dump()}
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **values, **plain}, buffer)
    content = buffer.getvalue()
    write_atomically(path, hashlib.sha256(content).digest() + content, durable=False)


def _read(path: Path) -> Checkpoint | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        warnings.warn(
            f"Checkpoint {path} is damaged and not used; the run resumes from the one before it or starts again.",
            stacklevel=3,
        )
        return None
    try:
        values = torch.load(io.BytesIO(content[DIGEST:]), map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, if it is something else
        raise UserError(f"{path} is not a checkpoint ({_one_line(error)}). {_way_out(path)}") from error
    return _parse(path, values)


def _parse(path: Path, values: Any) -> Checkpoint:
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise UserError(f"{path} was written by another version of ltbench. {_way_out(path)}")
    if values.get("run") != path.parent.name:
        raise UserError(f"{path} is a checkpoint of another run, {values.get('run')}. {_way_out(path)}")
    try:
        parts = {"history": History.from_dict(values["history"]), "environment": Environment(**values["environment"])}
        return Checkpoint(**values | parts, path=path)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a whole checkpoint ({_one_line(error)}). {_way_out(path)}") from error


def _other_method(path: Path, problem: str) -> UserError:
    return UserError(f"{path} was written by another version of the method ({problem}). {_way_out(path)}")


def _way_out(path: Path) -> str:
    return f"Delete the folder {path.parent}; its epochs are then trained again."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _load_network(net: Classifier, state: dict[str, Tensor], partial: bool = False) -> str:
    """Load a state dict and return what does not fit, in words; with `partial` tensors may be missing."""
    try:
        keys = net.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a size differs
        return _one_line(error)
    missing = [] if partial else [f"{name} is missing" for name in keys.missing_keys]
    return ", ".join([*missing, *(f"{name} is unknown" for name in keys.unexpected_keys)])


def _optimiser_problem(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> str:
    """What of an optimiser's state dict does not fit, in words; empty if all does."""
    own = optimiser.state_dict()
    if state.keys() != own.keys():
        return f"its optimiser has {', '.join(state)}"
    layouts = [[(group.keys(), len(group["params"])) for group in each["param_groups"]] for each in (own, state)]
    if layouts[0] != layouts[1]:
        return "its optimiser has other groups of parameters"
    complete = [values.keys() <= state["state"].get(number, {}).keys() for number, values in own["state"].items()]
    return "" if all(complete) else f"its optimiser lacks the state of {complete.count(False)} parameters"
