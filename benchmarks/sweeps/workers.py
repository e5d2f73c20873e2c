"""Child processes on this machine: their slots, logs and signals."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .fork_server import die_with_parent

if TYPE_CHECKING:
    from .units import Unit

Command = Callable[[list[str]], None]  # runs `bench` with a list of arguments


@dataclass(frozen=True)
class Slot:
    """Resources for one child process: some CPU cores, or a GPU that several slots may share.

    Attributes:
        name: name shown to the user.
        options: options added to the arguments of `bench`.
        environment: environment variables set in the process.
    """

    name: str
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def gpu(self) -> str | None:
        """Entry of the slot's GPU in CUDA_VISIBLE_DEVICES; None for a slot on the CPU."""
        return self.environment.get("CUDA_VISIBLE_DEVICES")

    @property
    def threads(self) -> str | None:
        """Value of OMP_NUM_THREADS; None if the slot does not set it."""
        return self.environment.get("OMP_NUM_THREADS")


def slots_of(jobs: int, devices: str | None, per_device: int) -> list[Slot]:
    """Create `per_device` slots on each of the comma-separated `devices`, or `jobs` slots on the CPU if it is None.

    Raises:
        UserError: a device is not a visible GPU.
    """
    return gpu_slots(devices.split(","), per_device) if devices else cpu_slots(jobs)


def cpu_slots(jobs: int) -> list[Slot]:
    """Create CPU slots that divide the cores evenly, unless OMP_NUM_THREADS is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // jobs))
    return [Slot(f"cpu {k + 1}", ("--device", "cpu"), {"OMP_NUM_THREADS": threads}) for k in range(jobs)]


def gpu_slots(devices: Sequence[str], per_device: int) -> list[Slot]:
    """Create slots on GPUs named `cuda:0` and so on, in round-robin order, so that few runs spread over all GPUs.

    Raises:
        UserError: a name has another form, or CUDA_VISIBLE_DEVICES does not contain the GPU.
    """
    variable = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = variable.split(",") if variable else None  # GPUs assigned by a job scheduler; cuda:0 is the first
    numbers = []
    for name in devices:
        kind, _, number = name.strip().partition(":")
        if kind != "cuda" or not number.isdecimal():
            raise UserError(f"--devices: '{name}' is not a GPU. Write cuda:0,cuda:1.")
        if visible and int(number) >= len(visible):
            raise UserError(f"--devices: there is no '{name}'; CUDA_VISIBLE_DEVICES lists {len(visible)} GPUs.")
        numbers.append(visible[int(number)] if visible else number)
    return [
        Slot(f"cuda:{number} {k + 1}", ("--device", "cuda"), {"CUDA_VISIBLE_DEVICES": number})
        for k in range(per_device)
        for number in numbers
    ]


class Worker:
    """A child process that runs the command of a unit and writes its output to a log.

    Args:
        unit: unit to run.
        slot: slot that the process occupies.
        words: arguments of `bench`, without the slot's options.
        log: file that the output is appended to.

    Attributes:
        begun: start time, from `time.monotonic()`.
    """

    def __init__(self, unit: Unit, slot: Slot, words: Sequence[str], log: Path) -> None:
        self.unit, self.slot, self.log, self.words = unit, slot, log, [*words, *slot.options]
        self.begun = time.monotonic()
        self._log_size = log.stat().st_size if log.exists() else 0
        self._interrupts = 0

    def start(self, server: ForkServerContext, command: Command) -> None:
        """Fork the process from the server.

        Raises:
            OSError, EOFError: the server has died, or the system cannot create another process.
        """
        arguments = (command, self.words, self.log, self.slot.environment)
        self._process = server.Process(target=_child, args=arguments, name=self.unit.label)
        self._process.start()

    @property
    def sentinel(self) -> int:
        """A handle that becomes ready when the process ends, for `multiprocessing.connection.wait`."""
        return self._process.sentinel

    @property
    def exit_code(self) -> int | None:
        """Exit code, or the negative number of the signal that killed the process; None while it is running."""
        return self._process.exitcode

    def interrupt(self, times: int) -> None:
        """Send SIGINT if it has been sent fewer than `times` times; at most one signal per call.

        The process is signalled only after this attempt has written to the log: before that, its handler is not
        installed.
        """
        if self._interrupts < times and self.log.exists() and self.log.stat().st_size > self._log_size:
            self._interrupts += 1
            assert self._process.pid is not None, "it has been started"
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)

    def join(self) -> None:
        """Release the resources of a process that has ended."""
        self._process.join()

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()


def _child(command: Command, words: list[str], log: Path, environment: dict[str, str]) -> None:
    """Run a command in a child process, with its own session and log; it is killed if the fork server dies."""
    os.setsid()  # Ctrl-C reaches only the parent, which passes it on
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
