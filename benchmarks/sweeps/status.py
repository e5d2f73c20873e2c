"""State of the units of a sweep, read from the results and runs folders; independent of the engine."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..records.store import NewerRecord, read_record

if TYPE_CHECKING:
    from .units import Unit

LOG, FAILED = "log.txt", "failed.txt"  # files in a run's folder: its output, and the reason for its failure
STATES = ("done", "running", "failed", "missing")


@dataclass(frozen=True)
class State:
    """The state of one unit.

    Attributes:
        unit: unit of a sweep.
        name: name of the state, one of STATES.
        message: last log line of a running unit, or the reason for a failure.
    """

    unit: Unit
    name: str
    message: str = ""


def state_of(unit: Unit, results: Path, runs: Path) -> State:
    """The state of a unit; a damaged record counts as failed."""
    try:
        if finished(unit, results):
            return State(unit, "done")
        folder = runs / unit.id
        if locked(folder):
            return State(unit, "running", last_line(folder / LOG))
    except UserError as error:
        return State(unit, "failed", str(error))
    if (folder / FAILED).exists():
        return State(unit, "failed", last_line(folder / FAILED))
    return State(unit, "missing")


def states(units: Iterable[Unit], results: Path, runs: Path) -> list[State]:
    """The state of each unit, in the given order."""
    return [state_of(unit, results, runs) for unit in units]


def missing(units: Sequence[Unit], results: Path) -> list[Unit]:
    """Units without a record. A damaged record does not count as missing; `bench status` reports it."""
    return [unit for unit in units if not (results / unit.record).exists()]


def finished(unit: Unit, results: Path) -> bool:
    """Whether a unit has a record, of this version or a newer one.

    Raises:
        UserError: the record is damaged or belongs to another run.
    """
    path = results / unit.record
    if not path.exists():
        return False
    try:
        record = read_record(path)
    except NewerRecord:
        return True
    if record.id != unit.id:
        raise UserError(f"{path} is the record of another run. Move it away.")
    return True


def locked(folder: Path) -> bool:
    """Whether a process holds the lock of a run's folder.

    Raises:
        UserError: the folder or its lock cannot be read.
    """
    try:
        with (folder / "run.lock").open("rb") as file:  # another user's lock cannot be opened for writing
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise UserError(f"Cannot read {error.filename}: permission denied.") from error
    return False


def last_line(path: Path) -> str:
    """Last line that the latest attempt wrote to a log; "" if there is none.

    A multi-line error message is joined into one line.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4000))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    attempts = [k for k, line in enumerate(lines) if line.startswith("$ bench ")]
    lines = lines[attempts[-1] + 1 :] if attempts else lines
    errors = [k for k, line in enumerate(lines) if line.startswith("Error: ")]
    return " ".join(lines[errors[-1] :]) if errors else lines[-1] if lines else ""


def running_now(runs: Path) -> list[str]:
    """One line, with id and last log line, for each run below `runs` that a process is training, whatever its suite."""
    lines = []
    for folder in sorted(path for path in runs.glob("*") if path.is_dir()):
        try:
            if locked(folder):
                lines.append(f"{folder.name}: {last_line(folder / LOG) or 'no log'}")
        except UserError as error:
            lines.append(f"{folder.name}: {error}")
    return lines
