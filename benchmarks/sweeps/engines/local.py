"""Engine for one machine: child processes with slots, retries and logs; none outlives the sweep.

A child is forked from a server that has imported torch, so that a run starts at once; it does what its command does
when typed, and nothing else.
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
    """Runs as many units at once as there are slots.

    A process that dies is started again, twice at most; one that ends with an error is not. SIGINT lets every run
    finish its epoch and ends the sweep, a second one stops them at once. If this process dies, so do its children.
    """

    def __init__(self, request: SweepRequest) -> None:
        self.request = request
        if request.slots[0].gpu is not None:
            find_device("cuda")  # one error here instead of one for each run
        start_fork_server(request.slots[0].threads)

    def run(self, units: Sequence[Unit]) -> Outcome:
        """Run what is missing."""
        with open_dashboard(units, self.request) as dashboard:
            return _Pool(self.request, Scheduler(units, self.request.results, self.request.runs, dashboard)).run()


class _Pool:
    """The workers of a sweep: fills free slots and decides what follows from the way in which a worker has ended."""

    def __init__(self, request: SweepRequest, scheduler: Scheduler) -> None:
        self.request, self.scheduler = request, scheduler
        self.free = list(request.slots)
        self.workers: list[Worker] = []
        self.stops = 0  # how often the user, or a failure, has asked to stop

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
        worker.start(start_fork_server(slot.threads), self.request.command)  # the server starts again if it was killed
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
            self.scheduler.failed(unit, line or f"exit code {code}, and nothing in its log")
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
