"""Many runs in one process: what is missing, in which order; several processes may share one results folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ..errors import RunFailed, UserError
from ..records.schema import Record
from ..records.store import read_record, write_record
from ..training import checkpoint
from ..training.callbacks import Callback
from ..training.run_spec import RunSpec
from ..training.trainer import execute


def run_missing(
    plan: Sequence[RunSpec],
    device: torch.device,
    results: Path,
    runs: Path,
    watcher: Callback,
    say: Callable[[str], None] = print,
) -> tuple[list[Record], list[str]]:
    """Carry out every run of a plan whose record is missing.

    A valid record means finished. A run that another process is at is left for the end and then waited for, so that two
    equal commands share the work. A run that fails (its loss is not finite) does not stop the others.

    Returns:
        The records of all finished runs in the plan's order, and one sentence for each failed run.

    Raises:
        UserError: a record is damaged or a folder cannot be written. Finished runs are kept.
    """
    make_folder(results, "--results")
    done: dict[str, Record] = {}
    failed: dict[str, str] = {}
    for patient in (False, True):
        for run in plan:
            if run.id in done or run.id in failed:
                continue
            try:
                if (record := _one(run, device, results, runs, watcher, say, patient)) is not None:
                    done[run.id] = record
            except RunFailed as error:
                failed[run.id] = f"{run.name} on {run.facts.dataset.label}, seed {run.seed}: {error}"
    return [done[run.id] for run in plan if run.id in done], list(failed.values())


def _one(
    run: RunSpec,
    device: torch.device,
    results: Path,
    runs: Path,
    watcher: Callback,
    say: Callable[[str], None],
    patient: bool,
) -> Record | None:
    path, folder = run.path(results), runs / run.id
    if path.exists():
        say(f"finished already: {path}")
        return _finished(run, path)
    make_folder(folder, "--runs")
    lock = FileLock(folder / "run.lock")
    try:
        lock.acquire(timeout=-1 if patient else 0)
    except Timeout:
        say(f"another process is at it, left for later: {path}")
        return None
    try:
        if path.exists():  # finished by the other process in the meantime
            return _finished(run, path)
        try:
            record = execute(run, device, runs, watcher, wait=patient)
        except Timeout:
            say(f"another process trains what it builds on, left for later: {path}")
            return None
        write_record(record, path)
        checkpoint.remove(folder)
        return record
    finally:
        lock.release()


def _finished(run: RunSpec, path: Path) -> Record:
    record = read_record(path)
    if record.id != run.id:
        raise UserError(
            f"{path} is the record of another run (id {record.id}, not {run.id}). Move it where it belongs."
        )
    return record


def make_folder(folder: Path, option: str) -> None:
    """Make a folder and try to write there, before hours of training rather than after.

    Raises:
        UserError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"Cannot write {folder}: {reason}. Choose another folder with {option}.") from error
