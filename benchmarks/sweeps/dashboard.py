"""Live display of a sweep: a table of running units on a terminal; elsewhere, a line for each start and end."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..records.store import read_all
from ..utils.atomic_write import make_writable
from ..utils.formatting import duration
from .estimate import seconds_per_image, time_left
from .request import SweepRequest
from .scheduler import SweepListener
from .status import LOG, STATES, State, last_line, missing, states

if TYPE_CHECKING:
    from .units import Unit

INTERVAL = 0.5  # seconds between two readings of the logs


class Dashboard(SweepListener):
    """Shows counts and, for each running unit, the last line of its log.

    Args:
        console: console to draw on.
        units: unfinished units.
        done: number of finished units.
        runs: folder of the checkpoints and logs.
        left: function that estimates the seconds that units still take; its value is None if unknown.
    """

    def __init__(
        self, console: Console, units: Sequence[Unit], done: int, runs: Path, left: Callable[[list[Unit]], float | None]
    ) -> None:
        self.console, self.runs, self.left = console, runs, left
        self.units = {unit.id: unit for unit in units}
        self.open = dict(self.units)
        self.done, self.failed = done, 0
        self.slots: dict[str, str] = {}
        self.lines: list[Text] = []
        self.read_at = 0.0
        self.live = Live(
            console=console, refresh_per_second=4, transient=True, get_renderable=lambda: Group(*self.lines)
        )

    def __enter__(self) -> Dashboard:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def started(self, unit: Unit, slot: str) -> None:
        """Record the slot of a unit; print it if the console is not a terminal."""
        self.slots[unit.id] = slot
        if not self.console.is_terminal:
            self._print(f"started on {slot}: {unit.label}")

    def ended(self, unit: Unit, how: str) -> None:
        """Print the outcome of a unit and the number of finished units."""
        if how in ("finished", "failed"):
            self.open.pop(unit.id, None)
            self.done += how == "finished"
            self.failed += how == "failed"
        self._print(f"{how}: {unit.label} ({self.done} of {self.done + self.failed + len(self.open)} done)")

    def tick(self, running: dict[str, float]) -> None:
        """Read the logs and redraw the table on a terminal."""
        now = time.monotonic()
        if not self.console.is_terminal or now - self.read_at < INTERVAL:
            return
        self.read_at = now
        self.lines = [self._summary(running)]
        for run_id, begun in running.items():
            line = last_line(self.runs / run_id / LOG)
            line = "" if line.startswith("$ ") else line
            text = f"{self.slots.get(run_id, '')} | {self.units[run_id].label} | {duration(now - begun)} | {line}"
            self.lines.append(Text(text, no_wrap=True, overflow="ellipsis"))

    def _summary(self, running: dict[str, float]) -> Text:
        left = self.left([unit for unit in self.open.values() if unit.id not in running])
        words = [f"{self.done} done", f"{len(running)} running", f"{len(self.open) - len(running)} to go"]
        if self.failed:
            words.append(f"{self.failed} failed")
        if left:
            words.append(f"about {duration(left)} for those to go")
        return Text(" | ".join(words), style="bold")

    def _print(self, text: str) -> None:
        self.console.print(Text(printable(text), "dim"), soft_wrap=True)


def open_dashboard(units: Sequence[Unit], request: SweepRequest) -> Dashboard:
    """Create the dashboard of a sweep, and the folders of results and runs if they are missing.

    Raises:
        UserError: a folder cannot be written.
    """
    make_writable(request.results, "--results")
    make_writable(request.runs, "--runs")
    unfinished = missing(units, request.results)
    console = Console(stderr=True)
    records, problems = read_all(request.results)
    for problem in problems:
        console.print(f"Left out: {problem}", style="dim", highlight=False, soft_wrap=True, markup=False)
    left = partial(time_left, times=seconds_per_image(records), runs=request.runs, jobs=len(request.slots))
    return Dashboard(console, unfinished, len(units) - len(unfinished), request.runs, left)


def status_table(rows: Sequence[State]) -> Group:
    """Table of the number of units in each state, by setting (all but the seed); then running and failed units."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("runs", overflow="fold")
    for name in STATES:
        table.add_column(name, justify="right")
    groups: dict[str, Counter[str]] = {}
    for state in rows:
        groups.setdefault(state.unit.label.rpartition(" | seed")[0], Counter())[state.name] += 1
    for label, counts in groups.items():
        table.add_row(Text(label), *(str(counts[name] or "") for name in STATES))
    sums = Counter(state.name for state in rows)
    table.add_section()
    table.add_row(f"{len(rows)} in all", *(str(sums[name]) for name in STATES))
    parts: list[RenderableType] = [table]
    for name in ("running", "failed"):
        lines = [Text(printable(f"{state.unit.label}: {state.message}")) for state in rows if state.name == name]
        if lines:
            parts += ["", Text(name, "bold"), *lines]
    return Group(*parts)


def follow(units: Sequence[Unit], results: Path, runs: Path, interval: float = 2.0) -> None:
    """Redraw the status table every `interval` seconds until no unit is running or missing, or until Ctrl-C."""
    rows = states(units, results, runs)
    with contextlib.suppress(KeyboardInterrupt), Live(status_table(rows), refresh_per_second=2) as live:
        while any(state.name in ("running", "missing") for state in rows):
            time.sleep(interval)
            rows = states(units, results, runs)
            live.update(status_table(rows))
