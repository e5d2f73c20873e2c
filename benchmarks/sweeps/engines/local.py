"""Engine for one machine: child processes with slots, retries and logs; none outlives the sweep.

Children are forked from a server that has already imported torch, so a run starts at once. A child runs the same
command that a user would type.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from ...errors import INTERRUPTED
from ...utils.device import find_device
from ..dashboard import open_dashboard
from ..fork_server import start_fork_server
from ..request import SweepRequest
from ..scheduler import Outcome, Scheduler
from ..status import FAILED, LOG, last_line
from ..workers import Slot, Worker

if TYPE_CHECKING:
    from ..units import Unit


class LocalEngine:
    """Runs one unit per slot in parallel.

    A process that dies is restarted, at most twice; one that exits with an error is not. The first SIGINT lets every
    run finish its epoch and ends the sweep, the second stops them at once. If this process dies, so do its children.
    """

    def __init__(self, request: SweepRequest) -> None:
        self.request = request
        if request.slots[0].gpu is not None:
            find_device("cuda")  # one error here instead of one per run
        start_fork_server(request.slots[0].threads)

    def run(self, units: Sequence[Unit]) -> Outcome:
        """Run the missing units in parallel, one per slot; see `Engine`."""
        with open_dashboard(units, self.request) as dashboard:
            return _Pool(self.request, Scheduler(units, self.request.results, self.request.runs, dashboard)).run()


class _Pool:
    """Worker pool of a sweep: fills free slots, and requeues or fails a unit depending on how its worker ended."""

    def __init__(self, request: SweepRequest, scheduler: Scheduler) -> None:
        self.request, self.scheduler = request, scheduler
        self.free = list(request.slots)
        self.workers: list[Worker] = []
        self.stops = 0  # number of stop requests, by the user or after a failure

    def run(self) -> Outcome:
        with self._interruptible():
            while self.workers or (self.scheduler.waiting and not self.stops):
                self._fill_slots()
                for worker in self.workers:
                    worker.interrupt(self.stops)
                sentinels = [worker.sentinel for worker in self.workers]
                wait(sentinels, 0.2) if sentinels else time.sleep(0.5)
                self.scheduler.listener.tick({worker.unit.id: worker.begun for worker in self.workers})
                for worker in [worker for worker in self.workers if worker.exit_code is not None]:
                    self._end(worker)
        self.scheduler.outcome.stopped = self.stops > 0
        return self.scheduler.outcome

    def _fill_slots(self) -> None:
        while self.free and not self.stops and (unit := self.scheduler.take()):
            slot = self.free.pop(0)
            try:
                self.workers.append(self._start(unit, slot))
            except (OSError, EOFError) as error:  # the fork server was killed, or the disk is full
                self.free.append(slot)
                self._died(unit, f"cannot be started: {error or 'the fork server has died'}")
                time.sleep(0.5)
            else:
                self.scheduler.listener.started(unit, slot.name)

    def _start(self, unit: Unit, slot: Slot) -> Worker:
        folder = self.request.runs / unit.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILED).unlink(missing_ok=True)
        worker = Worker(unit, slot, unit.command(self.request.results, self.request.runs), folder / LOG)
        worker.start(start_fork_server(slot.threads), self.request.command)  # restarts a killed server
        return worker

    def _end(self, worker: Worker) -> None:
        worker.join()
        self.workers.remove(worker)
        self.free.append(worker.slot)
        code, unit = worker.exit_code, worker.unit
        assert code is not None, "it has ended"
        if code == 0 and self.scheduler.finished(unit):
            return
        if code == INTERRUPTED or self.stops:
            self.scheduler.stopped(unit)
        elif code < 0 or code > INTERRUPTED:
            self._died(unit, f"killed by signal {-code}" if code < 0 else f"exit code {code}")
        else:
            line = last_line(worker.log).removeprefix("Error: ")
            self.scheduler.failed(unit, line or f"exit code {code}, empty log")
            self._stop_after_failure()

    def _died(self, unit: Unit, how: str) -> None:
        if not self.scheduler.died(unit, how):
            self._stop_after_failure()

    def _stop_after_failure(self) -> None:
        self.stops += self.request.fail_fast

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        def stop(*_: Any) -> None:
            self.stops += 1

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            for worker in self.workers:  # only after an error in this process
                worker.kill()
