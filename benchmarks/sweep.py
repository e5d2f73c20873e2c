"""Many runs in one process: what is missing, in which order; several processes may share one results folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from . import checkpoint
from .errors import UserError
from .record import Record, read_record, write_record
from .run import Run, Watcher, execute


def run_missing(
    plan: Sequence[Run],
    device: torch.device,
    results: Path,
    runs: Path,
    watcher: Watcher,
    say: Callable[[str], None] = print,
) -> list[tuple[Path, Record]]:
    """Carry out every run of a plan whose record is missing; return path and record of all, in the plan's order.

    A valid record means finished. A run that another process is at is left for the end and then waited for, so that two
    equal commands share the work.

    Raises:
        UserError: a record is damaged, a folder cannot be written, or a run failed. Finished runs are kept.
    """
    done: dict[str, Record] = {}
    for patient in (False, True):
        for run in plan:
            if run.id not in done and (record := _one(run, device, results, runs, watcher, say, patient)) is not None:
                done[run.id] = record
    return [(run.path(results), done[run.id]) for run in plan]


def _one(
    run: Run,
    device: torch.device,
    results: Path,
    runs: Path,
    watcher: Watcher,
    say: Callable[[str], None],
    patient: bool,
) -> Record | None:
    path, folder = run.path(results), runs / run.id
    if path.exists():
        say(f"finished already: {path}")
        return read_record(path)
    lock = _lock(folder)
    try:
        lock.acquire(timeout=-1 if patient else 0)
    except Timeout:
        say(f"another process is at it, left for later: {path}")
        return None
    try:
        if path.exists():  # finished by the other process in the meantime
            return read_record(path)
        record = execute(run, device, runs, watcher)
        write_record(record, path)
        checkpoint.remove(folder)
        return record
    finally:
        lock.release()


def _lock(folder: Path) -> FileLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "run.lock")
        lock.acquire(timeout=0)  # fails here if the folder is not writable
        lock.release()
    except Timeout:
        pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"Cannot write {folder}: {reason}. Choose another folder with --runs.") from error
    return lock
