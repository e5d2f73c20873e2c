"""Times for people."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """`0:07` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """A time to two or three digits: `0.42 s`, `12 s`, `5:07 min` (minutes and seconds) or `1:07 h`."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def exact(value: float) -> str:
    """A number as a user types it, none of its digits lost: 100, 33.333333333."""
    return str(int(value)) if value == int(value) else repr(value)
