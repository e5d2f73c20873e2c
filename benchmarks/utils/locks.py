"""Files that one process makes and others wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from filelock import FileLock, Timeout

T = TypeVar("T")


def find_or_lock(find: Callable[[], T | None], lock: FileLock, wait: bool) -> T | None:
    """Look for a value that another process may be making; return it, or None with the lock acquired.

    Args:
        find: function that returns the value, or None as long as it does not exist.
        lock: lock of the process that makes the value; the caller releases it.
        wait: whether to wait for a process that holds the lock.

    Raises:
        Timeout: another process is making the value, and `wait` is false.
    """
    while (value := find()) is None and not lock.is_locked:
        try:
            lock.acquire(timeout=1 if wait else 0)
        except Timeout:
            if not wait:
                raise
    return value
