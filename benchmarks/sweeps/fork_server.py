"""Fork server for the child processes of a sweep: it has already imported torch, so a run starts at once.

This module does not import torch: the server imports it in parallel with the process that starts the server.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running

from ..errors import UserError
from ..utils.signals import ignored_interrupts

PRELOAD = (  # the server ignores a name that it cannot import
    "ltbench.benchmarks.sweeps.fork_server_init",
    "ltbench.benchmarks.training.plan",
    "ltbench.benchmarks.sweeps.runner",
    "ltbench.benchmarks.cli.run",
    "ltbench.benchmarks.cli.progress",
    "torch._dynamo",  # torch imports it when the first optimiser is created
    "sklearn.datasets",  # for digits-lt
)
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
LONGEST = 60  # bytes of the folder's path; multiprocessing adds up to 40
_PDEATHSIG = 1  # Linux: prctl's request for a signal when the parent dies


def start_fork_server(threads: str | None = None) -> ForkServerContext:
    """Start the fork server if it is not running, and return its multiprocessing context.

    Args:
        threads: value of OMP_NUM_THREADS for all children; torch reads it once, when the server imports it.

    Raises:
        UserError: there is no folder for temporary files whose path is short enough.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    variables = {"LTBENCH_EVERY": "5", "COLUMNS": "100"} | ({"OMP_NUM_THREADS": threads} if threads else {})
    with _environment(variables), ignored_interrupts(), short_temporary_folder():
        ensure_running()
    return context


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies. Linux only; elsewhere it does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


@contextmanager
def short_temporary_folder() -> Iterator[None]:
    """Within the block temporary files lie where the path of a socket, 107 bytes at most, has room.

    Raises:
        UserError: no such folder can be written.
    """
    before = tempfile.tempdir
    folders = [before or os.environ.get("TMPDIR", ""), *SHORT_FOLDERS]
    usable = (
        folder for folder in folders if folder and len(os.fsencode(folder)) <= LONGEST and os.access(folder, os.W_OK)
    )
    tempfile.tempdir = next(usable, None)
    if tempfile.tempdir is None:
        raise UserError("No folder for temporary files can be written; set TMPDIR to one with a short path.")
    try:
        yield
    finally:
        tempfile.tempdir = before


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
