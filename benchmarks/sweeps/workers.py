"""Places for processes on this machine, and the fork server that they start from. Nothing in here imports torch."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.forkserver import ensure_running
from typing import Any

from ..errors import UserError

_PDEATHSIG = 1  # Linux: prctl's request for a signal when the parent dies
_PRELOAD = [
    "ltbench.benchmarks.sweeps.fork_server",  # first: from then on the server dies with this process
    "ltbench.benchmarks.training.plan", "ltbench.benchmarks.sweeps.run_missing", "ltbench.benchmarks.cli.progress",
    "torch._dynamo",  # optimisers import it when they are made
    "sklearn.datasets",  # digits-lt
]  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """A place for one process.

    Attributes:
        name: for people.
        options: added to the command.
        environment: added to the process's.
    """

    name: str
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def slots_of(jobs: int, devices: str | None, per_device: int) -> list[Slot]:
    """`jobs` places on the CPU, or `per_device` on each of the devices."""
    return gpu_slots(devices.split(","), per_device) if devices else cpu_slots(jobs)


def cpu_slots(jobs: int) -> list[Slot]:
    """`jobs` places on the CPU, which share its cores evenly."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = str(max(1, cores // jobs))
    return [Slot(f"cpu {k + 1}", ("--device", "cpu"), {"OMP_NUM_THREADS": threads}) for k in range(jobs)]


def gpu_slots(devices: Sequence[str], per_device: int) -> list[Slot]:
    """Places on GPUs named `cuda:0` and so on; round robin, so that few runs spread over all of them.

    Raises:
        UserError: a device has another name.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = given.split(",") if given else None  # what a scheduler has lent; cuda:0 is the first of them
    numbers = []
    for name in devices:
        kind, _, number = name.strip().partition(":")
        if kind != "cuda" or not number.isdecimal():
            raise UserError(f"--devices: '{name}' is no GPU. Write cuda:0,cuda:1.")
        if visible and int(number) >= len(visible):
            raise UserError(f"--devices: there is no '{name}'; CUDA_VISIBLE_DEVICES has {len(visible)}.")
        numbers.append(visible[int(number)] if visible else number)
    places = [(number, k) for k in range(per_device) for number in numbers]
    return [
        Slot(f"cuda:{number} {k + 1}", ("--device", "cuda"), {"CUDA_VISIBLE_DEVICES": number}) for number, k in places
    ]


def fork_server(slots: Sequence[Slot]) -> Any:
    """Start the fork server if it is not running; it imports torch while the caller goes on.

    Threads, and how often runs say where they are, are read once, when modules are imported there.

    Returns:
        The context to make processes with.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    threads = {k: v for slot in slots[:1] for k, v in slot.environment.items() if k == "OMP_NUM_THREADS"}
    given = threads | {"LTBENCH_EVERY": "5", "COLUMNS": "100"}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    # Inherited, so that a Ctrl-C while it imports does not end it; its children listen again.
    listening = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ensure_running()
    finally:
        signal.signal(signal.SIGINT, listening)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return context


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; does nothing where there is no such request."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
