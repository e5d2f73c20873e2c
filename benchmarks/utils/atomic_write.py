"""Atomic file writes: after a crash or with concurrent writers, readers see either the old file or the new one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from ..errors import UserError


def write_atomically(path: Path, data: bytes | str, durable: bool = True) -> None:
    """Write `data` to a temporary file next to `path` and rename it. Missing folders are created.

    Args:
        path: path of the file.
        data: complete content of the file.
        durable: sync to disk before the rename, so that the file survives a power failure.

    Raises:
        UserError: the folder is not writable or the disk is full; no temporary file is left.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())  # mkstemp creates private files, but users may share a folder
        Path(temporary).replace(path)
    except BaseException as error:  # a signal must not leave the temporary file either
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        if not isinstance(error, OSError):
            raise
        raise UserError(
            f"Cannot write {path}: {(error.strerror or str(error)).lower()}. Free some space or choose another folder, "
            "then run the same command again; no finished work is lost."
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def make_writable(folder: Path, option: str) -> None:
    """Create a folder and check that it is writable, before hours of training rather than after.

    Args:
        folder: path of the folder.
        option: command-line option that sets the folder, for the message.

    Raises:
        UserError: the folder cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"Cannot write {folder}: {reason}. Choose another folder with {option}.") from error
