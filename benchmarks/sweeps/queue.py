"""What a sweep has still to do, and what may start now: shared trainings first, nothing that another process is at."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError
from ..records.store import read_record
from ..training.checkpoint import snapshot_path
from ..utils.atomic_write import write_atomically
from .units import Unit

LOG, FAILED = "log.txt", "failed.txt"


def whole_command(unit: Unit, results: Path, runs: Path) -> list[str]:
    """The arguments of `bench` that carry out a unit, on a device that the engine may add."""
    return [*unit.arguments, "--results", str(results), "--runs", str(runs), "--quiet"]


def missing(units: Sequence[Unit], results: Path) -> list[Unit]:
    """Those units that have no record; a damaged one is not missing, and `bench status` names it."""
    return [unit for unit in units if not (results / unit.record).exists()]


def finished(unit: Unit, results: Path) -> bool:
    """Whether the record of a unit is there.

    Raises:
        UserError: it is damaged, or of another run.
    """
    path = results / unit.record
    if not path.exists():
        return False
    if read_record(path).id != unit.id:
        raise UserError(f"{path} is the record of another run. Move it where it belongs.")
    return True


def locked(folder: Path) -> bool:
    """Whether a process is at the run of a folder."""
    if not (folder / "run.lock").exists():
        return False
    lock = FileLock(folder / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def trained(unit: Unit, runs: Path) -> bool:
    """Whether the epochs that a unit shares with an ERM run are there."""
    return unit.erm is not None and snapshot_path(runs / unit.erm, unit.prefix).exists()


def note_failure(folder: Path, reason: str) -> None:
    """Leave the reason where `bench status` finds it; a full disk is no further reason to stop."""
    with contextlib.suppress(UserError):
        write_atomically(folder / FAILED, reason + "\n", durable=False)


def last_line(path: Path) -> str:
    """The last line of the latest attempt in a log; an error counts as one line from where it begins."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4000))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    begins = [k for k, line in enumerate(lines) if line.startswith("$ bench ")]  # of the latest attempt
    lines = lines[begins[-1] + 1 :] if begins else lines
    errors = [k for k, line in enumerate(lines) if line.startswith("Error: ")]
    return " ".join(lines[errors[-1] :]) if errors else lines[-1] if lines else ""


class Queue:
    """Units that wait, in the order in which they are to start.

    ERM runs come first, since others continue from them. Of the units that share a training which is not there yet, one
    runs; the others wait until it has ended.

    Args:
        units: what is to be done.
        results: folder of the records.
        runs: folder of the checkpoints.
    """

    def __init__(self, units: Sequence[Unit], results: Path, runs: Path) -> None:
        self.waiting = sorted(units, key=lambda unit: unit.method != "erm")
        self.results, self.runs = results, runs
        self._leading: dict[str, str] = {}  # id of a shared training to the unit that makes it

    def take(self) -> Unit | None:
        """The first unit that may start now, no longer waiting; None if there is none at the moment."""
        for unit in self.waiting:
            lead = self._needs_to_train(unit)
            if lead in self._leading or locked(self.runs / unit.id) or (lead and locked(self.runs / lead)):
                continue
            self.waiting.remove(unit)
            if lead:
                self._leading[lead] = unit.id
            return unit
        return None

    def put_back(self, unit: Unit) -> None:
        """Let a unit that has died wait again, at the front."""
        self.ended(unit)
        self.waiting.insert(0, unit)

    def ended(self, unit: Unit) -> None:
        """A unit has ended, well or not: others may take up its shared training."""
        self._leading = {key: leader for key, leader in self._leading.items() if leader != unit.id}

    def drop_finished(self) -> list[Unit]:
        """Take out the units that another sweep has finished in the meantime."""
        done = [unit for unit in self.waiting if (self.results / unit.record).exists()]
        self.waiting = [unit for unit in self.waiting if unit not in done]
        return done

    def _needs_to_train(self, unit: Unit) -> str:
        """Id of the shared training that a unit would begin with; "" if it needs none, or it is there."""
        if unit.erm is None:
            return ""
        if unit.method == "erm" and unit.erm == unit.id:
            return unit.erm
        return "" if trained(unit, self.runs) else unit.erm
