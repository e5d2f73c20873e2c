"""`bench sweep`: a suite, what of it is missing, and the engine that runs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from ..errors import INTERRUPTED, UserError
from ..records.store import read_all
from ..records.suites import read_suite
from ..utils.formatting import clock
from .dashboard import Board
from .engines.local import Command, sweep
from .estimate import estimates, seconds_per_image, total
from .queue import Queue, missing, trained
from .run_missing import make_folder
from .scheduler import Outcome
from .status import STATES, states
from .units import Unit, make_units
from .workers import Slot


@dataclass(frozen=True)
class Choices:
    """What a user chose.

    Attributes:
        results, runs: folders.
        slots: places for processes on this machine.
        engine: local, ray or slurm.
        address: of a Ray cluster; None for one on this machine.
        fail_fast: stop at the first failure.
    """

    results: Path
    runs: Path
    slots: Sequence[Slot]
    engine: str = "local"
    address: str | None = None
    fail_fast: bool = False


def units_of(suite: str, data_root: str | None, allow_unverified: bool) -> list[Unit]:
    """The units of a suite, by name or file."""
    return make_units(read_suite(suite), data_root, allow_unverified)


def dry_run(units: Sequence[Unit], choices: Choices, console: Console) -> None:
    """Print what would run, in which order, and how long it may take."""
    found = states(units, choices.results, choices.runs)
    todo = missing([state.unit for state in found if state.name != "running"], choices.results)
    order = Queue(todo, choices.results, choices.runs).waiting
    times = seconds_per_image(read_all(choices.results)[0])
    found_times = estimates(order, times, partial(trained, runs=choices.runs))
    for unit, seconds in zip(order, found_times, strict=True):
        how = f"about {clock(seconds)}" if seconds is not None else "time unknown"
        after = f", continues ERM after epoch {unit.shared}" if unit.shared else ""
        console.print(f"{unit.label}: {how}{after}", highlight=False, soft_wrap=True, markup=False)
    work, least, unknown = total(found_times, len(choices.slots))
    counts = ", ".join(f"{sum(s.name == name for s in found)} {name}" for name in STATES)
    more = f", and {unknown} of unknown length" if unknown else ""
    known = f"About {clock(work)} of work{more}; {clock(least)} with {len(choices.slots)} at once" if work else ""
    guess = "from the records in the results folder; another machine or load takes another time"
    console.print(f"\n{len(units)} runs: {counts}.", highlight=False, markup=False)
    if order:
        console.print(f"{known} ({guess})." if known else "No records to estimate their time from.", highlight=False)


def carry_out(units: Sequence[Unit], choices: Choices, command: Command, console: Console) -> None:
    """Run what is missing and say how it went.

    Raises:
        UserError: something has failed; the message has a line for each.
        SystemExit: the sweep was interrupted.
    """
    make_folder(choices.results, "--results")
    make_folder(choices.runs, "--runs")
    open_ = missing(units, choices.results)
    times = seconds_per_image(read_all(choices.results)[0])

    def left(waiting: list[Unit]) -> float | None:
        known = estimates(waiting, times, partial(trained, runs=choices.runs))
        work, least, unknown = total(known, len(choices.slots))
        return None if unknown or not work else least

    with Board(console, open_, len(units) - len(open_), choices.runs, left) as board:
        outcome = _engine(units, choices, command, board)
    _tell(outcome, len(units), console)


def _engine(units: Sequence[Unit], choices: Choices, command: Command, board: Board) -> Outcome:
    if choices.engine == "ray":
        from .engines.ray import sweep_with_ray

        return sweep_with_ray(units, choices, board)
    return sweep(units, choices.slots, command, choices.results, choices.runs, board, choices.fail_fast)


def _tell(outcome: Outcome, units: int, console: Console) -> None:
    console.print(f"{len(outcome.finished)} of {units} runs are done.", highlight=False)
    if outcome.failed:
        lines = [f"{label}: {reason}" for label, reason in outcome.failed.values()]
        raise UserError(f"{len(lines)} failed; their logs are runs/<id>/log.txt.\n" + "\n".join(lines))
    if outcome.stopped:
        console.print("Interrupted. The same command goes on where it stopped.", highlight=False)
        sys.exit(INTERRUPTED)
    if len(outcome.finished) < units:
        raise UserError("Some runs are missing for no reason that is known here. Give the same command again.")
