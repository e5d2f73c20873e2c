"""Fork server for the child processes of a sweep: it has already imported torch, so a run starts at once.

This module does not import torch: the server imports it in parallel with the process that starts the server.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running

PRELOAD = (  # the server ignores a name that it cannot import
    "ltbench.benchmarks.sweeps.fork_server_init",
    "ltbench.benchmarks.training.plan",
    "ltbench.benchmarks.sweeps.runner",
    "ltbench.benchmarks.cli.run",
    "ltbench.benchmarks.cli.progress",
    "torch._dynamo",  # torch imports it when the first optimiser is created
    "sklearn.datasets",  # for digits-lt
)
_PDEATHSIG = 1  # Linux: prctl option that requests a signal when the parent dies


def start_fork_server(threads: str | None = None) -> ForkServerContext:
    """Start the fork server if it is not running, and return its multiprocessing context.

    Args:
        threads: value of OMP_NUM_THREADS for all children; torch reads it when the server imports torch.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    variables = {"LTBENCH_EVERY": "5", "COLUMNS": "100"} | ({"OMP_NUM_THREADS": threads} if threads else {})
    with _environment(variables), _ignored_interrupts():
        ensure_running()
    return context


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies. Linux only; elsewhere it does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started within the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Make processes started within the block ignore SIGINT, so that Ctrl-C does not end the server while it imports.

    The server's children restore the default handler.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
