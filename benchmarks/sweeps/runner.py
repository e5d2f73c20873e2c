"""Sequential execution of the unfinished runs of a plan, for `bench run`; printed summaries for `bench sweep`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from ..errors import INTERRUPTED, RunFailed, UserError
from ..records.schema import Record
from ..records.store import NewerRecord, read_all, read_record, write_record
from ..training import checkpoint
from ..training.callbacks import Callback
from ..training.run_spec import RunSpec
from ..training.trainer import execute
from ..utils.atomic_write import make_writable
from ..utils.formatting import counted, duration
from .estimate import estimates, seconds_per_image, total
from .request import SweepRequest
from .scheduler import Outcome, Queue
from .status import STATES, missing, states
from .units import Unit

INTERVAL = 1.0  # seconds between checkpoints; on stored features, writing one takes longer than an epoch


def run_missing(
    plan: Sequence[RunSpec],
    device: torch.device,
    results: Path,
    runs: Path,
    callback: Callback,
    say: Callable[[str], None] = print,
) -> tuple[list[Record], list[str]]:
    """Train every run of a plan that has no record, in this process.

    A run that another process is training is postponed until all others are done and then waited for, so that two
    identical commands divide the work. A run that fails, for example because its loss is not finite or its checkpoint
    cannot be read, does not stop the others.

    Args:
        plan: specifications of the runs.
        device: device to train on.
        results: folder of the records.
        runs: folder of the checkpoints.
        callback: notified of the progress of each run.
        say: function that prints a message.

    Returns:
        The records of all finished runs in the order of the plan, and one message for each failed run.

    Raises:
        UserError: a folder cannot be written. Finished runs are kept.
    """
    make_writable(results, "--results")
    job = _Job(device, results, runs, callback, say)
    records: dict[str, Record] = {}
    failures: dict[str, str] = {}
    newer: set[str] = set()  # ids of runs that a newer version of ltbench has finished
    for wait in (False, True):
        for run in plan:
            if run.id in records or run.id in failures or run.id in newer:
                continue
            try:
                if (record := job.carry_out(run, wait)) is not None:
                    records[run.id] = record
            except NewerRecord as error:
                newer.add(run.id)
                say(str(error))
            except RunFailed as error:
                failures[run.id] = f"{run.name} on {run.facts.dataset.label}, seed {run.seed}: {error}"
    return [records[run.id] for run in plan if run.id in records], list(failures.values())


@dataclass(frozen=True)
class _Job:
    """Arguments common to all runs of a command; see `run_missing`."""

    device: torch.device
    results: Path
    runs: Path
    callback: Callback
    say: Callable[[str], None]

    def carry_out(self, run: RunSpec, wait: bool) -> Record | None:
        """Return the record of a run; train the run first if it has no record.

        Return None if another process is training the run or a prerequisite of it, and `wait` is false.
        """
        path, folder = run.path(self.results), self.runs / run.id
        if path.exists():
            self.say(f"already finished: {path}")
            return _read(run, path)
        make_writable(folder, "--runs")
        for caution in run.cautions:
            self.say(f"{run.name} on {run.facts.dataset.label}, seed {run.seed}: {caution}")
        lock = FileLock(folder / "run.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            self.say(f"another process is training it; postponed: {path}")
            return None
        except PermissionError as error:
            raise RunFailed(
                f"Cannot write {lock.lock_file}: permission denied. It may belong to another user; choose another "
                "folder with --runs."
            ) from error
        try:
            if path.exists():  # finished by the other process in the meantime
                return _read(run, path)
            try:
                record = execute(run, self.device, self.runs, self.callback, wait=wait, interval=INTERVAL)
            except Timeout:
                self.say(f"another process is training its prerequisite; postponed: {path}")
                return None
            write_record(record, path)
            checkpoint.remove(folder)
            return record
        finally:
            lock.release()


def _read(run: RunSpec, path: Path) -> Record:
    record = read_record(path)
    if record.id != run.id:
        raise RunFailed(f"{path} is the record of another run (id {record.id}, not {run.id}). Move it away.")
    return record


def print_dry_run(units: Sequence[Unit], request: SweepRequest, console: Console) -> None:
    """Print the missing units in the order in which they would run, with time estimates, and the number of runs."""
    rows = states(units, request.results, request.runs)
    todo = missing([state.unit for state in rows if state.name != "running"], request.results)
    order = Queue(todo, request.results, request.runs).waiting
    records, problems = read_all(request.results)
    for problem in problems:
        console.print(f"Left out: {problem}", highlight=False, soft_wrap=True, markup=False)
    times = seconds_per_image(records)
    seconds = estimates(order, times, request.runs)
    for unit, estimate in zip(order, seconds, strict=True):
        length = "time unknown" if estimate is None else f"about {duration(estimate)}"
        start = "".join(f", continues {s.method.upper()} after epoch {s.epochs}" for s in unit.shared if s.own)
        console.print(f"{unit.label}: {length}{start}", highlight=False, soft_wrap=True, markup=False)
    counts = ", ".join(f"{sum(state.name == name for state in rows)} {name}" for name in STATES)
    console.print(f"\n{len(units)} runs: {counts}.", highlight=False, markup=False)
    if order:
        console.print(_total_time(seconds, len(request.slots)), highlight=False)


def _total_time(seconds: Sequence[float | None], jobs: int) -> str:
    work, shortest, unknown = total(seconds, jobs)
    if not work:
        return "No time estimate: there are no records with the same dataset and recipe."
    more = f", and {unknown} of unknown length" if unknown else ""
    return (
        f"About {duration(work)} of work{more}; at least {duration(shortest)} with {jobs} in parallel "
        "(estimated from the records in the results folder; other machines or loads will differ)."
    )


def print_outcome(outcome: Outcome, units: int, console: Console) -> None:
    """Print the number of finished units of a sweep.

    Args:
        outcome: outcome of the sweep.
        units: number of units of the sweep.
        console: console to print on.

    Raises:
        UserError: units have failed (the message has one line for each) or are missing.
        SystemExit: the sweep was interrupted.
    """
    console.print(f"{len(outcome.finished)} of {units} runs are done.", highlight=False)
    if outcome.failed:
        lines = [f"{label}: {reason}" for label, reason in outcome.failed.values()]
        raise UserError(f"{counted(len(lines), 'run')} failed; their logs are runs/<id>/log.txt.\n" + "\n".join(lines))
    if outcome.stopped:
        console.print("Interrupted. Run the same command again to continue.", highlight=False)
        sys.exit(INTERRUPTED)
    if len(outcome.finished) < units:
        raise UserError("Some runs are missing, for unknown reasons. Run the same command again.")
