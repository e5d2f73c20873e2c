"""Checkpoints: the state of a run after an epoch, written atomically and verified on loading.

A run keeps its last two checkpoints in `runs/<id>`, and snapshots: permanent checkpoints that other runs start from.
On disk a checkpoint is a plain dict, so loading it executes no code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from ..errors import RunFailed
from ..network import Classifier
from ..nn.average import finished_state
from ..utils.atomic_write import write_atomically
from .active_stage import ActiveStage
from .history import History
from .optimiser import parameter_names
from .run_spec import RunSpec
from .state_dicts import load_network, optimiser_problem, restore_moments

FORMAT = 3
SLOTS = ("checkpoint-a.pt", "checkpoint-b.pt")
DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Attributes:
        run: id of the run.
        stage: index of the stage, from 0.
        epoch: number of the epoch that has just ended, from 0, within the stage.
        net: state dict of the network without a frozen backbone; it contains everything trained except the optimiser's
            state.
        optimiser: state dict of the optimiser.
        parameters: names of the parameters, in the optimiser's order.
        history: training history of the run so far.
        path: file that the checkpoint was read from; `Path()` if none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid", "arbitrary_types_allowed": True}

    run: str
    stage: int
    epoch: int
    net: dict[str, Tensor]
    optimiser: dict[str, Any]
    parameters: list[str]
    history: History
    path: Path = Path()

    @property
    def number(self) -> int:
        """Number of completed epochs, over all stages."""
        return self.history.epochs

    @classmethod
    def after(cls, active: ActiveStage, epoch: int, history: History) -> Checkpoint:
        """Create the checkpoint after an epoch of a stage; its tensors are those of the network, not copies.

        Args:
            active: stage in progress.
            epoch: number of the epoch that has just ended, from 0, within the stage.
            history: training history, this epoch included.
        """
        names = parameter_names(active.net, active.optimiser)
        net, optimiser = active.net.trained_state(), active.optimiser.state_dict()
        return cls(active.spec.id, active.number, epoch, net, optimiser, names, history)

    def restore(self, active: ActiveStage) -> None:
        """Restore the network and optimiser of a stage from this checkpoint.

        The checkpoint may come from another run whose first epochs this run shares. Modules that only this run's
        network has keep their initial state in that case, because the shared epochs do not train them.

        Raises:
            RunFailed: the state does not fit.
        """
        if self.run == active.spec.id:
            self._restore_own(active)
        else:
            self._restore_shared(active)

    def _restore_own(self, active: ActiveStage) -> None:
        if problem := load_network(active.net, self.net) or optimiser_problem(active.optimiser, self.optimiser):
            raise _other_method(self.path, problem)
        active.optimiser.load_state_dict(self.optimiser)

    def _restore_shared(self, active: ActiveStage) -> None:
        if problem := load_network(active.net, self.net, lacks=True):
            name = active.spec.needs.prefix_of
            raise RunFailed(
                f"The method's needs() declares that it begins as {name}, but {name}'s weights do not fit: {problem}."
            )
        numbers = {name: number for number, name in enumerate(self.parameters)}
        names = parameter_names(active.net, active.optimiser)
        if problem := restore_moments(active.optimiser, self.optimiser, [numbers.get(name) for name in names]):
            raise _other_method(self.path, problem)

    def load_source(self, net: Classifier) -> None:
        """Load the weights into the frozen network that another run uses as `net.source`.

        Raises:
            RunFailed: the weights do not fit.
        """
        if problem := load_network(net, finished_state(self.net)):
            raise _other_method(self.path, problem)

    def check(self, spec: RunSpec, net: Classifier) -> None:
        """Check that this checkpoint fits a run.

        Args:
            spec: specification of the run.
            net: network of the run, before the first stage.

        Raises:
            RunFailed: the run has no such epoch, a tensor is missing, or the file name or the history does not fit.
        """
        if problem := self._misfit(spec, net):
            raise _other_method(self.path, problem)

    def _misfit(self, spec: RunSpec, net: Classifier) -> str:
        before = sum(stage.epochs for stage in spec.stages[: self.stage])
        lacking = ", ".join(sorted(net.trained_state().keys() - self.net.keys()))
        if not 0 <= self.stage < len(spec.stages) or not 0 <= self.epoch < spec.stages[self.stage].epochs:
            return f"epoch {self.epoch} of stage {self.stage} does not exist"
        if self.number != before + self.epoch + 1:
            return f"it has {self.number} losses after {before + self.epoch + 1} epochs"
        if lacking:
            return f"{lacking} is missing"
        if self.path.name not in SLOTS and self.path != snapshot_path(self.path.parent, self.number):
            return f"it is the state after {self.number} epochs, but its file name is that of another epoch"
        return self.history.misfit(spec.dataset.test.counts.tolist())


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Overwrite the older of the two checkpoints in a run's folder, so that damage to one costs only a few epochs.

    The file consists of a sha256 digest and the output of `torch.save`. It is not synced to disk: a killed process
    loses nothing, and after a power failure the digest shows whether the newer file is complete.

    Raises:
        UserError: the folder is not writable or the disk is full.
    """
    _write(min((folder / name for name in SLOTS), key=_written), checkpoint)


def _written(path: Path) -> int:
    """Time of the last write of a file in nanoseconds; 0 if it does not exist."""
    return path.stat().st_mtime_ns if path.exists() else 0


def save_snapshot(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a permanent checkpoint that other runs can start from.

    Raises:
        UserError: the folder is not writable or the disk is full.
    """
    _write(snapshot_path(folder, checkpoint.number), checkpoint)


def load(folder: Path, most: int | None = None, snapshots: bool = True) -> Checkpoint | None:
    """Load the newest checkpoint or snapshot in a run's folder, onto the CPU; None if there is none.

    Damaged files are skipped with a warning.

    Args:
        folder: folder of the run; its name is the run's id.
        most: ignore checkpoints that have more completed epochs than this; None for no limit.
        snapshots: consider snapshots as well.

    Raises:
        RunFailed: a file cannot be read, or is not a checkpoint of this run in the current format.
    """
    paths = [folder / name for name in SLOTS]
    if snapshots:
        paths += [path for path in folder.glob("epoch-*.pt") if most is None or path <= snapshot_path(folder, most)]
    checkpoints = [checkpoint for path in paths if (checkpoint := _read(path)) is not None]
    candidates = [checkpoint for checkpoint in checkpoints if most is None or checkpoint.number <= most]
    return max(candidates, key=lambda checkpoint: checkpoint.number, default=None)


def load_snapshot(folder: Path, epochs: int) -> Checkpoint | None:
    """Load a run's snapshot after `epochs` epochs, onto the CPU; None if it does not exist or is damaged.

    Raises:
        RunFailed: the file cannot be read, or is not a checkpoint of this run in the current format.
    """
    return _read(snapshot_path(folder, epochs))


def interrupted(folder: Path) -> bool:
    """Whether a run has started but not finished: its folder then contains checkpoints besides snapshots."""
    return any((folder / name).exists() for name in SLOTS)


def remove(folder: Path) -> None:
    """Delete the checkpoints of a finished run; keep its snapshots."""
    for name in SLOTS:
        (folder / name).unlink(missing_ok=True)


def snapshot_path(folder: Path, epochs: int) -> Path:
    """Path of the snapshot after `epochs` epochs in a run's folder."""
    return folder / f"epoch-{epochs:05d}.pt"


def _write(path: Path, checkpoint: Checkpoint) -> None:
    values = {each.name: getattr(checkpoint, each.name) for each in dataclasses.fields(Checkpoint)}
    del values["path"]
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **values, "history": checkpoint.history.to_dict()}, buffer)
    content = buffer.getvalue()
    write_atomically(path, hashlib.sha256(content).digest() + content, durable=False)


def _read(path: Path) -> Checkpoint | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFailed(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        warnings.warn(
            f"Checkpoint {path} is damaged and ignored; the run resumes from the previous one or from the beginning.",
            stacklevel=3,
        )
        return None
    try:
        values = torch.load(io.BytesIO(content[DIGEST:]), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types if the file is something else
        raise RunFailed(f"{path} is not a checkpoint ({_one_line(error)}). {_way_out(path)}") from error
    return _parse(path, values)


def _parse(path: Path, values: Any) -> Checkpoint:
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise RunFailed(f"{path} was written by another version of ltbench. {_way_out(path)}")
    if values.get("run") != path.parent.name:
        raise RunFailed(f"{path} is a checkpoint of another run, {str(values.get('run'))[:40]}. {_way_out(path)}")
    try:
        history = History.from_dict(values["history"])
        return _READER.validate_python(values | {"history": history, "path": path})
    except (KeyError, TypeError, ValueError) as error:
        raise RunFailed(f"{path} is not a valid checkpoint ({_one_line(error)}). {_way_out(path)}") from error


_READER = TypeAdapter(Checkpoint)


def _other_method(path: Path, problem: str) -> RunFailed:
    return RunFailed(f"{path} was written by another version of the method ({problem}). {_way_out(path)}")


def _way_out(path: Path) -> str:
    return f"Move the folder {path.parent} away to train its epochs again."


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())[:300] or type(error).__name__
