"""Ctrl-C and SIGTERM, wherever in a command they arrive."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERVAL = 1.0  # seconds


class Stopped(BaseException):
    """The command ends at once with an exit code; unlike a KeyboardInterrupt, nothing on the way catches it."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. If a KeyboardInterrupt itself ends code that `exec` runs, Python later exits by the signal."""


@contextmanager
def noted_signals(numbers: Iterable[signal.Signals] = SIGNALS) -> Iterator[list[int]]:
    """Within the block SIGINT raises Interrupted and SIGTERM raises Stopped.

    Again every second: an exception that is raised in the middle of an import may be lost there.

    Args:
        numbers: those of the two that are handled.

    Yields:
        The signals that have arrived. A library may have turned the exception into another one, such as an ImportError.
    """
    arrived: list[int] = []
    repeats: list[threading.Timer] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        repeats.append(threading.Timer(INTERVAL, os.kill, (os.getpid(), number)))
        repeats[-1].daemon = True
        repeats[-1].start()
        raise Interrupted if number == signal.SIGINT else Stopped(128 + number)

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield arrived
    finally:
        for repeat in repeats:
            repeat.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ignored_interrupts() -> Iterator[None]:
    """Start processes that ignore SIGINT: Ctrl-C reaches all processes of a terminal, and the parent decides."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
