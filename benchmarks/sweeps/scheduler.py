"""Queue, outcomes and listeners of a sweep."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..utils.atomic_write import write_atomically
from .status import FAILED, LOG, finished, last_line, locked

if TYPE_CHECKING:
    from .units import Unit

RETRIES = 2  # number of times that a process is restarted after it has died


@dataclass
class Outcome:
    """Outcome of a sweep.

    Attributes:
        finished: units that have a record.
        failed: maps the id of each failed unit to its label and a one-line reason.
        stopped: whether the sweep was interrupted; running it again continues with the missing units.
    """

    finished: list[Unit] = field(default_factory=list)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    stopped: bool = False


class SweepListener:
    """Receives the events of a sweep; the default implementation ignores them."""

    def started(self, unit: Unit, slot: str) -> None:
        """Called when a unit has been started in a slot."""

    def ended(self, unit: Unit, how: str) -> None:
        """Called when a unit has ended.

        Args:
            unit: unit that has ended.
            how: "finished", "failed", "stopped", or a text such as "died (exit code 137), will be retried".
        """

    def tick(self, running: dict[str, float]) -> None:
        """Called several times a second.

        Args:
            running: start time of each running unit, from `time.monotonic()`, by id.
        """


class Queue:
    """Queue of waiting units, in the order in which they start.

    Units that train snapshots for others come first; the others wait for these snapshots. If the run that a missing
    snapshot belongs to is not among the units, one of the units that need the snapshot trains it; the others wait until
    the snapshot exists or that unit has ended.

    Args:
        units: units to run.
        results: folder of the records.
        runs: folder of the checkpoints.
    """

    def __init__(self, units: Sequence[Unit], results: Path, runs: Path) -> None:
        self.waiting = _by_dependency(units)
        self.results, self.runs = results, runs
        self._leaders: dict[str, str] = {}  # id of a run -> id of the unit that trains it

    def take(self) -> Unit | None:
        """Remove and return the first unit that can start now; None if there is none at the moment."""
        waiting = {unit.id for unit in self.waiting}
        for unit in self.waiting:
            missing = {snapshot.run_id for snapshot in unit.shared if not snapshot.exists(self.runs)}
            trained = missing | {unit.id}
            if missing & waiting or trained & self._leaders.keys():
                continue
            if any(locked(self.runs / run_id) for run_id in trained):  # another sweep is training it
                continue
            self.waiting.remove(unit)
            self._leaders |= dict.fromkeys(trained, unit.id)
            return unit
        return None

    def put_back(self, unit: Unit) -> None:
        """Return an unfinished unit to the front of the queue."""
        self.ended(unit)
        self.waiting.insert(0, unit)

    def ended(self, unit: Unit) -> None:
        """Release the snapshots that a unit was training, after it has ended in any way."""
        self._leaders = {run_id: leader for run_id, leader in self._leaders.items() if leader != unit.id}

    def drop_finished(self) -> list[Unit]:
        """Remove and return the units that another sweep has finished in the meantime."""
        done = [unit for unit in self.waiting if (self.results / unit.record).exists()]
        self.waiting = [unit for unit in self.waiting if unit not in done]
        return done


def _by_dependency(units: Sequence[Unit]) -> list[Unit]:
    """Sort units: those that others depend on come first, in order of dependency; the others keep their order."""
    by_id = {unit.id: unit for unit in units}
    needed = {snapshot.run_id for unit in units for snapshot in unit.shared}

    def chain(unit: Unit) -> int:
        return max((1 + chain(by_id[s.run_id]) for s in unit.shared if s.run_id in by_id), default=0)

    return sorted(units, key=lambda unit: chain(unit) if unit.id in needed else len(units))


class Scheduler:
    """Manages the queue of a sweep and the outcomes of its units, and notifies a listener.

    Args:
        units: units of the sweep; those that have a record are not run again.
        results: folder of the records.
        runs: folder of checkpoints and logs.
        listener: notified of each change.
    """

    def __init__(self, units: Sequence[Unit], results: Path, runs: Path, listener: SweepListener) -> None:
        self.results, self.runs, self.listener, self.outcome = results, runs, listener, Outcome()
        self._queue = Queue([unit for unit in units if not self._recorded(unit)], results, runs)
        self._deaths: Counter[str] = Counter()

    @property
    def waiting(self) -> bool:
        """Whether any unit is waiting to be started."""
        return bool(self._queue.waiting)

    def take(self) -> Unit | None:
        """Remove and return the next unit that can start now; None if there is none at the moment."""
        for unit in self._queue.drop_finished():
            self.finished(unit)
        return self._queue.take()

    def finished(self, unit: Unit) -> bool:
        """Mark a unit that has a record as finished, or as failed if the record is damaged.

        Returns:
            Whether the unit has a record; if not, nothing is changed.
        """
        if not self._recorded(unit):
            return False
        self._queue.ended(unit)
        self.listener.ended(unit, "failed" if unit.id in self.outcome.failed else "finished")
        return True

    def stopped(self, unit: Unit, requeue: bool = True) -> None:
        """Mark a unit as interrupted; put it back into the queue unless `requeue` is false."""
        if requeue:
            self._queue.put_back(unit)
        else:
            self._queue.ended(unit)
        self.listener.ended(unit, "stopped")

    def died(self, unit: Unit, how: str) -> bool:
        """Requeue a unit whose process has died; after the last attempt, mark it as failed.

        Args:
            unit: unit whose process has died.
            how: cause of death, such as "killed by signal 9".

        Returns:
            Whether the unit will be retried.
        """
        self._deaths[unit.id] += 1
        if self._deaths[unit.id] > RETRIES:
            line = last_line(self.runs / unit.id / LOG) or "none"
            self.failed(unit, f"died {RETRIES + 1} times, {how}; last line: {line}")
            return False
        self._queue.put_back(unit)
        self.listener.ended(unit, f"died ({how}), will be retried")
        return True

    def failed(self, unit: Unit, reason: str) -> None:
        """Mark a unit as failed; it is not retried.

        Args:
            unit: unit that has failed.
            reason: one-line reason, which is also written to the file FAILED in the run's folder.
        """
        self._queue.ended(unit)
        self.outcome.failed[unit.id] = (unit.label, reason)
        with contextlib.suppress(UserError):  # a full disk must not stop the others
            write_atomically(self.runs / unit.id / FAILED, reason + "\n", durable=False)
        self.listener.ended(unit, "failed")

    def _recorded(self, unit: Unit) -> bool:
        """Whether a unit has a record; add the unit to the outcome, as failed if the record is damaged."""
        try:
            if not finished(unit, self.results):
                return False
            self.outcome.finished.append(unit)
        except UserError as error:
            self.outcome.failed[unit.id] = (unit.label, str(error))
        return True
