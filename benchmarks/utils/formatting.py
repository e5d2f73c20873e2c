"""Times for people."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """`0:07` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def exact(value: float) -> str:
    """A number as a user types it, none of its digits lost: 100, 33.333333333."""
    return str(int(value)) if value == int(value) else repr(value)
