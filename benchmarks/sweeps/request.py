"""Options of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .workers import Command, Slot


@dataclass(frozen=True)
class SweepRequest:
    """Options of a sweep that its engine receives.

    Attributes:
        results: folder of the records.
        runs: folder of the checkpoints and logs.
        slots: slots for processes on this machine; other engines derive from them how many runs share a GPU.
        command: function that runs `bench` with a list of arguments; importable, since child processes call it.
        address: address of a Ray cluster; None to start one on this machine.
        script_only: whether to print the script that an engine would submit instead of submitting it.
        fail_fast: whether to stop at the first failure.
    """

    results: Path
    runs: Path
    slots: Sequence[Slot]
    command: Command
    address: str | None = None
    script_only: bool = False
    fail_fast: bool = False
