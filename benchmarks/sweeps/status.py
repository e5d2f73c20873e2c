"""Where a sweep stands: done, running, failed, missing; read from the folders, whatever engine is at work."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from ..errors import UserError
from .queue import FAILED, LOG, finished, last_line, locked
from .units import Unit

STATES = ("done", "running", "failed", "missing")


@dataclass(frozen=True)
class State:
    """Where one unit stands: one of STATES, and what there is to say of it."""

    unit: Unit
    name: str
    words: str = ""


def state_of(unit: Unit, results: Path, runs: Path) -> State:
    """The state of a unit; a damaged record counts as failed."""
    try:
        if finished(unit, results):
            return State(unit, "done")
    except UserError as error:
        return State(unit, "failed", str(error))
    folder = runs / unit.id
    if locked(folder):
        return State(unit, "running", last_line(folder / LOG))
    if (folder / FAILED).exists():
        return State(unit, "failed", last_line(folder / FAILED))
    return State(unit, "missing")


def states(units: Iterable[Unit], results: Path, runs: Path) -> list[State]:
    """The states of units, in their order."""
    return [state_of(unit, results, runs) for unit in units]


def status_table(found: Sequence[State]) -> Group:
    """Counts by dataset and method, then what runs and what has failed, a line each."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("runs", overflow="fold")
    for name in STATES:
        table.add_column(name, justify="right")
    groups: dict[str, Counter[str]] = {}
    for state in found:
        groups.setdefault(state.unit.label.rpartition(" | seed")[0], Counter())[state.name] += 1
    for label, counts in groups.items():
        table.add_row(escape(label), *(str(counts[name] or "") for name in STATES))
    sums = Counter(state.name for state in found)
    table.add_section()
    table.add_row(f"{len(found)} in all", *(str(sums[name]) for name in STATES))
    parts: list[RenderableType] = [table]
    for name in ("running", "failed"):
        lines = [f"{state.unit.label}: {state.words}" for state in found if state.name == name]
        parts += ["", f"[bold]{name}[/bold]", *map(escape, lines)] * bool(lines)
    return Group(*parts)


def anything_running(runs: Path) -> list[str]:
    """A line for every run of a folder that a process is at, whatever suite it belongs to."""
    return [
        f"{path.parent.name}: {last_line(path.parent / LOG) or 'no log'}"
        for path in sorted(runs.glob("*/run.lock"))
        if locked(path.parent)
    ]


def follow(units: Sequence[Unit], results: Path, runs: Path, every: float = 2.0) -> None:
    """Draw the status again and again until nothing is running or missing, or the user interrupts."""
    from rich.live import Live

    found = states(units, results, runs)
    with contextlib.suppress(KeyboardInterrupt), Live(status_table(found), refresh_per_second=2) as live:
        while any(state.name in ("running", "missing") for state in found):
            time.sleep(every)
            found = states(units, results, runs)
            live.update(status_table(found))
