"""Options of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .workers import Command, Slot


@dataclass(frozen=True)
class SweepRequest:
    """Where and how to run the missing units of a suite.

    Attributes:
        results: folder of the records.
        runs: folder of the checkpoints and logs.
        slots: slots for processes on this machine; other engines derive from them how many runs share a GPU.
        command: runs `bench` with a list of arguments; must be importable, since engines call it in a child process.
        address: address of a Ray cluster; None to start one on this machine.
        script_only: print the script that an engine would submit instead of submitting it.
        fail_fast: stop at the first failure.
    """

    results: Path
    runs: Path
    slots: Sequence[Slot]
    command: Command
    address: str | None = None
    script_only: bool = False
    fail_fast: bool = False
