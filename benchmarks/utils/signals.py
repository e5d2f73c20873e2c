"""Handling of Ctrl-C and SIGTERM at any point of a command."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERVAL = 1.0  # seconds between repetitions of a signal


class Stopped(BaseException):
    """Exception that ends the command at once with an exit code; handlers of KeyboardInterrupt do not catch it.

    Attributes:
        code: exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Interrupted(KeyboardInterrupt):
    """Exception raised on Ctrl-C.

    A subclass, because Python ends by SIGINT if a plain KeyboardInterrupt has left code run by `exec`, even if it was
    caught afterwards.
    """


@contextmanager
def noted_signals(numbers: Iterable[signal.Signals] = SIGNALS) -> Iterator[list[int]]:
    """Within the block, SIGINT raises Interrupted and SIGTERM raises Stopped.

    A signal is repeated every INTERVAL seconds until the block ends, because an exception that is raised in the middle
    of an import may be lost.

    Args:
        numbers: signals to handle, SIGINT, SIGTERM or both.

    Yields:
        List of the signals that have arrived, extended as they arrive. It shows that a signal was the cause if a
        library has turned the exception into another one, such as an ImportError.
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
    """Within the block, ignore SIGINT; processes started there inherit this.

    Ctrl-C reaches all processes of a terminal, but only the parent should react to it.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
