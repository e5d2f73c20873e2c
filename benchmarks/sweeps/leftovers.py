"""Files that are no longer needed: those of interrupted writes, and the snapshots and features of a finished sweep."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..training.feature_store import FILE
from .status import finished, locked
from .units import Unit

OLD = 3600.0  # seconds after which a temporary file cannot belong to a write that is under way


def temporary_files(*folders: Path) -> list[Path]:
    """Temporary files of writes that were killed, at least an hour old."""
    latest = time.time() - OLD
    paths = (path for folder in folders for path in folder.rglob(".*.tmp") if path.is_file())
    return sorted(path for path in paths if path.stat().st_mtime < latest)


def spare_snapshots(units: Sequence[Unit], results: Path, runs: Path) -> list[Path]:
    """Snapshots and features that a sweep's units need, except those in use; none unless all units have records.

    Raises:
        UserError: a record is damaged or belongs to another run.
    """
    if not all(finished(unit, results) for unit in units):
        return []
    return sorted(set(_snapshots(units, runs)))


def _snapshots(units: Sequence[Unit], runs: Path) -> Iterator[Path]:
    for folder in {runs / shared.run_id for unit in units for shared in unit.shared}:
        if folder.is_dir() and not locked(folder):
            yield from folder.glob("epoch-*.pt")
            yield from folder.glob(FILE)
