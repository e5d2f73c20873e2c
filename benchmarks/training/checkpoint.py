"""Checkpoints: written whole or not at all, checked before they are trusted, the last two kept.

Snapshots are checkpoints that stay: other runs start from them.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch

from ..utils.atomic_write import write_atomically

SLOTS = ("checkpoint-a.pt", "checkpoint-b.pt")
DIGEST = hashlib.sha256().digest_size


def save(folder: Path, state: dict[str, Any], number: int) -> None:
    """Write checkpoint `number` (counting epochs) over the older of two.

    The file is a sha256 digest and what `torch.save` made. There is no wait for the disk: a kill loses nothing, and
    after a power cut the digest tells whether the newer file is whole.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    _write(folder / SLOTS[number % 2], state, number)


def save_snapshot(folder: Path, state: dict[str, Any], number: int) -> None:
    """Keep checkpoint `number` for other runs."""
    _write(snapshot_path(folder, number), state, number)


def load(folder: Path, most: int | None = None, snapshots: bool = True) -> dict[str, Any] | None:
    """The newest whole checkpoint or snapshot of a folder, on the CPU; None if there is none.

    Args:
        folder: of the run.
        most: leave out those with a larger number.
        snapshots: take these, too.

    Warns of each damaged one.
    """
    paths = [folder / name for name in SLOTS]
    if snapshots:
        paths += [path for path in folder.glob("epoch-*.pt") if most is None or path <= snapshot_path(folder, most)]
    states = [state for path in paths if (state := _read(path)) is not None]
    fitting = [state for state in states if most is None or state["number"] <= most]
    return max(fitting, key=lambda state: state["number"], default=None)


def load_snapshot(folder: Path, number: int) -> dict[str, Any] | None:
    """Snapshot `number`, on the CPU; None if it is not there, or damaged."""
    return _read(snapshot_path(folder, number))


def interrupted(folder: Path) -> bool:
    """Whether a run was stopped on its way: only then there are checkpoints beside snapshots."""
    return any((folder / name).exists() for name in SLOTS)


def remove(folder: Path) -> None:
    """Delete the checkpoints of a finished run; its snapshots stay."""
    for name in SLOTS:
        (folder / name).unlink(missing_ok=True)


def snapshot_path(folder: Path, number: int) -> Path:
    """Where snapshot `number` of a run's folder lies."""
    return folder / f"epoch-{number:05d}.pt"


def _write(path: Path, state: dict[str, Any], number: int) -> None:
    buffer = io.BytesIO()
    torch.save({"number": number, **state}, buffer)
    content = buffer.getvalue()
    write_atomically(path, hashlib.sha256(content).digest() + content, durable=False)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        warnings.warn(
            f"Checkpoint {path} is damaged and not used; the run resumes from the epoch before it, or anew.",
            stacklevel=2,
        )
        return None
    return torch.load(io.BytesIO(content[DIGEST:]), map_location="cpu", weights_only=True)
