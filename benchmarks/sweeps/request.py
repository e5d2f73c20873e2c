"""What a user asks of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .workers import Command, Slot


@dataclass(frozen=True)
class SweepRequest:
    """Where and how the missing units of a suite are to run.

    Attributes:
        results: folder of the records.
        runs: folder of the checkpoints and logs.
        slots: for processes on this machine; other engines read from them how many runs share a GPU.
        command: carries out the arguments of `bench`; an engine calls it in a child process, which must be able to
            import it.
        address: of a Ray cluster; None for one on this machine.
        script_only: print the script that an engine would submit, and submit nothing.
        fail_fast: stop at the first failure.
    """

    results: Path
    runs: Path
    slots: Sequence[Slot]
    command: Command
    address: str | None = None
    script_only: bool = False
    fail_fast: bool = False
