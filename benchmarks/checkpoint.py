"""Checkpoints: written whole or not at all, checked before they are trusted, the last two kept."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch

from .files import write_whole

SLOTS = ("checkpoint-a.pt", "checkpoint-b.pt")
DIGEST = hashlib.sha256().digest_size


def save(folder: Path, state: dict[str, Any], number: int) -> None:
    """Write checkpoint `number` (counting epochs) over the older of two.

    The file is a sha256 digest and what `torch.save` made. There is no wait for the disk: a kill loses nothing, and
    after a power cut the digest tells whether the newer file is whole.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    buffer = io.BytesIO()
    torch.save({"number": number, **state}, buffer)
    content = buffer.getvalue()
    write_whole(folder / SLOTS[number % 2], hashlib.sha256(content).digest() + content, durable=False)


def load(folder: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint of a folder, on the CPU; None if there is none. Warns of each damaged one."""
    states = [state for name in SLOTS if (state := _read(folder / name)) is not None]
    return max(states, key=lambda state: state["number"], default=None)


def remove(folder: Path) -> None:
    """Delete the checkpoints of a finished run."""
    for name in SLOTS:
        (folder / name).unlink(missing_ok=True)


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
