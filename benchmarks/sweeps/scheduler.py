"""What of a sweep is done, has failed or waits: kept alike by the engines that start processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from .queue import Queue, finished, note_failure
from .units import Unit

RETRIES = 2  # of a process that dies


@dataclass
class Outcome:
    """What a sweep has done.

    Attributes:
        finished: units whose records are there.
        failed: id to label and reason, one line.
        stopped: it was interrupted; what is missing can be made by the same command.
    """

    finished: list[Unit] = field(default_factory=list)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    stopped: bool = False


class Watch:
    """Told how a sweep goes; does nothing by itself."""

    def started(self, unit: Unit, slot: str) -> None:
        """A unit has begun."""

    def ended(self, unit: Unit, how: str) -> None:
        """A unit has ended: finished, failed, died, stopped."""

    def tick(self, running: dict[str, float]) -> None:
        """Called several times a second with id and start of the units that run."""


class Ledger:
    """The queue of a sweep, what has become of the others, and who is told.

    Args:
        units: of the sweep; those with a record are done.
        results: folder of the records.
        runs: folder of checkpoints and logs.
        watch: told how it goes.
    """

    def __init__(self, units: Sequence[Unit], results: Path, runs: Path, watch: Watch) -> None:
        self.results, self.runs, self.watch, self.outcome = results, runs, watch, Outcome()
        self.queue = Queue([unit for unit in units if not self._recorded(unit)], results, runs)

    def take_up(self) -> None:
        """Count what another sweep has finished in the meantime."""
        for unit in self.queue.drop_finished():
            self.finished(unit)

    def finished(self, unit: Unit) -> bool:
        """Note that a unit has ended; False, and nothing is noted, where its record is not there."""
        if not self._recorded(unit):
            return False
        self.queue.ended(unit)
        self.watch.ended(unit, "failed" if unit.id in self.outcome.failed else "finished")
        return True

    def again(self, unit: Unit, how: str) -> None:
        """A unit was stopped or has died, and waits again."""
        self.queue.put_back(unit)
        self.watch.ended(unit, how)

    def failed(self, unit: Unit, reason: str) -> None:
        """A unit has failed for good."""
        self.queue.ended(unit)
        self.outcome.failed[unit.id] = (unit.label, reason)
        note_failure(self.runs / unit.id, reason)
        self.watch.ended(unit, "failed")

    def _recorded(self, unit: Unit) -> bool:
        """Whether there is a record; a damaged one counts as a failure."""
        try:
            if not finished(unit, self.results):
                return False
            self.outcome.finished.append(unit)
        except UserError as error:
            self.outcome.failed[unit.id] = (unit.label, str(error))
        return True
