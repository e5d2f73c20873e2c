"""Wrappers of standard output and error: text that cannot be written or encoded never causes a traceback."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from ..errors import UserError

CLOSED_PIPE = 128 + signal.SIGPIPE  # exit code, as in a shell, if the reader of the output has closed the pipe


class Messages:
    """Wrapper of standard error: messages that cannot be written are dropped, so that the command continues."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text` and return its length; the class docstring says how errors are handled."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush the buffer; the class docstring says how errors are handled."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Redirect the stream, including its buffer, to the null device."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Output(Messages):
    """Wrapper of standard output: if writing fails, the command ends with a UserError.

    If the reader has closed the pipe, as in `bench list methods | head -1`, the command ends without a message, with
    the exit code CLOSED_PIPE.
    """

    def _give_up(self, error: OSError) -> None:
        super()._give_up(error)
        if error.errno == errno.EPIPE:
            sys.exit(CLOSED_PIPE)
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"Cannot write to standard output: {reason}. Records and files written so far are kept.")


@contextmanager
def safe_streams() -> Iterator[None]:
    """Within the block, standard output and error are `Output` and `Messages`; unencodable characters are escaped."""
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
    """Open the null device in place of closed standard streams; else the next file opened would get their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
