"""Standard output and error of a command: what cannot be written or encoded there never ends in a traceback."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from ..errors import UserError

CLOSED_PIPE = 128 + signal.SIGPIPE  # exit code of a command whose reader has gone, as in a shell


class Messages:
    """Standard error: a message that cannot be written is dropped, because no work may be lost to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; see the class for what happens where that is impossible."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered; see the class for what happens where that is impossible."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Send the rest, including what is buffered, to the null device."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Output(Messages):
    """Standard output: a command whose answer cannot be written ends.

    Without a message where the reader has gone (`bench list methods | head -1`).
    """

    def _give_up(self, error: OSError) -> None:
        super()._give_up(error)
        if error.errno == errno.EPIPE:
            sys.exit(CLOSED_PIPE)
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"Cannot write to standard output: {reason}. Records and files that were written are kept.")


@contextmanager
def safe_streams() -> Iterator[None]:
    """Within the block standard output and error are `Output` and `Messages` and can encode every character."""
    _open_closed_files()
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = cast(TextIO, Output(before[0])), cast(TextIO, Messages(before[1]))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_closed_files() -> None:
    """Open the null device in place of a closed standard file, whose number another file would get."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
