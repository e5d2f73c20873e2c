"""What is seen of a sweep: all running units at once on a terminal, a line for each beginning and end elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..utils.formatting import clock
from .queue import LOG, last_line
from .scheduler import Watch
from .units import Unit

EVERY = 0.5  # seconds between two looks at the logs


class Board(Watch):
    """Counts, and the last line of each log.

    Args:
        console: where to draw.
        units: of the sweep.
        done: how many of them were finished before.
        runs: folder of the logs.
        left: seconds that some units will still take, for so many jobs; None if that cannot be told.
    """

    def __init__(
        self, console: Console, units: Sequence[Unit], done: int, runs: Path, left: Callable[[list[Unit]], float | None]
    ) -> None:
        self.console, self.runs, self.left = console, runs, left
        self.units = {unit.id: unit for unit in units}
        self.open = {unit.id: unit for unit in units}
        self.done, self.failed = done, 0
        self.slots: dict[str, str] = {}
        self.lines: list[Text] = []
        self.looked = 0.0
        self.live = Live(
            console=console, refresh_per_second=4, transient=True, get_renderable=lambda: Group(*self.lines)
        )

    def __enter__(self) -> Board:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def started(self, unit: Unit, slot: str) -> None:
        """Say so."""
        self.slots[unit.id] = slot
        if not self.console.is_terminal:
            self._say(f"begins on {slot}: {unit.label}")

    def ended(self, unit: Unit, how: str) -> None:
        """Say how, and count."""
        if how in ("finished", "failed"):
            self.open.pop(unit.id, None)
            self.done += how == "finished"
            self.failed += how == "failed"
        self._say(f"{how}: {unit.label} ({self.done} of {self.done + self.failed + len(self.open)} done)")

    def tick(self, running: dict[str, float]) -> None:
        """Look at the logs."""
        now = time.monotonic()
        if not self.console.is_terminal or now - self.looked < EVERY:
            return
        self.looked = now
        left = self.left([unit for unit in self.open.values() if unit.id not in running]) or 0.0
        words = [f"{self.done} done", f"{len(running)} running", f"{len(self.open) - len(running)} to go"]
        words += [f"{self.failed} failed"] * bool(self.failed) + [f"about {clock(left)} for these"] * bool(left)
        self.lines = [Text(" | ".join(words), style="bold")]
        for key, begun in running.items():
            said = last_line(self.runs / key / LOG)
            said = "" if said.startswith("$ ") else said
            text = f"{self.slots.get(key, '')} | {self.units[key].label} | {clock(now - begun)} | {said}"
            self.lines.append(Text(text, no_wrap=True, overflow="ellipsis"))

    def _say(self, text: str) -> None:
        self.console.print(text, style="dim", highlight=False, soft_wrap=True, markup=False)
