"""The engine for one machine: child processes with slots, retries, logs, and no orphan.

A child is forked from a server that has torch imported already (a fork server, before any computation), so that a run
starts at once; it does what its command does when typed, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from ...errors import INTERRUPTED
from ..queue import FAILED, LOG, last_line, whole_command
from ..scheduler import RETRIES, Ledger, Outcome, Watch
from ..units import Unit
from ..workers import Slot, die_with_parent, fork_server

Command = Callable[[list[str]], None]


@dataclass
class _Running:
    """A unit at work; `log` is how large its log was before, `told` how often it was asked to stop."""

    unit: Unit
    slot: Slot
    process: Any
    begun: float
    log: int
    told: int = 0


def sweep(
    units: Sequence[Unit],
    slots: Sequence[Slot],
    command: Command,
    results: Path,
    runs: Path,
    watch: Watch,
    fail_fast: bool = False,
) -> Outcome:
    """Run what is missing, as many units at once as there are slots.

    A process that dies is started again, twice at most; one that ends with an error is not. SIGINT lets every run
    finish its epoch and ends the sweep, a second one stops them at once. If this process dies, its children do, too.

    Args:
        units: of a suite.
        slots: places for processes.
        command: carries out the arguments of `bench`, in the child; must be importable.
        results: folder of the records.
        runs: folder of checkpoints and logs.
        watch: told how it goes.
        fail_fast: stop at the first failure.
    """
    return _Sweep(units, slots, command, results, runs, watch, fail_fast).go()


class _Sweep:
    def __init__(
        self, units: Sequence[Unit], slots: Sequence[Slot], command: Command, results: Path, runs: Path, watch: Watch,
        fail_fast: bool,
    ) -> None:  # fmt: skip
        self.ledger = Ledger(units, results, runs, watch)
        self.command, self.slots, self.fail_fast = command, slots, fail_fast
        self.free, self.running, self.deaths = list(slots), list[_Running](), dict[str, int]()
        self.stops = 0

    def go(self) -> Outcome:
        with self._interruptible():
            while self.running or (self.ledger.queue.waiting and not self.stops):
                self._start()
                self._pass_on()
                sentinels = [one.process.sentinel for one in self.running]
                wait(sentinels, 0.2) if sentinels else time.sleep(0.5)
                self.ledger.watch.tick({one.unit.id: one.begun for one in self.running})
                for one in [one for one in self.running if one.process.exitcode is not None]:
                    self._end(one)
        self.ledger.outcome.stopped = self.stops > 0
        return self.ledger.outcome

    def _start(self) -> None:
        self.ledger.take_up()
        while self.free and not self.stops and (unit := self.ledger.queue.take()):
            slot = self.free.pop(0)
            try:
                self.running.append(self._begin(unit, slot))
            except (OSError, EOFError) as error:  # the fork server was killed, or the disk is full
                self.free.append(slot)
                self._died(unit, f"cannot be started: {error or 'the server of processes has died'}")
                time.sleep(0.5)
            else:
                self.ledger.watch.started(unit, slot.name)

    def _begin(self, unit: Unit, slot: Slot) -> _Running:
        folder = self.ledger.runs / unit.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILED).unlink(missing_ok=True)
        log = folder / LOG
        words = [*whole_command(unit, self.ledger.results, self.ledger.runs), *slot.options]
        size = log.stat().st_size if log.exists() else 0
        server = fork_server(self.slots)  # started again if it was killed
        process = server.Process(target=_child, args=(self.command, words, log, slot.environment), name=unit.label)
        process.start()
        return _Running(unit, slot, process, time.monotonic(), size)

    def _pass_on(self) -> None:
        """Ask the runs to stop, as often as the user has; each once it listens, which its log tells."""
        for one in self.running:
            log = self.ledger.runs / one.unit.id / LOG
            if one.told < self.stops and log.exists() and log.stat().st_size > one.log:
                one.told += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.process.pid, signal.SIGINT)

    def _end(self, one: _Running) -> None:
        one.process.join()
        code, unit = one.process.exitcode, one.unit
        self.running.remove(one)
        self.free.append(one.slot)
        if code == 0 and self.ledger.finished(unit):
            return
        if code == INTERRUPTED or self.stops:
            self.ledger.again(unit, "stopped")
        elif code < 0 or code > INTERRUPTED:
            self._died(unit, f"killed by signal {-code}" if code < 0 else f"exit code {code}")
        else:
            said = last_line(self.ledger.runs / unit.id / LOG).removeprefix("Error: ")
            self._fail(unit, said or f"exit code {code}, and nothing in its log")

    def _died(self, unit: Unit, how: str) -> None:
        self.deaths[unit.id] = self.deaths.get(unit.id, 0) + 1
        if self.deaths[unit.id] <= RETRIES:
            self.ledger.again(unit, f"died ({how}), will be tried again")
        else:
            said = last_line(self.ledger.runs / unit.id / LOG) or "none"
            self._fail(unit, f"died {RETRIES + 1} times, {how}; last line: {said}")

    def _fail(self, unit: Unit, reason: str) -> None:
        self.ledger.failed(unit, reason)
        if self.fail_fast:
            self._stop()

    def _stop(self, *_: Any) -> None:
        self.stops += 1

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, self._stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            for one in self.running:  # only after an error in here
                one.process.kill()


def _child(command: Command, words: list[str], log: Path, environment: dict[str, str]) -> None:
    """Become the process of a command: own session, no life without the server, its words into a log."""
    os.setsid()  # a Ctrl-C reaches the parent alone, which passes it on
    die_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    with log.open("a") as file:
        print(f"$ {shlex.join(['bench', *words])}", file=file, flush=True)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    command(words)
