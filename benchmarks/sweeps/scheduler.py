"""Queue, outcomes and listeners of a sweep: which unit may start now, and what has become of the others."""

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

RETRIES = 2  # of a process that dies


@dataclass
class Outcome:
    """What a sweep has done.

    Attributes:
        finished: units that have a record.
        failed: id to label and reason, one line.
        stopped: it was interrupted; the same command runs what is missing.
    """

    finished: list[Unit] = field(default_factory=list)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    stopped: bool = False


class SweepListener:
    """Is notified of what happens in a sweep; the default does nothing."""

    def started(self, unit: Unit, slot: str) -> None:
        """A unit was started in a slot."""

    def ended(self, unit: Unit, how: str) -> None:
        """A unit has ended: "finished", "failed", "stopped", or how it died."""

    def tick(self, running: dict[str, float]) -> None:
        """Called several times a second with the ids of the running units and when they were started."""


class Queue:
    """Waiting units, in the order in which they start.

    Runs that others start from come first, and the others wait for the snapshots of those. Where the units that need a
    missing snapshot are all others, one of them trains it, and the rest wait until it exists or that unit has ended.

    Args:
        units: what is to be done.
        results: folder of the records.
        runs: folder of the checkpoints.
    """

    def __init__(self, units: Sequence[Unit], results: Path, runs: Path) -> None:
        self.waiting = _by_dependency(units)
        self.results, self.runs = results, runs
        self._leaders: dict[str, str] = {}  # id of a run to the id of the unit that trains it

    def take(self) -> Unit | None:
        """Remove and return the first unit that may start now; None if there is none at the moment."""
        waiting = {unit.id for unit in self.waiting}
        for unit in self.waiting:
            missing = {snapshot.run_id for snapshot in unit.shared if not snapshot.exists(self.runs)}
            trained = missing | {unit.id}
            if missing & waiting or trained & self._leaders.keys():
                continue
            if any(locked(self.runs / run_id) for run_id in trained):  # by another sweep
                continue
            self.waiting.remove(unit)
            self._leaders |= dict.fromkeys(trained, unit.id)
            return unit
        return None

    def put_back(self, unit: Unit) -> None:
        """Let a unit that has ended early wait again, at the front."""
        self.ended(unit)
        self.waiting.insert(0, unit)

    def ended(self, unit: Unit) -> None:
        """Let others train what this unit was training: it has ended, whether well or not."""
        self._leaders = {run_id: leader for run_id, leader in self._leaders.items() if leader != unit.id}

    def drop_finished(self) -> list[Unit]:
        """Remove and return the units that another sweep has finished in the meantime."""
        done = [unit for unit in self.waiting if (self.results / unit.record).exists()]
        self.waiting = [unit for unit in self.waiting if unit not in done]
        return done


def _by_dependency(units: Sequence[Unit]) -> list[Unit]:
    """Runs that others start from, each after those that it starts from itself; then the others in their order."""
    by_id = {unit.id: unit for unit in units}
    needed = {snapshot.run_id for unit in units for snapshot in unit.shared}

    def chain(unit: Unit) -> int:
        return max((1 + chain(by_id[s.run_id]) for s in unit.shared if s.run_id in by_id), default=0)

    return sorted(units, key=lambda unit: chain(unit) if unit.id in needed else len(units))


class Scheduler:
    """The queue of a sweep, what has become of the units that left it, and the listener that is notified.

    Args:
        units: of the sweep; those with a record are done.
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
        """Whether units wait to be started."""
        return bool(self._queue.waiting)

    def take(self) -> Unit | None:
        """The next unit that may start now, no longer waiting; None if there is none at the moment."""
        for unit in self._queue.drop_finished():
            self.finished(unit)
        return self._queue.take()

    def finished(self, unit: Unit) -> bool:
        """Note that a unit has ended; if it has no record, return False and note nothing."""
        if not self._recorded(unit):
            return False
        self._queue.ended(unit)
        self.listener.ended(unit, "failed" if unit.id in self.outcome.failed else "finished")
        return True

    def stopped(self, unit: Unit, requeue: bool = True) -> None:
        """Note that a unit was interrupted; it waits again unless `requeue` is false."""
        if requeue:
            self._queue.put_back(unit)
        else:
            self._queue.ended(unit)
        self.listener.ended(unit, "stopped")

    def died(self, unit: Unit, how: str) -> bool:
        """Let a unit whose process has died wait again; False if that was its last attempt, and it has failed."""
        self._deaths[unit.id] += 1
        if self._deaths[unit.id] > RETRIES:
            line = last_line(self.runs / unit.id / LOG) or "none"
            self.failed(unit, f"died {RETRIES + 1} times, {how}; last line: {line}")
            return False
        self._queue.put_back(unit)
        self.listener.ended(unit, f"died ({how}), will be tried again")
        return True

    def failed(self, unit: Unit, reason: str) -> None:
        """Note that a unit has failed for good."""
        self._queue.ended(unit)
        self.outcome.failed[unit.id] = (unit.label, reason)
        with contextlib.suppress(UserError):  # a full disk is no reason to stop the others
            write_atomically(self.runs / unit.id / FAILED, reason + "\n", durable=False)
        self.listener.ended(unit, "failed")

    def _recorded(self, unit: Unit) -> bool:
        """Whether a unit has a record, which is noted; a damaged one is noted as a failure."""
        try:
            if not finished(unit, self.results):
                return False
            self.outcome.finished.append(unit)
        except UserError as error:
            self.outcome.failed[unit.id] = (unit.label, str(error))
        return True
