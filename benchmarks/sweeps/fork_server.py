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
LONGEST = 60  # most bytes in the path of the folder; multiprocessing adds up to 40
_PDEATHSIG = 1  # Linux: prctl's request for a signal when the parent dies


def start_fork_server(threads: str | None = None) -> ForkServerContext:
    """Start the fork server if it is not running, and return its multiprocessing context.

    Args:
        threads: value of OMP_NUM_THREADS for all children; torch reads it once, when the server imports torch.

    Raises:
        UserError: no writable folder for temporary files has a path that is short enough.
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
    """Within the block, use a folder for temporary files whose path is short enough for sockets (107 bytes in all).

    Raises:
        UserError: no writable folder has such a path.
    """
    before = tempfile.tempdir
    folders = [before or os.environ.get("TMPDIR", ""), *SHORT_FOLDERS]
    usable = (
        folder for folder in folders if folder and len(os.fsencode(folder)) <= LONGEST and os.access(folder, os.W_OK)
    )
    tempfile.tempdir = next(usable, None)
    if tempfile.tempdir is None:
        raise UserError("No folder for temporary files is writable; set TMPDIR to a writable one with a short path.")
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Within the block, set environment variables, which processes started there inherit."""
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
